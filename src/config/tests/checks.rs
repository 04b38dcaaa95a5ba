//! The bounds of health checks: the largest value is accepted, one more is refused.

use std::fmt::Write as _;
use std::time::Duration;

use crate::config;
use crate::config::check::MAX_CHECKS_PER_SERVICE;
use crate::health::Timing;

use super::bounds::{takes, with_key};

/// A service with these keys, and a check with those.
fn service(keys: &str, check: &str) -> String {
    with_key("") + keys + "\n[[service.check]]\n" + check
}

/// Whether a check of that type with those keys is accepted.
#[track_caller]
fn takes_check(kind: &str, keys: &str, refusal: &str) -> bool {
    takes(&service("", &format!("type = \"{kind}\"\nport = 9000\n{keys}")), refusal)
}

/// A text of this length is accepted, a longer one refused.
#[track_caller]
fn longest(kind: &str, text: impl Fn(usize) -> String, most: usize, refusal: &str) {
    assert!(takes_check(kind, &text(most), ""), "{most}");
    assert!(!takes_check(kind, &text(most + 1), refusal), "{}", most + 1);
}

#[test]
fn how_many_checks_a_service_has() {
    let checks = |count: usize| {
        let mut text = with_key("");
        for port in 1..=count {
            write!(text, "[[service.check]]\ntype = \"tcp\"\nport = {port}\n").unwrap();
        }
        text
    };
    assert!(takes(&checks(MAX_CHECKS_PER_SERVICE), ""));
    assert!(!takes(&checks(MAX_CHECKS_PER_SERVICE + 1), "17 checks"));
}

#[test]
fn the_line_advised_for_a_service_without_checks_is_accepted() {
    for (listen, kind) in [("80/tcp", "tcp"), ("53/udp", "icmp"), ("80-90/tcp", "icmp")] {
        let service = format!("[[service]]\nname = \"a\"\nlisten = [\"192.0.2.1:{listen}\"]\n");
        let without = config::director(&format!("[director]\n{service}")).unwrap();
        let line = config::ServiceHealth::advice(&without.services[0].spec);
        // Below `[[service]]`, which the warning names.
        let (first, rest) = service.split_once('\n').unwrap();
        let advised = config::director(&format!("[director]\n{first}\n{line}\n{rest}")).unwrap();
        let [check] = &advised.services[0].health.checks[..] else { panic!("{line}") };
        assert_eq!(check.probe.name(), kind);
    }
}

#[test]
fn texts_of_a_request() {
    let host = |len: usize| format!("host = \"{}\"", "x.".repeat(len.div_ceil(2)).split_at(len).0);
    longest("http", |len| format!("path = \"/{}\"", "x".repeat(len - 1)), 2_048, "2049 bytes long");
    longest("http", host, 253, "is not a host name");
    longest("http", |len| format!("host = \"{}\"", "x".repeat(len)), 63, "is not a host name");
    longest(
        "http",
        |len| format!("expect_body = \"{}\"", "x".repeat(len)),
        4_096,
        "4097 bytes long",
    );
    // The compiled pattern exceeds the bound of its size.
    assert!(!takes_check("http", "expect_body = \"(\\\\w{1000}){50}\"", "exceeds size limit"));
    longest("http", |len| format!("method = \"{}\"", "X".repeat(len)), 32, "is not a method");
    let statuses = |len: usize| format!("expect_status = [{}]", "200, ".repeat(len));
    longest("http", statuses, 64, "65 elements");
    let headers = |len: usize| {
        let headers: Vec<String> = (0..len).map(|number| format!("X-{number} = \"y\"")).collect();
        format!("headers = {{ {} }}", headers.join(", "))
    };
    longest("http", headers, 32, "33 headers");
}

