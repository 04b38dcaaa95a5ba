//! Rules of other programs that match a part of the packets only, by ports, mark or the client's
//! address. The lookups of [`capture`] and [`replies`] ask for one packet, which such a rule need
//! not match.

use std::net::IpAddr;

use ipnet::IpNet;

use super::desired::{DesiredRealServer, ServedPorts};
use super::facts::{Facts, Rule};
use super::family::Family;
use super::plan::HostPlan;
use super::problem::{Problem, ProblemKind};
use super::selectors::Selectors;
use super::step::{MAIN, PROTOCOL};
use super::{capture, realserver, replies};

/// The kernel's own rule for the main table, which has the routes to the TUN.
const MAIN_PRIORITY: u32 = 32_766;

/// A rule that leads away a part of the packets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SelectiveRule {
    /// It matches packets that are served.
    Leads(Problem),
    /// Whether it matches depends on marks, or on what else is not known here.
    May(String),
}

/// The rules at a director that lead clients' packets elsewhere than into the TUN.
#[must_use]
pub fn at_director(
    tun: &str,
    plan: &HostPlan,
    served: &[ServedPorts],
    facts: &Facts,
) -> Vec<SelectiveRule> {
    let asked = capture::questions(&plan.captured, &plan.uplinks, facts);
    let mut found = Vec::new();
    for rule in facts.rules.iter().filter(|rule| is_foreign(rule) && rule.priority < MAIN_PRIORITY)
    {
        let only = &rule.only;
        // A forwarded packet has no output interface before its lookup.
        let input = only.input.as_ref().is_none_or(|input| plan.uplinks.contains(input));
        if !input || only.output.is_some() || is_of_this_host(rule, facts) {
            continue;
        }
        for &vip in &plan.captured {
            let lookup = |range: IpNet| range.contains(&vip);
            let matches = Family::of(vip) == rule.family
                && only.to.is_none_or(lookup)
                && serves(vip, only, served)
                && leads_away(vip, rule, tun, facts);
            // The lookups already show a rule that matches their packets.
            let of_lookup = asked.iter().filter(|question| question.vip == vip);
            let missed = only.are_partial()
                || rule.from.is_some_and(|from| {
                    of_lookup.map(|question| question.from).any(|asked| !from.contains(&asked))
                });
            if matches && missed {
                found.push(suspicion(vip, rule, tun));
            }
        }
    }
    found
}

fn suspicion(vip: IpAddr, rule: &Rule, tun: &str) -> SelectiveRule {
    let (priority, command) = (rule.priority, Family::of(vip).command());
    let (which, verb) = (part(rule), if rule.only.are_known() { "takes" } else { "may take" });
    let text = format!(
        "routing rule {priority} {verb} packets for virtual IP {vip} past {tun}: those that match \
         `{which}`; remove it with `{command} rule del priority {priority}`, or exclude the \
         virtual IP"
    );
    if !rule.only.are_known() {
        return SelectiveRule::May(text);
    }
    let problem = Problem::new(ProblemKind::Capture, format!("{vip} rule {priority}"), text);
    SelectiveRule::Leads(Problem { address: Some(vip), ..problem })
}

/// What a rule matches, as `ip rule` shows it.
fn part(rule: &Rule) -> String {
    let from = rule.from.map_or_else(|| "from all".to_owned(), |from| format!("from {from}"));
    format!("{from} {}", rule.only).trim_end().to_owned()
}

/// Whether another program has made the rule: not the kernel, and not vstun.
fn is_foreign(rule: &Rule) -> bool {
    rule.protocol != PROTOCOL && !rule.only.idle
}

/// Whether the rule is for packets of this host itself, which no client sends.
fn is_of_this_host(rule: &Rule, facts: &Facts) -> bool {
    let single = rule.from.filter(|from| from.prefix_len() == from.max_prefix_len());
    single.is_some_and(|from| facts.owners(from.addr()).next().is_some())
}

/// Whether the selected protocol and ports are those of a service at the virtual IP.
fn serves(vip: IpAddr, only: &Selectors, served: &[ServedPorts]) -> bool {
    let fits = |one: &ServedPorts| {
        let ports = only.dports.as_ref().is_none_or(|dports| {
            dports.start() <= one.ports.end() && one.ports.start() <= dports.end()
        });
        one.vip == vip && only.protocol.is_none_or(|number| number == one.protocol) && ports
    };
    served.iter().any(fits)
}

/// Whether the rule's table has a route to the virtual IP that is not the TUN's.
fn leads_away(vip: IpAddr, rule: &Rule, tun: &str, facts: &Facts) -> bool {
    let Some(table) = rule.table else { return true };
    if table == MAIN {
        return false;
    }
    let route = facts.routes.covering(table, IpNet::from(vip)).next();
    route.is_some_and(|route| {
        let hop = route.hops.first().and_then(|hop| facts.link_at(hop.link));
        hop.is_none_or(|link| link.name != tun)
    })
}

/// The rules at a real server that lead a part of the replies past the copies of routes.
#[must_use]
pub fn at_realserver(
    desired: &DesiredRealServer,
    plan: &HostPlan,
    facts: &Facts,
) -> Vec<SelectiveRule> {
    let mut found = Vec::new();
    for reply in replies::questions(plan, facts) {
        for rule in realserver::before(reply.vip, desired, facts) {
            let only = &rule.only;
            // Packets of this host have loopback as their input interface, and no output yet.
            let leaves = only.input.as_ref().is_none_or(|input| input == "lo");
            let missed = only.are_partial() || only.to.is_some_and(|to| !to.contains(&reply.to));
            if !is_foreign(rule) || !leaves || only.output.is_some() || !missed {
                continue;
            }
            let what = match rule.table {
                Some(table) if table == desired.table || !facts.routes.has(table, rule.family) => {
                    continue;
                }
                Some(table) => format!(
                    "that match `{}` to table {table}, whose routes lack the MSS that fits the \
                     tunnel, or lead elsewhere",
                    part(rule)
                ),
                None => format!("that match `{}`, and routes none of them", part(rule)),
            };
            let problem = realserver::taken(reply.vip, rule, ProblemKind::Mss, &what, desired);
            found.push(match only.are_known() {
                true => SelectiveRule::Leads(problem),
                false => SelectiveRule::May(problem.text.replacen(
                    " takes the replies",
                    " may take replies",
                    1,
                )),
            });
        }
    }
    found
}
