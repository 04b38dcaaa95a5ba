//! The types of checks against servers of this host.

use std::net::UdpSocket;
use std::process::Command;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record};
use hickory_proto::serialize::binary::BinDecodable;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::header::{HeaderMap, HeaderValue};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::*;
use crate::health::load::Reported;
use crate::health::spec::{DnsProbe, ExecProbe, GrpcProbe, HttpVersion, TlsProbe};

fn exec(script: &str) -> Probe {
    let command = ["/bin/sh", "-c", script].map(ToOwned::to_owned).into();
    Probe::Exec(ExecProbe { command, dynamic: false })
}

#[test]
fn a_program_s_exit_code_and_first_line() {
    for (script, passed, detail) in [
        ("exit 0", true, "exit code 0"),
        ("echo all well; echo more", true, "exit code 0: all well"),
        ("echo disk full; exit 1", false, "exit code 1: disk full"),
        ("exit 7", false, "exit code 7"),
        ("kill -9 $$", false, "ended by a signal"),
        ("test $VSTUN_REAL = 127.0.0.1 && test $VSTUN_PORT = 80", true, "exit code 0"),
        // More than a pipe holds.
        ("head -c 1000000 /dev/zero | tr '\\0' x; exit 3", false, "exit code 3: xxxx"),
    ] {
        let found = found(exec(script), 80);
        assert_eq!((found.0, found.1.starts_with(detail)), (passed, true), "{script}: {found:?}");
    }
    let missing = ExecProbe { command: vec!["/nonexistent".to_owned()], dynamic: false };
    let (passed, detail, _) = found(Probe::Exec(missing), 80);
    assert!(!passed && detail.starts_with("/nonexistent cannot be run: No such file"), "{detail}");
}

#[test]
fn a_dynamic_program_s_exit_code_gives_a_weight() {
    let dynamic = |code: u32| {
        let command = ["/bin/sh", "-c", &format!("exit {code}")].map(ToOwned::to_owned).into();
        Probe::Exec(ExecProbe { command, dynamic: true })
    };
    for (code, passed, detail, weight) in [
        (0, true, "exit code 0", Some(None)),
        (1, false, "exit code 1", None),
        (2, true, "exit code 2, weight 0", Some(Some(0))),
        (52, true, "exit code 52, weight 50", Some(Some(50))),
        (255, true, "exit code 255, weight 253", Some(Some(253))),
    ] {
        let timing = Timing { rise: 1, fall: 1, ..PATIENT };
        let found = with_checks(plan(dynamic(code), 80, timing), async |checks, _| {
            let end = Instant::now() + Duration::from_secs(30);
            loop {
                let report = checks.report().await;
                if let Some((_, finding)) =
                    report.checks.first().and_then(|one| one.findings.first())
                {
                    return finding.clone();
                }
                assert!(Instant::now() < end, "no result");
                tokio::task::yield_now().await;
            }
        });
        let reported = weight.map(Reported::Weight);
        let detail = detail.to_owned();
        assert_eq!((found.passed, found.detail, found.reported), (passed, detail, reported));
    }
    let (passed, detail, _) = found(exec("exit 2"), 80);
    assert_eq!((passed, detail.as_str()), (false, "exit code 2"), "not unless it is dynamic");
}

#[test]
fn a_program_that_ignores_its_end_is_killed_with_what_it_has_started() {
    let file = std::env::temp_dir().join(format!("vstun-exec-{}", std::process::id()));
    let script = format!(
        "trap '' TERM INT; sleep 61 & echo $$ $! >{}; while :; do sleep 62; done",
        file.display()
    );
    // A busy machine may not get so far within the two seconds.
    let killed = (0..10).find_map(|_| {
        let (passed, detail, took) = found_late(exec(&script), 80);
        assert!(!passed && detail == "started, then no end within 2s", "{detail}");
        assert!(took < PATIENCE, "{took:?}");
        std::fs::read_to_string(&file).ok().filter(|pids| pids.ends_with('\n'))
    });
    let pids = killed.unwrap();
    std::fs::remove_file(&file).unwrap();
    let runs = |pid: &str| {
        // A killed process is a zombie until its parent waits for it.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    };
    let end = Instant::now() + Duration::from_secs(10);
    while pids.split_whitespace().any(runs) {
        assert!(Instant::now() < end, "still running: {pids}");
        std::thread::yield_now();
    }
}

/// A UDP server that answers each datagram with the datagrams that `answer` returns.
pub(super) fn datagrams(answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> u16 {
    let socket = UdpSocket::bind((HERE, 0)).unwrap();
    let port = socket.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut bytes = [0; 4_096];
        while let Ok((len, client)) = socket.recv_from(&mut bytes) {
            for answer in answer(&bytes[..len]) {
                let _ = socket.send_to(&answer, client);
            }
        }
    });
    port
}

