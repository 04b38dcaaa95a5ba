//! The changes that lead from one configuration to another.

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::balancer::Change;
use crate::config::{Director, diff, director};
use crate::model::{AdminState, FloodMarks, Policy, RealSpec, ServiceSpec};

use super::{address, lines};

fn read(services: &str) -> Director {
    director(&format!("[director]\n{services}")).unwrap()
}

/// A service of real servers with weights, each on its own line.
fn service(name: &str, scheduler: &str, listens: &[String], reals: &[(u8, u32)]) -> String {
    let listens: Vec<_> = listens.iter().map(|listen| format!("\"192.0.2.1:{listen}\"")).collect();
    let reals: Vec<_> = reals
        .iter()
        .map(|(host, weight)| format!("{{ address = \"10.0.0.{host}\", weight = {weight} }}"))
        .collect();
    format!(
        "[[service]]\nname = \"{name}\"\nscheduler = \"{scheduler}\"\nlisten = [{}]\nreal = [{}]\n",
        listens.join(", "),
        reals.join(", ")
    )
}

/// The balancer's part of the services.
fn specs(director: &Director) -> Vec<ServiceSpec> {
    director.specs().cloned().collect()
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn named<'a>(services: &'a mut [ServiceSpec], name: &str) -> &'a mut ServiceSpec {
    let service = services.iter_mut().find(|service| service.name == *name);
    service.expect("the service exists")
}

fn real<'a>(services: &'a mut [ServiceSpec], name: &str, address: IpAddr) -> &'a mut RealSpec {
    let real = named(services, name).reals.iter_mut().find(|real| real.address == address);
    real.expect("the real server exists")
}

/// The naive twin of `Balancer::apply`: panics if a change conflicts with the current state.
fn apply(services: &mut Vec<ServiceSpec>, change: &Change) {
    match change {
        Change::AddService(spec) => {
            assert!(services.iter().all(|service| service.name != spec.name));
            services.push(spec.clone());
        }
        Change::RemoveService { service } => {
            let before = services.len();
            services.retain(|other| other.name != *service);
            assert_eq!(services.len(), before - 1);
        }
        Change::RenameServices { names } => rename(services, names),
        Change::SetListens { service, listens } => {
            named(services, service).listens.clone_from(listens);
        }
        Change::SetScheduler { service, scheduler } => {
            named(services, service).scheduler = *scheduler;
        }
        Change::SetPolicy { service, policy } => named(services, service).policy = *policy,
        Change::AddReal { service, real } => {
            let reals = &mut named(services, service).reals;
            assert!(reals.iter().all(|other| other.address != real.address));
            reals.push(*real);
        }
        Change::RemoveReal { service, address } => {
            let reals = &mut named(services, service).reals;
            let before = reals.len();
            reals.retain(|real| real.address != *address);
            assert_eq!(reals.len(), before - 1);
        }
        Change::SetReal { service, address, value } => {
            value.set(&mut real(services, service, *address).values);
        }
        Change::SetState { service, address, state } => {
            real(services, service, *address).state = *state;
        }
        Change::SetHealth { .. }
        | Change::SetLoad { .. }
        | Change::SetStep { .. }
        | Change::RestoreState { .. } => {
            panic!("no configuration speaks of it: {change:?}")
        }
        Change::SetMaglev { .. }
        | Change::SetCapacity(_)
        | Change::SetHashSeed(_)
        | Change::SetSources(_)
        | Change::SetLinkMtus(_)
        | Change::SetInterfaces(_)
        | Change::PinProbe { .. }
        | Change::UnpinProbe(_)
        | Change::SetTimeouts(_) => {}
    }
    check_listens(services, change);
}

