//! How the SDK of AWS reaches its servers: over the HTTP client of the other providers. Redirects are
//! never followed, and answers are bounded in size and time.

use std::sync::OnceLock;

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use reqwest::{Client, redirect};

use super::{CALL, CONNECT};
use crate::proxies;
use crate::store::StoreError;
use crate::store::http::ANSWER;

/// The client of all sessions, which share its connections: who asks is said in each request.
pub(super) fn client() -> Result<SharedHttpClient, StoreError> {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    let client = if let Some(client) = CLIENT.get() {
        client
    } else {
        let made = Client::builder()
            .redirect(redirect::Policy::none())
            .proxy(proxies::to_providers())
            .connect_timeout(CONNECT)
            .timeout(CALL)
            .build();
        let made = made.map_err(|_| StoreError::unavailable("AWS: there is no HTTP client"))?;
        CLIENT.get_or_init(|| made)
    };
    let connector = SharedHttpConnector::new(Transport(client.clone()));
    Ok(http_client_fn(move |_, _| connector.clone()))
}

#[derive(Debug)]
struct Transport(Client);

impl HttpConnector for Transport {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move { send(&client, request).await })
    }
}

/// An answer that is larger than any secret.
#[derive(Debug, thiserror::Error)]
#[error("the answer is too large")]
struct TooLarge;

async fn send(client: &Client, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let request = request
        .try_into_http1x()
        .map_err(|error| ConnectorError::user(error.into()))?;
    // The requests of these services are in memory.
    let request = request.map(|body| body.bytes().unwrap_or_default().to_vec());
    let request = request
        .try_into()
        .map_err(|error: reqwest::Error| ConnectorError::user(error.into()))?;
    let mut answer = client.execute(request).await.map_err(failure)?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failure)? {
        if body.len() + chunk.len() > ANSWER {
            return Err(ConnectorError::user(TooLarge.into()));
        }
        body.extend_from_slice(&chunk);
    }
    let mut made = http::Response::new(SdkBody::from(body));
    *made.status_mut() = answer.status();
    std::mem::swap(made.headers_mut(), answer.headers_mut());
    made.try_into()
        .map_err(|error| ConnectorError::other(Box::new(error), None))
}

/// Without the URL, which is of no use to whoever reads it.
fn failure(error: reqwest::Error) -> ConnectorError {
    let is_timeout = error.is_timeout();
    let error = error.without_url().into();
    if is_timeout {
        ConnectorError::timeout(error)
    } else {
        ConnectorError::io(error)
    }
}
