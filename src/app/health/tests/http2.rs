//! Connections of HTTP/2 end with their probes, whatever the server does.

use std::sync::mpsc;

use socket2::{Domain, Socket, Type};

use super::liars::{frame, telling};
use super::*;
use crate::health::spec::{GrpcProbe, HttpVersion};

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
/// The answer has its end and all of its headers.
const WHOLE: u8 = 1 | 4;

/// A server whose connections have packets and windows as small as through a tunnel, and whether
/// each of its connections has ended.
fn narrow(serve: impl Fn(TcpStream) + Send + 'static) -> (u16, mpsc::Receiver<()>) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_tcp_mss(536).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.bind(&std::net::SocketAddr::new(HERE, 0).into()).unwrap();
    socket.listen(8).unwrap();
    let listener = TcpListener::from(socket);
    let port = listener.local_addr().unwrap().port();
    let (ended, ends) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            serve(stream.unwrap());
            let _ = ended.send(());
        }
    });
    (port, ends)
}

/// What a server does with a connection.
type ServesConnection = Box<dyn Fn(TcpStream) + Send>;

/// Writes this again and again, and reads nothing, until the other end is gone.
fn floods(frame: &[u8]) -> impl Fn(TcpStream) + use<> {
    let many = frame.repeat(1_000);
    move |mut stream| while stream.write_all(&many).is_ok() {}
}

#[test]
fn a_connection_ends_with_its_probe() {
    let grpc = || Probe::Grpc(GrpcProbe { service: String::new(), tls: None });
    let http2 = || Probe::Http(HttpProbe { version: HttpVersion::Http2, ..http() });
    let silent = |mut stream: TcpStream| while stream.read(&mut [0; 512]).is_ok_and(|n| n > 0) {};
    let start = frame(SETTINGS, 0, 0, b"");
    let goes = [start.clone(), frame(GO_AWAY, 0, 0, &[0; 8])].concat();
    let servers: [(&str, ServesConnection); 4] = [
        ("silent", Box::new(silent)),
        ("goes away at once", {
            Box::new(move |mut stream: TcpStream| {
                let _ = stream.write_all(&goes);
                silent(stream);
            })
        }),
        ("pings", Box::new(floods(&[start.clone(), frame(PING, 0, 0, &[0; 8])].concat()))),
        ("settings", Box::new(floods(&start))),
    ];
    for (what, serve) in servers {
        let (port, ends) = narrow(serve);
        for probe in [grpc(), http2()] {
            let timing = Timing { timeout: Duration::from_secs(1), ..Timing::DEFAULT };
            let check = plan(probe, port, timing).checks;
            with_checks(Plan::default(), async |checks, _| {
                let found = checks.probe(check).await;
                assert!(!found[0].passed, "{what}: {found:?}");
                // The checks' thread runs on.
                assert!(ends.recv_timeout(PATIENCE).is_ok(), "{what} goes on: {found:?}");
            });
        }
    }
}

/// gRPC answers an error with headers alone, and a proxy with a status of HTTP.
#[test]
fn an_answer_of_grpc_without_a_message_has_a_reason() {
    // The status of HTTP, by its index (RFC 7541 appendix A), and a header.
    let only = |status: u8, header: &[u8]| {
        let headers = [&[status], header].concat();
        [frame(SETTINGS, 0, 0, b""), frame(HEADERS, WHOLE, 1, &headers)].concat()
    };
    let (ok, error) = (0x88, 0x8e);
    for (answer, detail) in [
        (only(ok, b"\0\x0bgrpc-status\x0212"), "the server has no grpc.health.v1"),
        (only(ok, b"\0\x0bgrpc-status\x015"), "the server does not know the service"),
        (only(ok, b"\0\x0bgrpc-status\x010"), "UNKNOWN"),
        (only(error, b"\0\x0bgrpc-status\x010"), "status 500"),
    ] {
        let grpc = GrpcProbe { service: String::new(), tls: None };
        let (passed, said, _) = found(Probe::Grpc(grpc), telling(answer));
        assert_eq!((passed, said.as_str()), (false, detail));
    }
}