fn rename(services: &mut [ServiceSpec], names: &[(String, String)]) {
    let index = |old: &String| services.iter().position(|service| service.name == *old);
    let indexes: Vec<_> = names.iter().map(|(old, _)| index(old)).collect();
    for (at, (_, new)) in indexes.into_iter().zip(names) {
        services[at.expect("the service exists")].name.clone_from(new);
    }
    let mut all: Vec<_> = services.iter().map(|service| service.name.as_str()).collect();
    all.sort_unstable();
    assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "{all:?}");
}

fn check_listens(services: &[ServiceSpec], change: &Change) {
    let listens: Vec<_> = services.iter().flat_map(|service| &service.listens).collect();
    for (at, one) in listens.iter().enumerate() {
        for other in &listens[at + 1..] {
            let same = (one.protocol, one.address) == (other.protocol, other.address);
            assert!(!same || !one.ports.overlaps(other.ports), "{one} {other} after {change:?}");
        }
    }
}

/// Services in a fixed order, without the orders that have no meaning.
fn sorted(services: &[ServiceSpec]) -> Vec<ServiceSpec> {
    let mut services = services.to_vec();
    services.sort_by(|one, other| one.name.cmp(&other.name));
    for service in &mut services {
        service.listens.sort();
        service.reals.sort_by_key(|real| real.address);
    }
    services
}

#[test]
fn nothing_changes_nothing() {
    let text = service("a", "rr", &owned(&["80/tcp"]), &[(1, 1), (2, 2)]);
    assert_eq!(diff(&read(&text), &read(&text)), Ok(Vec::new()));
    let reordered = service("a", "rr", &owned(&["80/tcp"]), &[(2, 2), (1, 1)]);
    assert_eq!(diff(&read(&text), &read(&reordered)), Ok(Vec::new()));
}

#[test]
fn each_kind_of_change_is_found() {
    let old = read(
        &(service("gone", "rr", &owned(&["1/tcp"]), &[])
            + &service("kept", "rr", &owned(&["2/tcp"]), &[(1, 1), (2, 2)])),
    );
    let new = read(
        &("max_connections = 9\ntimeouts.udp = \"9s\"\n".to_owned()
            + &service("kept", "lc", &owned(&["2/tcp", "3/tcp"]), &[(2, 3), (4, 4)])
            + &service("new", "wlc", &owned(&["4/tcp"]), &[(1, 1)])),
    );
    let changes: Vec<_> = diff(&old, &new).unwrap().iter().map(|c| format!("{c:?}")).collect();
    let starts = [
        "RemoveService { service: \"gone\" }",
        "SetScheduler { service: \"kept\", scheduler: LeastConnections }",
        "RemoveReal { service: \"kept\", address: 10.0.0.1 }",
        "SetReal { service: \"kept\", address: 10.0.0.2, value: Weight(3) }",
        "AddReal { service: \"kept\", real: RealSpec { address: 10.0.0.4, \
         values: RealValues { weight: 4, ",
        "SetListens { service: \"kept\", listens: [Listen {",
        "AddService(ServiceSpec { name: \"new\"",
        "SetTimeouts(Timeouts {",
        "SetCapacity(9)",
    ];
    assert_eq!(changes.len(), starts.len(), "{changes:#?}");
    for (change, start) in changes.iter().zip(starts) {
        assert!(change.starts_with(start), "{change} for {start}");
    }
}

