//! Connections of HTTP/2 end with their probes, whatever the server does.

use std::sync::mpsc;

use socket2::{Domain, Socket, Type};

use super::liars::frame;
use super::*;
use crate::health::spec::{GrpcProbe, HttpVersion};

const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;

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
