//! Plans as tables: what the host looks like, what is wished, what comes of it.
#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use ipnet::IpNet;

use super::director;
use super::realserver;
use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn link(index: u32, name: &str) -> Link {
    Link {
        index,
        name: name.into(),
        mtu: 1500,
        up: true,
        loopback: name == "lo",
        arp: name != "lo",
        mac: Some([2, 0, 0, 0, 0, 1]),
        ipip: false,
    }
}

fn own(link: u32, cidr: &str) -> Address {
    let subnet: IpNet = cidr.parse().unwrap();
    Address { link, address: subnet.addr(), subnet: subnet.trunc() }
}

fn towards(link: u32, source: &str) -> Lookup {
    Lookup { kind: Kind::Unicast, link: Some(link), source: Some(ip(source)), mtu: None }
}

fn route(to: &str, link: u32, gateway: Option<&str>) -> Route {
    Route {
        destination: to.parse().unwrap(),
        tos: 0,
        table: 254,
        protocol: 3,
        scope: if gateway.is_some() { 0 } else { 253 },
        kind: Kind::Unicast,
        priority: 0,
        source: None,
        nexthop: None,
        hops: vec![Hop { link, gateway: gateway.map(ip), weight: 0, onlink: false, rest: vec![] }],
        metrics: [].into(),
        congestion: None,
        rest: vec![],
    }
}

/// lo; eth0 10.1.0.1/24 towards clients, with the default route; eth1 10.2.0.1/24 towards real servers.
fn facts() -> Facts {
    let links = vec![link(1, "lo"), link(2, "eth0"), link(3, "eth1")];
    let names = links.iter().map(|link| link.name.clone());
    let names: Vec<String> = names.chain(["all".into(), "default".into()]).collect();
    Facts {
        addresses: vec![own(1, "127.0.0.1/8"), own(2, "10.1.0.1/24"), own(3, "10.2.0.1/24")],
        lookups: [(ip("10.2.0.2"), towards(3, "10.2.0.1"))].into(),
        routes: vec![
            route("0.0.0.0/0", 2, Some("10.1.0.254")),
            route("10.1.0.0/24", 2, None),
            route("10.2.0.0/24", 3, None),
        ],
        rules: [(0, 255), (32_766, 254), (32_767, 253)]
            .into_iter()
            .map(|(priority, table)| Rule {
                priority,
                from: None,
                table: Some(table),
                special: false,
                protocol: 2,
            })
            .collect(),
        sysctls: names
            .iter()
            .flat_map(|name| sysctls_of(name))
            .map(|path| {
                let value = if path.ends_with("proxy_delay") { "80" } else { "0" };
                (path, value.to_owned())
            })
            .collect(),
        links,
        ..Facts::default()
    }
}

fn set(facts: &mut Facts, path: &str, value: &str) {
    facts.sysctls.insert(path.to_owned(), value.to_owned());
}

fn director_wishes() -> director::Wishes {
    director::Wishes {
        tun: "vstun0".into(),
        vips: vec![ip("10.1.0.10")],
        reals: vec![ip("10.2.0.2")],
        arp: true,
        ..director::Wishes::default()
    }
}

fn server_wishes() -> realserver::Wishes {
    realserver::Wishes {
        tun: "vstun0".into(),
        vips: vec![ip("192.0.2.10")],
        mss_route: true,
        rule_priority: 100,
        table: 100,
    }
}

fn lines(steps: &[Step]) -> Vec<String> {
    steps.iter().map(ToString::to_string).collect()
}

mod director_plans {
    use super::*;

    #[test]
    fn settings_then_capture_then_announcement() {
        let plan = director::plan(&director_wishes(), &facts()).unwrap();
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
        assert!(plan.steps.contains(&Step::Add(Object::Route {
            address: ip("10.1.0.10"),
            link: "vstun0".into(),
            table: 254,
            source
        })));
        assert_eq!(plan.tun_mtu, 1480);
        assert_eq!(plan.warnings, [] as [String; 0]);
    }

