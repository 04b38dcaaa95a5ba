//! A director with IPv6.

use std::collections::BTreeMap;

use super::*;
use crate::host::director;

fn desired() -> DesiredDirector {
    DesiredDirector {
        vips: vec![ip("10.1.0.10"), ip("2001:db8:1::10")],
        reals: vec![ip("10.2.0.2"), ip("2001:db8:2::2")],
        ..desired_director()
    }
}

fn only6() -> DesiredDirector {
    DesiredDirector {
        vips: vec![ip("2001:db8:1::10")],
        reals: vec![ip("2001:db8:2::2")],
        ..desired()
    }
}

/// A kernel older than Linux 6.17.
fn without_force_forwarding() -> Facts {
    let mut facts = facts6();
    facts.sysctls.retain(|path, _| !path.ends_with("/force_forwarding"));
    facts
}

fn wrong(plan: &HostPlan, text: &str) -> bool {
    plan.problems.iter().any(|problem| problem.text.contains(text))
}

#[test]
fn one_uplink_alone_forwards_where_the_kernel_allows_it() {
    let plan = director::plan(&only6(), &facts6()).unwrap();
    assert_eq!(
        lines(&plan.on_tun),
        [
            "sysctl net/ipv6/conf/vstun0/addr_gen_mode = 1 (was 0)",
            "sysctl net/ipv6/conf/vstun0/accept_ra = 0 (was 1)",
            "sysctl net/ipv6/conf/vstun0/disable_ipv6 = 0 (was 0)",
        ]
    );
    assert_eq!(
        lines(&plan.steps),
        [
            "sysctl net/ipv6/conf/eth0/accept_ra = 2 (was 1)",
            "sysctl net/ipv6/conf/eth1/accept_ra = 2 (was 1)",
            "sysctl net/ipv6/conf/eth0/force_forwarding = 1 (was 0)",
            "sysctl net/ipv6/conf/eth0/forwarding = 1 (was 0)",
            "sysctl net/ipv6/conf/eth0/proxy_ndp = 1 (was 0)",
            "sysctl net/ipv6/neigh/eth0/proxy_delay = 0 (was 80)",
            "route 2001:db8:1::10 dev vstun0 table 254",
            "proxy neighbour entry 2001:db8:1::10 dev eth0",
        ]
    );
    assert_eq!(plan.tunnel_routes.sources, [(ip("2001:db8:2::2"), ip("2001:db8:2::1"))].into());
    assert_eq!(plan.warnings.len(), 1, "{:?}", plan.warnings);
    assert!(plan.warnings[0].starts_with("IPv6 forwarding is turned on for interface eth0"));
}

/// A container may get settings of `all` but no right to write others.
#[test]
fn a_setting_of_all_is_enough_for_an_uplink() {
    let own = |facts: &Facts| -> Vec<String> {
        let steps = lines(&director::plan(&only6(), facts).unwrap().steps);
        let about = |line: &String| line.contains("force_forwarding") || line.contains("proxy_ndp");
        steps.into_iter().filter(about).collect()
    };
    let mut facts = facts6();
    for setting in ["forwarding", "proxy_ndp"] {
        set(&mut facts, &format!("net/ipv6/conf/all/{setting}"), "1");
    }
    assert_eq!(own(&facts), [""; 0]);
    for setting in ["force_forwarding", "proxy_ndp"] {
        set(&mut facts, &format!("net/ipv6/conf/eth0/{setting}"), "1");
    }
    assert_eq!(own(&facts).len(), 2, "they may be ours, to be undone");
}

#[test]
fn otherwise_every_interface_forwards_and_its_old_value_is_kept() {
    for masked in [false, true] {
        let mut facts = without_force_forwarding();
        if masked {
            set(&mut facts, "net/ipv6/conf/eth0/force_forwarding", "");
        }
        set(&mut facts, "net/ipv6/conf/eth1/forwarding", "1");
        let plan = director::plan(&only6(), &facts).unwrap();
        let expected = HostStep::Write {
            sysctl: "net/ipv6/conf/all/forwarding".into(),
            from: "0".into(),
            to: "1".into(),
            beside: [("net/ipv6/conf/eth1/forwarding".to_owned(), "1".to_owned())].into(),
        };
        assert_eq!(plan.steps[1], expected);
        assert_eq!(
            lines(&plan.steps[..1]),
            ["sysctl net/ipv6/conf/eth0/accept_ra = 2 (was 1)"],
            "eth1 is a router and learns nothing"
        );
        assert_eq!(plan.warnings.len(), 1, "{:?}", plan.warnings);
        assert!(plan.warnings[0].contains("for every interface"), "{:?}", plan.warnings);
        assert!(plan.warnings[0].contains("nfproto ipv6 oifname != \"vstun0\" drop"));
    }
}

