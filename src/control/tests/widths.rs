//! Every listing with the longest addresses and names, on a terminal of 80 columns.

use super::*;
use crate::balancer::{Explanation, Why};
use crate::health::{self, CheckFailure};
use crate::model::Health;

const WIDTH: usize = 80;
const LAYOUT: Layout = Layout { width: WIDTH, exact: false };

const LONGEST: &str = "2001:db8:1111:2222:3333:4444:5555:6666";

fn assert_fits(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= WIDTH, "{} characters: {line}\n{text}", line.len());
        assert_eq!(line, line.trim_end(), "{text}");
    }
}

fn prose() -> String {
    "cannot be reached since it does not answer the solicitations ".repeat(4).trim().to_owned()
}

fn host() -> HostStatus {
    let wrong = Wrong { text: prose(), since: "2026-01-02T03:04:05Z".into(), ..Wrong::default() };
    HostStatus { wrong: vec![wrong], ..HostStatus::default() }
}

/// A list in which every number and name is as long as possible.
fn list() -> ServiceList {
    let mut state = state();
    let service = &mut state.services[0];
    service.name = "n".repeat(63).into();
    service.listens = vec![format!("[{LONGEST}]:10000-20000/udp").parse().unwrap(); 3].into();
    service.scheduler = SchedulerKind::Maglev;
    service.maglev = Some(snapshot::MaglevSnapshot { slots: 1031, checksum: u64::MAX });
    let long = snapshot::RealSnapshot {
        values: RealValues::from_numbers(RealValues::MOST),
        state: RealState::Draining,
        deadline: Some(Duration::from_hours(24 * 30)),
        active: u64::MAX,
        inactive: u64::MAX,
        connections: u64::MAX,
        packets: u64::MAX,
        bytes: u64::MAX,
        full: true,
        ..real(LONGEST)
    };
    service.reals = vec![long, real("255.255.255.255")];
    ServiceList { host: host(), ..ServiceList::from(&state) }
}

#[test]
fn list_fits() {
    let mut list = list();
    assert_fits(&list.human(LAYOUT));
    assert_fits(&list.human(Layout { exact: true, ..LAYOUT }));
    assert!(list.human(LAYOUT).contains(LONGEST));
    let real = &mut list.services[0].reals[0];
    real.templates = u64::MAX;
    (real.state, real.why) = ("down".to_owned(), Some(prose()));
    assert_fits(&list.human(LAYOUT));
    assert_fits(&list.human(Layout { exact: true, ..LAYOUT }));
}

#[test]
fn rates_fit() {
    let list = list();
    let rates = list.clone().with_rates(&ServiceList { services: Vec::new(), ..list });
    for exact in [false, true] {
        assert_fits(&rates.human_rates(Layout { exact, ..LAYOUT }));
    }
}

#[test]
fn an_address_that_is_too_long_has_a_line_of_its_own() {
    let mut state = state();
    state.services.truncate(1);
    state.services[0].reals = vec![real("10.0.0.11"), real(LONGEST)];
    let expected = "\
12 of 1000000 connections

  REAL SERVER  WEIGHT  STATE  ACTIVE  INACTIVE  CONNS  PACKETS  BYTES
web (wlc) 192.0.2.10:80/tcp
  10.0.0.11         1  up          3         1     17      240  31337
  2001:db8:1111:2222:3333:4444:5555:6666
                    1  up          3         1     17      240  31337
";
    assert_eq!(ServiceList::from(&state).human(LAYOUT), expected);
}

#[test]
fn connections_fit() {
    let connection = |client: &str, virtual_address: &str, real: &str| {
        let (client, virtual_address) = (socket(client), socket(virtual_address));
        snapshot::ConnectionSnapshot {
            client,
            virtual_address,
            real: address(real),
            ..connection(1)
        }
    };
    let long = format!("[{LONGEST}]:65535");
    let page = [
        connection("198.51.100.7:40000", "192.0.2.10:80", "10.0.0.11"),
        connection("255.255.255.255:65535", "203.0.113.255:8443", "255.255.255.255"),
        connection("[2001:db8::7]:40000", "[2001:db8::10]:80", LONGEST),
        connection(&long, &long, LONGEST),
    ];
    let text = Connections::page(&page, false).human(LAYOUT);
    assert_fits(&format!("{}\n{text}", Connections::header()));
    let expected = format!(
        "\
tcp   12:34 ESTABLISHED 198.51.100.7:40000    192.0.2.10:80      10.0.0.11
tcp   12:34 ESTABLISHED 255.255.255.255:65535 203.0.113.255:8443 255.255.255.255
tcp   12:34 ESTABLISHED [2001:db8::7]:40000   [2001:db8::10]:80
                        {LONGEST}
tcp   12:34 ESTABLISHED {long}
                        {long}
                        {LONGEST}
"
    );
    assert_eq!(text, expected);
    let whole = Connections::page(&page, false).human(Layout::UNBOUNDED);
    assert_eq!(whole.lines().count(), page.len(), "{whole}");
}

