//! The listening socket of the HTTP server.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::{fs, net};

use anyhow::{Context, bail};

use crate::app::daemon::{self, SocketAccess};
use crate::app::serve::SocketGate;
use crate::app::tcp_listener;
use crate::app::unix_socket;
use crate::config::HttpAddress;

/// A listening socket.
#[derive(Debug)]
pub(in crate::app) enum HttpSocket {
    /// At an address and port.
    Tcp(net::TcpListener),
    /// At a path, with who may connect.
    Unix(UnixListener, SocketGate, PathBuf),
}

impl HttpSocket {
    /// Opens the socket; `access` is that of a unix socket.
    ///
    /// # Errors
    /// The address is not one of this host, is in use, or is not permitted.
    pub(super) fn open(address: &HttpAddress, access: SocketAccess) -> anyhow::Result<Self> {
        match address {
            HttpAddress::Tcp(address) => tcp_listener::listen("http", *address).map(Self::Tcp),
            HttpAddress::Unix(path) => unix(path, access),
        }
    }

    /// The path of a unix socket.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(.., path) => Some(path),
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

fn unix(path: &Path, access: SocketAccess) -> anyhow::Result<HttpSocket> {
    let cannot = || format!("http: could not listen on {}", path.display());
    // A killed daemon leaves its socket file.
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(cannot),
        Ok(meta) if !meta.file_type().is_socket() => {
            bail!("{}: there is a file that is not a socket; write another path", cannot());
        }
        Ok(_) if unix_socket::has_listener(path) => {
            bail!("{}: another program listens there; write another path", cannot());
        }
        Ok(_) => fs::remove_file(path).with_context(cannot)?,
    }
    let (listener, gate) = daemon::unix_socket(path, access, "HTTP socket")?;
    Ok(HttpSocket::Unix(listener, gate, path.to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::Access;

    #[test]
    fn a_unix_socket_has_the_control_sockets_mode_and_replaces_a_dead_one() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let path = std::env::temp_dir().join(format!("vstun-http-{}", std::process::id()));
        for mode in [0o600, 0o660, 0o666] {
            let access = Access { mode, group: None };
            let access = runtime.block_on(daemon::access(&access)).unwrap();
            // The file of the round before is still there.
            let socket = HttpSocket::open(&HttpAddress::Unix(path.clone()), access).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
            let taken = HttpSocket::open(&HttpAddress::Unix(path.clone()), access);
            assert!(taken.unwrap_err().to_string().contains("another program listens"));
            drop(socket);
        }
        fs::remove_file(&path).unwrap();
    }
}
