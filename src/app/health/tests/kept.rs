//! What checks keep from one probe to the next: the pinned flow, and its socket.

use super::*;
use crate::balancer::ProbeFlow;

/// The inode of the socket with an established connection from that port of 127.0.0.1.
fn inode(port: u16) -> u64 {
    let local = format!("0100007F:{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut inodes = rows.filter(|row| row[1] == local && row[3] == "01").map(|row| row[9]);
    inodes.next().unwrap().parse().unwrap()
}

/// A check through the tunnel, here to this host itself, until it has run six times: the flows that
/// were pinned, and the port and socket of each probe.
fn six_probes() -> (Vec<ProbeFlow>, Vec<(u16, u64)>, RecordedChanges, HealthThread) {
    let seen: Arc<Mutex<Vec<(u16, u64)>>> = Arc::default();
    let port = {
        let seen = Arc::clone(&seen);
        server(move |mut stream| {
            let port = stream.peer_addr().unwrap().port();
            seen.lock().unwrap().push((port, inode(port)));
            let _ = stream.read(&mut [0; 1_024]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            // The probe's end of the connection: a reset, whatever is left to read.
            let error = stream.read(&mut [0; 1_024]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        })
    };
    let timing = Timing { interval: Duration::from_millis(20), ..PATIENT };
    let plan = tunnelled(Probe::Http(http()), port, timing);
    let balancer = RecordedChanges::default();
    let (inbox, checks) = HealthThread::new();
    let (events, _receiver) = mpsc::unbounded_channel();
    inbox.start(balancer.clone(), events, 7).unwrap();
    checks.adopt(plan);
    let deadline = Instant::now() + Duration::from_secs(30);
    while seen.lock().unwrap().len() < 6 {
        assert!(Instant::now() < deadline, "{:?}", seen.lock().unwrap());
        std::thread::sleep(Duration::from_millis(5));
    }
    let changes = balancer.0.lock().unwrap().clone();
    let pinned = changes.iter().filter_map(|change| match change {
        Change::PinProbe { flow, .. } => Some(*flow),
        _ => None,
    });
    let pinned = pinned.collect();
    let sockets = seen.lock().unwrap().clone();
    (pinned, sockets, balancer, checks)
}

/// Waits until the balancer has been told to unpin the flow.
fn unpinned(balancer: &RecordedChanges, flow: ProbeFlow) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let is_gone = || balancer.0.lock().unwrap().contains(&Change::UnpinProbe(flow));
    while !is_gone() {
        assert!(Instant::now() < deadline, "{flow:?} is still pinned");
        std::thread::yield_now();
    }
}

#[test]
fn a_check_that_passes_keeps_its_port_and_socket_and_is_pinned_once() {
    let (pinned, sockets, ..) = six_probes();
    let [flow] = &pinned[..] else { panic!("{pinned:?}") };
    assert!(sockets.iter().all(|(port, _)| *port == flow.source_port), "{sockets:?} {flow:?}");
    // The kernel chose the port of the first socket, and takes such a port back at a disconnect.
    let kept = &sockets[1..];
    assert!(kept.iter().all(|socket| *socket == kept[0]), "{sockets:?}");
}

#[test]
fn the_flow_of_a_check_that_is_no_longer_planned_is_released() {
    let (pinned, _, balancer, checks) = six_probes();
    checks.adopt(Plan::default());
    unpinned(&balancer, pinned[0]);
}

/// Its port at once has another flow, and the old one is not reserved for ever.
#[test]
fn the_flow_of_a_failed_probe_is_released() {
    let listener = TcpListener::bind((HERE, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let balancer = RecordedChanges::default();
    let pins = Arc::new(pins::Pins::new(balancer.clone()));
    let prober = prober::Prober { pins, patterns: Patterns::default(), started: Instant::now() };
    let plan = tunnelled(Probe::Tcp, port, PATIENT);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (found, kept) = prober.once(&plan.checks[0], None).await;
        assert_eq!((found.passed, kept.is_none()), (false, true), "{}", found.detail);
        assert!(found.refused, "by the real server's host: {}", found.detail);
        let Some(Change::PinProbe { flow, .. }) = balancer.0.lock().unwrap().first().cloned()
        else {
            panic!("nothing is pinned")
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        // Another check may have it once the balancer has released it.
        while !prober.pins.reserve(flow) {
            assert!(Instant::now() < deadline, "{flow:?} is still reserved");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        unpinned(&balancer, flow);
    });
}

/// The release takes longer than the probe's timeout.
#[test]
fn a_flow_that_a_probe_leaves_is_released_although_the_probe_times_out() {
    // Its port has a listener, so the probe takes another one.
    let taken = TcpListener::bind((HERE, 0)).unwrap();
    let silent = TcpListener::bind((HERE, 0)).unwrap();
    let timing = Timing { timeout: Timing::MIN, ..PATIENT };
    let plan = tunnelled(Probe::Http(http()), silent.local_addr().unwrap().port(), timing);
    let left = ProbeFlow {
        protocol: 6,
        source: HERE,
        source_port: taken.local_addr().unwrap().port(),
        destination: HERE,
        destination_port: plan.checks[0].destination.port,
    };
    let balancer = RecordedChanges::default();
    let pins = Arc::new(pins::Pins::new(balancer.clone()));
    assert!(pins.reserve(left));
    let prober = prober::Prober { pins, patterns: Patterns::default(), started: Instant::now() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let kept = socket::KeptProbe { flow: left, socket: None };
        let (found, kept) = prober.once(&plan.checks[0], Some(kept)).await;
        // A busy machine may take the 10 ms before the connection is there.
        assert!(found.detail.ends_with("within 10ms") && kept.is_none(), "{}", found.detail);
        let deadline = Instant::now() + Duration::from_secs(30);
        while !prober.pins.reserve(left) {
            assert!(Instant::now() < deadline, "{left:?} is still reserved");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        unpinned(&balancer, left);
    });
}

/// `vstun check ADDR` and `vstun doctor` leave nothing behind.
#[test]
fn the_flow_of_a_check_that_was_run_on_request_is_released() {
    let port = answering(b"");
    let balancer = RecordedChanges::default();
    let pins = Arc::new(pins::Pins::new(balancer.clone()));
    let prober = prober::Prober { pins, patterns: Patterns::default(), started: Instant::now() };
    let plan = tunnelled(Probe::Tcp, port, PATIENT);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let run = runtime.block_on(prober.apart(plan.checks[0].clone()));
    assert!(run.passed, "{run:?}");
    let changes = balancer.0.lock().unwrap().clone();
    let [Change::PinProbe { flow, .. }, Change::UnpinProbe(released)] = &changes[..] else {
        panic!("{changes:?}")
    };
    assert_eq!(flow, released);
    assert!(prober.pins.reserve(*flow), "it is still reserved");
}

/// A check through the tunnel after two probes that have passed, and what it keeps. From the second
/// one on the socket is bound to its port.
async fn passed_twice(
    prober: &prober::Prober<RecordedChanges>,
    check: &PlannedCheck,
) -> socket::KeptProbe {
    let (_, kept) = prober.once(check, None).await;
    let (found, kept) = prober.once(check, kept).await;
    assert!(found.passed, "{}", found.detail);
    kept.unwrap()
}

#[test]
fn a_check_that_runs_seldom_keeps_no_socket() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (interval, keeps) in [(10_000, true), (10_001, false)] {
        let timing = Timing { interval: Duration::from_millis(interval), ..PATIENT };
        let plan = tunnelled(Probe::Tcp, answering(b""), timing);
        let pins = Arc::new(pins::Pins::new(RecordedChanges::default()));
        let patterns = Patterns::default();
        let prober = prober::Prober { pins, patterns, started: Instant::now() };
        let kept = runtime.block_on(passed_twice(&prober, &plan.checks[0]));
        assert_eq!(kept.socket.is_some(), keeps, "{interval} ms");
    }
}

#[test]
fn an_error_ends_a_probe_over_a_kept_socket_at_once_too() {
    let answers = Arc::new(AtomicBool::new(true));
    let port = {
        let answers = Arc::clone(&answers);
        server(move |mut stream| {
            let _ = stream.read(&mut [0; 1_024]);
            if answers.load(Ordering::SeqCst) {
                let _ = stream.write_all(b"HTTP/1.1 204 Well\r\n\r\n");
            }
            while stream.read(&mut [0; 512]).is_ok_and(|read| read > 0) {}
        })
    };
    let timing = Timing { timeout: Duration::from_secs(3_600), ..PATIENT };
    let plan = tunnelled(Probe::Http(http()), port, timing);
    let pins = Arc::new(pins::Pins::new(RecordedChanges::default()));
    let prober = prober::Prober { pins, patterns: Patterns::default(), started: Instant::now() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let kept = passed_twice(&prober, &plan.checks[0]).await;
        assert!(kept.socket.is_some());
        let flow = kept.flow;
        answers.store(false, Ordering::SeqCst);
        let refuses = async {
            let refusal = FlowRefusal { why: "refused by 10.0.0.11".to_owned(), by_end: true };
            let end = Instant::now() + PATIENCE;
            while !prober.pins.refuse(flow, refusal.clone()) {
                assert!(Instant::now() < end, "no probe waits for an answer");
                tokio::task::yield_now().await;
            }
        };
        let ((found, _), ()) = tokio::join!(prober.once(&plan.checks[0], Some(kept)), refuses);
        assert_eq!((found.detail.as_str(), found.refused), ("refused by 10.0.0.11", true));
    });
}
