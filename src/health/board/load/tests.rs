#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::health::load::{ListenQueue, LoadReport, Pressure, Reported};
use crate::health::spec::ExecProbe;
use crate::health::{
    CheckSpec, DueProbe, Initial, Panic, Plan, ProbeResult, Rules, ServiceInput, Timing, Via,
};
use crate::model::Listen;
use crate::model::{AdminState, Health, RealSpec};

const REAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 11));
const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 10));

fn plan(load: bool, listens: &[&str]) -> Plan {
    plan_of(Probe::Agent, load, listens)
}

fn plan_of(probe: Probe, load: bool, listens: &[&str]) -> Plan {
    let timing = Timing { interval: Duration::from_secs(1), fall: 1, rise: 1, ..Timing::DEFAULT };
    let spec = CheckSpec { probe, via: Via::Direct, port: Some(9181), timing };
    let listens: Vec<Listen> = listens.iter().map(|text| text.parse().unwrap()).collect();
    Plan::new([ServiceInput {
        name: "web",
        listens: &listens,
        reals: &[RealSpec::new(REAL, 4)],
        checks: &[Arc::new(spec)],
        rules: Rules::DEFAULT,
        load,
    }])
}

struct Watched {
    board: Board,
    now: Millis,
}

impl Watched {
    fn new(load: bool, listens: &[&str]) -> Self {
        Self::with(&plan(load, listens))
    }

    fn with(plan: &Plan) -> Self {
        let mut board = Board::new(7);
        board.adopt(Millis(0), plan);
        Self { board, now: Millis(0) }
    }

    /// Finishes the next probe with this report. Returns the last load that it sends to the
    /// balancer, if any.
    fn hears(&mut self, reported: Option<Reported>) -> Option<Load> {
        let order = self.order();
        self.finish(&order, reported);
        let load = |event: &HealthEvent| match event {
            HealthEvent::Load { load, .. } => Some(*load),
            _ => None,
        };
        self.board.take_events().iter().filter_map(load).next_back()
    }

    fn order(&mut self) -> DueProbe {
        self.now = self.board.next_due().unwrap().max(self.now);
        self.board.start_due(self.now).unwrap()
    }

    fn finish(&mut self, order: &DueProbe, reported: Option<Reported>) {
        let (passed, detail) = (reported.is_some(), String::new());
        let took = Duration::ZERO;
        let finding = ProbeResult { at: self.now, passed, refused: false, detail, took, reported };
        self.board.finish(self.now, order.id, finding);
    }

    fn says(&mut self, line: &str) -> Option<Load> {
        self.hears(Some(Reported::Line(line.to_owned())))
    }

    fn health(&self) -> Health {
        self.board.reported_health().next().unwrap().2
    }
}

fn count(load: Option<Load>) -> Option<u64> {
    Some(load?.connections?.count)
}

fn report(cpu: u32, established: u64) -> Option<Reported> {
    let listening =
        [80, 81].map(|port| ListenQueue { address: VIP, port, established, queued: 0 }).to_vec();
    let pressure = Some(Pressure { cpu, ..Pressure::default() });
    let established = Some(2 * established);
    Some(Reported::Report(Box::new(LoadReport {
        established,
        listening,
        pressure,
        ..LoadReport::default()
    })))
}

#[test]
fn an_agent_takes_its_real_server_out_of_every_service_and_weights_follow_only_where_wanted() {
    for load in [false, true] {
        let mut watched = Watched::new(load, &["192.0.2.10:80/tcp"]);
        assert_eq!(watched.says("ready up 100%"), None);
        let out = Some(Load { thousandths: 0, connections: None, weight: None });
        assert_eq!(watched.says("drain"), out);
        assert!(watched.board.without_quorum().contains(&"web".to_owned()));
        assert_eq!(watched.health(), Health::Up, "it is drained, not down");
        assert_eq!(watched.says("50%"), None, "only ready ends it");
        assert!(watched.says("ready").is_some_and(|load| load.thousandths > 0));
        let halves: Vec<_> = (0..8).filter_map(|_| watched.says("50%")).collect();
        assert_eq!(halves.is_empty(), !load, "{halves:?}");
        watched.says("down #its owner");
        assert_eq!(watched.health(), Health::Down);
        watched.hears(None);
        assert_eq!(watched.health(), Health::Down, "the last report stays");
        watched.says("up");
        assert_eq!(watched.health(), Health::Up);
        for _ in 0..10 {
            watched.hears(None);
        }
        assert_eq!(watched.health(), Health::Up, "an agent that does not answer reports nothing");
    }
}