#[test]
fn drops_fit() {
    let drops = Drops::from(&state().counters);
    assert_fits(&drops.human(true, LAYOUT));
}

#[test]
fn stats_fit() {
    let mut state = state();
    let signalled = snapshot::RealSnapshot {
        protocol_unreachable: u64::MAX,
        unreachable: u64::MAX,
        path_mtu: Some(u16::MAX),
        ..real(LONGEST)
    };
    state.services[0].name = "n".repeat(63).into();
    state.services[0].reals.push(signalled);
    let stats = DirectorStats { host: host(), ..DirectorStats::from(&state) };
    assert_fits(&Stats::Director(stats).human(LAYOUT));
    let drop = RealServerDrop {
        name: "source".to_owned(),
        meaning: prose(),
        remedy: prose(),
        count: u64::MAX,
    };
    let dropped = vec![drop.clone(), drop];
    let stats =
        RealServerStats { host: host(), read: u64::MAX, dropped, ..RealServerStats::default() };
    assert_fits(&Stats::RealServer(stats).human(LAYOUT));
}

#[test]
fn checks_fit() {
    let result = CheckResult { detail: prose(), microseconds: 999_999_999, ..Default::default() };
    let check = ListedCheck {
        address: LONGEST.to_owned(),
        check: format!("http GET /{}", "p".repeat(200)),
        destination: format!("[{LONGEST}]:65535"),
        via: "tunnel".to_owned(),
        state: "falling".to_owned(),
        streak: 10,
        since_seconds: 31_536_000,
        next_milliseconds: Some(3_600_000),
        results: vec![result],
        ..Default::default()
    };
    let checks = Checks { checks: vec![check.clone()], ..Checks::default() };
    assert_fits(&checks.human(LAYOUT));
    let once = CheckedOnce {
        via: check.via,
        check: check.check,
        destination: check.destination,
        detail: prose(),
        steps: vec![CheckStep { microseconds: 1, step: prose() }],
        ..Default::default()
    };
    assert_fits(&Checked { checks: vec![once], ..Checked::default() }.human(LAYOUT));
}

#[test]
fn an_explanation_fits() {
    let flow = format!("tcp [{LONGEST}]:65535 [{LONGEST}]:65535").parse().unwrap();
    let explanation = Explanation {
        service: Some("n".repeat(63)),
        real: Some(address(LONGEST)),
        syn: None,
        mid_stream: Some(address(LONGEST)),
        adopted_by_port: false,
        why: Why::Hash,
    };
    let passed = PassedOver { address: address(LONGEST), because: prose() };
    let explained = Explained { passed_over: vec![passed], ..Explained::new(&flow, explanation) };
    assert_fits(&explained.human(LAYOUT));
}

#[test]
fn decisions_and_what_was_undone_fit() {
    let decision = TracedDecision {
        time: "2026-11-28T12:00:00.000Z".to_owned(),
        protocol: "tcp".to_owned(),
        client: format!("[{LONGEST}]:65535"),
        virtual_address: format!("[{LONGEST}]:65535"),
        verdict: "tunnel".to_owned(),
        service: Some("n".repeat(63)),
        address: Some(address(LONGEST)),
        why: Some("scheduler".to_owned()),
        after: Some("SYN_RECV".to_owned()),
        ..TracedDecision::default()
    };
    assert_fits(&decision.human(LAYOUT));
    let steps = vec![CleanedStep { step: prose(), result: prose() }];
    assert_fits(&Cleaned { steps, done: prose(), ..Cleaned::default() }.human(LAYOUT));
}

#[test]
fn replies_to_commands_and_plans_fit() {
    let why =
        Some(health::CheckCause::Failing(CheckFailure { check: "tcp", found: Some(prose()) }));
    let what = Altered::Health { before: None, after: Health::Down, why };
    let change = Alteration::of_service("web", what);
    let planned = Planned { change, connections: 7, fate: FlowOutcome::Kept };
    let plan = ReloadPlan { changes: vec![planned], warnings: vec![prose()], ..Default::default() };
    assert_fits(&plan.human(LAYOUT));
    let status = Status {
        role: "director".to_owned(),
        program: "0.1.0".to_owned(),
        uptime_seconds: u64::MAX,
        done: String::new(),
        changes: Vec::new(),
        warnings: Vec::new(),
        host: host(),
    };
    assert_fits(&status.human(LAYOUT));
    assert_fits(&Status { done: prose(), ..status }.human(LAYOUT));
}
