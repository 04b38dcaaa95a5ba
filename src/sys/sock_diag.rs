//! The kernel's sockets (sock_diag(7)): listeners, established connections, and those that wait for
//! the end of their handshake or to be accepted.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::netlink_dump::{HEADER, REQUEST_DUMP, dump, number};

/// `NETLINK_SOCK_DIAG` of linux/netlink.h.
const NETLINK_SOCK_DIAG: isize = 4;
/// `SOCK_DIAG_BY_FAMILY` of linux/sock_diag.h.
const BY_FAMILY: u16 = 20;
/// `inet_diag_req_v2` of linux/inet_diag.h.
const REQUEST: usize = 56;
/// `inet_diag_msg` of linux/inet_diag.h.
const MESSAGE: usize = 72;
/// The attribute `INET_DIAG_SKV6ONLY` of linux/inet_diag.h: one byte, with each IPv6 listener.
const V6_ONLY: u16 = 11;
/// The states of linux/tcp_states.h.
const ESTABLISHED: u8 = 1;
const SYN_RECV: u8 = 3;
const LISTEN: u8 = 10;
/// `TCP_CLOSE`, the state of a UDP socket that is not connected.
const UNCONNECTED: u8 = 7;
/// The states of connections whose handshake has ended: all but `SYN_SENT`, `SYN_RECV`, `CLOSE` and
/// `LISTEN`.
const ANSWERED: u32 = 1 << ESTABLISHED | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 9 | 1 << 11;

/// A TCP socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TcpSocket {
    /// A connection, by its address and port here.
    Established {
        /// The local address; the IPv4 address of a mapped one.
        address: IpAddr,
        /// The local port.
        port: u16,
    },
    /// A listener.
    Listen {
        /// The local address; unspecified for all addresses.
        address: IpAddr,
        /// The port.
        port: u16,
        /// Connections waiting to be accepted.
        queued: u32,
        /// Whether it is one for all IPv6 addresses that gets no IPv4 (`IPV6_V6ONLY`).
        v6_only: bool,
    },
}

/// Calls `each` with every established and listening TCP socket of this network namespace. Takes
/// about a microsecond per socket; blocks meanwhile.
///
/// # Errors
/// The kernel has no sock_diag for TCP, or refuses.
pub fn tcp_sockets(mut each: impl FnMut(TcpSocket)) -> io::Result<()> {
    for family in [libc::AF_INET, libc::AF_INET6] {
        let family = u8::try_from(family).unwrap_or_default();
        let request = request(family, libc::IPPROTO_TCP, 1 << ESTABLISHED | 1 << LISTEN);
        dump(NETLINK_SOCK_DIAG, BY_FAMILY, &request, &mut |message| {
            socket(message).into_iter().for_each(&mut each);
        })?;
    }
    Ok(())
}

/// A socket that receives packets from any sender: a TCP listener, or a UDP socket without a peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bound {
    /// Whether it is a UDP socket.
    pub udp: bool,
    /// The local address; unspecified for all addresses.
    pub address: IpAddr,
    /// The local port.
    pub port: u16,
    /// Whether it is an IPv6 socket bound to every address.
    pub v6: bool,
    /// Whether it is one that receives no IPv4 (`IPV6_V6ONLY`).
    pub v6_only: bool,
    /// The index of the only interface that it receives from (`SO_BINDTODEVICE`).
    pub device: Option<u32>,
    /// Whether more connections wait to be accepted than the program has allowed: the kernel drops
    /// further SYNs.
    pub full: bool,
}

/// Calls `each` with every TCP listener and every unconnected UDP socket of this network namespace.
/// Blocks meanwhile.
///
/// # Errors
/// As [`tcp_sockets`].
pub fn bound_sockets(mut each: impl FnMut(Bound)) -> io::Result<()> {
    for (protocol, state) in [(libc::IPPROTO_TCP, LISTEN), (libc::IPPROTO_UDP, UNCONNECTED)] {
        let udp = protocol == libc::IPPROTO_UDP;
        for family in [libc::AF_INET, libc::AF_INET6] {
            let request = request(u8::try_from(family).unwrap_or_default(), protocol, 1 << state);
            dump(NETLINK_SOCK_DIAG, BY_FAMILY, &request, &mut |message| {
                let Some((address, port)) = local(message) else { return };
                let v6 = family == libc::AF_INET6 && address.is_unspecified();
                let v6_only = is_v6_only(message, address);
                let device = number(message, 40).filter(|index| *index != 0);
                let full = !udp && number(message, 56) > number(message, 60);
                each(Bound { udp, address, port, v6, v6_only, device, full });
            })?;
        }
    }
    Ok(())
}

