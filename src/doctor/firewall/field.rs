//! The fields of a packet, as a listing of nft names them.

use std::net::IpAddr;

use serde_json::Value;

use super::names;
use super::operand::{Bits, Operand, ipv4, ipv6, nameless};
use super::packet::{ARP, CtState, JudgedPacket};
use crate::wire::protocol::{ICMP, ICMPV6, TCP, UDP};

/// The protocols whose headers start with the ports.
const WITH_PORTS: [u8; 5] = [TCP, UDP, 33, 132, 136];

/// What the expression on the left of a condition is for the packet. `marks`: a rule sets marks.
pub(super) fn operand<'a>(left: &Value, packet: &'a JudgedPacket, marks: bool) -> Operand<'a> {
    let Some((kind, what)) = left.as_object().and_then(|object| object.iter().next()) else {
        return Operand::Unknown;
    };
    let key = what["key"].as_str().unwrap_or_default();
    match kind.as_str() {
        "meta" => meta(key, packet, marks),
        "ct" => ct(key, what, packet, marks),
        "payload" => payload(what, packet),
        "fib" => fib(what, packet),
        "exthdr" => extension(what, packet),
        "ip option" => option(what, packet.version == 4),
        "tcp option" if packet.protocol != TCP => Operand::Absent,
        "concat" => concat(what, packet, marks),
        "&" | "|" | "^" | ">>" => operand(&what[0], packet, marks).operated(kind, &what[1]),
        _ => Operand::Unknown,
    }
}

fn concat<'a>(parts: &Value, packet: &'a JudgedPacket, marks: bool) -> Operand<'a> {
    let Some(parts) = parts.as_array() else { return Operand::Unknown };
    let parts: Vec<_> = parts.iter().map(|part| operand(part, packet, marks)).collect();
    if parts.iter().any(|part| matches!(part, Operand::Absent)) {
        return Operand::Absent;
    }
    Operand::Concat(parts)
}

fn known<'a>(value: u128, width: u32, names: fn(&str) -> Option<u128>) -> Operand<'a> {
    Operand::Bits(Bits::new(value, width, names))
}

/// A number that may be known.
fn number<'a, T: Into<u128>>(
    value: Option<T>,
    width: u32,
    names: fn(&str) -> Option<u128>,
) -> Operand<'a> {
    value.map_or(Operand::Unknown, |value| known(value.into(), width, names))
}

fn address<'a>(address: Option<IpAddr>) -> Operand<'a> {
    match address {
        Some(IpAddr::V4(four)) => known(u32::from(four).into(), 32, ipv4),
        Some(IpAddr::V6(six)) => known(six.into(), 128, ipv6),
        None => Operand::Unknown,
    }
}

/// Whether something exists.
fn exists<'a>(exists: Option<bool>) -> Operand<'a> {
    number(exists, 1, nameless)
}

fn meta<'a>(key: &str, packet: &'a JudgedPacket, marks: bool) -> Operand<'a> {
    let named = |name: &'a Option<String>| name.as_deref().map_or(Operand::Unknown, Operand::Name);
    let (input, output) = (&packet.input, &packet.output);
    match key {
        "iifname" | "iif" => named(input),
        "oifname" | "oif" => named(output),
        // Of no interface there is neither type nor group.
        "iiftype" | "iifgroup" | "iifkind" if packet.is_sent_here() => Operand::Absent,
        "oiftype" | "oifgroup" | "oifkind" if output.as_deref() == Some("") => Operand::Absent,
        "l4proto" => known(packet.protocol.into(), 8, names::protocol),
        "nfproto" => known(if packet.version == 4 { 2 } else { 10 }, 8, names::family),
        "protocol" => known(ether_type(packet), 16, names::ether_type),
        "mark" if !marks => known(0, 32, nameless),
        "pkttype" => number(packet_type(packet), 8, names::packet_type),
        // A packet that arrives belongs to no socket.
        "skuid" | "skgid" if !packet.is_sent_here() => Operand::Absent,
        "skuid" => number(packet.user, 32, names::user),
        _ => Operand::Unknown,
    }
}

fn ether_type(packet: &JudgedPacket) -> u128 {
    match packet.version {
        4 => 0x0800,
        ARP => 0x0806,
        _ => 0x86dd,
    }
}

/// To whom the frame was sent. Requests for an address's owner may go to all.
fn packet_type(packet: &JudgedPacket) -> Option<u8> {
    match packet.destination {
        _ if packet.version == ARP => None,
        Some(address) if address.is_multicast() => Some(2),
        None if packet.protocol == ICMPV6 => None,
        _ => Some(0),
    }
}

fn ct<'a>(key: &str, ct: &Value, packet: &JudgedPacket, marks: bool) -> Operand<'a> {
    let state = match packet.state {
        CtState::Invalid => 1,
        CtState::Established => 2,
        CtState::New => 8,
        CtState::Untracked => 64,
    };
    let first = packet.state == CtState::New;
    match key {
        "state" => Operand::Bits(Bits::flags(state, 0, names::ct_state)),
        _ if !packet.is_tracked() => Operand::Absent,
        "direction" => known((!first).into(), 8, names::ct_direction),
        // Whether its addresses are translated is decided later.
        "status" if first => Operand::Bits(Bits::flags(0, 48, names::ct_status)),
        "mark" if !marks => known(0, 32, nameless),
        "protocol" => known(packet.protocol.into(), 8, names::protocol),
        "l3proto" => known(if packet.version == 4 { 2 } else { 10 }, 8, names::family),
        "ip saddr" | "ip daddr" if packet.version != 4 => Operand::Absent,
        "ip6 saddr" | "ip6 daddr" if packet.version != 6 => Operand::Absent,
        _ if !first || ct["dir"] != "original" => Operand::Unknown,
        "ip saddr" | "ip6 saddr" | "saddr" => address(packet.source),
        "ip daddr" | "ip6 daddr" | "daddr" => address(packet.destination),
        _ => Operand::Unknown,
    }
}

