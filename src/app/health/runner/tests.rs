//! What the loop keeps, and how much it sends at once.

#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;

use socket2::{Domain, Socket, Type};

use super::*;
use crate::app::health::FlowRefusal;
use crate::balancer::{ChangeError, ProbeFlow};
use crate::health::load::Reported;
use crate::health::spec::{CheckSpec, HttpProbe, Probe, Timing, Via};
use crate::health::{Initial, Rules, ServiceInput};
use crate::model::{Health, RealSpec};

/// A balancer that records the messages it gets, and refuses changes of services that are gone.
#[derive(Clone, Debug, Default)]
struct RecordedMessages(Arc<Mutex<Vec<Vec<Change>>>>);

impl TakesChanges for RecordedMessages {
    async fn take(&self, changes: Vec<Change>) -> anyhow::Result<Result<(), ChangeError>> {
        let is_gone = |change: &Change| match change {
            Change::SetHealth { service, .. } => service == "gone",
            _ => false,
        };
        let gone = changes.iter().any(is_gone);
        self.0.lock().unwrap().push(changes);
        Ok(if gone { Err(ChangeError::NoService("gone".to_owned())) } else { Ok(()) })
    }
}

impl RecordedMessages {
    /// The number of changes of each message.
    fn sizes(&self) -> Vec<usize> {
        self.0.lock().unwrap().iter().map(Vec::len).collect()
    }
}

type RunnerWithEnds =
    (Runner<RecordedMessages>, RecordedMessages, mpsc::UnboundedSender<HealthMessage>);

fn runner() -> RunnerWithEnds {
    let (sender, inbox) = mpsc::unbounded_channel();
    let balancer = RecordedMessages::default();
    let runner = Runner::new(balancer.clone(), inbox, mpsc::unbounded_channel().0, 7);
    (runner, balancer, sender)
}

fn block_on(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap().block_on(test);
}

