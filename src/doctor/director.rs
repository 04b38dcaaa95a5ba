//! Findings at a director and at its real servers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use super::ends::{self, EndAnswer};
use super::fast_path;
use super::firewall::Ruleset;
use super::host::{host_findings, not_running};
use super::observed::{DirectorFacts, NeighbourEntry, RouteToReal};
use super::passage;
use super::ports::{self, PortAnswers};
use super::{
    Cause, Diagnosis, Finding, Severity, conntrack, duplicates, happened, link_layer, neighbours,
    probe_packets, refused_clients, serving, translation,
};
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
    findings.extend(facts.differs.as_ref().map(|(path, what)| differs(path, what)));
    findings.extend(host_findings(&facts.host));
    findings.extend(serving::findings(&facts.services, &facts.vips));
    findings.extend(undiscovered(facts));
    findings.extend(link_layer::findings(facts));
    findings.extend(conntrack::finding(facts.conntrack));
    findings.extend(passage::findings(facts));
    let known: Vec<Vec<String>> = findings.iter().map(|found| found.mend.clone()).collect();
    let own = probe_packets::findings(facts).into_iter();
    findings.extend(own.filter(|found| !known.contains(&found.mend)));
    findings.extend(refused_clients::findings(&facts.refused_clients));
    let mut well: Vec<String> = passage::well(facts).into_iter().collect();
    if let Some(probed) = &facts.probed {
        let (found, good) = reals(facts, probed);
        findings.extend(found);
        findings.extend((probed.left_out > 0).then(|| untried(probed.left_out)));
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
    findings.extend(happened::outages(facts, &findings));
    let taken = facts.gue_ports_taken.filter(|(taken, _)| *taken > 0);
    findings.extend(taken.map(|(taken, ports)| gue_ports(taken, ports)));
    Diagnosis::new("director", findings, well).partly(!facts.unseen.is_empty())
}

/// The file was changed since it was read, or a verb has changed what runs.
fn differs(path: &Path, what: &str) -> Finding {
    let path = path.display();
    let text = format!("{path} differs from what the director runs with, which is judged here");
    Finding::new(Cause::Configuration, Severity::Note, text)
        .seen(what)
        .mended_by(format!("vstun plan {path}"))
        .mended_by("vstun reload")
}

/// Ports that were not tried.
fn untried(left_out: u64) -> Finding {
    let text = format!(
        "{} of real servers were not tried by a connection: those in ranges, and those past the \
         first 2,048",
        counted(left_out, "port")
    );
    Finding::new(Cause::Listener, Severity::Note, text).mended_by("vstun list")
}

/// Where IPv6 hosts and this one do not find each other.
fn undiscovered(facts: &DirectorFacts) -> Option<Finding> {
    let clients = facts.listened.iter().filter(|one| one.listen.address.is_ipv6());
    let tunnels = facts.routes.iter().filter(|route| route.real.is_ipv6());
    let links = clients.map(|one| one.uplink.as_str());
    let links = links.chain(tunnels.filter_map(|route| route.link.as_deref()));
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
        let ports = by_real.entry(port.address).or_default();
        if !probe_packets::proves_nothing(port, facts) {
            ports.push(port);
        }
    }
    for end in facts.ends.iter().flatten() {
        by_real.entry(end.real).or_default();
    }
    for (real, ports) in &by_real {
        findings.extend(of_real(*real, ports, facts));
    }
    findings.extend(facts.duplicates.iter().map(|duplicate| {
        let ports = by_real.get(&duplicate.real).map_or(&[][..], |ports| ports);
        let (answers, ..) = judged(duplicate.real, ports, facts);
        duplicates::finding(duplicate, answers == PortAnswers::Some)
    }));
    let asked = facts.ends.iter().flatten();
    findings.extend(asked.flat_map(|end| ends::findings(end, &facts.program)));
    explained_by_hosts(&mut findings);
    let silent: Vec<IpAddr> = by_real
        .iter()
        .filter(|(real, ports)| judged(**real, ports, facts).0 == PortAnswers::Silent)
        .map(|(real, _)| *real)
        .collect();
    findings.extend(happened::source(facts, &silent));
    let blamed: Vec<IpAddr> = findings.iter().filter_map(|found| found.address).collect();
    findings.extend(happened::handshakes(facts, &blamed));
    let checks = facts.failing.iter().filter(|(real, _, detail)| {
        // The findings about its ports, or about this host, have the reason already.
        !probe_packets::is_refused(detail)
            && !findings.iter().any(|found: &Finding| found.address == Some(*real))
    });
    let checks: Vec<Finding> = checks.take(MOST_ALIKE).map(failing).collect();
    findings.extend(checks);
    (findings, probed.ports.iter().filter(|port| ports::passed(port)).count())
}