fn payload<'a>(payload: &Value, packet: &JudgedPacket) -> Operand<'a> {
    let (header, name) = (payload["protocol"].as_str(), payload["field"].as_str());
    let (Some(header), Some(name)) = (header, name) else { return Operand::Unknown };
    // Of a header inside of another one, only that one is known.
    let tunnel = payload["tunnel"].as_str();
    let outer = tunnel.unwrap_or(header);
    if !has_header(outer, packet) {
        return Operand::Absent;
    }
    let JudgedPacket { source, destination, protocol, .. } = *packet;
    match (header, name) {
        _ if tunnel.is_some() => Operand::Unknown,
        ("arp", "operation") => number(packet.icmp, 16, names::arp_operation),
        ("ether", "type") => known(ether_type(packet), 16, names::ether_type),
        ("ip" | "ip6", "saddr") | ("arp", "saddr ip") => address(source),
        ("ip" | "ip6", "daddr") | ("arp", "daddr ip") => address(destination),
        ("ip" | "ip6", "version") => known(packet.version.into(), 4, nameless),
        ("ip", "protocol") | ("ip6", "nexthdr") => known(protocol.into(), 8, names::protocol),
        ("ip", "hdrlength") => known(5, 4, nameless),
        // It is whole; it may have the flag DF.
        ("ip", "frag-off") => Operand::Bits(Bits::new(0, 16, nameless).partly(0xbfff)),
        ("tcp", "flags") => tcp_flags(packet.state),
        ("icmp", "type") => number(packet.icmp, 8, names::icmp),
        ("icmpv6", "type") => number(packet.icmp, 8, names::icmpv6),
        ("th", _) if !WITH_PORTS.contains(&protocol) => Operand::Unknown,
        (_, "dport") => number(packet.port, 16, nameless),
        (_, "sport") => number(packet.source_port, 16, nameless),
        _ => Operand::Unknown,
    }
}

/// Whether the packet has such a header. nft adds the condition for it to each rule, and its
/// listing leaves it out.
fn has_header(header: &str, packet: &JudgedPacket) -> bool {
    let ip = packet.version != ARP;
    match header {
        "ip" => packet.version == 4,
        "ip6" => packet.version == 6,
        "arp" => !ip,
        "vlan" => false,
        // A packet of this host has its frame's header only behind the rules.
        "ether" => !packet.is_sent_here(),
        "th" => ip,
        "vxlan" | "geneve" => packet.protocol == UDP,
        "gretap" => packet.protocol == 47,
        name => match names::protocol(name) {
            Some(number) => ip && number == u128::from(packet.protocol),
            None => true,
        },
    }
}

fn tcp_flags<'a>(state: CtState) -> Operand<'a> {
    let (flags, unknown) = match state {
        // A SYN; it may ask for ECN.
        CtState::New => (0x02, 0xc0),
        // One after the SYN, which is no end.
        CtState::Invalid => (0x10, 0xe8),
        CtState::Established => (0x10, 0xeb),
        CtState::Untracked => return Operand::Unknown,
    };
    Operand::Bits(Bits::flags(flags, unknown, names::tcp_flags))
}

/// What the routes say about an address of the packet.
fn fib<'a>(fib: &Value, packet: &JudgedPacket) -> Operand<'a> {
    let flags: Vec<&str> =
        fib["flags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let result = fib["result"].as_str().unwrap_or_default();
    match (result, &flags[..]) {
        ("type", ["daddr"]) => number(destination_type(packet), 8, names::address_type),
        ("type", ["saddr"]) => {
            let local = if packet.is_sent_here() { 2_u8 } else { 1 };
            known(local.into(), 8, names::address_type)
        }
        ("oif" | "oifname", ["saddr", "iif"]) => exists(packet.reverse_path),
        ("oif" | "oifname", ["saddr"]) => exists(packet.reverse_path.filter(|same| *same)),
        _ => Operand::Unknown,
    }
}

fn destination_type(packet: &JudgedPacket) -> Option<u8> {
    match (packet.destination, packet.output.as_deref()) {
        (Some(address), _) if address.is_multicast() => Some(5),
        (None, _) if packet.protocol == ICMPV6 => None,
        (_, None) => None,
        (_, Some("")) => Some(2),
        (_, Some(_)) => Some(1),
    }
}

/// An extension header of IPv6. Packets have none; a tunnel may add one with a limit.
fn extension<'a>(header: &Value, packet: &JudgedPacket) -> Operand<'a> {
    let whole = header["name"] == "frag" || [TCP, UDP, ICMP, ICMPV6].contains(&packet.protocol);
    if packet.version == 6 && !whole {
        return Operand::Unknown;
    }
    option(header, packet.version == 6)
}

/// A part of a header that this packet could have, and does not have.
fn option<'a>(part: &Value, possible: bool) -> Operand<'a> {
    if possible && part["field"].is_null() { exists(Some(false)) } else { Operand::Absent }
}
