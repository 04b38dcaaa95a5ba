//! Probes against servers of every sort, over sockets of this host: good, silent, endless, lying.

#![allow(clippy::unwrap_used)]

mod dns;
mod http2;
mod kept;
mod kinds;
mod liars;
mod odd;
mod refusals;
mod sendable;
mod tls;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::*;
use crate::health::spec::{CheckSpec, HttpProbe, Probe, StatusRange, Timing, UdpProbe, Via};
use crate::health::{CheckCause, Patterns, Rules, ServiceInput};
use crate::model::{Health, RealSpec};

/// A probe's end at its timeout of two seconds comes well before this, on a busy machine too. The
/// timeout of probes that get their answers.
const PATIENCE: Duration = Duration::from_secs(20);
/// Times of probes that get their answers.
const PATIENT: Timing = Timing { timeout: PATIENCE, ..Timing::DEFAULT };
/// The timeout of probes that get no answer.
const LATE: Duration = Duration::from_secs(2);
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A balancer that records the changes it gets.
#[derive(Clone, Debug, Default)]
struct RecordedChanges(Arc<Mutex<Vec<Change>>>);

impl TakesChanges for RecordedChanges {
    async fn take(&self, changes: Vec<Change>) -> anyhow::Result<Result<(), ChangeError>> {
        self.0.lock().unwrap().extend(changes);
        Ok(Ok(()))
    }
}

/// A server that runs `serve` for each connection; returns its port.
fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind((HERE, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream.unwrap()));
        }
    });
    port
}

/// A server that reads a request and answers with this.
fn answering(answer: &'static [u8]) -> u16 {
    server(move |mut stream| {
        let _ = stream.read(&mut [0; 1_024]);
        let _ = stream.write_all(answer);
    })
}

fn plan(probe: Probe, port: u16, timing: Timing) -> Plan {
    plan_of(&[probe], port, timing)
}

fn plan_of(probes: &[Probe], port: u16, timing: Timing) -> Plan {
    let spec = |probe: &Probe| {
        let (probe, via, port) = (probe.clone(), Via::Direct, Some(port));
        Arc::new(CheckSpec { probe, via, port, timing })
    };
    Plan::new([ServiceInput {
        name: "web",
        listens: &[],
        reals: &[RealSpec::new(HERE, 1)],
        checks: &probes.iter().map(spec).collect::<Vec<_>>(),
        rules: Rules::DEFAULT,
        load: false,
    }])
}

/// A real server that probes through the tunnel do not reach: the tests have no tunnel.
const REAL: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// A plan of one check of [`REAL`] through the tunnel.
fn tunnelled(probe: Probe, port: u16, timing: Timing) -> Plan {
    let spec = Arc::new(CheckSpec { probe, via: Via::Tunnel, port: Some(port), timing });
    Plan::new([ServiceInput {
        name: "web",
        listens: &["127.0.0.1:80/tcp".parse().unwrap()],
        reals: &[RealSpec::new(REAL, 1)],
        checks: &[spec],
        rules: Rules::DEFAULT,
        load: false,
    }])
}

/// The result of one run of the probe, and how long it took. A busy machine does not make it late.
fn found(probe: Probe, port: u16) -> (bool, String, Duration) {
    found_within(PATIENCE, probe, port)
}

/// The result of a probe that the server leaves without its answer. Details say [`LATE`]'s 2 s.
fn found_late(probe: Probe, port: u16) -> (bool, String, Duration) {
    found_within(LATE, probe, port)
}

/// [`found_late`] where the expected detail is that of a probe whose time is over, otherwise
/// [`found`].
fn found_as(detail: &str, probe: Probe, port: u16) -> (bool, String, Duration) {
    let late = detail.ends_with("within 2s") || detail == "no port unreachable";
    found_within(if late { LATE } else { PATIENCE }, probe, port)
}

fn found_within(timeout: Duration, probe: Probe, port: u16) -> (bool, String, Duration) {
    let timing = Timing { interval: Duration::from_secs(3_600), timeout, ..PATIENT };
    let began = Instant::now();
    let found = with_checks(plan(probe, port, timing), async |checks, _| checks.check(HERE).await);
    let [one] = &found[..] else { panic!("{found:?}") };
    (one.passed, one.detail.clone(), began.elapsed())
}

