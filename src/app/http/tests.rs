#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::bail;

use super::*;
use crate::app::commands;
use crate::app::events::{EventPublisher, Listener, Span};
use crate::app::serve::Peer;
use crate::balancer::{Selection, snapshot};
use crate::control::{Alteration, Altered, Origin, Readiness, Request, Which};
use crate::metrics::Format;

/// Answers with the request; `SERVICES`: as a director.
struct Echo<const SERVICES: bool> {
    events: EventPublisher,
    ready: bool,
}

impl<const SERVICES: bool> RequestHandler for Echo<SERVICES> {
    const KEEPS_SERVICES: bool = SERVICES;

    async fn answer(
        &self,
        request: Request,
        _body: Vec<u8>,
        peer: &Peer,
    ) -> anyhow::Result<Arc<String>> {
        assert!(peer.may_write().is_err());
        match request {
            Request::Checks => bail!("no checks"),
            request => Ok(format!("{request:?}\n").into()),
        }
    }

    async fn metrics(&self, format: Format) -> anyhow::Result<Arc<String>> {
        Ok(format!("{format:?}\n").into())
    }

    async fn readiness(&self) -> anyhow::Result<Readiness> {
        let why = (!self.ready).then(|| "nothing serves".to_owned());
        Ok(Readiness::unless(why.into_iter().collect()))
    }

    fn listen(&self, span: Span) -> anyhow::Result<Listener> {
        self.events.listen(span)
    }

    async fn select(&self, which: Which) -> anyhow::Result<Arc<Selection>> {
        anyhow::ensure!(which.service.is_none(), "service: there is none");
        Ok(Arc::default())
    }

    async fn connections(
        &self,
        from: usize,
        _most: usize,
        _which: Arc<Selection>,
    ) -> anyhow::Result<(Vec<snapshot::ConnectionSnapshot>, Option<usize>)> {
        Ok((Vec::new(), (from == 0).then_some(7)))
    }
}

struct Server {
    address: SocketAddr,
    events: EventPublisher,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(ready: bool) -> Self {
        Self::with_limits(ready, ClientLimits::DEFAULT)
    }

    fn with_limits(ready: bool, limits: ClientLimits) -> Self {
        Self::of::<true>(ready, limits)
    }

