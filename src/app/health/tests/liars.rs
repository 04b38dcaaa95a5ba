//! Servers whose answers contradict themselves or the question, of each type of check.

use std::net::Shutdown;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinDecodable;

use super::kinds::datagrams;
use super::*;
use crate::health::spec::{DnsProbe, GrpcProbe};

/// Reads what comes first, answers, and closes when the other end does.
pub(super) fn telling(answer: Vec<u8>) -> u16 {
    server(move |mut stream| {
        let _ = stream.read(&mut [0; 4_096]);
        let _ = stream.write_all(&answer);
        let _ = stream.shutdown(Shutdown::Write);
        while stream.read(&mut [0; 4_096]).is_ok_and(|read| read > 0) {}
    })
}

#[test]
fn only_the_first_answer_of_http_counts_and_only_as_long_as_it_says() {
    let well = || HttpProbe { expect_body: Some("well".to_owned()), ..http() };
    let second = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwell";
    for (answer, http, detail) in [
        (format!("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n{second}"), http(), "status 503"),
        (
            format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsick{second}"),
            well(),
            "status 200, the body does not match (4 bytes read)",
        ),
        (
            format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\n\r\n{second}"),
            http(),
            "status 503",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nwell\r\nwell".to_owned(),
            well(),
            "status 200, the body does not match (0 bytes read)",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 8\r\n\r\nwell".to_owned(),
            well(),
            "no answer of HTTP",
        ),
        (
            "HTTP/9.1 200 OK\r\nContent-Length: 4\r\n\r\nwell".to_owned(),
            http(),
            "no answer of HTTP",
        ),
    ] {
        let (passed, said, _) = found(Probe::Http(http), telling(answer.clone().into_bytes()));
        assert!(!passed && said.starts_with(detail), "{answer:?}: {said}");
    }
}

#[test]
fn interim_answers_without_end_are_read_no_further_than_the_bound() {
    let port = server(|mut stream| {
        let _ = stream.read(&mut [0; 1_024]);
        while stream.write_all(&b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100)).is_ok() {}
    });
    let (passed, said, _) = found(Probe::Http(http()), port);
    let detail = "connection error: the answer has not ended after 524288 bytes";
    assert_eq!((passed, said.as_str()), (false, detail));
}

/// What an answer of DNS is about.
#[derive(Clone, Copy, Debug)]
enum About {
    /// The question.
    It,
    /// The question in capital letters, as some resolvers send it.
    Capitals,
    /// Another name.
    Another,
    /// Another type of record.
    AnotherType,
    /// No question.
    Nothing,
    /// Not an answer, but the question itself.
    Echo,
}

fn name_server(code: ResponseCode, about: About) -> u16 {
    datagrams(move |bytes| {
        let asked = Message::from_bytes(bytes).unwrap();
        let name = Name::from_ascii(match about {
            About::Capitals => "WWW.Example.",
            About::Another => "other.example.",
            _ => "www.example.",
        });
        let kind = match about {
            About::AnotherType => RecordType::AAAA,
            _ => RecordType::A,
        };
        let query = Query::query(name.unwrap(), kind);
        let message =
            if matches!(about, About::Echo) { MessageType::Query } else { MessageType::Response };
        let mut answer = Message::new(asked.metadata.id, message, OpCode::Query);
        answer.metadata.response_code = code;
        if !matches!(about, About::Nothing) {
            answer.add_query(query.clone());
        }
        answer.add_answer(Record::from_rdata(query.name, 60, RData::A(A::new(192, 0, 2, 80))));
        vec![answer.to_vec().unwrap()]
    })
}

#[test]
fn an_answer_of_dns_to_another_question_counts_for_nothing() {
    use ResponseCode::{NoError, Refused};
    let other = "an answer to another question, then nothing within 2s";
    for (code, about, passed, detail) in [
        (NoError, About::It, true, "NOERROR, 192.0.2.80"),
        (NoError, About::Capitals, true, "NOERROR, 192.0.2.80"),
        (NoError, About::Another, false, other),
        (NoError, About::AnotherType, false, other),
        (NoError, About::Nothing, false, other),
        (NoError, About::Echo, false, other),
        (Refused, About::Nothing, false, "REFUSED, expected NOERROR"),
        (Refused, About::Another, false, other),
    ] {
        let probe = Probe::Dns(DnsProbe {
            query: "www.example".to_owned(),
            record: "A".to_owned(),
            expect_rcode: "NOERROR".to_owned(),
            expect_answer: Some("192.0.2.80".to_owned()),
        });
        let found = found_as(detail, probe, name_server(code, about));
        assert_eq!((found.0, found.1.as_str()), (passed, detail), "{code} {about:?}");
    }
}

