//! The numbers of the names in a listing of nft.

/// The number of a name in a table, or of a decimal number.
fn number(table: &[(&str, u128)], name: &str) -> Option<u128> {
    let named = table.iter().find(|(one, _)| *one == name).map(|(_, number)| *number);
    named.or_else(|| name.parse().ok())
}

/// An IP protocol. nft takes names from the host's /etc/protocols: Debian calls 4 `ipencap` and
/// Fedora `ipv4`, and in both `ipip` is 94.
pub(super) fn protocol(name: &str) -> Option<u128> {
    let table = [
        ("icmp", 1),
        ("igmp", 2),
        ("ipencap", 4),
        ("ipv4", 4),
        ("tcp", 6),
        ("udp", 17),
        ("dccp", 33),
        ("ipv6", 41),
        ("gre", 47),
        ("esp", 50),
        ("ah", 51),
        ("icmpv6", 58),
        ("ipv6-icmp", 58),
        ("ipip", 94),
        ("comp", 108),
        ("sctp", 132),
        ("udplite", 136),
    ];
    number(&table, name)
}

/// A type of ICMP.
pub(super) fn icmp(name: &str) -> Option<u128> {
    let table = [
        ("echo-reply", 0),
        ("destination-unreachable", 3),
        ("source-quench", 4),
        ("redirect", 5),
        ("echo-request", 8),
        ("router-advertisement", 9),
        ("router-solicitation", 10),
        ("time-exceeded", 11),
        ("parameter-problem", 12),
        ("timestamp-request", 13),
        ("timestamp-reply", 14),
        ("info-request", 15),
        ("info-reply", 16),
        ("address-mask-request", 17),
        ("address-mask-reply", 18),
    ];
    number(&table, name)
}

/// A type of `ICMPv6`.
pub(super) fn icmpv6(name: &str) -> Option<u128> {
    let table = [
        ("destination-unreachable", 1),
        ("packet-too-big", 2),
        ("time-exceeded", 3),
        ("parameter-problem", 4),
        ("echo-request", 128),
        ("echo-reply", 129),
        ("mld-listener-query", 130),
        ("mld-listener-report", 131),
        ("mld-listener-done", 132),
        ("mld-listener-reduction", 132),
        ("nd-router-solicit", 133),
        ("nd-router-advert", 134),
        ("nd-neighbor-solicit", 135),
        ("nd-neighbor-advert", 136),
        ("nd-redirect", 137),
    ];
    number(&table, name)
}

/// Flags of a TCP segment.
pub(super) fn tcp_flags(name: &str) -> Option<u128> {
    let names = ["fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"];
    flag(&names, name)
}

/// States of connection tracking (`NF_CT_STATE_*`).
pub(super) fn ct_state(name: &str) -> Option<u128> {
    let names = ["invalid", "established", "related", "new", "", "", "untracked"];
    flag(&names, name)
}

/// Further properties of a connection (`IPS_*`).
pub(super) fn ct_status(name: &str) -> Option<u128> {
    let names =
        ["expected", "seen-reply", "assured", "confirmed", "snat", "dnat", "", "", "", "dying"];
    flag(&names, name)
}

/// The flag of a name at its position, the lowest first.
fn flag(names: &[&str], name: &str) -> Option<u128> {
    let position = names.iter().position(|one| !name.is_empty() && *one == name);
    position.map_or_else(|| name.parse().ok(), |position| Some(1 << position))
}

/// A direction of a connection.
pub(super) fn ct_direction(name: &str) -> Option<u128> {
    number(&[("original", 0), ("reply", 1)], name)
}

/// A family of netfilter (`NFPROTO_*`).
pub(super) fn family(name: &str) -> Option<u128> {
    number(&[("ipv4", 2), ("ipv6", 10)], name)
}

/// A protocol of Ethernet.
pub(super) fn ether_type(name: &str) -> Option<u128> {
    let table = [("ip", 0x0800), ("arp", 0x0806), ("vlan", 0x8100), ("ip6", 0x86dd)];
    number(&table, name)
}

/// To whom a frame was sent (`PACKET_*`).
pub(super) fn packet_type(name: &str) -> Option<u128> {
    let table = [("host", 0), ("unicast", 0), ("broadcast", 1), ("multicast", 2), ("other", 3)];
    number(&table, name)
}

/// A type of address (`RTN_*`).
pub(super) fn address_type(name: &str) -> Option<u128> {
    let table = [
        ("unspec", 0),
        ("unicast", 1),
        ("local", 2),
        ("broadcast", 3),
        ("anycast", 4),
        ("multicast", 5),
        ("blackhole", 6),
        ("unreachable", 7),
        ("prohibit", 8),
    ];
    number(&table, name)
}

/// A user. Names are the host's.
pub(super) fn user(name: &str) -> Option<u128> {
    number(&[("root", 0)], name)
}

/// An operation of ARP.
pub(super) fn arp_operation(name: &str) -> Option<u128> {
    number(&[("request", 1), ("reply", 2)], name)
}