#[test]
fn a_second_plan_wants_the_same() {
    let first = director::plan(&only6(), &without_force_forwarding()).unwrap();
    let mut facts = without_force_forwarding();
    for step in &first.steps {
        let HostStep::Write { sysctl, from, to, .. } = step else { continue };
        facts.originals.insert(sysctl.clone(), from.clone());
        set(&mut facts, sysctl, to);
    }
    for link in ["default", "lo", "eth1"] {
        set(&mut facts, &sysctl::conf6(link, "forwarding"), "1");
    }
    let second = director::plan(&only6(), &facts).unwrap();
    assert_eq!(second.steps.len(), first.steps.len());
    assert!(second.steps.iter().zip(&first.steps).all(|(a, b)| a.same_end(b)));
    assert_eq!(second.warnings, [] as [String; 0], "it was reported");

    // A new interface gets its `forwarding` from `default`, and would learn routes without vstun's
    // step.
    facts.links.push(link(4, "eth2"));
    set(&mut facts, "net/ipv6/conf/eth2/forwarding", "1");
    set(&mut facts, "net/ipv6/conf/eth2/accept_ra", "1");
    let third = lines(&director::plan(&only6(), &facts).unwrap().steps);
    assert!(third.contains(&"sysctl net/ipv6/conf/eth2/accept_ra = 2 (was 1)".to_owned()));
}

#[test]
fn accept_ra_is_raised_only_where_routes_are_learnt() {
    // accept_ra, forwarding → written
    for (accept, forwarding, written) in
        [("0", "0", false), ("1", "0", true), ("1", "1", false), ("2", "0", true)]
    {
        let mut facts = facts6();
        set(&mut facts, "net/ipv6/conf/eth1/accept_ra", accept);
        set(&mut facts, "net/ipv6/conf/eth1/forwarding", forwarding);
        let steps = lines(&director::plan(&only6(), &facts).unwrap().steps);
        let found = steps.iter().any(|line| line.contains("eth1/accept_ra"));
        assert_eq!(found, written, "accept_ra {accept}, forwarding {forwarding}");
    }
}

#[test]
fn the_tun_s_mtu_by_mix() {
    // Path MTU, family of VIP, of real server → the TUN's, whether it is too small
    let v4 = ("10.1.0.10", "10.2.0.2");
    let v6 = ("2001:db8:1::10", "2001:db8:2::2");
    let table = [
        (1500, v4.0, v4.1, 1480, false),
        (1500, v6.0, v4.1, 1480, false),
        (1500, v4.0, v6.1, 1460, false),
        (1500, v6.0, v6.1, 1460, false),
        (1300, v6.0, v4.1, 1280, false),
        (1299, v6.0, v4.1, 1280, true),
        (1299, v4.0, v4.1, 1279, false),
        (1320, v6.0, v6.1, 1280, false),
        (1319, v6.0, v6.1, 1280, true),
        (1319, v4.0, v6.1, 1279, false),
        (68, v4.0, v4.1, 576, false),
        (68, v6.0, v4.1, 1280, true),
    ];
    for (mtu, vip, real, expected, small) in table {
        let mut facts = facts6();
        facts.lookups.get_mut(&ip(real)).unwrap().mtu = Some(mtu);
        let desired = DesiredDirector { vips: vec![ip(vip)], reals: vec![ip(real)], ..desired() };
        let plan = director::plan(&desired, &facts).unwrap();
        assert_eq!(plan.tun_mtu, expected, "{vip} to {real} over {mtu}");
        let said = wrong(&plan, &format!("real server {real} has an MTU of {mtu}"));
        assert_eq!(said, small, "{vip} to {real} over {mtu}: {:?}", plan.problems);
    }
    let plan = director::plan(&desired(), &facts6()).unwrap();
    assert_eq!((plan.tun_mtu, plan.problems.len()), (1480, 0), "both");
    assert_eq!(plan.tunnel_routes.mtus, [(ip(v4.1), 1500), (ip(v6.1), 1500)].into());
    let mut announced = facts6();
    set(&mut announced, "net/ipv6/conf/eth1/mtu", "1400");
    let plan = director::plan(&only6(), &announced).unwrap();
    assert_eq!(
        (plan.tun_mtu, plan.tunnel_routes.mtus),
        (1360, [(ip(v6.1), 1400)].into()),
        "by a router"
    );
    let mut unknown = facts6();
    unknown.lookups.clear();
    let plan = director::plan(&only6(), &unknown).unwrap();
    assert_eq!(
        (plan.tun_mtu, without_uplinks(plan.tunnel_routes)),
        (1460, TunnelRoutes::default())
    );
}

