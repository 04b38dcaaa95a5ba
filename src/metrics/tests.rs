#![allow(clippy::unwrap_used)]

mod whole;

use std::collections::BTreeSet;

use super::*;
use crate::control::{
    CheckResult, Checks, Counts, DirectorStats, HookCounts, HostStatus, ListedAgent, ListedCheck,
    ListedLatency, ListedReal, ListedService, ListedTimes, RealServerDrop, RealServerStats,
    ServiceList, TurnBucket, TurnStats, Use, VirtualIp, Wrong,
};

fn real(address: &str) -> ListedReal {
    let text = format!(
        r#"{{"address":"{address}","weight":3,"state":"up","active":5,"inactive":1,
        "connections":9,"packets":20,"bytes":3000,"path_mtu":1400,"effective_weight":1.5,"upper":9,
        "protocol_unreachable":4,"unreachable":2}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn turns() -> TurnStats {
    let bucket = |up_to_microseconds, count| TurnBucket { up_to_microseconds, count };
    TurnStats { microseconds: 1_500_000, buckets: vec![bucket(Some(200), 7), bucket(None, 1)] }
}

fn page() -> DirectorPage {
    let service = r#"{"name":"a\"b\\c\nd","listen":[],"scheduler":"mh","reals":[],
        "maglev":{"slots":7,"checksum":"00ff"}}"#;
    let service: ListedService = serde_json::from_str(service).unwrap();
    let removed = ListedReal { removed: true, ..real("10.0.0.11") };
    let buckets = std::array::from_fn(|index| u64::from(index == 3) * 9);
    let times =
        ListedTimes { samples: 10, sum_microseconds: 90_000, buckets, ..ListedTimes::default() };
    let latency = Some(Box::new(ListedLatency { handshake: times, response: times }));
    let measured = ListedReal { latency, ..real("fd00::c") };
    let draining = ListedReal { state: "draining".to_owned(), ..real("10.0.0.12") };
    let check = ListedCheck {
        address: "10.0.0.11".to_owned(),
        check: "tcp".to_owned(),
        state: "falling".to_owned(),
        runs: 4,
        results: vec![CheckResult { microseconds: 2_000, ..CheckResult::default() }],
        agent: Some(ListedAgent { reports: 3, errors: 1, stale: true }),
        ..ListedCheck::default()
    };
    let wrong = |what: &str| Wrong { what: what.to_owned(), ..Wrong::default() };
    let host = HostStatus {
        wrong: vec![wrong("vip"), wrong("uplink"), wrong("vip")],
        ..HostStatus::default()
    };
    DirectorPage {
        version: "0.1.0".to_owned(),
        list: ServiceList {
            connections: Use { current: 6, capacity: 100 },
            services: vec![ListedService {
                reals: vec![removed, real("10.0.0.11"), measured, draining],
                ..service
            }],
            drops: Counts(vec![("no_service".to_owned(), 2)]),
            vips: vec![VirtualIp { address: "192.0.2.10".parse().unwrap(), announced: true }],
            ..ServiceList::default()
        },
        stats: DirectorStats {
            turns: turns(),
            host,
            send_errors: Counts(vec![("EPERM".to_owned(), 1)]),
            not_carried: Counts(vec![("no_flow".to_owned(), 4)]),
            answered: Counts(vec![("no_real_server".to_owned(), 7)]),
            hooks: HookCounts { run: 9, failed: 3, killed: 2, dropped: 1, queued: 5 },
            ..DirectorStats::default()
        },
        checks: Checks { check_lag_milliseconds: 12, checks: vec![check] },
    }
}

