//! Servers that end their connections in odd ways, and answers at the edges of what is expected.

use std::net::Shutdown;

use socket2::SockRef;

use super::*;
use crate::health::spec::{GrpcProbe, HttpVersion, TlsProbe};

/// Reads the request, writes this, and resets the connection.
fn resetting(answer: &'static [u8]) -> u16 {
    server(move |mut stream| {
        let _ = stream.read(&mut [0; 4_096]);
        let _ = stream.write_all(answer);
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    })
}

/// Writes this, and closes its half of the connection before the request.
fn half_closed(answer: &'static [u8]) -> u16 {
    server(move |mut stream| {
        let _ = stream.write_all(answer);
        let _ = stream.shutdown(Shutdown::Write);
        while stream.read(&mut [0; 4_096]).is_ok_and(|read| read > 0) {}
    })
}

#[test]
fn connections_that_end_in_odd_ways() {
    let tls = TlsProbe { verify: false, ..TlsProbe::new() };
    let https = Probe::Http(HttpProbe { tls: Some(tls.clone()), ..http() });
    let grpc = Probe::Grpc(GrpcProbe { service: String::new(), tls: None });
    let plain = Probe::Http(http());
    // An alert, "handshake failure", in place of the server's hello.
    let alert = b"\x15\x03\x03\x00\x02\x02\x28";
    let rows: [(&str, Probe, u16, &[&str]); 9] = [
        (
            "reset by http",
            plain.clone(),
            resetting(b""),
            &["connection reset", "connection closed before"],
        ),
        (
            "reset in the head",
            plain.clone(),
            resetting(b"HTTP/1.1 2"),
            &["connection reset", "connection closed before"],
        ),
        ("a banner", plain.clone(), half_closed(b"220 mail\r\n"), &["no answer of HTTP"]),
        ("half closed", plain, half_closed(b""), &["connection closed before the answer"]),
        ("alert", Probe::Tls(tls.clone()), answering(alert), &["TLS: received fatal alert"]),
        ("alert to https", https.clone(), answering(alert), &["TLS: received fatal alert"]),
        ("http, not https", https, answering(b"HTTP/1.1 400 No\r\n\r\n"), &["TLS: "]),
        (
            "closed in the handshake",
            Probe::Tls(tls),
            answering(b""),
            &["TLS: ", "connection reset"],
        ),
        ("no grpc", grpc, half_closed(b""), &["connection", "http2", "no answer"]),
    ];
    for (what, probe, port, details) in rows {
        let (passed, detail, _) = found(probe, port);
        let right = details.iter().any(|one| detail.contains(one));
        assert!(!passed && right, "{what}: {detail}");
    }
}

#[test]
fn answers_of_http_at_the_edges() {
    let statuses = |first, last| HttpProbe {
        expect_status: vec![
            StatusRange { first: 100, last: 100 },
            StatusRange { first, last },
            StatusRange { first: 599, last: 599 },
        ],
        ..http()
    };
    for (status, passed) in
        [(200, false), (201, true), (299, true), (300, false), (598, false), (599, true)]
    {
        let answer = format!("HTTP/1.1 {status} Hm\r\nContent-Length: 0\r\n\r\n").leak();
        let found = found(Probe::Http(statuses(201, 299)), answering(answer.as_bytes()));
        assert_eq!((found.0, found.1), (passed, format!("status {status}")));
    }
    let body = |pattern: &str| HttpProbe { expect_body: Some(pattern.to_owned()), ..http() };
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n\
                    4\r\nall \r\n4;a=b\r\nwell\r\n0\r\nX: y\r\n\r\n";
    let interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
                    HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nall well";
    let redirect = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n";
    let headers = |count: usize| {
        let mut text = "HTTP/1.1 200 OK\r\n".to_owned();
        (0..count).for_each(|one| text += &format!("X-{one}: y\r\n"));
        &*(text + "\r\n").leak()
    };
    let long = |len: usize| &*format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(len)).leak();
    let rows: [(&str, HttpProbe, &'static [u8], bool, &str); 8] = [
        ("chunks and a trailer", body("^all well$"), chunked, true, "matches"),
        ("interim answers", body("^all well$"), interim, true, "matches"),
        ("a redirect is an answer", http(), redirect, true, "status 302"),
        ("no redirect is followed", statuses(200, 200), redirect, false, "status 302"),
        ("as many headers as are read", http(), headers(100).as_bytes(), true, "status 200"),
        ("one more", http(), headers(101).as_bytes(), false, "no answer of HTTP"),
        ("a long header", http(), long(100_000).as_bytes(), true, "status 200"),
        ("a longer one", http(), long(600_000).as_bytes(), false, ""),
    ];
    for (what, http, answer, passed, detail) in rows {
        let found = found(Probe::Http(http), answering(answer));
        assert!(found.0 == passed && found.1.contains(detail), "{what}: {found:?}");
    }
}

/// The first 65,536 bytes of a body are matched, and no more.
#[test]
fn the_last_byte_of_a_body_that_is_matched_and_the_first_that_is_not() {
    for (before, passed) in [(65_532, true), (65_533, false), (65_536, false)] {
        let mut answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        answer.extend(b".".repeat(before));
        answer.extend_from_slice(b"well");
        let http = HttpProbe { expect_body: Some("well".to_owned()), ..http() };
        let (found, detail, _) = found(Probe::Http(http), answering(answer.leak()));
        assert_eq!(found, passed, "after {before} bytes: {detail}");
    }
}

/// The lines of the request that the probe sends to this port, in order, without its user agent.
fn request_of(http: HttpProbe, listener: &TcpListener) -> Vec<String> {
    let port = listener.local_addr().unwrap().port();
    std::thread::scope(|scope| {
        let request = scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = [0; 4_096];
            let len = stream.read(&mut bytes).unwrap();
            let _ = stream.write_all(b"HTTP/1.1 204 Well\r\n\r\n");
            let text = String::from_utf8(bytes[..len].to_vec()).unwrap().to_ascii_lowercase();
            let lines = text.lines().map(ToOwned::to_owned);
            let mut lines: Vec<String> = lines
                .filter(|line| !line.is_empty() && !line.starts_with("user-agent: "))
                .collect();
            lines[1..].sort_unstable();
            lines
        });
        let checks = plan(Probe::Http(http), port, PATIENT).checks;
        let found = with_checks(Plan::default(), async |thread, _| thread.probe(checks).await);
        assert!(found[0].passed, "{found:?}");
        request.join().unwrap()
    })
}

#[test]
fn a_request_has_what_is_configured() {
    let listener = TcpListener::bind((HERE, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let own = format!("host: {address}");
    let plain = request_of(http(), &listener);
    assert_eq!(plain, ["get / http/1.1", "connection: close", &own]);
    let configured = HttpProbe {
        method: "HEAD".to_owned(),
        path: "/health?a=b".to_owned(),
        host: Some("www.example".to_owned()),
        headers: vec![("X-Check".to_owned(), "yes".to_owned())],
        version: HttpVersion::Http10,
        ..http()
    };
    assert_eq!(
        request_of(configured, &listener),
        ["head /health?a=b http/1.0", "connection: close", "host: www.example", "x-check: yes"]
    );
    let agent = HttpProbe { headers: vec![("User-Agent".to_owned(), "x".to_owned())], ..http() };
    assert_eq!(request_of(agent, &listener).len(), 3, "in place of the usual one");
}
