//! Converts between netlink route messages and routes as values, in both directions without loss.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::host::{Hop, MAIN, PROTOCOL, Raw, Route, RouteKind};
use crate::sys::netlink::packet_core::{DefaultNla, Nla};
use crate::sys::netlink::packet_route::AddressFamily;
use crate::sys::netlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop,
    RouteNextHopFlags, RouteScope, RouteVia,
};

use super::messages::family;

/// A route into an interface for one address, with vstun's protocol number.
pub(super) fn host_route(
    to: IpAddr,
    link: u32,
    table: u32,
    source: Option<IpAddr>,
) -> RouteMessage {
    route_message(&host_route_to(to, link, table, source))
}

/// A route to one address on the link with itself as gateway, with vstun's protocol number.
pub(super) fn neighbour(to: IpAddr, link: u32, source: Option<IpAddr>) -> RouteMessage {
    let mut route = host_route_to(to, link, MAIN, source);
    route.scope = RouteScope::Universe.into();
    // The longest prefix wins whatever the metric. With the largest metric, another program's route
    // to the same address takes precedence and is not refused.
    route.priority = u32::MAX;
    for hop in &mut route.hops {
        (hop.gateway, hop.onlink) = (Some(to), true);
    }
    route_message(&route)
}

fn host_route_to(to: IpAddr, link: u32, table: u32, source: Option<IpAddr>) -> Route {
    Route {
        destination: to.into(),
        from: None,
        tos: 0,
        table,
        protocol: PROTOCOL,
        // IPv6 has no scopes, and shows the widest.
        scope: if to.is_ipv4() { RouteScope::Link } else { RouteScope::Universe }.into(),
        kind: RouteKind::Unicast,
        priority: 0,
        source,
        nexthop: None,
        hops: vec![Hop { link, gateway: None, weight: 0, onlink: false, rest: Vec::new() }],
        metrics: [].into(),
        congestion: None,
        rest: Vec::new(),
    }
}

/// A route of a dump or of a notification. `None` for cached ones: a dump also lists the path MTUs
/// and redirects that the kernel has learnt for single destinations (`RTM_F_CLONED`). They have the
/// protocol of their parent route (IPv6) or none (IPv4), but no program made them.
pub(super) fn listed(message: &RouteMessage) -> Option<Route> {
    if message.header.flags.contains(RouteFlags::Cloned) { None } else { route(message) }
}

/// A route of any message, also of the answer to a lookup.
pub(super) fn route(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    let mut route = Route {
        destination: IpNet::new(any(header.address_family)?, header.destination_prefix_length)
            .ok()?,
        from: None,
        tos: header.tos,
        table: u32::from(header.table),
        protocol: header.protocol.into(),
        scope: header.scope.into(),
        kind: RouteKind::from_number(header.kind.into()),
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
            RouteAttribute::Source(from) => {
                route.from = IpNet::new(ip(from)?, header.source_prefix_length).ok();
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

/// Reads a next hop. Transient state (cache, dead links, offload) is not part of a route.
fn read_hop(attribute: &RouteAttribute, hop: &mut Hop) {
    match attribute {
        RouteAttribute::Gateway(gateway) => hop.gateway = ip(gateway),
        RouteAttribute::Via(RouteVia::Inet(gateway)) => hop.gateway = Some((*gateway).into()),
        RouteAttribute::Via(RouteVia::Inet6(gateway)) => hop.gateway = Some((*gateway).into()),
        RouteAttribute::Realm(_)
        | RouteAttribute::EncapType(_)
        | RouteAttribute::Encap(_)
        | RouteAttribute::Preference(_) => {
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
    if let Some(from) = route.from {
        message.header.source_prefix_length = from.prefix_len();
        attributes.push(RouteAttribute::Source(from.addr().into()));
    }
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
        // The kernel accepts the object or its content, not both.
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// `ip route show table all cache` after "fragmentation needed": table main, the route's own
    /// destination, for IPv4 without a protocol, for IPv6 with that of the route below.
    #[test]
    fn a_cached_path_mtu_is_no_route() {
        for (to, protocol) in [("198.51.100.7", 0), ("2001:db8::7", 3)] {
            let route = Route { protocol, ..host_route_to(to.parse().unwrap(), 2, MAIN, None) };
            let mut message = route_message(&route);
            assert_eq!(listed(&message), Some(route.clone()));
            message.header.flags |= RouteFlags::Cloned;
            assert_eq!(listed(&message), None, "{to}");
            // The answer to a lookup is always such a clone.
            assert_eq!(super::route(&message), Some(route));
        }
    }
}
