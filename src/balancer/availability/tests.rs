//! The state machine, over all pairs of a real server's state and an event.

use std::time::Duration;

use super::Existing::{Keep, Reset};
use super::RealState::{Disabled, Down, Draining, Up};
use super::ResetEnds::{Both, Client};
use super::*;

const NOW: Millis = Millis(10_000);
const LATER: Millis = Millis(70_000);
const EVEN_LATER: Millis = Millis(90_000);

const UP: AdminState = AdminState::Up;
const DRAIN: AdminState = AdminState::Draining { deadline: None };
const DOWN: AdminState = AdminState::Down;
const DISABLED: AdminState = AdminState::Disabled;
const WELL: Health = Health::Up;
const SICK: Health = Health::Down;

/// The events of a real server, in the order of the table's columns.
#[derive(Clone, Copy, Debug)]
enum Event {
    Want(AdminState),
    SetHealth(Health),
    Remove,
}

const EVENTS: [Event; 7] = [
    Event::Want(UP),
    Event::Want(DRAIN),
    Event::Want(DOWN),
    Event::Want(DISABLED),
    Event::SetHealth(WELL),
    Event::SetHealth(SICK),
    Event::Remove,
];

/// The state after each event: one row for each wanted state, health, and removal.
#[rustfmt::skip]
const TABLE: [(AdminState, Health, bool, [RealState; 7]); 16] = [
    // wanted, health, removed up drain down disable healthy sick remove
    (UP,       WELL, false, [Up,       Draining, Down, Disabled, Up,       Down,     Draining]),
    (UP,       SICK, false, [Down,     Down,     Down, Disabled, Up,       Down,     Down]),
    (DRAIN,    WELL, false, [Up,       Draining, Down, Disabled, Draining, Down,     Draining]),
    (DRAIN,    SICK, false, [Down,     Down,     Down, Disabled, Draining, Down,     Down]),
    (DOWN,     WELL, false, [Up,       Draining, Down, Disabled, Down,     Down,     Down]),
    (DOWN,     SICK, false, [Down,     Down,     Down, Disabled, Down,     Down,     Down]),
    (DISABLED, WELL, false, [Up,       Draining, Down, Disabled, Disabled, Disabled, Disabled]),
    (DISABLED, SICK, false, [Down,     Down,     Down, Disabled, Disabled, Disabled, Disabled]),
    (UP,       WELL, true,  [Draining, Draining, Down, Disabled, Draining, Down,     Draining]),
    (UP,       SICK, true,  [Down,     Down,     Down, Disabled, Draining, Down,     Down]),
    (DRAIN,    WELL, true,  [Draining, Draining, Down, Disabled, Draining, Down,     Draining]),
    (DRAIN,    SICK, true,  [Down,     Down,     Down, Disabled, Draining, Down,     Down]),
    (DOWN,     WELL, true,  [Draining, Draining, Down, Disabled, Down,     Down,     Down]),
    (DOWN,     SICK, true,  [Down,     Down,     Down, Disabled, Down,     Down,     Down]),
    (DISABLED, WELL, true,  [Draining, Draining, Down, Disabled, Disabled, Disabled, Disabled]),
    (DISABLED, SICK, true,  [Down,     Down,     Down, Disabled, Disabled, Disabled, Disabled]),
];

fn availability(wanted: AdminState, health: Health, removed: bool) -> Availability {
    let mut availability = Availability::new(wanted, None);
    availability.set_health(health);
    if removed {
        availability.remove(None);
    }
    availability
}

#[test]
fn every_event_leads_from_every_state_to_the_tables_state() {
    for (wanted, health, removed, after) in TABLE {
        for (event, expected) in EVENTS.into_iter().zip(after) {
            let mut availability = availability(wanted, health, removed);
            match event {
                Event::Want(wanted) => availability.set_admin_state(NOW, wanted, None),
                Event::SetHealth(health) => availability.set_health(health),
                Event::Remove => availability.remove(None),
            }
            assert_eq!(availability.state(), expected, "{wanted:?} {health:?} {removed} {event:?}");
            assert_eq!(availability.is_up(), expected == Up, "{wanted:?} {health:?} {removed}");
        }
    }
}

#[test]
fn health_does_not_change_the_wanted_state_nor_the_reverse() {
    let mut availability = availability(AdminState::Disabled, Health::Up, false);
    availability.set_health(Health::Down);
    availability.set_health(Health::Up);
    assert_eq!(availability.state(), Disabled);
    availability.set_health(Health::Down);
    availability.set_admin_state(NOW, AdminState::Up, None);
    assert_eq!(availability.state(), Down);
    availability.set_health(Health::Up);
    assert_eq!(availability.state(), Up);
}

