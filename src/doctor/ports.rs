//! Findings from what the ports of a real server answered through the tunnel.

use std::net::IpAddr;

use super::{Cause, Finding, Severity};
use crate::control::ProbedPort;

/// What the answers of one real server's ports say together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Answers {
    /// No port was tried.
    Untried,
    /// At least one has answered: the tunnel and the way back work.
    Some,
    /// The host says that nothing there takes tunnelled packets.
    Refused,
    /// None has answered.
    Silent,
}

/// The words of an ICMP error that says so, as the checks report it.
const NO_TUNNEL: [&str; 2] = ["protocol unreachable", "next header"];

/// What the ports say together.
pub(super) fn answers(ports: &[&ProbedPort]) -> Answers {
    if ports.is_empty() {
        Answers::Untried
    } else if ports.iter().any(|port| refused_tunnel(port)) {
        Answers::Refused
    } else if ports.iter().any(|port| answered(port)) {
        Answers::Some
    } else {
        Answers::Silent
    }
}

fn refused_tunnel(port: &ProbedPort) -> bool {
    !port.passed && NO_TUNNEL.iter().any(|words| port.detail.contains(words))
}

/// Whether something came back. A UDP port that says nothing passes, and shows nothing.
fn answered(port: &ProbedPort) -> bool {
    (port.passed && !(port.is_udp() && port.detail == "no port unreachable")) || closed(port)
}

/// Whether its host says that no program listens.
fn closed(port: &ProbedPort) -> bool {
    !port.passed
        && ["connection refused", "port unreachable", "Connection refused"]
            .iter()
            .any(|words| port.detail.contains(words))
}

/// The findings of a real server whose tunnel works.
pub(super) fn findings<'a>(
    real: IpAddr,
    ports: impl Iterator<Item = &'a ProbedPort>,
) -> impl Iterator<Item = Finding> {
    ports.filter(|port| !port.passed).map(move |port| {
        let ProbedPort { destination, protocol, detail, .. } = port;
        let seen = format!("a probe through the tunnel to {destination}/{protocol}: {detail}");
        let found = if closed(port) {
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
                 leaves from the virtual IP, or the network drops that source on the way back"
            );
            Finding::new(Cause::ReplyPath, Severity::Fault, text).mended_by("vstun doctor")
        };
        found.seen(seen).about(real).on(format!("real server {real}"))
    })
}
