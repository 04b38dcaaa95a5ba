//! A batch of changes is applied as a whole or not at all.

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 3] = ["web", "mail", "dns"];
const REALS: [IpAddr; 3] = [A, B, C];

/// Services on few ports with few real servers, so that many changes conflict.
fn service_spec() -> impl Strategy<Value = ServiceSpec> {
    let reals = prop::collection::vec((0_usize..3, 0_u32..3), 0..4);
    let kinds = prop::sample::select(SchedulerKind::ALL.to_vec());
    (0_usize..3, ports(), kinds, reals).prop_map(|(name, listens, scheduler, reals)| ServiceSpec {
        name: NAMES[name].to_owned(),
        listens,
        reals: reals.iter().map(|&(real, weight)| spec(REALS[real], weight)).collect(),
        ..web(scheduler, &[])
    })
}

fn ports() -> impl Strategy<Value = Vec<Listen>> {
    prop::collection::vec((80_u16..86, 0_u16..2), 1..3).prop_map(|ports| {
        let text = |(first, more): (u16, u16)| format!("192.0.2.10:{first}-{}/tcp", first + more);
        ports.into_iter().map(|range| text(range).parse().unwrap()).collect()
    })
}

fn change() -> impl Strategy<Value = Change> {
    let name = || prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned);
    let real = || (name(), prop::sample::select(REALS.to_vec()));
    let wanted = prop::sample::select(vec![
        AdminState::Up,
        AdminState::Disabled,
        AdminState::Down,
        AdminState::Draining { deadline: None },
        AdminState::Draining { deadline: Some(Duration::from_secs(1)) },
    ]);
    // One weight in twelve and one upper threshold in six are wrong.
    let weight = (0_u32..12).prop_map(|weight| if weight == 11 { 65_536 } else { weight });
    let upper = (0_u32..6, 0_u32..2);
    prop_oneof![
        service_spec().prop_map(Change::AddService),
        name().prop_map(|service| Change::RemoveService { service }),
        (name(), name()).prop_map(|names| Change::RenameServices { names: vec![names] }),
        (name(), name()).prop_map(|(one, other)| Change::RenameServices {
            names: vec![(one.clone(), other.clone()), (other, one)]
        }),
        (name(), ports()).prop_map(|(service, listens)| Change::SetListens { service, listens }),
        (name(), prop::sample::select(SchedulerKind::ALL.to_vec()))
            .prop_map(|(service, scheduler)| Change::SetScheduler { service, scheduler }),
        (real(), 0_u32..3).prop_map(|((service, address), weight)| Change::AddReal {
            service,
            real: spec(address, weight)
        }),
        real().prop_map(|(service, address)| Change::RemoveReal { service, address }),
        (real(), weight).prop_map(|((service, address), weight)| Change::SetReal {
            service,
            address,
            value: RealValue::Weight(weight)
        }),
        (real(), wanted).prop_map(|((service, address), state)| Change::SetState {
            service,
            address,
            state
        }),
        (real(), upper).prop_map(|((service, address), (upper, lower))| Change::SetReal {
            service,
            address,
            value: RealValue::Thresholds(Thresholds { upper, lower })
        }),
        real().prop_map(|(service, address)| Change::SetHealth {
            service,
            address,
            health: Health::Down
        }),
    ]
}

/// The history before the batch: changes, also refused ones, and clients' packets.
#[derive(Clone, Debug)]
enum Event {
    Change(Change),
    Syn(Flow),
    Fin(Flow),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let flow =
        || (0_u32..20, 80_u16..86).prop_map(|(client, port)| Flow { client: 2 * client, port });
    prop_oneof![
        2 => change().prop_map(Event::Change),
        2 => flow().prop_map(Event::Syn),
        1 => flow().prop_map(Event::Fin),
        1 => (0_u64..30).prop_map(Event::Pass),
    ]
}

fn director(history: &[Event]) -> Director {
    let mut director = Director::new(100);
    director.apply(&Change::AddService(web(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)])));
    for event in history {
        match event {
            Event::Change(change) => drop(director.balancer.apply(director.now, change)),
            Event::Syn(flow) => drop(director.forward(&flow.tcp(Flags::SYN))),
            Event::Fin(flow) => drop(director.forward(&flow.tcp(Flags::FIN | Flags::ACK))),
            Event::Pass(time) => director.pass(seconds(*time)),
        }
    }
    director
}

proptest! {
    /// The model is a second balancer with the same history, to which the changes are applied one
    /// by one. A refused batch leaves every field of the first one as it was.
    #[test]
    fn a_batch_is_all_of_its_changes_or_none(
        history in prop::collection::vec(event(), 0..40),
        batch in prop::collection::vec(change(), 0..8),
    ) {
        let (mut whole, mut single) = (director(&history), director(&history));
        let before = format!("{:?}", whole.balancer);
        let applied = whole.balancer.apply_all(whole.now, &batch);
        let one_by_one =
            batch.iter().try_for_each(|change| single.balancer.apply(single.now, change));
        prop_assert_eq!(&applied, &one_by_one);
        if applied.is_err() {
            prop_assert_eq!(format!("{:?}", whole.balancer), before);
        } else {
            prop_assert_eq!(whole.balancer.snapshot(), single.balancer.snapshot());
        }
    }
}

#[test]
fn a_renamed_service_keeps_its_connections_and_counters() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)]);
    let real = director.connect(flow(2));
    let rename = |old: &str, new: &str| Change::RenameServices {
        names: vec![(old.to_owned(), new.to_owned())],
    };
    director.apply(&rename("web", "www"));
    assert_eq!(*director.balancer.snapshot().services[0].name, *"www");
    assert_eq!(director.ack(flow(2)), real, "the connection goes on");
    assert_eq!(director.real(real).unwrap().connections, 1);
    director.refuses(&set_weight(A, 3), &ChangeError::NoService("web".to_owned()));
    director.refuses(&rename("web", "x"), &ChangeError::NoService("web".to_owned()));
    director.apply(&rename("www", "web"));
    director.apply(&set_weight(A, 3));
}

/// A lookup before the batch would find another real server than its changes will, or none.
#[test]
fn a_value_is_of_the_real_server_that_earlier_changes_lead_to() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1), (B, 1)]);
    let before = format!("{:?}", director.balancer);
    let refused = director.balancer.apply_all(director.now, &[remove_real(A), set_weight(A, 3)]);
    assert_eq!(refused, Err(ChangeError::NoReal { service: "web".to_owned(), address: A }));
    assert_eq!(format!("{:?}", director.balancer), before);
    let again =
        [remove_real(A), add_real(C, 1), set_weight(C, 3), add_real(A, 1), set_weight(A, 4)];
    assert_eq!(director.balancer.apply_all(director.now, &again), Ok(()));
    let weight = |real| director.real(real).map(|real| real.values.weight);
    assert_eq!([A, B, C].map(weight), [Some(4), Some(1), Some(3)]);
}

/// No known batch is such: this plays one whose check has missed an error.
#[test]
fn an_error_that_the_check_has_missed_is_reported_and_the_other_changes_apply() {
    let mut director = Director::with(SchedulerKind::RoundRobin, &[(A, 1)]);
    let changes = [set_weight(B, 2), set_weight(A, 7), remove_real(C)];
    let made = director.balancer.make_all(director.now, &changes, &[]);
    let first = ChangeError::NoReal { service: "web".to_owned(), address: B };
    assert_eq!(made, Err(ChangeError::PartlyApplied(Box::new(first))));
    assert_eq!(director.real(A).unwrap().values.weight, 7);
}
