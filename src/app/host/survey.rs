//! The host and a daemon's plan for it, read without the daemon's lock and without changes.

use std::net::IpAddr;

use anyhow::Result;

use super::Role;
use super::gather;
use super::heard::Concern;
use crate::host::{
    self, DesiredDirector, DesiredRealServer, Facts, HostPlan, Problem, Routes, SelectiveRule,
    capture, replies,
};
use crate::sys::netlink::Netlink;

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
pub(crate) async fn without_way_back(vips: &[IpAddr]) -> Result<Vec<IpAddr>> {
    let netlink = Netlink::open()?;
    let mut without = Vec::new();
    for &vip in vips {
        if !gather::has_way_back(&netlink, vip).await {
            without.push(vip);
        }
    }
    Ok(without)
}

/// Whether replies from this virtual IP have such a route.
///
/// # Errors
/// There is no netlink.
pub(crate) async fn has_way_back(vip: IpAddr) -> Result<bool> {
    Ok(without_way_back(&[vip]).await?.is_empty())
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