/// As with HAProxy, whose `fall` and `rise` do not count for an agent's words either.
#[test]
fn each_down_and_up_of_an_agent_counts() {
    let mut plan = plan(false, &["192.0.2.10:80/tcp"]);
    let timing = Timing { fall: 3, rise: 2, ..Timing::DEFAULT };
    let spec = CheckSpec { timing, ..(*plan.checks[0].spec).clone() };
    plan.checks[0].spec = Arc::new(spec);
    let mut watched = Watched::with(&plan);
    for (line, health) in [
        ("up 50%", Health::Up),
        ("down", Health::Down),
        ("ready 50%", Health::Down),
        ("up", Health::Up),
        ("fail #disk", Health::Down),
        ("", Health::Down),
        ("stopped", Health::Down),
        ("UP", Health::Up),
    ] {
        watched.says(line);
        assert_eq!(watched.health(), health, "{line}");
    }
}

/// A broken agent takes no site down either, and its owner's `drain` still counts.
#[test]
fn panic_disbelieves_the_down_of_agents_and_not_their_drain() {
    let mut plan = plan(true, &["192.0.2.10:80/tcp"]);
    plan.services[0].rules.panic = Panic(50);
    let mut watched = Watched::with(&plan);
    let events = |watched: &mut Watched, line: &str| {
        let order = watched.order();
        watched.finish(&order, Some(Reported::Line(line.to_owned())));
        watched.board.take_events()
    };
    let down = events(&mut watched, "down");
    let panics = |event: &HealthEvent| matches!(event, HealthEvent::Panic { active: true, .. });
    assert!(down.iter().any(panics), "{down:?}");
    assert_eq!(watched.health(), Health::Up);
    assert_eq!(watched.board.without_quorum(), [""; 0]);
    assert_eq!(watched.board.loads().count(), 0, "all of its weight");
    events(&mut watched, "drain");
    assert_eq!(watched.board.without_quorum(), ["web"]);
}

#[test]
fn connections_are_those_of_the_service_and_none_when_they_are_stale() {
    let mut watched = Watched::new(true, &["192.0.2.10:80/tcp"]);
    assert_eq!(count(watched.hears(report(0, 12))), Some(12));
    let reported: Vec<_> = (0..15).filter_map(|_| watched.hears(None)).collect();
    assert_eq!(reported, [Load::default()]);
    // Both ports together, and none of a service with datagrams.
    let mut both = Watched::new(true, &["192.0.2.10:80-89/tcp"]);
    assert_eq!(count(both.hears(report(0, 12))), Some(24));
    let mut mixed = Watched::new(true, &["192.0.2.10:80/tcp", "192.0.2.10:80/udp"]);
    assert_eq!(mixed.hears(report(0, 12)), None);
}

/// Otherwise the connections given to a real server whose number is steady would count for ever.
#[test]
fn every_fresh_report_of_connections_is_passed_on_once() {
    let mut watched = Watched::new(true, &["192.0.2.10:80/tcp"]);
    let mut last = None;
    for _ in 0..3 {
        let load = watched.hears(report(0, 12));
        assert_eq!(count(load), Some(12));
        let at = load.unwrap().connections.map(|connections| connections.at);
        assert_eq!(at, Some(watched.now));
        assert!(at > last, "{at:?} after {last:?}");
        last = at;
        assert_eq!(watched.hears(None), None, "a silent agent has no fresh report");
    }
    let again = watched.board.loads().map(|event| match event {
        HealthEvent::Load { load, .. } => load.connections.map(|connections| connections.at),
        _ => None,
    });
    assert_eq!(again.collect::<Vec<_>>(), [last], "a repeated report is the same");
}

#[test]
fn an_agent_s_weight_of_zero_counts_for_the_quorum() {
    let mut watched = Watched::new(true, &["192.0.2.10:80/tcp"]);
    watched.says("0%");
    assert_eq!(watched.board.without_quorum(), ["web"]);
    assert_eq!(watched.health(), Health::Up);
    watched.says("1%");
    assert_eq!(watched.board.without_quorum(), [""; 0]);
    // Without `load` a percentage has no effect.
    let mut watched = Watched::new(false, &["192.0.2.10:80/tcp"]);
    watched.says("0%");
    assert_eq!(watched.board.without_quorum(), [""; 0]);
}

