#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};

use crate::balancer::snapshot;
use crate::balancer::table::Turnover;
use crate::balancer::verdict::{AnswerCause, Disposition};
use crate::balancer::{Counters, Reason, Snapshot};
use crate::model::{AdminState, Protocol, RealState, RealValue, RealValues, SchedulerKind};

use super::*;

mod changes;
mod hooks;
mod rates;
mod requests;
mod widths;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn real(host: &str) -> snapshot::RealSnapshot {
    snapshot::RealSnapshot {
        address: address(host),
        values: RealValues::default(),
        last_resort: false,
        state: RealState::Up,
        wanted: AdminState::Up,
        changed: None,
        removed: false,
        deadline: None,
        effective_weight: None,
        starting: false,
        reported: None,
        active: 3,
        half_open: 2,
        inactive: 1,
        connections: 17,
        templates: 0,
        full: false,
        packets: 240,
        bytes: 31_337,
        carried_packets: 0,
        carried_bytes: 0,
        protocol_unreachable: 0,
        unreachable: 0,
        path_mtu: None,
        link_mtu: Some(1500),
        latency: None,
    }
}

/// The state of the design's example of `vstun list --json`, with a second service.
fn state() -> Snapshot {
    let mut counters = Counters::default();
    counters.count(Disposition::Drop(Reason::NoService));
    counters.count(Disposition::Drop(Reason::NoService));
    counters.count(Disposition::Reply(AnswerCause::Refused(Reason::NoService)));
    counters.count(Disposition::Hold);
    let mut far = real("10.1.0.11");
    (far.state, far.wanted) = (RealState::Draining, AdminState::Draining { deadline: None });
    (far.protocol_unreachable, far.path_mtu) = (2, Some(1400));
    let service = |name: &str, listens: &[&str], reals| snapshot::ServiceSnapshot {
        outage: None,
        name: name.into(),
        listens: listens.iter().map(|listen| listen.parse().unwrap()).collect(),
        scheduler: SchedulerKind::WeightedLeastConnections,
        maglev: None,
        flood: snapshot::FloodSnapshot { active: name == "dns", floods: 1, without_entry: 7 },
        reals,
    };
    Snapshot {
        fragments: snapshot::FragmentsSnapshot { waiting: 1, decided: 2, bytes: 1_500 },
        connections: 12,
        capacity: 1_000_000,
        templates: 0,
        templates_capacity: 250_000,
        turnover: Turnover { expired: 5, requeued: 8, evicted: 3 },
        services: vec![
            service("web", &["192.0.2.10:80/tcp"], vec![real("10.0.0.11"), far]),
            service("dns", &["192.0.2.10:53/udp", "192.0.2.10:53/tcp"], Vec::new()),
        ],
        counters,
    }
}

fn connection(port: u16) -> snapshot::ConnectionSnapshot {
    snapshot::ConnectionSnapshot {
        protocol: Protocol::Tcp,
        client: SocketAddr::new(address("198.51.100.7"), port),
        virtual_address: socket("192.0.2.10:80"),
        real: address("10.0.0.11"),
        state: "ESTABLISHED",
        active: true,
        carried: false,
        expires: Duration::from_millis(754_900),
    }
}

fn parse(line: &str) -> Value {
    assert_eq!(line.matches('\n').count(), 1, "one line: {line}");
    assert!(line.ends_with('\n'), "{line}");
    serde_json::from_str(line).unwrap()
}

