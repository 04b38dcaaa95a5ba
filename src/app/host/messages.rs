//! Converts between netlink messages and the values of plans.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::host::capture::RouteQuestion;
use crate::host::replies::Reply;
use crate::host::{
    Family, IpsecPolicy, Link, LocalAddress, Lookup, PROTOCOL, PolicyAction, PolicyDirection,
    RouteKind, Rule, Selectors, TunnelDevice, metric,
};
use crate::sys::ipsec::PolicyMessage;
use crate::sys::netlink::IpVersion;
use crate::sys::netlink::packet_route::AddressFamily;
use crate::sys::netlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use crate::sys::netlink::packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use crate::sys::netlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use crate::sys::netlink::packet_route::route::{RouteAttribute, RouteFlags, RouteMessage};
use crate::sys::netlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};

use super::routes::route;

pub(super) fn link(message: &LinkMessage) -> Option<Link> {
    let mut name = None;
    let mut mtu = 0;
    let mut mac = None;
    let mut tunnel = None;
    let mut master = None;
    let mut takes_packets = false;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Mtu(bytes) => mtu = *bytes,
            LinkAttribute::Address(bytes) => mac = bytes.as_slice().try_into().ok(),
            LinkAttribute::LinkInfo(infos) => {
                tunnel = infos.iter().find_map(tunnel_kind);
                takes_packets = infos.iter().any(has_ports_of_its_own);
            }
            LinkAttribute::Controller(index) => master = Some(*index),
            _ => {}
        }
    }
    let flags = message.header.flags;
    let ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    Some(Link {
        index: message.header.index,
        name: name?,
        mtu,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        loopback: flags.contains(LinkFlags::Loopback),
        arp: ethernet && !flags.contains(LinkFlags::Noarp),
        mac,
        tunnel,
        master,
        takes_packets,
    })
}

/// Whether the kernel passes packets that arrive at a port to this interface instead.
fn has_ports_of_its_own(info: &LinkInfo) -> bool {
    match info {
        LinkInfo::Kind(InfoKind::Bridge | InfoKind::Bond) => true,
        LinkInfo::Kind(InfoKind::Other(kind)) => kind == "team" || kind == "openvswitch",
        _ => false,
    }
}

fn tunnel_kind(info: &LinkInfo) -> Option<TunnelDevice> {
    match info {
        LinkInfo::Kind(InfoKind::IpIp) => Some(TunnelDevice::Ipip),
        LinkInfo::Kind(InfoKind::SitTun) => Some(TunnelDevice::Sit),
        LinkInfo::Kind(InfoKind::Ip6Tnl) => Some(TunnelDevice::Ip6Tnl),
        LinkInfo::Kind(InfoKind::GreTun) => Some(TunnelDevice::Gre),
        LinkInfo::Kind(InfoKind::GreTun6) => Some(TunnelDevice::Ip6Gre),
        _ => None,
    }
}

pub(super) fn address(message: &AddressMessage) -> Option<LocalAddress> {
    let mut local = None;
    let mut net = None;
    let doubtful = AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed;
    // An optimistic address is tentative too, and may be used (RFC 4429).
    let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => net = Some(*ip),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    // On a point-to-point interface the peer's address defines the subnet, not the interface's own.
    let net = net.or(local)?;
    let subnet = IpNet::new(net, message.header.prefix_len).ok()?;
    let is_v6 = net.is_ipv6();
    Some(LocalAddress {
        link: message.header.index,
        address: local.unwrap_or(net),
        subnet,
        tentative: message.header.flags.intersects(doubtful)
            && !flags.contains(AddressFlags::Optimistic),
        // For IPv4 the same bit means that the subnet has an earlier address.
        temporary: is_v6 && flags.contains(AddressFlags::Secondary),
        deprecated: flags.contains(AddressFlags::Deprecated),
        host_scope: message.header.scope == AddressScope::Host,
    })
}

/// As an entry of [`Proxies`](crate::host::Proxies).
pub(super) fn proxy(message: &NeighbourMessage) -> Option<((u32, IpAddr), u8)> {
    let mut address = None;
    let mut protocol = 0;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => {
                address = Some(IpAddr::V4(*ip));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => {
                address = Some(IpAddr::V6(*ip));
            }
            NeighbourAttribute::Protocol(tag) => protocol = u8::from(*tag),
            _ => {}
        }
    }
    Some(((message.header.ifindex, address?), protocol))
}

