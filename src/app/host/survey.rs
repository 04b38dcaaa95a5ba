//! The host and a daemon's plan for it, read without the daemon's lock and without changes.

use std::collections::HashMap;
use std::net::IpAddr;

use anyhow::Result;

use super::pending::Concern;
use super::{Role, conflict, gather, messages};
use crate::host::{
    self, Announcement, DesiredDirector, DesiredRealServer, Facts, HostPlan, Problem, Routes,
    SelectiveRule, capture, replies,
};
use crate::sys::netlink::Netlink;
use crate::sys::netlink::packet_route::neighbour::NeighbourState;

/// The host, a daemon's plan for it, and the problems.
#[derive(Debug)]
pub(crate) struct Survey {
    /// The state of the host.
    pub(crate) facts: Facts,
    /// The daemon's plan; `None` if none can be made, and `problems` has the reason.
    pub(crate) plan: Option<HostPlan>,
    /// The problems of the host.
    pub(crate) problems: Vec<Problem>,
}

/// The host of a director. `running`: whether the TUN is a director's own.
///
/// # Errors
/// The host cannot be read.
pub(crate) async fn director(desired: &DesiredDirector, running: bool) -> Result<Survey> {
    survey(&Role::Director(desired.clone()), running).await
}

/// The same of a real server.
///
/// # Errors
/// The host cannot be read.
pub(crate) async fn realserver(desired: &DesiredRealServer, running: bool) -> Result<Survey> {
    survey(&Role::RealServer(desired.clone()), running).await
}

/// The same of a running real server without its routes, of which there may be a million.
///
/// # Errors
/// The host cannot be read.
pub(crate) async fn realserver_briefly(desired: &DesiredRealServer) -> Result<Survey> {
    let role = Role::RealServer(desired.clone());
    survey_with(&role, true, Some(Routes::default())).await
}

/// Those of the virtual IPs whose replies have no route to a host on the internet.
///
/// # Errors
/// There is no netlink.
pub(crate) async fn without_reply_route(vips: &[IpAddr]) -> Result<Vec<IpAddr>> {
    let netlink = Netlink::open()?;
    let mut without = Vec::new();
    for &vip in vips {
        if !gather::has_reply_route(&netlink, vip).await {
            without.push(vip);
        }
    }
    Ok(without)
}

/// Whether replies from this virtual IP have such a route.
///
/// # Errors
/// There is no netlink.
pub(crate) async fn has_reply_route(vip: IpAddr) -> Result<bool> {
    Ok(without_reply_route(&[vip]).await?.is_empty())
}

/// The next host on the way to a destination, and the kernel's entry for it.
#[derive(Clone, Debug)]
pub(crate) struct FoundHop {
    /// The destination.
    pub(crate) to: IpAddr,
    /// The index of the interface to it.
    pub(crate) link: u32,
    /// The router, or the destination itself.
    pub(crate) hop: IpAddr,
    /// The entry's state and its link-layer address; `None`: there is no entry.
    pub(crate) entry: Option<(NeighbourState, Vec<u8>)>,
}

impl FoundHop {
    /// Whether the host has answered once, and may not answer any more.
    pub(crate) fn may_be_old(&self) -> bool {
        use NeighbourState::{Delay, Probe, Reachable, Stale};
        let state = self.entry.as_ref().map(|(state, _)| *state);
        matches!(state, Some(Reachable | Stale | Delay | Probe))
    }
}

