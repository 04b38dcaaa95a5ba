//! Plans a real server's host.

use std::net::IpAddr;

use super::copies;
use super::desired::DesiredRealServer;
use super::facts::{Facts, Link, Rule, TunnelDevice};
use super::family::Family;
use super::ipv6;
use super::plan::{HostPlan, TunnelRoutes, check_tun, distinct, write};
use super::problem::{Problem, ProblemKind};
use super::refusal::HostRefusal;
use super::step::{HostStep, Object};
use super::sysctl::conf;

/// The TUN's MTU. It limits nothing: the daemon may write longer packets, and no packet leaves by
/// the TUN.
const TUN_MTU: u16 = 1500;

/// The steps that make the host a real server.
///
/// # Errors
///
/// A [`HostRefusal`] names the obstacle and its remedy.
pub fn plan(desired: &DesiredRealServer, facts: &Facts) -> Result<HostPlan, HostRefusal> {
    plan_items(desired, facts)?.whole()
}

/// As [`plan`], item by item: impossible items are left out and reported as problems.
///
/// # Errors
///
/// The TUN's name cannot be used.
pub fn plan_items(desired: &DesiredRealServer, facts: &Facts) -> Result<HostPlan, HostRefusal> {
    check_tun(&desired.tun, facts)?;
    let all_vips = distinct(&desired.vips);
    let mut problems: Vec<Problem> = Vec::new();
    let mut vips = all_vips.clone();
    if let Err(refusal) = ipv6::check(&vips, &desired.tun, facts) {
        vips.retain(IpAddr::is_ipv4);
        problems.push(refusal.into());
    }
    let (mut warnings, refused) = check_vips(desired, &mut vips, facts);
    problems.extend(refused.into_iter().map(Problem::from));
    warnings.extend(tunnels(desired, facts));

    // ARP settings first: the kernel must never answer ARP for the address.
    let mut steps = Vec::new();
    let v4 = Family::V4.is_among(&vips);
    if v4 {
        for link in facts.links.iter().filter(|link| !link.loopback && link.name != desired.tun) {
            steps.extend(silent_arp(link, facts));
        }
        problems.extend(arp_ignore_elsewhere(facts));
    }
    problems.extend(dropped_replies(desired, &vips, facts));
    problems.extend(vips.iter().flat_map(|vip| proxied(*vip, desired, facts)));
    for &address in &vips {
        steps.push(HostStep::Add(Object::Address { address, link: desired.tun.clone() }));
    }
    let copies = if desired.mss_route { copies::check(desired, facts) } else { Ok(()) };
    if desired.mss_route && copies.is_ok() {
        // Routes before rules: a lookup skips a rule whose table is empty, but not one whose table
        // is half filled.
        steps.push(HostStep::Add(Object::Copies { table: desired.table }));
        for &from in &vips {
            let (table, priority) = (desired.table, desired.rule_priority);
            steps.push(HostStep::Add(Object::Rule { from, table, priority }));
        }
    }
    problems.extend(copies.err().map(Problem::from));
    Ok(HostPlan {
        tun: desired.tun.clone(),
        tun_mtu: TUN_MTU,
        on_tun: loose_rp_filter(&desired.tun, facts)
            .filter(|_| v4)
            .into_iter()
            .chain(ipv6::on_tun(&desired.tun, &all_vips, facts))
            .collect(),
        steps,
        announcements: Vec::new(),
        warnings,
        problems,
        uplinks: Vec::new(),
        captured: Vec::new(),
        advertised_mss: copies::advertised_mss(desired, facts),
        tunnel_routes: TunnelRoutes::default(),
        link_mtu: link_mtu(desired, facts),
    })
}

/// Interfaces on which the kernel answers neighbour discovery for the virtual IP as a proxy. For
/// IPv4 it answers as a proxy for no address of this host (`arp_process()`), for IPv6 it does
/// (`ndisc_recv_ns()`).
fn proxied(vip: IpAddr, desired: &DesiredRealServer, facts: &Facts) -> Vec<Problem> {
    let answers = |link: &&Link| {
        let set = |name| facts.conf6(&link.name, name).is_some_and(|value| value > 0);
        facts.proxies.contains_key(&(link.index, vip)) && set("forwarding") && set("proxy_ndp")
    };
    let others = facts.links.iter().filter(|link| link.name != desired.tun && vip.is_ipv6());
    let problem = |Link { name, .. }: &Link| {
        let text = format!(
            "this server answers neighbour discovery for virtual IP {vip} on {name} as a proxy, so \
             clients may go round the director; remove it with `ip -6 neigh del proxy {vip} dev \
             {name}`"
        );
        let problem = Problem::new(ProblemKind::Announcing, format!("{vip} {name}"), text);
        Problem { address: Some(vip), ..problem }
    };
    others.filter(answers).map(problem).collect()
}

