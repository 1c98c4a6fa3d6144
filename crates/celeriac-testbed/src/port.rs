//! Ports that nobody uses.

use std::net::TcpListener;

/// A port of the loopback interface that was free a moment ago.
///
/// # Panics
/// When the machine has none left.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port on 127.0.0.1");
    listener.local_addr().expect("a bound socket has an address").port()
}