/// The policy first, so that a removal or a drain of the same reload has the new deadline.
#[test]
fn another_policy_and_another_state_are_changes_of_their_own() {
    let with = |keys: &str, reals: &str| {
        read(&format!(
            "[[service]]\nname = \"a\"\nlisten = [\"192.0.2.1:80/tcp\"]\n{keys}real = [{reals}]\n"
        ))
    };
    let one = r#"{ address = "10.0.0.1" }, { address = "10.0.0.2" }"#;
    let old = with("", one);
    for keys in ["existing = \"reset\"\n", "drain_deadline = \"9s\"\n", "slow_start = \"9s\"\n"] {
        let new = with(keys, one);
        let policy = new.services[0].spec.policy;
        let expected = Change::SetPolicy { service: "a".to_owned(), policy };
        assert_eq!(diff(&old, &new), Ok(vec![expected]), "{keys}");
        assert_ne!(policy, old.services[0].spec.policy);
    }
    let drains = r#"{ address = "10.0.0.1", state = "draining" }"#;
    let changes = diff(&old, &with("drain_deadline = \"9s\"\n", drains)).unwrap();
    let names: Vec<_> = changes.iter().map(|change| format!("{change:?}")).collect();
    assert!(names[0].starts_with("SetPolicy"), "{names:?}");
    assert!(names[1].starts_with("RemoveReal"), "{names:?}");
    let address = "10.0.0.1".parse().unwrap();
    let state = AdminState::Draining { deadline: None };
    assert_eq!(changes[2], Change::SetState { service: "a".to_owned(), address, state });
    for same in [r#"{ address = "10.0.0.1", state = "up" }, { address = "10.0.0.2" }"#, one] {
        assert_eq!(diff(&old, &with("existing = \"keep\"\n", same)), Ok(Vec::new()));
    }
}

#[test]
fn marks_of_floods_are_part_of_the_policy() {
    let text = service("a", "rr", &owned(&["80/tcp"]), &[]);
    let with = |marks: &str| text.replace("real = ", &format!("{marks}\nreal = "));
    let marked = with("flood_new_flows = 500\nflood_table_use = \"75%\"");
    let flood = FloodMarks { new_flows: 500, table_use: 75 };
    let policy = Policy { flood, ..Policy::default() };
    let change = |policy| Change::SetPolicy { service: "a".to_owned(), policy };
    assert_eq!(diff(&read(&text), &read(&marked)), Ok(vec![change(policy)]));
    assert_eq!(diff(&read(&marked), &read(&text)), Ok(vec![change(Policy::default())]));
    let said = with("flood_new_flows = 0\nflood_table_use = \"90%\"");
    assert_eq!(diff(&read(&text), &read(&said)), Ok(Vec::new()), "the defaults, written");
}

#[test]
fn services_can_swap_their_ports() {
    let services = |one: &str, other: &str| {
        read(
            &(service("a", "rr", &owned(&[one]), &[]) + &service("b", "rr", &owned(&[other]), &[])),
        )
    };
    let (old, new) = (services("1-50/tcp", "51-99/tcp"), services("40-99/tcp", "1-39/tcp"));
    let mut state = specs(&old);
    diff(&old, &new).unwrap().iter().for_each(|change| apply(&mut state, change));
    assert_eq!(state, specs(&new));
}

