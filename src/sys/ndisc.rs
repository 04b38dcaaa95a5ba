//! Neighbour discovery over an `AF_PACKET` socket: probes (RFC 4862 5.4.2), answers, and
//! announcements (RFC 4861 7.2.6).

use std::io;
use std::net::Ipv6Addr;

use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::frames::{FrameSocket, HEADER};

const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Bytes of an IPv6 header.
const IPV6: usize = 40;
/// Bytes of a solicitation or advertisement without options.
const MESSAGE: usize = 24;
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// The hop limit of a message that no router has forwarded (RFC 4861 7.1).
const HOP_LIMIT: u8 = 255;
/// The override flag of an advertisement: it replaces the neighbours' cached hardware address.
const OVERRIDE: u8 = 0x20;
/// The target link-layer address option: type, and length in units of 8 bytes.
const TARGET_ADDRESS: [u8; 2] = [2, 1];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A socket on one Ethernet interface.
#[derive(Debug)]
pub struct Ndisc {
    frames: FrameSocket,
    /// Holds the memberships in multicast groups, so that switches and network cards pass the
    /// groups' frames on.
    groups: Socket,
    link: u32,
    mac: [u8; 6],
}

impl Ndisc {
    /// Opens a socket on the interface with that index and hardware address. Needs a tokio runtime
    /// with IO and `CAP_NET_RAW`.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn open(link: u32, mac: [u8; 6]) -> io::Result<Self> {
        let frames = FrameSocket::open(link, ETHERTYPE_IPV6, &FILTER)?;
        let groups = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
        Ok(Self { frames, groups, link, mac })
    }

    /// Joins the solicited-node group of the address. Hosts that are about to use the address send
    /// their probes to it (RFC 4862 5.4.2).
    ///
    /// # Errors
    ///
    /// The kernel's, if there are too many groups.
    pub fn listen(&self, wanted: Ipv6Addr) -> io::Result<()> {
        self.groups.join_multicast_v6(&solicited_node(wanted), self.link)
    }

    /// Asks which host has the address, without claiming it: the source address is unspecified.
    /// Linux answers for its own addresses and for those that it is a proxy for.
    ///
    /// # Errors
    ///
    /// The kernel's, `ENETDOWN` if the interface is down.
    pub fn probe(&self, wanted: Ipv6Addr) -> io::Result<()> {
        let message = message(SOLICITATION, 0, wanted);
        self.frames.send(&frame(
            self.mac,
            Ipv6Addr::UNSPECIFIED,
            solicited_node(wanted),
            message.to_vec(),
        ))
    }

    /// Announces to all hosts on the link that this one has the address.
    ///
    /// # Errors
    ///
    /// As [`Self::probe`].
    pub fn announce(&self, owned: Ipv6Addr) -> io::Result<()> {
        let message = message(ADVERTISEMENT, OVERRIDE, owned);
        let message = [&message[..], &TARGET_ADDRESS, &self.mac].concat();
        self.frames.send(&frame(self.mac, owned, ALL_NODES, message))
    }

    /// Waits for another host's solicitation or advertisement.
    ///
    /// # Errors
    ///
    /// The kernel's, `ENETDOWN` if the interface goes down.
    pub async fn receive(&self) -> io::Result<NdMessage> {
        let mut buffer = [0; 1600];
        loop {
            let heard = parse(self.frames.receive(&mut buffer).await?);
            if let Some(heard) = heard.filter(|heard| heard.mac != self.mac) {
                return Ok(heard);
            }
        }
    }
}

/// Another host's solicitation or advertisement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NdMessage {
    /// The hardware address of the sender.
    pub mac: [u8; 6],
    /// The source address; unspecified: the sender has none yet and is probing.
    pub source: Ipv6Addr,
    /// The address that it asks for or advertises.
    pub target: Ipv6Addr,
    /// Whether it is an advertisement.
    pub advertised: bool,
}