#[test]
fn texts_of_other_types() {
    longest("tls", |len| format!("sni = \"{}\"", "x".repeat(len)), 63, "is not a name");
    longest(
        "tls",
        |len| format!("ca = \"/{}\"", "x".repeat(len - 1)),
        2_048,
        "is not an absolute path",
    );
    longest("udp", |len| format!("send = \"{}\"", "x".repeat(len)), 1_024, "1025 bytes long");
    longest(
        "grpc",
        |len| format!("grpc_service = \"{}\"", "x".repeat(len)),
        253,
        "is not a service name",
    );
    let name = |len: usize| format!("query = \"{}\"", "x.".repeat(len.div_ceil(2)).split_at(len).0);
    longest("dns", name, 253, "is not a domain name");
    longest(
        "dns",
        |len| format!("query = \"{}.example\"", "x".repeat(len)),
        63,
        "is not a domain name",
    );
    let answer =
        |len| format!("query = \"a\"\nrecord = \"TXT\"\nexpect_answer = \"{}\"", "x".repeat(len));
    longest("dns", answer, 2_048, "is not data of an answer");
    let words = |len: usize| format!("command = [{}]", "\"/x\", ".repeat(len));
    longest("exec", words, 64, "65 words");
    let word = |len| format!("command = [\"/x\", \"{}\"]", "x".repeat(len));
    longest("exec", word, 2_048, "is not an argument of a program");
}

#[test]
fn hosts_and_paths_that_a_request_can_have() {
    for (key, text, refusal) in [
        ("host", "www.example", ""),
        ("host", "www.example:8080", ""),
        ("host", "192.0.2.80:80", ""),
        ("host", "[2001:db8::80]", ""),
        ("host", "[2001:db8::80]:443", ""),
        ("host", "a_b.example.", ""),
        ("host", "2001:db8::80", "is not a host name"),
        ("host", "[2001:db8::80", "is not a host name"),
        ("host", "[www.example]", "is not a host name"),
        ("host", "[2001:db8::80]80", "is not a host name"),
        ("host", "www.example:", "is not a host name"),
        ("host", "www.example:0", "is not a host name"),
        ("host", "www.example:+80", "is not a host name"),
        ("host", "www.example:65536", "is not a host name"),
        ("host", "www..example", "is not a host name"),
        ("host", "www-.example", "is not a host name"),
        ("host", "-www.example", "is not a host name"),
        ("host", "192.0.2", "is not a host name"),
        ("host", "192.0.2.256", "is not a host name"),
        ("host", "www.0x7f", "is not a host name"),
        ("path", "/a?b=c&d", ""),
        ("path", "/a<b", "is not a request path"),
        ("path", "/a?b=`c`", "is not a request path"),
        ("path", "*", "is for method OPTIONS"),
    ] {
        let keys = format!("{key} = \"{text}\"");
        assert_eq!(takes_check("https", &keys, refusal), refusal.is_empty(), "{keys}");
    }
    let options = "method = \"OPTIONS\"\npath = \"*\"\n";
    assert!(takes_check("http", options, ""));
    let http2 = format!("{options}http_version = \"2\"");
    assert!(!takes_check("http", &http2, "is for method OPTIONS in HTTP/1"));
}

#[test]
fn times_and_counts() {
    for key in ["interval", "fast_interval", "timeout"] {
        let with = |value: &str| match key {
            "fast_interval" => format!("interval = \"1d\"\n{key} = \"{value}\""),
            _ => format!("{key} = \"{value}\""),
        };
        assert!(
            takes_check("tcp", &with("10ms"), "") && takes_check("tcp", &with("1d"), ""),
            "{key}"
        );
        assert!(!takes_check("tcp", &with("9ms"), "out of range"), "{key}");
        assert!(!takes_check("tcp", &with("1d1ms"), "out of range"), "{key}");
    }
    // A running probe delays the next one, so `timeout` may be longer than `interval`.
    assert!(takes_check("tcp", "interval = \"1s\"\ntimeout = \"5s\"", ""));
    for key in ["rise", "fall"] {
        let with = |count: u32| format!("{key} = {count}");
        assert!(
            takes_check("tcp", &with(1), "") && takes_check("tcp", &with(Timing::MAX_COUNT), "")
        );
        assert!(!takes_check("tcp", &with(0), "out of range"));
        assert!(!takes_check("tcp", &with(Timing::MAX_COUNT + 1), "out of range"));
    }
}