/// A service is identified by its listens: under another name it keeps its connections.
#[test]
fn a_renamed_service_is_the_same_one() {
    let one = |name: &str, listens: &[&str]| service(name, "rr", &owned(listens), &[(1, 1)]);
    let renamed = |names: &[(&str, &str)]| Change::RenameServices {
        names: names.iter().map(|(old, new)| ((*old).to_owned(), (*new).to_owned())).collect(),
    };
    let rows = [
        (one("a", &["80/tcp"]), one("b", &["80/tcp"]), vec![("a", "b")]),
        // With a listen added or removed.
        (one("a", &["80/tcp"]), one("b", &["80/tcp", "81/tcp"]), vec![("a", "b")]),
        (one("a", &["80/tcp", "81/tcp"]), one("b", &["81/tcp"]), vec![("a", "b")]),
        // With another range of ports.
        (one("a", &["80-90/tcp"]), one("b", &["80-95/tcp"]), vec![("a", "b")]),
        (one("a", &["80-90/tcp"]), one("b", &["85/tcp"]), vec![("a", "b")]),
        // Names are swapped, and passed on.
        (
            one("a", &["80/tcp"]) + &one("b", &["81/tcp"]),
            one("b", &["80/tcp"]) + &one("a", &["81/tcp"]),
            vec![("a", "b"), ("b", "a")],
        ),
        (
            one("a", &["80/tcp"]) + &one("b", &["81/tcp"]),
            one("b", &["80/tcp"]) + &one("c", &["81/tcp"]),
            vec![("a", "b"), ("b", "c")],
        ),
        // The service that shares more listens is the same one.
        (
            one("a", &["80/tcp"]) + &one("b", &["81/tcp", "82/tcp"]),
            one("c", &["80/tcp", "81/tcp", "82/tcp"]),
            vec![("b", "c")],
        ),
        // If several share a listen, the name decides.
        (
            one("a", &["80/tcp", "81/tcp", "82/tcp"]),
            one("b", &["80/tcp", "81/tcp"]) + &one("a", &["82/tcp"]),
            vec![],
        ),
    ];
    for (old, new, names) in rows {
        let (old, new) = (read(&old), read(&new));
        let changes = diff(&old, &new).unwrap();
        let found: Vec<_> =
            changes.iter().filter(|one| matches!(one, Change::RenameServices { .. })).collect();
        let expected = renamed(&names);
        assert_eq!(found, if names.is_empty() { vec![] } else { vec![&expected] }, "{changes:#?}");
        let mut state = specs(&old);
        changes.iter().for_each(|change| apply(&mut state, change));
        assert_eq!(sorted(&state), sorted(&specs(&new)), "{changes:#?}");
    }
    // Neither a listen nor the name is shared.
    let (old, new) = (read(&one("a", &["80/tcp"])), read(&one("b", &["81/tcp"])));
    let changes = diff(&old, &new).unwrap();
    assert!(matches!(&changes[..], [Change::RemoveService { .. }, Change::AddService(_)]));
}

#[test]
fn a_change_that_needs_a_restart_is_refused_at_its_line() {
    let services = service("a", "rr", &owned(&["80/tcp"]), &[]);
    let old = read(&services);
    for (key, value, before, after) in [
        ("tun", "\"tun9\"", "vstun0", "tun9"),
        ("control", "\"/run/9.sock\"", "/run/vstun/director.sock", "/run/9.sock"),
        ("control_mode", "\"0600\"", "0660", "0600"),
        ("control_group", "\"adm\"", "unset", "adm"),
        ("state", "\"/var/lib/9\"", "/var/lib/vstun", "/var/lib/9"),
        ("offload", "false", "true", "false"),
        ("fast_path", "\"auto\"", "off", "auto"),
        ("recorder", "9", "0", "9"),
    ] {
        let new = read(&format!("\n{key} = {value}\n{services}"));
        let message = |before: &str, after: &str| {
            let advice = "needs a restart; put the old value back, or restart";
            format!("director.{key}: {before} → {after} {advice}")
        };
        let found = lines(&diff(&old, &new).unwrap_err());
        assert_eq!(found, [format!("3: {}", message(before, after))]);
        // Back to the default: the key is gone, so the fault is at the table.
        let found = lines(&diff(&new, &old).unwrap_err());
        assert_eq!(found, [format!("1: {}", message(after, before))]);
    }
}

/// The owner of the Maglev tables handles it.
#[test]
fn the_hash_keys_can_change_without_a_change_of_a_service() {
    let services = service("a", "mh", &owned(&["80/tcp"]), &[(1, 1)]);
    let old = read(&services);
    for line in ["hash_seed = \"another one\"", "maglev_slots = 1031"] {
        let new = read(&format!("{line}\n{services}"));
        assert_ne!(old, new);
        assert_eq!((diff(&old, &new), diff(&new, &old)), (Ok(Vec::new()), Ok(Vec::new())));
    }
    let otherwise = read(&(services + "fallback = false\n"));
    let changes = diff(&old, &otherwise).unwrap();
    assert!(
        matches!(&changes[..], [Change::SetPolicy { policy, .. }] if !policy.fallback),
        "{changes:?}"
    );
}

