//! Steps, their inverses and their text.

use super::*;

fn every_kind() -> Vec<HostStep> {
    let address = ip("192.0.2.10");
    let link = "eth0.100".to_owned();
    vec![
        HostStep::Write {
            sysctl: sysctl::conf("eth0.100", "forwarding"),
            from: "0".into(),
            to: "1".into(),
            beside: [(sysctl::conf("eth1", "forwarding"), "2".to_owned())].into(),
        },
        HostStep::Add(Object::Proxy { address, link: link.clone() }),
        HostStep::Add(Object::Address { address, link: link.clone() }),
        HostStep::Add(Object::Route { address, link: link.clone(), table: 254, source: None }),
        HostStep::Add(Object::Neighbour { address, link, source: None }),
        HostStep::Add(Object::Rule { from: address, table: 100, priority: 100 }),
        HostStep::Remove(Object::Copies { table: 100 }),
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
        assert_eq!(serde_json::from_str::<HostStep>(&text).unwrap(), step, "{text}");
    }
    let text = serde_json::to_string(&every_kind()[1]).unwrap();
    assert_eq!(text, r#"{"add":{"proxy":{"address":"192.0.2.10","link":"eth0.100"}}}"#);
}

/// A host on which another program has undone this step.
fn without(step: &HostStep) -> Facts {
    let mut facts = facts();
    match step {
        HostStep::Write { sysctl, from, .. } => set(&mut facts, sysctl, from),
        // The host of the tests has none of these objects.
        HostStep::Add(object) | HostStep::Remove(object) => match object {
            Object::Proxy { .. }
            | Object::Address { .. }
            | Object::Route { .. }
            | Object::Neighbour { .. }
            | Object::Rule { .. } => {}
            Object::Copies { .. } => facts.copies_undone = true,
        },
    }
    facts
}

/// What is not missed is put back without a word, or not at all.
#[test]
fn each_kind_of_step_is_missed_where_another_program_has_undone_it() {
    let added = |step: HostStep| match step {
        HostStep::Remove(object) => HostStep::Add(object),
        other => other,
    };
    let kinds: Vec<HostStep> = every_kind().into_iter().map(added).collect();
    let keys: std::collections::HashSet<_> =
        kinds.iter().map(|step| std::mem::discriminant(&step.record_key())).collect();
    assert_eq!(keys.len(), 7, "one of each kind of key");
    for step in kinds {
        assert!(!without(&step).holds(&step), "{step}");
    }
}

/// The daemon compares only what it reads.
#[test]
fn every_setting_of_a_plan_is_read() {
    let both = vec![ip("10.1.0.10"), ip("2001:db8:1::10")];
    let director = DesiredDirector { vips: both.clone(), ..desired_director() };
    let server = DesiredRealServer { vips: both, ..desired_server() };
    let facts = facts6();
    let plans = [
        crate::host::director::plan_items(&director, &facts).unwrap(),
        crate::host::realserver::plan_items(&server, &facts).unwrap(),
    ];
    let mut settings = 0;
    for step in plans.iter().flat_map(|plan| plan.on_tun.iter().chain(&plan.steps)) {
        let HostStep::Write { sysctl: path, .. } = step else { continue };
        let read = sysctl::of_link(sysctl::link(path).unwrap());
        assert!(read.contains(path), "{path} is written and never read");
        settings += 1;
    }
    assert!(settings > 8, "{settings}");
}

#[test]
fn a_step_knows_its_interface() {
    let links: Vec<_> = every_kind().iter().map(|step| step.link().map(str::to_owned)).collect();
    let eth = || Some("eth0.100".to_owned());
    assert_eq!(links, [eth(), eth(), eth(), eth(), eth(), None, None]);
}

#[test]
fn a_route_with_another_source_takes_the_place_of_the_old_one() {
    let route = |source| {
        let (address, link) = (ip("192.0.2.10"), "vstun0".to_owned());
        HostStep::Add(Object::Route { address, link, table: 254, source })
    };
    let mut record = HostRecord::from_iter([route(None), every_kind()[1].clone()]);
    record.add(route(Some(ip("10.0.0.1"))));
    let expected = [every_kind()[1].clone(), route(Some(ip("10.0.0.1")))];
    assert!(record.iter().eq(&expected));
}
