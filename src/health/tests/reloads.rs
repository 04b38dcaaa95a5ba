//! Reloads: what is known of checks stays, and new ones start from their real servers.

use super::*;
use crate::health::state::Phase;

#[test]
fn a_reload_keeps_the_state_of_checks_and_a_changed_one_starts_from_its_real_servers() {
    let mut board = Board::new(7);
    let mut now = Millis(0);
    board.adopt(now, &plan(&[("web", &[spec(80, TIMING)])], 2, Rules::DEFAULT));
    run(&mut board, &mut now, Millis(6_000), |real, _| real != address(2));
    assert_eq!(words(&mut board).len(), 1);
    for round in 0..50 {
        // The same check, another port, another interval: none of these brings the real server up.
        let port = 80 + round % 2;
        let interval = Duration::from_secs(2 + u64::from(round % 3));
        let checks = [spec(port, Timing { interval, ..TIMING })];
        board.adopt(now, &plan(&[("web", &checks)], 2, Rules::DEFAULT));
        assert_eq!(words(&mut board), [], "round {round}");
        let end = now.after(Duration::from_millis(500));
        run(&mut board, &mut now, end, |real, _| real != address(2));
        assert_eq!(words(&mut board), [], "round {round}");
    }
    assert_eq!(board.down(), [("web".to_owned(), address(2))]);
    // Without checks it is not down.
    board.adopt(now, &plan(&[("web", &[])], 2, Rules::DEFAULT));
    assert_eq!(words(&mut board), [("web".to_owned(), address(2), Health::Up)]);
}

/// Another check has taken their real server down before they had a result.
#[test]
fn a_reload_changes_no_check_that_has_not_run_yet() {
    let dead = Timing { fall: 1, ..TIMING };
    let checks = [spec(80, dead), spec(81, TIMING)];
    let mut board = Board::new(7);
    board.adopt(Millis(0), &plan(&[("web", &checks)], 1, Rules::DEFAULT));
    let port = |board: &Board, now, port: u16| {
        let report = board.report(now);
        let found = report.checks.iter().find(|one| one.check.spec.port == Some(port));
        found.map(|one| (one.phase, one.runs)).unwrap()
    };
    let mut now = Millis(0);
    while port(&board, now, 80).1 == 0 {
        now = board.next_due().unwrap();
        let order = board.start_due(now).unwrap();
        let passed = order.check.spec.port == Some(81);
        board.finish(now, order.id, finding(now, passed));
    }
    assert_eq!(port(&board, now, 81), (Phase::Up, 0), "the seed makes it the second");
    assert_eq!(words(&mut board), [("web".to_owned(), address(1), Health::Down)]);
    board.adopt(now, &plan(&[("web", &checks)], 1, Rules::DEFAULT));
    assert_eq!(port(&board, now, 81), (Phase::Up, 0));
}

/// In one of them the real server is down because of another check.
#[test]
fn a_new_check_of_two_services_takes_no_real_server_down_before_its_first_result() {
    let down = || ("bad".to_owned(), address(1), Health::Down);
    for names in [["bad", "good"], ["good", "bad"]] {
        let old = |name| [spec(if name == "bad" { 81 } else { 80 }, TIMING)];
        let new = |name| [old(name)[0].clone(), spec(82, TIMING)];
        let [one, other] = names;
        let mut board = Board::new(7);
        let mut now = Millis(0);
        board.adopt(now, &plan(&[(one, &old(one)), (other, &old(other))], 1, Rules::DEFAULT));
        run(&mut board, &mut now, Millis(9_000), |_, port| port == 80);
        assert_eq!(words(&mut board), [down()]);
        board.adopt(now, &plan(&[(one, &new(one)), (other, &new(other))], 1, Rules::DEFAULT));
        assert_eq!(words(&mut board), [], "{names:?}");
    }
}
