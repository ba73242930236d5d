//! A proxy that misbehaves on demand, to be placed before any server that speaks plain HTTP.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::RigError;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It passes, and so does its answer, byte by byte as they are.
    None,
    /// It passes after this time.
    Delay(Duration),
    /// Status 429 with this many seconds in `Retry-After`; the server sees nothing of it.
    TooManyRequests {
        /// What the client should wait.
        retry_after: u64,
    },
    /// This status, such as 500 or 503, with no content; the server sees nothing of it.
    Status(u16),
    /// Status 200 with this content; the server sees nothing of it.
    Body(&'static str),
    /// Status 307 to the same path at this address; the server sees nothing of it.
    Redirect(SocketAddr),
    /// A request that contains this text is answered so, and the server sees nothing of it; all
    /// others pass.
    Refuse {
        /// A part of the head or the content of requests.
        text: &'static str,
        /// The status of the answer.
        status: u16,
        /// Its content.
        body: &'static str,
    },
    /// The connection is reset; the server sees nothing of it.
    Reset,
    /// It passes, and the connection ends in the middle of the answer.
    Cut,
    /// No answer, as long as the client waits; the server sees nothing of it.
    Swallow,
    /// It passes, and the content of the answer comes with this pause before each byte.
    Drip(Duration),
    /// Status 200 with a JSON string of this many bytes, whose length is not told before; the server
    /// sees nothing of it.
    Huge(usize),
}

/// A proxy on a port of its own, before one server. Dropping it ends all its connections.
///
/// It takes one request of a connection at a time and hands a complete answer on: endless answers
/// (watches), upgrades and TLS are not for it.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts a proxy, without a fault, before the server at `url` (`http://127.0.0.1:PORT`).
    pub fn start(url: &str) -> Result<Self, RigError> {
        let upstream = url.trim_start_matches("http://").trim_end_matches('/');
        let upstream = upstream.parse().map_err(|_| {
            RigError::Setup(format!("{url}: must be http://, an IP address and a port"))
        })?;
        let listen = || {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = listen().map_err(RigError::io("listen on 127.0.0.1"))?;
        let shared = Arc::new(Shared {
            address,
            upstream,
            fault: Mutex::new(Fault::None),
            requests: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            open: Mutex::default(),
            has_ended: AtomicBool::new(false),
        });
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept(&listener)
        });
        Ok(Self {
            url: format!("http://{address}"),
            shared,
            acceptor: Some(acceptor),
        })
    }

    /// Where clients connect, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its address, for [`Fault::Redirect`].
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// What happens to requests from now on, on open connections too. Requests that have begun keep
    /// their fault.
    pub fn set(&self, fault: Fault) {
        *lock(&self.shared.fault) = fault;
    }

    /// How many requests have come so far, whatever their fault.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// How many connections were opened so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::SeqCst);
        // Wakes the acceptor; without it no connection is added any more.
        let woken = TcpStream::connect(self.shared.address);
        if let (Ok(_), Some(acceptor)) = (woken, self.acceptor.take()) {
            let _ = acceptor.join();
        }
        for stream in lock(&self.shared.open).iter().filter_map(Weak::upgrade) {
            // It may have ended meanwhile.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    upstream: SocketAddr,
    fault: Mutex<Fault>,
    requests: AtomicUsize,
    connections: AtomicUsize,
    /// Weak, since a connection ends when its thread drops it.
    open: Mutex<Vec<Weak<TcpStream>>>,
    has_ended: AtomicBool,
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.has_ended.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream.map(Arc::new) else {
                continue;
            };
            self.connections.fetch_add(1, Ordering::SeqCst);
            let mut open = lock(&self.open);
            open.retain(|stream| stream.strong_count() > 0);
            open.push(Arc::downgrade(&stream));
            let shared = Arc::clone(self);
            // A failure on either side ends the connection, which is what the client should see.
            thread::spawn(move || shared.serve(&stream));
        }
    }

    /// Serves one connection to its end.
    fn serve(&self, client: &TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        while has_request(client)? {
            let fault = *lock(&self.fault);
            self.requests.fetch_add(1, Ordering::SeqCst);
            if fault == Fault::Reset {
                // The system resets a connection that is closed with unread data.
                return Ok(());
            }
            let request = Message::read(client, |_| false)?;
            if !self.answer(client, &request, fault)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Answers one request; whether the connection serves another one.
    fn answer(&self, client: &TcpStream, request: &Message, fault: Fault) -> io::Result<bool> {
        let mut to_client = client;
        match fault {
            Fault::TooManyRequests { retry_after } => {
                let header = format!("Retry-After: {retry_after}\r\n");
                to_client.write_all(head_without_body(429, &header).as_bytes())?;
            }
            Fault::Status(status) => {
                to_client.write_all(head_without_body(status, "").as_bytes())?;
            }
            Fault::Body(body) => {
                let length = body.len();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                to_client.write_all(format!("{head}{body}").as_bytes())?;
            }
            Fault::Redirect(address) => {
                let path = request.text().split(' ').nth(1).unwrap_or("/");
                let header = format!("Location: http://{address}{path}\r\n");
                to_client.write_all(head_without_body(307, &header).as_bytes())?;
            }
            Fault::Refuse { text, status, body } if request.contains(text) => {
                let length = body.len();
                let head = format!("HTTP/1.1 {status} Fault\r\nContent-Length: {length}\r\n\r\n");
                to_client.write_all(format!("{head}{body}").as_bytes())?;
            }
            Fault::Swallow => {
                io::copy(&mut to_client, &mut io::sink())?;
                return Ok(false);
            }
            Fault::Huge(bytes) => {
                write_huge(to_client, bytes)?;
                return Ok(false);
            }
            passing => return self.pass(client, request, passing),
        }
        Ok(request.keeps_connection())
    }

    /// Lets the server answer; whether the connection serves another request.
    fn pass(&self, mut client: &TcpStream, request: &Message, fault: Fault) -> io::Result<bool> {
        if let Fault::Delay(time) = fault {
            thread::sleep(time);
        }
        let answer = self.forward(request)?;
        match fault {
            Fault::Cut => {
                client.write_all(&answer.first_half())?;
                return Ok(false);
            }
            Fault::Drip(pause) => {
                client.write_all(&answer.head)?;
                for byte in &answer.body {
                    thread::sleep(pause);
                    client.write_all(&[*byte])?;
                }
            }
            _ => client.write_all(&answer.bytes())?,
        }
        Ok(request.keeps_connection() && answer.keeps_connection())
    }

    /// Each request has its own connection to the server, so that none is stale after a restart.
    fn forward(&self, request: &Message) -> io::Result<Message> {
        let mut server = TcpStream::connect(self.upstream)?;
        server.set_nodelay(true)?;
        server.write_all(&request.bytes())?;
        let is_head = request.head.starts_with(b"HEAD ");
        Message::read(&server, |status| is_head || matches!(status, 204 | 304))
    }
}

/// A request or an answer, its bytes as they came.
struct Message {
    head: Vec<u8>,
    body: Vec<u8>,
    /// The body has no end but the connection's.
    is_endless: bool,
}

impl Message {
    /// Reads one message. `is_bodiless` says so of an answer's status, whatever its headers claim.
    fn read(stream: &TcpStream, is_bodiless: impl Fn(u16) -> bool) -> io::Result<Self> {
        let mut reader = BufReader::new(stream);
        let mut message = Self {
            head: read_section(&mut reader)?,
            body: Vec::new(),
            is_endless: false,
        };
        let status = message.status();
        if status.is_some_and(is_bodiless) {
            return Ok(message);
        }
        if let Some(length) = message.header("content-length") {
            let length = length.parse().map_err(io::Error::other)?;
            message.body.resize(length, 0);
            reader.read_exact(&mut message.body)?;
        } else if message.header("transfer-encoding").is_some() {
            message.body = read_chunks(&mut reader)?;
        } else if status.is_some() {
            message.is_endless = true;
            reader.read_to_end(&mut message.body)?;
        }
        Ok(message)
    }

    fn bytes(&self) -> Vec<u8> {
        [self.head.as_slice(), &self.body].concat()
    }

    /// The head and half of the body; of a message without a body, half of the head.
    fn first_half(&self) -> Vec<u8> {
        match self.body.len() {
            0 => self.head[..self.head.len() / 2].to_vec(),
            length => [&self.head, &self.body[..length / 2]].concat(),
        }
    }

    /// The head; empty if it is no text.
    fn text(&self) -> &str {
        str::from_utf8(&self.head).unwrap_or_default()
    }

    fn contains(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.bytes()).contains(text)
    }

    /// The status of an answer; a request has none.
    fn status(&self) -> Option<u16> {
        let line = self.text().strip_prefix("HTTP/1.")?;
        line.get(2..5)?.parse().ok()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.text().lines().filter_map(|line| line.split_once(':'));
        let (_, value) = headers.find(|(found, _)| found.eq_ignore_ascii_case(name))?;
        Some(value.trim())
    }

    fn keeps_connection(&self) -> bool {
        let first_line = self.text().lines().next().unwrap_or_default();
        let closes = self
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"));
        !first_line.contains("HTTP/1.0") && !closes && !self.is_endless
    }
}

