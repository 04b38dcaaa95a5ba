//! The board: orders out, findings in, events.

#![allow(clippy::unwrap_used)]

mod lag;
mod panics;
mod reloads;
mod renamed;
mod rows;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::board::Board;
use super::event::HealthEvent;
use super::plan::{Plan, ServiceInput};
use super::report::ProbeResult;
use super::rule::{Panic, Quorum, Rules};
use super::schedule::Doubt;
use super::spec::{CheckSpec, Initial, Probe, Timing, Via};
use crate::model::{AdminState, Health, Listen, Millis, RealSpec};

const TIMING: Timing = Timing {
    interval: Duration::from_secs(2),
    fast_interval: Duration::from_millis(200),
    timeout: Duration::from_secs(1),
    rise: 2,
    fall: 3,
    initial: Initial::Up,
};

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn spec(port: u16, timing: Timing) -> Arc<CheckSpec> {
    Arc::new(CheckSpec { probe: Probe::Tcp, via: Via::Tunnel, port: Some(port), timing })
}

/// Services with the same real servers, `count` of them.
fn plan(services: &[(&str, &[Arc<CheckSpec>])], count: u8, rules: Rules) -> Plan {
    let listens: Vec<Listen> = vec!["192.0.2.10:80/tcp".parse().unwrap()];
    let reals: Vec<RealSpec> = (1..=count).map(|last| RealSpec::new(address(last), 1)).collect();
    let input = |&(name, checks)| ServiceInput {
        name,
        listens: &listens,
        reals: &reals,
        checks,
        rules,
        load: false,
    };
    Plan::new(services.iter().map(input))
}

fn finding(at: Millis, passed: bool) -> ProbeResult {
    let detail = if passed { "connected" } else { "connection refused" }.to_owned();
    ProbeResult {
        at,
        passed,
        refused: false,
        detail,
        took: Duration::from_millis(1),
        reported: None,
    }
}

/// Runs every probe that is due up to `end`; `alive` says whether a real server answers at a port.
fn run(
    board: &mut Board,
    now: &mut Millis,
    end: Millis,
    alive: impl Fn(IpAddr, u16) -> bool,
) -> u32 {
    let mut probes = 0;
    while let Some(due) = board.next_due().filter(|due| *due <= end) {
        *now = due.max(*now);
        while let Some(order) = board.start_due(*now) {
            probes += 1;
            let passed = alive(order.check.real, order.check.destination.port);
            board.finish(*now, order.id, finding(*now, passed));
        }
    }
    *now = end;
    probes
}

fn words(board: &mut Board) -> Vec<(String, IpAddr, Health)> {
    let word = |event| match event {
        HealthEvent::Health { service, address, health, .. } => Some((service, address, health)),
        _ => None,
    };
    board.take_events().into_iter().filter_map(word).collect()
}

#[test]
fn a_dead_server_is_down_after_fall_failures_at_the_fast_interval_and_comes_back() {
    let mut board = Board::new(7);
    let mut now = Millis(0);
    board.adopt(now, &plan(&[("web", &[spec(80, TIMING)])], 3, Rules::DEFAULT));
    run(&mut board, &mut now, Millis(10_000), |_, _| true);
    assert_eq!(words(&mut board), []);
    // At worst 1.1 intervals until the first failure, and two fast intervals more.
    run(&mut board, &mut now, Millis(12_650), |real, _| real != address(2));
    assert_eq!(words(&mut board), [("web".to_owned(), address(2), Health::Down)]);
    let report = board.report(now);
    let real = report.real("web", address(2)).unwrap();
    assert_eq!(real.why.to_string(), "tcp check failed: connection refused");
    run(&mut board, &mut now, Millis(15_100), |_, _| true);
    assert_eq!(words(&mut board), [("web".to_owned(), address(2), Health::Up)]);
}

