//! A configuration with one change, and refused changes.

use super::*;
use crate::config::{Director, Edit, deadline, diff, vip};
use crate::model::{RealValue, Target};

const TWO: &str = r#"
source = "10.0.0.1"
[[service]]
name = "web"
listen = ["192.0.2.10:80/tcp", "[2001:db8::10]:80/tcp"]
real = [{ address = "10.0.0.11" }, { address = "2001:db8:1::12", weight = 2 }]
[[service]]
name = "mail"
listen = ["192.0.2.10:25/tcp"]
real = [{ address = "10.0.0.11", weight = 7 }]
"#;

fn two() -> Director {
    director(&with_services(TWO)).unwrap()
}

fn target(address: &str, service: Option<&str>, all_services: bool) -> Target {
    Target { address: address.to_owned(), service: service.map(str::to_owned), all_services }
}

/// The weights of a real server, by service.
fn weights(director: &Director, of: &str) -> Vec<(String, u32)> {
    let here = |service: &crate::model::ServiceSpec| {
        let real = service.reals.iter().find(|real| real.address == address(of))?;
        Some((service.name.clone(), real.values.weight))
    };
    director.specs().filter_map(here).collect()
}

fn owned(weights: &[(&str, u32)]) -> Vec<(String, u32)> {
    weights.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect()
}

#[test]
fn one_change_in_one_service_or_in_all() {
    let two = two();
    let edited = |target, edit| two.edited(&target, edit).unwrap();
    let only = edited(target("2001:db8:1::12", None, false), Edit::Set(RealValue::Weight(65_535)));
    assert_eq!(weights(&only, "2001:db8:1::12"), owned(&[("web", 65_535)]));
    assert_eq!(diff(&two, &only).unwrap().len(), 1);
    let web = edited(target("10.0.0.11", Some("web"), false), Edit::Set(RealValue::Weight(0)));
    assert_eq!(weights(&web, "10.0.0.11"), owned(&[("web", 0), ("mail", 7)]));
    let all = edited(target("10.0.0.11", None, true), Edit::Set(RealValue::Weight(3)));
    assert_eq!(weights(&all, "10.0.0.11"), owned(&[("web", 3), ("mail", 3)]));
    let gone = edited(target("10.0.0.11", None, true), Edit::Remove);
    assert_eq!(weights(&gone, "10.0.0.11"), []);
    let more = edited(target("10.0.0.13", Some("mail"), false), Edit::Add(4));
    assert_eq!(weights(&more, "10.0.0.13"), owned(&[("mail", 4)]));
    let where_it_lacks = edited(target("2001:db8:1::12", None, true), Edit::Add(4));
    assert_eq!(weights(&where_it_lacks, "2001:db8:1::12"), owned(&[("web", 2), ("mail", 4)]));
}

fn refused(rows: &[(Target, Edit, &str)]) {
    let two = two();
    for (target, edit, expected) in rows {
        assert_eq!(two.edited(target, *edit).unwrap_err().to_string(), *expected);
    }
}

const SET: Edit = Edit::Set(RealValue::Weight(1));
const ADD: Edit = Edit::Add(1);

#[test]
fn an_edit_of_no_service_or_of_several_is_refused() {
    refused(&[
        (
            target("10.0.0.11", None, false),
            SET,
            "service: 10.0.0.11 is in 2 services (web, mail); name one with --service, or all of \
             them with --all-services",
        ),
        (
            target("10.0.0.13", None, false),
            ADD,
            "service: 10.0.0.13 could join 2 services (web, mail); name one with --service, or \
             all of them with --all-services",
        ),
        (
            target("10.0.0.11", Some("wbe"), false),
            SET,
            "service: \"wbe\" is not a service; did you mean web?",
        ),
        (
            target("10.0.0.11", Some("x\n"), false),
            SET,
            "service: \"x\\n\" is not a service; `vstun list` names those there are",
        ),
    ]);
}

#[test]
fn an_edit_of_a_wrong_address_or_weight_is_refused() {
    let mail = |address| target(address, Some("mail"), false);
    let web = |address| target(address, Some("web"), false);
    let weight = "weight: 65536 is out of range; write a number from 0 to 65535";
    refused(&[
        (
            target("10.0.0.12", None, false),
            SET,
            "address: 10.0.0.12 is not a real server of any service; `vstun list` names those \
             there are",
        ),
        (
            mail("2001:db8:1::12"),
            Edit::Remove,
            "address: 2001:db8:1::12 is not a real server of mail, which has 10.0.0.11",
        ),
        (web("10.0.0.11"), Edit::Set(RealValue::Weight(65_536)), weight),
        (web("10.0.0.13"), Edit::Add(65_536), weight),
        (web("10.0.0.11"), ADD, "address: 10.0.0.11 is in service web already"),
        (target("10.0.0.11", None, true), ADD, "address: 10.0.0.11 is in every service already"),
        (
            mail("2001:db8::10"),
            ADD,
            "address: 2001:db8::10 is a virtual IP; write the real server's own address",
        ),
        (
            mail("10.0.0.1"),
            ADD,
            "address: 10.0.0.1, which is the director's own address (`source`), cannot be a real \
             server",
        ),
        (
            mail("::ffff:10.0.0.9"),
            ADD,
            "address: ::ffff:10.0.0.9 is an IPv4-mapped address; write 10.0.0.9",
        ),
    ]);
    let port = two().edited(&target("10.0.0.11:80", None, false), SET).unwrap_err().to_string();
    assert!(port.contains("tunnelling cannot change ports"), "{port}");
}

