//! A long batch in pieces: packets between two pieces are placed by all old or all new values of
//! their service, and after the last one everything is as after the whole batch.

use proptest::prelude::*;

use super::*;
use crate::balancer::maglev::MaglevTables;
use crate::balancer::pieces::pieces;

const SERVICES: u16 = 4;
const FLOWS: u32 = 5;

/// A service before and after the batch.
#[derive(Clone, Debug)]
struct Pair {
    scheduler: SchedulerKind,
    old: [u32; 3],
    new: [u32; 3],
    /// How many of the three real servers there are before and after.
    reals: (usize, usize),
    listens_elsewhere: bool,
}

/// Those whose choice depends on no other flow.
fn pair() -> impl Strategy<Value = Pair> {
    let kinds = [SchedulerKind::SourceHashing, SchedulerKind::Maglev, SchedulerKind::Failover];
    let weights = || prop::array::uniform3(0_u32..4);
    let reals = prop_oneof![4 => Just((3, 3)), 1 => (2_usize..4, 2_usize..4)];
    let kinds = prop::sample::select(kinds.to_vec());
    (kinds, weights(), weights(), reals, prop::bool::weighted(0.1)).prop_map(
        |(scheduler, old, new, reals, listens_elsewhere)| Pair {
            scheduler,
            old,
            new,
            reals,
            listens_elsewhere,
        },
    )
}

fn name(number: u16) -> String {
    format!("service-{number}")
}

impl Pair {
    fn spec(&self, number: u16) -> ServiceSpec {
        let weights: Vec<_> = [A, B, C].into_iter().zip(self.old).take(self.reals.0).collect();
        let (name, port) = (name(number), 80 + number);
        ServiceSpec { name, listens: listens(port), ..web(self.scheduler, &weights) }
    }

    /// The changes to its new values.
    fn changes(&self, number: u16) -> Vec<Change> {
        let (mut changes, (before, after)) = (Vec::new(), self.reals);
        let all = [A, B, C].into_iter().zip(self.new);
        for (index, (address, weight)) in all.enumerate().take(before.max(after)) {
            let service = name(number);
            changes.push(if index >= after {
                Change::RemoveReal { service, address }
            } else if index >= before {
                Change::AddReal { service, real: spec(address, weight) }
            } else {
                Change::SetReal { service, address, value: RealValue::Weight(weight) }
            });
        }
        if self.listens_elsewhere {
            let listens = listens(180 + number);
            changes.push(Change::SetListens { service: name(number), listens });
        }
        changes
    }
}

fn listens(port: u16) -> Vec<Listen> {
    let text = [format!("192.0.2.10:{port}/tcp"), format!("[2001:db8::10]:{port}/tcp")];
    text.iter().map(|one| one.parse().unwrap()).collect()
}

/// A director with the old values, and the changes to the new ones with their tables.
fn directed(pairs: &[Pair]) -> (Director, Vec<Change>) {
    let mut director = Director::new(1_000);
    let mut tables = MaglevTables::new(Seed(7, 8), 251);
    let numbered = || (0..SERVICES).zip(pairs);
    let added = numbered().map(|(number, pair)| Change::AddService(pair.spec(number)));
    let added = tables.follow(added.collect());
    director.balancer.apply_all(director.now, &added).unwrap();
    let changes = numbered().flat_map(|(number, pair)| pair.changes(number));
    (director, tables.follow(changes.collect()))
}

/// Where the first packets of new flows go, by service.
fn placed(director: &mut Director, round: u32) -> Vec<Vec<Option<IpAddr>>> {
    let mut of_service = |number: u16| {
        let mut of_flow = |flow| {
            let flow = Flow { client: round * FLOWS + flow, port: 80 + number };
            match director.forward(&flow.tcp(Flags::SYN)) {
                Verdict::Tunnel(tunnel) => Some(tunnel.real),
                _ => None,
            }
        };
        (0..FLOWS).map(&mut of_flow).collect()
    };
    (0..SERVICES).map(&mut of_service).collect()
}

/// A service's name, its listens, and its real servers with their values and whether they serve.
type Configured = (String, Vec<Listen>, Vec<(IpAddr, RealValues, bool)>);

/// What is configured, without counters.
fn configured(director: &Director) -> Vec<Configured> {
    let services = director.balancer.snapshot().services;
    let one = |service: snapshot::ServiceSnapshot| {
        let reals = service.reals.iter();
        let reals = reals.filter(|real| !real.removed).map(|real| {
            let in_service = real.state == RealState::Up && real.effective_weight.is_some();
            (real.address, real.values, in_service)
        });
        (service.name.to_string(), service.listens.to_vec(), reals.collect())
    };
    services.into_iter().map(one).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// The models are a balancer that never gets the batch, and one that has got it as a whole.
    #[test]
    fn a_packet_between_two_pieces_meets_a_service_before_or_after_the_batch(
        pairs in prop::collection::vec(pair(), usize::from(SERVICES)),
        most in 0_usize..12,
    ) {
        let ((mut old, batch), (mut new, _), (mut divided, _)) =
            (directed(&pairs), directed(&pairs), directed(&pairs));
        new.balancer.apply_all(new.now, &batch).unwrap();
        let all = batch.len();
        let cut = pieces(batch, most);
        prop_assert_eq!(cut.iter().map(Vec::len).sum::<usize>(), all);
        for (round, piece) in (0..).zip(&cut) {
            prop_assert_eq!(divided.balancer.apply_all(divided.now, piece), Ok(()));
            let [before, after, between] =
                [&mut old, &mut new, &mut divided].map(|director| placed(director, round));
            for ((before, after), between) in before.into_iter().zip(after).zip(between) {
                prop_assert!(between == before || between == after, "{:?}", between);
            }
        }
        let last = u32::try_from(cut.len()).unwrap();
        prop_assert_eq!(placed(&mut divided, last), placed(&mut new, last));
        prop_assert_eq!(configured(&divided), configured(&new));
    }
}
