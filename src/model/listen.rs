//! Where a service listens: a transport, a virtual IP, a range of ports.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::wire::protocol;

/// The balanced transports.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// The protocol's number in an IP header.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => protocol::TCP,
            Self::Udp => protocol::UDP,
        }
    }

    /// The protocol with that number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Tcp, Self::Udp].into_iter().find(|protocol| protocol.number() == number)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A range of ports, both ends included. `1-65535` is written `*`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PortRange {
    /// The lowest port.
    pub first: u16,
    /// The highest port.
    pub last: u16,
}

impl PortRange {
    /// Every port.
    pub const ALL: Self = Self { first: 1, last: u16::MAX };

    /// Whether the two ranges share a port.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Where a service listens: a virtual IP, ports, and the transport.
///
/// Text form: `192.0.2.10:80/tcp`, `[2001:db8::10]:443/udp`, `192.0.2.10:5000-5099/udp`,
/// `192.0.2.10:*/tcp`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Listen {
    /// The transport.
    pub protocol: Protocol,
    /// The virtual IP.
    pub address: IpAddr,
    /// The ports.
    pub ports: PortRange,
}

impl Listen {
    /// Whether the two share a port of one address and transport.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        (self.protocol, self.address) == (other.protocol, other.address)
            && self.ports.overlaps(other.ports)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(address) => write!(f, "{address}:")?,
            IpAddr::V6(address) => write!(f, "[{address}]:")?,
        }
        match self.ports {
            PortRange::ALL => f.write_str("*")?,
            PortRange { first, last } if first == last => write!(f, "{first}")?,
            PortRange { first, last } => write!(f, "{first}-{last}")?,
        }
        write!(f, "/{}", self.protocol)
    }
}

/// Why a text is not a [`Listen`]; the message says what to write.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ListenError {
    /// No `/tcp` or `/udp` at the end.
    #[error("ends with neither /tcp nor /udp")]
    Protocol,
    /// No address before the colon, or none that parses.
    #[error("has no IP address; write 192.0.2.10:80/tcp or [2001:db8::10]:80/tcp")]
    Address,
    /// Ports that do not parse or are out of 1–65535, or a range that ends before it starts.
    #[error("has no valid port; write a port from 1 to 65535, a range first-last, or *")]
    Ports,
}

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let (endpoint, protocol) = text.rsplit_once('/').ok_or(ListenError::Protocol)?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return Err(ListenError::Protocol),
        };
        let (host, ports) = endpoint.rsplit_once(':').ok_or(ListenError::Address)?;
        // An IPv6 address needs brackets, or its last group would be read as the port.
        let address =
            SocketAddr::from_str(&format!("{host}:0")).map_err(|_| ListenError::Address)?;
        Ok(Self { protocol, address: address.ip(), ports: parse_ports(ports)? })
    }
}

fn parse_ports(text: &str) -> Result<PortRange, ListenError> {
    if text == "*" {
        return Ok(PortRange::ALL);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let first: u16 = first.parse().map_err(|_| ListenError::Ports)?;
    let last: u16 = last.parse().map_err(|_| ListenError::Ports)?;
    if first == 0 || last < first {
        return Err(ListenError::Ports);
    }
    Ok(PortRange { first, last })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn listens_are_parsed() {
        let rows = [
            ("192.0.2.10:80/tcp", Protocol::Tcp, "192.0.2.10", 80, 80),
            ("[2001:db8::10]:443/udp", Protocol::Udp, "2001:db8::10", 443, 443),
            ("192.0.2.10:5000-5099/udp", Protocol::Udp, "192.0.2.10", 5_000, 5_099),
            ("192.0.2.10:*/tcp", Protocol::Tcp, "192.0.2.10", 1, 65_535),
            ("192.0.2.10:1/tcp", Protocol::Tcp, "192.0.2.10", 1, 1),
            ("192.0.2.10:65535/tcp", Protocol::Tcp, "192.0.2.10", 65_535, 65_535),
        ];
        for (text, protocol, address, first, last) in rows {
            let address = address.parse().unwrap();
            let listen = Listen { protocol, address, ports: PortRange { first, last } };
            assert_eq!(text.parse(), Ok(listen), "{text}");
            assert_eq!(listen.to_string(), text);
        }
        assert_eq!("192.0.2.10:80-80/tcp".parse(), "192.0.2.10:80/tcp".parse::<Listen>());
        assert_eq!("192.0.2.10:1-65535/tcp".parse(), "192.0.2.10:*/tcp".parse::<Listen>());
    }

    #[test]
    fn faulty_listens_are_refused_with_the_reason() {
        let rows = [
            ("", ListenError::Protocol),
            ("192.0.2.10:80", ListenError::Protocol),
            ("192.0.2.10:80/", ListenError::Protocol),
            ("192.0.2.10:80/sctp", ListenError::Protocol),
            ("192.0.2.10:80/TCP", ListenError::Protocol),
            ("80/tcp", ListenError::Address),
            (":80/tcp", ListenError::Address),
            ("192.0.2:80/tcp", ListenError::Address),
            ("web.example:80/tcp", ListenError::Address),
            ("2001:db8::10:80/tcp", ListenError::Address),
            ("[2001:db8::10]/tcp", ListenError::Address),
            ("192.0.2.10:/tcp", ListenError::Ports),
            ("192.0.2.10:0/tcp", ListenError::Ports),
            ("192.0.2.10:0-10/tcp", ListenError::Ports),
            ("192.0.2.10:65536/tcp", ListenError::Ports),
            ("192.0.2.10:1-65536/tcp", ListenError::Ports),
            ("192.0.2.10:90-80/tcp", ListenError::Ports),
            ("192.0.2.10:80-/tcp", ListenError::Ports),
            ("192.0.2.10:-80/tcp", ListenError::Ports),
            ("192.0.2.10:http/tcp", ListenError::Ports),
            ("192.0.2.10: 80/tcp", ListenError::Ports),
        ];
        for (text, error) in rows {
            assert_eq!(text.parse::<Listen>(), Err(error), "{text}");
        }
    }

    #[test]
    fn ranges_overlap_where_they_share_a_port() {
        let range = |first, last| PortRange { first, last };
        for (other, expected) in [
            (range(1, 9), false),
            (range(1, 10), true),
            (range(12, 13), true),
            (range(1, 65_535), true),
            (range(20, 30), true),
            (range(21, 30), false),
        ] {
            assert_eq!(range(10, 20).overlaps(other), expected, "{other:?}");
            assert_eq!(other.overlaps(range(10, 20)), expected, "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn a_listen_s_text_reads_back(address: IpAddr, ports: (u16, u16), udp: bool) {
            let (first, last) = (ports.0.min(ports.1).max(1), ports.0.max(ports.1).max(1));
            let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
            let listen = Listen { protocol, address, ports: PortRange { first, last } };
            prop_assert_eq!(listen.to_string().parse(), Ok(listen));
        }

        #[test]
        fn any_text_reads_or_is_refused(text: String) {
            let _ = text.parse::<Listen>();
        }
    }
}