pub(super) fn rule(message: &RuleMessage) -> Option<Rule> {
    let header = &message.header;
    let mut table = u32::from(header.table);
    let mut rule = Rule {
        family: match header.family {
            AddressFamily::Inet => Family::V4,
            AddressFamily::Inet6 => Family::V6,
            _ => return None,
        },
        priority: 0,
        from: None,
        table: None,
        special: header.dst_len != 0 || header.tos != 0 || header.flags.bits() & INVERT != 0,
        only: Selectors {
            // `FR_ACT_UNSPEC` does not occur.
            idle: matches!(header.action, RuleAction::Goto | RuleAction::Nop),
            other: header.tos != 0 || header.flags.bits() & INVERT != 0,
            ..Selectors::default()
        },
        protocol: 0,
    };
    for attribute in &message.attributes {
        select(attribute, header.dst_len, &mut rule.only);
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Source(ip) => rule.from = IpNet::new(*ip, header.src_len).ok(),
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Protocol(tag) => rule.protocol = u8::from(*tag),
            // The kernel encodes "none" as all bits set.
            RuleAttribute::SuppressPrefixLen(u32::MAX)
            | RuleAttribute::SuppressIfGroup(u32::MAX) => {}
            _ => rule.special = true,
        }
    }
    rule.table = (header.action == RuleAction::ToTable).then_some(table);
    Some(rule)
}

/// Adds what the attribute selects.
fn select(attribute: &RuleAttribute, to_len: u8, only: &mut Selectors) {
    match attribute {
        RuleAttribute::Destination(ip) => only.to = IpNet::new(*ip, to_len).ok(),
        RuleAttribute::Iifname(name) => only.input = Some(name.clone()),
        RuleAttribute::Oifname(name) => only.output = Some(name.clone()),
        RuleAttribute::FwMark(_) => only.mark = true,
        RuleAttribute::IpProtocol(protocol) => only.protocol = Some(u8::from(*protocol)),
        RuleAttribute::SourcePortRange(range) => only.sports = Some(range.start..=range.end),
        RuleAttribute::DestinationPortRange(range) => only.dports = Some(range.start..=range.end),
        RuleAttribute::TunId(_) | RuleAttribute::L3MDev(_) | RuleAttribute::UidRange(_) => {
            only.other = true;
        }
        _ => {}
    }
}

/// `FIB_RULE_INVERT`.
const INVERT: u32 = 2;

pub(super) fn rule_message(from: IpAddr, table: u32, priority: u32) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family(from);
    message.header.src_len = full(from);
    // Without an action the rule matches and then fails: the packet's sender gets EINVAL.
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Source(from),
        RuleAttribute::Table(table),
        RuleAttribute::Priority(priority),
        RuleAttribute::Protocol(PROTOCOL.into()),
    ];
    message
}

/// A policy that is not a socket's own.
pub(super) fn policy(message: &PolicyMessage) -> Option<IpsecPolicy> {
    let net = |(address, prefix): (IpAddr, u8)| IpNet::new(address, prefix).ok();
    let PolicyMessage { partial, protocol, priority, blocks, transforms, .. } = *message;
    Some(IpsecPolicy {
        direction: match message.direction {
            0 => PolicyDirection::In,
            1 => PolicyDirection::Out,
            2 => PolicyDirection::Forward,
            _ => return None,
        },
        source: net(message.source)?,
        destination: net(message.destination)?,
        partial: partial || protocol != 0,
        priority,
        action: match (blocks, transforms) {
            (true, _) => PolicyAction::Block,
            (false, true) => PolicyAction::Transform,
            (false, false) => PolicyAction::Allow,
        },
    })
}

pub(super) fn lookup_request(to: IpAddr) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(to);
    message.header.destination_prefix_length = full(to);
    message.attributes.push(RouteAttribute::Destination(to.into()));
    message
}

/// The route lookup for a packet that arrives at an uplink, with the table where its route is.
pub(super) fn capture_request(question: &RouteQuestion) -> RouteMessage {
    let mut message = lookup_request(question.vip);
    message.header.source_prefix_length = full(question.from);
    message.attributes.push(RouteAttribute::Source(question.from.into()));
    message.attributes.push(RouteAttribute::Iif(question.uplink));
    message.header.flags |= RouteFlags::LookupTable;
    message
}

