//! The panic threshold and checks that have no result yet.

use super::*;

/// Ten real servers that take no flow until a check has passed.
fn ten(timing: Timing) -> Plan {
    let rules = Rules { panic: Panic(30), ..Rules::DEFAULT };
    plan(&[("web", &[spec(80, timing)])], 10, rules)
}

const WAITING: Timing = Timing { initial: Initial::Down, ..TIMING };

fn is_down(board: &Board, last: u8) -> bool {
    board.down().iter().any(|(_, real)| *real == address(last))
}

#[test]
fn panic_puts_in_no_real_server_that_waits_for_its_first_result() {
    let mut board = Board::new(7);
    board.adopt(Millis(0), &ten(WAITING));
    let panics = |board: &mut Board| {
        let panics = |event: &HealthEvent| matches!(event, HealthEvent::Panic { .. });
        board.take_events().into_iter().filter(panics).count()
    };
    assert_eq!((board.down().len(), panics(&mut board)), (10, 0), "nothing has failed");
    // Three of ten fail: not more than the threshold.
    let mut now = Millis(0);
    run(&mut board, &mut now, Millis(5_000), |real, _| real > address(3));
    assert_eq!((board.down().len(), panics(&mut board)), (3, 0));
    // A fourth one: none is believed.
    run(&mut board, &mut now, Millis(10_000), |real, _| real > address(4));
    assert_eq!((board.down(), panics(&mut board)), (Vec::new(), 1));
    // Two new real servers are not put in by that. One fails then, and is not believed either.
    let rules = Rules { panic: Panic(30), ..Rules::DEFAULT };
    let more = plan(&[("web", &[spec(80, WAITING)])], 12, rules);
    board.adopt(now, &more);
    assert!(is_down(&board, 11) && is_down(&board, 12), "{:?}", board.down());
    let why =
        |board: &Board, last| board.report(now).real("web", address(last)).unwrap().why.clone();
    assert_eq!(why(&board, 11).to_string(), "tcp check has not passed yet");
    run(&mut board, &mut now, Millis(15_000), |real, _| real > address(4) && real < address(12));
    assert_eq!((board.down(), panics(&mut board)), (Vec::new(), 0));
}

/// Its checks begin anew with the reload, and failed before it.
#[test]
fn a_reload_with_changed_checks_does_not_end_a_panic() {
    for timing in [TIMING, WAITING] {
        let mut board = Board::new(7);
        let mut now = Millis(0);
        board.adopt(now, &ten(timing));
        run(&mut board, &mut now, Millis(10_000), |real, _| real > address(8));
        assert_eq!(board.down(), []);
        board.take_events();
        let interval = timing.interval * 2;
        board.adopt(now, &ten(Timing { interval, ..timing }));
        assert_eq!((board.down(), board.take_events()), (Vec::new(), Vec::new()));
    }
    // Those that had no result before it have none after it.
    let mut board = Board::new(7);
    board.adopt(Millis(0), &ten(WAITING));
    board.take_events();
    let interval = WAITING.interval * 2;
    board.adopt(Millis(0), &ten(Timing { interval, ..WAITING }));
    assert_eq!((board.down().len(), board.take_events()), (10, Vec::new()));
}

/// One of weight 0 takes no flow that the others could get.
#[test]
fn a_real_server_of_weight_0_does_not_count_for_panic() {
    for (unused, panics) in [(0, 0), (6, 1)] {
        let mut plan = ten(TIMING);
        plan.services[0].reals.iter_mut().rev().take(unused).for_each(|real| real.weight = 0);
        let mut board = Board::new(7);
        board.adopt(Millis(0), &plan);
        run(&mut board, &mut Millis(0), Millis(10_000), |real, _| real > address(2));
        let panic = |event: &HealthEvent| matches!(event, HealthEvent::Panic { .. });
        let counted = board.take_events().into_iter().filter(panic).count();
        assert_eq!(counted, panics, "2 of {}", 10 - unused);
    }
}
