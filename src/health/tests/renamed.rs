//! Services under other names: what is known of their real servers stays.

use super::*;
use crate::health::load::Reported;
use crate::model::Load;

fn names(names: &[(&str, &str)]) -> Vec<(String, String)> {
    names.iter().map(|(old, new)| ((*old).to_owned(), (*new).to_owned())).collect()
}

/// A quorum within its hysteresis depends on whether there was one before.
#[test]
fn a_service_under_another_name_keeps_its_health_and_quorum() {
    let quorum = Quorum { quorum: 2, hysteresis: 1 };
    let rules = Rules { quorum, ..Rules::DEFAULT };
    let checks = [spec(80, TIMING)];
    let mut board = Board::new(7);
    let mut now = Millis(0);
    board.adopt(now, &plan(&[("web", &checks)], 3, rules));
    run(&mut board, &mut now, Millis(5_000), |_, _| false);
    assert_eq!(board.without_quorum(), ["web"]);
    run(&mut board, &mut now, Millis(10_000), |real, _| real != address(1));
    assert_eq!(board.without_quorum(), ["web"], "two of weight 1 are not enough");
    board.take_events();
    let since = board.report(now).real("web", address(1)).unwrap().since;
    now = now.after(Duration::from_secs(1));
    // Its check has another text as well, so that it starts from the real server's state.
    for (round, checks) in [checks.clone(), [spec(81, TIMING)]].iter().enumerate() {
        let (old, new) = [("web", "www"), ("www", "web")][round];
        let renamed = plan(&[(new, checks)], 3, rules).renamed(&names(&[(old, new)]));
        board.adopt(now, &renamed);
        assert_eq!(board.take_events(), [], "{new}");
        assert_eq!(board.without_quorum(), [new]);
        assert_eq!(board.down(), [(new.to_owned(), address(1))]);
    }
    let real = board.report(now).real("web", address(1)).unwrap().clone();
    assert_eq!(real.since, since + Duration::from_secs(1));
}

/// Half of the failures before the reload, the rest after it.
#[test]
fn a_check_in_doubt_counts_on_under_the_service_s_other_name() {
    let checks = [spec(80, TIMING)];
    let mut board = Board::new(7);
    board.adopt(Millis(0), &plan(&[("web", &checks)], 1, Rules::DEFAULT));
    let fail = |board: &mut Board| {
        let due = board.next_due().unwrap();
        let order = board.start_due(due).unwrap();
        board.finish(due, order.id, finding(due, false));
        due
    };
    fail(&mut board);
    let now = fail(&mut board);
    let renamed = plan(&[("www", &checks)], 1, Rules::DEFAULT);
    board.adopt(now, &renamed.renamed(&names(&[("web", "www")])));
    assert_eq!(words(&mut board), []);
    fail(&mut board);
    assert_eq!(words(&mut board), [("www".to_owned(), address(1), Health::Down)]);
}

#[test]
fn two_services_may_swap_their_names_and_a_new_one_may_have_an_old_name() {
    let (dead, alive) = ([spec(81, TIMING)], [spec(80, TIMING)]);
    let mut board = Board::new(7);
    let mut now = Millis(0);
    board.adopt(now, &plan(&[("dead", &dead), ("alive", &alive)], 1, Rules::DEFAULT));
    run(&mut board, &mut now, Millis(5_000), |_, port| port == 80);
    assert_eq!(words(&mut board), [("dead".to_owned(), address(1), Health::Down)]);
    let swapped = plan(&[("alive", &dead), ("dead", &alive)], 1, Rules::DEFAULT);
    board.adopt(now, &swapped.renamed(&names(&[("dead", "alive"), ("alive", "dead")])));
    assert_eq!(words(&mut board), []);
    assert_eq!(board.down(), [("alive".to_owned(), address(1))]);
    // `alive` gets another name, and a new service that one: its check is new.
    let fresh = [spec(82, TIMING)];
    let more = plan(&[("gone", &dead), ("dead", &alive), ("alive", &fresh)], 1, Rules::DEFAULT);
    board.adopt(now, &more.renamed(&names(&[("alive", "gone")])));
    assert_eq!(words(&mut board), []);
    assert_eq!(board.down(), [("gone".to_owned(), address(1))]);
}

/// The balancer keeps the load of a service that is renamed, so the board has to know it.
#[test]
fn the_load_that_was_reported_stays_under_the_service_s_other_name() {
    let agent = |name, interval| {
        let timing = Timing { interval: Duration::from_secs(interval), ..TIMING };
        let spec = CheckSpec { probe: Probe::Agent, via: Via::Direct, port: Some(9181), timing };
        let mut plan = plan(&[(name, &[Arc::new(spec)])], 1, Rules::DEFAULT);
        plan.services[0].load = true;
        plan
    };
    let mut board = Board::new(7);
    board.adopt(Millis(0), &agent("web", 1));
    let mut now = Millis(0);
    let mut say = |board: &mut Board, line: &str| {
        now = board.next_due().unwrap();
        let order = board.start_due(now).unwrap();
        let reported = Some(Reported::Line(line.to_owned()));
        board.finish(now, order.id, ProbeResult { reported, ..finding(now, true) });
        now
    };
    for _ in 0..20 {
        say(&mut board, "50%");
    }
    let now = say(&mut board, "drain");
    board.take_events();
    let loads = |board: &Board| {
        let load = |event| match event {
            HealthEvent::Load { service, load: Load { thousandths, .. }, .. } => {
                (service, thousandths)
            }
            other => panic!("{other:?}"),
        };
        board.loads().map(load).collect::<Vec<_>>()
    };
    assert_eq!(loads(&board), [("web".to_owned(), 0)]);
    board.adopt(now, &agent("www", 1).renamed(&names(&[("web", "www")])));
    assert_eq!(board.take_events(), []);
    assert_eq!(loads(&board), [("www".to_owned(), 0)]);
    say(&mut board, "ready 50%");
    let (_, weight) = loads(&board).remove(0);
    assert!((400..600).contains(&weight), "{weight}: as before it was drained");
    // Its check has another interval as well: what the agent has said is still known.
    let now = say(&mut board, "drain");
    board.adopt(now, &agent("web", 2).renamed(&names(&[("www", "web")])));
    assert_eq!(loads(&board), [("web".to_owned(), 0)]);
    say(&mut board, "50%");
    assert_eq!(loads(&board), [("web".to_owned(), 0)], "only ready ends it");
}