#[test]
fn each_family_has_its_uplinks() {
    let mut facts = facts6();
    let uplinks = |vips: &[&str], facts: &Facts| {
        let vips = vips.iter().map(|vip| ip(vip)).collect();
        let plan = director::plan(&DesiredDirector { vips, ..desired() }, facts)?;
        let one = |a: &Announcement| format!("{} {}", a.link, a.address);
        Ok::<_, HostRefusal>(plan.announcements.iter().map(one).collect::<Vec<_>>())
    };
    assert_eq!(uplinks(&["2001:db8:2::10"], &facts).unwrap(), ["eth1 2001:db8:2::10"]);
    assert_eq!(uplinks(&["2001:db8:9::10"], &facts).unwrap(), ["eth0 2001:db8:9::10"]);
    // IPv4's default route does not help.
    remake(&mut facts, |route| (route.destination.to_string() != "::/0").then_some(route));
    let refusal = HostRefusal::UplinkMissing(ip("2001:db8:9::10"));
    assert_eq!(uplinks(&["2001:db8:9::10"], &facts), Err(refusal.clone()));
    // If other virtual IPs have an uplink, the missing one is reported and the rest goes on: an
    // interface that is down has lost its IPv6 addresses.
    assert_eq!(uplinks(&["10.1.0.10", "2001:db8:9::10"], &facts).unwrap().len(), 2);
    let vips = vec![ip("10.1.0.10"), ip("2001:db8:9::10")];
    let plan = director::plan(&DesiredDirector { vips, ..desired() }, &facts).unwrap();
    assert!(wrong(&plan, &refusal.to_string()), "{:?}", plan.problems);
}

#[test]
fn sources_by_family() {
    let source = |plan: &HostPlan, vip: &str| {
        plan.steps.iter().find_map(|step| match step {
            HostStep::Add(Object::Route { address, source, .. }) if *address == ip(vip) => *source,
            _ => None,
        })
    };
    let plan = director::plan(&desired(), &facts6()).unwrap();
    assert_eq!(source(&plan, "10.1.0.10"), Some(ip("10.2.0.1")));
    assert_eq!(source(&plan, "2001:db8:1::10"), Some(ip("2001:db8:2::1")));

    let sources = vec![ip("10.1.0.1"), ip("2001:db8:1::1")];
    let wished = DesiredDirector { sources, ..desired() };
    let plan = director::plan(&wished, &facts6()).unwrap();
    assert_eq!(source(&plan, "10.1.0.10"), Some(ip("10.1.0.1")));
    assert_eq!(source(&plan, "2001:db8:1::10"), Some(ip("2001:db8:1::1")));
    let (v4, v6) = (ip("10.2.0.2"), ip("2001:db8:2::2"));
    assert_eq!(
        plan.tunnel_routes.sources,
        [(v4, ip("10.1.0.1")), (v6, ip("2001:db8:1::1"))].into()
    );

    // The kernel refuses a route with a tentative source.
    let mut tentative = facts6();
    let own = tentative.addresses.iter_mut().find(|own| own.address == ip("2001:db8:1::1"));
    own.unwrap().tentative = true;
    let plan = director::plan(&wished, &tentative).unwrap();
    assert_eq!(source(&plan, "2001:db8:1::10"), None);
    assert_eq!(plan.tunnel_routes.sources.len(), 2);

    let mut unreachable = facts6();
    for lookup in unreachable.lookups.values_mut() {
        lookup.kind = RouteKind::Unreachable;
    }
    let plan = director::plan(&wished, &unreachable).unwrap();
    assert_eq!(without_uplinks(plan.tunnel_routes), TunnelRoutes::default(), "no route");
}