#[test]
fn list_has_the_shape_of_the_design() {
    let line = encode(&ServiceList::from(&state()));
    assert!(line.starts_with(r#"{"version":1,"connections":{"current":12,"capacity":1000000},"#));
    let value = parse(&line);
    let web = json!({
        "name": "web", "listen": ["192.0.2.10:80/tcp"], "scheduler": "wlc",
        "flood": {"active": false, "floods": 1, "without_entry": 7},
        "reals": [
            {"address": "10.0.0.11", "weight": 1, "encap": "ipip", "state": "up",
             "wanted": "up", "active": 3,
             "half_open": 2, "inactive": 1,
             "connections": 17, "templates": 0, "full": false, "packets": 240, "bytes": 31337,
             "protocol_unreachable": 0, "unreachable": 0, "link_mtu": 1500},
            {"address": "10.1.0.11", "weight": 1, "encap": "ipip", "state": "draining",
             "wanted": "draining", "active": 3, "half_open": 2,
             "inactive": 1,
             "connections": 17, "templates": 0, "full": false, "packets": 240, "bytes": 31337,
             "protocol_unreachable": 2, "unreachable": 0, "path_mtu": 1400,
             "link_mtu": 1500},
        ],
    });
    assert_eq!(value["services"][0], web);
    let names: Vec<_> = value["drops"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(names.len(), Reason::ALL.len());
    assert_eq!(
        (&value["drops"]["malformed"], &value["drops"]["no_service"]),
        (&json!(0), &json!(2))
    );
}

#[test]
fn drops_keep_the_order_of_the_reasons() {
    let line = encode(&Drops::from(&state().counters));
    let order: Vec<_> = decode::<Drops>(line.as_bytes()).unwrap().drops.0;
    let names: Vec<_> = order.iter().map(|(name, _)| name.as_str()).collect();
    let reasons: Vec<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(names, reasons);
    let line = parse(&line);
    for reason in Reason::ALL {
        assert_eq!(line["meanings"][reason.name()], reason.meaning());
        assert_eq!(line["remedies"][reason.name()], reason.remedy());
    }
}

#[test]
fn replies_decode_to_the_same_value() {
    fn assert_round_trip<T>(reply: &T)
    where
        T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        assert_eq!(&decode::<T>(encode(reply).as_bytes()).unwrap(), reply);
    }
    let state = state();
    assert_round_trip(&ServiceList::from(&state));
    assert_round_trip(&Drops::from(&state.counters));
    assert_round_trip(&Connections::page(&[connection(4000)], true));
    assert_round_trip(&Stats::Director(DirectorStats::from(&state)));
    assert_round_trip(&Stats::RealServer(RealServerStats { read: 7, ..Default::default() }));
    let (role, program) = ("director".to_owned(), "0.1.0".to_owned());
    let what = Altered::Real { before: RealValue::Weight(1), after: RealValue::Weight(3) };
    let change = Alteration::of_real("web", address("10.0.0.11"), what);
    assert_round_trip(&Status {
        role,
        program,
        uptime_seconds: 1,
        done: String::new(),
        changes: vec![(&change).into()],
        warnings: vec!["odd".to_owned()],
        host: HostStatus::default(),
    });
    let time = "2026-01-02T03:04:05.678Z".parse().unwrap();
    let operator = Origin::Operator(Credentials { uid: 0, gid: 0, pid: None });
    let event = Event { time, origin: operator, verb: "set-weight", change };
    assert_round_trip(&EventText::from(&event));
    assert_round_trip(&Missed { missed: 7 });
}

#[test]
fn unknown_fields_of_a_newer_daemon_are_ignored() {
    let line = br#"{"version":1,"connections":{"current":1,"capacity":2,"new":3},"services":[],
        "drops":{"new_reason":4},"new":{"a":[1]}}"#;
    let list: ServiceList = decode(line).unwrap();
    assert_eq!((list.connections.current, list.drops.total()), (1, 4));
    let line = br#"{"version":1,"role":"director","packets":{"read":1},"new":2}"#;
    let Stats::Director(stats) = decode(line).unwrap() else { panic!("a director's") };
    assert_eq!((stats.packets.read, stats.packets.dropped), (1, 0));
}

#[test]
fn stats_start_from_the_snapshot_and_add_up() {
    let stats = DirectorStats::from(&state());
    let packets = stats.packets;
    assert_eq!((packets.read, packets.replied, packets.dropped, packets.held), (4, 1, 2, 1));
    let fates = packets.tunnelled + packets.replied + packets.dropped + packets.held;
    assert_eq!(packets.read, fates);
    let fragments = stats.fragments;
    assert_eq!((fragments.waiting, fragments.decided, fragments.held_bytes), (1, 2, 1_500));
    let timers = stats.timers;
    assert_eq!((timers.expired, timers.requeued, timers.evicted), (5, 8, 3));
    assert_eq!(stats.answered.total(), packets.replied);
    let errors = TunnelErrorStats {
        service: "web".to_owned(),
        address: address("10.1.0.11"),
        protocol_unreachable: 2,
        unreachable: 0,
        path_mtu: Some(1400),
    };
    assert_eq!(stats.tunnel_errors, [errors]);
    let value = parse(&encode(&Stats::Director(stats)));
    assert_eq!((&value["version"], &value["role"]), (&json!(1), &json!("director")));
    assert_eq!(value["packets"]["read"], 4);
    assert_eq!(value["packets"]["held"], 1);
}

#[test]
fn a_real_servers_drops_come_from_its_figures() {
    let dropped = ["source", "not_vip"].map(|name| RealServerDrop {
        name: name.into(),
        meaning: format!("About {name}."),
        remedy: format!("mend {name}"),
        count: 5,
    });
    let stats =
        RealServerStats { dropped: dropped.to_vec(), socket_dropped: 7, ..Default::default() };
    let drops = Drops::from(&stats);
    assert_eq!(drops.drops.total(), 17);
    assert!(drops.human(false, Layout::UNBOUNDED).contains("socket_dropped"));
    assert_eq!(drops.drops.0[0].0, "source");
    assert_eq!(drops.meanings["not_vip"], "About not_vip.");
    assert_eq!(drops.about("not_vip"), "About not_vip. To do: mend not_vip.");
    assert!(!drops.remedies["tun_dropped"].is_empty());
}

#[test]
fn a_refusal_is_one_line_and_reads_as_an_error() {
    let line = encode_error("no \"such\"\nthing");
    assert_eq!(parse(&line), json!({"version": 1, "error": "no \"such\"\nthing"}));
    let error = decode::<ServiceList>(line.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "no \"such\"\nthing");
    assert_eq!(encode(&Failure { error: "x".to_owned() }), encode_error("x"));
    let newer = decode::<ServiceList>(br#"{"version":2,"services":{}}"#).unwrap_err();
    assert!(newer.to_string().contains("speaks version 2, this vstun 1"), "{newer}");
    assert!(decode::<ServiceList>(br#"{"version":1}"#).is_err());
}

#[test]
fn the_longest_list_fits_into_a_reply() {
    // The widest values, and as many services, listens and real servers as a configuration may
    // have.
    let real = snapshot::RealSnapshot {
        values: RealValues::from_numbers(RealValues::MOST),
        last_resort: true,
        state: RealState::Draining,
        removed: true,
        deadline: Some(Duration::from_millis(u64::MAX)),
        effective_weight: Some(65_534_999),
        starting: true,
        reported: Some(u64::MAX),
        active: u64::MAX,
        half_open: u64::MAX,
        inactive: u64::MAX,
        connections: u64::MAX,
        templates: u64::MAX,
        full: true,
        packets: u64::MAX,
        bytes: u64::MAX,
        protocol_unreachable: u64::MAX,
        unreachable: u64::MAX,
        path_mtu: Some(u16::MAX),
        link_mtu: Some(u32::MAX),
        ..real("2001:db8:1111:2222:3333:4444:5555:6666")
    };
    let (reals, listens, services) = (65_536, 65_536, 4096);
    let service = snapshot::ServiceSnapshot {
        outage: None,
        name: "n".repeat(63).into(),
        listens: vec![
            "[2001:db8:1111:2222:3333:4444:5555:6666]:10000-20000/udp".parse().unwrap();
            listens / services
        ]
        .into(),
        scheduler: SchedulerKind::Maglev,
        maglev: Some(snapshot::MaglevSnapshot { slots: usize::MAX, checksum: u64::MAX }),
        flood: snapshot::FloodSnapshot { active: false, floods: u64::MAX, without_entry: u64::MAX },
        reals: vec![real; reals / services],
    };
    let list = ServiceList::from(&Snapshot { services: vec![service; services], ..state() });
    assert!(encode(&list).len() <= MAX_REPLY_LEN);
}

#[test]
fn list_prints_its_columns() {
    let expected = "\
12 of 1000000 connections

  REAL SERVER  WEIGHT  STATE     ACTIVE  INACTIVE  CONNS  PACKETS  BYTES
web (wlc) 192.0.2.10:80/tcp
  10.0.0.11         1  up             3         1     17      240  31337
  10.1.0.11         1  draining       3         1     17      240  31337
dns (wlc, in flood mode) 192.0.2.10:53/udp 192.0.2.10:53/tcp
  no real server
";
    assert_eq!(ServiceList::from(&state()).human(Layout::UNBOUNDED), expected);
}

#[test]
fn a_maglev_table_is_shown_by_its_checksum() {
    let mut state = state();
    state.services.truncate(1);
    state.services[0].scheduler = SchedulerKind::Maglev;
    state.services[0].maglev =
        Some(snapshot::MaglevSnapshot { slots: 65_537, checksum: 0x0123_4567_89ab });
    let list = ServiceList::from(&state);
    let value = parse(&encode(&list));
    let expected = json!({"slots": 65_537, "checksum": "00000123456789ab"});
    assert_eq!(value["services"][0]["maglev"], expected);
    assert_eq!(decode::<ServiceList>(encode(&list).as_bytes()).unwrap(), list);
    let shown = "\nweb (mh, table 00000123456789ab) 192.0.2.10:80/tcp\n";
    assert!(list.human(Layout::UNBOUNDED).contains(shown), "{}", list.human(Layout::UNBOUNDED));
}

#[test]
fn list_shows_templates_and_full_servers_where_there_are_any() {
    let mut state = state();
    (state.templates, state.services[0].reals[0].templates) = (7, 7);
    state.services[0].reals[0].full = true;
    let expected = "\
12 of 1000000 connections, 7 of 250000 templates

  REAL SERVER  WEIGHT  STATE     ACTIVE  INACTIVE  CONNS  PACKETS  BYTES  TEMPLATES
web (wlc) 192.0.2.10:80/tcp
  10.0.0.11         1  up, full       3         1     17      240  31337          7
  10.1.0.11         1  draining       3         1     17      240  31337          0
dns (wlc, in flood mode) 192.0.2.10:53/udp 192.0.2.10:53/tcp
  no real server
";
    assert_eq!(ServiceList::from(&state).human(Layout::UNBOUNDED), expected);
    let json = parse(&encode(&ServiceList::from(&state)));
    assert_eq!(json["templates"], json!({"current": 7, "capacity": 250_000}));
    let real = &json["services"][0]["reals"][0];
    assert_eq!((&real["templates"], &real["full"]), (&json!(7), &json!(true)));
}

#[test]
fn list_shows_a_real_servers_state() {
    let mut snapshot = state();
    let reals = &mut snapshot.services[0].reals;
    reals[0].effective_weight = Some(250);
    reals[1].removed = true;
    reals[1].deadline = Some(Duration::from_millis(290_999));
    let list = ServiceList::from(&snapshot);
    let value = parse(&encode(&list));
    let real = |at: usize| &value["services"][0]["reals"][at];
    assert_eq!(real(0)["effective_weight"], json!(0.25));
    assert_eq!((&real(0)["removed"], &real(0)["deadline_seconds"]), (&json!(null), &json!(null)));
    assert_eq!((&real(1)["removed"], &real(1)["deadline_seconds"]), (&json!(true), &json!(290)));
    assert_eq!(decode::<ServiceList>(encode(&list).as_bytes()).unwrap(), list);
    let text = list.human(Layout::UNBOUNDED);
    assert!(text.contains("  10.0.0.11         1  up 0.25 "), "{text}");
    assert!(text.contains("  10.1.0.11         1  draining 290s "), "{text}");
}

#[test]
fn a_number_of_thousandths_reads_back() {
    for number in [0, 1, 250, 999, 1_000, 65_534_999, u32::MAX] {
        assert_eq!(Thousandths::from(f64::from(Thousandths(number))), Thousandths(number));
    }
    assert_eq!(Thousandths::from(f64::NAN), Thousandths(0));
    assert_eq!(Thousandths::from(-1.0), Thousandths(0));
    assert_eq!(Thousandths::from(1e300), Thousandths(u32::MAX));
}

#[test]
fn connections_print_their_columns() {
    let page = Connections::page(&[connection(4000)], false);
    assert_eq!(
        format!("{}\n{}", Connections::header(), page.human(Layout::UNBOUNDED)),
        "\
PRO EXPIRES STATE       CLIENT                VIRTUAL            REAL SERVER
tcp   12:34 ESTABLISHED 198.51.100.7:4000     192.0.2.10:80      10.0.0.11
"
    );
    assert_eq!(
        parse(&encode(&page)),
        json!({"version": 1, "more": false, "connections": [{
            "protocol": "tcp", "expires_seconds": 754, "state": "ESTABLISHED", "active": true,
            "client": "198.51.100.7:4000", "virtual": "192.0.2.10:80", "address": "10.0.0.11",
        }]})
    );
    let carried = snapshot::ConnectionSnapshot { carried: true, ..connection(4000) };
    let page = Connections::page(&[carried], false);
    assert_eq!(
        page.human(Layout::UNBOUNDED),
        "tcp*  12:34 ESTABLISHED 198.51.100.7:4000     192.0.2.10:80      10.0.0.11\n"
    );
    assert_eq!(parse(&encode(&page))["connections"][0]["carried"], true);
}

#[test]
fn drops_print_what_occurred_or_all() {
    let drops = Drops::from(&state().counters);
    let text = drops.human(false, Layout::UNBOUNDED);
    assert_eq!(text.lines().count(), 2, "{text}");
    let header = "REASON      DROPPED  ANSWERED  MEANING, AND WHAT TO DO\n";
    let row = text.strip_prefix(header).unwrap_or_default();
    assert!(row.starts_with("no_service        2         1  "), "{text}");
    assert!(text.contains(Reason::NoService.meaning()));
    assert!(text.ends_with(" To do: add the `listen`, or nothing.\n"), "{text}");
    assert_eq!(drops.human(true, Layout::UNBOUNDED).lines().count(), 1 + Reason::ALL.len() + 2);
    assert!(!drops.human(true, Layout::UNBOUNDED).contains("lvs7"));
    let named = drops.with_tun("lvs7").human(true, Layout::UNBOUNDED);
    assert!(named.contains("`ip route show dev lvs7`") && !named.contains("vstun0"), "{named}");
    let none = Drops::from(&Counters::default());
    assert_eq!(none.human(false, Layout::UNBOUNDED), "no packet was dropped\n");
}

#[test]
fn stats_print_their_figures() {
    let mut stats = DirectorStats::from(&state());
    stats.send_errors = [("ENOBUFS", 3), ("EPERM", 0)].into_iter().collect();
    let text = Stats::Director(stats).human(Layout::UNBOUNDED);
    for expected in [
        "packets read                              4\n",
        "packets dropped                           2\n",
        "fragments held                            1\n",
        "fragmented datagrams followed             2\n",
        "connections expired                       5\n",
        "timers queued again                       8\n",
        "\nsegments refused, by error\nENOBUFS  3\n",
        "web      10.1.0.11                       2             0      1400\n",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    assert!(!text.contains("EPERM"), "{text}");
    let text = Stats::RealServer(RealServerStats { read: 9, ..Default::default() })
        .human(Layout::UNBOUNDED);
    assert!(text.starts_with("packets read                     9\n"), "{text}");
}

#[test]
fn a_status_prints_itself_or_what_was_done() {
    let status = Status {
        role: "director".to_owned(),
        program: "0.1.0".to_owned(),
        uptime_seconds: 3723,
        done: String::new(),
        changes: Vec::new(),
        warnings: Vec::new(),
        host: HostStatus::default(),
    };
    assert_eq!(status.human(Layout::UNBOUNDED), "director, vstun 0.1.0, up 1:02:03\n");
    let done = Status { done: "reloaded".to_owned(), ..status };
    assert_eq!(done.human(Layout::UNBOUNDED), "reloaded\n");
}
