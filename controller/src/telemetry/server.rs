//! The probe port. Every pod of the cluster may be able to reach it, so a peer gets little time and
//! little memory, and a new connection is always accepted: if there are too many, it replaces the
//! oldest one that is not answered yet.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::{Health, Metrics};

/// Connections at a time. One costs two buffers at most.
const CONNECTIONS: usize = 256;
/// Connections that wait to be accepted: the most that a usual kernel allows. Beyond that, a peer
/// tries again after a second.
const BACKLOG: u32 = 4096;
/// Bytes of a connection's buffers, and so of a request's header: the least that hyper permits.
const BUFFER: usize = 8192;
/// The time for a peer to send its request.
const REQUEST_TIME: Duration = Duration::from_secs(3);
/// The time for everything, so that a peer that reads slowly ends too.
const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// The pause after a failure to accept that closing a connection does not help.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a text of metrics is shared while somebody still reads it. It has lines for each object:
/// one for each peer that reads slowly would fill the memory.
const SHARED: Duration = Duration::from_secs(1);

const TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves `/healthz`, `/readyz`, `/livez` and `/metrics` until the process ends.
pub async fn serve(
    listen: SocketAddr,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
) -> io::Result<()> {
    let listener = bound(listen)?;
    tracing::info!(address = %listener.local_addr()?, "serving health and metrics");
    match accept(listener, health, metrics).await {}
}

/// A port that a replica takes over when it starts again.
pub fn bound(listen: SocketAddr) -> io::Result<TcpListener> {
    let socket = if listen.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    socket.listen(BACKLOG)
}

async fn accept(listener: TcpListener, health: Arc<Health>, metrics: Arc<Metrics>) -> Infallible {
    let answers = Arc::new(Answers {
        health,
        metrics,
        scraping: Mutex::default(),
    });
    let mut connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.make_room().await;
                let running = tokio::spawn(answers.clone().converse(stream));
                connections.0.push_back(running);
            }
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            // Most likely no file descriptor is free, and each connection has one.
            Err(_) => {
                if !connections.close_oldest().await {
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// The connections that are not finished, the oldest first.
#[derive(Default)]
struct Connections(VecDeque<JoinHandle<()>>);

impl Connections {
    /// Makes room for one more.
    async fn make_room(&mut self) {
        self.0.retain(|running| !running.is_finished());
        if self.0.len() >= CONNECTIONS {
            self.close_oldest().await;
        }
    }

    /// Closes the oldest connection, if there is one, and waits until its memory and descriptor
    /// are free. Newer connections get their turn meanwhile.
    async fn close_oldest(&mut self) -> bool {
        let Some(oldest) = self.0.pop_front() else {
            return false;
        };
        oldest.abort();
        // Cancelled, as it should be, or finished meanwhile.
        let _ = oldest.await;
        true
    }
}

/// What is served.
struct Answers {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    /// One scrape at a time: many at once would keep the threads from everything else. The last
    /// one, and when it was made.
    scraping: Mutex<Option<(Instant, Bytes)>>,
}

impl Answers {
    /// Answers the one request of a connection, in bounded time.
    async fn converse(self: Arc<Self>, stream: TcpStream) {
        let answers = &*self;
        let service = service_fn(move |request| async move {
            Ok::<_, Infallible>(answers.answer(&request).await)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_TIME)
            .max_buf_size(BUFFER)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        // Whatever goes wrong is the peer's concern. Logging it would let peers fill the log.
        let _ = timeout(CONNECTION_TIME, connection).await;
    }

    /// The metrics now, or a moment ago if those are still being sent.
    async fn scraped(&self) -> Bytes {
        let mut last = self.scraping.lock().await;
        if let Some((at, text)) = &*last
            && at.elapsed() < SHARED
            && !text.is_unique()
        {
            return text.clone();
        }
        self.health.before_scrape();
        let text = Bytes::from(self.metrics.encode());
        *last = Some((Instant::now(), text.clone()));
        text
    }

    async fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "");
        }
        match request.uri().path() {
            "/healthz" => probe(None),
            "/readyz" => {
                let missing = self.health.missing();
                if let Some(parts) = missing {
                    probe(Some(format!("not ready, waiting for: {parts}")))
                } else {
                    let lines = [vec!["ok".to_owned()], self.health.remarks()].concat();
                    response(StatusCode::OK, TEXT, lines.join("\n"))
                }
            }
            "/livez" => {
                let live = self.health.is_live(Timestamp::now().as_second());
                probe((!live).then(|| "watches have been failing for minutes".to_owned()))
            }
            "/metrics" => {
                let text = self.scraped().await;
                response(StatusCode::OK, OPEN_METRICS, text)
            }
            _ => response(StatusCode::NOT_FOUND, TEXT, ""),
        }
    }
}

fn probe(fault: Option<String>) -> Response<Full<Bytes>> {
    match fault {
        None => response(StatusCode::OK, TEXT, "ok"),
        Some(fault) => response(StatusCode::SERVICE_UNAVAILABLE, TEXT, fault),
    }
}

