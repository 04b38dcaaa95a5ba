//! The state machine, over all pairs of where a real server stands and what happens to it.

use std::time::Duration;

use super::Ending::{Both, Client};
use super::Existing::{Keep, Reset};
use super::RealState::{Disabled, Down, Draining, Up};
use super::*;

const NOW: Millis = Millis(10_000);
const LATER: Millis = Millis(70_000);
const EVEN_LATER: Millis = Millis(90_000);

const DRAIN: Wanted = Wanted::Draining { deadline: None };

/// What can happen to a real server, in the order of the table's columns.
#[derive(Clone, Copy, Debug)]
enum Event {
    Want(Wanted),
    Hear(Health),
    Remove,
}

const EVENTS: [Event; 7] = [
    Event::Want(Wanted::Up),
    Event::Want(DRAIN),
    Event::Want(Wanted::Down),
    Event::Want(Wanted::Disabled),
    Event::Hear(Health::Up),
    Event::Hear(Health::Down),
    Event::Remove,
];

/// The state after each event: one row for each wish, health, and whether it was removed.
#[rustfmt::skip]
const TABLE: [(Wanted, Health, bool, [RealState; 7]); 16] = [
    // wanted, health, removed               up        drain     down  disable   healthy   sick      remove
    (Wanted::Up,       Health::Up,   false, [Up,       Draining, Down, Disabled, Up,       Down,     Draining]),
    (Wanted::Up,       Health::Down, false, [Down,     Down,     Down, Disabled, Up,       Down,     Down]),
    (DRAIN,            Health::Up,   false, [Up,       Draining, Down, Disabled, Draining, Down,     Draining]),
    (DRAIN,            Health::Down, false, [Down,     Down,     Down, Disabled, Draining, Down,     Down]),
    (Wanted::Down,     Health::Up,   false, [Up,       Draining, Down, Disabled, Down,     Down,     Down]),
    (Wanted::Down,     Health::Down, false, [Down,     Down,     Down, Disabled, Down,     Down,     Down]),
    (Wanted::Disabled, Health::Up,   false, [Up,       Draining, Down, Disabled, Disabled, Disabled, Disabled]),
    (Wanted::Disabled, Health::Down, false, [Down,     Down,     Down, Disabled, Disabled, Disabled, Disabled]),
    (Wanted::Up,       Health::Up,   true,  [Draining, Draining, Down, Disabled, Draining, Down,     Draining]),
    (Wanted::Up,       Health::Down, true,  [Down,     Down,     Down, Disabled, Draining, Down,     Down]),
    (DRAIN,            Health::Up,   true,  [Draining, Draining, Down, Disabled, Draining, Down,     Draining]),
    (DRAIN,            Health::Down, true,  [Down,     Down,     Down, Disabled, Draining, Down,     Down]),
    (Wanted::Down,     Health::Up,   true,  [Draining, Draining, Down, Disabled, Down,     Down,     Down]),
    (Wanted::Down,     Health::Down, true,  [Down,     Down,     Down, Disabled, Down,     Down,     Down]),
    (Wanted::Disabled, Health::Up,   true,  [Draining, Draining, Down, Disabled, Disabled, Disabled, Disabled]),
    (Wanted::Disabled, Health::Down, true,  [Down,     Down,     Down, Disabled, Disabled, Disabled, Disabled]),
];

fn standing(wanted: Wanted, health: Health, removed: bool) -> Standing {
    let mut standing = Standing::new(wanted, None);
    standing.hear(health);
    if removed {
        standing.remove(None);
    }
    standing
}

#[test]
fn every_event_leads_from_every_standing_where_the_table_says() {
    for (wanted, health, removed, after) in TABLE {
        for (event, expected) in EVENTS.into_iter().zip(after) {
            let mut standing = standing(wanted, health, removed);
            match event {
                Event::Want(wanted) => standing.want(wanted, None),
                Event::Hear(health) => standing.hear(health),
                Event::Remove => standing.remove(None),
            }
            assert_eq!(standing.state(), expected, "{wanted:?} {health:?} {removed} {event:?}");
        }
    }
}

