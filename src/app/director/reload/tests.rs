#![allow(clippy::unwrap_used)]

use mio::{Poll, Token};

use std::pin::pin;
use std::time::Duration;

use super::super::messages::{DirectorReport, ServicePage};
use super::*;
use crate::app::commands::Done;
use crate::balancer::{Balancer, Explanation, Limits};
use crate::config::Edit;
use crate::host::TunnelRoutes;
use crate::model::{AdminState, Millis, RealValue, Target};

const SERVICES: &str = "
[[service]]
name = \"web\"
listen = [\"192.0.2.10:80/tcp\", \"[2001:db8::10]:80/tcp\"]
scheduler = \"mh\"
real = [{ address = \"10.0.0.11\" }, { address = \"10.0.0.12\" }, \
        { address = \"2001:db8:1::13\", weight = 2 }]
[[service]]
name = \"other\"
listen = [\"192.0.2.10:81/tcp\"]
scheduler = \"sh\"
real = [{ address = \"10.0.0.11\" }, { address = \"10.0.0.12\" }]
";

fn read(keys: &str, services: &str) -> config::Director {
    config::director(&format!("[director]\n{keys}{services}")).unwrap()
}

/// A running configuration, with a packet thread that has a balancer and no packets.
fn running(config: config::Director) -> RunningDirector {
    let poll = Poll::new().unwrap();
    let (packet_thread, inbox) = PacketThread::new(&poll, Token(0)).unwrap();
    std::thread::spawn(move || {
        // The waker's other end has to live as long as this.
        let _poll = poll;
        let limits = Limits { connections: 100, refusals_per_second: 1 };
        let mut balancer = Balancer::new(limits, Seed(3, 4));
        while let Ok(message) = inbox.recv() {
            let now = Millis(0);
            match message {
                DirectorMessage::Apply { changes, answer } => {
                    let applied = balancer.apply_all(now, &changes);
                    drop(answer.send((changes, applied)));
                }
                DirectorMessage::Explain { flow, answer } => {
                    drop(answer.send(balancer.explain(now, &flow)));
                }
                DirectorMessage::Report(answer) => {
                    let snapshot = balancer.figures();
                    let (sent, loop_counters, next_timer) = Default::default();
                    drop(answer.send(DirectorReport {
                        gue_ports_taken: 0,
                        snapshot,
                        sent,
                        loop_counters,
                        fast_path: false,
                        not_carried: None,
                        next_timer,
                    }));
                }
                DirectorMessage::Services { from, listed, answer } => {
                    let (services, next) = balancer.list(from, 2, listed);
                    drop(answer.send(ServicePage { services, next, applied: 0 }));
                }
                other => panic!("unexpected message: {other:?}"),
            }
        }
    });
    let options = Options { config_path: PathBuf::new(), force: false, wait: Duration::ZERO };
    let (inbox, checks) = HealthThread::new();
    let (events, _) = tokio::sync::mpsc::unbounded_channel();
    inbox.start(packet_thread.clone(), events, 7).unwrap();
    let host_side = (
        Withdrawn::default(),
        TunnelRoutes::default(),
        Hooks::new(None).0,
        FastPathProgram::none(),
    );
    let kept = (Seed(5, 6), StatesFile::none());
    RunningDirector::new(config, options, packet_thread, checks, kept, host_side)
}

/// The real servers of 200 flows of each service, new and adopted ones.
async fn placed(running: &RunningDirector) -> Vec<Explanation> {
    let mut all = Vec::new();
    for client in 0..200 {
        let flows = [
            format!("tcp 198.51.100.{client}:4000 192.0.2.10:80"),
            format!("tcp [2001:db8:c::{client}]:4000 [2001:db8::10]:80"),
            format!("tcp 198.51.100.{client}:4000 192.0.2.10:81"),
        ];
        for flow in flows {
            let flow = flow.parse().unwrap();
            all.push(
                running
                    .packet_thread
                    .ask(|answer| DirectorMessage::Explain { flow, answer })
                    .await
                    .unwrap(),
            );
        }
    }
    all
}

impl RunningDirector {
    /// Applies the changes that lead to `wanted`.
    async fn lead_to(
        &mut self,
        wanted: &config::Director,
        changes: Vec<Change>,
    ) -> anyhow::Result<()> {
        let prepared = self.prepare(wanted, changes).await?;
        self.apply_prepared(prepared).await
    }

    /// Adds the services, as at the start.
    async fn begin(&mut self) {
        let services = self.config.specs().cloned().map(Change::AddService);
        let changes = self.settings().into_iter().chain(services).collect();
        self.apply(changes).await.unwrap();
    }
}

fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test);
}

/// The checksum of the Maglev table.
fn checksum(running: &RunningDirector) -> u64 {
    running.maglev_tables.table("web").unwrap().checksum()
}

/// Starts with one configuration and tries another, which the balancer refuses, or accepts before
/// the host refuses it. Afterwards nothing differs, and the same changes still apply.
async fn there_and_back(old: &str, new: (&str, &str), taken: bool) {
    let mut running = running(read(old, SERVICES));
    running.begin().await;
    let before = (placed(&running).await, checksum(&running));
    let wanted = read(new.0, new.1);
    let changes = || config::diff(&running.config, &wanted).unwrap();
    let (mut some, all) = (changes(), changes());
    let saved = SavedStates::before(&all, &running.snapshot().await.unwrap());
    if taken {
        running.lead_to(&wanted, some).await.unwrap();
        assert_ne!(placed(&running).await, before.0, "the new ones are in force");
        running.roll_back(&wanted, saved).await;
    } else {
        some.push(Change::RemoveService { service: "missing".to_owned() });
        running.lead_to(&wanted, some).await.unwrap_err();
    }
    assert_eq!(checksum(&running), before.1, "{new:?}");
    assert_eq!(placed(&running).await, before.0, "{new:?}");
    // Neither the balancer nor the tables have kept anything of it.
    running.lead_to(&wanted, all).await.unwrap();
    assert_ne!(placed(&running).await, before.0, "{new:?}");
}

/// The host may refuse what the balancer has accepted, or the balancer may refuse the batch: flows
/// are placed as before, by the balancer and by its tables.
#[test]
fn a_rollback_restores_the_old_hash_seed_and_slots() {
    let fewer = SERVICES.replace("{ address = \"10.0.0.12\" }, ", "");
    let weights = SERVICES.replace("weight = 2", "weight = 5");
    let keys = "hash_seed = \"new and secret\"\nmaglev_slots = 1031\n";
    let wanted = [
        ("hash_seed = \"new and secret\"\n", SERVICES),
        ("maglev_slots = 1031\n", SERVICES),
        (keys, SERVICES),
        (keys, &fewer),
        (keys, &weights),
    ];
    block_on(async {
        for taken in [true, false] {
            for new in wanted {
                let old = "hash_seed = \"old and secret\"\nmaglev_slots = 2053\n";
                there_and_back(old, new, taken).await;
            }
            // Keys that were not there: the usual table is the larger one.
            there_and_back("", (keys, &weights), taken).await;
        }
    });
}

/// Four real servers. An operator has drained the first with a deadline and the second without one,
/// disabled the third, and given the fourth another weight.
async fn operated(keys: &str) -> RunningDirector {
    let reals: Vec<String> = (11..15)
        .map(|host| format!("{{ address = \"10.0.0.{host}\", weight = 3, upper = 9 }}"))
        .collect();
    let services = format!(
        "[[service]]\nname = \"web\"\nlisten = [\"192.0.2.10:80/tcp\"]\n{keys}real = [{}]\n",
        reals.join(", ")
    );
    let mut running = running(read("", &services));
    running.begin().await;
    let which = |host| Target { address: format!("10.0.0.{host}"), ..Target::default() };
    let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
    for (host, state) in [
        (11, AdminState::Draining { deadline: minutes(10) }),
        (12, AdminState::Draining { deadline: None }),
        (13, AdminState::Disabled),
    ] {
        running.set_state(&which(host), state).await.unwrap();
    }
    let other = running.config.edited(
        &Target { address: "10.0.0.14".to_owned(), service: None, all_services: false },
        Edit::Set(RealValue::Weight(7)),
    );
    let other = other.unwrap();
    let changes = config::diff(&running.config, &other).unwrap();
    running.apply(changes).await.unwrap();
    running.config = other;
    running
}

/// The states of the real servers with deadlines in minutes, by address.
async fn listed_states(running: &RunningDirector) -> Vec<String> {
    let snapshot = running.snapshot().await.unwrap();
    let reals = snapshot.services.iter().flat_map(|service| &service.reals);
    let mut shown: Vec<_> = reals
        .map(|real| {
            let [weight, upper, _] = real.values.numbers();
            let minutes = real.deadline.map(|left| (left.as_secs_f64() / 60.0).round());
            format!(
                "{} weight {} upper {} {} {minutes:?} {:?}",
                real.address,
                weight,
                upper,
                real.state.name(),
                real.effective_weight
            )
        })
        .collect();
    shown.sort();
    shown
}

/// A change that the host refuses is rolled back with the states and deadlines that operators set:
/// for a real server that was removed or changed its state, and for a service that was removed or
/// renamed. A change that the balancer refuses changes nothing.
#[test]
fn a_rollback_restores_states_and_deadlines_that_operators_set() {
    block_on(async {
        for keys in ["", "drain_deadline = \"20m\"\nslow_start = \"5m\"\n"] {
            for taken in [true, false] {
                for how in ["remove", "states", "service", "name", "name and states"] {
                    let mut running = operated(keys).await;
                    let before = listed_states(&running).await;
                    let mut wanted = running.config.clone();
                    let web = &mut wanted.services.first_mut().unwrap().spec;
                    match how {
                        "remove" => web.reals.clear(),
                        "states" => {
                            web.reals.iter_mut().for_each(|real| real.state = AdminState::Down);
                        }
                        "name" => web.name = "another".to_owned(),
                        "name and states" => {
                            web.name = "another".to_owned();
                            web.reals.iter_mut().for_each(|real| real.state = AdminState::Down);
                        }
                        _ => {
                            web.name = "another".to_owned();
                            web.listens = vec!["192.0.2.10:81/tcp".parse().unwrap()];
                        }
                    }
                    let mut changes = config::diff(&running.config, &wanted).unwrap();
                    let saved = SavedStates::before(&changes, &running.snapshot().await.unwrap());
                    if taken {
                        running.lead_to(&wanted, changes).await.unwrap();
                        assert_eq!(listed_states(&running).await == before, how == "name", "{how}");
                        running.roll_back(&wanted, saved).await;
                    } else {
                        changes.push(Change::RemoveService { service: "missing".to_owned() });
                        running.lead_to(&wanted, changes).await.unwrap_err();
                    }
                    assert_eq!(listed_states(&running).await, before, "{how} {keys}");
                }
            }
        }
    });
}

fn texts(answer: Answer) -> Vec<String> {
    let Answer::Done(Done { changes, .. }) = answer else { panic!("{answer:?}") };
    changes.iter().map(ToString::to_string).collect()
}

/// A deadline is part of the state: another one is a change, the same one is none.
#[test]
fn another_deadline_is_a_change() {
    block_on(async {
        let mut running = operated("drain_deadline = \"20m\"\n").await;
        let which = Target { address: "10.0.0.11".to_owned(), ..Target::default() };
        let mut drain = async |minutes: Option<u64>| {
            let deadline = minutes.map(|minutes| Duration::from_secs(60 * minutes));
            texts(running.set_state(&which, AdminState::Draining { deadline }).await.unwrap())
        };
        assert_eq!(drain(Some(10)).await, [""; 0]);
        let change = |before: &str, after: &str| {
            [format!(
                "web 10.0.0.11: state draining, for {before} at most → draining, for {after} at \
                 most"
            )]
        };
        assert_eq!(drain(Some(5)).await, change("10m", "5m"));
        // A drain without its own deadline has the service's.
        assert_eq!(drain(None).await, change("5m", "20m"));
        assert_eq!(drain(None).await, [""; 0]);
    });
}

/// A file with the state that an operator has already set keeps the operator's deadline, and a plan
/// shows exactly the changes that a reload makes.
#[test]
fn a_file_that_drains_a_drained_server_keeps_its_deadline() {
    block_on(async {
        let running = operated("").await;
        let mut wanted = running.config.clone();
        for real in &mut wanted.services.first_mut().unwrap().spec.reals {
            real.state = AdminState::Draining { deadline: None };
        }
        let running_now = running.snapshot().await.unwrap();
        let changes = config::diff(&running.config, &wanted).unwrap();
        let changes = running.before(&running_now).unmet(changes);
        let shown: Vec<_> =
            running.altered(&changes, &running_now).iter().map(ToString::to_string).collect();
        let expected =
            ["web 10.0.0.13: state disabled → draining", "web 10.0.0.14: state up → draining"];
        assert_eq!(shown, expected);
        assert_eq!(changes.len(), 2, "and no others are made");
        let plan = ReloadPlan::new(&changes, &running.before(&running_now));
        assert_eq!(plan.changes.len(), 2);
    });
}

/// Tables are computed beside the thread that answers and handles signals, and the computation ends
/// early when the director stops.
#[test]
fn tables_are_computed_in_the_background_and_abandoned_at_a_stop() {
    block_on(async {
        let mut running = running(read("maglev_slots = 1048573\n", SERVICES));
        running.begin().await;
        let wanted = read("maglev_slots = 1048573\nhash_seed = \"another one\"\n", SERVICES);
        let mut preparing = pin!(running.prepare(&wanted, Vec::new()));
        tokio::select! {
            biased;
            _ = &mut preparing => panic!("it was made at once"),
            () = tokio::task::yield_now() => {}
        }
        assert!(preparing.await.is_ok(), "it is made, and others came in between");
        running.builder().stop();
        let refused = running.prepare(&wanted, Vec::new()).await.unwrap_err();
        assert_eq!(refused.to_string(), "the director is stopping");
    });
}
