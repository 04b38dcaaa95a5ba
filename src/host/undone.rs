//! What another program has undone, where a look at the host alone does not show it: copies follow
//! other routes, and the TUN's MTU follows the paths to the real servers.

use std::collections::{BTreeSet, HashSet};

use super::copies::RouteChange;
use super::desired::DesiredRealServer;
use super::facts::Facts;
use super::family::Family;
use super::plan::HostPlan;
use super::route::{Route, RouteKey};
use super::step::PROTOCOL;

/// What has happened to a real server's copies since the last check.
#[derive(Clone, Copy, Debug)]
pub struct CopiesSince<'a> {
    /// The keys of vstun's routes that something else has changed.
    pub touched: &'a HashSet<RouteKey>,
    /// The families that had copies at the last check.
    pub had: &'a [Family],
    /// The interfaces that were down, were removed or lost an address: with these the kernel
    /// removes their routes itself.
    pub disturbed: &'a BTreeSet<u32>,
}

/// Whether another program has undone copies that these changes restore: a touched one, or a whole
/// family's, whatever the daemon has heard.
#[must_use]
pub fn copies(
    desired: &DesiredRealServer,
    facts: &Facts,
    changes: &[RouteChange],
    since: CopiesSince<'_>,
) -> bool {
    let CopiesSince { touched, had, disturbed } = since;
    let by_the_kernel = |route: &Route| {
        // Where a nexthop object led is not known any more.
        let anywhere = route.hops.is_empty() && route.nexthop.is_some() && !disturbed.is_empty();
        anywhere || route.hops.iter().any(|hop| disturbed.contains(&hop.link))
    };
    let restores = |change: &RouteChange| {
        let (RouteChange::Replace(route) | RouteChange::Remove(route)) = change;
        touched.contains(&route.key()) && !by_the_kernel(route)
    };
    let emptied = |family: &Family| {
        let of_family = |route: &Route| Family::of_net(&route.destination) == *family;
        let adds = |change: &RouteChange| match change {
            RouteChange::Replace(route) => of_family(route),
            RouteChange::Remove(_) => false,
        };
        let ours = |route: &Route| route.protocol == PROTOCOL && of_family(route);
        changes.iter().any(adds) && !facts.routes.of_table(desired.table).any(ours)
    };
    changes.iter().any(restores) || disturbed.is_empty() && had.iter().any(emptied)
}

/// The families that have copies once these changes are made.
#[must_use]
pub fn families_with_copies(
    desired: &DesiredRealServer,
    facts: &Facts,
    changes: &[RouteChange],
) -> Vec<Family> {
    let ours = |route: &&Route| route.protocol == PROTOCOL;
    let there = facts.routes.of_table(desired.table).filter(ours);
    let added = changes.iter().filter_map(|change| match change {
        RouteChange::Replace(route) => Some(route),
        RouteChange::Remove(_) => None,
    });
    let routes: Vec<&Route> = there.chain(added).collect();
    let has =
        |family: &Family| routes.iter().any(|route| Family::of_net(&route.destination) == *family);
    Family::BOTH.into_iter().filter(has).collect()
}

/// The TUN's MTU as planned, if the TUN has another one although the daemon has `set` this one
/// before.
#[must_use]
pub fn tun_mtu(plan: &HostPlan, facts: &Facts, set: Option<u16>) -> Option<u16> {
    let tun = facts.link(&plan.tun)?;
    let wanted = Some(plan.tun_mtu).filter(|mtu| Some(*mtu) == set);
    wanted.filter(|mtu| u32::from(*mtu) != tun.mtu)
}
