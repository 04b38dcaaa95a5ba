//! Findings from the answers of real servers' daemons through the tunnel.

use std::net::IpAddr;

use super::host::commands;
use super::inquiry::{EndState, InquiryAnswer, ListenerKinds};
use super::{Cause, Finding, Severity, no_reply_route};
use crate::control::ProbedPort;
use crate::model::{Listen, Protocol};

/// Clocks that differ by more, in milliseconds, make logs of both ends hard to compare.
const CLOCKS: i64 = 2_000;

/// The name of the TUN of a real server that does not say it: the default.
const TUN: &str = "vstun0";

/// A part of the text in which a daemon reports replies without the right MSS.
const MSS: &str = "the MSS that fits the tunnel";

/// The answer from the other end of a tunnel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EndAnswer {
    /// Its daemon has answered.
    Answered {
        /// The answer.
        answer: InquiryAnswer,
        /// How far its clock is ahead, in milliseconds.
        clock: i64,
    },
    /// Its kernel reports that no program receives tunnelled packets, with this text.
    Refused(String),
    /// No answer came.
    Silent,
}

/// The result of full-size packets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FullSize {
    /// The size in bytes: the MTU of this host's route.
    pub mtu: usize,
    /// Whether one came through.
    pub passed: bool,
    /// Approximately the largest size that did.
    pub largest: Option<usize>,
    /// The path MTU that a router has reported.
    pub reported: Option<u16>,
}

/// The facts about a virtual IP at the other end of a tunnel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndFacts {
    /// The real server.
    pub real: IpAddr,
    /// The virtual IP.
    pub vip: IpAddr,
    /// Its ports, in the order of the inquiry.
    pub listens: Vec<Listen>,
    /// The answer.
    pub answer: EndAnswer,
    /// Full-size packets, if they were sent.
    pub full: Option<FullSize>,
}

/// The findings about an end that has answered.
pub(super) fn findings(end: &EndFacts, program: &str) -> Vec<Finding> {
    let EndAnswer::Answered { answer, clock } = &end.answer else { return Vec::new() };
    let mut found = state(end, answer);
    found.extend(end.full.as_ref().and_then(|full| mtu(end.real, full)));
    if answer.program != program {
        let text = format!(
            "real server {} runs vstun {}, this director {program}: install one release on both",
            end.real, answer.program
        );
        found.push(Finding::new(Cause::Version, Severity::Note, text).mended_by("make install"));
    }
    if clock.abs() > CLOCKS {
        let (far, where_to) = (clock.abs() / 1_000, if *clock > 0 { "ahead" } else { "behind" });
        let text = format!("the clock of real server {} is {far} s {where_to}", end.real);
        let found_clock = Finding::new(Cause::Clock, Severity::Warning, text);
        found.push(found_clock.mended_by("timedatectl set-ntp true"));
    }
    if answer.state.has(EndState::PRESENT) {
        let pairs = end.listens.iter().zip(&answer.listening);
        found.extend(pairs.filter_map(|(listen, kinds)| listener(end, listen, *kinds)));
    }
    let on = format!("real server {}", end.real);
    found.into_iter().map(|one| on_real(one, end.real, &on)).collect()
}

/// The finding, to be corrected at that real server unless it names another host.
fn on_real(finding: Finding, real: IpAddr, on: &str) -> Finding {
    let finding = if finding.address.is_none() { finding.about(real) } else { finding };
    // A path MTU is set on this host.
    if finding.cause == Cause::Mtu { finding } else { finding.on(on) }
}

