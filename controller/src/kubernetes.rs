//! What the reconcilers share of the Kubernetes API: errors that quote nothing, and writes whose
//! answers carry metadata only, so that no secret comes back over the wire.

use http::Request;
use kube::Client;
use kube::core::PartialObjectMeta;
use serde::Serialize;
use serde_json::Value;

/// Answers of writes: names and versions, never the data just written.
const METADATA_ONLY: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// A failed call, without the server's message: that can quote the content of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiFailure {
    /// The server answered: HTTP code, reason, paths of the fields at fault.
    Status {
        /// HTTP code.
        code: u16,
        /// The API's one-word reason.
        reason: String,
        /// Field paths, where the server names some.
        fields: Vec<String>,
    },
    /// No answer.
    Unreachable,
}

impl ApiFailure {
    /// The HTTP code, 0 without an answer.
    pub fn code(&self) -> u16 {
        match self {
            Self::Status { code, .. } => *code,
            Self::Unreachable => 0,
        }
    }
}

impl std::fmt::Display for ApiFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable => f.write_str("the API server did not answer"),
            Self::Status {
                code,
                reason,
                fields,
            } => {
                write!(f, "the API server answered {code} {reason}")?;
                if fields.is_empty() {
                    Ok(())
                } else {
                    write!(f, " for {}", fields.join(", "))
                }
            }
        }
    }
}

impl From<kube::Error> for ApiFailure {
    fn from(error: kube::Error) -> Self {
        let kube::Error::Api(status) = error else {
            return Self::Unreachable;
        };
        let causes = status
            .details
            .map(|details| details.causes)
            .unwrap_or_default();
        // A field path may hold a key name, never a value.
        let fields = causes
            .into_iter()
            .map(|cause| cause.field)
            .filter(|field| !field.is_empty())
            .map(|field| sealkit_core::names::printable(&field))
            .collect();
        Self::Status {
            code: status.code,
            reason: status.reason,
            fields,
        }
    }
}

/// `POST path` with a JSON body; the answer's metadata.
pub async fn create(
    client: &Client,
    path: &str,
    body: &impl Serialize,
) -> Result<PartialObjectMeta, ApiFailure> {
    send(
        client,
        Request::post(path).header("content-type", "application/json"),
        body,
    )
    .await
}

/// `PATCH path` as a merge patch; the answer's metadata.
pub async fn merge_patch(
    client: &Client,
    path: &str,
    body: &Value,
) -> Result<PartialObjectMeta, ApiFailure> {
    let request = Request::patch(path).header("content-type", "application/merge-patch+json");
    send(client, request, body).await
}

async fn send(
    client: &Client,
    request: http::request::Builder,
    body: &impl Serialize,
) -> Result<PartialObjectMeta, ApiFailure> {
    let bytes = serde_json::to_vec(body).map_err(|_| ApiFailure::Unreachable)?;
    let request = request
        .header("accept", METADATA_ONLY)
        .body(bytes)
        .map_err(|_| ApiFailure::Unreachable)?;
    Ok(client.request(request).await?)
}
