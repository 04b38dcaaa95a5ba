//! Whether a packet meets a condition of a rule.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::sets::Sets;

/// The connection tracking state of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CtState {
    /// The first of a connection.
    New,
    /// Of a connection whose replies were never seen.
    Invalid,
    /// Not tracked.
    Untracked,
    /// Of a connection that packets have passed in both directions.
    Established,
}

impl CtState {
    fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Invalid => "invalid",
            Self::Untracked => "untracked",
            Self::Established => "established",
        }
    }
}

/// A packet to be judged; `None`: the field may have any value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JudgedPacket {
    /// 4 or 6.
    pub version: u8,
    /// The input interface; empty for a packet of this host.
    pub input: Option<String>,
    /// The output interface; empty for a packet to this host.
    pub output: Option<String>,
    /// The source address.
    pub source: Option<IpAddr>,
    /// The destination address.
    pub destination: Option<IpAddr>,
    /// Its protocol number.
    pub protocol: u8,
    /// Its destination port, of TCP and UDP.
    pub port: Option<u16>,
    /// Its type, of ICMPv6.
    pub icmp: Option<u8>,
    /// Its connection tracking state.
    pub state: CtState,
}

/// Whether a condition is met; `None`: that is not known.
pub(super) type Met = Option<bool>;

/// Whether the packet meets a `match` statement.
pub(super) fn met(statement: &Value, probe: &JudgedPacket, sets: &Sets) -> Met {
    let (left, right) = (&statement["left"], &statement["right"]);
    let same = equals(left, right, probe, sets);
    match statement["op"].as_str()? {
        "==" | "in" => same,
        "!=" => same.map(|same| !same),
        _ => None,
    }
}

/// Whether the packet's field `left` has the value, or one of the values, `right`.
pub(super) fn equals(left: &Value, right: &Value, probe: &JudgedPacket, sets: &Sets) -> Met {
    if let Some(values) = right.as_array() {
        return any(values, left, probe, sets);
    }
    if let Some(values) = right["set"].as_array() {
        return any(values, left, probe, sets);
    }
    if let Some(name) = right.as_str().and_then(|name| name.strip_prefix('@')) {
        return any(sets.elements(name)?, left, probe, sets);
    }
    field(left, probe).and_then(|field| field.is(right))
}

fn any(values: &[Value], left: &Value, probe: &JudgedPacket, sets: &Sets) -> Met {
    let mut known = true;
    for value in values {
        let value = if value["elem"].is_object() { &value["elem"]["val"] } else { value };
        match equals(left, value, probe, sets) {
            Some(true) => return Some(true),
            Some(false) => {}
            None => known = false,
        }
    }
    known.then_some(false)
}

/// A field of the packet.
enum PacketField<'a> {
    /// Text: an interface's name, a state.
    Text(&'a str),
    Address(IpAddr),
    /// A port.
    Number(u64),
    /// An IP protocol's number; a listing may have its name instead.
    Protocol(u8),
    /// An ICMPv6 type; a listing has its name.
    IcmpType(u8),
    /// The packet has no such field: nothing is equal to it.
    Absent,
}

fn field<'a>(left: &Value, probe: &'a JudgedPacket) -> Option<PacketField<'a>> {
    let meta = left["meta"]["key"].as_str();
    if let Some(key) = meta {
        return match key {
            "iifname" | "iif" => probe.input.as_deref().map(PacketField::Text),
            "oifname" | "oif" => probe.output.as_deref().map(PacketField::Text),
            "l4proto" => Some(PacketField::Protocol(probe.protocol)),
            "nfproto" => Some(PacketField::Text(if probe.version == 4 { "ipv4" } else { "ipv6" })),
            "protocol" => Some(PacketField::Text(if probe.version == 4 { "ip" } else { "ip6" })),
            _ => None,
        };
    }
    if left["ct"]["key"].as_str() == Some("state") {
        return Some(PacketField::Text(probe.state.name()));
    }
    let (header, name) = (left["payload"]["protocol"].as_str()?, left["payload"]["field"].as_str());
    match (header, name?) {
        ("ip", _) if probe.version != 4 => Some(PacketField::Absent),
        ("ip6", _) if probe.version != 6 => Some(PacketField::Absent),
        ("ip" | "ip6", "saddr") => probe.source.map(PacketField::Address),
        ("ip" | "ip6", "daddr") => probe.destination.map(PacketField::Address),
        ("ip", "protocol") | ("ip6", "nexthdr") => Some(PacketField::Protocol(probe.protocol)),
        ("tcp", _) if probe.protocol != 6 => Some(PacketField::Absent),
        ("udp", _) if probe.protocol != 17 => Some(PacketField::Absent),
        ("icmp", _) if probe.protocol != 1 => Some(PacketField::Absent),
        ("icmpv6", _) if probe.protocol != 58 => Some(PacketField::Absent),
        ("icmpv6", "type") => probe.icmp.map(PacketField::IcmpType),
        ("tcp" | "udp" | "th", "dport") => probe.port.map(|port| PacketField::Number(port.into())),
        _ => None,
    }
}

