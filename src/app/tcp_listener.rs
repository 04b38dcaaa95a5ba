//! The TCP sockets that daemons listen on.

use std::io;
use std::net::{SocketAddr, TcpListener};

use anyhow::Context;

/// Listens on the address, without blocking. `key` is the configuration key, for errors.
///
/// # Errors
/// The address cannot be used.
pub(super) fn listen(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => "; another program listens there, write another port",
            io::ErrorKind::AddrNotAvailable => "; write an address of this host",
            io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
            _ => "",
        };
        anyhow::anyhow!("{key}: could not listen on {address}: {error}{advice}")
    })?;
    let set = listener.set_nonblocking(true);
    set.with_context(|| format!("{key}: could not set up the socket"))?;
    Ok(listener)
}
