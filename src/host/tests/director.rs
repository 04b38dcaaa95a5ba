//! A director.

use super::*;
use crate::host::director;

#[test]
fn settings_then_capture_then_announcement() {
    let plan = director::plan(&desired_director(), &facts()).unwrap();
    assert_eq!(lines(&plan.on_tun), ["sysctl net/ipv6/conf/vstun0/disable_ipv6 = 1 (was 0)"]);
    assert_eq!(
        lines(&plan.steps),
        [
            "sysctl net/ipv4/conf/eth0/forwarding = 1 (was 0)",
            "sysctl net/ipv4/neigh/eth0/proxy_delay = 0 (was 80)",
            "route 10.1.0.10 dev vstun0 table 254",
            "proxy neighbour entry 10.1.0.10 dev eth0",
        ]
    );
    let source = Some(ip("10.2.0.1"));
    assert!(plan.steps.contains(&HostStep::Add(Object::Route {
        address: ip("10.1.0.10"),
        link: "vstun0".into(),
        table: 254,
        source
    })));
    assert_eq!(plan.tun_mtu, 1480);
}

#[test]
fn a_host_that_becomes_a_router_is_warned_of_with_what_restricts_it() {
    let mut facts = facts();
    let plan = director::plan(&desired_director(), &facts).unwrap();
    assert_eq!(plan.warnings.len(), 1, "{:?}", plan.warnings);
    let rule = r#"forward iifname "eth0" oifname != "vstun0" drop"#;
    assert!(plan.warnings[0].contains(rule), "{:?}", plan.warnings);
    set(&mut facts, "net/ipv4/conf/eth0/forwarding", "1");
    let plan = director::plan(&desired_director(), &facts).unwrap();
    assert_eq!(plan.warnings, [] as [String; 0], "it was a router before");
}

#[test]
fn without_arp_only_the_capture() {
    let desired = DesiredDirector { arp: false, announce_table: 7, ..desired_director() };
    let plan = director::plan(&desired, &facts()).unwrap();
    let routes = ["route 10.1.0.10 dev vstun0 table 254", "route 10.1.0.10 dev vstun0 table 7"];
    assert_eq!(lines(&plan.steps)[2..], routes);
    assert_eq!(plan.announcements, []);
}

#[test]
fn a_withdrawn_virtual_ip_is_only_captured() {
    let withdrawn = [ip("10.1.0.10")].into();
    let vips = vec![ip("10.1.0.10"), ip("10.1.0.11")];
    let desired = DesiredDirector { vips, announce_table: 7, withdrawn, ..desired_director() };
    let plan = director::plan(&desired, &facts()).unwrap();
    let expected = [
        "route 10.1.0.10 dev vstun0 table 254",
        "route 10.1.0.11 dev vstun0 table 254",
        "route 10.1.0.11 dev vstun0 table 7",
        "proxy neighbour entry 10.1.0.11 dev eth0",
    ];
    assert_eq!(lines(&plan.steps)[2..], expected);
    let announced: Vec<_> = plan.announcements.iter().map(|one| one.address).collect();
    assert_eq!(announced, [ip("10.1.0.11")]);
}

#[test]
fn rp_filter_is_loosened_where_the_larger_of_two_is_strict() {
    // all, eth0 → the value to be written
    let table = [("0", "0", None), ("1", "0", Some("2")), ("0", "1", Some("2")), ("2", "1", None)];
    for (all, eth0, expected) in table {
        let mut facts = facts();
        set(&mut facts, "net/ipv4/conf/all/rp_filter", all);
        set(&mut facts, "net/ipv4/conf/eth0/rp_filter", eth0);
        let plan = director::plan(&desired_director(), &facts).unwrap();
        let written = plan.steps.iter().find_map(|step| match step {
            HostStep::Write { sysctl, to, .. } if sysctl.ends_with("eth0/rp_filter") => {
                Some(to.as_str())
            }
            _ => None,
        });
        assert_eq!(written, expected, "all {all}, eth0 {eth0}");
    }
}

#[test]
fn uplinks_have_the_vips_subnets_or_the_default_route() {
    let table = [("10.1.0.10", "eth0"), ("10.2.0.10", "eth1"), ("192.0.2.10", "eth0")];
    for (vip, uplink) in table {
        let desired = DesiredDirector { vips: vec![ip(vip)], ..desired_director() };
        let plan = director::plan(&desired, &facts()).unwrap();
        let expected = [Announcement { link: uplink.into(), address: ip(vip) }];
        assert_eq!(plan.announcements, expected);
    }
    let mut facts = facts();
    remake(&mut facts, |route| (route.destination.prefix_len() != 0).then_some(route));
    let desired = DesiredDirector { vips: vec![ip("192.0.2.10")], ..desired_director() };
    assert_eq!(director::plan(&desired, &facts), Err(HostRefusal::UplinkMissing(ip("192.0.2.10"))));
}