fn address(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

fn plan(count: u8, initial: Initial) -> Plan {
    plan_of(Probe::Tcp, count, initial)
}

fn plan_of(probe: Probe, count: u8, initial: Initial) -> Plan {
    let timing = Timing { initial, ..Timing::DEFAULT };
    let spec = CheckSpec { probe, via: Via::Tunnel, port: Some(80), timing };
    let reals: Vec<RealSpec> = (0..count).map(|one| RealSpec::new(address(one), 1)).collect();
    Plan::new([ServiceInput {
        name: "web",
        listens: &["192.0.2.10:80/tcp".parse().unwrap()],
        reals: &reals,
        checks: &[Arc::new(spec)],
        rules: Rules::DEFAULT,
        load: false,
    }])
}

fn flow(source_port: u16) -> ProbeFlow {
    ProbeFlow {
        protocol: 6,
        source: IpAddr::V4(Ipv4Addr::LOCALHOST),
        source_port,
        destination: IpAddr::from([192, 0, 2, 10]),
        destination_port: 80,
    }
}

/// The end of a probe that leaves a flow and its socket.
fn passed(id: CheckId, port: u16) -> Result<FinishedProbe, tokio::task::JoinError> {
    let socket = Some(Socket::new(Domain::IPV4, Type::STREAM, None).unwrap());
    let (detail, took) = (String::new(), Duration::ZERO);
    let finding =
        ProbeResult { at: Millis(0), passed: true, refused: false, detail, took, reported: None };
    Ok(FinishedProbe { id, finding, kept: Some(KeptProbe { flow: flow(port), socket }) })
}

/// As many as may be open besides the probes that run: further checks keep their flow alone.
#[test]
fn checks_keep_as_many_sockets_as_there_may_be_and_not_one_more() {
    block_on(async {
        let (mut runner, ..) = runner();
        runner.most = 2;
        runner.adopt(Millis(0), &plan(3, Initial::Up));
        let ids: Vec<CheckId> =
            (0..3).map(|one| runner.board.checks_of(address(one))[0].0).collect();
        for (port, id) in (1..).zip(&ids) {
            runner.finish(passed(*id, port));
        }
        let kept: Vec<bool> = ids.iter().map(|id| runner.flows[id].socket.is_some()).collect();
        assert_eq!((kept, runner.sockets), (vec![true, true, false], 2));
        runner.adopt(Millis(0), &plan(1, Initial::Up));
        assert_eq!((runner.flows.len(), runner.sockets), (1, 1));
        runner.adopt(Millis(0), &Plan::default());
        assert_eq!((runner.flows.len(), runner.sockets), (0, 0));
    });
}

/// Probes of a row run at the same time, and each leaves a flow.
#[test]
fn a_check_keeps_one_flow_and_the_flow_of_a_check_that_is_gone_is_released() {
    block_on(async {
        let (mut runner, balancer, _) = runner();
        runner.adopt(Millis(0), &plan(1, Initial::Up));
        let id = runner.board.checks_of(address(0))[0].0;
        runner.finish(passed(id, 1));
        runner.finish(passed(id, 2));
        assert_eq!((runner.flows[&id].flow, runner.sockets), (flow(1), 1));
        runner.adopt(Millis(0), &Plan::default());
        runner.finish(passed(id, 3));
        assert_eq!((runner.flows.len(), runner.sockets), (0, 0));
        while balancer.sizes().len() < 3 {
            sleep(Duration::from_millis(1)).await;
        }
        let mut released = balancer.0.lock().unwrap().concat();
        released.sort_by_key(|change| match change {
            Change::UnpinProbe(flow) => flow.source_port,
            _ => 0,
        });
        assert_eq!(released, [1, 2, 3].map(|port| Change::UnpinProbe(flow(port))));
    });
}

#[test]
fn changes_reach_the_packet_thread_in_pieces() {
    const PIECE: usize = CHANGES_A_PIECE;
    let count = u8::try_from(2 * PIECE + 1).unwrap();
    block_on(async {
        for (count, expected) in [
            (count, vec![PIECE, PIECE, 1]),
            (count - 1, vec![PIECE, PIECE]),
            (1, vec![1]),
            (0, Vec::new()),
        ] {
            let (mut runner, balancer, _) = runner();
            runner.adopt(Millis(0), &plan(count, Initial::Down));
            runner.send_events().await;
            assert_eq!(balancer.sizes(), expected, "the results of checks");
            balancer.0.lock().unwrap().clear();
            runner.answer(HealthMessage::Repeat).await;
            assert_eq!(balancer.sizes(), expected, "all of them again");
            balancer.0.lock().unwrap().clear();
            let flows = (0..count.into()).map(flow).collect();
            runner.prober.pins.release(flows).await;
            assert_eq!(balancer.sizes(), expected, "flows that are released");
        }
    });
}

/// A reload may have removed a service that the board still has.
#[test]
fn a_change_that_is_refused_takes_no_other_along() {
    const PIECE: usize = CHANGES_A_PIECE;
    block_on(async {
        let (runner, balancer, _) = runner();
        let change = |service: &str| Change::SetHealth {
            service: service.to_owned(),
            address: address(1),
            health: Health::Down,
        };
        let mut changes = vec![change("web"); PIECE + 1];
        changes[1] = change("gone");
        runner.change(changes.clone()).await;
        let sizes = [vec![PIECE], vec![1; PIECE], vec![1]].concat();
        assert_eq!(balancer.sizes(), sizes, "one by one");
        assert_eq!(balancer.0.lock().unwrap()[1..].concat(), changes);
    });
}

/// The tasks of these probes do not run: the test ends before.
#[test]
fn no_more_probes_run_than_may_and_no_more_start_in_a_turn() {
    const TURN: usize = STARTS_A_TURN;
    let one_more = u8::try_from(TURN + 1).unwrap();
    for (most, started) in [(2, vec![2, 2]), (3, vec![3, 3]), (TURN, vec![TURN, TURN])] {
        block_on(async {
            let (mut runner, ..) = runner();
            Arc::get_mut(&mut runner.prober).unwrap().started -= Duration::from_secs(10);
            runner.most = most;
            runner.adopt(Millis(0), &plan(one_more, Initial::Up));
            for count in started {
                let _ = runner.start();
                assert_eq!(runner.probes.len(), count);
            }
            assert!(!runner.has_room());
        });
    }
    block_on(async {
        let (mut runner, ..) = runner();
        Arc::get_mut(&mut runner.prober).unwrap().started -= Duration::from_secs(10);
        runner.adopt(Millis(0), &plan(one_more, Initial::Up));
        assert_eq!((runner.start(), runner.probes.len()), (true, TURN));
        assert_eq!((runner.start(), runner.probes.len()), (false, TURN + 1));
    });
}

#[test]
fn probes_that_start_a_second_late_are_noted_for_a_warning() {
    for (late, warned) in [(900, false), (1_000, true)] {
        // A try that takes part of the second itself proves nothing.
        let tries = (0..100).map(|_| starts_late(late));
        let (has_warned, _) =
            tries.into_iter().find(|(_, took)| *took < Duration::from_millis(50)).unwrap();
        assert_eq!(has_warned, warned, "{late} ms late");
    }
}

/// Whether the start of a probe that is so many milliseconds late warns, and how long it took.
fn starts_late(late: u64) -> (bool, Duration) {
    let begun = Instant::now();
    let mut has_warned = false;
    block_on(async {
        let (mut runner, ..) = runner();
        runner.adopt(Millis(0), &plan(1, Initial::Up));
        let due = runner.board.next_due().unwrap();
        let late = Duration::from_millis(due.0 + late);
        Arc::get_mut(&mut runner.prober).unwrap().started -= late;
        let _ = runner.start();
        assert_eq!(runner.probes.len(), 1);
        has_warned = runner.late.has_warned();
    });
    (has_warned, begun.elapsed())
}

/// The probe that it quotes has ended already.
#[test]
fn an_error_that_no_probe_waits_for_brings_the_check_forward() {
    block_on(async {
        let (mut runner, ..) = runner();
        runner.adopt(Millis(0), &plan(1, Initial::Up));
        let id = runner.board.checks_of(address(0))[0].0;
        runner.finish(passed(id, 1));
        let soon = Millis(1_000);
        assert!(runner.board.next_due().is_some_and(|due| due > soon));
        let refusal = FlowRefusal { why: "refused".to_owned(), by_end: true };
        let message = HealthMessage::Refuse { flow: flow(1), real: address(0), refusal };
        runner.answer(message).await;
        assert!(runner.board.next_due().is_some_and(|due| due < soon));
    });
}

#[test]
fn loads_are_sent_again_too_and_patterns_are_compiled_with_the_plan() {
    block_on(async {
        let (mut runner, balancer, _) = runner();
        runner.adopt(Millis(0), &plan_of(Probe::Agent, 1, Initial::Up));
        let id = runner.board.checks_of(address(0))[0].0;
        let mut drained = passed(id, 1).unwrap();
        drained.finding.reported = Some(Reported::Line("drain".to_owned()));
        drained.kept = None;
        runner.finish(Ok(drained));
        runner.answer(HealthMessage::Repeat).await;
        let out = |change: &Change| match change {
            Change::SetLoad { load, .. } => load.thousandths == 0,
            _ => false,
        };
        assert!(balancer.0.lock().unwrap().concat().iter().any(out));
        let body = HttpProbe { expect_body: Some("well".to_owned()), ..HttpProbe::new() };
        runner.adopt(Millis(0), &plan_of(Probe::Http(body), 1, Initial::Up));
        assert_eq!(runner.prober.patterns.len(), 1);
    });
}