    #[test]
    fn without_arp_only_the_capture() {
        let wishes = director::Wishes { arp: false, announce_table: 7, ..director_wishes() };
        let plan = director::plan(&wishes, &facts()).unwrap();
        let routes = ["route 10.1.0.10 dev vstun0 table 254", "route 10.1.0.10 dev vstun0 table 7"];
        assert_eq!(lines(&plan.steps)[2..], routes);
        assert_eq!(plan.announcements, []);
    }

    #[test]
    fn rp_filter_is_loosened_where_the_larger_of_two_is_strict() {
        // all, eth0 → the value to be written
        let table =
            [("0", "0", None), ("1", "0", Some("2")), ("0", "1", Some("2")), ("2", "1", None)];
        for (all, eth0, expected) in table {
            let mut facts = facts();
            set(&mut facts, "net/ipv4/conf/all/rp_filter", all);
            set(&mut facts, "net/ipv4/conf/eth0/rp_filter", eth0);
            let plan = director::plan(&director_wishes(), &facts).unwrap();
            let written = plan.steps.iter().find_map(|step| match step {
                Step::Write { sysctl, to, .. } if sysctl.ends_with("eth0/rp_filter") => {
                    Some(to.as_str())
                }
                _ => None,
            });
            assert_eq!(written, expected, "all {all}, eth0 {eth0}");
        }
    }

    #[test]
    fn uplinks_are_where_the_vips_live_else_where_the_default_route_goes() {
        let table = [("10.1.0.10", "eth0"), ("10.2.0.10", "eth1"), ("192.0.2.10", "eth0")];
        for (vip, uplink) in table {
            let wishes = director::Wishes { vips: vec![ip(vip)], ..director_wishes() };
            let plan = director::plan(&wishes, &facts()).unwrap();
            let expected = [Announcement { link: uplink.into(), address: ip(vip) }];
            assert_eq!(plan.announcements, expected);
        }
        let mut facts = facts();
        facts.routes.remove(0);
        let wishes = director::Wishes { vips: vec![ip("192.0.2.10")], ..director_wishes() };
        assert_eq!(director::plan(&wishes, &facts), Err(Refusal::UplinkMissing));
    }

    #[test]
    fn the_tun_is_as_small_as_the_narrowest_way_less_the_tunnel() {
        let mut facts = facts();
        let mut wishes = director_wishes();
        wishes.reals.push(ip("10.3.0.2"));
        for (mtu, expected) in [(1500, 1480), (1400, 1380), (596, 576), (595, 576), (68, 576)] {
            let lookup = Lookup { mtu: Some(mtu), ..towards(2, "10.1.0.1") };
            facts.lookups.insert(ip("10.3.0.2"), lookup);
            let plan = director::plan(&wishes, &facts).unwrap();
            assert_eq!(plan.tun_mtu, expected, "way of {mtu}");
        }
        let jumbo = |mtu| {
            let mut facts = facts.clone();
            facts.lookups.remove(&ip("10.3.0.2"));
            facts.links.iter_mut().for_each(|link| link.mtu = mtu);
            director::plan(&director_wishes(), &facts).unwrap().tun_mtu
        };
        assert_eq!(jumbo(9000), 8980);
        assert_eq!(jumbo(65_555), 65_535);
        assert_eq!(jumbo(65_556), 65_535);
        let none = director::Wishes { reals: vec![], ..director_wishes() };
        assert_eq!(director::plan(&none, &facts).unwrap().tun_mtu, 1480);
    }

    #[test]
    fn a_real_server_without_a_route_is_a_warning() {
        let mut wishes = director_wishes();
        wishes.reals.push(ip("10.9.0.2"));
        let plan = director::plan(&wishes, &facts()).unwrap();
        assert_eq!(plan.warnings.len(), 1);
        assert!(plan.warnings[0].contains("no route to real server 10.9.0.2"));
    }