#[test]
fn the_tun_s_mtu_is_the_largest_link_s_less_the_outer_header() {
    let mut facts = facts();
    let mut desired = desired_director();
    desired.reals = vec![ip("10.3.0.2"), ip("10.3.0.3")];
    let mut way = |real: &str, mtu| {
        let lookup = Lookup { mtu: Some(mtu), ..towards(2, "10.1.0.1") };
        facts.lookups.insert(ip(real), lookup);
        facts.clone()
    };
    way("10.3.0.3", 68);
    for (mtu, expected) in [(1500, 1480), (1400, 1380), (596, 576), (595, 576), (68, 576)] {
        let plan = director::plan(&desired, &way("10.3.0.2", mtu)).unwrap();
        assert_eq!(plan.tun_mtu, expected, "way of {mtu}");
        let mtus = [(ip("10.3.0.2"), mtu), (ip("10.3.0.3"), 68)];
        assert_eq!(plan.tunnel_routes.mtus, mtus.into(), "each real server has its own");
    }
    let wide = way("10.3.0.2", 9_000);
    let plan = director::plan(&desired, &wide).unwrap();
    assert_eq!(
        (plan.tun_mtu, plan.tunnel_routes.mtus[&ip("10.3.0.2")]),
        (1480, 1500),
        "the link's"
    );
    let jumbo = |mtu| {
        let mut facts = facts.clone();
        facts.lookups.remove(&ip("10.3.0.2"));
        facts.links.iter_mut().for_each(|link| link.mtu = mtu);
        director::plan(&desired_director(), &facts).unwrap().tun_mtu
    };
    assert_eq!(jumbo(9000), 8980);
    assert_eq!(jumbo(65_555), 65_535);
    assert_eq!(jumbo(65_556), 65_535);
    let none = DesiredDirector { reals: vec![], ..desired_director() };
    assert_eq!(director::plan(&none, &facts).unwrap().tun_mtu, 1480);
}

#[test]
fn a_real_server_without_a_route_is_a_problem() {
    let mut desired = desired_director();
    desired.reals.push(ip("10.9.0.2"));
    let plan = director::plan(&desired, &facts()).unwrap();
    assert!(plan.problems[0].text.contains("no route to real server 10.9.0.2"));
}

#[test]
fn another_programs_proxy_entry_is_kept() {
    let mut facts = facts();
    facts.proxies.insert((2, ip("10.1.0.10")), 0);
    let proxies = |facts: &Facts| {
        let plan = director::plan(&desired_director(), facts).unwrap();
        lines(&plan.steps).iter().filter(|line| line.starts_with("proxy")).count()
    };
    assert_eq!(proxies(&facts), 0);
    facts.proxies.insert((2, ip("10.1.0.10")), PROTOCOL);
    assert_eq!(proxies(&facts), 1, "a predecessor's is taken over");
}

/// The command that removes it is given only where the host keeps another address there.
#[test]
fn the_hosts_only_address_is_not_to_be_removed() {
    let desired = DesiredDirector { vips: vec![ip("10.2.0.1")], ..desired_director() };
    let text = |facts: &Facts| director::plan(&desired, facts).unwrap_err().to_string();
    let mut facts = facts();
    let only = text(&facts);
    assert!(only.contains("choose another") && !only.contains("ip addr del"), "{only}");
    facts.addresses.push(own(3, "169.254.7.7/16"));
    assert_eq!(text(&facts), only, "a link-local one does not count");
    facts.addresses.push(own(3, "10.2.0.2/24"));
    assert!(text(&facts).contains("`ip addr del 10.2.0.1/24 dev eth1`"), "{}", text(&facts));
    facts.addresses.retain(|own| own.address != ip("10.2.0.1"));
    facts.addresses.push(own(1, "10.2.0.1/32"));
    assert!(text(&facts).contains("`ip addr del 10.2.0.1/32 dev lo`"), "{}", text(&facts));
}

#[test]
fn refusals() {
    let desired = desired_director;
    let vip = |vip: &str| DesiredDirector { vips: vec![ip(vip)], ..desired() };
    let uplink = |name: &str| DesiredDirector { uplinks: Some(vec![name.into()]), ..desired() };
    let mut taken = facts();
    taken.routes.push(route("10.1.0.10/32", 3, None));
    let table = [
        (
            vip("10.2.0.1"),
            facts(),
            HostRefusal::VipIsLocal {
                address: ip("10.2.0.1"),
                prefix: 24,
                link: "eth1".into(),
                needed: true,
            },
        ),
        (desired(), taken, HostRefusal::RouteExists { address: ip("10.1.0.10"), table: 254 }),
        (uplink("eth7"), facts(), HostRefusal::UplinkUnknown("eth7".into())),
        (uplink("lo"), facts(), HostRefusal::UplinkUnfit("lo".into())),
        (
            DesiredDirector { tun: "eth1".into(), ..desired() },
            facts(),
            HostRefusal::TunExists("eth1".into()),
        ),
        (
            DesiredDirector { sources: vec![ip("10.9.9.9")], ..desired() },
            facts(),
            HostRefusal::SourceForeign(ip("10.9.9.9")),
        ),
        (
            DesiredDirector { announce_table: 254, ..desired() },
            facts(),
            HostRefusal::TableReserved { key: "announce_table", table: 254 },
        ),
    ];
    for (desired, facts, refusal) in table {
        assert_eq!(director::plan(&desired, &facts), Err(refusal));
    }
}

#[test]
fn interface_names_at_the_bound() {
    for (name, fits) in
        [("", false), ("fifteen-bytes-x", true), ("sixteen-bytes-xy", false), ("a b", false)]
    {
        let desired = DesiredDirector { tun: name.into(), ..desired_director() };
        let refused = director::plan(&desired, &facts()) == Err(HostRefusal::TunName(name.into()));
        assert_eq!(refused, !fits, "{name:?}");
    }
}

#[test]
fn our_own_routes_do_not_stop_a_second_plan() {
    let mut facts = facts();
    facts.links.push(link(9, "vstun0"));
    facts.routes.push(route("10.1.0.10/32", 9, None));
    let desired = desired_director();
    assert_eq!(director::plan(&desired, &facts), Err(HostRefusal::TunExists("vstun0".into())));
    facts.tun_is_ours = true;
    assert!(director::plan(&desired, &facts).is_ok());
}