#[test]
fn pressure_makes_the_weight_less_and_a_reload_without_the_agent_all_of_it() {
    let mut watched = Watched::new(true, &["192.0.2.10:80/tcp"]);
    let loads: Vec<_> = (0..20).filter_map(|_| watched.hears(report(900, 1))).collect();
    assert!(loads.last().is_some_and(|load| load.thousandths < 200), "{loads:?}");
    let kept = plan(true, &["192.0.2.10:80/tcp"]);
    watched.board.adopt(watched.now, &kept);
    assert_eq!(watched.board.take_events(), [], "a reload that changes nothing causes no event");
    assert_eq!(watched.board.loads().count(), 1);
    let mut without = kept.clone();
    without.checks.clear();
    without.services[0].reals[0].checks.clear();
    watched.board.adopt(watched.now, &without);
    let all = HealthEvent::Load { service: "web".to_owned(), address: REAL, load: Load::default() };
    let step = HealthEvent::Step { service: "web".to_owned(), address: REAL };
    assert_eq!(watched.board.take_events(), [all, step]);
}

/// The steps that were reported while the probes bring such CPU pressures.
fn steps(watched: &mut Watched, pressures: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut steps = Vec::new();
    for pressure in pressures {
        let order = watched.order();
        watched.finish(&order, report(pressure, 1));
        let events = watched.board.take_events();
        if events.iter().any(|event| matches!(event, HealthEvent::Step { .. })) {
            let step = watched.board.steps().values().next().copied().unwrap_or_default();
            steps.push(step.eighths());
        }
    }
    steps
}

#[test]
fn a_jittering_report_moves_no_step_and_a_lasting_one_few() {
    let mut watched = Watched::new(true, &["192.0.2.10:80/tcp"]);
    let jitter = |most: u32| (0..200_u32).map(move |number| number * 7_919 % most);
    assert_eq!(steps(&mut watched, jitter(125)), [0; 0], "an eighth of the weight");
    assert_eq!(steps(&mut watched, jitter(250)), [7], "more of it, and never back");
    let down = steps(&mut watched, [600; 20]);
    assert!((1..=5).contains(&down.len()), "{down:?}");
    assert!((3..=4).contains(down.last().unwrap()), "{down:?}");
    assert_eq!(steps(&mut watched, jitter(125).map(|pressure| 490 + pressure)), [0; 0]);
    let up = steps(&mut watched, [0; 20]);
    assert_eq!(up.last(), Some(&8), "{up:?}");
    // A reload keeps it, and without `load` there is none.
    steps(&mut watched, [600; 20]);
    watched.board.adopt(watched.now, &plan(true, &["192.0.2.10:80/tcp"]));
    assert_eq!((watched.board.take_events(), watched.board.steps().len()), (Vec::new(), 1));
    watched.board.adopt(watched.now, &plan(false, &["192.0.2.10:80/tcp"]));
    assert_eq!(watched.board.steps().len(), 0);
}

#[test]
fn reported_connections_count_only_where_every_real_server_reports_them() {
    let mut plan = plan(true, &["192.0.2.10:80/tcp"]);
    let other = IpAddr::from([10, 0, 0, 12]);
    let mut check = plan.checks[0].clone();
    (check.real, check.destination.address) = (other, other);
    plan.checks.push(check);
    let mut real = plan.services[0].reals[0].clone();
    (real.address, real.checks) = (other, vec![1]);
    plan.services[0].reals.push(real);
    let mut board = Board::new(7);
    board.adopt(Millis(0), &plan);
    let mut reported = |now: u64, line: bool| {
        while let Some(order) = board.start_due(Millis(now)) {
            let reported = match line && order.check.real == other {
                true => Some(Reported::Line("up".to_owned())),
                false => report(0, 3),
            };
            let (detail, took, passed) = (String::new(), Duration::ZERO, true);
            let finding =
                ProbeResult { at: Millis(now), passed, refused: false, detail, took, reported };
            board.finish(Millis(now), order.id, finding);
        }
        let connections = |event: &HealthEvent| match event {
            HealthEvent::Load { address, load, .. } => Some((*address, count(Some(*load)))),
            _ => None,
        };
        let last: BTreeMap<_, _> = board.take_events().iter().filter_map(connections).collect();
        last.into_values().collect::<Vec<_>>()
    };
    assert_eq!(reported(1_000, true), []);
    assert_eq!(reported(3_000, false), [Some(3), Some(3)]);
    assert_eq!(reported(5_000, true), [None, None], "the first one's as well");
    // The operator takes out the one that reports none.
    board.set_admin_state(Millis(5_000), "web", other, AdminState::Disabled);
    let counts = |event: &HealthEvent| match event {
        HealthEvent::Load { address: REAL, load, .. } => load.connections.is_some(),
        _ => false,
    };
    assert_eq!(board.take_events().iter().filter(|event| counts(event)).count(), 1);
}

