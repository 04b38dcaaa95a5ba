//! Neighbour routes: routes to real servers on directly connected networks with themselves as
//! gateway.
//!
//! A raw socket's packets bring their own headers, which may name another destination than the
//! socket's call. So if the next hop is the destination, Linux allocates a route for each such
//! packet (`FLOWI_FLAG_KNOWN_NH` in `__mkroute_output` and `ip6_pol_route`). If the route has a
//! gateway, even the destination itself, Linux uses its cached route.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::host::facts::Facts;
use crate::host::route::{Hop, Route, RouteKind, attribute};
use crate::host::step::{HostStep, MAIN, Object, PROTOCOL};

/// A route for each real server that is a plain neighbour. Real servers whose route has any further
/// attribute get none.
pub(super) fn routes<'a>(
    reals: &'a [IpAddr],
    facts: &'a Facts,
) -> impl Iterator<Item = HostStep> + 'a {
    reals.iter().filter_map(|real| route(*real, facts)).map(HostStep::Add)
}

fn route(real: IpAddr, facts: &Facts) -> Option<Object> {
    let network = network(real, facts)?;
    let [hop] = network.hops.as_slice() else { return None };
    // Rules may choose another table: the lookup for the real server has to agree.
    let lookup = facts.lookups.get(&real)?;
    let agrees = lookup.kind == RouteKind::Unicast && lookup.link == Some(hop.link);
    let link = facts.link_at(hop.link).filter(|link| agrees && link.arp && link.up)?;
    Some(Object::Neighbour { address: real, link: link.name.clone(), source: network.source })
}

/// The route to the real server without vstun's own, if that route only puts a network on a link.
fn network(real: IpAddr, facts: &Facts) -> Option<&Route> {
    let to = IpNet::from(real);
    let mut others = facts.routes.covering(MAIN, to).filter(|route| route.protocol != PROTOCOL);
    let longest = others.next()?;
    // Another route of the same prefix may apply to some packets only.
    let alone = others.next().is_none_or(|other| other.destination != longest.destination);
    // The router preference has no effect without a router.
    let bare =
        |hop: &Hop| hop.gateway.is_none() && hop.rest.iter().all(|raw| raw.kind == attribute::PREF);
    let plain = alone
        && longest.kind == RouteKind::Unicast
        && longest.destination != to
        && longest.from.is_none()
        && longest.tos == 0
        && longest.nexthop.is_none()
        && longest.metrics.is_empty()
        && longest.congestion.is_none()
        && longest.hops.iter().all(bare);
    plain.then_some(longest)
}
