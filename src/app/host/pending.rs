//! The relevant events since the last check of the host.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::host::{LOCAL, PROTOCOL, Route, RouteEvent, RouteKey};
use crate::sys::netlink::HostChange;

use super::{Role, routes};

/// Routes that are followed one by one between two checks. With more, all are read again.
const EVENTS: usize = 10_000;

/// The routes that matter to a daemon.
#[derive(Clone, Debug)]
pub(super) enum Concern {
    /// For a director: default routes, and those that contain one of these addresses, in order. A
    /// full internet routing table is neither stored nor followed.
    Addresses(Vec<IpAddr>),
    /// For a real server: all routes that packets can leave by.
    Leaving,
}

impl Concern {
    pub(super) fn of(role: &Role) -> Self {
        match role {
            Role::RealServer(_) => Self::Leaving,
            Role::Director(desired) => {
                let all = desired.vips.iter().chain(&desired.reals).chain(&desired.sources);
                let mut addresses: Vec<IpAddr> = all.copied().collect();
                addresses.sort_unstable();
                Self::Addresses(addresses)
            }
        }
    }

    /// Whether the route matters.
    pub(super) fn includes(&self, route: &Route) -> bool {
        match self {
            // The routes of the local table follow from the addresses.
            Self::Leaving => route.table != LOCAL,
            Self::Addresses(addresses) => {
                let net = route.destination.trunc();
                let next = addresses.partition_point(|address| *address < net.network());
                net.prefix_len() == 0 || addresses.get(next).is_some_and(|own| net.contains(own))
            }
        }
    }
}

/// Unhandled events.
#[derive(Debug, Default)]
pub(super) struct PendingEvents {
    /// Routes added and removed, in order.
    pub(super) routes: Vec<RouteEvent>,
    /// Another event, or more than can be followed: everything has to be checked.
    pub(super) other: bool,
    /// The routes with vstun's protocol number that other programs have changed.
    pub(super) ours: HashSet<RouteKey>,
}

impl PendingEvents {
    /// Remembers the event; returns whether it matters.
    pub(super) fn note(&mut self, change: HostChange, concern: &Concern) -> bool {
        let event = match change {
            HostChange::AddressGone(_) | HostChange::Other | HostChange::Lost => None,
            HostChange::RouteMade { route, replaces } => match routes::listed(&route) {
                Some(route) => Some(RouteEvent::Made { route, replaces }),
                None => return false,
            },
            HostChange::RouteGone(route) => match routes::listed(&route) {
                Some(route) => Some(RouteEvent::Gone(route)),
                None => return false,
            },
        };
        event.as_ref().inspect(|event| self.note_ours(event.route()));
        match event {
            Some(event) if !concern.includes(event.route()) => return false,
            Some(event) if !self.other && self.routes.len() < EVENTS => self.routes.push(event),
            _ => {
                self.other = true;
                self.routes.clear();
            }
        }
        true
    }

    /// Remembers a change of one of vstun's own routes. Of very many some are enough.
    fn note_ours(&mut self, route: &Route) {
        if route.protocol == PROTOCOL && self.ours.len() < EVENTS {
            self.ours.insert(route.key());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::host::MAIN;

    fn made(to: &str, table: u32) -> HostChange {
        let mut message = routes::host_route("192.0.2.1".parse().unwrap(), 2, table, None);
        let net: ipnet::IpNet = to.parse().unwrap();
        let mut route = routes::listed(&message).unwrap();
        route.destination = net;
        message = routes::route_message(&route);
        HostChange::RouteMade { route: message, replaces: false }
    }

    #[test]
    fn a_director_follows_the_routes_to_its_addresses() {
        let addresses = ["10.1.0.10", "10.2.0.2", "2001:db8::2"];
        let concern = Concern::Addresses(addresses.map(|one| one.parse().unwrap()).to_vec());
        let table = [
            ("0.0.0.0/0", true),
            ("::/0", true),
            ("10.0.0.0/8", true),
            ("10.1.0.10/32", true),
            ("10.2.0.0/24", true),
            ("10.1.0.11/32", false),
            ("10.1.0.9/32", false),
            ("10.3.0.0/16", false),
            ("9.0.0.0/8", false),
            ("2001:db8::/32", true),
            ("2001:db9::/32", false),
        ];
        for (to, matters) in table {
            let mut unseen = PendingEvents::default();
            assert_eq!(unseen.note(made(to, MAIN), &concern), matters, "{to}");
            assert_eq!((unseen.routes.len(), unseen.other), (usize::from(matters), false), "{to}");
        }
    }

    #[test]
    fn a_real_server_follows_all_but_the_local_table_up_to_a_bound() {
        let mut unseen = PendingEvents::default();
        assert!(!unseen.note(made("10.0.0.0/8", LOCAL), &Concern::Leaving));
        for _ in 0..EVENTS {
            assert!(unseen.note(made("10.0.0.0/8", MAIN), &Concern::Leaving));
        }
        assert_eq!((unseen.routes.len(), unseen.other), (EVENTS, false));
        assert!(unseen.note(made("10.0.0.0/8", MAIN), &Concern::Leaving));
        assert_eq!((unseen.routes.len(), unseen.other), (0, true));
    }
}
