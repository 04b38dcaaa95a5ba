//! The cost of a change within a large batch, which takes the packet thread's time.

use std::net::{IpAddr, Ipv4Addr};

use vstun::balancer::pieces::pieces;
use vstun::balancer::{Balancer, Change, Limits};
use vstun::model::{
    Listen, Millis, Policy, PortRange, Protocol, RealSpec, RealValue, SchedulerKind, ServiceSpec,
};

use super::packets::Family::V4;
use super::rows::{Run, SEED};

const SERVICES: u16 = 1_000;
const REALS: u16 = 20;

/// Changes in a batch: the weight of each real server.
pub(crate) const CHANGES: u64 = SERVICES as u64 * REALS as u64;

/// Changes in a piece, as the director applies them.
const A_PIECE: usize = 64;

/// Sets all weights of 1,000 services of 20 real servers each, as a reload does: an operation is a
/// weight.
pub(crate) fn weights(scheduler: SchedulerKind) -> Run {
    let mut director = Balancer::new(Limits { connections: 1_024, refusals_per_second: 0 }, SEED);
    let services: Vec<_> = (0..SERVICES).map(|number| service(number, scheduler)).collect();
    for service in &services {
        director.apply(Millis(0), &Change::AddService(service.clone())).unwrap();
    }
    let batches = [1, 2].map(|weight| pieces(batch(&services, weight), A_PIECE));
    let mut number = 0;
    Box::new(move |count| {
        for _ in 0..count / CHANGES {
            for piece in &batches[number % batches.len()] {
                director.apply_all(Millis(1), piece).unwrap();
            }
            number += 1;
        }
    })
}

fn batch(services: &[ServiceSpec], weight: u32) -> Vec<Change> {
    let changes = services.iter().flat_map(|service| {
        service.reals.iter().map(|real| {
            let (service, address) = (service.name.clone(), real.address);
            let value = RealValue::Weight(real.values.weight + weight);
            Change::SetReal { service, address, value }
        })
    });
    changes.collect()
}

fn service(number: u16, scheduler: SchedulerKind) -> ServiceSpec {
    let ports = PortRange { first: number + 1, last: number + 1 };
    let real = |real: u16| {
        let [high, low] = (number * REALS + real).to_be_bytes();
        RealSpec::new(IpAddr::V4(Ipv4Addr::new(10, 1, high, low)), 1)
    };
    ServiceSpec {
        name: format!("service-{number}"),
        listens: vec![Listen { protocol: Protocol::Tcp, address: V4.vip(), ports }],
        scheduler,
        policy: Policy::default(),
        reals: (0..REALS).map(real).collect(),
    }
}
