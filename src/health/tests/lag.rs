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
