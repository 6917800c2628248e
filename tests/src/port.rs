//! Ports for servers of a test's own.

use std::{
    net::{Ipv4Addr, TcpListener},
    process,
    sync::atomic::{AtomicU16, Ordering},
};

/// Below the range from which Linux (32768 and up) and others (49152 and up) take the local ports of outgoing connections: a server that
/// is down for a while keeps its port, because no client is given it in the meantime.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// A port that is free now and that this process has not offered before.
///
/// Another process may still take it first: whoever starts a server on it asks for another one if the server cannot bind.
pub(crate) fn free() -> u16 {
    static OFFERED: AtomicU16 = AtomicU16::new(0);
    // Test processes that run side by side start at different places: far apart for neighbouring process ids.
    let start = (process::id().wrapping_mul(7_919) % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let offset = (u32::from(start) + u32::from(OFFERED.fetch_add(1, Ordering::Relaxed))) % u32::from(COUNT);
        let port = FIRST + offset as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}
