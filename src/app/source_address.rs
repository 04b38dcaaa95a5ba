//! The source address that the routing table picks.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// This host's address towards the destination. Connecting a UDP socket sends nothing.
///
/// # Errors
/// There is no route, or no socket.
pub(super) fn towards(destination: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match destination {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    // Port 0 cannot be connected to.
    socket.connect((destination.ip(), destination.port().max(1)))?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_the_address_of_the_route_whatever_the_port() {
        for (destination, source) in
            [("127.0.0.2:0", "127.0.0.1"), ("127.0.0.2:53", "127.0.0.1"), ("[::1]:0", "::1")]
        {
            let found = towards(destination.parse().unwrap()).unwrap();
            assert_eq!(found, source.parse::<IpAddr>().unwrap(), "towards {destination}");
        }
    }
}