/// What a real server's daemon reports about its host is the likely reason that its ports do not
/// answer.
fn explained_by_hosts(findings: &mut [Finding]) {
    let is_silent = |found: &Finding| found.cause == Cause::ReplyPath;
    let silent: Vec<Option<IpAddr>> =
        findings.iter().filter(|one| is_silent(one)).map(|found| found.address).collect();
    for found in findings.iter_mut().filter(|found| found.severity == Severity::Warning) {
        if found.cause == Cause::Host && silent.contains(&found.address) {
            found.severity = Severity::Fault;
        }
    }
}

/// What the answers of a real server's ports and of its daemon amount to, what the daemon has said,
/// and the port of GUE if tunnels to it use that.
fn judged<'a>(
    real: IpAddr,
    ports: &[&ProbedPort],
    facts: &'a DirectorFacts,
) -> (PortAnswers, Option<&'a EndAnswer>, Option<u16>) {
    let daemon = facts.ends.iter().flatten().find(|end| end.real == real).map(|end| &end.answer);
    let tunnelled =
        facts.routes.iter().find(|route| route.real == real).map(|route| &route.tunnelled[..]);
    let gue = tunnelled.unwrap_or_default().iter().find(|one| one.encap == Encap::Gue);
    let answers = match (ports::answers(ports, gue.is_some()), daemon) {
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
    (answers, daemon, gue.map(|one| one.gue_port))
}

fn of_real(real: IpAddr, ports: &[&ProbedPort], facts: &DirectorFacts) -> Vec<Finding> {
    let on = format!("real server {real}");
    let seen = ports.first().map_or_else(String::new, |port| {
        format!("probes of {}/{}: {}", port.destination, port.protocol, port.detail)
    });
    let (answers, daemon, gue) = judged(real, ports, facts);
    let answered = matches!(daemon, Some(EndAnswer::Answered { .. }));
    match answers {
        PortAnswers::Untried => Vec::new(),
        PortAnswers::Some => {
            // Its daemon reports more exactly which programs listen, and what it lacks.
            let ends: Vec<_> = facts.ends.iter().flatten().filter(|end| end.real == real).collect();
            let known = |port: &ProbedPort| ends.iter().any(|end| ends::explains(end, port));
            let open = ports.iter().copied().filter(|port| !known(port));
            let mut found: Vec<Finding> =
                ports::findings(real, open, answered).take(MOST_ALIKE).collect();
            found.extend((daemon == Some(&EndAnswer::Silent)).then(|| foreign(real)));
            found
        }
        PortAnswers::Refused => {
            let text = format!(
                "nothing at real server {real} takes tunnelled packets: vstun-realserver does not \
                 run there, {}",
                gue.map_or_else(
                    || "or its socket is full".to_owned(),
                    |port| format!("or its `gue_port` is not {port}"),
                )
            );
            let found = Finding::new(Cause::RealServerDaemon, Severity::Fault, text).seen(seen);
            vec![found.about(real).mended_by("systemctl start vstun-realserver").on(on)]
        }
        // One finding for all of these is at this end.
        PortAnswers::Silent if happened::moved(facts).contains_key(&real) => Vec::new(),
        PortAnswers::Silent => vec![silent(real, facts, &seen)],
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
fn silent(real: IpAddr, facts: &DirectorFacts, seen: &str) -> Finding {
    let route = facts.routes.iter().find(|route| route.real == real);
    if let Some(found) = route.and_then(unreached) {
        return found.seen(seen);
    }
    let ruleset = facts.ruleset.as_ref();
    let translated = route.and_then(|route| translation::of_tunnelled(route, facts.user, ruleset?));
    if let Some(found) = translated {
        let evidence = format!("{}; {seen}", found.evidence);
        return found.seen(evidence);
    }
    let source = route.and_then(|route| route.source);
    let tunnelled = route.map_or(&[][..], |route| &route.tunnelled);
    let words: Vec<String> = tunnelled.iter().map(|one| one.words()).collect();
    let direct = |route: &RouteToReal| route.next == Some(real);
    let up = route.is_some_and(|route| route.neighbour == NeighbourEntry::Answers && direct(route));
    let text = format!(
        "real server {real} answers nothing that comes through the tunnel{} firewall on the way or \
         there drops {}, its `directors` do not admit {}, or its replies are dropped; \
         `vstun doctor` there tells these apart",
        if up {
            format!(", although the host answers {}: a", resolution(real))
        } else {
            ": it is down, a".to_owned()
        },
        words.join(" or "),
        source.map_or_else(|| "this director".to_owned(), |source| source.to_string()),
    );
    let all: Vec<String> = tunnelled.iter().map(|one| one.pcap()).collect();
    let from = source.map_or_else(String::new, |source| format!("src {source} and "));
    Finding::new(Cause::Tunnel, Severity::Fault, text)
        .seen(seen)
        .about(real)
        .mended_by("vstun doctor")
        .mended_by(format!("tcpdump -c 5 -ni any '{from}({})'", all.join(" or ")))
        .on(format!("real server {real}"))
}

/// How hosts on a link find each other.
fn resolution(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ARP" } else { "neighbour discovery" }
}

/// The next host on the way does not answer, or its address was set.
fn unreached(route: &RouteToReal) -> Option<Finding> {
    let (real, link, next) = (route.real, route.link.as_deref()?, route.next?);
    let asked = resolution(next);
    let who = if next == real {
        format!("real server {real}")
    } else {
        format!("router {next} on the way to real server {real}")
    };
    let family = if next.is_ipv4() { "-4" } else { "-6" };
    let (text, mend) = match &route.neighbour {
        NeighbourEntry::Silent => (
            format!(
                "{who} does not answer {asked} on {link}: it is off, not connected there, or the \
                 address is wrong"
            ),
            vec![
                format!("ip {family} neigh show to {next} dev {link}"),
                format!("ping -c 3 {next}"),
            ],
        ),
        NeighbourEntry::Fixed(address) => (
            format!(
                "this host has a fixed entry {address} for {next} on {link}, and {who} answers \
                 nothing: with another host's address packets go astray"
            ),
            vec![format!("ip {family} neigh del {next} dev {link}")],
        ),
        NeighbourEntry::Unknown | NeighbourEntry::Answers => return None,
    };
    let found = Finding::new(Cause::NextHop, Severity::Fault, text).about(real);
    Some(mend.into_iter().fold(found, Finding::mended_by))
}

fn failing((real, check, detail): &(IpAddr, String, String)) -> Finding {
    let text = format!("real server {real} fails its check {check}");
    Finding::new(Cause::Check, Severity::Fault, text)
        .seen(detail.clone())
        .about(*real)
        .mended_by(format!("vstun check {real}"))
}

#[cfg(test)]
#[path = "director_tests.rs"]
mod tests;
