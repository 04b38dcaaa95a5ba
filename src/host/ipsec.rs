//! IPsec policies of other programs that discard packets: a route lookup does not show them.

use std::net::IpAddr;

use ipnet::IpNet;

use super::desired::{DesiredDirector, DesiredRealServer};
use super::facts::Facts;
use super::family::Family;
use super::ipsec_policy::PolicyDirection::{Forward, In, Out};
use super::ipsec_policy::{IpsecPolicy, PolicyAction, PolicyDirection};
use super::plan::HostPlan;
use super::problem::{Problem, ProblemKind};
use super::selective::SelectiveRule;

/// Packets of one sort: what a policy can do to them.
struct Stream<'a> {
    directions: &'a [PolicyDirection],
    /// The possible addresses; none: any.
    sources: Vec<IpNet>,
    destinations: Vec<IpNet>,
    /// No packet of the stream has a source in these.
    never_from: &'a [IpNet],
    kind: ProblemKind,
    /// The virtual IP or real server.
    about: IpAddr,
    text: String,
}

/// The policies that discard a director's packets.
#[must_use]
pub fn at_director(
    desired: &DesiredDirector,
    plan: &HostPlan,
    facts: &Facts,
) -> Vec<SelectiveRule> {
    let of_vip = |vip: &IpAddr| Stream {
        directions: &[Forward, Out],
        sources: Vec::new(),
        destinations: vec![(*vip).into()],
        never_from: &[],
        kind: ProblemKind::Capture,
        about: *vip,
        text: format!("packets for virtual IP {vip}"),
    };
    let of_real = |real: &IpAddr| Stream {
        directions: &[Out],
        sources: plan
            .tunnel_routes
            .sources
            .get(real)
            .map(|source| (*source).into())
            .into_iter()
            .collect(),
        destinations: vec![(*real).into()],
        never_from: &[],
        kind: ProblemKind::RealServer,
        about: *real,
        text: format!("tunnelled packets to real server {real}"),
    };
    let streams = plan.captured.iter().map(of_vip).chain(desired.reals.iter().map(of_real));
    judge(streams, facts)
}

/// The policies that discard a real server's packets.
#[must_use]
pub fn at_realserver(desired: &DesiredRealServer, facts: &Facts) -> Vec<SelectiveRule> {
    let is_vip = |address: &IpAddr| desired.vips.contains(address);
    let own = facts.addresses.iter().map(|own| own.address).filter(|own| !is_vip(own));
    let own: Vec<IpNet> = own.map(IpNet::from).collect();
    let of_director = |net: &IpNet| Stream {
        directions: &[In],
        sources: vec![*net],
        destinations: own.clone(),
        never_from: &[],
        kind: ProblemKind::Capture,
        about: net.addr(),
        text: format!("tunnelled packets from `directors`, {net}"),
    };
    let of_vip = |vip: &IpAddr| Stream {
        directions: &[In],
        sources: Vec::new(),
        destinations: vec![(*vip).into()],
        never_from: &desired.directors,
        kind: ProblemKind::Capture,
        about: *vip,
        text: format!("what comes out of {} for virtual IP {vip}", desired.tun),
    };
    let of_replies = |vip: &IpAddr| Stream {
        directions: &[Out],
        sources: vec![(*vip).into()],
        destinations: Vec::new(),
        never_from: &[],
        kind: ProblemKind::VirtualIp,
        about: *vip,
        text: format!("replies from virtual IP {vip}"),
    };
    let directors = desired.directors.iter().map(of_director);
    let vips = desired.vips.iter();
    judge(directors.chain(vips.clone().map(of_vip)).chain(vips.map(of_replies)), facts)
}

/// Whether tunnelled packets to a real server leave as the director writes them: no policy for them
/// encrypts, authenticates or discards. The fast path passes no such policy.
#[must_use]
pub fn leaves_plain(source: Option<IpAddr>, real: IpAddr, facts: &Facts) -> bool {
    let packets = Stream {
        directions: &[Out],
        sources: source.map(IpNet::from).into_iter().collect(),
        destinations: vec![real.into()],
        never_from: &[],
        kind: ProblemKind::RealServer,
        about: real,
        text: String::new(),
    };
    packets.is_plain(&by_priority(&facts.policies))
}

