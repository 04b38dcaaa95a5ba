//! Findings about the firewall of a real server: what it does with tunnelled packets, with what
//! comes out of the TUN, and with replies.
//!
//! A rule that drops for certain what a program here listens for is a fault. A rule whose
//! conditions only the kernel can judge is a note, and nothing where such packets are known to
//! pass.

use std::net::IpAddr;

use ipnet::IpNet;

use super::firewall::{
    CtState, DropPoint, FirewallVerdict, Hook, JudgedPacket, Ruleset, legacy_table,
};
use super::observed_realserver::{Listening, RealServerFacts, RouteResult};
use super::passage::{dropped, insert};
use super::tunnels::Tunnelled;
use super::{Cause, Finding, Severity};
use crate::wire::encap::Encap;
use crate::wire::protocol;

/// The hooks that packets to this host pass.
const ARRIVING: [Hook; 3] = [Hook::Ingress, Hook::Prerouting, Hook::Input];

/// The hooks that packets of this host pass.
const LEAVING: [Hook; 3] = [Hook::Output, Hook::Postrouting, Hook::Egress];

/// The first of the ports that the kernel gives to sockets by itself. No service listens there.
const FIRST_EPHEMERAL: u16 = 32_768;

/// The findings about the firewall.
pub(super) fn findings(facts: &RealServerFacts, ruleset: &Ruleset) -> Vec<Finding> {
    let directors = facts.directors.iter();
    let mut found: Vec<Finding> =
        directors.filter_map(|net| tunnelled(*net, facts, ruleset)).collect();
    found.dedup_by(|one, other| one.mend == other.mend);
    for &vip in &facts.vips {
        found.extend(HookPath::into_the_host(vip, facts).findings(facts, ruleset));
        found.extend(HookPath::of_replies(vip).findings(facts, ruleset));
    }
    found.extend(facts.listening.iter().find_map(|one| translated(one, facts, ruleset)));
    found
}

/// A rule that gives replies another source. Connection tracking translates no replies, unless a
/// rule keeps their requests from it. It calls TCP's replies invalid then.
fn translated(
    listening: &Listening,
    facts: &RealServerFacts,
    ruleset: &Ruleset,
) -> Option<Finding> {
    let Listening { vip, protocol, port, .. } = *listening;
    if protocol != protocol::UDP || !listening.is_service() {
        return None;
    }
    let into = HookPath::into_the_host(vip, facts).packet;
    let request = JudgedPacket { protocol, port: Some(port), ..into };
    let leaves = facts.reply_routes.iter().find_map(|route| match &route.result {
        RouteResult::Link { link, .. } if route.vip == vip => Some(link.clone()),
        _ => None,
    });
    let reply = JudgedPacket {
        protocol,
        output: leaves,
        source_port: Some(port),
        state: CtState::New,
        ..HookPath::of_replies(vip).packet
    };
    let no_reply =
        ruleset.untracks(Hook::Prerouting, &request) && !ruleset.untracks(Hook::Output, &reply);
    let point = ruleset.translates(&[Hook::Postrouting], &reply).filter(|_| no_reply)?;
    let text = format!(
        "a NAT rule gives replies from {vip}, port {}, another source, and clients drop them: a \
         `notrack` rule keeps the requests from connection tracking, which therefore does not know \
         the replies as such",
        listening.words()
    );
    let family = if vip.is_ipv4() { "ip" } else { "ip6" };
    let found =
        Finding::new(Cause::Nat, Severity::Fault, text).seen(point.rule_and_chain()).about(vip);
    Some(found.mended_by(point.insert(&format!("{family} saddr {vip} accept"))))
}

/// Whether only the packets that come out of the TUN can tell if a port that the firewall closes is
/// a service's.
#[must_use]
pub fn needs_traffic(facts: &RealServerFacts) -> bool {
    let Some(ruleset) = &facts.ruleset else { return false };
    facts.vips.iter().any(|vip| {
        let judged = HookPath::into_the_host(*vip, facts).judged(facts, ruleset);
        let open = judged.iter().any(|(_, point)| point.as_ref().is_none_or(|one| !one.certain));
        let closed = |(listening, point): &(&Listening, Option<DropPoint>)| {
            !listening.is_service() && point.as_ref().is_some_and(|one| one.certain)
        };
        open && judged.iter().any(closed)
    })
}