/// An answer whose content has this type.
pub fn response(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::telemetry::KeyLabel;

    /// What a kubelet waits for a probe unless told otherwise.
    const PROBE_TIME: Duration = Duration::from_secs(1);
    const HALF: &str = "GET /livez HTTP/1.1\r\nHost: x\r\nX-A: ";

    async fn start() -> SocketAddr {
        start_with(Metrics::new()).await
    }

    async fn start_with(metrics: Metrics) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let health = Arc::new(Health::default());
        tokio::spawn(accept(listener, health, Arc::new(metrics)));
        address
    }

    /// Opens a connection that has sent `text`, as far as the server takes it.
    async fn send(address: SocketAddr, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(text.as_bytes()).await;
        stream
    }

    /// All that the server answers; nothing if it resets the connection.
    async fn received(mut stream: TcpStream) -> String {
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text).await;
        text
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        received(send(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await).await
    }

    #[tokio::test]
    async fn known_paths_answer_once_and_others_do_not_exist() {
        let address = start().await;
        for (path, status, body) in [
            ("/healthz", "200 OK", "ok"),
            ("/livez?verbose", "200 OK", "ok"),
            ("/readyz", "503 ", "not ready, waiting for: start"),
            ("/metrics", "200 OK", "# EOF\n"),
            ("/", "404 ", ""),
            ("/livez/", "404 ", ""),
        ] {
            // It ends with the answer although the request does not ask for that.
            let answer = timeout(PROBE_TIME, get(address, path)).await.expect(path);
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{answer}"
            );
            assert!(answer.ends_with(body), "{answer}");
        }
        let post = "POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
        let answer = received(send(address, post).await).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    }

    #[tokio::test]
    async fn idle_connections_keep_no_probe_from_being_answered() {
        let address = start().await;
        let mut idle = Vec::new();
        for _ in 0..3 {
            for _ in 0..CONNECTIONS {
                idle.push(send(address, HALF).await);
            }
            let answer = timeout(PROBE_TIME, get(address, "/livez")).await.unwrap();
            assert!(answer.ends_with("ok"), "{answer}");
        }
        // The oldest ones were closed at once, the newest one waits for its time to pass.
        let closed = timeout(PROBE_TIME, received(idle.remove(0))).await;
        assert!(closed.is_ok());
        let waiting = timeout(PROBE_TIME, received(idle.pop().unwrap())).await;
        assert!(waiting.is_err());
    }

    #[tokio::test]
    async fn a_request_that_does_not_end_is_closed_within_seconds() {
        let address = start().await;
        let start = Instant::now();
        let (mut reader, mut writer) = send(address, HALF).await.into_split();
        // A byte now and then buys no time.
        let dripping = tokio::spawn(async move {
            while writer.write_all(b"a").await.is_ok() {
                sleep(Duration::from_millis(200)).await;
            }
        });
        let mut text = String::new();
        let closed = timeout(CONNECTION_TIME, reader.read_to_string(&mut text)).await;
        assert!(closed.is_ok());
        assert!(start.elapsed() < REQUEST_TIME + PROBE_TIME);
        dripping.await.unwrap();
    }

    #[tokio::test]
    async fn a_large_header_is_refused_before_it_is_read() {
        let address = start().await;
        let large = format!("{HALF}{}", "a".repeat(BUFFER));
        let answer = timeout(PROBE_TIME, received(send(address, &large).await)).await;
        let answer = answer.expect("an answer without the end of the header");
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431 "),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn requests_that_follow_the_first_one_are_not_answered() {
        let address = start().await;
        let many = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
        let answer = timeout(PROBE_TIME, received(send(address, &many).await)).await;
        let answer = answer.unwrap();
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn peers_that_read_slowly_share_one_text() {
        let answers = Answers {
            health: Arc::new(Health::default()),
            metrics: Arc::new(Metrics::new()),
            scraping: Mutex::default(),
        };
        let slow = answers.scraped().await;
        let other = answers.scraped().await;
        assert_eq!(slow.as_ptr(), other.as_ptr());
        tokio::time::advance(SHARED).await;
        let later = answers.scraped().await;
        assert_ne!(later.as_ptr(), slow.as_ptr(), "it is too old");
        drop(later);
        let key = KeyLabel {
            fingerprint: "new".to_owned(),
        };
        answers.metrics.key_age.get_or_create(&key).set(1.0);
        let now = answers.scraped().await;
        assert!(
            now.windows(3).any(|text| text == b"new"),
            "nobody reads the old one"
        );
    }

    #[tokio::test]
    async fn an_answer_that_is_not_read_is_dropped() {
        let metrics = Metrics::new();
        // More than the buffers of the system hold.
        let fingerprint = "a".repeat(16 << 20);
        let key = KeyLabel { fingerprint };
        metrics.key_age.get_or_create(&key).set(1.0);
        let address = start_with(metrics).await;
        let stream = send(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        sleep(CONNECTION_TIME + PROBE_TIME).await;
        let answer = timeout(PROBE_TIME, received(stream)).await.unwrap();
        assert!(!answer.ends_with("# EOF\n"), "{} bytes", answer.len());
    }
}
