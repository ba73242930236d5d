//! HTTP to a provider that is a server. Redirects are never followed, since they would carry a token
//! to another host. Answers are bounded in size and time. Errors name the kind of failure and the
//! HTTP status, and quote nothing of an answer.

use std::error::Error;
use std::io;
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Certificate, Client, Identity, RequestBuilder, Response, StatusCode, Url, redirect};
use rustls::CertificateError;
use sealkit_core::proxy::{ProxyFailure, causes};
use zeroize::Zeroizing;

use super::StoreError;
use super::memory::{SMALL_BODY, body_place, is_too_large};
use crate::proxies;

const CONNECT: Duration = Duration::from_secs(5);
/// The longest time that a call may take, its answer included.
const CALL: Duration = Duration::from_secs(20);
/// Bytes of an answer: a Secret holds 1 MiB, and JSON may escape each of them.
pub(super) const ANSWER: usize = 8 * 1024 * 1024;

/// Whom to trust, and as whom to be known, in TLS.
#[derive(Clone, Copy, Default)]
pub struct Tls<'a> {
    /// Certificates in PEM that the server's must come from; those of the system if absent.
    pub ca: Option<&'a [u8]>,
    /// A client certificate and its private key, one after the other in PEM.
    pub identity: Option<&'a [u8]>,
}

/// A client for one provider.
pub(super) struct Http {
    client: Client,
    /// The name of the provider in errors.
    who: &'static str,
    /// Whose places large answers take.
    team: String,
}

impl Http {
    /// A client that sends these headers with each request. Error: [`StoreError::Config`].
    pub(super) fn new(
        who: &'static str,
        team: &str,
        headers: HeaderMap,
        tls: Tls<'_>,
    ) -> Result<Self, StoreError> {
        let config = |what: &str| StoreError::Config(what.to_owned());
        let mut client = Client::builder()
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .proxy(proxies::to_providers())
            .connect_timeout(CONNECT)
            .timeout(CALL);
        if let Some(pem) = tls.ca {
            let certificates = Certificate::from_pem_bundle(pem)
                .ok()
                .filter(|all| !all.is_empty())
                .ok_or_else(|| config("the store's CA is no certificate in PEM"))?;
            client = client.tls_certs_only(certificates);
        }
        if let Some(pem) = tls.identity {
            let identity = Identity::from_pem(pem).map_err(|_| {
                config("the store's client certificate is no certificate and private key in PEM")
            })?;
            client = client.identity(identity);
        }
        let client = client.build().map_err(|_| {
            config("the store's CA or client certificate is not accepted: do the certificate and its key match?")
        })?;
        let team = team.to_owned();
        Ok(Self { client, who, team })
    }

    /// A `GET`.
    pub(super) fn get(&self, url: Url) -> RequestBuilder {
        self.client.get(url)
    }

    /// A `POST`.
    pub(super) fn post(&self, url: Url) -> RequestBuilder {
        self.client.post(url)
    }

    /// The head of the answer. Error: [`StoreError::Unavailable`].
    pub(super) async fn send(&self, call: RequestBuilder) -> Result<Response, StoreError> {
        let answer = call.send().await;
        answer.map_err(|error| StoreError::unavailable(self.unreached(&error)))
    }

    /// The body. Errors: [`StoreError::Unavailable`], [`StoreError::Answer`] if it is too large.
    pub(super) async fn body(
        &self,
        mut answer: Response,
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let who = self.who;
        // It never grows in place, which would leave parts of a value behind.
        let mut body = Zeroizing::new(Vec::with_capacity(SMALL_BODY));
        let mut place = None;
        loop {
            let chunk = answer.chunk().await.map_err(|error| {
                StoreError::unavailable(if error.is_timeout() {
                    format!("{who}'s answer did not end in time")
                } else {
                    format!("{who}'s answer broke off")
                })
            })?;
            let Some(chunk) = chunk else {
                if is_too_large(&body) {
                    let what = format!("{who}'s answer has too many parts for a secret");
                    return Err(StoreError::Answer(what));
                }
                return Ok(body);
            };
            let size = body.len() + chunk.len();
            if size > ANSWER {
                let limit = ANSWER / 1024 / 1024;
                let what = format!("{who}'s answer has more than {limit} MiB");
                return Err(StoreError::Answer(what));
            }
            if size > SMALL_BODY && place.is_none() {
                place = Some(body_place(&self.team).await?);
                let mut larger = Zeroizing::new(Vec::with_capacity(ANSWER));
                larger.extend_from_slice(&body);
                body = larger;
            }
            body.extend_from_slice(&chunk);
        }
    }