/// The protocol of a name in a listing of nft. nft takes names from the host's /etc/protocols:
/// Debian calls 4 `ipencap` and Fedora `ipv4`, and in both `ipip` is 94.
fn protocol_number(name: &str) -> Option<u64> {
    Some(match name {
        "icmp" => 1,
        "ipencap" | "ipv4" => 4,
        "tcp" => 6,
        "udp" => 17,
        "ipv6" => 41,
        "gre" => 47,
        "esp" => 50,
        "ah" => 51,
        "icmpv6" | "ipv6-icmp" => 58,
        "ipip" => 94,
        "sctp" => 132,
        _ => return name.parse().ok(),
    })
}

/// The ICMPv6 type of a name in a listing of nft.
fn icmp_type(name: &str) -> Option<u64> {
    Some(match name {
        "destination-unreachable" => 1,
        "packet-too-big" => 2,
        "time-exceeded" => 3,
        "parameter-problem" => 4,
        "echo-request" => 128,
        "echo-reply" => 129,
        "mld-listener-query" => 130,
        "mld-listener-report" => 131,
        "mld-listener-done" | "mld-listener-reduction" => 132,
        "nd-router-solicit" => 133,
        "nd-router-advert" => 134,
        "nd-neighbor-solicit" => 135,
        "nd-neighbor-advert" => 136,
        "nd-redirect" => 137,
        _ => return name.parse().ok(),
    })
}

impl PacketField<'_> {
    /// Whether it has this value.
    fn is(&self, value: &Value) -> Met {
        match self {
            Self::Absent => Some(false),
            Self::Text(text) => {
                let value = value.as_str()?;
                Some(
                    value.strip_suffix('*').map_or(*text == value, |start| text.starts_with(start)),
                )
            }
            Self::Number(number) => is_number(value, *number, |text| text.parse().ok()),
            Self::IcmpType(kind) => is_number(value, (*kind).into(), icmp_type),
            Self::Protocol(number) => is_number(value, (*number).into(), protocol_number),
            Self::Address(address) => {
                if let Some(range) = value["range"].as_array() {
                    let bound = |index: usize| range.get(index)?.as_str()?.parse::<IpAddr>().ok();
                    return Some((bound(0)?..=bound(1)?).contains(address));
                }
                let prefix = &value["prefix"];
                if prefix.is_object() {
                    let net: IpAddr = prefix["addr"].as_str()?.parse().ok()?;
                    let len = u8::try_from(prefix["len"].as_u64()?).ok()?;
                    return Some(IpNet::new(net, len).ok()?.contains(address));
                }
                Some(value.as_str()?.parse::<IpAddr>().ok()? == *address)
            }
        }
    }
}

/// Whether a value or a range of a listing is the number. An unknown name decides nothing.
fn is_number(value: &Value, number: u64, named: impl Fn(&str) -> Option<u64>) -> Met {
    let read = |value: &Value| value.as_str().map_or_else(|| value.as_u64(), &named);
    if let Some(range) = value["range"].as_array() {
        let bound = |at: usize| range.get(at).and_then(read);
        return Some((bound(0)?..=bound(1)?).contains(&number));
    }
    Some(read(value)? == number)
}