/// The route lookup for a reply, with the table where its route is.
pub(super) fn reply_request(reply: &Reply) -> RouteMessage {
    let mut message = lookup_request(reply.to);
    message.header.source_prefix_length = full(reply.vip);
    message.attributes.push(RouteAttribute::Source(reply.vip.into()));
    message.header.flags |= RouteFlags::LookupTable;
    message
}

/// The table that a route is in.
pub(super) fn table(message: &RouteMessage) -> u32 {
    let number = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(number) => Some(*number),
        _ => None,
    });
    number.unwrap_or_else(|| message.header.table.into())
}

/// The answer to a lookup, without a path MTU that the kernel has learnt: the balancer has its own.
pub(super) fn lookup(message: &RouteMessage) -> Lookup {
    let route = route(message);
    Lookup {
        kind: RouteKind::from_number(message.header.kind.into()),
        link: route.as_ref().and_then(|route| Some(route.hops.first()?.link)),
        source: route.as_ref().and_then(|route| route.source),
        mtu: route
            .filter(|_| !is_learnt(message))
            .and_then(|route| route.metrics.get(&metric::MTU).copied()),
    }
}

/// The interface and the router, if there is one, of the answer to a lookup.
pub(super) fn next_hop(message: &RouteMessage) -> Option<(u32, Option<IpAddr>)> {
    let route = route(message)?;
    let hop = route.hops.first()?;
    Some((hop.link, hop.gateway))
}

/// A neighbour entry: its state and link-layer address, by its interface and address.
pub(super) type KnownNeighbour = ((u32, IpAddr), (NeighbourState, Vec<u8>));

/// The neighbour entry of a message.
pub(super) fn neighbour(message: &NeighbourMessage) -> Option<KnownNeighbour> {
    let (mut address, mut link_layer) = (None, Vec::new());
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(four)) => {
                address = Some((*four).into());
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(six)) => {
                address = Some((*six).into());
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => link_layer.clone_from(bytes),
            _ => {}
        }
    }
    Some(((message.header.ifindex, address?), (message.header.state, link_layer)))
}

/// Whether the kernel's answer contains a path MTU that it has learnt from an ICMP error, and that
/// expires. Such an error may be forged: the kernel accepts any that quotes an echo reply. Each
/// answer for IPv4 has the flag, and a configured IPv6 route may expire too, so both signs are
/// needed.
fn is_learnt(message: &RouteMessage) -> bool {
    let expires = message
        .attributes
        .iter()
        .any(|attribute| matches!(attribute, RouteAttribute::CacheInfo(info) if info.expires != 0));
    expires && message.header.flags.contains(RouteFlags::Cloned)
}

pub(super) fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

pub(super) fn version(family: Family) -> IpVersion {
    match family {
        Family::V4 => IpVersion::V4,
        Family::V6 => IpVersion::V6,
    }
}

/// The prefix length of one address.
pub(super) fn full(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::sys::netlink::packet_route::route::{RouteCacheInfo, RouteMetric};

    /// A `struct rta_cacheinfo`; its third number is the time left.
    fn ends_in(time: u32) -> RouteAttribute {
        let mut bytes = [0; 32];
        bytes[8..12].copy_from_slice(&time.to_ne_bytes());
        RouteAttribute::CacheInfo(RouteCacheInfo::parse(&bytes).unwrap())
    }

    /// `ip route get` of a route with an MTU, and after a "fragmentation needed".
    #[test]
    fn a_learnt_path_mtu_is_not_that_of_the_way() {
        for to in ["192.0.2.7", "2001:db8::7"] {
            for (cloned, expires, expected) in [
                (false, 0, Some(1400)),
                (true, 0, Some(1400)),
                (false, 9, Some(1400)),
                (true, 9, None),
            ] {
                let mut message = lookup_request(to.parse().unwrap());
                message.attributes.push(RouteAttribute::Oif(2));
                message.attributes.push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(1400)]));
                message.attributes.push(ends_in(expires));
                if cloned {
                    message.header.flags |= RouteFlags::Cloned;
                }
                let found = lookup(&message);
                assert_eq!((found.link, found.mtu), (Some(2), expected), "{to} {cloned} {expires}");
            }
        }
    }
}
