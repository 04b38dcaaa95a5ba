//! Findings about rules that translate the addresses of clients' packets, of tunnelled packets, and
//! of replies that connection tracking does not know as such.

use super::firewall::{CtState, DropPoint, Hook, JudgedPacket, NewSource, Ruleset};
use super::marked::{MarkedClient, Translation};
use super::observed::{Listened, RouteToReal};
use super::{Cause, Finding, Severity};

/// What a marked packet has shown.
pub(super) fn of_marked(marked: &MarkedClient, one: &Listened, tun: &str) -> Option<Finding> {
    let Translation { from, to, rule } = marked.translated.as_ref()?;
    let to_vip = from.destination != to.destination;
    let change = if to_vip {
        format!("a marked packet for {} went to {}", from.destination, to.destination)
    } else {
        format!("a marked packet from {} became one from {}", from.source, to.source)
    };
    let found = finding(one, tun, to_vip);
    Some(match rule {
        Some(point) => found
            .seen(format!("{}; {change} there", point.rule_and_chain()))
            .mended_by(point.insert(&kept(one, tun, to_vip))),
        None => {
            let program = if from.source.is_ipv4() { "iptables" } else { "ip6tables" };
            let kept = if to_vip {
                format!("PREROUTING -d {}", one.listen.address)
            } else {
                format!("POSTROUTING -o {tun}")
            };
            found
                .seen(format!("{change}, by no rule of nftables"))
                .mended_by(format!("{program}-legacy -t nat -I {kept} -j ACCEPT"))
        }
    })
}

/// What the rules say. `probe`: the first packet of a client; before the routing decision there is
/// no output.
pub(super) fn of_rules(
    one: &Listened,
    tun: &str,
    probe: &JudgedPacket,
    ruleset: &Ruleset,
) -> Option<Finding> {
    let first = JudgedPacket { state: CtState::New, ..probe.clone() };
    let before = JudgedPacket { output: None, ..first.clone() };
    let at = |hook, packet: &JudgedPacket| ruleset.translates(&[hook], packet);
    let (to_vip, point): (bool, DropPoint) = match at(Hook::Prerouting, &before) {
        Some(point) => (true, point),
        None => (false, at(Hook::Postrouting, &first)?),
    };
    let found = finding(one, tun, to_vip).seen(point.rule_and_chain());
    Some(found.mended_by(point.insert(&kept(one, tun, to_vip))))
}

/// `to_vip`: the destination is translated, else the source.
fn finding(Listened { listen, uplink }: &Listened, tun: &str, to_vip: bool) -> Finding {
    let text = if to_vip {
        format!(
            "a NAT rule sends clients' packets for {listen} that arrive on {uplink} elsewhere, \
             past {tun}"
        )
    } else {
        format!(
            "a NAT rule gives clients' packets for {listen} another source on their way into \
             {tun}: servers do not see clients' addresses, and replies come back to this host"
        )
    };
    Finding::new(Cause::Nat, Severity::Fault, text).about(listen.address)
}

/// The rule that keeps such packets from translation.
fn kept(Listened { listen, .. }: &Listened, tun: &str, to_vip: bool) -> String {
    if to_vip {
        let family = if listen.address.is_ipv4() { "ip" } else { "ip6" };
        format!("{family} daddr {} accept", listen.address)
    } else {
        format!("oifname \"{tun}\" accept")
    }
}

/// A rule that gives tunnelled packets another source or destination. `user`: the one that the
/// director runs as.
pub(super) fn of_tunnelled(
    route: &RouteToReal,
    user: Option<u32>,
    ruleset: &Ruleset,
) -> Option<Finding> {
    let all = route.tunnelled.iter();
    let mut all = all.flat_map(|one| one.protocols().into_iter().map(move |which| (*one, which)));
    all.find_map(|(encap, which)| {
        let packet = route.tunnelled_packet(user, which);
        if ruleset.untracks(Hook::Output, &packet) {
            return None;
        }
        let (what, point) = tunnel_change(route, &packet, ruleset)?;
        let text =
            format!("a NAT rule gives tunnelled packets to real server {} {what}", route.real);
        // Connection tracking goes on with what it has decided for an earlier packet, so a rule
        // before this one would change nothing.
        let mend = format!(
            "nft \"table inet vstun_tunnels {{ chain raw {{ type filter hook output priority raw; \
             {} notrack; }}; }}\"",
            encap.nft().replace('\'', "")
        );
        let found = Finding::new(Cause::Nat, Severity::Fault, text).about(route.real);
        Some(found.seen(point.rule_and_chain()).mended_by(mend))
    })
}

/// What a rule makes of a tunnelled packet, in words, and where.
fn tunnel_change(
    route: &RouteToReal,
    packet: &JudgedPacket,
    ruleset: &Ruleset,
) -> Option<(String, DropPoint)> {
    if let Some(point) = ruleset.translates(&[Hook::Output], packet) {
        return Some(("another destination, and nothing comes back".to_owned(), point));
    }
    let point = ruleset.translates(&[Hook::Postrouting], packet)?;
    let to = match ruleset.new_source(&point) {
        NewSource::OfInterface => route.masqueraded,
        NewSource::Address(to) => Some(to),
        NewSource::Unknown => None,
    };
    let what = match (to, route.source) {
        (Some(to), Some(from)) if to == from => return None,
        (Some(to), Some(from)) => format!(
            "the source {to} instead of {from}, and nothing comes back: `directors` there need \
             not admit {to}"
        ),
        _ => "another source, which `directors` there need not admit".to_owned(),
    };
    Some((what, point))
}
