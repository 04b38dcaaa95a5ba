//! An echo request.

use std::net::IpAddr;

use etherparse::{IcmpEchoHeader, Icmpv4Type, Icmpv6Type};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::{ProbeAnswer, ProbeOutcome};
use crate::app::health::TakesChanges;
use crate::app::health::socket::{ProbeTarget, describe};
use crate::health::spec::Via;
use crate::sys::random;

/// The payload of a request; a reply has to have it.
const PAYLOAD: &[u8] = b"vstun health check, 32 bytes ....";

/// The longest reply that is read, in bytes.
const MAX_REPLY: usize = 2_048;

pub(super) async fn probe<B: TakesChanges>(target: &mut ProbeTarget<'_, B>) -> ProbeOutcome {
    let destination = target.destination().ip();
    let (source, identifier) = match target.check.spec.via {
        Via::Tunnel => target.pinned_echo().await?,
        Via::Direct => target.own_echo()?,
    };
    let socket = open(source).map_err(|error| format!("this host: {}", describe(&error)))?;
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

/// A raw socket of the family, bound to the source; it receives the ICMP packets of all programs.
/// tokio's UDP type serves, since it sends and receives whole packets.
fn open(source: IpAddr) -> std::io::Result<UdpSocket> {
    let (domain, protocol) = match source {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    socket.bind(&std::net::SocketAddr::new(source, 0).into())?;
    UdpSocket::from_std(socket.into())
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
    // Echo reply: type 0 (RFC 792), type 129 (RFC 4443 4.2).
    let kind = if v4 { 0 } else { 129 };
    let ([first, _, _, _, id1, id2, seq1, seq2], payload) = match message.split_first_chunk() {
        Some((head, payload)) => (*head, payload),
        None => return false,
    };
    first == kind
        && u16::from_be_bytes([id1, id2]) == echo.id
        && u16::from_be_bytes([seq1, seq2]) == echo.seq
        && payload == PAYLOAD
}