    /// What a status means that is no success, for the thing that was asked for. `codes` are those
    /// with a meaning of their own.
    pub(super) fn failure(
        &self,
        subject: &str,
        answer: &Response,
        codes: &[(u16, &str)],
    ) -> StoreError {
        let (who, status) = (self.who, answer.status());
        let code = status.as_u16();
        let known = codes.iter().find(|(known, _)| *known == code);
        let is_transient = status.is_server_error()
            || matches!(
                status,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::PRECONDITION_FAILED
            );
        let what = match (known, code) {
            (Some((_, meaning)), _) => format!("{who} {meaning} ({code})"),
            (None, 429) => format!("{who} limits requests (429)"),
            // Only a proxy says so, to what is sent without TLS.
            (None, 407) => through_proxy(who, ProxyFailure::Credentials),
            (None, 300..400) => {
                format!(
                    "{who} redirects to another place ({code}), where the controller does not follow"
                )
            }
            (None, _) if is_transient => format!("{who} failed ({code})"),
            (None, _) => format!("{who} answered {code} for {subject}"),
        };
        if is_transient {
            return StoreError::Unavailable {
                what,
                retry_after: retry_after(answer.headers()),
            };
        }
        StoreError::Answer(what)
    }

    /// Why there is no answer.
    fn unreached(&self, error: &reqwest::Error) -> String {
        let who = self.who;
        let untrusted = "is of a CA that the store does not trust: set caBundle or caProvider";
        if let Some(why) = no_way(who, untrusted, error) {
            return why;
        }
        if error.is_timeout() {
            return format!("{who} did not answer in time");
        }
        if error.is_connect() && error.url().is_some_and(proxies::is_on_the_way_to) {
            return through_proxy(who, ProxyFailure::Unreached);
        }
        let io = causes(error).find_map(|cause| cause.downcast_ref::<io::Error>());
        match io.map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => {
                format!("{who} cannot be reached: the connection was refused")
            }
            Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
                format!("{who} reset the connection")
            }
            _ if causes(error).any(|cause| cause.to_string() == "dns error") => {
                format!("{who} cannot be reached: its name is not known to DNS")
            }
            _ if error.is_connect() => format!("{who} cannot be reached"),
            _ => format!("{who} ended the connection without an answer"),
        }
    }
}

/// Why there is no connection, if TLS or a proxy is the reason. `untrusted` is said of a certificate
/// whose CA is not known.
pub fn no_way(who: &str, untrusted: &str, error: &(dyn Error + 'static)) -> Option<String> {
    let mut causes = causes(error);
    if let Some(tls) = causes.find_map(|cause| cause.downcast_ref()) {
        return Some(tls_failure(who, untrusted, tls));
    }
    ProxyFailure::of(error).map(|failure| through_proxy(who, failure))
}

fn through_proxy(who: &str, failure: ProxyFailure) -> String {
    format!("the controller's proxy does not lead to {who}: {failure}")
}

fn tls_failure(who: &str, untrusted: &str, error: &rustls::Error) -> String {
    use CertificateError as C;
    let what = match error {
        rustls::Error::InvalidCertificate(why) => match why {
            C::NotValidForName | C::NotValidForNameContext { .. } => "is for another name",
            C::UnknownIssuer => untrusted,
            C::Expired | C::ExpiredContext { .. } => "has expired",
            C::NotValidYet | C::NotValidYetContext { .. } => "is not valid yet",
            C::Revoked => "is revoked",
            _ => "is not valid",
        },
        rustls::Error::AlertReceived(_) => {
            return format!("{who} ended TLS: does it want another client certificate?");
        }
        rustls::Error::InvalidMessage(_) => return format!("{who} does not speak TLS"),
        _ => return format!("no TLS connection to {who}"),
    };
    format!("the TLS certificate of {who} {what}")
}

/// The seconds that the provider wants to be left alone.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The URL of a provider's server. Error: [`StoreError::Config`], which names the field.
pub(super) fn server(field: &str, text: &str) -> Result<Url, StoreError> {
    let url: Result<Url, _> = text.parse();
    let url = url.map_err(|_| StoreError::Config(format!("{field} is no URL")))?;
    if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
        let what = format!("{field} must begin with http:// or https://");
        return Err(StoreError::Config(what));
    }
    Ok(url)
}

/// A URL below a server's. Each segment is encoded; none may be `.` or `..`, which would be left out.
pub(super) fn below<'a>(server: &Url, segments: impl IntoIterator<Item = &'a str>) -> Url {
    let mut url = server.clone();
    // A URL that `server` accepts has a path.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}