#[test]
fn no_word_of_health_undoes_the_operator_s_and_no_wish_undoes_health_s() {
    let mut standing = standing(Wanted::Disabled, Health::Up, false);
    standing.hear(Health::Down);
    standing.hear(Health::Up);
    assert_eq!(standing.state(), Disabled);
    standing.hear(Health::Down);
    standing.want(Wanted::Up, None);
    assert_eq!(standing.state(), Down);
    standing.hear(Health::Up);
    assert_eq!(standing.state(), Up);
}

/// What becomes of flows of TCP and of UDP, without a deadline and past it.
#[test]
fn flows_end_by_state_policy_and_deadline() {
    let rows = [
        (Wanted::Up, Health::Up, Keep, [None, None], None),
        (Wanted::Up, Health::Up, Reset, [None, None], None),
        (DRAIN, Health::Up, Keep, [None, None], Some(Both)),
        (DRAIN, Health::Up, Reset, [None, None], Some(Both)),
        (DRAIN, Health::Down, Keep, [None, Some(Client)], Some(Client)),
        (DRAIN, Health::Down, Reset, [Some(Client), Some(Client)], Some(Client)),
        (Wanted::Up, Health::Down, Keep, [None, Some(Client)], None),
        (Wanted::Up, Health::Down, Reset, [Some(Client), Some(Client)], None),
        (Wanted::Down, Health::Up, Keep, [None, Some(Client)], None),
        (Wanted::Down, Health::Up, Reset, [Some(Client), Some(Client)], None),
        (Wanted::Disabled, Health::Up, Keep, [None, None], None),
        (Wanted::Disabled, Health::Up, Reset, [Some(Both), Some(Both)], None),
        (Wanted::Disabled, Health::Down, Reset, [Some(Client), Some(Client)], None),
    ];
    for (wanted, health, existing, endings, late) in rows {
        let standing = standing(wanted, health, false);
        let got = [Protocol::Tcp, Protocol::Udp]
            .map(|protocol| standing.ending(LATER, existing, protocol));
        assert_eq!(got, endings, "{wanted:?} {health:?} {existing:?}");
        let Some(late) = late else { continue };
        let mut standing = standing;
        standing.want(wanted, Some(LATER));
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let ending = |now| standing.ending(now, existing, protocol);
            assert_eq!(ending(Millis(LATER.0 - 1)), standing_without(standing, existing, protocol));
            assert_eq!(ending(LATER), Some(late), "{wanted:?} {health:?} {existing:?}");
        }
    }
}

fn standing_without(
    mut standing: Standing,
    existing: Existing,
    protocol: Protocol,
) -> Option<Ending> {
    standing.until = None;
    standing.ending(LATER, existing, protocol)
}

#[test]
fn a_removal_only_brings_a_deadline_forward_and_stays_bound_by_it() {
    let rows = [
        (None, None, None),
        (None, Some(LATER), Some(LATER)),
        (Some(LATER), None, Some(LATER)),
        (Some(LATER), Some(EVEN_LATER), Some(LATER)),
        (Some(EVEN_LATER), Some(LATER), Some(LATER)),
    ];
    for (drains, removed, expected) in rows {
        let mut standing = Standing::new(DRAIN, drains);
        standing.remove(removed);
        assert_eq!(standing.until, expected);
        for wanted in [Wanted::Down, Wanted::Disabled] {
            standing.want(wanted, None);
            assert_eq!(standing.until, expected, "{wanted:?}");
        }
        standing.want(DRAIN, Some(EVEN_LATER));
        assert_eq!(standing.until, Some(EVEN_LATER), "but for another one");
    }
}

#[test]
fn who_is_wanted_up_down_or_disabled_has_no_deadline_any_more() {
    for wanted in [Wanted::Up, Wanted::Down, Wanted::Disabled] {
        let mut standing = Standing::new(DRAIN, Some(LATER));
        assert_eq!(standing.left(NOW), Some(Duration::from_secs(60)));
        assert_eq!(standing.left(EVEN_LATER), Some(Duration::ZERO));
        standing.want(wanted, None);
        assert_eq!(standing.left(NOW), None);
    }
}