    #[test]
    fn another_s_proxy_entry_is_left_to_it() {
        let mut facts = facts();
        facts.proxies.push(Proxy { link: 2, address: ip("10.1.0.10"), protocol: 0 });
        let proxies = |facts: &Facts| {
            let plan = director::plan(&director_wishes(), facts).unwrap();
            lines(&plan.steps).iter().filter(|line| line.starts_with("proxy")).count()
        };
        assert_eq!(proxies(&facts), 0);
        facts.proxies[0].protocol = PROTOCOL;
        assert_eq!(proxies(&facts), 1, "a predecessor's is taken over");
    }

    #[test]
    fn refusals() {
        let wish = director_wishes;
        let vip = |vip: &str| director::Wishes { vips: vec![ip(vip)], ..wish() };
        let uplink = |name: &str| director::Wishes { uplinks: Some(vec![name.into()]), ..wish() };
        let mut taken = facts();
        taken.routes.push(route("10.1.0.10/32", 3, None));
        let table = [
            (
                vip("10.2.0.1"),
                facts(),
                Refusal::VipIsLocal { address: ip("10.2.0.1"), prefix: 24, link: "eth1".into() },
            ),
            (wish(), taken, Refusal::RouteExists { address: ip("10.1.0.10"), table: 254 }),
            (vip("2001:db8::10"), facts(), Refusal::Ipv6(ip("2001:db8::10"))),
            (uplink("eth7"), facts(), Refusal::UplinkUnknown("eth7".into())),
            (uplink("lo"), facts(), Refusal::UplinkUnfit("lo".into())),
            (
                director::Wishes { tun: "eth1".into(), ..wish() },
                facts(),
                Refusal::TunExists("eth1".into()),
            ),
            (
                director::Wishes { source: Some(ip("10.9.9.9")), ..wish() },
                facts(),
                Refusal::SourceForeign(ip("10.9.9.9")),
            ),
            (
                director::Wishes { announce_table: 254, ..wish() },
                facts(),
                Refusal::TableReserved { key: "announce_table", table: 254 },
            ),
        ];
        for (wishes, facts, refusal) in table {
            assert_eq!(director::plan(&wishes, &facts), Err(refusal));
        }
    }

    #[test]
    fn interface_names_at_the_bound() {
        for (name, fits) in
            [("", false), ("fifteen-bytes-x", true), ("sixteen-bytes-xy", false), ("a b", false)]
        {
            let wishes = director::Wishes { tun: name.into(), ..director_wishes() };
            let refused = director::plan(&wishes, &facts()) == Err(Refusal::TunName(name.into()));
            assert_eq!(refused, !fits, "{name:?}");
        }
    }

    #[test]
    fn our_own_routes_do_not_stop_a_second_plan() {
        let mut facts = facts();
        facts.links.push(link(9, "vstun0"));
        facts.routes.push(route("10.1.0.10/32", 9, None));
        let wishes = director_wishes();
        assert_eq!(director::plan(&wishes, &facts), Err(Refusal::TunExists("vstun0".into())));
        facts.tun_is_ours = true;
        assert!(director::plan(&wishes, &facts).is_ok());
    }
}

mod realserver_plans {
    use super::*;

    #[test]
    fn silence_before_the_address_and_routes_before_the_rule() {
        let plan = realserver::plan(&server_wishes(), &facts()).unwrap();
        assert_eq!(
            lines(&plan.steps),
            [
                "sysctl net/ipv4/conf/eth0/arp_ignore = 1 (was 0)",
                "sysctl net/ipv4/conf/eth0/arp_announce = 2 (was 0)",
                "sysctl net/ipv4/conf/eth1/arp_ignore = 1 (was 0)",
                "sysctl net/ipv4/conf/eth1/arp_announce = 2 (was 0)",
                "address 192.0.2.10 dev vstun0",
                "copied routes in table 100",
                "rule 100: from 192.0.2.10 lookup 100",
            ]
        );
        assert_eq!(plan.advertised_mss, 1440);
        let off = realserver::Wishes { mss_route: false, ..server_wishes() };
        let plan = realserver::plan(&off, &facts()).unwrap();
        assert_eq!(plan.steps.len(), 5);
        assert_eq!(plan.advertised_mss, 1460);
    }