// --- tunnelled packets ---------------------------------------------------------------------------

/// Whether directors use an encapsulation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum EncapUse {
    Certain,
    /// Nothing has come in any.
    Possible,
    Unlikely,
}

fn used(encap: Encap, facts: &RealServerFacts) -> EncapUse {
    let came =
        |encap: Encap| facts.delivered.iter().any(|(one, count)| *one == encap && *count > 0);
    let any = Encap::ALL.into_iter().any(came);
    let likely = if any { came(encap) } else { encap == facts.tunnelled.encap };
    if likely {
        EncapUse::Certain
    } else if !any && facts.read.is_some() {
        EncapUse::Possible
    } else {
        EncapUse::Unlikely
    }
}

/// Tunnelled packets that the firewall drops.
struct Closed {
    used: EncapUse,
    tunnelled: Tunnelled,
    /// Their protocol, and the UDP port.
    which: (u8, Option<u16>),
    point: DropPoint,
}

impl Closed {
    fn severity(&self) -> Severity {
        match (self.point.certain, self.used) {
            (true, EncapUse::Certain) => Severity::Fault,
            (true, _) => Severity::Warning,
            (false, _) => Severity::Note,
        }
    }

    fn mend(&self, net: IpNet) -> String {
        let family = if net.addr().is_ipv4() { "ip" } else { "ip6" };
        let rule = format!("{} {family} saddr {net} accept", self.tunnelled.nft());
        let (number, port) = self.which;
        let port = port.map_or_else(String::new, |port| format!(" --dport {port}"));
        let_through(&self.point, &rule, &format!("-p {number}{port} -s {net}"))
    }
}

/// The ruleset's effect on tunnelled packets of a director, in the encapsulations that it uses and,
/// if nothing has come, in the others that are received.
fn tunnelled(net: IpNet, facts: &RealServerFacts, ruleset: &Ruleset) -> Option<Finding> {
    // They have come: a rule that may drop them does not.
    let come = facts.read.is_some_and(|(read, strangers)| read > strangers);
    // After IP in IP, GUE is the usual one.
    let all = [Encap::Ipip, Encap::Gue, Encap::Gre];
    let taken = all.into_iter().filter(|encap| *encap != Encap::Gue || facts.takes_gue());
    let mut closed: Vec<Closed> = taken
        .filter_map(|encap| closed(encap, net, facts, ruleset))
        .filter(|one| one.used != EncapUse::Unlikely && (one.point.certain || !come))
        .collect();
    closed.sort_by_key(Closed::severity);
    let first = closed.first()?;
    let verb = if first.point.certain { "drops" } else { "may drop" };
    if first.used == EncapUse::Certain {
        let text = format!("the firewall {verb} tunnelled packets from director {net}");
        let found = dropped(Cause::Firewall, text, &first.point).mended_by(first.mend(net));
        return Some(Finding { severity: first.severity(), ..found });
    }
    let alike: Vec<_> =
        closed.iter().filter(|one| one.point.certain == first.point.certain).collect();
    let words: Vec<_> = alike.iter().map(|one| one.tunnelled.words()).collect();
    let text = format!(
        "the firewall {verb} {} from director {net}, and no tunnelled packet has ever come: let \
         through what the director's `encap` is",
        words.join(" and ")
    );
    let found = dropped(Cause::Firewall, text, &first.point);
    let found = Finding { severity: first.severity(), ..found };
    Some(alike.into_iter().fold(found, |found, one| found.mended_by(one.mend(net))))
}

fn closed(encap: Encap, net: IpNet, facts: &RealServerFacts, ruleset: &Ruleset) -> Option<Closed> {
    let tunnelled = Tunnelled { encap, gue_port: facts.tunnelled.gue_port };
    let inner = |number| facts.vips.iter().any(|vip| carries(number, *vip));
    let which = tunnelled.protocols().into_iter().filter(|(number, _)| inner(*number));
    let (which, point) = which.into_iter().find_map(|which| {
        match ruleset.judge(&ARRIVING, &of_director(net, which, facts)) {
            FirewallVerdict::Drops(point) => Some((which, point)),
            FirewallVerdict::Passes => None,
        }
    })?;
    Some(Closed { used: used(encap, facts), tunnelled, which, point })
}