fn with_checks<T>(
    plan: Plan,
    ask: impl AsyncFnOnce(HealthThread, mpsc::UnboundedReceiver<HealthEvent>) -> T,
) -> T {
    let (inbox, checks) = HealthThread::new();
    let (events, received) = mpsc::unbounded_channel();
    inbox.start(RecordedChanges::default(), events, 7).unwrap();
    checks.adopt(plan);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(ask(checks, received))
}

fn http() -> HttpProbe {
    HttpProbe::new()
}

#[test]
fn answers_and_their_results() {
    let body = HttpProbe { expect_body: Some("^all (is )?well$".to_owned()), ..http() };
    let only_503 =
        HttpProbe { expect_status: vec![StatusRange { first: 503, last: 503 }], ..http() };
    let rows: [(&[u8], HttpProbe, bool, &str); 13] = [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", http(), true, "status 200"),
        (b"HTTP/1.0 302 Found\r\n\r\n", http(), true, "status 302"),
        (b"HTTP/1.1 503 Busy\r\n\r\n", http(), false, "status 503"),
        (b"HTTP/1.1 404 Gone\r\n\r\n", http(), false, "status 404"),
        (b"HTTP/1.1 503 Busy\r\n\r\n", only_503, true, "status 503"),
        (b"", http(), false, "connection closed before the answer"),
        (b"HTTP/1.1 200", http(), false, "connection closed before the answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", http(), false, "no answer of HTTP"),
        (b"\x15\x03\x01\x00\x02\x02\x0a", http(), false, "no answer of HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nall well", body.clone(), true, "matches"),
        (b"HTTP/1.1 200 OK\r\n\r\nall is well", body.clone(), true, "matches"),
        (b"HTTP/1.1 200 OK\r\n\r\nall is lost", body.clone(), false, "does not match (11 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 80\r\n\r\nall", body, false, "does not match"),
    ];
    for (answer, http, passed, detail) in rows {
        let found = found(Probe::Http(http), answering(answer));
        let shown = String::from_utf8_lossy(answer);
        assert!(found.0 == passed && found.1.contains(detail), "{shown:?}: {found:?}");
    }
}