impl NdMessage {
    /// Whether it shows that another host has the address or is about to use it (RFC 4862 5.4.3,
    /// 5.4.4).
    #[must_use]
    pub fn conflicts(&self, address: Ipv6Addr) -> bool {
        let claimed = self.advertised || self.source.is_unspecified();
        self.source == address || (claimed && self.target == address)
    }
}

/// The group that the owner of an address listens to (RFC 4291 2.7.1).
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., low, last] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (low & 0xff), last)
}

/// Passes only solicitations and advertisements, so that other traffic on the interface does not
/// wake the daemon.
const FILTER: [SockFilter; 7] = {
    // The codes of `<linux/bpf_common.h>`: load a byte from there, jump if equal, return.
    const LOAD: u16 = 0x30;
    const EQUAL: u16 = 0x15;
    const GIVE: u16 = 0x06;
    [
        // After the Ethernet header: the next header is byte 6 of the IPv6 header's 40, and the
        // first byte of ICMPv6 is its type.
        SockFilter::new(LOAD, 0, 0, 14 + 6),
        SockFilter::new(EQUAL, 0, 3, ICMPV6 as u32),
        SockFilter::new(LOAD, 0, 0, 14 + 40),
        SockFilter::new(EQUAL, 2, 0, SOLICITATION as u32),
        SockFilter::new(EQUAL, 1, 0, ADVERTISEMENT as u32),
        SockFilter::new(GIVE, 0, 0, 0),
        SockFilter::new(GIVE, 0, 0, u32::MAX),
    ]
};

/// A solicitation or advertisement without options, its checksum zero (RFC 4861 4.3, 4.4).
fn message(kind: u8, flags: u8, target: Ipv6Addr) -> [u8; MESSAGE] {
    let mut message = [0; MESSAGE];
    message[0] = kind;
    message[4] = flags;
    message[8..].copy_from_slice(&target.octets());
    message
}

/// An Ethernet frame, multicast, with an ICMPv6 message whose checksum is zero.
fn frame(mac: [u8; 6], source: Ipv6Addr, destination: Ipv6Addr, mut message: Vec<u8>) -> Vec<u8> {
    let sum = checksum(source, destination, &message);
    if let Some(field) = message.get_mut(2..4) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
    // RFC 2464 7: 33:33 and the group's last four bytes.
    let [.., a, b, c, d] = destination.octets();
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let parts: [&[u8]; 9] = [
        &[0x33, 0x33, a, b, c, d],
        &mac,
        &ETHERTYPE_IPV6.to_be_bytes(),
        // Version 6, no traffic class, no flow label.
        &[0x60, 0, 0, 0],
        &length.to_be_bytes(),
        &[ICMPV6, HOP_LIMIT],
        &source.octets(),
        &destination.octets(),
        &message,
    ];
    parts.concat()
}

