//! Recordings of a balancer, replayed.

use super::*;
use crate::model::Seed;
use crate::trace::pcapng::Writer;
use crate::trace::reading::Reader;
use crate::wire::build::Family;
use crate::wire::tcp::Flags;

fn config(scheduler: &str, reals: &[u8]) -> config::Director {
    let reals = reals.iter().map(|last| format!("[[service.real]]\naddress = \"10.0.0.{last}\"\n"));
    let reals: String = reals.collect();
    let listen = "listen = [\"192.0.2.10:80/tcp\", \"192.0.2.10:80/udp\"]";
    let text = format!(
        "[director]\n[[service]]\nname = \"web\"\n{listen}\nscheduler = \"{scheduler}\"\n{reals}"
    );
    config::director(&text).unwrap()
}

fn begins() -> TraceBegins {
    TraceBegins::default().with_seeds((Seed(1, 2), Seed(3, 4)))
}

/// Records the decisions of a balancer with that configuration, from packet `from` on.
fn recorded(config: &config::Director, from: usize, packets: &[Vec<u8>]) -> Vec<u8> {
    recorded_every(100, config, from, packets)
}

/// The same with so many milliseconds between two packets.
fn recorded_every(
    step: u64,
    config: &config::Director,
    from: usize,
    packets: &[Vec<u8>],
) -> Vec<u8> {
    let Replay { mut balancer, .. } = Replay::new(config, &begins(), None).unwrap();
    let mut writer = Writer::new(&begins()).unwrap();
    for (number, bytes) in packets.iter().enumerate() {
        let now = Millis(number as u64 * step);
        balancer.expire(now);
        let packet = Packet::parse(bytes).unwrap();
        let seen = balancer.observe(&packet);
        let verdict = balancer.forward(now, &packet);
        let record = balancer.record(now, &packet, &seen, &verdict);
        let decision = TracedDecision {
            packet: Some(crate::control::to_hex(&bytes[..bytes.len().min(40)])),
            ..TracedDecision::new(&record, "2026-11-28T12:00:00Z".to_owned())
        };
        if number >= from {
            writer.add(&decision).unwrap();
        }
    }
    writer.take()
}

fn replayed(file: &[u8], config: &config::Director) -> (ReplayOutcome, Vec<ReplayDifference>) {
    let mut reader = Reader::new(file).unwrap();
    let mut replay = Replay::new(config, reader.begins(), None).unwrap();
    let mut differences = Vec::new();
    while let Some(packet) = reader.next_packet().unwrap() {
        differences.extend(replay.packet(&packet));
    }
    (replay.outcome, differences)
}

/// Connections that open, transfer data and close, and datagrams.
fn traffic() -> Vec<Vec<u8>> {
    let client = |number: u8, flags: u8, sequence: u32| {
        let source = std::net::Ipv4Addr::new(198, 18, 0, number);
        Family::V4.tcp(flags).from(source).destination_port(80).sequence(sequence).bytes()
    };
    let opens = (0..9).map(|number| client(number, Flags::SYN, 1_000));
    let talks = (0..9).map(|number| client(number, Flags::ACK, 1_001));
    let closes = (0..9).map(|number| client(number, Flags::FIN | Flags::ACK, 1_001));
    let others = [Family::V4.udp(80).data(&[7; 30]).bytes(), Family::V4.udp(81).bytes()];
    opens.chain(talks).chain(others).chain(closes).collect()
}

#[test]
fn a_recording_agrees_with_its_own_configuration() {
    for scheduler in ["rr", "wrr", "wlc", "lc", "sh", "mh", "sed"] {
        let config = config(scheduler, &[11, 12, 13]);
        let (outcome, differences) = replayed(&recorded(&config, 0, &traffic()), &config);
        assert_eq!((outcome.differing, differences.len()), (0, 0), "{scheduler}: {differences:?}");
        assert_eq!((outcome.replayed, outcome.recalled), (29, 0), "{scheduler}");
    }
}

/// The second datagram of a flow whose entry has expired is a new flow.
#[test]
fn the_recorded_clock_ends_entries() {
    let config = config("rr", &[11, 12]);
    let datagram = Family::V4.udp(80).data(&[7; 30]).bytes();
    let file = recorded_every(3_600_000, &config, 0, &[datagram.clone(), datagram]);
    let mut reader = Reader::new(&file).unwrap();
    let mut second = None;
    while let Some(packet) = reader.next_packet().unwrap() {
        second = packet.decision.address;
    }
    assert_eq!(second, "10.0.0.12".parse().ok(), "by turns");
    assert_eq!(replayed(&file, &config).0.differing, 0);
}

#[test]
fn one_that_begins_in_the_middle_agrees_as_far_as_turns_and_hashes_decide() {
    for (scheduler, from, recalled) in [("rr", 4, 4), ("mh", 9, 9), ("sh", 12, 9)] {
        let config = config(scheduler, &[11, 12, 13]);
        let (outcome, differences) = replayed(&recorded(&config, from, &traffic()), &config);
        assert_eq!(outcome.differing, 0, "{scheduler}: {differences:?}");
        assert_eq!(outcome.recalled, recalled, "{scheduler}");
    }
}

#[test]
fn a_flow_that_goes_elsewhere_is_one_difference() {
    let (old, new) = (config("mh", &[11, 12, 13]), config("mh", &[11, 12]));
    let (outcome, differences) = replayed(&recorded(&old, 0, &traffic()), &new);
    let gone = "10.0.0.13".parse().ok();
    let moved = differences.iter().filter(|one| one.recorded.address == gone);
    assert!(moved.count() > 0, "{differences:?}");
    assert_eq!(outcome.differing, differences.len() as u64);
    assert!(differences.iter().all(|one| one.replayed.address != gone));
    let (old, new) = (config("rr", &[11, 12]), config("sh", &[11, 12]));
    let (_, swapped) = replayed(&recorded(&old, 0, &traffic()), &new);
    let all = differences.iter().chain(&swapped);
    let why: Vec<_> = all.map(|one| one.recorded.why.as_deref()).collect();
    assert!(why.iter().all(|why| *why == Some("scheduler")), "{why:?}");
}