#[test]
fn an_address_of_an_answer_is_of_its_record_and_written_as_answers_show_it() {
    let dns = |record: &str, answer: &str| {
        format!("query = \"a\"\nrecord = \"{record}\"\nexpect_answer = \"{answer}\"")
    };
    assert!(!takes_check("dns", &dns("AAAA", "192.0.2.80"), "is not an IPv6 address"));
    assert!(!takes_check("dns", &dns("A", "www"), "is not an IPv4 address"));
    let text =
        service("", &format!("type = \"dns\"\nport = 53\n{}", dns("AAAA", "2001:DB8:0::80")));
    let director = config::director(&text).unwrap();
    let crate::health::Probe::Dns(dns) = &director.services[0].health.checks[0].probe else {
        panic!("no check of type dns");
    };
    assert_eq!(dns.expect_answer.as_deref(), Some("2001:db8::80"));
}

#[test]
fn a_quorum_that_the_weights_do_not_reach() {
    for (keys, weights, short) in [
        ("", [0, 0], None),
        ("quorum = 5", [2, 3], None),
        ("quorum = 5", [2, 2], Some(4)),
        ("quorum = 4\nquorum_hysteresis = 1", [2, 2], Some(4)),
        ("quorum = 3\nquorum_hysteresis = 1", [2, 2], None),
    ] {
        let real = |(host, weight): (usize, &u32)| {
            format!("[[service.real]]\naddress = \"10.0.0.{}\"\nweight = {weight}\n", host + 1)
        };
        let reals: String = weights.iter().enumerate().map(real).collect();
        let text = format!(
            "[director]\n[[service]]\nname = \"a\"\nlisten = [\"192.0.2.1:80/tcp\"]\n\
             fallback_real = \"10.0.0.9\"\n{keys}\n{reals}"
        );
        let config = config::director(&text).unwrap();
        let service = &config.services[0];
        assert_eq!(service.health.short_of_quorum(&service.spec), short, "{keys} {weights:?}");
    }
}

#[test]
fn times_and_statuses_of_a_check_at_their_bounds() {
    for (keys, refusal) in [
        ("interval = \"1s\"\nfast_interval = \"1s\"", ""),
        ("interval = \"1s\"\nfast_interval = \"1001ms\"", "is above interval"),
        ("expect_status = [100, 599, \"100-599\", \"204-204\"]", ""),
        ("expect_status = [\"599-600\"]", "is not a status"),
        ("expect_status = [\"99-100\"]", "is not a status"),
        ("expect_status = [\"205-204\"]", "is not a status"),
    ] {
        assert_eq!(takes_check("http", keys, refusal), refusal.is_empty(), "{keys}");
    }
    // The fast interval that is not written is no longer than the interval.
    for (interval, fast) in [(100, 100), (200, 200), (201, 200)] {
        let text = service("", &format!("type = \"http\"\ninterval = \"{interval}ms\""));
        let timing = config::director(&text).unwrap().services[0].health.checks[0].timing;
        assert_eq!(timing.fast_interval, Duration::from_millis(fast), "{interval}");
    }
}

#[test]
fn rules_of_a_service_at_their_bounds() {
    let check = "type = \"http\"";
    for (keys, refusal) in [
        ("panic = \"1%\"", ""),
        ("panic = \"100%\"", ""),
        ("panic = \"0%\"", "is not a share"),
        ("panic = \"101%\"", "is not a share"),
        ("quorum = 3\nquorum_hysteresis = 2", ""),
        ("quorum = 3\nquorum_hysteresis = 3", "is not below quorum"),
    ] {
        assert_eq!(takes(&service(keys, check), refusal), refusal.is_empty(), "{keys}");
    }
}