/// Waits for the first byte of a request and leaves it unread; false when the client has closed.
fn has_request(client: &TcpStream) -> io::Result<bool> {
    client.peek(&mut [0]).map(|bytes| bytes > 0)
}

/// Lines up to an empty one, which is the last.
fn read_section(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut section = Vec::new();
    loop {
        let start = section.len();
        if reader.read_until(b'\n', &mut section)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if &section[start..] == b"\r\n" {
            return Ok(section);
        }
    }
}

fn read_chunks(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut chunks = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        chunks.extend_from_slice(line.as_bytes());
        let size = line.split(';').next().unwrap_or_default().trim();
        match u64::from_str_radix(size, 16).map_err(io::Error::other)? {
            0 => {
                chunks.extend(read_section(reader)?);
                return Ok(chunks);
            }
            // With the line end after it.
            size => reader.by_ref().take(size + 2).read_to_end(&mut chunks)?,
        };
    }
}

fn head_without_body(status: u16, header: &str) -> String {
    format!("HTTP/1.1 {status} Fault\r\n{header}Content-Length: 0\r\n\r\n")
}

/// Chunked and not with a length: a client must find out by itself that it has read enough.
fn write_huge(mut client: impl Write, bytes: usize) -> io::Result<()> {
    client.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\
          Connection: close\r\n\r\n1\r\n\"\r\n",
    )?;
    let mut left = bytes.saturating_sub(2);
    while left > 0 {
        let size = left.min(64 * 1024);
        let content = "x".repeat(size);
        client.write_all(format!("{size:x}\r\n{content}\r\n").as_bytes())?;
        left -= size;
    }
    client.write_all(b"1\r\n\"\r\n0\r\n\r\n")
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