/// No other test gets the port: its socket stays, and takes datagrams of one peer alone.
fn closed_udp_port() -> u16 {
    let socket = UdpSocket::bind((HERE, 0)).unwrap();
    socket.connect((HERE, 1)).unwrap();
    let port = socket.local_addr().unwrap().port();
    std::mem::forget(socket);
    port
}

#[test]
fn a_datagram_and_its_answer() {
    let expecting = |expect: &str| {
        Probe::Udp(UdpProbe { send: "ping".to_owned(), expect: Some(expect.to_owned()) })
    };
    let quiet = || Probe::Udp(UdpProbe { send: "ping".to_owned(), expect: None });
    let echo = || datagrams(|bytes| vec![bytes.to_vec()]);
    let stale = datagrams(|bytes| vec![b"old".to_vec(), bytes.to_vec()]);
    let silent = || datagrams(|_| Vec::new());
    for (what, probe, port, passed, detail) in [
        ("an echo", expecting("^ping$"), echo(), true, "the answer matches"),
        ("a stale one first", expecting("^ping$"), stale, true, "the answer matches"),
        (
            "another",
            expecting("^pong$"),
            echo(),
            false,
            "an answer that does not match, then nothing within 2s",
        ),
        ("silence", expecting("pong"), silent(), false, "sent, then nothing within 2s"),
        ("a closed port", expecting("pong"), closed_udp_port(), false, "port unreachable"),
        ("silence, as it should be", quiet(), silent(), true, "no port unreachable"),
        ("an answer that is not asked for", quiet(), echo(), true, "answered with 4 bytes"),
        ("a closed port again", quiet(), closed_udp_port(), false, "port unreachable"),
    ] {
        let found = found_as(detail, probe, port);
        assert_eq!((found.0, found.1.as_str()), (passed, detail), "{what}");
    }
}

/// A name server that answers with the code and, if that is NOERROR, with 192.0.2.80.
fn name_server(code: ResponseCode) -> u16 {
    datagrams(move |bytes| {
        let question = Message::from_bytes(bytes).unwrap();
        let id = question.metadata.id;
        let mut answer = Message::new(id, MessageType::Response, OpCode::Query);
        answer.metadata.response_code = code;
        answer.add_queries(question.queries.clone());
        if code == ResponseCode::NoError {
            let name = question.queries[0].name().clone();
            answer.add_answer(Record::from_rdata(name, 60, RData::A(A::new(192, 0, 2, 80))));
        }
        // A late answer to another question comes first.
        let mut late = answer.clone();
        late.metadata.id = id.wrapping_add(1);
        vec![late.to_vec().unwrap(), answer.to_vec().unwrap()]
    })
}

#[test]
fn a_question_and_its_answer() {
    let asking = |rcode: &str, answer: Option<&str>| {
        Probe::Dns(DnsProbe {
            query: "www.example".to_owned(),
            record: "A".to_owned(),
            expect_rcode: rcode.to_owned(),
            expect_answer: answer.map(ToOwned::to_owned),
        })
    };
    let good = || name_server(ResponseCode::NoError);
    let address = Some("192.0.2.80");
    let failing = name_server(ResponseCode::ServFail);
    let refusing = name_server(ResponseCode::Refused);
    let silent = datagrams(|_| Vec::new());
    for (what, probe, port, passed, detail) in [
        ("good", asking("NOERROR", None), good(), true, "NOERROR"),
        ("the address", asking("NOERROR", address), good(), true, "NOERROR, 192.0.2.80"),
        (
            "another address",
            asking("NOERROR", Some("192.0.2.81")),
            good(),
            false,
            "192.0.2.80, expected 192.0.2.81",
        ),
        ("a failure", asking("NOERROR", None), failing, false, "SERVFAIL, expected NOERROR"),
        ("an expected failure", asking("REFUSED", None), refusing, true, "REFUSED"),
        ("a closed port", asking("NOERROR", None), closed_udp_port(), false, "port unreachable"),
        ("silence", asking("NOERROR", None), silent, false, "asked, then nothing within 2s"),
    ] {
        let found = found_as(detail, probe, port);
        assert_eq!((found.0, found.1.as_str()), (passed, detail), "{what}");
    }
    let garbage = datagrams(|_| vec![vec![0xff; 40]]);
    let (passed, detail, _) = found_late(asking("NOERROR", None), garbage);
    assert!(!passed, "{detail}");
}

