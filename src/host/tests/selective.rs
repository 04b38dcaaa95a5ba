//! Rules of other programs that match a part of the packets.

use super::*;
use crate::host::selective::{at_director, at_realserver};

fn rule(priority: u32, table: Option<u32>, only: Selectors) -> Rule {
    Rule { priority, table, only, special: true, protocol: 0, ..facts().rules[0].clone() }
}

/// `takes`, `may take` or nothing.
fn verdict(found: &[SelectiveRule]) -> &str {
    match found {
        [] => "",
        [SelectiveRule::Leads(problem)] if problem.text.contains(" takes ") => "takes",
        [SelectiveRule::May(text)] if text.contains(" may take ") => "may take",
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rule_for_a_part_of_the_clients_packets_is_named_if_it_leads_them_away() {
    let vip = ip("10.1.0.10");
    let served = [ServedPorts { vip, protocol: 6, ports: 80..=89 }];
    let none = Selectors::default;
    let dports = |ports| Selectors { protocol: Some(6), dports: Some(ports), ..none() };
    let input = |name: &str| Selectors { input: Some(name.into()), ..dports(80..=80) };
    let to = |net: &str| Selectors { to: net.parse().ok(), ..dports(80..=80) };
    let from = |net: &str| Rule { from: net.parse().ok(), ..rule(10, Some(500), none()) };
    let table = [
        (rule(10, Some(500), dports(80..=80)), "takes"),
        (rule(10, Some(500), dports(89..=99)), "takes"),
        (rule(10, Some(500), dports(90..=99)), ""),
        (rule(10, Some(500), Selectors { protocol: Some(17), ..none() }), ""),
        (rule(10, None, dports(80..=80)), "takes"),
        (rule(10, Some(500), Selectors { mark: true, ..none() }), "may take"),
        (rule(10, Some(500), input("eth0")), "takes"),
        (rule(10, Some(500), input("eth1")), ""),
        (rule(10, Some(500), to("10.1.0.8/29")), "takes"),
        (rule(10, Some(500), to("10.1.0.16/29")), ""),
        (rule(10, Some(500), Selectors { output: Some("eth0".into()), ..dports(80..=80) }), ""),
        (rule(10, None, Selectors { idle: true, ..dports(80..=80) }), ""),
        // The table leads into the TUN, or has no route for the virtual IP.
        (rule(10, Some(MAIN), dports(80..=80)), ""),
        (rule(10, Some(501), dports(80..=80)), ""),
        (rule(10, Some(502), dports(80..=80)), ""),
        // After the lookup of the TUN's route.
        (rule(32_766, Some(500), dports(80..=80)), ""),
        (Rule { protocol: PROTOCOL, ..rule(10, Some(500), dports(80..=80)) }, ""),
        // The lookup of a possible client, 10.1.0.254, meets what matches all packets.
        (rule(10, Some(500), none()), ""),
        (from("198.51.100.0/24"), "takes"),
        (from("10.1.0.254/32"), ""),
        (from("10.1.0.1/32"), ""),
    ];
    for (rule, expected) in table {
        let mut facts = facts();
        facts.links.push(link(9, "vstun0"));
        facts.tun_is_ours = true;
        for (number, to, link) in [(500, "0.0.0.0/0", 3), (501, "10.1.0.10/32", 9)] {
            facts.routes.push(Route { table: number, ..route(to, link, None) });
        }
        facts.rules.push(rule.clone());
        let plan = crate::host::director::plan_items(&desired_director(), &facts).unwrap();
        let found = at_director("vstun0", &plan, &served, &facts);
        assert_eq!(verdict(&found), expected, "{rule:?}");
    }
}

#[test]
fn a_rule_for_a_part_of_the_replies_is_named() {
    let none = Selectors::default;
    let sports = || Selectors { protocol: Some(6), sports: Some(80..=80), ..none() };
    let to = |net: &str| Selectors { to: net.parse().ok(), ..none() };
    let table = [
        (rule(10, Some(254), sports()), "takes"),
        (rule(10, None, sports()), "takes"),
        (rule(10, Some(100), sports()), ""),
        (rule(10, Some(7), sports()), ""),
        (rule(101, Some(254), sports()), ""),
        (rule(10, Some(254), to("10.77.0.100/32")), "takes"),
        // The lookup for 203.0.113.1 meets it.
        (rule(10, Some(254), to("203.0.113.0/24")), ""),
        (rule(10, Some(254), Selectors { input: Some("eth0".into()), ..sports() }), ""),
        (rule(10, Some(254), Selectors { mark: true, ..none() }), "may take"),
    ];
    for (rule, expected) in table {
        let mut facts = facts();
        facts.rules.push(rule.clone());
        let desired = desired_server();
        let plan = crate::host::realserver::plan_items(&desired, &facts).unwrap();
        assert_eq!(verdict(&at_realserver(&desired, &plan, &facts)), expected, "{rule:?}");
    }
}