    #[test]
    fn arp_settings_that_do_are_not_written() {
        // all, eth0 → whether eth0's is written
        let table = [
            ("0", "0", true),
            ("1", "0", false),
            ("2", "0", false),
            ("0", "2", false),
            ("0", "3", true),
            ("0", "8", false),
        ];
        for (all, eth0, written) in table {
            let mut facts = facts();
            set(&mut facts, "net/ipv4/conf/all/arp_ignore", all);
            set(&mut facts, "net/ipv4/conf/eth0/arp_ignore", eth0);
            let plan = realserver::plan(&server_wishes(), &facts).unwrap();
            let found = lines(&plan.steps).iter().any(|line| line.contains("eth0/arp_ignore"));
            assert_eq!(found, written, "all {all}, eth0 {eth0}");
        }
        let mut facts = facts();
        set(&mut facts, "net/ipv4/conf/all/arp_ignore", "3");
        let plan = realserver::plan(&server_wishes(), &facts).unwrap();
        assert!(plan.warnings[0].contains("all.arp_ignore is 3"), "{:?}", plan.warnings);
    }

    #[test]
    fn a_tunnel_of_the_ipip_module_is_a_warning() {
        let mut facts = facts();
        facts.links.push(Link { ipip: true, ..link(7, "tunl0") });
        let plan = realserver::plan(&server_wishes(), &facts).unwrap();
        assert!(
            plan.warnings[0].contains("tunl0") && plan.warnings[0].contains("modprobe -r ipip")
        );
    }

    #[test]
    fn the_vip_may_be_on_loopback_and_nowhere_else() {
        let mut facts = facts();
        facts.addresses.push(own(1, "192.0.2.10/32"));
        let plan = realserver::plan(&server_wishes(), &facts).unwrap();
        assert!(plan.warnings[0].contains("ip addr del 192.0.2.10/32 dev lo"));
        facts.addresses.push(own(3, "192.0.2.10/24"));
        let refusal =
            Refusal::VipOnLink { address: ip("192.0.2.10"), prefix: 24, link: "eth1".into() };
        assert_eq!(realserver::plan(&server_wishes(), &facts), Err(refusal));
    }

    #[test]
    fn tables_and_priorities_in_use_are_refused() {
        let wish = server_wishes;
        let mut used = facts();
        used.routes.push(Route { table: 100, ..route("10.0.0.0/8", 2, None) });
        let mut ours = used.clone();
        ours.routes.last_mut().unwrap().protocol = PROTOCOL;
        assert_eq!(realserver::plan(&wish(), &used), Err(Refusal::TableUsed(100)));
        assert!(realserver::plan(&wish(), &ours).is_ok(), "a predecessor's are taken over");
        let main = realserver::Wishes { table: 254, ..wish() };
        let refusal = Refusal::TableReserved { key: "table", table: 254 };
        assert_eq!(realserver::plan(&main, &facts()), Err(refusal));
        for (priority, fits) in [(0, false), (1, true), (32_765, true), (32_766, false)] {
            let wishes = realserver::Wishes { rule_priority: priority, ..wish() };
            assert_eq!(realserver::plan(&wishes, &facts()).is_ok(), fits, "{priority}");
        }
        let mut late = facts();
        late.rules[0].priority = 200;
        assert_eq!(realserver::plan(&wish(), &late), Err(Refusal::Priority(100)));
    }
}

mod copied_routes {
    use super::*;

    fn rule(priority: u32, from: Option<&str>, table: u32) -> Rule {
        let from = from.map(|net| net.parse().unwrap());
        Rule { priority, from, table: Some(table), special: false, protocol: 3 }
    }

