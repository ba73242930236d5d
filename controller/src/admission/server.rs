//! The HTTPS port of the webhook. API servers do not say who they are, so whoever reaches the port may
//! ask: a peer gets little time, and all peers together little memory.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, RETRY_AFTER};
use http::{Method, Request as HttpRequest, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::certificates::Served;
use super::judge::{Judge, NoVerdict};
use super::review::Request;
use crate::telemetry::{Kind, KindResult, Metrics, bound, response};
use crate::utf8::readable;

/// The path of the webhook.
pub const PATH: &str = "/validate";
/// Bytes of a review. An object and its predecessor have less than two mebibytes each, and API servers
/// may spell them longer.
const BODY: usize = 7 * 1024 * 1024;
/// Bytes of all reviews that are read at once.
const BODIES: usize = 8 * BODY;
/// Bytes that the specs of a review may take once they are read: lists of short items take fifty times
/// as much as their text.
const LARGEST: usize = 48 * 1024 * 1024;
/// Bytes that the specs of all reviews may take.
const SPECS: usize = 2 * LARGEST;
/// Bytes of the headers of a request, and of content that is read at a time.
const HEADERS: usize = 32 * 1024;
/// Connections at a time.
const CONNECTIONS: usize = 256;
/// The time for a handshake, for the content of a request, and for its place in memory.
const READ_TIME: Duration = Duration::from_secs(3);
/// The time for the next request. API servers close an idle connection after 90 seconds themselves.
const IDLE_TIME: Duration = Duration::from_mins(2);
/// How long calls are still answered after the signal to stop, until no API server calls any more.
const DRAIN: Duration = Duration::from_secs(5);
/// How long the last calls may take after that.
const LAST_CALLS: Duration = Duration::from_secs(10);
/// The pause after a failure to accept.
const PAUSE: Duration = Duration::from_millis(100);

/// What a connection needs.
struct Webhook {
    judge: Judge,
    metrics: Arc<Metrics>,
    /// Bytes of content.
    bodies: Semaphore,
    /// Bytes of specs.
    specs: Semaphore,
    draining: watch::Receiver<bool>,
}

/// Serves until `draining` turns true and the last calls are answered.
pub async fn serve(
    listener: TcpListener,
    served: Arc<Served>,
    judge: Judge,
    metrics: Arc<Metrics>,
    mut draining: watch::Receiver<bool>,
) {
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_cert_resolver(served);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let webhook = Arc::new(Webhook {
        judge,
        metrics,
        bodies: Semaphore::new(BODIES),
        specs: Semaphore::new(SPECS),
        draining: draining.clone(),
    });
    let mut connections = Connections::default();
    let drained = async {
        // Whoever held the sender is gone: the process ends.
        let _ = draining.wait_for(|draining| *draining).await;
        sleep(DRAIN).await;
    };
    tokio::pin!(drained);
    let (ending, ended) = watch::channel(false);
    loop {
        let accepted = tokio::select! {
            () = &mut drained => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            sleep(PAUSE).await;
            continue;
        };
        connections.make_room();
        let busy = Arc::<AtomicUsize>::default();
        let (webhook, acceptor) = (webhook.clone(), acceptor.clone());
        let talking = webhook.converse(stream, acceptor, busy.clone(), ended.clone());
        connections.add(talking, busy);
    }
    drop(listener);
    ending.send_replace(true);
    let _ = timeout(LAST_CALLS, connections.finished()).await;
}

/// Binds the port.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = bound(address)?;
    tracing::info!(address = %listener.local_addr()?, "serving the webhook");
    Ok(listener)
}

/// The connections, the oldest first, and how many requests each has in hand.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    oldest: VecDeque<(AbortHandle, Arc<AtomicUsize>)>,
}

impl Connections {
    fn add(&mut self, talking: impl Future<Output = ()> + Send + 'static, busy: Arc<AtomicUsize>) {
        let handle = self.tasks.spawn(talking);
        self.oldest.push_back((handle, busy));
    }

    /// Makes room for one more: the oldest one without a request ends, or else the oldest one.
    fn make_room(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        self.oldest.retain(|(handle, _)| !handle.is_finished());
        if self.oldest.len() < CONNECTIONS {
            return;
        }
        let is_idle = |(_, busy): &(_, Arc<AtomicUsize>)| busy.load(Ordering::Relaxed) == 0;
        let chosen = self.oldest.iter().position(is_idle).unwrap_or_default();
        if let Some((handle, _)) = self.oldest.remove(chosen) {
            handle.abort();
        }
    }

