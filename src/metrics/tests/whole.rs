//! Whole pages. Every field of what a daemon reports has a value of its own, so that a metric with
//! another field's value differs from the expected page. The values are written without defaults:
//! a new field needs one here.

use super::*;
use crate::control::{
    AgentCounts, FragmentStats, LastSources, ListedFlood, ListedMaglev, Packets, Rate, Thousandths,
    Timers, TunnelErrorStats,
};

const DIRECTOR: &str = include_str!("director.prometheus.txt");
const REAL_SERVER: &str = include_str!("realserver.prometheus.txt");
const REAL_SERVER_OPEN: &str = include_str!("realserver.openmetrics.txt");

fn counts(counts: &[(&str, u64)]) -> Counts {
    counts.iter().copied().collect()
}

fn times(first: u64) -> ListedTimes {
    ListedTimes {
        samples: first + 36,
        sum_microseconds: first * 1_000,
        p50_microseconds: Some(901),
        p99_microseconds: Some(902),
        buckets: std::array::from_fn(|at| at as u64 + 1),
    }
}

/// A real server whose numbers begin at `first`.
fn real(address: &str, state: &str, first: u32) -> ListedReal {
    let number = |more: u32| u64::from(first + more);
    ListedReal {
        address: address.to_owned(),
        weight: first + 1,
        encap: "gue".to_owned(),
        last_resort: true,
        state: state.to_owned(),
        wanted: "up".to_owned(),
        wanted_since: Some("2026-11-29T01:02:03Z".to_owned()),
        since: Some("2026-11-29T01:02:04Z".to_owned()),
        why: Some("all checks pass".to_owned()),
        removed: false,
        deadline_seconds: Some(number(2)),
        effective_weight: Some(Thousandths(first * 1_000 + 250)),
        reported: Some(number(3)),
        active: number(4),
        half_open: number(5),
        inactive: number(6),
        connections: number(7),
        templates: number(8),
        upper: Some(first + 9),
        lower: Some(first + 10),
        full: false,
        packets: number(11),
        bytes: number(12),
        carried_packets: Some(number(13)),
        rate: Some(Rate { connections: number(14), packets: number(15), bytes: number(16) }),
        protocol_unreachable: number(17),
        unreachable: number(18),
        path_mtu: Some(1_419),
        link_mtu: Some(1_420),
        latency: Some(Box::new(ListedLatency { handshake: times(21), response: times(22) })),
    }
}

/// The yes-or-no values: whether it is served, has its quorum, is in panic, is in flood mode. No
/// two of them agree in all three services.
fn service(name: &str, [served, quorum, panic, active]: [bool; 4], first: u64) -> ListedService {
    ListedService {
        name: name.to_owned(),
        listen: vec!["192.0.2.10:80/tcp".to_owned()],
        scheduler: format!("scheduler {first}"),
        maglev: Some(ListedMaglev { slots: first + 1, checksum: format!("{first:016x}") }),
        outage: (!served).then(|| "1 down".to_owned()),
        flood: ListedFlood { active, floods: first + 2, without_entry: first + 3 },
        quorum: Some(quorum),
        panic,
        rate: None,
        reals: Vec::new(),
    }
}

fn services() -> Vec<ListedService> {
    let full = ListedReal { full: true, ..real("10.0.0.12", "down", 340) };
    let plain = ListedReal {
        effective_weight: None,
        reported: None,
        upper: None,
        lower: None,
        carried_packets: None,
        rate: None,
        protocol_unreachable: 0,
        unreachable: 0,
        path_mtu: None,
        link_mtu: None,
        latency: None,
        ..real("10.0.0.14", "draining", 380)
    };
    let removed = ListedReal { removed: true, ..real("10.0.0.11", "draining", 420) };
    let first = service("web", [true, false, true, false], 310);
    vec![
        ListedService { reals: vec![real("10.0.0.11", "up", 320), full, plain, removed], ..first },
        service("mail", [false, true, true, false], 460),
        service("dns", [true, true, false, true], 470),
    ]
}

fn host(first: u64) -> HostStatus {
    let wrong = |what: &str| Wrong {
        what: what.to_owned(),
        subject: "eth0".to_owned(),
        address: None,
        since: "2026-11-29T01:02:05Z".to_owned(),
        text: "it is down".to_owned(),
    };
    HostStatus {
        wrong: vec![wrong("vip"), wrong("uplink"), wrong("vip")],
        put_back: first,
        sources: vec!["10.0.0.1".parse().unwrap()],
        tun: "vstun0".to_owned(),
    }
}

fn list() -> ServiceList {
    let vip = |address: &str, announced| VirtualIp { address: address.parse().unwrap(), announced };
    ServiceList {
        connections: Use { current: 301, capacity: 302 },
        templates: Use { current: 303, capacity: 304 },
        services: services(),
        drops: counts(&[("no_service", 305), ("ttl", 306)]),
        vips: vec![vip("192.0.2.10", true), vip("192.0.2.11", false)],
        host: host(307),
        uptime_milliseconds: 308,
        rate_milliseconds: Some(309),
    }
}

fn packets() -> Packets {
    Packets {
        read: 101,
        tunnelled: 102,
        carried: 103,
        replied: 104,
        dropped: 105,
        ended: 106,
        held: 107,
        without_entry: 108,
        without_template: 109,
        probes: 110,
    }
}

