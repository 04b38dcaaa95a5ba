#![allow(clippy::unwrap_used)]

use super::ring::KEPT;
use super::*;
use crate::control::{Alteration, Altered, EventText, Origin};

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future);
}

fn event(number: usize) -> Event {
    let time = Timestamp::from_second(i64::try_from(number).unwrap()).unwrap();
    let change = Alteration::of(Altered::Flush { connections: number as u64 });
    Event { time, origin: Origin::Director, verb: "flush", change }
}

fn since(number: usize, until_now: bool) -> Span {
    Span::parse(Some(&event(number).time.to_string()), until_now).unwrap()
}

async fn hears(listener: &mut Listener, number: usize) {
    let line = listener.next().await.unwrap();
    assert_eq!(control::decode::<EventText>(line.as_bytes()).unwrap(), (&event(number)).into());
}

#[test]
fn every_listener_gets_every_event_in_order() {
    block_on(async {
        let events = EventPublisher::new();
        let listen = || events.listen(Span::default()).unwrap();
        let mut listeners = [listen(), listen()];
        events.publish_and_log((0..QUEUE).map(event).collect()).await;
        for listener in &mut listeners {
            for number in 0..QUEUE {
                hears(listener, number).await;
            }
        }
    });
}

#[test]
fn a_listener_that_is_one_event_too_slow_learns_how_many_it_has_missed() {
    block_on(async {
        let events = EventPublisher::new();
        let mut listener = events.listen(Span::default()).unwrap();
        events.publish_and_log((0..=QUEUE).map(event).collect()).await;
        let line = listener.next().await.unwrap();
        assert_eq!(control::decode::<Missed>(line.as_bytes()).unwrap(), Missed { missed: 1 });
        hears(&mut listener, 1).await;
    });
}

#[test]
fn one_listener_more_than_there_is_room_for_is_refused_until_one_ends() {
    let events = EventPublisher::new();
    let listen = || events.listen(Span::default());
    let mut listeners: Vec<_> = (0..LISTENERS).map(|_| listen().unwrap()).collect();
    assert!(listen().unwrap_err().to_string().starts_with("busy: 16 clients"));
    listeners.pop();
    assert!(listen().is_ok());
}

#[test]
fn past_events_come_before_new_ones() {
    block_on(async {
        let events = EventPublisher::new();
        events.publish_and_log((0..5).map(event).collect()).await;
        let mut listener = events.listen(since(3, false)).unwrap();
        events.publish_and_log(vec![event(5)]).await;
        for number in 3..6 {
            hears(&mut listener, number).await;
        }
        let mut past = events.listen(since(4, true)).unwrap();
        events.publish_and_log(vec![event(6)]).await;
        hears(&mut past, 4).await;
        hears(&mut past, 5).await;
        assert_eq!(past.next().await, None, "the past alone");
    });
}

#[test]
fn a_listener_learns_that_older_events_are_forgotten() {
    block_on(async {
        let events = EventPublisher::new();
        events.publish_and_log((0..=KEPT).map(event).collect()).await;
        let mut listener = events.listen(since(0, true)).unwrap();
        let line = listener.next().await.unwrap();
        let forgotten: Forgotten = control::decode(line.as_bytes()).unwrap();
        let until: Timestamp = forgotten.forgotten_until.parse().unwrap();
        assert_eq!(until, event(0).time);
        hears(&mut listener, 1).await;
        hears(&mut events.listen(since(1, true)).unwrap(), 1).await;
    });
}

#[test]
fn a_moment_is_a_time_or_so_long_ago() {
    assert_eq!(moment("1970-01-01T00:00:01Z").unwrap(), Timestamp::from_second(1).unwrap());
    assert_eq!(moment("1970-01-01T01:00:00+01:00").unwrap(), Timestamp::UNIX_EPOCH);
    let ago = Timestamp::now().duration_since(moment("1h30m").unwrap()).as_secs();
    assert!((5_399..5_460).contains(&ago), "{ago}");
    assert!(moment("200000d").is_ok() && moment("20000000d").unwrap() == Timestamp::MIN);
    for text in ["", "10", "-1m", "yesterday", "2026-11-25", "22:40"] {
        let refused = moment(text).unwrap_err().to_string();
        assert!(refused.contains("neither a duration nor a time; write 10m or"), "{refused}");
    }
}