#[test]
fn a_program_s_weight_holds_until_it_gives_another_and_counts_for_the_quorum() {
    let program = Probe::Exec(ExecProbe { command: vec!["/check".to_owned()], dynamic: true });
    let mut plan = plan_of(program, false, &["192.0.2.10:80/tcp"]);
    plan.services[0].rules.quorum.quorum = 5;
    let mut watched = Watched::with(&plan);
    let given = |weight| Some(Load { weight, ..Load::default() });
    let exits = |weight| Some(Reported::Weight(weight));
    let lost = |watched: &Watched| !watched.board.without_quorum().is_empty();
    assert_eq!(watched.hears(exits(None)), None);
    assert!(lost(&watched), "4 of 5");
    assert_eq!(watched.hears(exits(Some(50))), given(Some(50)));
    assert!(!lost(&watched));
    assert_eq!(watched.hears(exits(Some(50))), None, "nothing is new");
    watched.hears(None);
    assert_eq!(watched.health(), Health::Down);
    let mut unused = plan.clone();
    unused.services[0].reals[0].weight = 0;
    let mut idle = Watched::with(&unused);
    idle.hears(exits(Some(50)));
    assert!(lost(&idle), "a configured weight of 0 stays 0");
    assert_eq!(watched.hears(exits(Some(50))), None, "what it gave last");
    assert_eq!(watched.health(), Health::Up);
    assert_eq!(watched.hears(exits(Some(0))), given(Some(0)));
    assert!(lost(&watched));
    let report = watched.board.report(watched.now);
    let out = report.real("web", REAL).unwrap().out;
    assert_eq!(out, Some("the program of its check gives it weight 0"));
    assert_eq!(watched.hears(exits(None)), given(None));
    watched.hears(exits(Some(7)));
    plan.services[0].reals[0].checks.clear();
    plan.checks.clear();
    watched.board.adopt(watched.now, &plan);
    let load = |event: &HealthEvent| {
        let HealthEvent::Load { load, .. } = event else { return false };
        *load == Load::default()
    };
    assert!(watched.board.take_events().iter().any(load), "its check is gone");
}

/// The same plan with another interval of its checks.
fn slower(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    for check in &mut plan.checks {
        let mut spec = (*check.spec).clone();
        spec.timing.interval *= 2;
        check.spec = Arc::new(spec);
    }
    plan
}

/// A foreign agent says `drain` once, and then only its weight.
#[test]
fn a_changed_check_of_an_agent_starts_from_what_the_agent_has_said() {
    for (line, after) in [("drain", "50%"), ("maint", "up"), ("0%", ""), ("drain down", "up")] {
        let kept = plan(true, &["192.0.2.10:80/tcp"]);
        let mut watched = Watched::with(&kept);
        watched.says(line);
        watched.board.take_events();
        watched.board.adopt(watched.now, &slower(&kept));
        assert_eq!(watched.board.take_events(), [], "{line}");
        assert_eq!(watched.board.without_quorum(), ["web"], "{line}");
        watched.hears(None);
        assert_eq!(watched.board.without_quorum(), ["web"], "{line}, no answer");
        watched.says(after);
        assert_eq!(watched.board.without_quorum(), ["web"], "{line}, {after}");
    }
    // `down` ends with `up` alone.
    let kept = plan(true, &["192.0.2.10:80/tcp"]);
    let mut watched = Watched::with(&kept);
    watched.says("down");
    watched.board.adopt(watched.now, &slower(&kept));
    for line in [None, Some("50%"), Some("ready")] {
        watched.hears(line.map(|line| Reported::Line(line.to_owned())));
        assert_eq!(watched.health(), Health::Down, "{line:?}");
    }
    watched.says("up");
    assert_eq!(watched.health(), Health::Up);
}