#[test]
fn a_real_server_that_is_down_shows_its_latest_failure_and_since_when() {
    let mut board = Board::new(7);
    let mut now = Millis(0);
    board.adopt(now, &plan(&[("web", &[spec(80, TIMING)])], 1, Rules::DEFAULT));
    run(&mut board, &mut now, Millis(10_000), |_, _| false);
    let before = board.report(now).real("web", address(1)).unwrap().since;
    now = Millis(20_000);
    let order = board.start_due(now).unwrap();
    let detail = "status 503".to_owned();
    board.finish(now, order.id, ProbeResult { detail, ..finding(now, false) });
    now = Millis(23_000);
    let report = board.report(now).real("web", address(1)).unwrap().clone();
    assert_eq!(report.why.to_string(), "tcp check failed: status 503");
    assert_eq!(report.since, before + Duration::from_secs(13));
    let down = report.since.as_secs();
    assert_eq!(
        report.explain(),
        format!("tcp check failed 3 s ago: status 503; down for {down} s")
    );
}

#[test]
fn every_check_has_to_pass_and_one_serves_all_services_with_its_text() {
    let mut board = Board::new(7);
    let mut now = Millis(0);
    let (one, other) = ([spec(80, TIMING)], [spec(80, TIMING), spec(81, TIMING)]);
    board.adopt(now, &plan(&[("web", &one), ("both", &other)], 2, Rules::DEFAULT));
    assert_eq!(board.report(now).checks.len(), 4);
    run(&mut board, &mut now, Millis(5_000), |_, port| port == 80);
    let down = words(&mut board);
    assert_eq!(down.len(), 2);
    assert!(down.iter().all(|(service, _, health)| service == "both" && *health == Health::Down));
    run(&mut board, &mut now, Millis(10_000), |_, port| port == 81);
    // Port 81 may recover before port 80 is down: then the health changes twice.
    assert_eq!(board.down().len(), 4, "in both services both real servers are down");
}

#[test]
fn initial_down_takes_no_flow_until_it_has_passed() {
    let timing = Timing { initial: Initial::Down, ..TIMING };
    let mut board = Board::new(7);
    let mut now = Millis(0);
    board.adopt(now, &plan(&[("web", &[spec(80, timing)])], 1, Rules::DEFAULT));
    assert_eq!(board.down(), [("web".to_owned(), address(1))]);
    assert_eq!(words(&mut board), [("web".to_owned(), address(1), Health::Down)]);
    assert_eq!(
        board.report(now).services[0].reals[0].why.to_string(),
        "tcp check has not passed yet"
    );
    run(&mut board, &mut now, Millis(1_300), |_, _| true);
    assert_eq!(words(&mut board), [("web".to_owned(), address(1), Health::Up)]);
}

#[test]
fn a_result_of_a_removed_check_is_ignored() {
    let mut board = Board::new(7);
    let now = Millis(2_000);
    let timing = Timing { fall: 1, ..TIMING };
    board.adopt(Millis(0), &plan(&[("web", &[spec(80, timing)])], 1, Rules::DEFAULT));
    let order = board.start_due(now).unwrap();
    board.adopt(now, &plan(&[("web", &[spec(81, timing)])], 1, Rules::DEFAULT));
    board.finish(now, order.id, finding(now, false));
    assert_eq!(words(&mut board), []);
}

#[test]
fn doubt_brings_a_check_forward_as_far_as_its_fast_interval_allows() {
    let mut board = Board::new(7);
    let mut now = Millis(0);
    let timing = Timing { interval: Duration::from_secs(60), ..TIMING };
    board.adopt(now, &plan(&[("web", &[spec(80, timing)])], 2, Rules::DEFAULT));
    run(&mut board, &mut now, Millis(5_000), |_, _| true);
    // Forged a thousand times in a second: five probes of this real server, none of the other.
    let mut probes = 0;
    for tick in 0..1_000 {
        now = Millis(5_000 + tick);
        board.hurry(now, address(1), Doubt::Unverified);
        while let Some(order) = board.start_due(now) {
            assert_eq!(order.check.real, address(1));
            probes += 1;
            board.finish(now, order.id, finding(now, true));
        }
    }
    assert_eq!(probes, 5);
    assert_eq!(words(&mut board), []);
    // A real failure: down after two fast intervals.
    now = Millis(10_000);
    board.hurry(now, address(1), Doubt::Quoted);
    run(&mut board, &mut now, Millis(10_400), |_, _| false);
    assert_eq!(words(&mut board), [("web".to_owned(), address(1), Health::Down)]);
}