fn director_stats() -> DirectorStats {
    DirectorStats {
        uptime_seconds: 111,
        packets: packets(),
        answered: counts(&[("no_real_server", 112), ("echo", 113)]),
        connections: Use { current: 114, capacity: 115 },
        fragments: FragmentStats { waiting: 116, decided: 117, held_bytes: 118 },
        tun_dropped: 119,
        reads: 120,
        super_frames: 121,
        wakeups: 122,
        segments_sent: 123,
        segments_fragmented: 124,
        outer_fragments: 125,
        bytes_sent: 126,
        batches: 127,
        gue_joined: 128,
        gue_sends: 129,
        gue_padding: 130,
        gue_ports_taken: 131,
        send_errors: counts(&[("EPERM", 132), ("ENOBUFS", 133)]),
        tunnel_errors_received: 134,
        tunnel_errors: vec![TunnelErrorStats {
            service: "web".to_owned(),
            address: "10.0.0.11".parse().unwrap(),
            protocol_unreachable: 135,
            unreachable: 136,
            path_mtu: Some(137),
        }],
        timers: Timers { expired: 138, requeued: 139, evicted: 140, next_milliseconds: Some(141) },
        turns: turns(),
        hooks: HookCounts { run: 142, failed: 143, killed: 144, dropped: 145, queued: 146 },
        offload: true,
        offload_refused: 147,
        fast_path: false,
        fast_path_state: None,
        not_carried: counts(&[("no_flow", 148), ("fragment", 149)]),
        host: host(150),
    }
}

fn checks() -> Checks {
    let agent = |first: u64, stale| ListedAgent { reports: first + 6, errors: first + 7, stale };
    let check = |last: u8, state: &str, first: u64, agent| ListedCheck {
        address: format!("10.0.0.{last}"),
        services: vec!["web".to_owned()],
        kind: "http".to_owned(),
        check: "http GET /".to_owned(),
        via: "tunnel".to_owned(),
        destination: "192.0.2.10:80".to_owned(),
        state: state.to_owned(),
        streak: 3,
        since_seconds: first,
        next_milliseconds: Some(first + 1),
        lag_milliseconds: first + 2,
        runs: first + 3,
        results: [first + 4, first + 5].map(result).into(),
        agent,
    };
    Checks {
        check_lag_milliseconds: 501,
        checks: vec![
            check(11, "up", 510, Some(agent(510, true))),
            check(12, "falling", 520, Some(agent(520, false))),
            check(13, "down", 530, None),
            check(14, "rising", 540, None),
        ],
    }
}

fn result(microseconds: u64) -> CheckResult {
    CheckResult {
        time: "2026-11-29T01:02:06Z".to_owned(),
        passed: true,
        detail: "status 200".to_owned(),
        microseconds,
    }
}

fn real_server_stats() -> RealServerStats {
    let drop = |name: &str, count| RealServerDrop {
        name: name.to_owned(),
        meaning: "not wanted".to_owned(),
        remedy: "nothing".to_owned(),
        count,
    };
    RealServerStats {
        uptime_seconds: 201,
        read: 202,
        delivered: 203,
        ipip: 204,
        ipip_bytes: 205,
        gue: 206,
        gue_bytes: 207,
        gue_merged: 208,
        gre: 209,
        gre_bytes: 210,
        super_packets: 211,
        partial_checksums: 212,
        bytes_delivered: 213,
        coalesced_packets: 214,
        coalesced_frames: 215,
        batches: 216,
        fast_path: true,
        fast_path_state: None,
        carried: 217,
        write_errors: counts(&[("EIO", 218), ("ENOBUFS", 219)]),
        dropped: vec![drop("ecn", 220), drop("stranger", 221)],
        filtered: 222,
        filtering: false,
        last: LastSources::default(),
        socket_dropped: 223,
        tun_dropped: 224,
        turns: turns(),
        offload: false,
        offload_refused: 225,
        coalesce: false,
        agent: Some(AgentCounts { asked: 226, refused: 227, busy: 228, ..AgentCounts::default() }),
        host: host(229),
    }
}

const PROCESS: Process = Process {
    cpu_seconds: 1.5,
    resident_bytes: 2,
    start_time_seconds: 3.25,
    open_fds: 4,
    max_fds: 5,
};

/// A failure names the lines of the page that differ.
#[track_caller]
fn expect(written: &str, expected: &str) {
    if written == expected {
        return;
    }
    let lines: BTreeSet<_> = written.lines().collect();
    let others: BTreeSet<_> = expected.lines().collect();
    let (more, less) = (&lines - &others, &others - &lines);
    panic!("written {more:#?}, expected {less:#?}, or the order differs:\n{written}");
}

pub(super) fn director() -> DirectorPage {
    let (version, list) = ("1.2.3".to_owned(), list());
    DirectorPage { version, list, stats: director_stats(), checks: checks() }
}

#[test]
fn every_field_of_a_director_is_where_it_belongs() {
    expect(&write(Format::Prometheus, director(), PROCESS).unwrap(), DIRECTOR);
}

pub(super) fn real_server() -> RealServerPage {
    RealServerPage { version: "1.2.3".to_owned(), stats: real_server_stats() }
}

#[test]
fn every_field_of_a_real_server_is_where_it_belongs() {
    expect(&write(Format::Prometheus, real_server(), PROCESS).unwrap(), REAL_SERVER);
    expect(&write(Format::OpenMetrics, real_server(), PROCESS).unwrap(), REAL_SERVER_OPEN);
}
