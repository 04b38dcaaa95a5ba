//! Streams of good, shuffled, repeated and hostile fragments against a naive model, and real
//! servers that reassemble what they receive.

use std::collections::BTreeMap;
use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::balancer::fragments::{Bounds, MAX_PARTS};

/// A datagram by its number: the family, and its port. No service listens at 81.
fn whole(number: u32, len: usize) -> Vec<u8> {
    let family = if number.is_multiple_of(2) { Family::V4 } else { Family::V6 };
    let port = if number.is_multiple_of(5) { 81 } else { 80 };
    let data: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
    family.udp(port).source_port(u16::try_from(1_000 + number).unwrap()).data(&data).bytes()
}

#[derive(Clone, Debug)]
enum Event {
    /// A fragment of the datagram with this number: its bytes and whether more follow.
    Piece(u32, Range<usize>, bool),
    /// Time in milliseconds.
    Pass(u64),
}

/// A datagram's correct fragments.
fn pieces(number: u32, len: usize, mut cuts: Vec<usize>) -> Vec<Event> {
    // At least one cut: a fragment with the whole datagram is a whole packet.
    cuts.push(8);
    cuts.retain(|&cut| cut < len + 8);
    cuts.sort_unstable();
    cuts.dedup();
    let starts = std::iter::once(0).chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain([len + 8]);
    starts.zip(ends).map(|(start, end)| Event::Piece(number, start..end, end < len + 8)).collect()
}

/// One datagram: its length, and where it is cut, at multiples of eight behind the UDP header.
fn good(numbers: Range<u32>) -> impl Strategy<Value = (u32, usize, Vec<usize>)> {
    let cuts = prop::collection::vec((1_usize..60).prop_map(|unit| unit * 8), 1..8);
    (numbers, 16_usize..500, cuts)
}

/// Nearly any fragments of a few datagrams.
fn hostile(numbers: Range<u32>) -> impl Strategy<Value = Event> {
    (numbers, 0_usize..30, 1_usize..6, any::<bool>()).prop_map(|(number, start, len, more)| {
        let more = more || start == 0;
        let end = (start + len) * 8 - if more { 0 } else { len };
        Event::Piece(number, start * 8..end, more)
    })
}

fn stream(span: u64) -> impl Strategy<Value = Vec<Event>> {
    let sound = prop::collection::vec(good(0..6), 0..6);
    let bad = prop::collection::vec(hostile(0..6), 0..20);
    let pauses = prop::collection::vec((0..span).prop_map(Event::Pass), 0..6);
    (sound, bad, pauses, any::<prop::sample::Index>()).prop_flat_map(
        |(sound, bad, pauses, twice)| {
            let mut all: Vec<Event> =
                sound.into_iter().flat_map(|(number, len, at)| pieces(number, len, at)).collect();
            if !all.is_empty() {
                all.push(all[twice.index(all.len())].clone());
            }
            all.extend(bad);
            all.extend(pauses);
            Just(all).prop_shuffle()
        },
    )
}

/// The state of one datagram, byte by byte.
#[derive(Clone, Default)]
struct Known {
    since: u64,
    /// The fragment that contained each byte.
    owners: BTreeMap<usize, usize>,
    parts: Vec<(Range<usize>, bool)>,
    /// Whether the first one was tunnelled.
    decided: Option<bool>,
    refused: Option<Reason>,
    held: Vec<Vec<u8>>,
}

#[derive(Debug, Eq, PartialEq)]
enum FlowOutcome {
    /// The packets sent, in this order.
    Sent(Vec<Vec<u8>>),
    Held,
    Answered,
    Dropped(Reason),
}

#[derive(Default)]
struct Model {
    known: BTreeMap<u32, Known>,
    now: u64,
    dropped: BTreeMap<&'static str, u64>,
}

impl Model {
    fn drop(&mut self, reason: Reason, count: usize) -> FlowOutcome {
        *self.dropped.entry(reason.name()).or_default() += count as u64;
        FlowOutcome::Dropped(reason)
    }

    fn pass(&mut self, millis: u64) {
        self.now += millis;
        let now = self.now;
        let is_over = |known: &Known| now - known.since >= 30_000;
        let held = self.known.values().filter(|it| is_over(it)).map(|it| it.held.len()).sum();
        self.known.retain(|_, known| !is_over(known));
        self.drop(Reason::FragmentExpired, held);
    }