    fn destinations(facts: &Facts) -> Vec<String> {
        let copies = copies::wanted(&server_wishes(), facts);
        copies.iter().map(|route| route.destination.to_string()).collect()
    }

    #[test]
    fn narrow_before_wide() {
        assert_eq!(destinations(&facts()), ["10.1.0.0/24", "10.2.0.0/24", "0.0.0.0/0"]);
    }

    #[test]
    fn the_mss_leaves_room_for_the_tunnel() {
        // link's MTU, route's MTU, route's own advmss → the copy's
        let table = [
            (1500, None, None, 1440),
            (9000, None, None, 8940),
            (9000, Some(1500), None, 1440),
            (1500, Some(9000), None, 1440),
            (1500, None, Some(1000), 1000),
            (1500, None, Some(1460), 1440),
            (596, None, None, 536),
            (595, None, None, 536),
            (65_555, None, None, 65_495),
            (65_556, None, None, 65_495),
        ];
        for (link, mtu, own, expected) in table {
            let mut facts = facts();
            facts.links[1].mtu = link;
            let metrics = &mut facts.routes[0].metrics;
            metrics.extend(mtu.map(|mtu| (metric::MTU, mtu)));
            metrics.extend(own.map(|own| (metric::ADVMSS, own)));
            let copies = copies::wanted(&server_wishes(), &facts);
            let default = copies.last().unwrap();
            assert_eq!(default.metrics[&metric::ADVMSS], expected, "{link} {mtu:?} {own:?}");
        }
    }

    #[test]
    fn a_multipath_route_takes_its_narrowest_way() {
        let mut facts = facts();
        facts.links[2].mtu = 1400;
        let other = facts.routes[2].hops[0].clone();
        facts.routes[0].hops.push(other);
        let copies = copies::wanted(&server_wishes(), &facts);
        let default = copies.last().unwrap();
        assert_eq!((default.hops.len(), default.metrics[&metric::ADVMSS]), (2, 1340));
    }

    #[test]
    fn a_refusing_route_is_copied_without_an_mss() {
        let mut facts = facts();
        let mut refusing = route("192.168.0.0/16", 2, None);
        refusing.hops.clear();
        refusing.kind = Kind::Unreachable;
        facts.routes.push(refusing);
        let copies = copies::wanted(&server_wishes(), &facts);
        let copy = copies.iter().find(|copy| copy.kind == Kind::Unreachable).unwrap();
        assert_eq!(copy.metrics, [].into());
        assert_eq!((copy.table, copy.protocol), (100, PROTOCOL));
    }

    #[test]
    fn rules_of_the_administrator_are_followed_in_order() {
        let mut facts = facts();
        facts.rules.push(rule(200, Some("192.0.2.0/24"), 50));
        facts.rules.push(rule(201, Some("198.51.100.0/24"), 51));
        facts.routes.push(Route { table: 50, ..route("10.0.0.0/8", 2, Some("10.1.0.9")) });
        facts.routes.push(Route { table: 51, ..route("172.16.0.0/12", 2, None) });
        // Table 50 hides what it covers of the main table; 51 is for others.
        assert_eq!(destinations(&facts), ["10.0.0.0/8", "0.0.0.0/0"]);
    }

    #[test]
    fn a_throw_uncovers_the_next_table() {
        let mut facts = facts();
        facts.rules.push(rule(200, None, 50));
        facts.routes.push(Route { table: 50, ..route("0.0.0.0/0", 2, Some("10.1.0.9")) });
        let throw =
            Route { table: 50, kind: Kind::Throw, hops: vec![], ..route("10.2.0.0/16", 2, None) };
        facts.routes.push(throw);
        assert_eq!(destinations(&facts), ["10.2.0.0/24", "10.2.0.0/16", "0.0.0.0/0"]);
        facts.routes.last_mut().unwrap().destination = "10.2.0.0/24".parse().unwrap();
        let copies = copies::wanted(&server_wishes(), &facts);
        let kinds: Vec<Kind> = copies.iter().map(|copy| copy.kind).collect();
        assert_eq!(kinds, [Kind::Unicast, Kind::Unicast], "the route takes the throw's place");
    }