/// The paths to the real servers, without the uplinks.
fn without_uplinks(tunnel_routes: TunnelRoutes) -> TunnelRoutes {
    TunnelRoutes { uplinks: BTreeMap::new(), ..tunnel_routes }
}

/// The lookup's choice while the interface's other addresses are still tentative (RFC 4862 5.4).
#[test]
fn a_link_local_address_is_no_source() {
    let mut facts = facts6();
    facts.lookups.insert(ip("2001:db8:2::2"), towards(3, "fe80::3"));
    let plan = director::plan(&only6(), &facts).unwrap();
    assert_eq!(plan.tunnel_routes.sources, [].into());
    let object = Object::Route {
        address: ip("2001:db8:1::10"),
        link: "vstun0".into(),
        table: 254,
        source: None,
    };
    assert!(plan.steps.contains(&HostStep::Add(object)), "{:?}", plan.steps);
    assert!(wrong(&plan, "link-local"));
    let desired = DesiredDirector { sources: vec![ip("2001:db8:2::1")], ..only6() };
    let plan = director::plan(&desired, &facts).unwrap();
    assert_eq!(plan.tunnel_routes.sources, [(ip("2001:db8:2::2"), ip("2001:db8:2::1"))].into());
    assert!(!wrong(&plan, "link-local"));
}

/// With `use_tempaddr` = 2 a lookup picks the temporary address (RFC 8981).
#[test]
fn a_temporary_address_is_a_source_only_where_there_is_no_other() {
    let temporary = |cidr| LocalAddress { temporary: true, ..own(3, cidr) };
    let source = |facts: &Facts| {
        let plan = director::plan(&only6(), facts).unwrap();
        let warned = wrong(&plan, "temporary");
        (plan.tunnel_routes.sources[&ip("2001:db8:2::2")], warned)
    };
    let mut facts = facts6();
    facts.addresses.push(temporary("2001:db8:2::7e3b/64"));
    facts.lookups.insert(ip("2001:db8:2::2"), towards(3, "2001:db8:2::7e3b"));
    assert_eq!(source(&facts), (ip("2001:db8:2::1"), false));

    // Among several lasting ones: preferred ones first, then those closest to the destination.
    facts.addresses.insert(0, own(3, "2001:db8:9::1/64"));
    assert_eq!(source(&facts), (ip("2001:db8:2::1"), false));
    let nearest = facts.addresses.iter_mut().find(|own| own.address == ip("2001:db8:2::1"));
    nearest.unwrap().deprecated = true;
    assert_eq!(source(&facts), (ip("2001:db8:9::1"), false));

    // Tentative ones, link-local ones, and those of other interfaces do not replace it.
    facts.addresses.retain(|own| own.link != 3 || own.temporary);
    facts.addresses.push(LocalAddress { tentative: true, ..own(3, "2001:db8:2::1/64") });
    facts.addresses.push(own(3, "fe80::3/64"));
    assert_eq!(source(&facts), (ip("2001:db8:2::7e3b"), true));
    let named = DesiredDirector { sources: vec![ip("2001:db8:1::1")], ..only6() };
    let plan = director::plan(&named, &facts).unwrap();
    assert!(!wrong(&plan, "temporary"));
}