/// Whether tunnelled packets of this protocol may have packets for the virtual IP inside.
fn carries(number: u8, vip: IpAddr) -> bool {
    match number {
        protocol::IPIP => vip.is_ipv4(),
        protocol::IPV6 => vip.is_ipv6(),
        _ => true,
    }
}

/// A tunnelled packet of a director. Of a network of directors the address is not known.
fn of_director(
    net: IpNet,
    (protocol, port): (u8, Option<u16>),
    facts: &RealServerFacts,
) -> JudgedPacket {
    let source = net.addr();
    let input = facts.inputs.get(&net).cloned();
    JudgedPacket {
        version: if source.is_ipv4() { 4 } else { 6 },
        reverse_path: input.is_some().then_some(true),
        input,
        output: Some(String::new()),
        source: (net.prefix_len() == net.max_prefix_len()).then_some(source),
        protocol,
        port,
        state: CtState::New,
        ..JudgedPacket::default()
    }
}

/// The command that lets packets through where a rule drops them; `legacy`: the same condition for
/// iptables.
fn let_through(point: &DropPoint, rule: &str, legacy: &str) -> String {
    match legacy_table(&point.table) {
        Some(table) => {
            let program = if point.family == "ip" { "iptables" } else { "ip6tables" };
            let chain = &point.chain;
            format!("{program}-legacy -t {table} -I {chain} {legacy} -j ACCEPT")
        }
        None => insert(point, rule),
    }
}

// --- packets of clients, and replies -------------------------------------------------------------

/// The hooks that packets pass between the TUN and the programs of this host, or from these to
/// clients.
struct HookPath {
    vip: IpAddr,
    hooks: [Hook; 3],
    packet: JudgedPacket,
    /// What passes them.
    what: String,
    /// As nft(8) and iptables match it.
    matched: [String; 2],
    replies: bool,
}

impl HookPath {
    fn into_the_host(vip: IpAddr, facts: &RealServerFacts) -> Self {
        let tun = &facts.tun;
        Self {
            vip,
            hooks: ARRIVING,
            packet: JudgedPacket {
                version: if vip.is_ipv4() { 4 } else { 6 },
                input: Some(tun.clone()),
                output: Some(String::new()),
                destination: Some(vip),
                // Replies do not go back into the TUN.
                reverse_path: Some(false),
                state: CtState::New,
                ..JudgedPacket::default()
            },
            what: format!("what comes out of {tun} for"),
            matched: [format!("iifname \"{tun}\""), format!("-i {tun}")],
            replies: false,
        }
    }

    fn of_replies(vip: IpAddr) -> Self {
        let family = if vip.is_ipv4() { "ip" } else { "ip6" };
        Self {
            vip,
            hooks: LEAVING,
            packet: JudgedPacket {
                version: if vip.is_ipv4() { 4 } else { 6 },
                input: Some(String::new()),
                source: Some(vip),
                // Their requests have come out of the TUN.
                state: CtState::Established,
                ..JudgedPacket::default()
            },
            what: "replies from".to_owned(),
            matched: [format!("{family} saddr {vip}"), format!("-s {vip}")],
            replies: true,
        }
    }

    /// Whether and where a packet of a listening socket is dropped; `None`: of any.
    fn judge(&self, listening: Option<&Listening>, ruleset: &Ruleset) -> Option<DropPoint> {
        let mut packet = self.packet.clone();
        packet.protocol = listening.map_or(protocol::TCP, |listening| listening.protocol);
        let port = listening.map(|listening| listening.port);
        if self.replies {
            packet.source_port = port;
        } else {
            packet.port = port;
        }
        match ruleset.judge(&self.hooks, &packet) {
            FirewallVerdict::Drops(point) => Some(point),
            FirewallVerdict::Passes => None,
        }
    }

