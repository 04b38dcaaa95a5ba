//! What checks keep from one probe to the next: the pinned flow, and its socket.

use super::*;
use crate::balancer::ProbeFlow;

/// The balancer of the test sends nothing there: probes reach this host's own server.
const REAL: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// A check through the tunnel, here to this host itself, until it has run six times: the flows that
/// were pinned, and the ports that its probes came from.
fn six_probes() -> (Vec<ProbeFlow>, Vec<u16>) {
    let seen: Arc<Mutex<Vec<u16>>> = Arc::default();
    let port = {
        let seen = Arc::clone(&seen);
        server(move |mut stream| {
            seen.lock().unwrap().push(stream.peer_addr().unwrap().port());
            let _ = stream.read(&mut [0; 1_024]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            // The probe's end of the connection: a reset, whatever is left to read.
            let error = stream.read(&mut [0; 1_024]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        })
    };
    let timing = Timing { interval: Duration::from_millis(20), ..Timing::DEFAULT };
    let probe = Probe::Http(http());
    let spec = Arc::new(CheckSpec { probe, via: Via::Tunnel, port: Some(port), timing });
    let plan = Plan::new([ServiceInput {
        name: "web",
        listens: &["127.0.0.1:80/tcp".parse().unwrap()],
        reals: &[RealSpec::new(REAL, 1)],
        checks: &[spec],
        rules: Rules::DEFAULT,
        load: false,
    }]);
    let balancer = Told::default();
    let (inbox, checks) = Checks::new();
    let (events, _told) = mpsc::unbounded_channel();
    inbox.start(balancer.clone(), events, 7).unwrap();
    checks.adopt(plan);
    let deadline = Instant::now() + Duration::from_secs(30);
    while seen.lock().unwrap().len() < 6 {
        assert!(Instant::now() < deadline, "{:?}", seen.lock().unwrap());
        std::thread::sleep(Duration::from_millis(5));
    }
    let changes = balancer.0.lock().unwrap();
    let pinned = changes.iter().filter_map(|change| match change {
        Change::PinProbe { flow, .. } => Some(*flow),
        _ => None,
    });
    let ports = seen.lock().unwrap().clone();
    (pinned.collect(), ports)
}

#[test]
fn a_check_that_passes_uses_one_port_and_is_pinned_once() {
    let (pinned, ports) = six_probes();
    let [flow] = &pinned[..] else { panic!("{pinned:?}") };
    assert!(ports.iter().all(|port| *port == flow.source_port), "{ports:?} {flow:?}");
}
