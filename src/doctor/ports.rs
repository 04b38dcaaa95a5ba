//! Findings from the answers of a real server's ports through the tunnel.

use std::net::IpAddr;

use super::{Cause, Finding, Severity};
use crate::control::ProbedPort;

/// The result of the answers of one real server's ports.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum PortAnswers {
    /// No port was tried.
    Untried,
    /// At least one has answered: the tunnel and the reply path work.
    Some,
    /// The host reports that no program there receives tunnelled packets.
    Refused,
    /// None has answered.
    Silent,
}

/// The texts of such ICMP errors in check results.
const NO_TUNNEL: [&str; 2] = ["protocol unreachable", "next header"];

/// The result of these ports. `gue`: their tunnels are in UDP, so a port that is unreachable is the
/// tunnel's if a TCP probe reports it.
pub(super) fn answers(ports: &[&ProbedPort], gue: bool) -> PortAnswers {
    let outer = |port: &ProbedPort| {
        gue && !port.passed && !port.is_udp() && port.detail.contains("port unreachable")
    };
    if ports.is_empty() {
        PortAnswers::Untried
    } else if ports.iter().any(|port| refused_tunnel(port) || outer(port)) {
        PortAnswers::Refused
    } else if ports.iter().any(|port| answered(port)) {
        PortAnswers::Some
    } else {
        PortAnswers::Silent
    }
}

fn refused_tunnel(port: &ProbedPort) -> bool {
    !port.passed && NO_TUNNEL.iter().any(|words| port.detail.contains(words))
}

/// Whether an answer came.
fn answered(port: &ProbedPort) -> bool {
    passed(port) || closed(port)
}

/// Whether the answer is what it should be. A UDP port without an answer passes its probe, but
/// proves nothing.
pub(super) fn passed(port: &ProbedPort) -> bool {
    port.passed && !(port.is_udp() && port.detail == "no port unreachable")
}

/// Whether its host reports that no program listens.
fn closed(port: &ProbedPort) -> bool {
    !port.passed
        && ["connection refused", "port unreachable", "Connection refused"]
            .iter()
            .any(|words| port.detail.contains(words))
}

/// The findings of a real server whose tunnel works. `listed`: its daemon has looked at its
/// sockets, and found one for each port.
pub(super) fn findings<'a>(
    real: IpAddr,
    ports: impl Iterator<Item = &'a ProbedPort>,
    listed: bool,
) -> impl Iterator<Item = Finding> {
    ports.filter(|port| !port.passed).map(move |port| {
        let ProbedPort { destination, protocol, detail, .. } = port;
        let seen = format!("a probe through the tunnel to {destination}/{protocol}: {detail}");
        let found = if closed(port) && listed {
            let text = format!(
                "real server {real} refuses {destination}/{protocol}, although a program there \
                 listens on that port: for IPv6 alone (`ipv6only`), on one interface alone, or a \
                 firewall there rejects it"
            );
            let flag = if port.is_udp() { 'u' } else { 't' };
            Finding::new(Cause::Listener, Severity::Fault, text)
                .mended_by(format!("ss -{flag}lnpe 'sport = {}'", destination.port()))
        } else if closed(port) {
            let text = format!(
                "no program at real server {real} listens on {destination}/{protocol}: start it \
                 there, on the virtual IP or on every address"
            );
            let flag = if port.is_udp() { 'u' } else { 't' };
            Finding::new(Cause::Listener, Severity::Fault, text)
                .mended_by(format!("ss -{flag}lnp 'sport = {}'", destination.port()))
        } else {
            let text = format!(
                "real server {real} does not answer on {destination}/{protocol}, although it \
                 takes tunnelled packets: a firewall there drops what comes from its TUN or what \
                 leaves from the virtual IP, which `vstun doctor` there finds; or replies leave, \
                 and the network drops that source on the way back: turn its source check off for \
                 that host (docs/setup.md, Clouds)"
            );
            let vip = destination.ip();
            Finding::new(Cause::ReplyPath, Severity::Fault, text)
                .mended_by("vstun doctor")
                .mended_by(format!("tcpdump -c 5 -ni any 'src {vip}'"))
        };
        found.seen(seen).about(real).on(format!("real server {real}"))
    })
}
