//! Findings at a director and at its real servers.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::ends::{self, EndAnswer};
use super::fast_path;
use super::firewall::Ruleset;
use super::host::{host_findings, not_running};
use super::observed::DirectorFacts;
use super::passage;
use super::ports::{self, PortAnswers};
use super::{Cause, Diagnosis, Finding, Severity, neighbours, serving};
use crate::control::{FastPathState, Probed, ProbedPort, counted};
use crate::wire::encap::{Encap, SourcePorts};

/// The most findings of one sort about real servers or ports; further ones are only counted.
const MOST_ALIKE: usize = 100;

/// The findings at a director.
#[must_use]
pub fn diagnose_director(facts: &DirectorFacts) -> Diagnosis {
    let mut findings = facts.unseen.clone();
    findings.extend(
        facts.daemon.as_ref().map(|daemon| not_running("the director does not run", daemon)),
    );
    findings.extend(host_findings(&facts.host));
    findings.extend(serving::findings(&facts.services, &facts.vips));
    findings.extend(undiscovered(facts));
    findings.extend(passage::findings(facts));
    let mut well: Vec<String> = passage::well(facts).into_iter().collect();
    if let Some(probed) = &facts.probed {
        let (found, good) = reals(facts, probed);
        findings.extend(found);
        if good > 0 {
            well.push(format!("{} answered through the tunnel", counted(good as u64, "port")));
        }
    }
    // What the operator has chosen comes after what is observed.
    if let Some(state) = &facts.fast_path {
        findings.extend(fast_path::missing(state, "vstun-director"));
        if *state == FastPathState::default() {
            well.push(fast_path::OFF.to_owned());
        }
    }
    findings.extend(facts.carried_at.as_deref().map(|links| bypassed(links, facts)));
    let taken = facts.gue_ports_taken.filter(|(taken, _)| *taken > 0);
    findings.extend(taken.map(|(taken, ports)| gue_ports(taken, ports)));
    Diagnosis::new("director", findings, well)
}

/// Where IPv6 hosts and this one do not find each other.
fn undiscovered(facts: &DirectorFacts) -> Option<Finding> {
    let clients = facts.listened.iter().filter(|one| one.listen.address.is_ipv6());
    let tunnels = facts.ways.iter().filter(|way| way.real.is_ipv6());
    let links = clients.map(|one| one.uplink.as_str());
    let links = links.chain(tunnels.filter_map(|way| way.link.as_deref()));
    neighbours::finding(links, facts.ruleset.as_ref()?)
}

/// Packets in GUE without a socket for their source port.
fn gue_ports(taken: u64, ports: SourcePorts) -> Finding {
    let text = format!(
        "other programs use {} of packets in GUE: those of their flows are sent one by one, at the \
         cost of IP in IP; end the programs and restart the director, or name free ports with \
         gue_source_ports in [director]",
        counted(taken, "source port")
    );
    let (first, last) = ports.range().into_inner();
    Finding::new(Cause::GuePorts, Severity::Warning, text)
        .mended_by(format!("ss -unap 'sport >= :{first} and sport <= :{last}'"))
}

/// The most chains that a finding names.
const MOST_CHAINS: usize = 10;

/// The fast path and the chains that its packets bypass.
fn bypassed(links: &[String], facts: &DirectorFacts) -> Finding {
    let text = format!(
        "the fast path carries established connections from {} past the firewall: no rule, no \
         connection tracking and no capture on {} sees them; fast_path = \"off\" in [director] \
         and a restart undo it",
        links.join(" "),
        facts.tun
    );
    let chains = facts.ruleset.as_ref().map(Ruleset::of_passing_packets);
    let seen = match chains.as_deref() {
        None => "the rules could not be read".to_owned(),
        Some([]) => "there are no chains for such packets now".to_owned(),
        Some(chains) => {
            let named: Vec<_> = chains.iter().take(MOST_CHAINS).map(String::as_str).collect();
            let more = chains.len() - named.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("they see new connections alone: {}{more}", named.join(", "))
        }
    };
    Finding::new(Cause::FastPath, Severity::Note, text).seen(seen)
}

/// The findings from the real servers' answers, and how many ports have answered.
fn reals(facts: &DirectorFacts, probed: &Probed) -> (Vec<Finding>, usize) {
    let mut findings = Vec::new();
    let mut by_real = BTreeMap::<IpAddr, Vec<&ProbedPort>>::new();
    for port in &probed.ports {
        by_real.entry(port.address).or_default().push(port);
    }
    for end in facts.ends.iter().flatten() {
        by_real.entry(end.real).or_default();
    }
    for (real, ports) in &by_real {
        findings.extend(of_real(*real, ports, facts));
    }
    let asked = facts.ends.iter().flatten();
    findings.extend(asked.flat_map(|end| ends::findings(end, &facts.program)));
    let checks = facts.failing.iter().filter(|(real, ..)| {
        // The findings about its ports have the reason already.
        !findings.iter().any(|found: &Finding| found.address == Some(*real))
    });
    let checks: Vec<Finding> = checks.take(MOST_ALIKE).map(failing).collect();
    findings.extend(checks);
    (findings, probed.ports.iter().filter(|port| port.passed).count())
}