/// A TCP connection of a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClientConnection {
    /// The local address; the IPv4 address of a mapped one.
    pub address: IpAddr,
    /// The local port.
    pub port: u16,
    /// The client.
    pub client: IpAddr,
    /// Whether the client has answered this host's SYN-ACK.
    pub answered: bool,
    /// Whether it is established: neither end has closed it.
    pub open: bool,
    /// How often this host has sent the SYN-ACK again, if the client has not.
    pub repeated: u8,
}

/// Calls `each` with every TCP connection of this network namespace, whichever end has opened it.
/// Blocks meanwhile.
///
/// # Errors
/// As [`tcp_sockets`].
pub fn client_connections(mut each: impl FnMut(ClientConnection)) -> io::Result<()> {
    for family in [libc::AF_INET, libc::AF_INET6] {
        let family = u8::try_from(family).unwrap_or_default();
        let request = request(family, libc::IPPROTO_TCP, ANSWERED | 1 << SYN_RECV);
        dump(NETLINK_SOCK_DIAG, BY_FAMILY, &request, &mut |message| {
            let (Some((address, port)), Some(client)) = (local(message), at(message, 24)) else {
                return;
            };
            let answered = message.get(1) != Some(&SYN_RECV);
            let repeated = message.get(3).copied().unwrap_or_default();
            let open = message.get(1) == Some(&ESTABLISHED);
            each(ClientConnection { address, port, client, answered, open, repeated });
        })?;
    }
    Ok(())
}

/// Whether it is a socket for all IPv6 addresses that gets no IPv4.
fn is_v6_only(message: &[u8], address: IpAddr) -> bool {
    let all = address == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    all && attribute(message, V6_ONLY).is_some_and(|value| value != [0])
}

/// The value of an attribute behind an `inet_diag_msg`.
fn attribute(message: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = message.get(MESSAGE..)?;
    loop {
        let (header, _) = rest.split_first_chunk::<4>()?;
        let [len, len_high, kind, kind_high] = *header;
        let len = usize::from(u16::from_ne_bytes([len, len_high]));
        let value = rest.get(4..len)?;
        if u16::from_ne_bytes([kind, kind_high]) == wanted {
            return Some(value);
        }
        rest = rest.get(len.next_multiple_of(4)..)?;
    }
}

fn request(family: u8, protocol: libc::c_int, states: u32) -> [u8; HEADER + REQUEST] {
    let mut bytes = [0; HEADER + REQUEST];
    let len = u32::try_from(bytes.len()).unwrap_or_default();
    bytes[..4].copy_from_slice(&len.to_ne_bytes());
    bytes[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&REQUEST_DUMP.to_ne_bytes());
    bytes[HEADER] = family;
    bytes[HEADER + 1] = u8::try_from(protocol).unwrap_or_default();
    bytes[HEADER + 4..HEADER + 8].copy_from_slice(&states.to_ne_bytes());
    bytes
}

/// An `inet_diag_msg`: family, state, two bytes, then the ports and addresses in network order.
fn socket(bytes: &[u8]) -> Option<TcpSocket> {
    let (address, port) = local(bytes)?;
    let message: &[u8; MESSAGE] = bytes.get(..MESSAGE)?.try_into().ok()?;
    match message[1] {
        ESTABLISHED => Some(TcpSocket::Established { address, port }),
        LISTEN => {
            let v6_only = is_v6_only(bytes, address);
            Some(TcpSocket::Listen { address, port, queued: number(message, 56)?, v6_only })
        }
        _ => None,
    }
}

/// The local address and port of an `inet_diag_msg`; the IPv4 address of a mapped one.
fn local(message: &[u8]) -> Option<(IpAddr, u16)> {
    let address = at(message, 8)?;
    let port = message.get(4..6)?.try_into().ok()?;
    Some((address, u16::from_be_bytes(port)))
}