/// Problems of replies that an earlier rule matches and does not route: blackhole, unreachable,
/// prohibit.
fn dropped_replies(desired: &DesiredRealServer, vips: &[IpAddr], facts: &Facts) -> Vec<Problem> {
    let problem = |vip: &IpAddr| {
        let rule = earlier(*vip, desired, facts).find(|rule| rule.table.is_none())?;
        let what = "and routes none of them";
        Some(taken(*vip, rule, ProblemKind::VirtualIp, what, desired))
    };
    vips.iter().filter_map(problem).collect()
}

/// The rules before ours that take all replies from the virtual IP.
pub(super) fn earlier<'a>(
    vip: IpAddr,
    desired: &DesiredRealServer,
    facts: &'a Facts,
) -> impl Iterator<Item = &'a Rule> {
    before(vip, desired, facts).filter(|rule| !rule.special)
}

/// The rules before ours that may take replies from the virtual IP.
pub(super) fn before<'a>(
    vip: IpAddr,
    desired: &DesiredRealServer,
    facts: &'a Facts,
) -> impl Iterator<Item = &'a Rule> {
    let (family, ours) = (Family::of(vip), desired.rule_priority);
    facts.rules.iter().filter(move |rule| {
        rule.family == family
            && rule.priority <= ours
            && rule.from.is_none_or(|from| from.contains(&vip))
    })
}

/// A rule that takes the replies from a virtual IP, and the command that removes it.
pub(super) fn taken(
    vip: IpAddr,
    rule: &Rule,
    kind: ProblemKind,
    what: &str,
    desired: &DesiredRealServer,
) -> Problem {
    let (priority, command) = (rule.priority, Family::of(vip).command());
    let text = format!(
        "routing rule {priority} takes the replies from virtual IP {vip} {what}; remove it with \
         `{command} rule del priority {priority}`, or give it a priority above {}",
        desired.rule_priority
    );
    Problem { address: Some(vip), ..Problem::new(kind, format!("{vip} {priority}"), text) }
}

/// The largest MTU of the links on which tunnelled packets can arrive.
fn link_mtu(desired: &DesiredRealServer, facts: &Facts) -> u32 {
    let others = facts.links.iter().filter(|link| !link.loopback && link.name != desired.tun);
    others.map(|link| link.mtu).max().unwrap_or_else(|| TUN_MTU.into())
}

/// A virtual IP on loopback as well, an old LVS recipe, is harmless. On another interface the
/// kernel answers ARP for it there, whatever `arp_ignore`, and clients that receive the answer
/// bypass the director. Neighbour discovery needs no settings: `ndisc_recv_ns()` answers only for
/// addresses of the interface that receives the question.
fn check_vips(
    desired: &DesiredRealServer,
    vips: &mut Vec<IpAddr>,
    facts: &Facts,
) -> (Vec<String>, Vec<HostRefusal>) {
    let (mut warnings, mut refusals) = (Vec::new(), Vec::new());
    vips.retain(|&address| {
        let elsewhere = || facts.owners(address).filter(|(_, link)| link.name != desired.tun);
        if let Some((own, link)) = elsewhere().find(|(_, link)| !link.loopback) {
            let (prefix, link) = (own.subnet.prefix_len(), link.name.clone());
            let needed = facts.is_only_of_its_link(own);
            refusals.push(HostRefusal::VipOnLink { address, prefix, link, needed });
            return false;
        }
        warnings.extend(elsewhere().map(|(own, link)| {
            let (prefix, link) = (own.subnet.prefix_len(), &link.name);
            format!(
                "virtual IP {address} is an address of {link} too; that is not needed here: \
                 `ip addr del {address}/{prefix} dev {link}`"
            )
        }));
        true
    });
    (warnings, refusals)
}

