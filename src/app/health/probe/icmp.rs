//! An echo request.

use std::io;
use std::net::{IpAddr, SocketAddr};

use etherparse::{IcmpEchoHeader, Icmpv4Type, Icmpv6Type};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::net::UdpSocket;

use super::{ProbeAnswer, ProbeOutcome};
use crate::app::health::TakesChanges;
use crate::app::health::socket::{ProbeTarget, describe, set_hops};
use crate::health::spec::Via;
use crate::sys::random;

/// The payload of a request; a reply has to have it.
const PAYLOAD: &[u8] = b"vstun health check, 32 bytes ....";

/// The type of an echo reply (RFC 792).
const ECHO_REPLY_V4: u8 = 0;

/// The same of IPv6 (RFC 4443 section 4.2).
const ECHO_REPLY_V6: u8 = 129;

/// The longest reply that is read, in bytes.
const MAX_REPLY: usize = 2_048;

pub(super) async fn probe<B: TakesChanges>(target: &mut ProbeTarget<'_, B>) -> ProbeOutcome {
    let destination = target.destination().ip();
    let (source, identifier) = match target.check.spec.via {
        Via::Tunnel => target.pinned_echo().await?,
        Via::Direct => target.own_echo()?,
    };
    let socket = open(source, identifier);
    let socket = socket.map_err(|error| format!("this host: {}", describe(&error)))?;
    // A random sequence number: a late reply to the previous probe must not count.
    let [word] = random::words::<1>().map_err(|error| describe(&error))?;
    let echo = IcmpEchoHeader { id: identifier, seq: u16::try_from(word & 0xffff).unwrap_or(1) };
    let request = request(source, destination, echo)?;
    socket.send_to(&request, (destination, 0)).await.map_err(|error| describe(&error))?;
    target.trace.step("sent");
    let mut reply = [0; MAX_REPLY];
    loop {
        let len = socket.recv(&mut reply).await.map_err(|error| describe(&error))?;
        if is_reply(reply.get(..len).unwrap_or_default(), destination.is_ipv4(), echo) {
            return Ok(ProbeAnswer::pass("echo reply"));
        }
    }
}

/// A raw socket of the family, bound to the source. The kernel would give it the ICMP packets of
/// all programs, and so the replies to all other checks; the filter leaves the replies with this
/// identifier. tokio's UDP type serves, since it sends and receives whole packets.
fn open(source: IpAddr, identifier: u16) -> io::Result<UdpSocket> {
    let (domain, protocol) = match source {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    socket.attach_filter(&replies(source.is_ipv4(), identifier))?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    set_hops(&socket, source)?;
    UdpSocket::from_std(socket.into())
}

/// A program of the kernel's socket filter (bpf(4)): only echo replies with this identifier pass.
fn replies(v4: bool, identifier: u16) -> [SockFilter; 7] {
    const MSH: u32 = libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH;
    const BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_IND;
    const HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_IND;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let code = |code: u32| u16::try_from(code).unwrap_or_default();
    let step = |kind, k| SockFilter::new(code(kind), 0, 0, k);
    let unless = |k, skipped| SockFilter::new(code(EQUAL), 0, skipped, k);
    // An IPv4 raw socket gets the IP header too: X is its length.
    let header = if v4 { step(MSH, 0) } else { step(libc::BPF_LDX | libc::BPF_IMM, 0) };
    [
        header,
        step(BYTE, 0),
        unless(if v4 { ECHO_REPLY_V4 } else { ECHO_REPLY_V6 }.into(), 3),
        step(HALF, 4),
        unless(identifier.into(), 1),
        step(RETURN, u32::MAX),
        step(RETURN, 0),
    ]
}

/// The bytes from the ICMP header on. The kernel adds the IP header, and for IPv6 the checksum (RFC
/// 3542 3.1).
fn request(source: IpAddr, destination: IpAddr, echo: IcmpEchoHeader) -> Result<Vec<u8>, String> {
    let mut bytes = match (source, destination) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let kind = Icmpv6Type::EchoRequest(echo);
            let header = kind.to_header(source.octets(), destination.octets(), PAYLOAD);
            header.map_err(|error| error.to_string())?.to_bytes().to_vec()
        }
        _ => etherparse::Icmpv4Header::with_checksum(Icmpv4Type::EchoRequest(echo), PAYLOAD)
            .to_bytes()
            .to_vec(),
    };
    bytes.extend_from_slice(PAYLOAD);
    Ok(bytes)
}

