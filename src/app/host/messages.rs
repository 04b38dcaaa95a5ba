//! Between netlink messages and the values that plans are made of.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::host::{Address, Hop, Kind, Link, Lookup, PROTOCOL, Proxy, Raw, Route, Rule, metric};
use crate::sys::netlink::packet_core::{DefaultNla, Nla};
use crate::sys::netlink::packet_route::AddressFamily;
use crate::sys::netlink::packet_route::address::{AddressAttribute, AddressMessage};
use crate::sys::netlink::packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use crate::sys::netlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage,
};
use crate::sys::netlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop,
    RouteNextHopFlags, RouteScope, RouteVia,
};
use crate::sys::netlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};

pub(super) fn link(message: &LinkMessage) -> Option<Link> {
    let mut name = None;
    let mut mtu = 0;
    let mut mac = None;
    let mut ipip = false;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Mtu(bytes) => mtu = *bytes,
            LinkAttribute::Address(bytes) => mac = bytes.as_slice().try_into().ok(),
            LinkAttribute::LinkInfo(infos) => {
                ipip = infos.contains(&LinkInfo::Kind(InfoKind::IpIp));
            }
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
        loopback: flags.contains(LinkFlags::Loopback),
        arp: ethernet && !flags.contains(LinkFlags::Noarp),
        mac,
        ipip,
    })
}

pub(super) fn address(message: &AddressMessage) -> Option<Address> {
    let mut local = None;
    let mut net = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => net = Some(*ip),
            _ => {}
        }
    }
    // On a point-to-point interface the peer's address and not our own names the subnet.
    let net = net.or(local)?;
    let subnet = IpNet::new(net, message.header.prefix_len).ok()?;
    Some(Address { link: message.header.index, address: local.unwrap_or(net), subnet })
}

pub(super) fn proxy(message: &NeighbourMessage) -> Option<Proxy> {
    let mut address = None;
    let mut protocol = 0;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => {
                address = Some(IpAddr::V4(*ip));
            }
            NeighbourAttribute::Protocol(tag) => protocol = u8::from(*tag),
            _ => {}
        }
    }
    Some(Proxy { link: message.header.ifindex, address: address?, protocol })
}

pub(super) fn rule(message: &RuleMessage) -> Rule {
    let header = &message.header;
    let mut table = u32::from(header.table);
    let mut rule = Rule {
        priority: 0,
        from: None,
        table: None,
        special: header.dst_len != 0 || header.tos != 0 || header.flags.bits() & INVERT != 0,
        protocol: 0,
    };
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Source(ip) => rule.from = IpNet::new(*ip, header.src_len).ok(),
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Protocol(tag) => rule.protocol = u8::from(*tag),
            // The kernel says "none" with all bits set.
            RuleAttribute::SuppressPrefixLen(u32::MAX)
            | RuleAttribute::SuppressIfGroup(u32::MAX) => {}
            _ => rule.special = true,
        }
    }
    rule.table = (header.action == RuleAction::ToTable).then_some(table);
    rule
}

/// `FIB_RULE_INVERT`.
const INVERT: u32 = 2;

pub(super) fn rule_message(from: IpAddr, table: u32, priority: u32) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family(from);
    message.header.src_len = full(from);
    // Without an action the rule matches and then leads nowhere: EINVAL for whoever meets it.
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Source(from),
        RuleAttribute::Table(table),
        RuleAttribute::Priority(priority),
        RuleAttribute::Protocol(PROTOCOL.into()),
    ];
    message
}

pub(super) fn lookup_request(to: IpAddr) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(to);
    message.header.destination_prefix_length = full(to);
    message.attributes.push(RouteAttribute::Destination(to.into()));
    message
}

pub(super) fn lookup(message: &RouteMessage) -> Lookup {
    let route = route(message);
    Lookup {
        kind: Kind::from_number(message.header.kind.into()),
        link: route.as_ref().and_then(|route| Some(route.hops.first()?.link)),
        source: route.as_ref().and_then(|route| route.source),
        mtu: route.and_then(|route| route.metrics.get(&metric::MTU).copied()),
    }
}

/// A route into an interface for one address, by our protocol number.
pub(super) fn host_route(
    to: IpAddr,
    link: u32,
    table: u32,
    source: Option<IpAddr>,
) -> RouteMessage {
    route_message(&Route {
        destination: to.into(),
        tos: 0,
        table,
        protocol: PROTOCOL,
        scope: RouteScope::Link.into(),
        kind: Kind::Unicast,
        priority: 0,
        source,
        nexthop: None,
        hops: vec![Hop { link, gateway: None, weight: 0, onlink: false, rest: Vec::new() }],
        metrics: [].into(),
        congestion: None,
        rest: Vec::new(),
    })
}

pub(super) fn route(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    let mut route = Route {
        destination: IpNet::new(any(header.address_family)?, header.destination_prefix_length)
            .ok()?,
        tos: header.tos,
        table: u32::from(header.table),
        protocol: header.protocol.into(),
        scope: header.scope.into(),
        kind: Kind::from_number(header.kind.into()),
        priority: 0,
        source: None,
        nexthop: None,
        hops: Vec::new(),
        metrics: [].into(),
        congestion: None,
        rest: Vec::new(),
    };
    let onlink = header.flags.contains(RouteFlags::Onlink);
    let mut single = Hop { link: 0, gateway: None, weight: 0, onlink, rest: Vec::new() };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(to) => {
                route.destination = IpNet::new(ip(to)?, header.destination_prefix_length).ok()?;
            }
            RouteAttribute::Table(table) => route.table = *table,
            RouteAttribute::Priority(priority) => route.priority = *priority,
            RouteAttribute::PrefSource(from) => route.source = ip(from),
            RouteAttribute::NhId(id) => route.nexthop = Some(*id),
            RouteAttribute::Metrics(metrics) => read_metrics(metrics, &mut route),
            RouteAttribute::MultiPath(hops) => route.hops.extend(hops.iter().map(hop)),
            RouteAttribute::Oif(link) => single.link = *link,
            other => read_hop(other, &mut single),
        }
    }
    if single.link != 0 {
        route.hops.push(single);
    } else {
        route.rest = single.rest;
    }
    Some(route)
}

