//! Ports for servers.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use rand_core::{OsRng, RngCore};

use crate::RigError;

/// A port on 127.0.0.1 that nobody listens on now.
///
/// It lies below the ephemeral range on purpose: while a server is down, its clients' reconnects
/// take ephemeral ports, and one of them could take (or connect to itself on) the very port the
/// server is to come back on.
pub fn free_port() -> Result<u16, RigError> {
    let first_ephemeral = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse::<u16>().ok())
        .filter(|first| *first > 2 * FIRST_PORT)
        .unwrap_or(DEFAULT_FIRST_EPHEMERAL);
    let span = u32::from(first_ephemeral - FIRST_PORT);
    (0..100)
        .filter_map(|_| u16::try_from(u32::from(FIRST_PORT) + OsRng.next_u32() % span).ok())
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or(RigError::NoFreePort)
}

const FIRST_PORT: u16 = 10_240;
/// Linux's default, lower than other systems'.
const DEFAULT_FIRST_EPHEMERAL: u16 = 32_768;