    #[test]
    fn special_rules_are_named() {
        let mut facts = facts();
        facts.rules.push(Rule { special: true, ..rule(300, None, 50) });
        facts.rules.push(Rule { special: true, ..rule(50, None, 50) });
        assert_eq!(copies::unseen_rules(&server_wishes(), &facts), [300]);
    }

    #[test]
    fn only_what_differs_is_changed() {
        let wishes = server_wishes();
        let mut facts = facts();
        let wanted = copies::wanted(&wishes, &facts);
        let all: Vec<_> = wanted.iter().cloned().map(copies::Change::Replace).collect();
        assert_eq!(copies::changes(&wishes, &facts), all);

        facts.routes.extend(wanted.clone());
        assert_eq!(copies::changes(&wishes, &facts), [], "in step");

        facts.routes[0].hops[0].gateway = Some(ip("10.1.0.253"));
        let gone = facts.routes.remove(2);
        let changes = copies::changes(&wishes, &facts);
        assert_eq!(changes.len(), 2);
        let copies::Change::Replace(route) = &changes[0] else { panic!("{changes:?}") };
        assert_eq!(route.hops[0].gateway, Some(ip("10.1.0.253")));
        let copies::Change::Remove(route) = &changes[1] else { panic!("{changes:?}") };
        assert_eq!(route.destination, gone.destination);
    }

    #[test]
    fn the_tun_s_own_routes_are_not_copied() {
        let mut facts = facts();
        facts.links.push(link(9, "vstun0"));
        facts.tun_is_ours = true;
        facts.routes.push(route("192.168.7.0/24", 9, None));
        assert_eq!(destinations(&facts).len(), 3);
    }
}

mod steps {
    use super::*;

    fn every_kind() -> Vec<Step> {
        let address = ip("192.0.2.10");
        let link = "eth0.100".to_owned();
        vec![
            Step::Write {
                sysctl: sysctl::conf("eth0.100", "forwarding"),
                from: "0".into(),
                to: "1".into(),
            },
            Step::Add(Object::Proxy { address, link: link.clone() }),
            Step::Add(Object::Address { address, link: link.clone() }),
            Step::Add(Object::Route { address, link, table: 254, source: None }),
            Step::Add(Object::Rule { from: address, table: 100, priority: 100 }),
            Step::Remove(Object::Copies { table: 100 }),
        ]
    }

    #[test]
    fn the_inverse_of_the_inverse_is_the_step() {
        for step in every_kind() {
            assert_ne!(step.inverse(), step);
            assert_eq!(step.inverse().inverse(), step);
        }
    }

    #[test]
    fn a_step_survives_the_state_file() {
        for step in every_kind() {
            let text = serde_json::to_string(&step).unwrap();
            assert_eq!(serde_json::from_str::<Step>(&text).unwrap(), step, "{text}");
        }
        let text = serde_json::to_string(&every_kind()[1]).unwrap();
        assert_eq!(text, r#"{"add":{"proxy":{"address":"192.0.2.10","link":"eth0.100"}}}"#);
    }

    #[test]
    fn a_step_knows_its_interface() {
        let links: Vec<_> =
            every_kind().iter().map(|step| step.link().map(str::to_owned)).collect();
        let eth = || Some("eth0.100".to_owned());
        assert_eq!(links, [eth(), eth(), eth(), eth(), None, None]);
    }

    #[test]
    fn a_route_with_another_source_takes_the_place_of_the_old_one() {
        let route = |source| {
            let (address, link) = (ip("192.0.2.10"), "vstun0".to_owned());
            Step::Add(Object::Route { address, link, table: 254, source })
        };
        assert!(route(Some(ip("10.0.0.1"))).supersedes(&route(None)));
        assert!(!route(None).supersedes(&every_kind()[1]));
    }
}
