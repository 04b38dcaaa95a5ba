//! The listening socket of the HTTP server.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{fs, net};

use anyhow::{Context, bail};

use crate::app::unix_socket;
use crate::config::HttpAddress;

/// The mode of a unix socket: every user who may enter its folder may connect. HTTP clients can
/// only read.
const MODE: u32 = 0o666;

/// A listening socket.
#[derive(Debug)]
pub(in crate::app) enum HttpSocket {
    /// At an address and port.
    Tcp(net::TcpListener),
    /// At a path.
    Unix(std::os::unix::net::UnixListener, PathBuf),
}

impl HttpSocket {
    /// Opens the socket.
    ///
    /// # Errors
    /// The address is not one of this host, is in use, or is not permitted.
    pub(super) fn open(address: &HttpAddress) -> anyhow::Result<Self> {
        match address {
            HttpAddress::Tcp(address) => tcp(*address),
            HttpAddress::Unix(path) => unix(path),
        }
    }

    /// The path of a unix socket.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(_, path) => Some(path),
        }
    }

    /// Whether only processes of this host can connect. A web page could point a host name of its
    /// own at this address and use a visitor's browser.
    pub(super) fn is_loopback(&self) -> bool {
        match self {
            Self::Tcp(listener) => {
                listener.local_addr().is_ok_and(|address| address.ip().is_loopback())
            }
            Self::Unix(..) => false,
        }
    }
}

fn tcp(address: SocketAddr) -> anyhow::Result<HttpSocket> {
    let listener = net::TcpListener::bind(address).map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => "; another program listens there, write another port",
            io::ErrorKind::AddrNotAvailable => "; write an address of this host",
            io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
            _ => "",
        };
        anyhow::anyhow!("http: could not listen on {address}: {error}{advice}")
    })?;
    listener.set_nonblocking(true).context("http: could not set up the socket")?;
    Ok(HttpSocket::Tcp(listener))
}

fn unix(path: &Path) -> anyhow::Result<HttpSocket> {
    use std::os::unix::net::UnixListener;
    let cannot = || format!("http: could not listen on {}", path.display());
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            // A killed daemon leaves its socket file.
            let meta = fs::symlink_metadata(path).with_context(cannot)?;
            if !meta.file_type().is_socket() {
                bail!("{}: there is a file that is not a socket; write another path", cannot());
            }
            if unix_socket::has_listener(path) {
                bail!("{}: another program listens there; write another path", cannot());
            }
            fs::remove_file(path).with_context(cannot)?;
            UnixListener::bind(path)
        }
        other => other,
    };
    let listener = listener.with_context(cannot)?;
    fs::set_permissions(path, fs::Permissions::from_mode(MODE)).with_context(cannot)?;
    listener.set_nonblocking(true).with_context(cannot)?;
    Ok(HttpSocket::Unix(listener, path.to_owned()))
}