#[test]
fn a_single_service_need_not_be_named() {
    let one = director(&with_services(TWO.split("[[service]]\nname = \"mail\"").next().unwrap()))
        .unwrap();
    let more = one.edited(&target("10.0.0.13", None, false), Edit::Add(1)).unwrap();
    assert_eq!(weights(&more, "10.0.0.13"), owned(&[("web", 1)]));
    let twice = more.edited(&target("10.0.0.13", None, false), Edit::Add(1)).unwrap_err();
    assert_eq!(twice.to_string(), "address: 10.0.0.13 is in service web already");
}

#[test]
fn a_service_takes_as_many_real_servers_as_a_file_may_give_it() {
    let mut one = two();
    let last = u32::try_from(crate::config::MAX_REALS_PER_SERVICE).unwrap() - 3;
    for number in 0..=last {
        let address = std::net::Ipv4Addr::from(0x0a01_0000 + number).to_string();
        one = one.edited(&target(&address, Some("web"), false), Edit::Add(1)).unwrap();
    }
    assert_eq!(one.services[0].spec.reals.len(), crate::config::MAX_REALS_PER_SERVICE);
    let full = one.edited(&target("10.2.0.1", Some("web"), false), Edit::Add(1)).unwrap_err();
    assert_eq!(
        full.to_string(),
        "service: web has 1024 real servers, as many as a service may have"
    );
}

#[test]
fn virtual_ips_and_deadlines_are_checked() {
    let two = two();
    assert_eq!(vip(&two, "2001:db8::10"), Ok(address("2001:db8::10")));
    let refused = |text| vip(&two, text).unwrap_err().to_string();
    assert!(refused("192.0.2.11").starts_with("address: no service listens on 192.0.2.11"));
    assert!(refused("192.0.2.10:80").contains("has a port; write 192.0.2.10"));
    assert!(refused("x").starts_with("address: \"x\" is not an IP address"));
    assert_eq!(deadline("31d"), Ok(Duration::from_secs(31 * 86_400)));
    assert_eq!(deadline("1s"), Ok(Duration::from_secs(1)));
    let refused = |text| deadline(text).unwrap_err().to_string();
    assert_eq!(refused("31d1s"), "deadline: 31d1s is out of range; write from 1s to 31d");
    assert_eq!(refused("999ms"), "deadline: 999ms is out of range; write from 1s to 31d");
    assert!(refused("10").starts_with("deadline: \"10\" is not a duration"));
}

#[test]
fn there_are_as_many_real_servers_as_a_file_may_have() {
    let reals = |service: usize, count: usize| {
        let real = |number: usize| {
            format!("{{ address = \"10.{service}.{}.{}\" }}", number / 250, number % 250 + 1)
        };
        (0..count).map(real).collect::<Vec<_>>().join(", ")
    };
    let most = crate::config::MAX_REALS_PER_SERVICE;
    let service = |number: usize, count: usize| {
        format!(
            "[[service]]\nname = \"s{number}\"\nlisten = [\"192.0.2.1:{}/tcp\"]\nreal = [{}]\n",
            number + 1,
            reals(number, count)
        )
    };
    let full = crate::config::MAX_REALS / most;
    let text: String =
        (0..full).map(|number| service(number, most - usize::from(number == 0))).collect();
    let nearly = director(&with_services(&(text + &service(full, 0)))).unwrap();
    let last = format!("s{full}");
    let all = nearly.edited(&target("10.99.0.1", Some(&last), false), Edit::Add(1)).unwrap();
    let more = all.edited(&target("10.99.0.2", Some(&last), false), Edit::Add(1)).unwrap_err();
    assert_eq!(more.to_string(), "address: there are 65536 real servers, as many as there may be");
}

/// A verb can end the connections of a removed real server.
#[test]
fn a_removed_server_can_be_selected() {
    let two = two();
    let asked = |service, all, removed: &[&str]| {
        let selected = two.select_also(&target("10.0.0.12", service, all), removed);
        selected.map(|selected| selected.services).map_err(|fault| fault.key)
    };
    assert_eq!(asked(None, false, &[]), Err("address".to_owned()));
    assert_eq!(asked(None, false, &["web"]), Ok(vec!["web".to_owned()]));
    assert_eq!(asked(Some("web"), false, &["web"]), Ok(vec!["web".to_owned()]));
    assert_eq!(asked(Some("mail"), false, &["web"]), Err("address".to_owned()));
    assert_eq!(asked(None, false, &["web", "mail"]), Err("service".to_owned()));
    assert_eq!(asked(None, true, &["web", "mail"]).map(|all| all.len()), Ok(2));
}