/// The kernel's own tunnels receive each tunnelled packet in addition to the daemon's raw socket.
/// If a tunnel is up, the packet is delivered twice. If none is up, `tunnel4_rcv()`,
/// `tunnel6_rcv()` or `gre_rcv()` refuses it with an ICMP error to the director. `tunnel4` takes
/// IPv4 and IPv6 packets, whichever of its modules is loaded.
fn tunnels(desired: &DesiredRealServer, facts: &Facts) -> Vec<String> {
    use TunnelDevice::{Gre, Ip6Gre, Ip6Tnl, Ipip, Sit};
    let [v4, v6] = [Family::V4, Family::V6]
        .map(|family| desired.directors.iter().any(|net| Family::of_net(net) == family));
    let kinds: [(bool, &[TunnelDevice], &[&str]); 4] = [
        (v4, &[Ipip, Sit], &["ipip", "sit", "tunnel4"]),
        (v6, &[Ip6Tnl], &["ip6_tunnel", "tunnel6"]),
        (v4 && desired.gre, &[Gre], &["ip_gre"]),
        (v6 && desired.gre, &[Ip6Gre], &["ip6_gre"]),
    ];
    let competing = kinds.into_iter().filter(|(competes, ..)| *competes);
    competing.filter_map(|(_, kinds, modules)| tunnel(kinds, modules, facts)).collect()
}

/// The warning about kernel tunnels of these kinds or modules.
fn tunnel(kinds: &[TunnelDevice], modules: &[&str], facts: &Facts) -> Option<String> {
    let unload = format!("unload it with `modprobe -r {}`", modules.join(" "));
    let mut links = facts.links.iter().filter_map(|link| Some((&link.name, link.tunnel?)));
    if let Some((name, kind)) = links.find(|(_, kind)| kinds.contains(kind)) {
        let module = kind.module();
        return Some(format!(
            "interface {name} belongs to the kernel's {module} module, which takes every tunnelled \
             packet too: packets are delivered twice, or refused towards the director; {unload}"
        ));
    }
    let loaded = facts.tunnel_modules.iter().find(|loaded| modules.contains(&loaded.as_str()))?;
    Some(format!(
        "the kernel module {loaded} is loaded, so the kernel also answers every tunnelled packet \
         with an ICMP error towards the director; {unload}"
    ))
}

/// `arp_ignore` = 1: answer only for addresses of the receiving interface. `arp_announce` = 2:
/// never use the virtual IP as the sender of a request. The larger of `all` and the interface's
/// value applies.
fn silent_arp(link: &Link, facts: &Facts) -> Vec<HostStep> {
    let name = &link.name;
    let ignore = facts.conf(name, "arp_ignore");
    let announce = facts.conf(name, "arp_announce");
    let ignoring = ignores(ignore.max(facts.conf("all", "arp_ignore")));
    let announcing = announce.max(facts.conf("all", "arp_announce")) >= 2;
    let mut steps = Vec::new();
    // A value that is already 1 stays in the plan: a killed predecessor may have set it, and this
    // daemon takes it over.
    if !ignoring || ignore == 1 {
        steps.extend(write(facts, conf(name, "arp_ignore"), "", "1"));
    }
    if !announcing || announce == 2 {
        steps.extend(write(facts, conf(name, "arp_announce"), "", "2"));
    }
    steps
}

/// Whether this `arp_ignore` keeps the kernel from answering for an address of another interface. 3
/// does not: it only excludes addresses of host scope. 4 to 7 have no meaning.
fn ignores(value: u32) -> bool {
    matches!(value, 1 | 2 | 8)
}

/// A larger value on `all` overrides the interface's.
fn arp_ignore_elsewhere(facts: &Facts) -> Option<Problem> {
    let all = facts.conf("all", "arp_ignore");
    (all > 1 && !ignores(all)).then(|| {
        let text = format!(
            "sysctl net.ipv4.conf.all.arp_ignore is {all}: this server answers ARP for its virtual \
             IPs and clients go round the director; `sysctl -w net.ipv4.conf.all.arp_ignore=1`"
        );
        Problem::new(ProblemKind::Announcing, "net/ipv4/conf/all/arp_ignore", text)
    })
}

/// The routes to clients do not lead through the TUN, so strict reverse path filtering would drop
/// every packet.
fn loose_rp_filter(tun: &str, facts: &Facts) -> Option<HostStep> {
    let own = match facts.link(tun) {
        Some(_) => facts.conf(tun, "rp_filter"),
        None => facts.conf("default", "rp_filter"),
    };
    if own.max(facts.conf("all", "rp_filter")) != 1 && own != 2 {
        return None;
    }
    let fallback = conf("default", "rp_filter");
    write(facts, conf(tun, "rp_filter"), &fallback, "2")
}