fn hop(message: &RouteNextHop) -> Hop {
    let mut hop = Hop {
        link: message.interface_index,
        gateway: None,
        weight: message.hops,
        onlink: message.flags.contains(RouteNextHopFlags::Onlink),
        rest: Vec::new(),
    };
    for attribute in &message.attributes {
        read_hop(attribute, &mut hop);
    }
    hop
}

/// What a way out is made of. State of the moment (cache, dead links, offload) is no part of a route.
fn read_hop(attribute: &RouteAttribute, hop: &mut Hop) {
    match attribute {
        RouteAttribute::Gateway(gateway) => hop.gateway = ip(gateway),
        RouteAttribute::Via(RouteVia::Inet(gateway)) => hop.gateway = Some((*gateway).into()),
        RouteAttribute::Via(RouteVia::Inet6(gateway)) => hop.gateway = Some((*gateway).into()),
        RouteAttribute::Realm(_) | RouteAttribute::EncapType(_) | RouteAttribute::Encap(_) => {
            let mut value = vec![0; attribute.value_len()];
            attribute.emit_value(&mut value);
            hop.rest.push(Raw { kind: attribute.kind(), value });
        }
        _ => {}
    }
}

fn read_metrics(metrics: &[RouteMetric], route: &mut Route) {
    for one in metrics {
        if let RouteMetric::CcAlgo(name) = one {
            route.congestion = Some(name.clone());
            continue;
        }
        let mut value = [0; 4];
        if one.value_len() == value.len() {
            one.emit_value(&mut value);
            route.metrics.insert(one.kind(), u32::from_ne_bytes(value));
        }
    }
}

pub(super) fn route_message(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    let address = route.destination.addr();
    message.header.address_family = family(address);
    message.header.destination_prefix_length = route.destination.prefix_len();
    message.header.tos = route.tos;
    message.header.protocol = route.protocol.into();
    message.header.scope = route.scope.into();
    message.header.kind = route.kind.number().into();
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Destination(address.into()));
    attributes.push(RouteAttribute::Table(route.table));
    if route.priority != 0 {
        attributes.push(RouteAttribute::Priority(route.priority));
    }
    attributes.extend(route.source.map(|source| RouteAttribute::PrefSource(source.into())));
    let metrics = metrics(route);
    if !metrics.is_empty() {
        attributes.push(RouteAttribute::Metrics(metrics));
    }
    attributes.extend(raw(&route.rest));
    match (route.nexthop, route.hops.as_slice()) {
        // The kernel takes the object or its content, not both.
        (Some(id), _) => attributes.push(RouteAttribute::NhId(id)),
        (None, []) => {}
        (None, [hop]) => {
            attributes.push(RouteAttribute::Oif(hop.link));
            attributes.extend(hop_attributes(hop, address));
            if hop.onlink {
                message.header.flags = RouteFlags::Onlink;
            }
        }
        (None, hops) => {
            let hops = hops.iter().map(|hop| hop_message(hop, address)).collect();
            attributes.push(RouteAttribute::MultiPath(hops));
        }
    }
    message
}

fn hop_message(hop: &Hop, destination: IpAddr) -> RouteNextHop {
    let mut message = RouteNextHop::default();
    message.interface_index = hop.link;
    message.hops = hop.weight;
    if hop.onlink {
        message.flags = RouteNextHopFlags::Onlink;
    }
    message.attributes = hop_attributes(hop, destination).collect();
    message
}

fn hop_attributes(hop: &Hop, destination: IpAddr) -> impl Iterator<Item = RouteAttribute> {
    let gateway = hop.gateway.map(|gateway| match gateway {
        IpAddr::V6(gateway) if destination.is_ipv4() => {
            RouteAttribute::Via(RouteVia::Inet6(gateway))
        }
        _ => RouteAttribute::Gateway(gateway.into()),
    });
    gateway.into_iter().chain(raw(&hop.rest).collect::<Vec<_>>())
}

fn raw(rest: &[Raw]) -> impl Iterator<Item = RouteAttribute> {
    rest.iter().map(|raw| RouteAttribute::Other(DefaultNla::new(raw.kind, raw.value.clone())))
}

fn metrics(route: &Route) -> Vec<RouteMetric> {
    let number = |(kind, value): (&u16, &u32)| {
        RouteMetric::Other(DefaultNla::new(*kind, value.to_ne_bytes().to_vec()))
    };
    let congestion = route.congestion.clone().map(RouteMetric::CcAlgo);
    route.metrics.iter().map(number).chain(congestion).collect()
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

fn any(family: AddressFamily) -> Option<IpAddr> {
    match family {
        AddressFamily::Inet => Some(IpAddr::from([0; 4])),
        AddressFamily::Inet6 => Some(IpAddr::from([0; 16])),
        _ => None,
    }
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// The prefix length of one address.
pub(super) fn full(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}
