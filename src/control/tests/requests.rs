//! Requests: their encoding, and which clients may send them.

use super::*;
use crate::model::Target;

#[test]
fn queries_are_one_line_each_and_decode_to_the_same_value() {
    for (request, line) in [
        (Request::List, r#"{"version":1,"verb":"list"}"#),
        (
            Request::Connections { limit: None, which: Which::default() },
            r#"{"version":1,"verb":"connections"}"#,
        ),
        (
            Request::Connections { limit: Some(5), which: Which::default() },
            r#"{"version":1,"verb":"connections","limit":5}"#,
        ),
        (Request::Stats, r#"{"version":1,"verb":"stats"}"#),
        (Request::Drops, r#"{"version":1,"verb":"drops"}"#),
        (Request::Reload, r#"{"version":1,"verb":"reload"}"#),
        (Request::Status, r#"{"version":1,"verb":"status"}"#),
        (Request::Setup, r#"{"version":1,"verb":"setup"}"#),
        (Request::Probe, r#"{"version":1,"verb":"probe"}"#),
        (Request::Events { since: None, until_now: false }, r#"{"version":1,"verb":"events"}"#),
        (
            Request::Events { since: Some("10m".to_owned()), until_now: true },
            r#"{"version":1,"verb":"events","since":"10m","until_now":true}"#,
        ),
        (
            Request::Explain { flow: "tcp [2001:db8::7]:1 [2001:db8::10]:80".to_owned() },
            r#"{"version":1,"verb":"explain","flow":"tcp [2001:db8::7]:1 [2001:db8::10]:80"}"#,
        ),
        (
            Request::Plan { file: "new.toml".to_owned(), bytes: 12 },
            r#"{"version":1,"verb":"plan","file":"new.toml","bytes":12}"#,
        ),
    ] {
        assert_one_line(&request, line);
    }
}

#[test]
fn changes_are_one_line_each_and_decode_to_the_same_value() {
    for (request, line) in [
        (
            Request::SetWeight { real: which("10.0.0.11", Some("web"), false), weight: 3 },
            r#"{"version":1,"verb":"set-weight","address":"10.0.0.11","service":"web","weight":3}"#,
        ),
        (
            Request::Drain {
                real: which("10.0.0.11", None, true),
                deadline: Some("10m".to_owned()),
            },
            "{\"version\":1,\"verb\":\"drain\",\"address\":\"10.0.0.11\",\
             \"all_services\":true,\"deadline\":\"10m\"}",
        ),
        (
            Request::Enable { real: which("2001:db8::11", None, false) },
            r#"{"version":1,"verb":"enable","address":"2001:db8::11"}"#,
        ),
        (
            Request::AddReal { real: which("10.0.0.11", None, false), weight: None },
            r#"{"version":1,"verb":"add-real","address":"10.0.0.11"}"#,
        ),
        (
            Request::Flush { service: Some("web".to_owned()), address: None, all: false },
            r#"{"version":1,"verb":"flush","service":"web"}"#,
        ),
        (
            Request::Withdraw { address: "192.0.2.10".to_owned() },
            r#"{"version":1,"verb":"withdraw","address":"192.0.2.10"}"#,
        ),
    ] {
        assert_one_line(&request, line);
    }
}

fn assert_one_line(request: &Request, line: &str) {
    assert_eq!(encode(request), format!("{line}\n"));
    assert!(line.contains(&format!(r#""verb":"{}""#, request.verb())), "{line}");
    assert_eq!(&Request::parse(line.as_bytes()).unwrap(), request);
    assert_eq!(&Request::parse(format!("{line}\r\n").as_bytes()).unwrap(), request);
}

fn which(address: &str, service: Option<&str>, all_services: bool) -> Target {
    let (address, service) = (address.to_owned(), service.map(str::to_owned));
    Target { address, service, all_services }
}

#[test]
fn bad_requests_are_refused_with_a_reason() {
    for (line, reason) in [
        (&b""[..], "cannot read the request"),
        (b"\xff\xfe", "cannot read the request"),
        (b"list", "cannot read the request"),
        (b"[]", "cannot read the request"),
        (br#"{"verb":"list"}"#, "missing field `version`"),
        (br#"{"version":-1,"verb":"list"}"#, "cannot read the request"),
        (br#"{"version":2,"verb":"list"}"#, "this daemon speaks version 1, not 2"),
        (br#"{"version":1,"verb":"lisst"}"#, "unknown variant `lisst`"),
        (br#"{"version":1}"#, "missing field `verb`"),
        (br#"{"version":1,"verb":"connections","limit":"a"}"#, "cannot read the request"),
        (br#"{"version":1,"verb":"set-weight","weight":1}"#, "missing field `address`"),
        (br#"{"version":1,"verb":"set-weight","address":"10.0.0.1"}"#, "missing field `weight`"),
        (br#"{"version":1,"verb":"set-weight","address":"10.0.0.1","weight":-1}"#, "-1"),
        (br#"{"version":1,"verb":"plan","file":"f","bytes":16777217}"#, "at most 16777216"),
    ] {
        let error = Request::parse(line).unwrap_err();
        assert!(std::error::Error::source(&error).is_none(), "the cause would be printed twice");
        assert!(error.to_string().contains(reason), "{error}");
    }
    let nested = "[".repeat(MAX_REQUEST_LEN);
    assert!(Request::parse(nested.as_bytes()).is_err());
}

#[test]
fn a_request_of_just_the_bound_is_read_and_one_byte_more_is_not() {
    let mut line = br#"{"version":1,"verb":"list"}"#.to_vec();
    line.resize(MAX_REQUEST_LEN, b' ');
    assert_eq!(Request::parse(&line).unwrap(), Request::List);
    line.push(b' ');
    assert!(matches!(Request::parse(&line), Err(RequestError::TooLong)));
}

#[test]
fn a_text_of_just_the_bound_may_follow_and_one_byte_more_may_not() {
    let plan = |bytes| encode(&Request::Plan { file: String::new(), bytes });
    let fits = Request::parse(plan(MAX_BODY_LEN).as_bytes()).unwrap();
    assert_eq!(fits.body_len(), MAX_BODY_LEN);
    let longer = Request::parse(plan(MAX_BODY_LEN + 1).as_bytes());
    assert!(matches!(longer, Err(RequestError::Body(bytes)) if bytes == MAX_BODY_LEN + 1));
    assert_eq!(Request::List.body_len(), 0);
    assert_eq!(MAX_BODY_LEN, crate::config::MAX_LEN, "what is planned can be reloaded");
}

/// Requests that make a change or cost as much as one.
#[test]
fn verbs_that_are_for_writers() {
    let readers = r#"{"verb":"list"} {"verb":"connections"} {"verb":"stats"} {"verb":"drops"}
        {"verb":"status"} {"verb":"explain","flow":"f"} {"verb":"events"}"#;
    let writers = r#"{"verb":"plan","file":"f","bytes":1} {"verb":"reload"}
        {"verb":"set-weight","address":"a","weight":1} {"verb":"drain","address":"a"}
        {"verb":"enable","address":"a"} {"verb":"disable","address":"a"}
        {"verb":"add-real","address":"a"} {"verb":"remove-real","address":"a"}
        {"verb":"flush","all":true} {"verb":"announce","address":"a"}
        {"verb":"withdraw","address":"a"}"#;
    for (lines, expected) in [(readers, false), (writers, true)] {
        for line in lines.split_whitespace() {
            let line = line.replacen('{', "{\"version\":1,", 1);
            let request = Request::parse(line.as_bytes()).unwrap();
            assert_eq!(request.is_for_writers(), expected, "{line}");
        }
    }
}
