//! Findings at a real server, from its own host.

use std::net::IpAddr;

use ipnet::IpNet;

use super::host::{host_findings, not_running};
use super::observed_realserver::{Listening, RealServerFacts};
use super::tunnels::{pcap_of_all, words_of_all};
use super::{
    Cause, Diagnosis, Finding, Severity, conntrack, delivery, director_routes, ends, fast_path,
    neighbours, no_reply_route, reply_routes,
};
use crate::control::{FastPathState, LastSources, RefusedSource, counted};

/// The findings at a real server.
#[must_use]
pub fn diagnose_realserver(facts: &RealServerFacts) -> Diagnosis {
    let mut findings = facts.unseen.clone();
    findings.extend(
        facts.daemon.as_ref().map(|daemon| not_running("the real server does not run", daemon)),
    );
    let routes = reply_routes::findings(facts);
    let mut host = host_findings(&facts.host);
    host.retain(|one| one.cause != Cause::Mss || !reply_routes::explains_mss(&routes, one.address));
    findings.extend(host);
    findings.extend(routes);
    findings.extend(settings(facts));
    findings.extend(facts.strays.iter().map(director_routes::finding));
    findings.extend(facts.lost.iter().map(director_routes::lost));
    findings.extend(conntrack::finding(facts.conntrack));
    findings.extend(facts.listening.iter().filter(|one| one.full).map(full));
    if let Some(ruleset) = &facts.ruleset {
        findings.extend(delivery::findings(facts, ruleset));
    }
    let six = facts.vips.iter().any(IpAddr::is_ipv6)
        || facts.directors.iter().any(|net| net.addr().is_ipv6());
    if let (Some(ruleset), true) = (&facts.ruleset, six) {
        findings.extend(neighbours::finding(facts.links.iter().map(String::as_str), ruleset));
    }
    findings.extend(
        facts.no_reply_route.iter().map(|vip| no_reply_route::finding(*vip, "this host has")),
    );
    let mut well = Vec::new();
    let refused = refused(facts);
    match facts.read {
        Some((read, strangers)) if read == strangers => {
            findings.extend(refused.is_empty().then(|| nothing_came(facts)));
        }
        Some((read, strangers)) => {
            well.push(format!("{} tunnelled packets have come", read - strangers));
            well.push(no_reply_route::unseen(&facts.vips));
        }
        None => {}
    }
    findings.extend(refused);
    // What the operator has chosen comes after what is observed.
    match facts.fast_path.as_ref().map(|state| bypasses(state, &facts.tun)) {
        Some(found) if found.is_empty() => well.push(fast_path::OFF.to_owned()),
        found => findings.extend(found.into_iter().flatten()),
    }
    Diagnosis::new("realserver", findings, well)
}

/// Where the fast path is, and where it should be; nothing where it is off.
fn bypasses(state: &FastPathState, tun: &str) -> Vec<Finding> {
    let mut found: Vec<_> = fast_path::missing(state, "vstun-realserver").into_iter().collect();
    if !state.at.is_empty() {
        let text = format!(
            "the fast path takes packets out of the tunnel at {}: rules of the firewall and \
             captures see them at {tun} only, without their outer headers; fast_path = \"off\" in \
             [realserver] and a restart undo it",
            state.at.join(" ")
        );
        found.push(Finding::new(Cause::FastPath, Severity::Note, text));
    }
    found
}

fn settings(facts: &RealServerFacts) -> Vec<Finding> {
    let tun = &facts.tun;
    let mut found = Vec::new();
    if facts.strict && facts.daemon.is_none() && facts.vips.iter().any(IpAddr::is_ipv4) {
        let text = format!("strict `rp_filter` on {tun} drops every packet that comes from it");
        let mend = format!("sysctl -w net/ipv4/conf/{tun}/rp_filter=2");
        let finding = Finding::new(Cause::RpFilter, Severity::Fault, text);
        found.push(finding.seen("the larger value of `all` and the TUN is 1").mended_by(mend));
    }
    if facts.daemon.is_none()
        && facts.vips.iter().any(IpAddr::is_ipv4)
        && let Some(link) = facts.answers_arp.first()
    {
        let text = format!(
            "this host answers ARP for its virtual IPs on {link}: clients go round the director"
        );
        let mend = "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2";
        let finding = Finding::new(Cause::Announcing, Severity::Fault, text);
        found.push(finding.seen(facts.answers_arp.join(", ")).mended_by(mend));
    }
    found
}

/// A program with more connections than it accepts. One that listens on every address may have
/// nothing to do with the virtual IPs.
fn full(listening: &Listening) -> Finding {
    let port = listening.port;
    let severity = if listening.is_service() { Severity::Fault } else { Severity::Note };
    let text = ends::queue_full(&listening.words(), "this host");
    let found = Finding::new(Cause::Listener, severity, text);
    found.seen("the kernel's list of sockets").mended_by(format!("ss -tlnp 'sport = {port}'"))
}

fn nothing_came(facts: &RealServerFacts) -> Finding {
    let directors: Vec<String> = facts.directors.iter().map(ToString::to_string).collect();
    let text = format!(
        "no tunnelled packet of a director has ever come: {} sends none, or a firewall on the way \
         drops {}",
        directors.join(", "),
        words_of_all(facts.tunnelled.gue_port)
    );
    Finding::new(Cause::Tunnel, Severity::Note, text).mended_by(captured(facts))
}

/// The command that shows all tunnelled packets.
fn captured(facts: &RealServerFacts) -> String {
    format!("tcpdump -c 5 -ni any '{}'", pcap_of_all(facts.tunnelled.gue_port))
}

/// Refused packets that are younger, in seconds, may be those of a director.
const LATELY: u64 = 60;

/// Hosts whose packets were refused lately. It is a fault where no other packets are admitted now.
fn refused(facts: &RealServerFacts) -> Vec<Finding> {
    let LastSources { refused_sources, admitted_seconds } = &facts.last;
    let lately = refused_sources.iter().filter(|one| one.seconds <= LATELY);
    let newer = |one: &RefusedSource| admitted_seconds.is_none_or(|last| last > one.seconds + 2);
    lately
        .map(|one| of_refused(one, !facts.growing && one.count > 1 && newer(one), facts))
        .collect()
}

fn of_refused(one: &RefusedSource, alone: bool, facts: &RealServerFacts) -> Finding {
    let RefusedSource { address, count, seconds } = one;
    let admitted: Vec<String> = facts.directors.iter().map(ToString::to_string).collect();
    let seen = format!(
        "{}, the last {seconds} s ago; `directors` admits {}",
        counted(*count, "packet"),
        admitted.join(", ")
    );
    let file = facts.config.as_deref().unwrap_or("its configuration");
    if !alone {
        let text = format!(
            "tunnelled packets from {address} are refused: if it is a director of yours, add it to \
             `directors` in {file} and reload"
        );
        let found = Finding::new(Cause::Gate, Severity::Note, text).seen(seen);
        return found.mended_by(captured(facts));
    }
    let net = IpNet::from(*address);
    let text = format!(
        "tunnelled packets from {address} are refused, and no others come: `directors` in {file} \
         does not admit it"
    );
    let reload = "vstun --socket /run/vstun/realserver.sock reload";
    let command = match &facts.config {
        Some(file) => {
            format!("sed -i 's|^\\( *directors *= *\\[\\)|\\1\"{net}\", |' {file} && {reload}")
        }
        None => reload.to_owned(),
    };
    Finding::new(Cause::Gate, Severity::Fault, text).seen(seen).mended_by(command)
}

#[cfg(test)]
#[path = "realserver_tests.rs"]
mod tests;
