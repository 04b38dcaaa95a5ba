//! Whether replies from the virtual IPs of a real server follow the copies of routes: the kernel's
//! own route lookup for such a packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::desired::DesiredRealServer;
use super::facts::Facts;
use super::family::Family;
use super::plan::HostPlan;
use super::problem::{Problem, ProblemKind};
use super::realserver;
use super::step::{HostStep, LOCAL, MAIN, Object, PROTOCOL};

/// A host on the internet, where there is a default route (RFC 5737, RFC 3849).
const FAR_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const FAR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1);

/// A host on the internet, of the family of this address.
#[must_use]
pub fn far(of: IpAddr) -> IpAddr {
    if of.is_ipv4() { FAR_V4.into() } else { FAR_V6.into() }
}

/// A route lookup for a reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reply {
    /// The virtual IP.
    pub vip: IpAddr,
    /// A possible client.
    pub to: IpAddr,
}

/// The lookups for the virtual IPs whose replies follow copies in this plan.
#[must_use]
pub fn questions(plan: &HostPlan, facts: &Facts) -> Vec<Reply> {
    let clients = Family::BOTH.map(|family| client(family, facts));
    let ask = |step: &HostStep| {
        let HostStep::Add(Object::Rule { from: vip, .. }) = *step else { return None };
        let [v4, v6] = clients;
        let to = if vip.is_ipv4() { v4 } else { v6 };
        Some(Reply { vip, to: to? })
    };
    plan.steps.iter().filter_map(ask).collect()
}

/// A host that a copied route reaches.
fn client(family: Family, facts: &Facts) -> Option<IpAddr> {
    let all = family.everywhere();
    if !facts.routes.at(MAIN, &all).is_empty() {
        return Some(far(all.addr()));
    }
    let own = |host: &IpAddr| facts.owners(*host).next().is_some();
    let local =
        |range: &IpNet| matches!(range, IpNet::V6(range) if range.addr().is_unicast_link_local());
    let mut ranges = facts.routes.destinations(MAIN, family).filter(|range| !local(range));
    ranges.find_map(|range| range.hosts().take(2).find(|host| !own(host) && !host.is_multicast()))
}

/// The problem that the table shows in which the kernel has found the reply's route; `None` if it
/// is that of the copies, or there is no route.
#[must_use]
pub fn judge(
    reply: &Reply,
    table: Option<u32>,
    desired: &DesiredRealServer,
    facts: &Facts,
) -> Option<Problem> {
    let Reply { vip, to } = *reply;
    // What the local table has is no client: the anycast address of a subnet that is routed here.
    let table = table.filter(|table| ![desired.table, LOCAL].contains(table))?;
    let mut leading = realserver::earlier(vip, desired, facts);
    if let Some(rule) = leading.find(|rule| rule.table == Some(table) && rule.protocol != PROTOCOL)
    {
        let what = format!(
            "to table {table}, whose routes lack the MSS that fits the tunnel, so uploads may hang"
        );
        return Some(realserver::taken(vip, rule, ProblemKind::Mss, &what, desired));
    }
    let command = Family::of(vip).command();
    let text = format!(
        "replies from virtual IP {vip} take the routes of table {table}, which lack the MSS that \
         fits the tunnel, so uploads may hang: see `{command} rule` and \
         `{command} route get {to} from {vip}`"
    );
    let problem = Problem::new(ProblemKind::Mss, format!("{vip} replies"), text);
    Some(Problem { address: Some(vip), ..problem })
}