fn of_real(real: IpAddr, ports: &[&ProbedPort], facts: &DirectorFacts) -> Vec<Finding> {
    let on = format!("real server {real}");
    let seen = ports.first().map_or_else(String::new, |port| {
        format!("probes of {}/{}: {}", port.destination, port.protocol, port.detail)
    });
    let heard = facts.ends.iter().flatten().find(|end| end.real == real).map(|end| &end.heard);
    let answered = matches!(heard, Some(EndAnswer::Answered { .. }));
    let tunnelled = facts.ways.iter().find(|way| way.real == real).map(|way| &way.tunnelled[..]);
    let gue = tunnelled.unwrap_or_default().iter().find(|one| one.encap == Encap::Gue);
    let answers = match (ports::answers(ports, gue.is_some()), heard) {
        // Its daemon receives tunnelled packets.
        (_, Some(EndAnswer::Answered { .. })) => PortAnswers::Some,
        // In UDP a closed port of the tunnel looks like one of a service.
        (PortAnswers::Some, Some(EndAnswer::Refused(_))) if gue.is_some() => PortAnswers::Refused,
        (PortAnswers::Untried | PortAnswers::Silent, Some(EndAnswer::Refused(_))) => {
            PortAnswers::Refused
        }
        (PortAnswers::Untried, Some(EndAnswer::Silent)) => PortAnswers::Silent,
        (answers, _) => answers,
    };
    match answers {
        PortAnswers::Untried => Vec::new(),
        PortAnswers::Some => {
            let mut found: Vec<Finding> = ports::findings(real, ports.iter().copied())
                // Its daemon reports more exactly which programs listen.
                .filter(|found| !(answered && found.cause == Cause::Listener))
                .take(MOST_ALIKE)
                .collect();
            found.extend((heard == Some(&EndAnswer::Silent)).then(|| foreign(real)));
            found
        }
        PortAnswers::Refused => {
            let text = format!(
                "nothing at real server {real} takes tunnelled packets: vstun-realserver does not \
                 run there, {}",
                gue.map_or_else(
                    || "or its socket is full".to_owned(),
                    |one| format!("or its `gue_port` is not {}", one.gue_port),
                )
            );
            let found = Finding::new(Cause::RealServerDaemon, Severity::Fault, text).seen(seen);
            vec![found.about(real).mended_by("systemctl start vstun-realserver").on(on)]
        }
        PortAnswers::Silent => vec![silent(real, facts).seen(seen)],
    }
}

/// Its ports answer through the tunnel, its daemon does not.
fn foreign(real: IpAddr) -> Finding {
    let text = format!(
        "the end of the tunnel at real server {real} is not this release's vstun-realserver: an \
         older one, or a kernel's own tunnel (ipip, sit, ip6tnl); what it has configured is not \
         looked at"
    );
    let seen = "connections through the tunnel are answered, questions to the daemon are not";
    Finding::new(Cause::Version, Severity::Note, text)
        .seen(seen)
        .about(real)
        .on(format!("real server {real}"))
        .mended_by("vstun status")
}

/// Nothing comes back from the real server.
fn silent(real: IpAddr, facts: &DirectorFacts) -> Finding {
    let way = facts.ways.iter().find(|way| way.real == real);
    let source = way.and_then(|way| way.source);
    let tunnelled = way.map_or(&[][..], |way| &way.tunnelled);
    let words: Vec<String> = tunnelled.iter().map(|one| one.words()).collect();
    let text = format!(
        "real server {real} answers nothing that comes through the tunnel: it is down, a firewall \
         on the way or there drops {}, its `directors` do not admit {}, or its replies are dropped",
        words.join(" or "),
        source.map_or_else(|| "this director".to_owned(), |source| source.to_string()),
    );
    let mut found = Finding::new(Cause::Tunnel, Severity::Fault, text).about(real);
    if let Some(source) = source {
        let family = if source.is_ipv4() { "ip" } else { "ip6" };
        for one in tunnelled {
            let rule = format!("{} {family} saddr {source} accept", one.nft());
            found = found.mended_by(format!("nft insert rule inet filter input {rule}"));
        }
    }
    found.mended_by("vstun doctor").on(format!("real server {real}"))
}

fn failing((real, check, detail): &(IpAddr, String, String)) -> Finding {
    let text = format!("real server {real} fails its check {check}");
    Finding::new(Cause::Check, Severity::Fault, text)
        .seen(detail.clone())
        .about(*real)
        .mended_by(format!("vstun check {real}"))
}
