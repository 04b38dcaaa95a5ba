//! ICMP errors that quote probes, from the balancer's verdict on.

use super::*;

/// A balancer that refuses every probe with an ICMP error, once its flow is pinned.
#[derive(Clone, Debug)]
struct Refuses {
    checks: HealthThread,
    by_end: bool,
    /// The flows pinned so far.
    pinned: Arc<Mutex<Vec<ProbeFlow>>>,
}

impl TakesChanges for Refuses {
    async fn take(&self, changes: Vec<Change>) -> anyhow::Result<Result<(), ChangeError>> {
        for change in changes {
            let Change::PinProbe { flow, address, .. } = change else { continue };
            assert_eq!(address, REAL);
            self.pinned.lock().unwrap().push(flow);
            let refusal =
                FlowRefusal { why: "refused by 10.0.0.11".to_owned(), by_end: self.by_end };
            // Another flow's error first: nothing waits for it.
            let other = ProbeFlow { source_port: flow.source_port ^ 1, ..flow };
            let forged = FlowRefusal { why: "forged".to_owned(), ..refusal.clone() };
            if self.by_end {
                self.checks.refuse(other, REAL, forged);
            }
            self.checks.refuse(flow, REAL, refusal);
        }
        Ok(Ok(()))
    }
}

/// Runs checks of one silent real server through the tunnel, with these times. All timeouts are
/// long. Returns the reason why it went down, and how many flows were pinned.
fn refused(probe: Probe, by_end: bool, fast_interval: Duration) -> (String, usize) {
    let hour = Duration::from_secs(3_600);
    let timing =
        Timing { interval: Duration::from_millis(50), fast_interval, timeout: hour, ..PATIENT };
    let listener = TcpListener::bind((HERE, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let plan = tunnelled(probe, port, timing);
    let (inbox, checks) = HealthThread::new();
    let (events, mut received) = mpsc::unbounded_channel();
    let balancer = Refuses { checks: checks.clone(), by_end, pinned: Arc::default() };
    let pinned = Arc::clone(&balancer.pinned);
    inbox.start(balancer, events, 7).unwrap();
    checks.adopt(plan);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let event = runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(30), received.recv()).await.unwrap().unwrap()
    });
    let HealthEvent::Health { health: Health::Down, why, .. } = event else { panic!("{event:?}") };
    let count = pinned.lock().unwrap().len();
    (why.to_string(), count)
}

#[test]
fn a_probe_that_an_error_quotes_fails_at_once_and_each_failure_has_a_probe_of_its_own() {
    let (why, probes) = refused(Probe::Http(http()), true, Duration::from_secs(3_600));
    assert_eq!(why, "http check failed: refused by 10.0.0.11");
    assert!(probes >= 3, "{probes}");
}

#[test]
fn a_router_s_error_fails_a_probe_too_and_the_next_one_keeps_the_fast_interval() {
    let began = Instant::now();
    let (why, probes) = refused(Probe::Http(http()), false, Duration::from_millis(50));
    assert_eq!(why, "http check failed: refused by 10.0.0.11");
    assert!(probes >= 3, "{probes}");
    assert!(began.elapsed() >= Duration::from_millis(100));
}