#[test]
fn a_damaged_file_is_an_error_and_never_a_panic() {
    let config = config("rr", &[11, 12]);
    let file = recorded(&config, 0, &traffic());
    let walk = |file: &[u8]| {
        let Ok(mut reader) = Reader::new(file) else { return 0 };
        let Ok(mut replay) = Replay::new(&config, reader.begins(), None) else { return 0 };
        let mut packets = 0;
        while let Ok(Some(packet)) = reader.next_packet() {
            let _ = replay.packet(&packet);
            packets += 1;
        }
        packets
    };
    assert_eq!(walk(&file), 29);
    let cut = |len: usize| file.get(..len).unwrap_or_default();
    for len in (0..file.len()).step_by(97) {
        walk(cut(len));
    }
    let mut reader = Reader::new(cut(file.len() - 5)).unwrap();
    let error = loop {
        match reader.next_packet() {
            Ok(packet) => assert!(packet.is_some()),
            Err(error) => break error.to_string(),
        }
    };
    assert_eq!(error, "the file is cut off after packet 28");
    let another = [file.clone(), file.clone()].concat();
    assert_eq!(walk(&another), 29);
    let mut state = 0x9e37_79b9_u32;
    for _ in 0..400 {
        let mut mutant = file.clone();
        for _ in 0..4 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let index = state as usize % mutant.len();
            mutant[index] ^= (state >> 24) as u8 | 1;
        }
        walk(&mutant);
    }
    for none in [&b""[..], b"\x0a\x0d\x0d\x0a", b"hello, world"] {
        assert!(Reader::new(none).is_err());
    }
}

/// As another program leaves a file that it has edited.
#[test]
fn packets_without_a_readable_decision_are_counted() {
    let config = config("rr", &[11, 12]);
    let file = recorded(&config, 0, &traffic());
    let text = b"\"milliseconds\":";
    let places = file.windows(text.len()).enumerate().filter(|(_, window)| window == text);
    let places: Vec<_> = places.map(|(at, _)| at + text.len()).collect();
    let mut damaged = file.clone();
    for &at in &places[..2] {
        damaged[at] = b'-';
    }
    for (file, unreadable) in [(&file, 0), (&damaged, 2)] {
        let mut reader = Reader::new(file).unwrap();
        let mut packets = 0;
        while reader.next_packet().unwrap().is_some() {
            packets += 1;
        }
        assert_eq!((packets, reader.unreadable()), (29 - unreadable, unreadable));
    }
}

#[test]
fn packets_longer_than_ip_allows_are_refused_before_they_take_memory() {
    let mut writer = Writer::new(&begins()).unwrap();
    let decision = TracedDecision {
        time: "2026-11-28T12:00:00Z".to_owned(),
        packet: Some("45".to_owned()),
        ..TracedDecision::default()
    };
    let most = crate::wire::packet::MAX_PACKET_LEN as u64;
    writer.add(&TracedDecision { bytes: most, ..decision.clone() }).unwrap();
    writer.add(&TracedDecision { bytes: most + 1, ..decision }).unwrap();
    let file = writer.take();
    let mut reader = Reader::new(&file).unwrap();
    assert_eq!(reader.next_packet().unwrap().map(|packet| packet.bytes.len() as u64), Some(most));
    let error = reader.next_packet().unwrap_err().to_string();
    assert_eq!(error, "packet 2 is longer than a packet can be");
}

/// A recording of a director whose real servers are drained, disabled, down and of other weights
/// agrees with its configuration if these states are given, and not without them.
#[test]
fn recorded_states_decide_instead_of_the_configuration_s() {
    let listed = |last: u8, weight: u32, wanted: &str, state: &str| {
        format!(
            r#"{{"address":"10.0.0.{last}","weight":{weight},"wanted":"{wanted}",
            "state":"{state}","active":0,"inactive":0,"connections":0,"packets":0,"bytes":0}}"#
        )
    };
    let reals = [
        listed(11, 1, "draining", "draining"),
        listed(12, 1, "disabled", "disabled"),
        listed(13, 1, "up", "down"),
        listed(14, 0, "up", "up"),
        listed(15, 1, "up", "up"),
        listed(77, 1, "up", "up"),
    ];
    let service =
        format!(r#"{{"name":"web","listen":[],"scheduler":"mh","reals":[{}]}}"#, reals.join(","));
    let service = serde_json::from_str(&service).unwrap();
    let list = ServiceList { services: vec![service], ..ServiceList::default() };
    for scheduler in ["mh", "rr", "wlc", "sh"] {
        let config = config(scheduler, &[11, 12, 13, 14, 15]);
        let run = |states| {
            let mut replay = Replay::new(&config, &begins(), states).unwrap();
            let decided = traffic().into_iter().map(|bytes| {
                let packet = Packet::parse(&bytes).unwrap();
                replay.balancer.forward(Millis(0), &packet);
            });
            assert!(decided.count() > 10);
            let reals = replay.balancer.snapshot().services[0].reals.clone();
            reals.iter().map(|real| real.connections).collect::<Vec<_>>()
        };
        let [a, b, c, d, last] = run(Some(&list))[..] else { panic!("five real servers") };
        assert_eq!([a, b, c, d], [0; 4], "{scheduler}");
        assert!(last > 0, "{scheduler}");
        assert!(run(None).iter().filter(|count| **count > 0).count() > 1, "{scheduler}");
    }
}