/// What happens to TCP and UDP flows, without a deadline and past it.
#[test]
fn flows_end_by_state_policy_and_deadline() {
    let rows = [
        (AdminState::Up, Health::Up, Keep, [None, None], None),
        (AdminState::Up, Health::Up, Reset, [None, None], None),
        (DRAIN, Health::Up, Keep, [None, None], Some(Both)),
        (DRAIN, Health::Up, Reset, [None, None], Some(Both)),
        (DRAIN, Health::Down, Keep, [None, Some(Client)], Some(Client)),
        (DRAIN, Health::Down, Reset, [Some(Client), Some(Client)], Some(Client)),
        (AdminState::Up, Health::Down, Keep, [None, Some(Client)], None),
        (AdminState::Up, Health::Down, Reset, [Some(Client), Some(Client)], None),
        (AdminState::Down, Health::Up, Keep, [None, Some(Client)], None),
        (AdminState::Down, Health::Up, Reset, [Some(Client), Some(Client)], None),
        (AdminState::Disabled, Health::Up, Keep, [None, None], None),
        (AdminState::Disabled, Health::Up, Reset, [Some(Both), Some(Both)], None),
        (AdminState::Disabled, Health::Down, Reset, [Some(Client), Some(Client)], None),
    ];
    for (wanted, health, existing, endings, late) in rows {
        let availability = availability(wanted, health, false);
        let got = [Protocol::Tcp, Protocol::Udp]
            .map(|protocol| availability.ending(LATER, existing, protocol));
        assert_eq!(got, endings, "{wanted:?} {health:?} {existing:?}");
        let Some(late) = late else { continue };
        let mut availability = availability;
        availability.set_admin_state(NOW, wanted, Some(LATER));
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let ending = |now| availability.ending(now, existing, protocol);
            assert_eq!(
                ending(Millis(LATER.0 - 1)),
                ending_without_deadline(availability, existing, protocol)
            );
            assert_eq!(ending(LATER), Some(late), "{wanted:?} {health:?} {existing:?}");
        }
    }
}

fn ending_without_deadline(
    mut availability: Availability,
    existing: Existing,
    protocol: Protocol,
) -> Option<ResetEnds> {
    availability.until = None;
    availability.ending(LATER, existing, protocol)
}

#[test]
fn a_removal_can_only_make_a_deadline_earlier_and_keeps_it() {
    let rows = [
        (None, None, None),
        (None, Some(LATER), Some(LATER)),
        (Some(LATER), None, Some(LATER)),
        (Some(LATER), Some(EVEN_LATER), Some(LATER)),
        (Some(EVEN_LATER), Some(LATER), Some(LATER)),
    ];
    for (drains, removed, expected) in rows {
        let mut availability = Availability::new(DRAIN, drains);
        availability.remove(removed);
        assert_eq!(availability.until, expected);
        for wanted in [AdminState::Down, AdminState::Disabled] {
            availability.set_admin_state(NOW, wanted, None);
            assert_eq!(availability.until, expected, "{wanted:?}");
        }
        availability.set_admin_state(NOW, DRAIN, Some(EVEN_LATER));
        assert_eq!(availability.until, Some(EVEN_LATER), "but for another one");
    }
}

#[test]
fn only_another_wanted_state_is_a_change_of_it() {
    let mut availability = Availability::new(DRAIN, Some(LATER));
    assert_eq!(availability.changed(NOW), None, "it began so");
    availability.set_health(SICK);
    availability.set_admin_state(NOW, DRAIN, Some(EVEN_LATER));
    assert_eq!(availability.changed(LATER), None, "health and deadlines are not it");
    availability.set_admin_state(NOW, DISABLED, None);
    availability.set_admin_state(LATER, DISABLED, None);
    assert_eq!(availability.changed(LATER), Some(Duration::from_secs(60)));
    let saved = SavedState {
        wanted: DISABLED,
        left: None,
        grown: true,
        changed: availability.changed(EVEN_LATER),
    };
    let mut restored = Availability::new(UP, None);
    restored.restore(EVEN_LATER, saved);
    assert_eq!(restored, Availability { health: WELL, ..availability });
}

#[test]
fn up_down_and_disabled_have_no_deadline() {
    for wanted in [AdminState::Up, AdminState::Down, AdminState::Disabled] {
        let mut availability = Availability::new(DRAIN, Some(LATER));
        assert_eq!(availability.left(NOW), Some(Duration::from_secs(60)));
        assert_eq!(availability.left(EVEN_LATER), Some(Duration::ZERO));
        availability.set_admin_state(NOW, wanted, None);
        assert_eq!(availability.left(NOW), None);
    }
}