#[test]
fn a_host_without_ipv6() {
    let vip = ip("2001:db8:1::10");
    let mut none = facts();
    none.sysctls.retain(|path, _| !path.starts_with("net/ipv6/"));
    assert_eq!(director::plan(&only6(), &none), Err(HostRefusal::Ipv6Missing(vip)));
    let plan = director::plan(&desired_director(), &none).unwrap();
    assert_eq!((plan.on_tun.len(), plan.steps.len()), (0, 4), "{:?}", lines(&plan.steps));

    let mut off = facts6();
    for link in ["all", "lo", "eth0", "eth1"] {
        set(&mut off, &sysctl::conf6(link, "disable_ipv6"), "1");
    }
    let sysctl = "net.ipv6.conf.all.disable_ipv6".to_owned();
    assert_eq!(director::plan(&only6(), &off), Err(HostRefusal::Ipv6Off { address: vip, sysctl }));
    assert!(director::plan(&desired_director(), &off).is_ok());

    // An interface's own setting counts, whatever was last written to `all`.
    set(&mut off, "net/ipv6/conf/eth1/disable_ipv6", "0");
    let sysctl = "net/ipv6/conf/eth0/disable_ipv6".to_owned();
    assert_eq!(director::plan(&only6(), &off), Err(HostRefusal::Ipv6Off { address: vip, sysctl }));
    set(&mut off, "net/ipv6/conf/eth0/disable_ipv6", "0");
    assert!(director::plan(&only6(), &off).is_ok());

    // One of two uplinks without IPv6 is reported.
    set(&mut off, "net/ipv6/conf/eth1/disable_ipv6", "1");
    let uplinks = Some(vec!["eth0".to_owned(), "eth1".to_owned()]);
    let plan = director::plan(&DesiredDirector { uplinks, ..only6() }, &off).unwrap();
    assert!(wrong(&plan, "IPv6 is off on uplink eth1"));
    assert_eq!(plan.announcements.len(), 1);
}

#[test]
fn refusals_name_the_commands_of_ipv6() {
    let mut taken = facts6();
    taken.routes.push(route("2001:db8:1::10/128", 3, None));
    let refusal = director::plan(&only6(), &taken).unwrap_err();
    assert!(refusal.to_string().contains("`ip -6 route del 2001:db8:1::10 table 254`"));

    let anycast = DesiredDirector { vips: vec![ip("2001:db8:1::")], ..only6() };
    let refusal = director::plan(&anycast, &facts6()).unwrap_err();
    let subnet = "2001:db8:1::/64".parse().unwrap();
    let link = "eth0".to_owned();
    assert_eq!(refusal, HostRefusal::VipIsAnycast { address: ip("2001:db8:1::"), subnet, link });

    let own = DesiredDirector { vips: vec![ip("2001:db8:1::1")], ..only6() };
    let mut beside = facts6();
    beside.addresses.push(self::own(2, "2001:db8:1::2/64"));
    let refusal = director::plan(&own, &beside).unwrap_err();
    assert!(refusal.to_string().contains("`ip addr del 2001:db8:1::1/64 dev eth0`"));
}

#[test]
fn only_steps_that_traffic_needs_are_required() {
    let plan = director::plan(&only6(), &without_force_forwarding()).unwrap();
    let required = |steps: &[HostStep]| {
        lines(&steps.iter().filter(|step| !step.optional()).cloned().collect::<Vec<_>>())
    };
    assert_eq!(required(&plan.on_tun), ["sysctl net/ipv6/conf/vstun0/disable_ipv6 = 0 (was 0)"]);
    assert_eq!(required(&plan.steps).len(), plan.steps.len() - 1, "all but proxy_delay");
    let only4 = director::plan(&desired_director(), &facts6()).unwrap();
    assert_eq!(required(&only4.on_tun), [] as [String; 0]);
}

#[test]
fn a_withdrawn_ipv6_virtual_ip_is_only_captured() {
    let vips = vec![ip("2001:db8:1::10")];
    let all = DesiredDirector { vips, announce_table: 7, ..desired_director() };
    let withdrawn = [ip("2001:db8:1::10")].into();
    let kept = DesiredDirector { withdrawn, ..all.clone() };
    let (all, kept) =
        [all, kept].map(|desired| director::plan(&desired, &facts6()).unwrap()).into();
    let missing: Vec<_> =
        all.steps.iter().filter(|step| !kept.steps.contains(step)).cloned().collect();
    let expected = [
        "route 2001:db8:1::10 dev vstun0 table 7",
        "proxy neighbour entry 2001:db8:1::10 dev eth0",
    ];
    assert_eq!(lines(&missing), expected);
    assert_eq!((all.announcements.len(), kept.announcements.len()), (1, 0));
}