#[test]
fn doubt_while_a_probe_is_running_repeats_it() {
    let mut board = Board::new(7);
    let timing = Timing { interval: Duration::from_secs(60), ..TIMING };
    board.adopt(Millis(0), &plan(&[("web", &[spec(80, timing)])], 1, Rules::DEFAULT));
    let order = board.start_due(Millis(1_000)).unwrap();
    board.hurry(Millis(1_100), address(1), Doubt::Quoted);
    // A later one does not put that off.
    board.hurry(Millis(1_120), address(1), Doubt::Quoted);
    board.finish(Millis(1_150), order.id, finding(Millis(1_150), true));
    assert_eq!(board.next_due(), Some(Millis(1_150)));
    // Once.
    let order = board.start_due(Millis(1_150)).unwrap();
    board.finish(Millis(1_160), order.id, finding(Millis(1_160), true));
    assert!(board.next_due().unwrap() > Millis(50_000));
}

/// Errors and unanswered handshakes, forged or not, without end.
#[test]
fn each_sort_of_doubt_has_extra_probes_of_its_own_and_no_more_than_its_share() {
    let timing = Timing { interval: Duration::from_secs(10), ..TIMING };
    // In ten seconds one probe is due anyway, or two.
    for (doubts, extra) in [
        (&[Doubt::Quoted][..], 50),
        (&[Doubt::Unverified], 50),
        (&[Doubt::Handshakes], 1),
        // They share a probe that is already due for one of them.
        (&[Doubt::Unverified, Doubt::Quoted, Doubt::Handshakes], 50),
    ] {
        let mut board = Board::new(7);
        board.adopt(Millis(0), &plan(&[("web", &[spec(80, timing)])], 1, Rules::DEFAULT));
        run(&mut board, &mut Millis(0), Millis(999), |_, _| true);
        let mut probes = 0;
        for now in (1_000..11_000).map(Millis) {
            doubts.iter().for_each(|doubt| board.hurry(now, address(1), *doubt));
            while let Some(order) = board.start_due(now) {
                probes += 1;
                board.finish(now, order.id, finding(now, true));
            }
        }
        assert!((extra..=extra + 2).contains(&probes), "{doubts:?}: {probes}");
    }
}

#[test]
fn a_genuine_error_brings_a_check_forward_just_after_forged_ones() {
    let timing = Timing { interval: Duration::from_secs(60), ..TIMING };
    let mut board = Board::new(7);
    board.adopt(Millis(0), &plan(&[("web", &[spec(80, timing)])], 1, Rules::DEFAULT));
    let mut now = Millis(0);
    run(&mut board, &mut now, Millis(2_000), |_, _| true);
    for doubt in [Doubt::Unverified, Doubt::Handshakes, Doubt::Quoted] {
        board.hurry(now, address(1), doubt);
        assert_eq!(board.next_due(), Some(now), "{doubt:?}");
        let order = board.start_due(now).unwrap();
        now = now.after(Duration::from_millis(1));
        board.finish(now, order.id, finding(now, true));
    }
}

/// A refused probe, as after a reset from the real server's host.
fn refusal(at: Millis) -> ProbeResult {
    ProbeResult { refused: true, ..finding(at, false) }
}

#[test]
fn refused_probes_follow_each_other_at_once_until_the_real_server_is_down() {
    let mut board = Board::new(7);
    let mut now = Millis(0);
    board.adopt(now, &plan(&[("web", &[spec(80, TIMING)])], 1, Rules::DEFAULT));
    run(&mut board, &mut now, Millis(5_000), |_, _| true);
    board.hurry(now, address(1), Doubt::Quoted);
    for number in 1..=TIMING.fall {
        let order = board.start_due(now).unwrap();
        assert_eq!(board.start_due(now), None, "one at a time");
        board.finish(now, order.id, refusal(now));
        assert_eq!(words(&mut board).len(), usize::from(number == TIMING.fall), "{number}");
    }
    // The next probe follows after the fast interval, the later ones as usual.
    let soon = now.after(TIMING.fast_interval);
    assert_eq!(board.next_due(), Some(soon));
    let order = board.start_due(soon).unwrap();
    board.finish(soon, order.id, refusal(soon));
    assert!(board.next_due().unwrap() > soon.after(TIMING.interval * 8 / 10));
}