fn state(end: &EndFacts, answer: &InquiryAnswer) -> Vec<Finding> {
    let (real, vip) = (end.real, end.vip);
    let tun = if answer.tun.is_empty() { TUN } else { &answer.tun };
    let texts = || answer.text.split(" | ").filter(|text| !text.is_empty());
    // What its daemon says about this address is more exact.
    let about = format!("virtual IP {vip} ");
    let named = |text: &str| text.starts_with(&about) && !commands(text).is_empty();
    let missing = missing(real, vip, tun, answer.state);
    let known = missing.clone().and_then(|one| {
        let text = texts().find(|text| named(text))?;
        let words = format!("real server {real} reports: {text}");
        Some(Finding { text: words, mend: commands(text), ..one })
    });
    let reported = known.is_some();
    let mut found: Vec<Finding> = known.or(missing).into_iter().collect();
    // Its own text about the other interface has the command.
    let second = texts().find(|text| text.contains(&format!("addr del {vip}/")));
    found.extend(settings(real, vip, tun, answer.state).map(|one| match second {
        Some(text) if one.mend == [DOCTOR] => Finding { mend: commands(text), ..one },
        _ => one,
    }));
    if answer.state.has(EndState::NO_REPLY_ROUTE) {
        found.push(no_reply_route(real, vip));
    }
    if answer.state.has(EndState::NO_MSS) && !answer.text.contains(MSS) {
        found.push(lacks_mss(real, vip));
    }
    if answer.state.has(EndState::FAULTS) {
        let texts =
            texts().filter(|text| second != Some(*text) || !answer.state.has(EndState::ELSEWHERE));
        let texts = texts.filter(|text| !reported || !named(text));
        found.extend(texts.map(|text| {
            let words = format!("real server {real} reports: {text}");
            // The only one of its reported problems that has a cause of its own.
            let mss = answer.state.has(EndState::NO_MSS) && text.contains(MSS);
            let cause = if mss { Cause::Mss } else { Cause::Host };
            let fault = Finding::new(cause, Severity::Warning, words);
            let mend = commands(text);
            if mend.is_empty() { fault.mended_by(DOCTOR) } else { Finding { mend, ..fault } }
        }));
    }
    found
}

/// The virtual IP is missing in the configuration or on the TUN.
fn missing(real: IpAddr, vip: IpAddr, tun: &str, state: EndState) -> Option<Finding> {
    let (text, mend) = if !state.has(EndState::CONFIGURED) {
        (
            format!("real server {real} does not serve {vip}: add it to `vips` there"),
            "vstun --socket /run/vstun/realserver.sock reload".to_owned(),
        )
    } else if !state.has(EndState::PRESENT) {
        let (family, prefix) = if vip.is_ipv4() { ("-4", 32) } else { ("-6", 128) };
        (
            format!("real server {real} has lost {vip}: its TUN does not have the address"),
            format!("ip {family} addr add {vip}/{prefix} dev {tun}"),
        )
    } else {
        return None;
    };
    Some(Finding::new(Cause::VipMissing, Severity::Fault, text).mended_by(mend))
}

/// The command where only that host knows more.
const DOCTOR: &str = "vstun doctor";

/// Replies have no route to clients outside of the host's own networks.
fn no_reply_route(real: IpAddr, vip: IpAddr) -> Finding {
    Finding { address: None, ..no_reply_route::finding(vip, &format!("real server {real} has")) }
}

/// Findings about the real server's settings.
fn settings(
    real: IpAddr,
    vip: IpAddr,
    tun: &str,
    state: EndState,
) -> impl Iterator<Item = Finding> + use<> {
    use Severity::Fault;
    let loose = format!("sysctl -w net/ipv4/conf/{tun}/rp_filter=2");
    let all = [
        (
            EndState::ELSEWHERE,
            Cause::Announcing,
            Fault,
            format!("has {vip} on another interface too, and answers for it there"),
            DOCTOR.to_owned(),
        ),
        (
            EndState::ANSWERS_ARP,
            Cause::Announcing,
            Fault,
            format!("answers ARP for {vip}, so clients go round the director: `arp_ignore` is off"),
            "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2".to_owned(),
        ),
        (
            EndState::STRICT,
            Cause::RpFilter,
            Fault,
            "drops what comes from its TUN: strict `rp_filter`".to_owned(),
            loose,
        ),
    ];
    all.into_iter().filter(move |one| state.has(one.0)).map(
        move |(_, cause, severity, what, mend)| {
            Finding::new(cause, severity, format!("real server {real} {what}")).mended_by(mend)
        },
    )
}

fn lacks_mss(real: IpAddr, vip: IpAddr) -> Finding {
    let text = format!(
        "real server {real} lacks the routes with the MSS that fits the tunnel for {vip}: uploads \
         may hang"
    );
    Finding::new(Cause::Mss, Severity::Warning, text)
        .mended_by("vstun --socket /run/vstun/realserver.sock reload")
}

