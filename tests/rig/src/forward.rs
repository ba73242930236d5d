//! A forward proxy, as companies have between their machines and the world: HTTP `CONNECT` and
//! SOCKS5 on one port.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::RigError;
use crate::node::forward::join;
use crate::proxy::lock;

/// How a forward proxy treats those who ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manners {
    /// It connects everybody.
    Connect,
    /// It connects nobody.
    Refuse,
    /// It connects who proves to be this user, `NAME:PASSWORD`.
    Authenticate(&'static str),
}

/// A forward proxy on a port of its own, which knows names that DNS does not. Dropping it ends the
/// port; open connections end with their peers.
#[derive(Debug)]
pub struct ForwardProxy {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    names: BTreeMap<String, SocketAddr>,
    manners: Mutex<Manners>,
    asked: Mutex<Vec<String>>,
    has_ended: AtomicBool,
}

impl ForwardProxy {
    /// Starts a proxy that connects these names, whatever the port, to servers of this machine, and
    /// addresses as they are.
    pub fn start(names: &[(&str, SocketAddr)]) -> Result<Self, RigError> {
        let listen = || {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = listen().map_err(RigError::io("listen on 127.0.0.1"))?;
        let names = names.iter().map(|(name, at)| ((*name).to_owned(), *at));
        let shared = Arc::new(Shared {
            address,
            names: names.collect(),
            manners: Mutex::new(Manners::Connect),
            asked: Mutex::default(),
            has_ended: AtomicBool::new(false),
        });
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for client in listener.incoming() {
                    if shared.has_ended.load(Ordering::SeqCst) {
                        return;
                    }
                    let shared = Arc::clone(&shared);
                    // A failure ends the connection, which is what the client should see.
                    thread::spawn(move || client.and_then(|client| shared.serve(client)));
                }
            }
        });
        Ok(Self {
            shared,
            acceptor: Some(acceptor),
        })
    }

    /// Its URL for HTTP: `http://127.0.0.1:PORT`.
    pub fn http(&self) -> String {
        format!("http://{}", self.shared.address)
    }

    /// Its URL for SOCKS5: `socks5://127.0.0.1:PORT`.
    pub fn socks(&self) -> String {
        format!("socks5://{}", self.shared.address)
    }

    /// How it treats those who ask from now on.
    pub fn set(&self, manners: Manners) {
        *lock(&self.shared.manners) = manners;
    }

    /// What it was asked for so far, in order: `CONNECT HOST:PORT` or `SOCKS5 HOST:PORT`, also where it
    /// refused.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.shared.asked).clone()
    }
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::SeqCst);
        // Wakes the acceptor.
        let woken = TcpStream::connect(self.shared.address);
        if let (Ok(_), Some(acceptor)) = (woken, self.acceptor.take()) {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn serve(&self, client: TcpStream) -> io::Result<()> {
        let mut first = [0];
        client.peek(&mut first)?;
        if first == [5] {
            self.serve_socks(client)
        } else {
            self.serve_connect(client)
        }
    }

    fn serve_connect(&self, mut client: TcpStream) -> io::Result<()> {
        let mut head = Vec::new();
        // Nothing follows the head before it is answered.
        let mut reader = BufReader::new(client.try_clone()?);
        while !head.ends_with(b"\r\n\r\n") && reader.read_until(b'\n', &mut head)? > 0 {}
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut line = head.split(' ');
        let (Some("CONNECT"), Some(target)) = (line.next(), line.next()) else {
            return client.write_all(b"HTTP/1.1 405 Only CONNECT\r\nContent-Length: 0\r\n\r\n");
        };
        self.hear("CONNECT", target);
        let manners = lock(&self.manners).clone();
        if let Manners::Authenticate(user) = manners {
            let proof = format!("Basic {}", BASE64_STANDARD.encode(user));
            if !head.lines().any(|line| line.ends_with(&proof)) {
                return client.write_all(b"HTTP/1.1 407 Who is it?\r\nContent-Length: 0\r\n\r\n");
            }
        }
        match self.connect(target).filter(|_| manners != Manners::Refuse) {
            Some(server) => {
                client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
                join(client, server);
                Ok(())
            }
            None => client.write_all(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"),
        }
    }

    /// RFC 1928, and RFC 1929 for users.
    fn serve_socks(&self, mut client: TcpStream) -> io::Result<()> {
        let [_, methods] = read(&mut client)?;
        let mut offered = vec![0; usize::from(methods)];
        client.read_exact(&mut offered)?;
        let manners = lock(&self.manners).clone();
        if let Manners::Authenticate(user) = manners {
            if !offered.contains(&2) {
                return client.write_all(&[5, 0xff]);
            }
            client.write_all(&[5, 2])?;
            let [_, length] = read(&mut client)?;
            let name = read_text(&mut client, length)?;
            let [length] = read(&mut client)?;
            let is_known = format!("{name}:{}", read_text(&mut client, length)?) == user;
            client.write_all(&[1, u8::from(!is_known)])?;
            if !is_known {
                return Ok(());
            }
        } else {
            client.write_all(&[5, 0])?;
        }
        let [_, _, _, kind] = read(&mut client)?;
        let host = match kind {
            1 => Ipv4Addr::from(read::<4>(&mut client)?).to_string(),
            3 => {
                let [length] = read(&mut client)?;
                read_text(&mut client, length)?
            }
            // Address type not supported.
            _ => return client.write_all(&[5, 8, 0, 1, 0, 0, 0, 0, 0, 0]),
        };
        let target = format!("{host}:{}", u16::from_be_bytes(read(&mut client)?));
        self.hear("SOCKS5", &target);
        let server = self.connect(&target).filter(|_| manners != Manners::Refuse);
        // Not allowed by the ruleset is 2.
        let answer = if server.is_some() { 0 } else { 2 };
        client.write_all(&[5, answer, 0, 1, 0, 0, 0, 0, 0, 0])?;
        if let Some(server) = server {
            join(client, server);
        }
        Ok(())
    }

    fn hear(&self, protocol: &str, target: &str) {
        lock(&self.asked).push(format!("{protocol} {target}"));
    }

    fn connect(&self, target: &str) -> Option<TcpStream> {
        let (host, _) = target.rsplit_once(':')?;
        let known = self.names.get(host).copied();
        TcpStream::connect(known.or_else(|| target.parse().ok())?).ok()
    }
}

fn read<const LENGTH: usize>(client: &mut TcpStream) -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    client.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_text(client: &mut TcpStream, length: u8) -> io::Result<String> {
    let mut bytes = vec![0; usize::from(length)];
    client.read_exact(&mut bytes)?;
    String::from_utf8(bytes).map_err(io::Error::other)
}