#[test]
fn refusals_need_the_whole_row_and_other_failures_wait() {
    let mut board = Board::new(7);
    let mut now = Millis(0);
    board.adopt(now, &plan(&[("web", &[spec(80, TIMING)])], 1, Rules::DEFAULT));
    run(&mut board, &mut now, Millis(5_000), |_, _| true);
    board.hurry(now, address(1), Doubt::Quoted);
    for passed in [false, false, true, false, false] {
        let due = board.next_due().unwrap();
        let order = board.start_due(due).unwrap();
        let found = if passed { finding(due, true) } else { refusal(due) };
        board.finish(due, order.id, found);
        now = due;
    }
    assert_eq!(words(&mut board), []);
    let order = board.start_due(now).unwrap();
    board.finish(now, order.id, finding(now, false));
    assert_eq!(words(&mut board).len(), 1, "whatever the third failure is");
    let mut board = Board::new(7);
    board.adopt(Millis(0), &plan(&[("web", &[spec(80, TIMING)])], 1, Rules::DEFAULT));
    let due = board.next_due().unwrap();
    let order = board.start_due(due).unwrap();
    board.finish(due, order.id, finding(due, false));
    assert_eq!(board.next_due(), Some(due.after(TIMING.fast_interval)));
}

#[test]
fn errors_do_not_hurry_a_check_that_is_down() {
    let mut board = Board::new(7);
    let mut now = Millis(0);
    board.adopt(now, &plan(&[("web", &[spec(80, TIMING)])], 1, Rules::DEFAULT));
    run(&mut board, &mut now, Millis(5_000), |_, _| false);
    let due = board.next_due();
    board.hurry(now, address(1), Doubt::Quoted);
    assert_eq!(board.next_due(), due);
}

#[test]
fn a_quorum_and_its_loss_are_reported_once() {
    let quorum = Quorum { quorum: 2, hysteresis: 0 };
    let rules = Rules { quorum, ..Rules::DEFAULT };
    let mut board = Board::new(7);
    let mut now = Millis(0);
    board.adopt(now, &plan(&[("web", &[spec(80, TIMING)])], 3, rules));
    run(&mut board, &mut now, Millis(5_000), |real, _| real == address(1));
    let quorums = |board: &mut Board| {
        let events = board.take_events().into_iter();
        events.filter(|event| matches!(event, HealthEvent::Quorum { .. })).collect::<Vec<_>>()
    };
    let event = |reached, alive| HealthEvent::Quorum { service: "web".to_owned(), reached, alive };
    assert_eq!(quorums(&mut board), [event(false, 1)]);
    run(&mut board, &mut now, Millis(10_000), |_, _| true);
    assert_eq!(quorums(&mut board), [event(true, 2)]);
}

/// keepalived's quorum likewise counts weights, and a real server that the operator has taken out
/// has none there.
#[test]
fn a_server_that_the_operator_takes_out_counts_for_neither_quorum_nor_panic() {
    let quorum = Quorum { quorum: 2, hysteresis: 0 };
    let rules = Rules { quorum, ..Rules::DEFAULT };
    let checked = |rules| plan(&[("web", &[spec(80, TIMING)])], 3, rules);
    let mut board = Board::new(7);
    let mut now = Millis(0);
    board.adopt(now, &checked(Rules { panic: Panic(50), ..rules }));
    run(&mut board, &mut now, Millis(5_000), |_, _| true);
    board.set_admin_state(now, "web", address(1), AdminState::Disabled);
    assert_eq!(board.without_quorum(), [""; 0], "two are left");
    board.set_admin_state(now, "web", address(2), AdminState::Draining { deadline: None });
    assert_eq!(board.without_quorum(), ["web"]);
    assert_eq!(words(&mut board), [], "its health does not change");
    board.set_admin_state(now, "web", address(2), AdminState::Up);
    assert_eq!(board.without_quorum(), [""; 0]);
    // One of the other two is down: half of them, which does not exceed the threshold.
    run(&mut board, &mut now, Millis(10_000), |real, _| real == address(3));
    assert_eq!(board.down(), [("web".to_owned(), address(1)), ("web".to_owned(), address(2))]);
    // Also after a reload, whose plan has the operator's states.
    let out = |_: &str, real| (real == address(3)).then_some(AdminState::Down);
    board.adopt(now, &checked(rules).with_states(out));
    assert_eq!(board.without_quorum(), ["web"]);
    run(&mut board, &mut now, Millis(20_000), |_, _| true);
    assert_eq!(board.without_quorum(), [""; 0]);
}