#[test]
fn another_spelling_of_the_sources_is_no_change() {
    let services = service("a", "rr", &owned(&["80/tcp"]), &[]);
    let with = |source: &str| read(&format!("source = {source}\n{services}"));
    for (old, new) in [
        (r#""2001:db8::9""#, r#"["2001:DB8:0::9"]"#),
        (r#"["10.0.0.9", "2001:db8::9"]"#, r#"["2001:db8::9", "10.0.0.9"]"#),
    ] {
        assert_eq!(with(old).sources, with(new).sources, "{old} {new}");
    }
    let (one, both) = (with(r#""10.0.0.9""#), with(r#"["10.0.0.9", "2001:db8::9"]"#));
    assert_ne!(one.sources, both.sources);
}

#[test]
fn both_families_change_alike() {
    let service = |listens: &str, reals: &str| {
        read(&format!(
            "[[service]]\nname = \"a\"\nlisten = [{listens}, \"[2001:db8::1]:9/udp\"]\n\
             real = [{reals}]\n"
        ))
    };
    let old = service(r#""[2001:db8::1]:80/tcp""#, r#"{ address = "2001:db8:1::1" }"#);
    let respelt = service(r#""[2001:DB8:0::1]:80/tcp""#, r#"{ address = "2001:db8:1:0::1" }"#);
    assert_eq!(diff(&old, &respelt), Ok(Vec::new()));
    let new = service(
        r#""[2001:db8::1]:81/tcp""#,
        r#"{ address = "2001:db8:1::1", weight = 2 }, { address = "10.0.0.1" }"#,
    );
    let mut state = specs(&old);
    let changes = diff(&old, &new).unwrap();
    assert_eq!(changes.len(), 4, "{changes:#?}");
    changes.iter().for_each(|change| apply(&mut state, change));
    assert_eq!(sorted(&state), sorted(&specs(&new)));
}

#[test]
fn virtual_ips_come_and_go() {
    let old = read("[[service]]\nname = \"a\"\nlisten = [\"192.0.2.1:80/tcp\"]\n");
    let new = read(
        "[[service]]\nname = \"a\"\nlisten = [\"192.0.2.2:80/tcp\", \"[2001:db8::1]:80/tcp\"]\n\
         [[service]]\nname = \"b\"\nlisten = [\"192.0.2.3:80/tcp\"]\n",
    );
    for (old, new) in [(&old, &new), (&new, &old)] {
        let mut state = specs(old);
        diff(old, new).unwrap().iter().for_each(|change| apply(&mut state, change));
        assert_eq!(sorted(&state), sorted(&specs(new)));
    }
}

/// Keys that only concern the host or the packet loop are applied by the code that runs them.
#[test]
fn keys_of_the_host_are_no_changes_of_the_balancer() {
    let services = service("a", "rr", &owned(&["80/tcp"]), &[]);
    let old = read(&services);
    for line in [
        "uplinks = [\"eth0\"]",
        "arp = false",
        "source = \"10.0.0.9\"",
        "announce_table = 9",
        "neighbour_routes = true",
        "busy_poll = \"50us\"",
        "gue_port = 6081",
        "gue_source_ports = \"5000-5063\"",
    ] {
        let new = read(&format!("{line}\n{services}"));
        assert_ne!(old, new);
        assert_eq!((diff(&old, &new), diff(&new, &old)), (Ok(Vec::new()), Ok(Vec::new())));
    }
}

#[test]
fn how_flows_are_treated_changes_in_place() {
    let service = |keys: &str, real: &str| {
        read(&format!(
            "[[service]]\nname = \"a\"\nlisten = [\"192.0.2.1:80/udp\"]\n{keys}\n\
             [[service.real]]\naddress = \"10.0.0.1\"\n{real}\n"
        ))
    };
    let plain = service("", "");
    let rows = [
        ("unknown = \"adopt\"", ""),
        ("persistence = \"6m\"", ""),
        ("persistence = \"6m\"\npersistence_prefix_v4 = 24", ""),
        ("persistence = \"6m\"\npersistence_prefix_v6 = 64", ""),
        ("persistence = \"6m\"\nquiescent = \"move\"", ""),
        ("scheduler = \"rr\"\none_packet = true", ""),
        ("", "upper = 9"),
        ("", "upper = 9\nlower = 3"),
        ("", "upper = 9\nweight = 2"),
    ];
    for (keys, real) in rows {
        let other = service(keys, real);
        for (old, new) in [(&plain, &other), (&other, &plain)] {
            let changes = diff(old, new).unwrap();
            assert!(!changes.is_empty(), "{keys} {real}");
            let kept = |change: &Change| {
                !matches!(change, Change::RemoveReal { .. } | Change::RemoveService { .. })
            };
            assert!(changes.iter().all(kept), "{changes:#?}");
            let mut state = specs(old);
            changes.iter().for_each(|change| apply(&mut state, change));
            assert_eq!(state, specs(new), "{keys} {real}");
        }
    }
    // Writing down a default is not a change.
    let spelt = service("one_packet = false", "upper = 0\nlower = 0");
    assert_eq!(diff(&plain, &spelt), Ok(Vec::new()));
}

/// A configuration of up to four services that divide the ports 1 to 12 of one virtual IP.
fn configurations() -> impl Strategy<Value = Director> {
    let reals = vec((1_u8..6, 0_u32..3), 0..4);
    let services = vec((0_usize..4, reals), 1..5);
    let names = Just(["s0", "s1", "s2", "s3"]).prop_shuffle();
    (services, vec(0_usize..5, 12), names).prop_map(|(services, owners, names)| {
        let mut text = String::new();
        for (at, (scheduler, mut reals)) in services.into_iter().enumerate() {
            let ports = owners.iter().zip(1..).filter(|(owner, _)| **owner == at);
            let listens: Vec<_> = ports.map(|(_, port)| format!("{port}/tcp")).collect();
            let listens =
                if listens.is_empty() { vec![format!("{}/udp", at + 1)] } else { listens };
            reals.sort_unstable();
            reals.dedup_by_key(|(host, _)| *host);
            let scheduler = ["rr", "wrr", "lc", "wlc"][scheduler];
            text += &service(names[at], scheduler, &listens, &reals);
        }
        read(&text)
    })
}

proptest! {
    #[test]
    fn changes_lead_from_any_configuration_to_any_other(
        old in configurations(),
        new in configurations(),
    ) {
        let mut state = specs(&old);
        for change in diff(&old, &new).unwrap() {
            apply(&mut state, &change);
        }
        prop_assert_eq!(sorted(&state), sorted(&specs(&new)));
    }
}

#[test]
fn a_real_server_that_becomes_the_last_resort_leaves_and_joins() {
    let text =
        |more: &str| format!("[[service]]\nname = \"a\"\nlisten = [\"192.0.2.1:1/tcp\"]\n{more}\n");
    let shared = text("real = [{ address = \"10.0.0.1\" }, { address = \"10.0.0.2\" }]");
    let last = text("fallback_real = \"10.0.0.2\"\nreal = [{ address = \"10.0.0.1\" }]");
    let [shared, last] = [shared, last].map(|text| read(&text));
    assert_eq!(last.reals().len(), 2, "it has its tunnel too");
    assert!(last.checks().services.iter().all(|service| service.reals.len() == 1));
    for (old, new, last_resort) in [(&shared, &last, true), (&last, &shared, false)] {
        let changes = diff(old, new).unwrap();
        let [Change::RemoveReal { .. }, Change::AddReal { real, .. }] = &changes[..] else {
            panic!("{changes:?}")
        };
        assert_eq!((real.address, real.last_resort), (address("10.0.0.2"), last_resort));
    }
    assert_eq!(diff(&last, &last), Ok(Vec::new()));
}