#[test]
fn servers_that_hang_or_never_end_cost_no_more_than_the_timeout() {
    let silent = server(|stream| {
        std::thread::sleep(2 * PATIENCE);
        drop(stream);
    });
    let drips = server(|mut stream| {
        let _ = stream.read(&mut [0; 1_024]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(b".").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let endless = server(|mut stream| {
        let _ = stream.read(&mut [0; 1_024]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'.'; 4_096]).is_ok() {}
    });
    let body = HttpProbe { expect_body: Some("never".to_owned()), ..http() };
    for (what, port, http, detail) in [
        ("silent", silent, http(), "connected, then no whole answer within 2s"),
        ("a byte at a time", drips, body.clone(), "answered, then no end of the answer within 2s"),
        ("endless", endless, body, "the body does not match (65536 bytes read)"),
    ] {
        let (passed, said, took) = found_as(detail, Probe::Http(http), port);
        assert!(!passed && said.contains(detail), "{what}: {said}");
        assert!(took < PATIENCE, "{what}: {took:?}");
    }
}

/// Once the first probes are over, the server answers only when it has two requests.
#[test]
fn all_checks_of_a_real_server_run_at_the_same_time_on_request() {
    let both = Arc::new(std::sync::Barrier::new(2));
    let waits = Arc::new(AtomicBool::new(false));
    let port = {
        let waits = Arc::clone(&waits);
        server(move |mut stream| {
            let _ = stream.read(&mut [0; 1_024]);
            if waits.load(Ordering::SeqCst) {
                both.wait();
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        })
    };
    let path = |path: &str| HttpProbe { path: path.to_owned(), ..http() };
    let probes = ["/one", "/other"].map(|text| Probe::Http(path(text)));
    let hour = Duration::from_secs(3_600);
    let timing = Timing { interval: hour, timeout: PATIENCE, ..PATIENT };
    let found = with_checks(plan_of(&probes, port, timing), async |checks, _| {
        while checks.report().await.checks.iter().any(|check| check.findings.is_empty()) {
            tokio::task::yield_now().await;
        }
        waits.store(true, Ordering::SeqCst);
        checks.check(HERE).await
    });
    assert_eq!(found.iter().map(|one| one.passed).collect::<Vec<_>>(), [true, true], "{found:?}");
    assert_eq!(found[0].check.spec.to_string(), "http GET /one");
}

/// The compiled form is kept beside the plan: the one that is used here is not what its text says.
#[test]
fn regular_expressions_are_compiled_with_the_plan() {
    let body = |pattern: &str| HttpProbe { expect_body: Some(pattern.to_owned()), ..http() };
    let udp = UdpProbe { send: "ping".to_owned(), expect: Some("pong".to_owned()) };
    let probes = [
        Probe::Http(body("well")),
        Probe::Http(HttpProbe { path: "/other".to_owned(), ..body("well") }),
        Probe::Udp(udp),
        Probe::Http(http()),
    ];
    let port = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let plan = plan_of(&probes, port, PATIENT);
    let mut patterns = Patterns::default().with(&plan);
    assert_eq!(patterns.len(), 2);
    patterns.replace("well", crate::health::pattern::compile("ok").unwrap());
    // Another plan keeps what it has too, and forgets the rest.
    let patterns = patterns.with(&plan_of(&probes[..2], port, PATIENT));
    assert_eq!(patterns.len(), 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pins = Arc::new(pins::Pins::new(RecordedChanges::default()));
    let prober = prober::Prober { pins, patterns, started: Instant::now() };
    let (found, _) = runtime.block_on(prober.once(&plan.checks[0], None));
    assert_eq!((found.passed, found.detail.as_str()), (true, "status 200, the body matches"));
}

/// A balancer that has begun anew, or whose real servers a reload has changed.
#[test]
fn the_health_of_all_real_servers_is_sent_again_on_request() {
    let timing = Timing { initial: crate::health::Initial::Down, ..PATIENT };
    let silent = TcpListener::bind((HERE, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let balancer = RecordedChanges::default();
    let (inbox, checks) = HealthThread::new();
    let (events, _receiver) = mpsc::unbounded_channel();
    inbox.start(balancer.clone(), events, 7).unwrap();
    checks.adopt(plan(Probe::Http(http()), port, timing));
    let down = Change::SetHealth { service: "web".to_owned(), address: HERE, health: Health::Down };
    let sent = |count: usize| {
        let deadline = Instant::now() + PATIENCE;
        while balancer.0.lock().unwrap().iter().filter(|change| **change == down).count() < count {
            assert!(Instant::now() < deadline, "{:?}", balancer.0.lock().unwrap());
            std::thread::yield_now();
        }
    };
    sent(1);
    checks.repeat();
    sent(2);
}

#[test]
fn a_closed_port_is_refused_at_once() {
    let port = TcpListener::bind((HERE, 0)).unwrap().local_addr().unwrap().port();
    let (passed, detail, _) = found(Probe::Tcp, port);
    assert_eq!((passed, detail.as_str()), (false, "connection refused"));
    let (passed, detail, _) = found(Probe::Tcp, answering(b""));
    assert_eq!((passed, detail.as_str()), (true, "connected"));
}

#[test]
fn a_servers_death_and_its_return_are_reported() {
    let alive = Arc::new(Mutex::new(true));
    let port = {
        let alive = Arc::clone(&alive);
        server(move |mut stream| {
            let _ = stream.read(&mut [0; 1_024]);
            if *alive.lock().unwrap() {
                let _ = stream.write_all(b"HTTP/1.1 204 Well\r\n\r\n");
            }
        })
    };
    let (interval, fast) = (Duration::from_millis(20), Duration::from_millis(10));
    let timing = Timing { interval, fast_interval: fast, ..PATIENT };
    with_checks(plan(Probe::Http(http()), port, timing), async |checks, mut received| {
        let mut next = async |expected| {
            loop {
                let event = tokio::time::timeout(Duration::from_secs(30), received.recv()).await;
                if let HealthEvent::Health { health, why, .. } = event.unwrap().unwrap() {
                    assert_eq!(health, expected, "{why}");
                    break;
                }
            }
        };
        *alive.lock().unwrap() = false;
        next(Health::Down).await;
        *alive.lock().unwrap() = true;
        next(Health::Up).await;
        let report = checks.report().await;
        assert_eq!(report.real("web", HERE).unwrap().why, CheckCause::Passing);
    });
}