#[test]
fn a_broken_check_takes_no_service_down() {
    let rules = Rules { panic: Panic(30), ..Rules::DEFAULT };
    let mut board = Board::new(7);
    let mut now = Millis(0);
    board.adopt(now, &plan(&[("web", &[spec(80, TIMING)])], 10, rules));
    run(&mut board, &mut now, Millis(10_000), |_, _| false);
    let events = board.take_events();
    let panics =
        events.iter().filter(|event| matches!(event, HealthEvent::Panic { active: true, .. }));
    assert_eq!(panics.count(), 1);
    // The real servers that were down are up: all checks are ignored.
    assert_eq!(board.down(), []);
    let report = board.report(now);
    assert!(report.services[0].panic);
    assert!(report.services[0].reals[0].why.to_string().contains("too many"), "{report:?}");
    run(&mut board, &mut now, Millis(20_000), |real, _| real != address(1));
    assert_eq!(board.down(), [("web".to_owned(), address(1))]);
    let events = board.take_events();
    assert!(events.iter().any(|event| matches!(event, HealthEvent::Panic { active: false, .. })));
}

proptest! {
    /// The health reported to the balancer matches the checks, whatever the findings, reloads and
    /// doubts.
    #[test]
    fn the_reported_health_matches_the_checks(
        seed: u64,
        steps in prop::collection::vec((0_u8..4, 1_u8..5, any::<bool>()), 1..80),
    ) {
        let mut board = Board::new(seed);
        let checks = [spec(80, Timing { rise: 1, fall: 2, ..TIMING }), spec(81, TIMING)];
        let mut states = std::collections::HashMap::new();
        let mut now = Millis(0);
        let mut count = 3;
        board.adopt(now, &plan(&[("web", &checks[..1]), ("both", &checks)], count, Rules::DEFAULT));
        for (kind, value, flag) in steps {
            match kind {
                0 => {
                    count = value;
                    let first = if flag { &checks[..1] } else { &checks[..] };
                    let services = [("web", first), ("both", &checks[..])];
                    board.adopt(now, &plan(&services, count, Rules::DEFAULT));
                    states.retain(|(_, real), _| (1..=count).any(|last| *real == address(last)));
                }
                1 => board.hurry(now, address(value), Doubt::Quoted),
                _ => {
                    let end = now.after(Duration::from_millis(u64::from(value) * 700));
                    run(&mut board, &mut now, end, |real, port| {
                        real != address(value) || (flag && port == 80)
                    });
                }
            }
            for (service, real, health) in words(&mut board) {
                let before = states.insert((service, real), health).unwrap_or_default();
                prop_assert_ne!(before, health, "reported twice");
            }
            let report = board.report(now);
            for service in &report.services {
                for real in &service.reals {
                    let key = (service.name.clone(), real.address);
                    prop_assert_eq!(states.get(&key).copied().unwrap_or_default(), real.health);
                    let all = report.checks.iter().filter(|check| {
                        check.check.real == real.address && check.services.contains(&service.name)
                    });
                    let passes = all.clone().all(|check| check.phase.is_up());
                    prop_assert_eq!(real.health == Health::Up, passes);
                }
            }
        }
    }
}