#[test]
fn both_formats_have_the_same_series() {
    let lines = |format| {
        let page = write(format, whole::director(), Process::default()).unwrap();
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        // One format writes whole numbers as 3.0, and a histogram's bound before other labels.
        let mut lines: Vec<_> = samples
            .map(|line| line.trim_end_matches(".0").replace('{', "{,").replace('}', ",}"))
            .map(|line| line.split(',').map(str::to_owned).collect::<BTreeSet<_>>())
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(lines(Format::Prometheus), lines(Format::OpenMetrics));
}

#[test]
fn every_figure_is_one_series_with_its_labels() {
    let page = write(Format::Prometheus, page(), Process::default()).unwrap();
    let service = r#"service="a\"b\\c\nd""#;
    for line in [
        r#"vstun_build_info{role="director",version="0.1.0"} 1"#.to_owned(),
        "vstun_connections 6".to_owned(),
        "vstun_connections_max 100".to_owned(),
        r#"vstun_packets_dropped_total{reason="no_service"} 2"#.to_owned(),
        r#"vstun_packets_answered_total{reason="no_real_server"} 7"#.to_owned(),
        r#"vstun_packets_not_carried_total{reason="no_flow"} 4"#.to_owned(),
        r#"vstun_vip_announced{vip="192.0.2.10"} 1"#.to_owned(),
        "vstun_host_faults 3".to_owned(),
        r#"vstun_host_faults_by_kind{what="vip"} 2"#.to_owned(),
        format!("vstun_real_weight{{{service},real=\"10.0.0.11\"}} 3"),
        format!("vstun_real_bytes_total{{{service},real=\"fd00::c\"}} 3000"),
        format!("vstun_real_path_mtu_bytes{{{service},real=\"fd00::c\"}} 1400"),
        format!("vstun_real_response_seconds_bucket{{{service},real=\"fd00::c\",le=\"0.01\"}} 0"),
        format!("vstun_real_response_seconds_bucket{{{service},real=\"fd00::c\",le=\"0.032\"}} 9"),
        format!("vstun_real_response_seconds_count{{{service},real=\"fd00::c\"}} 10"),
        format!("vstun_real_handshake_seconds_bucket{{{service},real=\"fd00::c\",le=\"0.032\"}} 9"),
        format!("vstun_real_handshake_seconds_sum{{{service},real=\"fd00::c\"}} 0.09"),
        r#"vstun_check_up{real="10.0.0.11",check="tcp",via="",to=""} 1"#.to_owned(),
        "vstun_check_lag_seconds 0.012".to_owned(),
        r#"vstun_agent_reports_total{real="10.0.0.11",to=""} 3"#.to_owned(),
        r#"vstun_agent_errors_total{real="10.0.0.11",to=""} 1"#.to_owned(),
        r#"vstun_agent_stale{real="10.0.0.11",to=""} 1"#.to_owned(),
        "vstun_hook_runs_total 9".to_owned(),
        "vstun_hook_failures_total 3".to_owned(),
        "vstun_hook_timeouts_total 2".to_owned(),
        "vstun_hook_dropped_total 1".to_owned(),
        "vstun_hook_queue 5".to_owned(),
        r#"vstun_packet_thread_turn_seconds_bucket{le="0.0002"} 7"#.to_owned(),
        r#"vstun_packet_thread_turn_seconds_bucket{le="+Inf"} 8"#.to_owned(),
        "vstun_packet_thread_turn_seconds_sum 1.5".to_owned(),
        "vstun_packet_thread_turn_seconds_count 8".to_owned(),
    ] {
        let count = page.lines().filter(|one| *one == line).count();
        assert_eq!(count, 1, "{line}\n{page}");
    }
    assert!(page.contains("service_info{"), "{page}");
}

/// Both roles' pages, with every family.
fn pages() -> [String; 2] {
    [
        write(Format::Prometheus, whole::director(), Process::default()).unwrap(),
        write(Format::Prometheus, whole::real_server(), Process::default()).unwrap(),
    ]
}

#[test]
fn the_documentation_lists_each_metric() {
    let documentation = include_str!("../../docs/metrics.md");
    let listed =
        documentation.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let listed: BTreeSet<_> = listed.filter(|name| !name.starts_with('/')).collect();
    let pages = pages();
    let written = pages.iter().flat_map(|page| page.lines());
    let written = written.filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    assert_eq!(listed, written.collect());
}

#[test]
fn no_series_comes_twice_and_none_has_no_help() {
    for page in pages() {
        let mut series: Vec<_> = page
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.rsplit_once(' ').unwrap().0)
            .collect();
        let all = series.len();
        series.sort_unstable();
        series.dedup();
        assert_eq!(series.len(), all, "{page}");
        assert_eq!(page.matches("# TYPE").count(), page.matches("# HELP").count());
    }
}

#[test]
fn the_format_is_what_the_client_accepts() {
    for (accept, expected) in [
        ("", Format::Prometheus),
        ("*/*", Format::Prometheus),
        ("text/plain", Format::Prometheus),
        ("application/openmetrics-text", Format::OpenMetrics),
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3",
            Format::OpenMetrics,
        ),
        ("text/plain, application/openmetrics-text; version=1.0.0", Format::OpenMetrics),
        ("application/openmetrics-text;q=0, text/plain", Format::Prometheus),
        ("application/openmetrics-text;q=0.000", Format::Prometheus),
        ("application/openmetrics-texts", Format::Prometheus),
        ("application/openmetrics-text;q=0.1,text/plain;q=0.9", Format::Prometheus),
        ("text/plain;q=0.4,application/openmetrics-text;version=1.0.0;q=0.5", Format::OpenMetrics),
        ("application/openmetrics-text;q=x", Format::Prometheus),
    ] {
        assert_eq!(Format::accepted(accept), expected, "{accept}");
    }
}

/// The documented size of a page of 1,000 services of 20 real servers: at most 20 MB if no real
/// server has a latency yet, at most 50 MB if each has both.
#[test]
fn a_large_page_stays_within_its_bytes() {
    let name = |number: usize| format!("service-{number:04}");
    let one = page().list.services[0].clone();
    let latency = page().list.services[0].reals[2].latency.clone();
    assert!(latency.is_some());
    for (latency, most) in [(None, 20_000_000), (latency, 50_000_000)] {
        let with = |address: String| ListedReal { latency: latency.clone(), ..real(&address) };
        let reals: Vec<_> =
            (0..20).map(|host| with(format!("10.200.100.{}", 100 + host))).collect();
        let services = (0..1_000)
            .map(|number| ListedService { name: name(number), reals: reals.clone(), ..one.clone() })
            .collect();
        let page =
            DirectorPage { list: ServiceList { services, ..ServiceList::default() }, ..page() };
        let text = write(Format::Prometheus, page, Process::default()).unwrap();
        assert!(text.len() < most, "{} bytes", text.len());
    }
}