/// The ICMPv6 checksum (RFC 4443 2.3); zero over a message whose checksum is in place and right.
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let pseudo: [&[u8]; 4] = [
        &source.octets(),
        &destination.octets(),
        &length.to_be_bytes(),
        &u32::from(ICMPV6).to_be_bytes(),
    ];
    let pseudo = pseudo.concat();
    let words = pseudo.chunks(2).chain(message.chunks(2)).map(|pair| match *pair {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        [high] => u32::from(u16::from_be_bytes([high, 0])),
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while let (high @ 1.., low) = (sum >> 16, sum & 0xffff) {
        sum = high + low;
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

/// Parses a frame, with the validity checks of RFC 4861 7.1.
fn parse(frame: &[u8]) -> Option<NdMessage> {
    let (ethernet, packet) = frame.split_first_chunk::<HEADER>()?;
    let [_, _, _, _, _, _, mac @ .., 0x86, 0xdd] = ethernet else { return None };
    let (header, rest) = packet.split_first_chunk::<IPV6>()?;
    let (fixed, addresses) = header.split_first_chunk::<8>()?;
    let [0x60..=0x6f, _, _, _, high, low, ICMPV6, HOP_LIMIT] = *fixed else { return None };
    let (source, destination) = addresses.split_first_chunk::<16>()?;
    let source = Ipv6Addr::from(*source);
    let destination = Ipv6Addr::from(*destination.first_chunk::<16>()?);
    // An Ethernet frame may be padded.
    let message = rest.get(..usize::from(u16::from_be_bytes([high, low])))?;
    let (body, _options) = message.split_first_chunk::<MESSAGE>()?;
    let [kind @ (SOLICITATION | ADVERTISEMENT), 0, ..] = *body else { return None };
    if checksum(source, destination, message) != 0 {
        return None;
    }
    let target = Ipv6Addr::from(*body.last_chunk::<16>()?);
    Some(NdMessage { mac: *mac, source, target, advertised: kind == ADVERTISEMENT })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const VIP: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x12, 0x3456);

    fn probe() -> Vec<u8> {
        let to = solicited_node(VIP);
        frame(MAC, Ipv6Addr::UNSPECIFIED, to, message(SOLICITATION, 0, VIP).to_vec())
    }

    fn announcement() -> Vec<u8> {
        let message = message(ADVERTISEMENT, OVERRIDE, VIP);
        frame(MAC, VIP, ALL_NODES, [&message[..], &TARGET_ADDRESS, &MAC].concat())
    }

    #[test]
    fn a_probe_is_as_in_rfc_4862() {
        let frame = probe();
        assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
        let packet = etherparse::SlicedPacket::from_ethernet(&frame).expect("IPv6");
        let Some(etherparse::NetSlice::Ipv6(ip)) = packet.net else { panic!("{packet:?}") };
        assert_eq!(ip.header().source_addr(), Ipv6Addr::UNSPECIFIED);
        assert_eq!(ip.header().destination_addr().to_string(), "ff02::1:ff12:3456");
        assert_eq!(ip.header().hop_limit(), 255);
        let heard = parse(&frame).expect("a solicitation");
        assert!(heard.conflicts(VIP), "another host probes for it");
        assert!(!heard.conflicts(ALL_NODES));
    }

    #[test]
    fn an_announcement_overrides_and_names_the_hardware_address() {
        let frame = announcement();
        assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 1]);
        let packet = etherparse::SlicedPacket::from_ethernet(&frame).expect("IPv6");
        let Some(etherparse::TransportSlice::Icmpv6(icmp)) = packet.transport else {
            panic!("{packet:?}")
        };
        let (source, destination) = (VIP.octets(), ALL_NODES.octets());
        assert!(icmp.is_checksum_valid(source, destination));
        assert_eq!(icmp.slice()[4], OVERRIDE);
        assert_eq!(icmp.slice()[24..], [2, 1, 2, 0, 0, 0, 0, 1]);
        assert!(parse(&frame).expect("an advertisement").conflicts(VIP));
    }

    #[test]
    fn an_ordinary_solicitation_is_no_conflict() {
        let client = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);
        let message = message(SOLICITATION, 0, VIP).to_vec();
        let heard = parse(&frame(MAC, client, solicited_node(VIP), message)).expect("one");
        assert!(!heard.conflicts(VIP));
        assert!(heard.conflicts(client), "it has that one");
    }

    #[test]
    fn short_damaged_or_foreign_frames_are_ignored() {
        for frame in [probe(), announcement()] {
            assert!(parse(&frame).is_some());
            for length in 0..frame.len() {
                assert_eq!(parse(frame.get(..length).expect("shorter")), None, "{length} bytes");
            }
            for position in (12..frame.len()).filter(|position| !(15..18).contains(position)) {
                let mut damaged = frame.clone();
                damaged[position] ^= 0x80;
                assert_eq!(parse(&damaged), None, "byte {position}");
            }
            let padded = [frame, vec![0; 6]].concat();
            assert!(parse(&padded).is_some());
        }
    }
}