/// Whether it is the reply. An IPv4 raw socket returns the IP header too (raw(7)).
fn is_reply(packet: &[u8], v4: bool, echo: IcmpEchoHeader) -> bool {
    let header = if v4 { packet.first().map_or(0, |first| usize::from(first & 15) * 4) } else { 0 };
    let Some(message) = packet.get(header..) else { return false };
    let kind = if v4 { ECHO_REPLY_V4 } else { ECHO_REPLY_V6 };
    let ([first, _, _, _, id1, id2, seq1, seq2], payload) = match message.split_first_chunk() {
        Some((head, payload)) => (*head, payload),
        None => return false,
    };
    first == kind
        && u16::from_be_bytes([id1, id2]) == echo.id
        && u16::from_be_bytes([seq1, seq2]) == echo.seq
        && payload == PAYLOAD
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A late reply to the probe before has another sequence number.
    #[test]
    fn only_the_reply_to_this_request_counts() {
        let echo = IcmpEchoHeader { id: 7, seq: 9 };
        let reply = |kind: u8, id: u8, seq: u8, payload: &[u8]| {
            [&[kind, 0, 0, 0, 0, id, 0, seq], payload].concat()
        };
        for (v4, header, kind) in [
            (true, [&[0x45][..], &[0; 19]].concat(), ECHO_REPLY_V4),
            (true, [&[0x46][..], &[0; 23]].concat(), ECHO_REPLY_V4),
            (false, Vec::new(), ECHO_REPLY_V6),
        ] {
            let is_reply = |message: Vec<u8>| is_reply(&[&header[..], &message].concat(), v4, echo);
            assert!(is_reply(reply(kind, 7, 9, PAYLOAD)));
            assert!(!is_reply(reply(kind, 7, 8, PAYLOAD)), "sequence number");
            assert!(!is_reply(reply(kind, 8, 9, PAYLOAD)), "identifier");
            assert!(!is_reply(reply(kind, 7, 9, &PAYLOAD[1..])), "payload");
            assert!(!is_reply(reply(kind ^ 8, 7, 9, PAYLOAD)), "type");
            assert!(!is_reply(reply(kind, 7, 9, b"")[..7].to_vec()), "too short");
        }
    }

    /// Otherwise each of a thousand waiting probes would be woken by the reply to any of them.
    #[test]
    fn a_socket_gets_the_replies_to_its_own_requests_alone() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for here in ["127.0.0.1", "::1"].map(|text| text.parse::<IpAddr>().unwrap()) {
                // Without the right to raw sockets there are no such checks, without IPv6 no `::1`.
                let (Ok(one), Ok(other)) = (open(here, 7), open(here, 8)) else { continue };
                for (id, expected) in [(7, &one), (8, &other), (7, &one)] {
                    let echo = IcmpEchoHeader { id, seq: 1 };
                    let packet = request(here, here, echo).unwrap();
                    one.send_to(&packet, (here, 0)).await.unwrap();
                    let mut reply = [0; MAX_REPLY];
                    let len = expected.recv(&mut reply).await.unwrap();
                    assert!(is_reply(&reply[..len], here.is_ipv4(), echo), "{here}");
                }
                for socket in [&one, &other] {
                    let left = socket.try_recv(&mut [0; MAX_REPLY]).map_err(|error| error.kind());
                    assert_eq!(left, Err(io::ErrorKind::WouldBlock), "{here}");
                }
            }
        });
    }
}