    fn take(&mut self, number: u32, range: Range<usize>, more: bool, bytes: &[u8]) -> FlowOutcome {
        let (now, listens) = (self.now, !number.is_multiple_of(5));
        let mut known =
            self.known.remove(&number).unwrap_or_else(|| Known { since: now, ..Known::default() });
        let fate = self.judge(&mut known, listens, range, more, bytes);
        let end = known.parts.iter().find(|(_, more)| !more).map(|(range, _)| range.end);
        if known.refused.is_some() || known.decided.is_none() || end != Some(known.owners.len()) {
            self.known.insert(number, known);
        }
        fate
    }

    fn judge(
        &mut self,
        known: &mut Known,
        listens: bool,
        range: Range<usize>,
        more: bool,
        bytes: &[u8],
    ) -> FlowOutcome {
        if let Some(reason) = known.refused {
            return self.drop(reason, 1);
        }
        if known.parts.contains(&(range.clone(), more)) {
            return self.drop(Reason::FragmentDuplicate, 1);
        }
        let end = known.parts.iter().find(|(_, more)| !more).map(|(range, _)| range.end);
        let taken = range.clone().any(|byte| known.owners.contains_key(&byte));
        let outside = end.is_some_and(|end| range.end > end);
        let second = !more && (end.is_some() || known.owners.keys().any(|&byte| byte >= range.end));
        let refusal = if taken || outside || second {
            Some(Reason::FragmentOverlap)
        } else {
            (known.parts.len() >= MAX_PARTS).then_some(Reason::FragmentLimit)
        };
        if let Some(reason) = refusal {
            known.refused = Some(reason);
            return self.drop(reason, 1 + std::mem::take(&mut known.held).len());
        }
        known.owners.extend(range.clone().map(|byte| (byte, known.parts.len())));
        known.parts.push((range.clone(), more));
        if range.start == 0 {
            known.decided = Some(listens);
            let held = std::mem::take(&mut known.held);
            if listens {
                return FlowOutcome::Sent([vec![bytes.to_vec()], held].concat());
            }
            self.drop(Reason::Fragment, held.len());
            return FlowOutcome::Answered;
        }
        match known.decided {
            Some(true) => FlowOutcome::Sent(vec![bytes.to_vec()]),
            Some(false) => self.drop(Reason::Fragment, 1),
            None => {
                known.held.push(bytes.to_vec());
                FlowOutcome::Held
            }
        }
    }
}

/// No other reason to drop a fragment may count.
fn same_drops(director: &Director, model: &Model) -> Result<(), TestCaseError> {
    for &reason in Reason::ALL {
        let expected = model.dropped.get(reason.name()).copied().unwrap_or_default();
        prop_assert_eq!(dropped(director, reason), expected, "{}", reason.name());
    }
    Ok(())
}

fn adds_up(director: &Director) -> Result<(), TestCaseError> {
    let counters = director.balancer.counters();
    let fates = counters.tunnelled + counters.replied() + counters.dropped_total() + counters.held;
    prop_assert_eq!(counters.read, fates);
    Ok(())
}

/// The packets sent, with their real servers.
type Outcome = Vec<(IpAddr, Vec<u8>)>;

