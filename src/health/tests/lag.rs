//! How late probes start.

use std::time::Duration;

use super::{Board, Rules, TIMING, finding, plan, spec};
use crate::model::Millis;

#[test]
fn the_lag_is_that_of_the_latest_probe_of_the_last_seconds() {
    let mut board = Board::new(1);
    board.adopt(Millis(0), &plan(&[("web", &[spec(80, TIMING)])], 1, Rules::DEFAULT));
    let start = |board: &mut Board, late: u64| {
        let due = board.next_due().unwrap_or_default();
        let now = Millis(due.0 + late);
        let probe = board.start_due(now).map(|probe| probe.id);
        board.finish(now, probe.unwrap_or_else(|| panic!("none is due")), finding(now, true));
        now
    };
    let now = start(&mut board, 0);
    assert_eq!(board.lag(now), Duration::ZERO);
    let late = start(&mut board, 1_500);
    assert_eq!(board.lag(late), Duration::from_millis(1_500));
    assert_eq!(board.report(late).lag, Duration::from_millis(1_500));
    // The next one is in time. The late one counts for ten seconds at least, and then no more.
    let now = start(&mut board, 0);
    assert_eq!(board.lag(now), Duration::from_millis(1_500));
    assert_eq!(board.lag(Millis(late.0 + 9_000)), Duration::from_millis(1_500));
    assert_eq!(board.lag(Millis(late.0 + 30_000)), Duration::ZERO);
}

/// A reload keeps it, and the results.
#[test]
fn a_check_shows_its_last_ten_results_and_since_when_it_has_its_state() {
    let checks = plan(&[("web", &[spec(80, TIMING)])], 1, Rules::DEFAULT);
    let mut board = Board::new(1);
    board.adopt(Millis(0), &checks);
    let probe = |board: &mut Board, passed: bool| {
        let now = board.next_due().unwrap_or_default();
        let probe = board.start_due(now).map(|probe| probe.id);
        board.finish(now, probe.unwrap_or_else(|| panic!("none is due")), finding(now, passed));
        now
    };
    for _ in 0..20 {
        probe(&mut board, true);
    }
    probe(&mut board, false);
    probe(&mut board, false);
    let down = probe(&mut board, false);
    // A pass does not bring it up yet, and is not the reason for its state.
    let now = probe(&mut board, true);
    for _ in 0..2 {
        let report = board.report(now);
        let check = &report.checks[0];
        let results: Vec<bool> = check.findings.iter().map(|(_, one)| one.passed).collect();
        let last = [vec![true], vec![false; 3], vec![true; 6]].concat();
        assert_eq!((results, check.since), (last, down.until(now)));
        let real = &report.services[0].reals[0];
        let why = "tcp check failed: connection refused";
        assert_eq!((real.why.to_string().as_str(), real.since), (why, down.until(now)));
        board.adopt(now, &checks);
    }
}