    fn of<const SERVICES: bool>(ready: bool, limits: ClientLimits) -> Self {
        let events = EventPublisher::new();
        let handler = Arc::new(Echo::<SERVICES> { events: events.clone(), ready });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                tokio::select! {
                    _ = connection::serve(HttpSocket::Tcp(listener), handler, limits) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, events, stop: Some(stop), thread: Some(thread) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// The whole answer to a request, in lower case.
    fn ask(&self, head: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn each_path_has_its_answer() {
    let server = Server::start(true);
    for (head, status, part) in [
        ("GET /metrics HTTP/1.1\r\nHost: localhost", "200", "\r\n\r\nPrometheus\n"),
        ("GET /metrics HTTP/1.1\r\nHost: [::1]:9180", "200", "text/plain; version=0.0.4"),
        (
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text",
            "200",
            "application/openmetrics-text; version=1.0.0",
        ),
        // A cache must not give one format to who has asked for the other.
        ("GET /metrics HTTP/1.0", "200", "\r\nvary: Accept\r\n"),
        ("GET / HTTP/1.0", "200", "default-src 'none'; script-src 'nonce-"),
        ("GET /healthz HTTP/1.0", "200", "\r\n\r\nok\n"),
        ("GET /readyz HTTP/1.0", "200", r#""ready":true"#),
        ("GET /api/v1/list HTTP/1.0", "200", "\r\n\r\nList\n"),
        ("GET /api/v1/stats HTTP/1.0", "200", "application/json"),
        ("GET /api/v1/checks HTTP/1.0", "503", "no checks"),
        ("GET /api/v1/connections HTTP/1.0", "200", r#""more":false"#),
        ("GET /api/v1/connections?limit=x HTTP/1.0", "400", "is not a number of connections"),
        ("GET /api/v1/connections?service=x HTTP/1.0", "400", "service: there is none"),
        ("GET /api/v1/events?since=soon HTTP/1.0", "400", "neither a duration nor a time"),
        ("GET /api/v1/events?until=1h HTTP/1.0", "400", "there is since=10m"),
        ("GET /api/v1/flush HTTP/1.0", "404", "/healthz"),
        ("GET /../etc/passwd HTTP/1.0", "404", "/healthz"),
        ("POST /metrics HTTP/1.0", "405", "allow: GET, HEAD"),
        ("GET /metrics HTTP/1.1\r\nHost: attacker.example", "421", "localhost"),
        ("GET /metrics HTTP/1.1", "400", "no Host header"),
        ("GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: localhost", "400", "several Host"),
        ("GET /metrics HTTP/1.0\r\nHost: localhost\r\nHost: localhost", "400", "several Host"),
        ("GET http://attacker.example/healthz HTTP/1.1\r\nHost: localhost", "421", "localhost"),
        ("GET http://attacker.example/healthz HTTP/1.0", "421", "localhost"),
        ("GET http://localhost:1/healthz HTTP/1.1\r\nHost: other.example", "200", "ok\n"),
    ] {
        let reply = server.ask(head);
        let line = reply.lines().next().unwrap_or_default();
        assert!(line.contains(status), "{head}: {line}");
        assert!(reply.contains(part), "{head}: {reply}");
    }
    let reply = server.ask("HEAD /metrics HTTP/1.0");
    assert!(reply.contains("200 OK") && reply.ends_with("\r\n\r\n"), "{reply}");
}

/// Nothing but the page's own script and style, and no connection but to the daemon.
const POLICY: &str = "default-src 'none'; script-src 'nonce-{NONCE}'; \
                      style-src 'nonce-{NONCE}'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// The page is a single answer.
#[test]
fn the_page_is_small_has_a_fresh_nonce_and_names_no_other_host() {
    let server = Server::start(true);
    let pages = [server.ask("GET / HTTP/1.0"), server.ask("GET / HTTP/1.0")];
    let nonce =
        |page: &str| page.split("nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    assert_ne!(nonce(&pages[0]), nonce(&pages[1]));
    for page in &pages {
        assert!(page.len() < 100_000, "{} bytes", page.len());
        assert_eq!(page.matches(&format!("nonce=\"{}\"", nonce(page))).count(), 2);
        let policy = page.lines().find_map(|line| line.strip_prefix("content-security-policy: "));
        assert_eq!(policy.unwrap(), POLICY.replace("{NONCE}", &nonce(page)));
        let others =
            page.matches("://").count() - page.matches("http://www.w3.org/2000/svg").count();
        assert_eq!(others, 0, "another host is named");
        for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!page.contains(sink), "{sink}");
        }
    }
}

#[test]
fn a_daemon_that_is_not_ready_reports_the_reason() {
    let reply = Server::start(false).ask("GET /readyz HTTP/1.0");
    assert!(reply.contains(" 503 ") && reply.contains("nothing serves"), "{reply}");
}

/// Clients that hold their connections keep no other out.
#[test]
fn idle_clients_are_closed_soon_and_at_once_for_others() {
    let slow = |server: &Server| -> Vec<_> {
        let mut slow: Vec<_> = (0..connection::CLIENTS).map(|_| server.connect()).collect();
        slow[0].write_all(b"GET /metrics HT").unwrap();
        slow
    };
    let patient = ClientLimits { head: Duration::from_secs(3_600), ..ClientLimits::DEFAULT };
    let server = Server::with_limits(true, patient);
    let held = slow(&server);
    for _ in 0..3 {
        let served = server.ask("GET /healthz HTTP/1.0");
        assert!(served.contains(" 200 OK"), "{served}");
    }
    drop(held);
    // A busy machine may send a request that late, too.
    let soon = ClientLimits { head: Duration::from_secs(2), ..ClientLimits::DEFAULT };
    let server = Server::with_limits(true, soon);
    for mut client in slow(&server) {
        let read = client.read(&mut [0]).map_err(|error| error.kind());
        assert!(matches!(read, Ok(0) | Err(std::io::ErrorKind::ConnectionReset)), "{read:?}");
    }
    assert!(server.ask("GET /metrics HTTP/1.0").contains("200 OK"));
}

/// Its answers fill the buffers between both; then the connection is reset.
#[test]
fn a_client_that_never_reads_is_closed_after_the_time_for_writing() {
    let write = Duration::from_millis(200);
    let server = Server::with_limits(true, ClientLimits { write, ..ClientLimits::DEFAULT });
    let mut stream = server.connect();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    let requests = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1_000);
    let began = Instant::now();
    let error = loop {
        if let Err(error) = stream.write_all(requests.as_bytes()) {
            break error;
        }
    };
    let kinds = [std::io::ErrorKind::ConnectionReset, std::io::ErrorKind::BrokenPipe];
    assert!(kinds.contains(&error.kind()), "{error} after {:?}", began.elapsed());
    assert!(server.ask("GET /healthz HTTP/1.0").contains(" 200 OK"));
}

#[test]
fn heads_that_are_too_large_are_refused() {
    let server = Server::start(true);
    let many = "X: y\r\n".repeat(65);
    let reply = server.ask(&format!("GET /metrics HTTP/1.0\r\n{}", many.trim_end()));
    assert!(reply.contains(" 431 "), "{reply}");
    for long in [format!("GET /metrics?{}", "x".repeat(20_000)), "GET /metrics".to_owned()] {
        let line = format!("{long} HTTP/1.0\r\nX: {}", "y".repeat(10_000));
        let reply = server.ask(&line);
        let refused = long.len() > 16_384;
        let status = if refused { " 431 " } else { " 200 " };
        assert!(reply.contains(status), "{} bytes: {reply}", line.len());
    }
    let reply = server.ask(&format!("GET /metrics HTTP/1.0\r\nX: {}", "y".repeat(20_000)));
    assert!(reply.contains(" 431 "), "{reply}");
    let fits = "X: y\r\n".repeat(60);
    let reply = server.ask(&format!("GET /metrics HTTP/1.0\r\n{}", fits.trim_end()));
    assert!(reply.contains(" 200 "), "{reply}");
}

#[test]
fn events_come_as_they_happen() {
    let server = Server::start(true);
    let mut stream = server.connect();
    stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with(": events follow")));
    let change = Alteration::of(Altered::AddVip);
    let event = commands::event(Origin::Signal, "drain", change);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(server.events.publish_and_log(vec![event]));
    let line = lines.find(|line| line.starts_with("data: ")).unwrap();
    assert!(line.contains(r#""verb":"drain""#), "{line}");
}

/// A proxy closes a stream that is silent for long.
#[test]
fn an_idle_event_stream_sends_comments() {
    let minute = Duration::from_secs(60);
    assert!(ClientLimits::DEFAULT.keep_alive < minute, "{:?}", ClientLimits::DEFAULT);
    let keep_alive = Duration::from_millis(20);
    let server = Server::with_limits(true, ClientLimits { keep_alive, ..ClientLimits::DEFAULT });
    let mut stream = server.connect();
    stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let lines = BufReader::new(stream).lines().map(Result::unwrap);
    let some = lines.take(40);
    let comments = some.filter(|line| line.starts_with(':')).take(3).collect::<Vec<_>>();
    assert_eq!(comments, [": events follow", ": nothing has changed", ": nothing has changed"]);
}

/// The ninth listener is refused, and served once another has gone.
#[test]
fn listeners_over_http_are_bounded() {
    let server = Server::start(true);
    let head = "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut listening: Vec<_> = (0..8).map(|_| server.connect()).collect();
    for stream in &mut listening {
        stream.write_all(head.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.starts_with(": events follow")));
    }
    let refused = server.ask(head.trim_end());
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("busy: 8"), "{refused}");
    drop(listening.pop());
    let again = Instant::now() + Duration::from_secs(20);
    loop {
        let mut stream = server.connect();
        stream.write_all(head.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        if line.contains(" 200 ") {
            break;
        }
        assert!(Instant::now() < again, "{line}");
    }
}

/// A client with pipelined requests gets all answers in order; a request with a body is not read,
/// and ends the connection.
#[test]
fn requests_sent_at_once_are_answered_one_by_one_and_bodies_are_refused() {
    let server = Server::start(true);
    let mut stream = server.connect();
    let paths = ["/healthz", "/readyz", "/nothing", "/api/v1/stats"];
    let last = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let head = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let all: String = (0..100).flat_map(|_| paths).map(head).collect();
    // The server's own buffers are smaller: it reads on while its answers are read.
    let mut writing = stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || writing.write_all((all + last).as_bytes()).unwrap());
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    writer.join().unwrap();
    assert_eq!(reply.matches("HTTP/1.1 ").count(), 401);
    assert_eq!(reply.matches("HTTP/1.1 404").count(), 100);
    let posted = server.ask(&format!("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: {}", 9));
    assert!(posted.contains(" 421 ") || posted.contains(" 405 "), "{posted}");
    let mut endless = server.connect();
    endless
        .write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\nabc")
        .unwrap();
    let mut reply = String::new();
    endless.read_to_string(&mut reply).unwrap();
    assert!(reply.contains(" 405 "), "{reply}");
}

#[test]
fn an_unknown_path_is_answered_with_the_paths_that_this_daemon_has() {
    let limits = ClientLimits::DEFAULT;
    let servers = [Server::of::<true>(true, limits), Server::of::<false>(true, limits)];
    let named = servers.each_ref().map(|server| {
        let reply = server.ask("GET /nothing HTTP/1.0");
        let (_, list) = reply.split_once("there are ").unwrap();
        let words = list.split([',', ' ', '"', '}', '\n']).filter(|word| word.starts_with('/'));
        words.map(str::to_owned).collect::<Vec<_>>()
    });
    for (server, paths) in servers.iter().zip(&named) {
        for path in paths {
            // Without the parameter the events would not end.
            let reply = server.ask(&format!("GET {path}?since=soon HTTP/1.0"));
            assert!(!reply.starts_with("HTTP/1.0 404"), "{path}: {reply}");
        }
    }
    assert_eq!(named.map(|paths| paths.len()), [10, 7]);
}
