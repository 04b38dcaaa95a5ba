//! What another program has undone, where a look at the host alone does not show it: copies follow
//! other routes, and the TUN's MTU follows the paths to the real servers.

use std::collections::HashSet;

use super::copies::RouteChange;
use super::desired::DesiredRealServer;
use super::facts::Facts;
use super::family::Family;
use super::plan::HostPlan;
use super::route::{Route, RouteKey};
use super::step::PROTOCOL;

/// Whether another program has undone copies that these changes restore. `touched`: the keys of the
/// routes that another program has changed since the last check. `were_there`: there were copies
/// then, and no interface has been down since. Then a table without any of a family was emptied,
/// whatever the daemon has heard.
#[must_use]
pub fn copies(
    desired: &DesiredRealServer,
    facts: &Facts,
    changes: &[RouteChange],
    touched: &HashSet<RouteKey>,
    were_there: bool,
) -> bool {
    let restores = |change: &RouteChange| {
        let (RouteChange::Replace(route) | RouteChange::Remove(route)) = change;
        touched.contains(&route.key())
    };
    let emptied = |family: Family| {
        let of_family = |route: &Route| Family::of_net(&route.destination) == family;
        let adds = |change: &RouteChange| match change {
            RouteChange::Replace(route) => of_family(route),
            RouteChange::Remove(_) => false,
        };
        let ours = |route: &Route| route.protocol == PROTOCOL && of_family(route);
        changes.iter().any(adds) && !facts.routes.of_table(desired.table).any(ours)
    };
    changes.iter().any(restores) || were_there && Family::BOTH.into_iter().any(emptied)
}

/// The TUN's MTU as planned, if the TUN has another one although the daemon has `set` this one
/// before.
#[must_use]
pub fn tun_mtu(plan: &HostPlan, facts: &Facts, set: Option<u16>) -> Option<u16> {
    let tun = facts.link(&plan.tun)?;
    let wanted = Some(plan.tun_mtu).filter(|mtu| Some(*mtu) == set);
    wanted.filter(|mtu| u32::from(*mtu) != tun.mtu)
}