    /// The sockets of programs that may be services, and where their packets are dropped.
    fn judged<'a>(
        &self,
        facts: &'a RealServerFacts,
        ruleset: &Ruleset,
    ) -> Vec<(&'a Listening, Option<DropPoint>)> {
        let gue_port = facts.tunnelled.gue_port;
        let gue = |one: &Listening| one.protocol == protocol::UDP && one.port == gue_port;
        let service = |one: &&Listening| {
            let served = one.is_service() || one.port < FIRST_EPHEMERAL;
            one.vip == self.vip && served && !gue(one)
        };
        let all = facts.listening.iter().filter(service);
        all.map(|one| (one, self.judge(Some(one), ruleset))).collect()
    }

    fn findings(&self, facts: &RealServerFacts, ruleset: &Ruleset) -> Vec<Finding> {
        let judged = self.judged(facts, ruleset);
        if judged.is_empty() {
            let point = self.judge(None, ruleset).filter(|point| point.certain);
            return point.map(|point| self.fault(&[], &point)).into_iter().collect();
        }
        let is_certain = |point: &DropPoint| point.certain;
        let all_closed = judged.iter().all(|(_, point)| point.as_ref().is_some_and(is_certain));
        let (mut faults, mut closed) = (Vec::new(), Vec::new());
        let mut doubtful: Option<&DropPoint> = None;
        for (listening, point) in &judged {
            match point {
                None => {}
                Some(point) if !point.certain && listening.passes => {}
                Some(point) if !point.certain => {
                    doubtful.get_or_insert(point);
                }
                Some(point) if listening.is_service() || all_closed => {
                    faults.push((*listening, point));
                }
                Some(point) => closed.push((*listening, point)),
            }
        }
        let mut found = Vec::new();
        if let Some((_, point)) = faults.first() {
            let ports: Vec<_> = faults.iter().map(|(listening, _)| *listening).collect();
            found.push(self.fault(&ports, point));
        }
        found.extend(self.closed(&closed));
        found.extend(doubtful.map(|point| self.doubt(point)));
        found
    }

    fn fault(&self, ports: &[&Listening], point: &DropPoint) -> Finding {
        let text = format!("the firewall drops {} {}{}", self.what, self.vip, of_ports(ports));
        let [nft, legacy] = &self.matched;
        let found = dropped(Cause::Firewall, text, point).about(self.vip);
        found.mended_by(let_through(point, &format!("{nft} accept"), legacy))
    }

    /// Ports that are closed, of programs that may have nothing to do with the virtual IP.
    fn closed(&self, closed: &[(&Listening, &DropPoint)]) -> Option<Finding> {
        let (first, point) = closed.first()?;
        let ports: Vec<_> = closed.iter().map(|(listening, _)| *listening).collect();
        let text = format!(
            "the firewall drops {} {}{}; programs listen there on every address, and nothing for \
             them has come out of the TUN: if one is a service, let it through",
            self.what,
            self.vip,
            of_ports(&ports)
        );
        let [nft, legacy] = &self.matched;
        let port = if self.replies { String::new() } else { first.nft() };
        let found = dropped(Cause::Firewall, text, point).about(self.vip);
        let mend = let_through(point, &format!("{nft} {port}accept"), legacy);
        Some(Finding { severity: Severity::Note, ..found.mended_by(mend) })
    }

    fn doubt(&self, point: &DropPoint) -> Finding {
        let text = format!("the firewall may drop {} {}", self.what, self.vip);
        let [nft, legacy] = &self.matched;
        let found = dropped(Cause::Firewall, text, point).about(self.vip);
        let mend = let_through(point, &format!("{nft} accept"), legacy);
        Finding { severity: Severity::Note, ..found.mended_by(mend) }
    }
}

/// `, ports 80/tcp and 443/tcp`.
fn of_ports(ports: &[&Listening]) -> String {
    let words: Vec<_> = ports.iter().map(|one| one.words()).collect();
    match &words[..] {
        [] => String::new(),
        [one] => format!(", port {one}"),
        [first @ .., last] => format!(", ports {} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod tests;
