use super::*;
use crate::doctor::observed_realserver::ReplyTable;

fn facts(routes: Vec<ReplyRoute>) -> RealServerFacts {
    let director: IpNet = "10.0.0.1/32".parse().expect("a network");
    RealServerFacts {
        inputs: [(director, "eth0".to_owned())].into(),
        reply_routes: routes,
        reply_table: Some(ReplyTable { table: 1_020, priority: 1_020 }),
        ..RealServerFacts::default()
    }
}

fn route(to: ReplyTo, result: RouteResult) -> ReplyRoute {
    let address = |text: &str| text.parse().expect("an address");
    ReplyRoute { vip: address("192.0.2.10"), client: address("198.51.100.10"), to, result }
}

fn link(link: &str, prefix: &str, table: u32, rule: Option<u32>) -> RouteResult {
    RouteResult::Link {
        link: link.to_owned(),
        ethernet: link.starts_with("eth"),
        router: prefix != "198.51.0.0/16",
        prefix: prefix.parse().ok(),
        table,
        rule,
    }
}

#[test]
fn replies_that_leave_elsewhere_are_named_with_the_rule_or_the_route() {
    use ReplyTo::{Answering, Far, Possible, Sending, Waiting};
    use Severity::{Fault, Note, Warning};
    let usual = || link("eth0", "0.0.0.0/0", 1_020, None);
    let vpn = || link("wg0", "0.0.0.0/0", 51_820, Some(100));
    let half = || link("tun9", "128.0.0.0/1", 1_020, None);
    let second = || link("eth1", "0.0.0.0/0", 1_020, None);
    let none = |table| {
        let route = "198.51.100.0/24".parse().ok().map(|net| (net, table));
        RouteResult::Refused { kind: "blackhole", route, rule: None }
    };
    let one = || {
        let route = "198.51.100.10/32".parse().ok().map(|net| (net, 254));
        RouteResult::Refused { kind: "blackhole", route, rule: None }
    };
    let rule = || RouteResult::Refused { kind: "prohibit", route: None, rule: Some(9) };
    for (to, result, expected) in [
        (Far, usual(), None),
        (Answering, usual(), None),
        (Waiting, usual(), Some((Note, "tcpdump -c 5 -ni any 'src 192.0.2.10'"))),
        (Far, vpn(), Some((Warning, "ip rule add from 192.0.2.10 lookup 1020 pref 99"))),
        (Waiting, vpn(), Some((Fault, "ip rule add from 192.0.2.10 lookup 1020 pref 99"))),
        (Answering, vpn(), None),
        (Far, half(), Some((Warning, "ip route del 128.0.0.0/1 dev tun9"))),
        (Waiting, half(), Some((Fault, "ip route del 128.0.0.0/1 dev tun9"))),
        // A host may have an interface for tunnels and one for clients.
        (Far, second(), Some((Note, "ip route get 198.51.100.10 from 192.0.2.10"))),
        (Waiting, second(), Some((Fault, "ip route get 198.51.100.10 from 192.0.2.10"))),
        (Waiting, none(254), Some((Fault, "ip route del blackhole 198.51.100.0/24"))),
        (Sending, none(254), Some((Fault, "ip route del blackhole 198.51.100.0/24"))),
        (Answering, none(254), Some((Fault, "ip route del blackhole 198.51.100.0/24"))),
        // Somebody may have banned one address.
        (Sending, one(), Some((Note, "ip route del blackhole 198.51.100.10/32"))),
        (Sending, rule(), Some((Fault, "ip rule del priority 9"))),
        (Possible, none(254), Some((Note, "ip route get 198.51.100.10 from 192.0.2.10"))),
        (Possible, usual(), None),
        (Far, none(7), Some((Warning, "ip route del blackhole 198.51.100.0/24 table 7"))),
        (
            Waiting,
            link("eth0", "198.51.0.0/16", 1_020, None),
            Some((Note, "ip neigh show to 198.51.100.10 dev eth0")),
        ),
        (Answering, link("eth0", "198.51.0.0/16", 1_020, None), None),
    ] {
        let found = findings(&facts(vec![route(to, result.clone())]));
        let seen = found.first().map(|one| (one.severity, one.mend[0].as_str()));
        assert_eq!(seen, expected, "{to:?} {result:?}: {found:?}");
        assert!(found.len() < 2, "{found:?}");
    }
    // Clients answer although replies leave by another interface.
    let served = findings(&facts(vec![route(Answering, vpn()), route(Far, vpn())]));
    assert!(served.is_empty(), "{served:?}");
    // One route takes the replies to many clients.
    let many = findings(&facts(vec![route(Waiting, half()), route(Far, half())]));
    assert_eq!(many.len(), 1, "{many:?}");
    // A network whose client is known is not named twice.
    let both = findings(&facts(vec![route(Sending, none(254)), route(Possible, none(254))]));
    assert_eq!(both.len(), 1, "{both:?}");
}

#[test]
fn a_client_that_is_no_neighbour_is_a_fault_with_its_router() {
    use ReplyTo::{Sending, Waiting};
    for (to, router, mend) in [
        (Waiting, "10.0.0.254".parse().ok(), "ip route add 198.51.100.10 via 10.0.0.254"),
        (Sending, None, "ip route add 198.51.100.10 via ROUTER"),
    ] {
        let mut facts = facts(vec![route(to, link("eth0", "198.51.0.0/16", 1_020, None))]);
        let client = "198.51.100.10".parse().expect("an address");
        facts.silent_neighbours.insert(client, router);
        let [found] = &findings(&facts)[..] else { panic!("{to:?}") };
        assert_eq!((found.severity, found.mend[0].as_str()), (Severity::Fault, mend), "{to:?}");
    }
}
