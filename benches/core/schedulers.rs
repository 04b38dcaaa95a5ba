//! The cost of choosing a real server: each scheduler, asked for every packet.

use vstun::balancer::maglev::{self, MaglevTables};
use vstun::balancer::{Balancer, Change, Limits};
use vstun::model::{
    FloodMarks, Listen, Millis, Policy, PortRange, Protocol, RealSpec, SchedulerKind, ServiceSpec,
};

use super::packets::Family::V4;
use super::packets::PORT;
use super::rows::{Run, SEED, take};

/// Alternating clients, so that hashes hit all servers.
const CLIENTS: u32 = 256;
const REALS: u32 = 16;

/// Datagrams of a service with one-packet scheduling, among 16 real servers of the weights 1 to 4:
/// each is parsed, scheduled and leaves no entry.
pub(crate) fn schedule(scheduler: SchedulerKind) -> Run {
    let limits = Limits { connections: 1_024, refusals_per_second: 0 };
    let mut director = Balancer::new(limits, SEED);
    let ports = PortRange { first: PORT, last: PORT };
    let reals = (0..REALS).map(|real| RealSpec::new(V4.real(real), 1 + real % 4));
    let policy = Policy { one_packet: true, flood: FloodMarks::OFF, ..Policy::default() };
    let service = ServiceSpec {
        name: "dns".to_owned(),
        listens: vec![Listen { protocol: Protocol::Udp, address: V4.vip(), ports }],
        scheduler,
        policy,
        reals: reals.collect(),
    };
    // For mh, whose table is computed elsewhere.
    let mut maglev_tables = MaglevTables::new(SEED, maglev::SLOTS);
    for change in maglev_tables.follow(vec![Change::AddService(service)]) {
        director.apply(Millis(0), &change).unwrap();
    }
    let packets: Vec<_> = (0..CLIENTS).map(|client| V4.datagram(client)).collect();
    Box::new(move |count| {
        let count = usize::try_from(count).unwrap();
        for packet in packets.iter().cycle().take(count) {
            take(&mut director, Millis(1), packet);
        }
    })
}