/// The address at this place of an `inet_diag_msg`; the IPv4 address of a mapped one.
fn at(message: &[u8], place: usize) -> Option<IpAddr> {
    let message: &[u8; MESSAGE] = message.get(..MESSAGE)?.try_into().ok()?;
    let address: [u8; 16] = message.get(place..place + 16)?.try_into().ok()?;
    Some(match libc::c_int::from(message[0]) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::new(address[0], address[1], address[2], address[3])),
        _ => IpAddr::V6(Ipv6Addr::from(address)).to_canonical(),
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// The established connections at that port, and the queue lengths of its listeners.
    fn seen(port: u16) -> (usize, Vec<u32>) {
        let (mut established, mut queued) = (0, Vec::new());
        let sockets = tcp_sockets(|socket| match socket {
            TcpSocket::Established { port: here, .. } if here == port => established += 1,
            TcpSocket::Listen { port: here, queued: waiting, .. } if here == port => {
                queued.push(waiting);
            }
            _ => {}
        });
        sockets.expect("the kernel lists TCP sockets");
        (established, queued)
    }

    #[test]
    fn established_and_waiting_connections_are_seen() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // Other tests listen too, perhaps on the same port of the other family.
            let bound = || TcpListener::bind(address).expect("a port");
            let alone = |listener: &TcpListener| {
                seen(listener.local_addr().expect("an address").port()) == (0, vec![0])
            };
            let listener = std::iter::repeat_with(bound).take(100).find(alone);
            let listener = listener.expect("a port that no other test has");
            let here = listener.local_addr().expect("an address");
            let clients: Vec<_> =
                (0..3).map(|_| TcpStream::connect(here).expect("a listener")).collect();
            assert_eq!(seen(here.port()), (3, vec![3]), "{address}");
            let accepted = listener.accept().expect("one waits");
            assert_eq!(seen(here.port()), (3, vec![2]), "{address}");
            drop((clients, accepted));
        }
    }

    #[test]
    fn listeners_and_unconnected_udp_sockets_are_bound() {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let udp = std::net::UdpSocket::bind("[::]:0").expect("a port");
        let (tcp, mut seen) = (tcp.local_addr().expect("an address"), (0, 0));
        let port = udp.local_addr().expect("an address").port();
        bound_sockets(|bound| {
            let Bound { udp, address, port: here, v6, v6_only, device, full } = bound;
            let plain = !v6_only && device.is_none() && !full;
            seen.0 += u32::from(!udp && address == tcp.ip() && here == tcp.port() && !v6 && plain);
            seen.1 += u32::from(udp && address.is_unspecified() && here == port && v6 && plain);
        })
        .expect("the kernel lists sockets");
        assert_eq!(seen, (1, 1));
    }

    #[test]
    fn the_family_and_the_device_of_a_listener_are_read() {
        use socket2::{Domain, Socket, Type};
        let any: std::net::SocketAddr = "[::]:0".parse().expect("an address");
        for only in [false, true] {
            let socket = Socket::new(Domain::IPV6, Type::STREAM, None).expect("a socket");
            socket.set_only_v6(only).expect("an option");
            socket.bind_device(Some(b"lo")).expect("loopback is an interface of every host");
            socket.bind(&any.into()).expect("a port");
            socket.listen(1).expect("a listener");
            let here = socket.local_addr().ok().and_then(|at| at.as_socket()).expect("a port");
            let mut found = Vec::new();
            bound_sockets(|bound| {
                if !bound.udp && bound.port == here.port() && bound.device.is_some() {
                    found.push((bound.v6, bound.v6_only, bound.device));
                }
            })
            .expect("the kernel lists sockets");
            assert_eq!(found, [(true, only, Some(1))], "loopback has index 1");
            let mut listeners = Vec::new();
            tcp_sockets(|socket| match socket {
                TcpSocket::Listen { address, port, v6_only, .. } if port == here.port() => {
                    listeners.push((address, v6_only));
                }
                _ => {}
            })
            .expect("the kernel lists TCP sockets");
            assert!(listeners.contains(&(here.ip(), only)), "{listeners:?}");
        }
    }

    #[test]
    fn connections_of_clients_have_both_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let here = listener.local_addr().expect("an address");
        let client = TcpStream::connect(here).expect("a listener");
        let mut found = Vec::new();
        client_connections(|one| {
            if one.address == here.ip() && one.port == here.port() {
                found.push((one.client, one.answered, one.repeated));
            }
        })
        .expect("the kernel lists sockets");
        assert_eq!(found, [(client.local_addr().expect("an address").ip(), true, 0)]);
    }
}
