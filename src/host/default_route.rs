//! The director's routes back to clients. It never answers them, but `rp_filter`, strict or loose,
//! drops packets from sources that no route leads to.

use std::net::IpAddr;

use super::facts::Facts;
use super::family::Family;
use super::plan::HostPlan;
use super::problem::{Problem, ProblemKind};
use super::route::{Route, RouteKind};
use super::step::MAIN;

/// The last IPv4 default route; `None`: there was none. IPv6 has no such filter.
#[derive(Clone, Debug, Default)]
pub struct DefaultRoute(Option<Route>);

impl DefaultRoute {
    /// Records the current one. Returns the problem if it is gone. A host that has never had one
    /// has other routes to its clients.
    pub fn note(&mut self, plan: &HostPlan, facts: &Facts) -> Option<Problem> {
        let is_default = |route: &&Route| {
            let destination = route.destination;
            Family::of(destination.addr()) == Family::V4
                && destination.prefix_len() == 0
                && route.kind == RouteKind::Unicast
        };
        let defaults = facts.routes.iter().filter(is_default);
        if let Some(route) = defaults.min_by_key(|route| route.table != MAIN) {
            self.0 = Some(route.clone());
            return None;
        }
        let before = self.0.as_ref()?;
        let all = facts.conf("all", "rp_filter");
        let filters = |link: &&String| facts.conf(link, "rp_filter").max(all) > 0;
        let uplink = plan.uplinks.iter().find(filters)?;
        if !plan.captured.iter().any(IpAddr::is_ipv4) {
            return None;
        }
        let hop = before.hops.first();
        let via = hop.and_then(|hop| hop.gateway).map(|gateway| format!(" via {gateway}"));
        let dev = hop.and_then(|hop| facts.link_at(hop.link));
        let dev = dev.map(|link| format!(" dev {}", link.name));
        let text = format!(
            "the IPv4 default route is gone: rp_filter of {uplink} drops the packets of clients \
             that no other route leads to; put it back with `ip route add default{}{}`",
            via.unwrap_or_default(),
            dev.unwrap_or_default()
        );
        Some(Problem::new(ProblemKind::Capture, "default route", text))
    }
}