/// Those of `directors` whose tunnelled packets a real server takes as they arrive: no policy for
/// them wants encryption or authentication, or discards. The fast path passes no such policy.
#[must_use]
pub fn arrive_plain(directors: &[IpNet], own: &[IpAddr], policies: &[IpsecPolicy]) -> Vec<IpNet> {
    let policies = by_priority(policies);
    let is_plain = |net: &&IpNet| {
        let packets = Stream {
            directions: &[In],
            sources: vec![**net],
            destinations: own.iter().copied().map(IpNet::from).collect(),
            never_from: &[],
            kind: ProblemKind::Capture,
            about: net.addr(),
            text: String::new(),
        };
        packets.is_plain(&policies)
    };
    directors.iter().filter(is_plain).copied().collect()
}

fn by_priority(policies: &[IpsecPolicy]) -> Vec<&IpsecPolicy> {
    let mut policies: Vec<_> = policies.iter().collect();
    policies.sort_by_key(|policy| policy.priority);
    policies
}

fn judge<'a>(streams: impl Iterator<Item = Stream<'a>>, facts: &Facts) -> Vec<SelectiveRule> {
    if facts.policies.is_empty() {
        return Vec::new();
    }
    let policies = by_priority(&facts.policies);
    streams.flat_map(|stream| stream.judged(&policies)).collect()
}

impl Stream<'_> {
    /// For each direction the first policies that match, down to one that matches all.
    fn judged(&self, policies: &[&IpsecPolicy]) -> Vec<SelectiveRule> {
        let mut found = Vec::new();
        for direction in self.directions {
            let of_direction = policies.iter().filter(|policy| policy.direction == *direction);
            for policy in of_direction {
                let Some(whole) = self.matched(policy) else { continue };
                found.extend(self.suspicion(policy, whole));
                if whole {
                    break;
                }
            }
        }
        found
    }

    /// Whether no packet has a policy but those that let it pass.
    fn is_plain(&self, policies: &[&IpsecPolicy]) -> bool {
        let matched = policies.iter().filter(|policy| self.directions.contains(&policy.direction));
        for policy in matched {
            match (self.matched(policy), policy.action) {
                (None, _) => {}
                (Some(whole), PolicyAction::Allow) => {
                    if whole {
                        return true;
                    }
                }
                (Some(_), PolicyAction::Block | PolicyAction::Transform) => return false,
            }
        }
        true
    }

    /// Whether the policy matches all of the stream; `None`: nothing of it.
    fn matched(&self, policy: &IpsecPolicy) -> Option<bool> {
        let of_family = self.about.is_ipv4() == policy.source.addr().is_ipv4();
        let end = |net: &IpNet, own: &[IpNet]| match own {
            [] => Some(net.prefix_len() == 0),
            own => {
                let family = Family::of_net(net);
                let mut of_family = own.iter().filter(|own| Family::of_net(own) == family);
                let some = of_family.clone().any(|own| net.contains(own) || own.contains(net));
                some.then(|| of_family.all(|own| net.contains(own)))
            }
        };
        let source = end(&policy.source, &self.sources)?;
        let destination = end(&policy.destination, &self.destinations)?;
        if self.never_from.iter().any(|net| net.contains(&policy.source)) {
            return None;
        }
        of_family.then_some(source && destination && !policy.partial)
    }

    fn suspicion(&self, policy: &IpsecPolicy, whole: bool) -> Option<SelectiveRule> {
        let Self { text, kind, about, .. } = self;
        let which = if whole { "" } else { " a part of" };
        match policy.action {
            PolicyAction::Block => {
                let text = format!(
                    "an IPsec policy of this host discards{which} {text}: `ip xfrm policy` shows \
                     `{policy}`; remove it with `ip xfrm policy delete {policy}`"
                );
                let subject = format!("{about} ipsec {policy}");
                let problem = Problem::new(*kind, subject, text);
                Some(SelectiveRule::Leads(Problem { address: Some(*about), ..problem }))
            }
            PolicyAction::Transform if policy.direction != Out => {
                Some(SelectiveRule::May(format!(
                    "an IPsec policy of this host discards{which} {text} unless they are \
                     protected as it says: `ip xfrm policy` shows `{policy}`"
                )))
            }
            PolicyAction::Allow | PolicyAction::Transform => None,
        }
    }
}
