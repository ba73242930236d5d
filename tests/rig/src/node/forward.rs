//! From the machine's loopback into the network of a node.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::RigError;

/// Carries connections to one port. Dropping it ends the port; open connections end with their peers.
#[derive(Debug)]
pub(crate) struct Forward {
    port: u16,
    has_ended: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Forward {
    pub(super) fn start(network: &Path, port: u16) -> Result<Self, RigError> {
        let failed = || RigError::io(format!("forward port {port}"));
        let network = File::open(network).map_err(failed())?;
        // It stays in the network in which it is made, wherever its thread goes.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(failed())?;
        let has_ended = Arc::new(AtomicBool::new(false));
        let acceptor = thread::spawn({
            let has_ended = Arc::clone(&has_ended);
            move || {
                let kind = Some(LinkNameSpaceType::Network);
                if let Err(error) = move_into_link_name_space(network.as_fd(), kind) {
                    eprintln!("sealkit-rig: cannot enter the node's network: {error}");
                    return;
                }
                for client in listener.incoming() {
                    if has_ended.load(Ordering::SeqCst) {
                        return;
                    }
                    // Without a server inside, the client's connection ends at once.
                    if let (Ok(client), Ok(server)) =
                        (client, TcpStream::connect((Ipv4Addr::LOCALHOST, port)))
                    {
                        join(client, server);
                    }
                }
            }
        });
        Ok(Self {
            port,
            has_ended,
            acceptor: Some(acceptor),
        })
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.has_ended.store(true, Ordering::SeqCst);
        // Wakes the acceptor.
        let woken = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let (Ok(_), Some(acceptor)) = (woken, self.acceptor.take()) {
            let _ = acceptor.join();
        }
    }
}

/// Copies both ways until both ends are done.
pub(crate) fn join(client: TcpStream, server: TcpStream) {
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        thread::spawn(move || {
            // One side's end is passed on, whatever it was.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    };
    if let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) {
        copy(from_client, server);
        copy(from_server, client);
    }
}