#[test]
fn a_changed_check_keeps_the_load_and_the_weight_that_were_reported() {
    let kept = plan(true, &["192.0.2.10:80/tcp"]);
    let mut watched = Watched::with(&kept);
    for _ in 0..20 {
        watched.hears(report(900, 12));
    }
    let loads = |watched: &Watched| watched.board.loads().collect::<Vec<_>>();
    let before = loads(&watched);
    assert_eq!(before.len(), 1);
    watched.board.take_events();
    watched.board.adopt(watched.now, &slower(&kept));
    assert_eq!((watched.board.take_events(), loads(&watched)), (Vec::new(), before));
    let agent = watched.board.report(watched.now).checks[0].agent.unwrap();
    assert_eq!((agent.reports, agent.errors, agent.stale), (0, 0, false), "its own probes");
    // A program's weight, also if another program gives it from now on.
    let program = |name: &str| {
        let command = vec![name.to_owned()];
        plan_of(Probe::Exec(ExecProbe { command, dynamic: true }), false, &["192.0.2.10:80/tcp"])
    };
    let mut watched = Watched::with(&program("/check"));
    watched.hears(Some(Reported::Weight(Some(0))));
    for plan in [slower(&program("/check")), program("/other")] {
        watched.board.adopt(watched.now, &plan);
        assert_eq!(watched.board.take_events(), []);
        assert_eq!(watched.board.without_quorum(), ["web"]);
    }
    watched.hears(Some(Reported::Weight(None)));
    assert_eq!(watched.board.without_quorum(), [""; 0]);
}

/// `initial = "down"`: nothing is known of an agent that has never answered.
#[test]
fn an_agent_that_has_never_answered_brings_no_real_server_up() {
    let mut plan = plan(false, &["192.0.2.10:80/tcp"]);
    let timing = Timing { initial: Initial::Down, ..plan.checks[0].spec.timing };
    plan.checks[0].spec = Arc::new(CheckSpec { timing, ..(*plan.checks[0].spec).clone() });
    let mut watched = Watched::with(&plan);
    for _ in 0..3 {
        watched.hears(None);
        assert_eq!(watched.health(), Health::Down);
    }
    watched.says("50%");
    assert_eq!(watched.health(), Health::Up);
    watched.hears(None);
    assert_eq!(watched.health(), Health::Up);
    // A real server that was up before it had this check stays so.
    let mut without = plan.clone();
    without.checks.clear();
    without.services[0].reals[0].checks.clear();
    let mut watched = Watched::with(&without);
    let other = CheckSpec { probe: Probe::Tcp, ..(*plan.checks[0].spec).clone() };
    let mut before = plan.clone();
    before.checks[0].spec = Arc::new(other);
    watched.board.adopt(watched.now, &before);
    watched.hears(Some(Reported::Line(String::new())));
    assert_eq!(watched.health(), Health::Up);
    watched.board.adopt(watched.now, &plan);
    watched.hears(None);
    assert_eq!(watched.health(), Health::Up);
}

#[test]
fn a_program_s_weight_of_zero_is_a_change_of_rotation() {
    let program = Probe::Exec(ExecProbe { command: vec!["/check".to_owned()], dynamic: true });
    let mut watched = Watched::with(&plan_of(program, false, &["192.0.2.10:80/tcp"]));
    let mut turned = |weight| {
        let order = watched.order();
        watched.finish(&order, Some(Reported::Weight(weight)));
        let rotation = |event| match event {
            HealthEvent::Rotation { before, after, .. } => Some((before, after)),
            _ => None,
        };
        watched.board.take_events().into_iter().filter_map(rotation).collect::<Vec<_>>()
    };
    assert_eq!(turned(Some(1)), []);
    assert_eq!(turned(Some(0)), [(Rotation::Up, Rotation::Drain)]);
    assert_eq!(turned(Some(0)), []);
    assert_eq!(turned(None), [(Rotation::Drain, Rotation::Up)]);
}

/// The same as an agent's words.
#[test]
fn a_report_takes_its_real_server_out_too() {
    for (state, health) in [
        (Rotation::Drain, Health::Up),
        (Rotation::Maint, Health::Up),
        (Rotation::Down, Health::Down),
        (Rotation::Up, Health::Up),
    ] {
        let mut watched = Watched::new(false, &["192.0.2.10:80/tcp"]);
        let report = LoadReport { state, ..LoadReport::default() };
        watched.hears(Some(Reported::Report(Box::new(report))));
        assert_eq!(watched.health(), health, "{state:?}");
        assert_eq!(watched.board.without_quorum().is_empty(), state == Rotation::Up, "{state:?}");
    }
}