/// Plays an event and returns its result; a pause has no verdict.
fn play(director: &mut Director, event: &Event) -> Option<(Verdict, Outcome)> {
    let Event::Piece(number, range, more) = event.clone() else {
        let Event::Pass(millis) = *event else { unreachable!() };
        director.pass(Duration::from_millis(millis));
        return None;
    };
    let bytes = piece(&whole(number, 600), number, range, more);
    let (verdict, sent) = director.send(&bytes);
    Some((verdict, to_reals(sent)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Within the bounds every fragment is treated as in the model.
    #[test]
    fn fragments_do_as_the_naive_model_does(events in stream(20_000)) {
        let (mut director, mut model) = (two(), Model::default());
        for event in &events {
            match event.clone() {
                Event::Pass(millis) => {
                    model.pass(millis);
                    prop_assert!(play(&mut director, event).is_none());
                    let fragments = &director.balancer.tables.fragments;
                    prop_assert!(!fragments.has_released(), "time sends nothing");
                }
                Event::Piece(number, range, more) => {
                    let bytes = piece(&whole(number, 600), number, range.clone(), more);
                    let expected = model.take(number, range, more, &bytes);
                    let (verdict, sent) = play(&mut director, event).unwrap();
                    let fate = match verdict {
                        Verdict::Tunnel(_) => {
                            FlowOutcome::Sent(sent.iter().map(|it| it.1.clone()).collect())
                        }
                        Verdict::Hold => FlowOutcome::Held,
                        Verdict::Reply | Verdict::Reset(_) => FlowOutcome::Answered,
                        Verdict::Drop(reason) => FlowOutcome::Dropped(reason),
                    };
                    prop_assert_eq!(fate, expected, "{:?}", event);
                }
            }
            let held = model.known.values().map(|known| known.held.len() as u64).sum::<u64>();
            prop_assert_eq!(director.balancer.counters().held, held);
            same_drops(&director, &model)?;
            adds_up(&director)?;
        }
    }

    /// With bounds that are reached all the time: they are never exceeded; and while a datagram is
    /// known, two different bytes for one position, or fragments for two real servers, are never
    /// sent.
    #[test]
    fn bounds_hold_for_any_stream(
        events in stream(20_000),
        waiting in 1_usize..4,
        decided in 1_usize..4,
        blocks in 1_usize..6,
    ) {
        let mut director = two();
        let bytes = blocks * 512;
        let bounds = Bounds { waiting, decided, bytes };
        director.balancer.tables.fragments = Fragments::new(bounds, Seed(7, 9));
        for event in &events {
            let reals: Vec<IpAddr> = play(&mut director, event)
                .map(|(_, sent)| sent.into_iter().map(|it| it.0).collect()).unwrap_or_default();
            prop_assert!(reals.iter().all(|&real| real == reals[0]));
            let fragments = director.balancer.snapshot().fragments;
            prop_assert!(fragments.waiting <= waiting && fragments.decided <= decided);
            prop_assert!(fragments.bytes <= bytes);
            adds_up(&director)?;
        }
        director.pass(seconds(60));
        let left = director.balancer.snapshot().fragments;
        prop_assert_eq!(left, snapshot::FragmentsSnapshot::default());
        prop_assert_eq!(director.balancer.counters().held, 0);
    }

    /// Good datagrams, shuffled with each other and with hostile fragments of others: every
    /// fragment of each reaches exactly one real server, that of its flow, exactly once.
    #[test]
    fn every_good_datagram_reaches_one_real_server(
        datagrams in prop::collection::btree_map(1_u32..40, good(0..1), 1..8)
            .prop_map(|mut all| {
                all.retain(|number, _| !number.is_multiple_of(5));
                all.into_iter().collect::<Vec<_>>()
            }),
        bad in prop::collection::vec(hostile(40..44), 0..40),
        seed in any::<u64>(),
    ) {
        let mut director = two();
        let mut sent: Vec<(u64, u32, Vec<u8>)> = Vec::new();
        let mut mixed = seed | 1;
        let mut rank = || {
            mixed = mixed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            mixed >> 20
        };
        for &(number, (_, len, ref at)) in &datagrams {
            for event in pieces(number, len, at.clone()) {
                let Event::Piece(_, range, more) = event else { unreachable!() };
                sent.push((rank(), number, piece(&whole(number, len), number, range, more)));
            }
        }
        for event in bad {
            let Event::Piece(number, range, more) = event else { unreachable!() };
            sent.push((rank(), number, piece(&whole(number, 600), number, range, more)));
        }
        sent.sort();
        let mut arrived: BTreeMap<Vec<u8>, Vec<IpAddr>> = BTreeMap::new();
        for (_, _, bytes) in &sent {
            for (real, packet) in out(&mut director, bytes) {
                arrived.entry(packet).or_default().push(real);
            }
        }
        for (number, (_, len, _)) in datagrams {
            let of_flow = director.to(&whole(number, len));
            for (_, _, bytes) in sent.iter().filter(|it| it.1 == number) {
                prop_assert_eq!(arrived.get(bytes), Some(&vec![of_flow]));
            }
        }
    }
}
