//! Routes by table and destination, and their updates by kernel events.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::family::Family;
use super::route::Route;

/// The routes of all tables, found by table and destination.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Routes {
    /// The routes of one destination are in the kernel's order.
    tables: BTreeMap<u32, BTreeMap<IpNet, Vec<Route>>>,
}

/// A kernel event about one route (`RTM_NEWROUTE`, `RTM_DELROUTE`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RouteEvent {
    /// It was added. `replaces`: it replaced the one with the same key (`NLM_F_REPLACE`).
    Made {
        /// The route.
        route: Route,
        /// Whether it replaced another.
        replaces: bool,
    },
    /// It was removed.
    Gone(Route),
}

/// The event is ambiguous: several routes have the same key, and the kernel's choice among them
/// depended on the request. The tables have to be read again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AmbiguousRoute;

impl RouteEvent {
    /// The route of the event.
    #[must_use]
    pub fn route(&self) -> &Route {
        match self {
            Self::Made { route, .. } | Self::Gone(route) => route,
        }
    }
}

impl Routes {
    /// Adds a route after the others of its destination.
    pub fn push(&mut self, route: Route) {
        let table = self.tables.entry(route.table).or_default();
        match table.get_mut(&route.destination.trunc()) {
            Some(routes) => routes.push(route),
            None => drop(table.insert(route.destination.trunc(), vec![route])),
        }
    }

    /// All routes, by table and destination.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.tables.values().flat_map(|table| table.values().flatten())
    }

    /// The routes of one table, by destination.
    pub fn of_table(&self, table: u32) -> impl Iterator<Item = &Route> {
        self.tables.get(&table).into_iter().flat_map(|table| table.values().flatten())
    }

    /// Removes one table.
    pub fn remove_table(&mut self, table: u32) {
        self.tables.remove(&table);
    }

    /// The routes of one table with exactly this destination.
    #[must_use]
    pub fn at(&self, table: u32, destination: &IpNet) -> &[Route] {
        let found = self.tables.get(&table).and_then(|table| table.get(&destination.trunc()));
        found.map_or(&[], Vec::as_slice)
    }

    /// The routes of one table that contain the range, itself included: longest prefix first.
    pub fn covering(&self, table: u32, range: IpNet) -> impl Iterator<Item = &Route> {
        let wider = std::iter::successors(Some(range.trunc()), IpNet::supernet);
        let table = self.tables.get(&table);
        wider.filter_map(move |net| table?.get(&net)).flatten()
    }

    /// The routes of one table within the range, itself included.
    pub fn within(&self, table: u32, range: IpNet) -> impl Iterator<Item = &Route> {
        let table = self.tables.get(&table);
        table.into_iter().flat_map(move |table| table.range(bounds(range)).flat_map(|(_, one)| one))
    }

    /// Whether the table has routes of the family.
    #[must_use]
    pub fn has(&self, table: u32, family: Family) -> bool {
        self.of_family(table, family).next().is_some()
    }

    /// The destinations of one table's routes of the family.
    pub fn destinations(&self, table: u32, family: Family) -> impl Iterator<Item = IpNet> {
        self.of_family(table, family).map(|(destination, _)| *destination)
    }

    fn of_family(&self, table: u32, family: Family) -> impl Iterator<Item = (&IpNet, &Vec<Route>)> {
        let all = bounds(family.everywhere());
        self.tables.get(&table).into_iter().flat_map(move |table| table.range(all.clone()))
    }

    /// Applies an event. An event that is already applied changes nothing, so events may be older
    /// than the tables.
    ///
    /// # Errors
    ///
    /// [`AmbiguousRoute`]; then nothing has changed.
    pub fn follow(&mut self, event: RouteEvent) -> Result<(), AmbiguousRoute> {
        let (table, destination) = (event.route().table, event.route().destination.trunc());
        let there = self.tables.entry(table).or_default().entry(destination).or_default();
        let key = event.route().key();
        let mut same_key = there.iter_mut().filter(|route| route.key() == key);
        let outcome = match (event, same_key.next(), same_key.next()) {
            (RouteEvent::Made { .. } | RouteEvent::Gone(_), Some(_), Some(_)) => {
                Err(AmbiguousRoute)
            }
            (RouteEvent::Made { route, .. }, None, _) => {
                there.push(route);
                Ok(())
            }
            (RouteEvent::Made { route, replaces }, Some(known), None) => {
                if replaces {
                    *known = route;
                    Ok(())
                } else if *known == route {
                    Ok(())
                } else {
                    Err(AmbiguousRoute)
                }
            }
            (RouteEvent::Gone(_), None, _) => Ok(()),
            (RouteEvent::Gone(route), Some(known), None) => {
                // An IPv6 multipath route can lose one next hop and keep the others.
                if known.hops.len() > 1 && known.hops != route.hops {
                    Err(AmbiguousRoute)
                } else {
                    there.retain(|known| known.key() != key);
                    Ok(())
                }
            }
        };
        if there.is_empty() {
            self.forget(table, destination);
        }
        outcome
    }
}

impl Routes {
    fn forget(&mut self, table: u32, destination: IpNet) {
        let Some(routes) = self.tables.get_mut(&table) else { return };
        routes.remove(&destination);
        if routes.is_empty() {
            self.tables.remove(&table);
        }
    }
}

impl Extend<Route> for Routes {
    fn extend<I: IntoIterator<Item = Route>>(&mut self, routes: I) {
        routes.into_iter().for_each(|route| self.push(route));
    }
}

impl FromIterator<Route> for Routes {
    fn from_iter<I: IntoIterator<Item = Route>>(routes: I) -> Self {
        let mut all = Self::default();
        all.extend(routes);
        all
    }
}

/// The first and the last prefix within the range, in their order: by address, then by length.
fn bounds(range: IpNet) -> RangeInclusive<IpNet> {
    let full = |address: IpAddr| match address {
        IpAddr::V4(address) => IpNet::V4(Ipv4Net::from(address)),
        IpAddr::V6(address) => IpNet::V6(Ipv6Net::from(address)),
    };
    range.trunc()..=full(range.broadcast())
}