fn mtu(real: IpAddr, full: &FullSize) -> Option<Finding> {
    if full.passed {
        return None;
    }
    let fits = full.reported.map(usize::from).or(full.largest).unwrap_or_default();
    let text = format!(
        "the path to real server {real} does not carry packets of {} bytes, the MTU of this host's \
         route; about {fits} come through",
        full.mtu
    );
    let seen = match full.reported {
        Some(reported) => format!("a router says {reported}"),
        None => "no router says so: uploads hang".to_owned(),
    };
    let family = if real.is_ipv4() { "-4" } else { "-6" };
    // The present route, without the output of `ip route` that is no valid input.
    let kept = "s/ from :://; s/ proto [^ ]+//; s/ (uid|metric|pref|hoplimit) .*//";
    let route = format!("ip {family} -o route get {real} | sed -E '{kept}'");
    let severity = if full.reported.is_some() { Severity::Warning } else { Severity::Fault };
    let command = format!("ip {family} route replace $({route}) mtu {fits}");
    Some(Finding::new(Cause::Mtu, severity, text).seen(seen).mended_by(command))
}

/// What a program does that takes no more connections; `host`: where.
pub(super) fn queue_full(listen: &str, host: &str) -> String {
    format!(
        "the program on {listen} at {host} does not accept its connections, and its queue is full: \
         the kernel drops further ones; restart it, or let it accept faster"
    )
}

/// Whether the daemon's answer explains why this port does not answer: it lacks the virtual IP, or
/// the finding about its sockets is about this port.
pub(super) fn explains(end: &EndFacts, port: &ProbedPort) -> bool {
    let EndAnswer::Answered { answer, .. } = &end.answer else { return false };
    if end.vip != port.destination.ip() {
        return false;
    }
    if !answer.state.has(EndState::CONFIGURED) || !answer.state.has(EndState::PRESENT) {
        return true;
    }
    end.listens.iter().zip(&answer.listening).any(|(listen, kinds)| {
        let number = port.destination.port();
        listen.protocol.to_string() == port.protocol
            && (listen.ports.first..=listen.ports.last).contains(&number)
            && listener(end, listen, *kinds).is_some_and(|found| found.cause == Cause::Listener)
    })
}

fn listener(end: &EndFacts, listen: &Listen, kinds: ListenerKinds) -> Option<Finding> {
    let EndFacts { real, vip, .. } = end;
    let flag = if listen.protocol == Protocol::Udp { 'u' } else { 't' };
    let show = format!("ss -{flag}lnp 'sport = {}'", listen.ports.first);
    if kinds.has(ListenerKinds::FULL) {
        let text = queue_full(&listen.to_string(), &format!("real server {real}"));
        let found = Finding::new(Cause::Listener, Severity::Fault, text);
        return Some(found.seen("its daemon's list of sockets").mended_by(show));
    }
    let at_vip = kinds.has(ListenerKinds::VIP);
    if at_vip || (kinds.has(ListenerKinds::WILDCARD) && listen.protocol == Protocol::Tcp) {
        return None;
    }
    let (cause, severity, text) = if kinds.has(ListenerKinds::WILDCARD) {
        let text = format!(
            "the UDP server on {listen} at real server {real} is bound to every address: unless it \
             uses IP_PKTINFO it answers from the wrong one; bind it to {vip}"
        );
        (Cause::UdpWildcard, Severity::Warning, text)
    } else if kinds.has(ListenerKinds::V6_ONLY) {
        let port = listen.ports.first;
        let text = format!(
            "the server on {listen} at real server {real} listens on [::]:{port} for IPv6 only: \
             let it listen on 0.0.0.0:{port} too (nginx: a second `listen`, or `ipv6only=off`)"
        );
        (Cause::Listener, Severity::Fault, text)
    } else if kinds.has(ListenerKinds::DEVICE) {
        let text = format!(
            "the server on {listen} at real server {real} is bound to another interface \
             (SO_BINDTODEVICE, a VRF), and packets for {vip} come out of the TUN: let it listen on \
             every interface"
        );
        (Cause::Listener, Severity::Fault, text)
    } else if kinds.has(ListenerKinds::ELSEWHERE) {
        let text = format!(
            "the server on {listen} at real server {real} listens on another address only: let it \
             listen on {vip} or on every address"
        );
        (Cause::Listener, Severity::Fault, text)
    } else {
        let text = format!(
            "no program at real server {real} listens on {listen}: start it there, on {vip} or on \
             every address"
        );
        (Cause::Listener, Severity::Fault, text)
    };
    Some(Finding::new(cause, severity, text).seen("its daemon's list of sockets").mended_by(show))
}

#[cfg(test)]
#[path = "ends_tests.rs"]
mod tests;
