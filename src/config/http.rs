//! The key `http`: the address of the server of metrics, JSON and the status page.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::fault::quoted;
use super::value;

/// The address of the HTTP server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HttpAddress {
    /// A TCP address with a port.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl fmt::Display for HttpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}/"),
            Self::Unix(path) => write!(f, "unix socket {}", path.display()),
        }
    }
}

impl HttpAddress {
    /// In the form of the configuration.
    pub(super) fn written(&self) -> String {
        match self {
            Self::Tcp(address) => address.to_string(),
            Self::Unix(path) => path.display().to_string(),
        }
    }
}

/// An address with a port, or the absolute path of a unix socket.
pub(super) fn address(text: &str) -> Result<HttpAddress, String> {
    if text.starts_with('/') {
        return value::control(text).map(HttpAddress::Unix);
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() > 0 => Ok(HttpAddress::Tcp(address)),
        Ok(_) => Err(format!("{text} has port 0; write the port to listen on, such as 9180")),
        Err(_) => Err(format!(
            "{} is not an address with a port; write one such as 127.0.0.1:9180 or [::1]:9180, \
             or the path of a unix socket",
            quoted(text)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_paths() {
        for text in ["127.0.0.1:9180", "[::1]:9180", "0.0.0.0:80"] {
            assert_eq!(address(text), Ok(HttpAddress::Tcp(text.parse().expect("an address"))));
        }
        let path = "/run/vstun/http.sock";
        assert_eq!(address(path), Ok(HttpAddress::Unix(path.into())));
        for (text, fault) in [
            ("127.0.0.1", "\"127.0.0.1\" is not an address with a port"),
            ("localhost:9180", "\"localhost:9180\" is not an address with a port"),
            ("::1:9180", "is not an address with a port"),
            ("127.0.0.1:0", "has port 0"),
            ("", "\"\" is not an address with a port"),
            ("/run/", "is not an absolute path of a file"),
        ] {
            let found = address(text).expect_err(text);
            assert!(found.contains(fault), "{text}: {found}");
        }
    }
}