/// A server that has answered before it reads the request.
#[test]
fn an_answer_before_the_question_counts() {
    let busy = server(|mut stream| {
        stream.write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        while stream.read(&mut [0; 512]).is_ok_and(|read| read > 0) {}
    });
    for _ in 0..20 {
        let (passed, detail, _) = found(Probe::Http(http()), busy);
        assert_eq!((passed, detail.as_str()), (false, "status 503"));
    }
}

type Served =
    hyper::Response<http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>>;

/// Serves HTTP/2: `answer` makes the response from each request and its body.
fn http2_server(answer: impl Fn(&hyper::Uri, &[u8]) -> Served + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind((HERE, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let answer = Arc::clone(&answer);
                let service = hyper::service::service_fn(
                    move |request: hyper::Request<hyper::body::Incoming>| {
                        let answer = Arc::clone(&answer);
                        async move {
                            let uri = request.uri().clone();
                            let body = request.into_body().collect().await?.to_bytes();
                            Ok::<_, hyper::Error>(answer(&uri, &body))
                        }
                    },
                );
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let connection = builder.serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move { drop(connection.await) });
            }
        });
    });
    port
}

/// Answers with this message and this status of gRPC.
fn grpc_server(message: &'static [u8], status: &'static str) -> u16 {
    http2_server(move |uri, asked| {
        assert_eq!(uri.path(), "/grpc.health.v1.Health/Check");
        assert_eq!(asked, b"\0\0\0\0\x06\n\x04cart");
        let mut bytes = vec![0, 0, 0, 0, u8::try_from(message.len()).unwrap()];
        bytes.extend_from_slice(message);
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static(status));
        let frames = [Frame::data(Bytes::from(bytes)), Frame::trailers(trailers)];
        let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok)));
        hyper::Response::new(body.boxed())
    })
}

/// HTTP/2 by prior knowledge.
#[test]
fn http_2_without_tls() {
    let port = http2_server(|uri, _| {
        let text = format!("{} {}", uri.path(), uri.host().unwrap());
        hyper::Response::new(Full::new(Bytes::from(text)).boxed())
    });
    let http = HttpProbe {
        version: HttpVersion::Http2,
        path: "/health".to_owned(),
        host: Some("www.example".to_owned()),
        expect_body: Some("^/health www.example$".to_owned()),
        ..http()
    };
    let (passed, detail, _) = found(Probe::Http(http), port);
    assert!(passed, "{detail}");
}

#[test]
fn the_status_of_a_grpc_server() {
    let probe = || Probe::Grpc(GrpcProbe { service: "cart".to_owned(), tls: None });
    for (message, status, passed, detail) in [
        (&b"\x08\x01"[..], "0", true, "SERVING"),
        (b"\x08\x02", "0", false, "NOT_SERVING"),
        (b"\x08\x03", "0", false, "SERVICE_UNKNOWN"),
        (b"", "0", false, "UNKNOWN"),
        (b"\x08\x80\x01", "0", false, "UNKNOWN"),
        (b"", "5", false, "the server does not know the service"),
        (b"", "12", false, "the server has no grpc.health.v1"),
        (b"", "14", false, "grpc status 14"),
    ] {
        let port = grpc_server(message, status);
        let (found, said, _) = found(probe(), port);
        assert_eq!((found, said.as_str()), (passed, detail), "{message:?} {status}");
    }
    let (passed, detail, _) = found(probe(), answering(b"HTTP/1.1 200 OK\r\n\r\n"));
    assert!(!passed, "{detail}");
}

/// It takes the connection, and nothing more comes from it.
#[test]
fn tls_that_never_finishes_costs_no_more_than_the_timeout() {
    let silent = server(|stream| {
        std::thread::sleep(2 * PATIENCE);
        drop(stream);
    });
    let grpc = GrpcProbe { service: String::new(), tls: Some(TlsProbe::new()) };
    let tls = TlsProbe { verify: false, ..TlsProbe::new() };
    let https = HttpProbe { tls: Some(tls.clone()), ..http() };
    for probe in [Probe::Tls(tls), Probe::Http(https), Probe::Grpc(grpc)] {
        let name = probe.name();
        let (passed, said, took) = found_late(probe, silent);
        let detail = "connected, then no end of the handshake within 2s";
        assert_eq!((passed, said.as_str()), (false, detail), "{name}");
        assert!(took < PATIENCE, "{name}: {took:?}");
    }
}

#[test]
fn an_echo_request_is_answered_where_raw_sockets_are_allowed() {
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let (passed, detail, _) = found(Probe::Icmp, 0);
    assert_eq!(passed, root, "{detail}");
}