/// A server's text is in logs, listings and the environment of hooks.
#[test]
fn a_result_is_one_line_of_bounded_length_whatever_a_server_sends() {
    let port = datagrams(|bytes| {
        let asked = Message::from_bytes(bytes).unwrap();
        let query = asked.queries[0].clone();
        let mut answer = Message::new(asked.metadata.id, MessageType::Response, OpCode::Query);
        answer.add_query(query.clone());
        let text = "\x1b[2J\nroot: down".repeat(10);
        let data = RData::TXT(TXT::new(vec![text; 10]));
        answer.add_answer(Record::from_rdata(query.name, 60, data));
        vec![answer.to_vec().unwrap()]
    });
    let probe = Probe::Dns(DnsProbe {
        query: "www.example".to_owned(),
        record: "TXT".to_owned(),
        expect_rcode: "NOERROR".to_owned(),
        expect_answer: Some("well".to_owned()),
    });
    let (passed, detail, _) = found(probe, port);
    assert!(!passed && detail.contains("root: down"), "{detail}");
    assert!(!detail.contains(char::is_control), "{detail:?}");
    assert_eq!(detail.chars().count(), 200);
}

/// A frame of HTTP/2 (RFC 9113 4.1).
pub(super) fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).unwrap();
    [&[0, 0, len, kind, flags, 0, 0, 0, stream], payload].concat()
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GO_AWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

#[test]
fn an_answer_of_grpc_has_a_whole_message_and_a_status() {
    let (serving, not_serving) = (b"\0\0\0\0\x02\x08\x01", b"\0\0\0\0\x02\x08\x02");
    let start = [frame(SETTINGS, 0, 0, b""), frame(HEADERS, END_HEADERS, 1, b"\x88")].concat();
    let status = frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\0\x0bgrpc-status\x010");
    let goes = frame(GO_AWAY, 0, 0, &[0; 8]);
    let data = |bytes: &[u8], flags| frame(DATA, flags, 1, bytes);
    for (what, rest, passed, detail) in [
        ("well", [data(serving, 0), status.clone()].concat(), true, "SERVING"),
        (
            "not serving, and closes",
            [data(not_serving, 0), status.clone(), goes.clone()].concat(),
            false,
            "NOT_SERVING",
        ),
        ("closes without a status", data(serving, 0), false, "no answer of gRPC: "),
        (
            "goes without a status",
            [data(serving, 0), goes].concat(),
            false,
            "an answer without a grpc status",
        ),
        ("no status", data(serving, END_STREAM), false, "an answer without a grpc status"),
        (
            "longer than it says",
            [data(b"\0\0\0\0\0\x08\x01", 0), status.clone()].concat(),
            false,
            "UNKNOWN",
        ),
        (
            "shorter than it says",
            [data(b"\0\0\0\0\x09\x08\x01", 0), status.clone()].concat(),
            false,
            "UNKNOWN",
        ),
        (
            "compressed",
            [data(b"\x01\0\0\0\x02\x08\x01", 0), status.clone()].concat(),
            false,
            "UNKNOWN",
        ),
        (
            "two of them",
            [data(not_serving, 0), data(serving, 0), status].concat(),
            false,
            "UNKNOWN",
        ),
    ] {
        let probe = Probe::Grpc(GrpcProbe { service: String::new(), tls: None });
        let found = found(probe, telling([start.clone(), rest].concat()));
        assert!(found.0 == passed && found.1.starts_with(detail), "{what}: {found:?}");
    }
}

/// As with HAProxy, words that an agent may not say are ignored.
#[test]
fn an_agent_s_nonsense_is_no_report() {
    for (line, passed, detail) in [
        (&b"\xff\xfe\x00nonsense\n"[..], true, "nonsense"),
        (b"ready up 50%\nmaint\n", true, "ready up 50%"),
        (b"\n50%\n", true, ""),
        (b" 50%\r\n", true, " 50%"),
        (b"{}\n", false, "no report: "),
        (b"{\"state\": \"sideways\"}\n", false, "no report: "),
        (b"{\"state\": \"up\", \"established\": -1}\n", false, "no report: "),
        (b"{\"state\": \"up\"", false, "incomplete line: closed before its newline"),
        (b"50%", false, "incomplete line: closed before its newline"),
        (b"", false, "closed without an answer"),
        (&[b'x'; 70_000], false, "its line is longer than 65536 bytes"),
    ] {
        let found = found(Probe::Agent, telling(line.to_vec()));
        let shown = String::from_utf8_lossy(line.get(..40).unwrap_or(line));
        assert!(found.0 == passed && found.1.contains(detail), "{shown:?}: {found:?}");
    }
    let pieces = server(|mut stream| {
        for piece in [b"5", b"0", b"%", b"\n"] {
            let _ = stream.write_all(piece);
            std::thread::sleep(Duration::from_millis(20));
        }
        while stream.read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
    });
    let (passed, detail, _) = found(Probe::Agent, pieces);
    assert_eq!((passed, detail.as_str()), (true, "50%"));
    let open = server(|mut stream| {
        let _ = stream.write_all(b"50%");
        while stream.read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
    });
    let (passed, detail, _) = found_late(Probe::Agent, open);
    let late = "answered, then no end of its line within 2s";
    assert_eq!((passed, detail.as_str()), (false, late));
    let endless = server(|mut stream| while stream.write_all(b"up ").is_ok() {});
    let (passed, detail, _) = found(Probe::Agent, endless);
    assert_eq!((passed, detail.as_str()), (false, "its line is longer than 65536 bytes"));
}
