//! Rows of probes that do not wait for each other.

use super::*;

/// A check that is due once a minute and has passed, at that time.
fn calm(timing: Timing) -> (Board, Millis) {
    let timing = Timing { interval: Duration::from_secs(60), ..timing };
    let mut board = Board::new(7);
    board.adopt(Millis(0), &plan(&[("web", &[spec(80, timing)])], 1, Rules::DEFAULT));
    run(&mut board, &mut Millis(0), Millis(2_000), |_, _| true);
    (board, Millis(2_000))
}

/// Nothing comes from a host that is cut off, so all its probes take their timeout.
#[test]
fn probes_of_a_silent_real_server_overlap() {
    for fall in 1..=5 {
        let (timeout, fast_interval) = (Duration::from_millis(300), Duration::from_millis(200));
        let (mut board, began) = calm(Timing { fall, timeout, fast_interval, ..TIMING });
        let (mut running, mut now, mut probes) = (Vec::new(), began, 0);
        board.hurry(now, address(1), Doubt::Handshakes);
        while words(&mut board).is_empty() {
            running.extend(board.start_due(now).map(|order| (now.after(timeout), order.id)));
            probes = probes.max(running.len());
            for (_, id) in running.extract_if(.., |(ends, _)| *ends == now) {
                board.finish(now, id, finding(now, false));
            }
            now = now.after(Duration::from_millis(1));
        }
        let took = began.until(now);
        assert_eq!(probes, fall as usize);
        assert!(took <= timeout + fast_interval, "{took:?}, fall {fall}");
        let next = now.until(board.next_due().unwrap());
        assert!(next > Duration::from_secs(50), "one at a time again: {next:?}");
    }
}

#[test]
fn a_doubt_about_a_server_that_answers_as_usual_costs_a_probe() {
    // A third of the fast interval, or three times what the last probe took.
    for (usual, beside) in [(1, 66), (90, 270)] {
        let (mut board, began) = calm(TIMING);
        board.hurry(began, address(1), Doubt::Quoted);
        let order = board.start_due(began).unwrap();
        let took = Duration::from_millis(usual);
        board.finish(began, order.id, ProbeResult { took, ..finding(began, true) });
        board.hurry(began, address(1), Doubt::Handshakes);
        let order = board.start_due(began).unwrap();
        let at = |millis| began.after(Duration::from_millis(millis));
        assert_eq!(board.start_due(at(beside - 1)), None, "{usual} ms");
        let mut late = board.clone();
        assert!(late.start_due(at(beside)).is_some(), "{usual} ms");
        board.finish(at(beside - 1), order.id, finding(at(beside - 1), true));
        assert!(began.until(board.next_due().unwrap()) > Duration::from_secs(50));
        assert_eq!(words(&mut board), []);
    }
}

#[test]
fn a_result_ends_the_row() {
    for passed in [true, false] {
        let (mut board, began) = calm(TIMING);
        board.hurry(began, address(1), Doubt::Handshakes);
        let order = board.start_due(began).unwrap();
        board.finish(began, order.id, finding(began, passed));
        let next = began.until(board.next_due().unwrap());
        match passed {
            true => assert!(next > Duration::from_secs(50), "{next:?}"),
            false => assert_eq!(next, TIMING.fast_interval),
        }
        // The next one has none beside it.
        let due = board.next_due().unwrap();
        assert!(board.start_due(due).is_some() && board.next_due().is_none(), "{passed}");
    }
}

/// A pass among them is a pass in the row of results, as for probes that run one at a time.
#[test]
fn a_row_in_which_one_passes_takes_none_down() {
    let (mut board, began) = calm(TIMING);
    board.hurry(began, address(1), Doubt::Handshakes);
    let at = |millis| began.after(Duration::from_millis(millis));
    let first = board.start_due(began).unwrap();
    let second = board.start_due(board.next_due().unwrap()).unwrap();
    board.finish(at(90), second.id, finding(at(90), true));
    assert!(began.until(board.next_due().unwrap()) > Duration::from_secs(50));
    board.finish(at(1_000), first.id, finding(at(1_000), false));
    let next = board.next_due().unwrap();
    assert!(next <= at(1_000), "in doubt, and its fast interval is over: {next:?}");
    let third = board.start_due(next.max(at(1_000))).unwrap();
    board.finish(at(2_000), third.id, finding(at(2_000), false));
    assert_eq!(words(&mut board), []);
}

#[test]
fn a_probe_that_runs_already_is_one_of_the_row() {
    let (mut board, began) = calm(TIMING);
    let due = board.next_due().unwrap();
    let mut running = u32::from(board.start_due(due).is_some());
    board.hurry(due, address(1), Doubt::Handshakes);
    while let Some(next) = board.next_due() {
        running += u32::from(board.start_due(next).is_some());
    }
    assert_eq!((running, began < due), (TIMING.fall, true));
}