/// A hardware address as text.
pub(crate) fn mac(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// The next hosts on the way to these destinations. Those without a route are left out.
///
/// # Errors
/// There is no netlink.
pub(crate) async fn next_hops(destinations: &[IpAddr]) -> Result<Vec<FoundHop>> {
    let netlink = Netlink::open()?;
    let mut entries = HashMap::new();
    for family in gather::families() {
        let listed = netlink.neighbours(&messages::version(family)).await?;
        entries.extend(listed.iter().filter_map(messages::neighbour));
    }
    let mut found = Vec::new();
    for &to in destinations {
        let Ok(answer) = netlink.lookup(messages::lookup_request(to)).await else { continue };
        let Some((link, router)) = messages::next_hop(&answer) else { continue };
        let hop = router.unwrap_or(to);
        found.push(FoundHop { to, link, hop, entry: entries.get(&(link, hop)).cloned() });
    }
    Ok(found)
}

/// The addresses for which the kernel has asked on a network, without an answer.
///
/// # Errors
/// There is no netlink.
pub(crate) async fn unanswered_neighbours() -> Result<Vec<IpAddr>> {
    use NeighbourState::{Failed, Incomplete};
    let netlink = Netlink::open()?;
    let mut found = Vec::new();
    for family in gather::families() {
        let listed = netlink.neighbours(&messages::version(family)).await?;
        let entries = listed.iter().filter_map(messages::neighbour);
        let silent = entries.filter(|(_, (state, _))| matches!(state, Failed | Incomplete));
        found.extend(silent.map(|((_, address), _)| address));
    }
    Ok(found)
}

/// How often hosts are asked for an address that several may have.
const ASKED: u32 = 2;

/// The hardware addresses that answer for these addresses of neighbours, each on an interface.
pub(crate) async fn holders(
    neighbours: &[(String, IpAddr)],
    facts: &Facts,
) -> Vec<(IpAddr, [u8; 6])> {
    let asked = neighbours.iter();
    let asked: Vec<Announcement> = asked
        .map(|(link, address)| Announcement { link: link.clone(), address: *address })
        .collect();
    let heard = conflict::probe_times(ASKED, &asked, facts).await;
    heard.into_iter().map(|one| (one.address, one.mac)).collect()
}

/// Lets the kernel ask these hosts at once: interface and address. A failure only means that it
/// asks later.
///
/// # Errors
/// There is no netlink.
pub(crate) async fn probe_hops(hops: &[(u32, IpAddr)]) -> Result<()> {
    let netlink = Netlink::open()?;
    for &(link, hop) in hops {
        if let Err(error) = netlink.probe_neighbour(link, hop).await {
            log::debug!("the kernel does not ask for {hop}: {error}");
        }
    }
    Ok(())
}

/// Whether such a packet gets into the TUN.
///
/// # Errors
/// There is no netlink.
pub(crate) async fn arrives_at(
    question: capture::RouteQuestion,
    tun: &str,
    facts: &Facts,
) -> Result<bool> {
    let netlink = Netlink::open()?;
    let aim = facts.link(tun).map(|link| link.index);
    let answers = gather::captures(&netlink, vec![question]).await;
    Ok(answers.iter().any(|(_, answer)| {
        matches!(answer, capture::RouteAnswer::Route { link, .. } if link.is_some() && *link == aim)
    }))
}

async fn survey(role: &Role, running: bool) -> Result<Survey> {
    survey_with(role, running, None).await
}

async fn survey_with(role: &Role, running: bool, routes: Option<Routes>) -> Result<Survey> {
    let netlink = Netlink::open()?;
    let destinations = match role {
        Role::Director(desired) => desired.reals.clone(),
        Role::RealServer(_) => Vec::new(),
    };
    let facts = gather::facts(&netlink, &destinations, running, &Concern::of(role), routes).await?;
    let planned = match role {
        Role::Director(desired) => host::director::plan_items(desired, &facts),
        Role::RealServer(desired) => host::realserver::plan_items(desired, &facts),
    };
    let (mut plan, mut problems) = match planned {
        Ok(plan) => (Some(plan.clone()), plan.problems),
        Err(refusal) => (None, vec![Problem::from(refusal)]),
    };
    if let (true, Some(plan), Role::Director(desired)) = (running, &plan, role) {
        let questions = capture::questions(&plan.captured, &plan.uplinks, &facts);
        let answers = gather::captures(&netlink, questions).await;
        let judge =
            |(question, answer): &(_, _)| capture::judge(question, *answer, &desired.tun, &facts);
        problems.extend(answers.iter().filter_map(judge));
    }
    if let (true, Some(plan)) = (running, &mut plan) {
        for suspicion in role.suspicions(plan, &facts) {
            match suspicion {
                SelectiveRule::Leads(problem) => problems.push(problem),
                SelectiveRule::May(warning) => plan.warnings.push(warning),
            }
        }
    }
    if let (true, Some(plan), Role::RealServer(desired)) = (running, &plan, role) {
        let answers = gather::reply_tables(&netlink, replies::questions(plan, &facts)).await;
        let judge = |(reply, table): &(_, _)| replies::judge(reply, *table, desired, &facts);
        problems.extend(answers.iter().filter_map(judge));
    }
    Ok(Survey { facts, plan, problems })
}