    async fn finished(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Webhook {
    /// Answers the requests of one connection, until the peer or `ended` ends it.
    async fn converse(
        self: Arc<Self>,
        stream: TcpStream,
        acceptor: TlsAcceptor,
        busy: Arc<AtomicUsize>,
        mut ended: watch::Receiver<bool>,
    ) {
        let Ok(Ok(stream)) = timeout(READ_TIME, acceptor.accept(stream)).await else {
            return;
        };
        let (webhook, busy) = (&*self, &*busy);
        let service = service_fn(move |request| async move {
            busy.fetch_add(1, Ordering::Relaxed);
            let answer = webhook.answer(request).await;
            busy.fetch_sub(1, Ordering::Relaxed);
            Ok::<_, Infallible>(answer)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE_TIME)
            .max_buf_size(HEADERS)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        // Whatever goes wrong is the peer's concern.
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = ended.wait_for(|ended| *ended) => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }

    async fn answer<B>(&self, request: HttpRequest<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let asked = self.metrics.external.asked(PATH);
        let mut answer = self.reviewed(request).await;
        asked.answered(answer.status().as_u16());
        if *self.draining.borrow() {
            // The next call opens a connection, to a replica that stays.
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(CONNECTION, close);
        }
        answer
    }

    async fn reviewed<B>(&self, request: HttpRequest<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if request.uri().path() != PATH {
            return told(StatusCode::NOT_FOUND, "the webhook is at /validate");
        }
        if request.method() != Method::POST {
            return told(StatusCode::METHOD_NOT_ALLOWED, "POST an AdmissionReview");
        }
        let length = request.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let Some(length) = length else {
            return told(StatusCode::LENGTH_REQUIRED, "Content-Length is missing");
        };
        if length > BODY {
            return told(StatusCode::PAYLOAD_TOO_LARGE, "the review is too large");
        }
        let Some(_body) = place(&self.bodies, length).await else {
            return self.without_verdict("", NoVerdict::Busy);
        };
        let body = Limited::new(request.into_body(), length).collect();
        let Ok(Ok(body)) = timeout(READ_TIME, body).await else {
            return told(StatusCode::REQUEST_TIMEOUT, "the review did not arrive");
        };
        self.judged(&body.to_bytes()).await
    }

    async fn judged(&self, body: &[u8]) -> Response<Full<Bytes>> {
        let started = Instant::now();
        // Names of fields in managedFields may be no UTF-8.
        let text = readable(body);
        let Some(request) = Request::read(&text) else {
            let what = "the content is no AdmissionReview of admission.k8s.io/v1";
            return told(StatusCode::BAD_REQUEST, what);
        };
        let kind = kind_of(&request.kind.kind);
        let size = request.memory_size();
        if size > LARGEST {
            let what = "the specs of the review have too many parts";
            return told(StatusCode::PAYLOAD_TOO_LARGE, what);
        }
        let Some(_specs) = place(&self.specs, size).await else {
            return self.without_verdict(kind, NoVerdict::Busy);
        };
        let verdict = self.judge.verdict(&request).await;
        let duration = self
            .metrics
            .admission_duration
            .get_or_create(&Kind { kind });
        duration.observe(started.elapsed().as_secs_f64());
        match verdict {
            Ok(verdict) => {
                self.count(kind, verdict.name());
                let text = verdict.answer(&request).to_string();
                response(StatusCode::OK, "application/json", text)
            }
            Err(none) => {
                if none == NoVerdict::Failed {
                    tracing::warn!(
                        kind,
                        "an object could not be checked: it took too long, or cannot be read"
                    );
                }
                self.without_verdict(kind, none)
            }
        }
    }

    /// API servers try again after the pause, as long as they have time, and then follow
    /// `failurePolicy`.
    fn without_verdict(&self, kind: &'static str, none: NoVerdict) -> Response<Full<Bytes>> {
        match none {
            NoVerdict::Busy => {
                self.count(kind, "overloaded");
                let what = "too many objects are being checked: try again";
                let mut answer = told(StatusCode::TOO_MANY_REQUESTS, what);
                let pause = HeaderValue::from_static("1");
                answer.headers_mut().insert(RETRY_AFTER, pause);
                answer
            }
            NoVerdict::Failed => {
                self.count(kind, "failed");
                let what = "the object could not be checked: see the controller's log";
                told(StatusCode::INTERNAL_SERVER_ERROR, what)
            }
        }
    }

    fn count(&self, kind: &'static str, result: &'static str) {
        let label = KindResult { kind, result };
        self.metrics.admission.get_or_create(&label).inc();
    }
}

/// Waits a moment for so many bytes. `None`: others have them.
async fn place(bytes: &Semaphore, size: usize) -> Option<SemaphorePermit<'_>> {
    let permits = u32::try_from(size).ok()?;
    let place = timeout(READ_TIME, bytes.acquire_many(permits)).await;
    place.ok()?.ok()
}

/// The kind as a label: whoever asks must not be able to invent labels.
fn kind_of(kind: &str) -> &'static str {
    let known = [
        "SealedSecret",
        "SealingKey",
        "ExternalSecret",
        "SecretStore",
        "ClusterSecretStore",
    ];
    known.into_iter().find(|name| *name == kind).unwrap_or("")
}

fn told(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", text)
}
