//! Schedulers: one file each, behind one small trait, chosen by name in [`new`] alone.
//!
//! The algorithms are IPVS's unless their file says otherwise. Real servers are visited in
//! configuration order (IPVS goes from the newest to the oldest), so ties go to the one configured
//! first.

mod dh;
mod fo;
mod lc;
mod load;
mod mh;
mod nq;
mod ovf;
mod rr;
mod scheduler;
mod sed;
mod sh;
mod turns;
mod twos;
mod wlc;
mod wrr;

use crate::model::SchedulerKind;

pub(super) use scheduler::Scheduler;

/// Creates the scheduler of that kind; `seed` is random.
pub(super) fn new(kind: SchedulerKind, seed: u64) -> Box<dyn Scheduler> {
    match kind {
        SchedulerKind::RoundRobin => Box::new(rr::RoundRobin::default()),
        SchedulerKind::WeightedRoundRobin => Box::new(wrr::WeightedRoundRobin::default()),
        SchedulerKind::LeastConnections => Box::new(lc::LeastConnections),
        SchedulerKind::WeightedLeastConnections => Box::new(wlc::WeightedLeastConnections),
        SchedulerKind::ShortestExpectedDelay => Box::new(sed::ShortestExpectedDelay),
        SchedulerKind::NeverQueue => Box::new(nq::NeverQueue),
        SchedulerKind::SourceHashing => Box::new(sh::SourceHashing),
        SchedulerKind::DestinationHashing => Box::new(dh::DestinationHashing),
        SchedulerKind::Maglev => Box::new(mh::Maglev::default()),
        SchedulerKind::Failover => Box::new(fo::Failover),
        SchedulerKind::Overflow => Box::new(ovf::Overflow),
        SchedulerKind::TwoChoices => Box::new(twos::TwoChoices::new(seed)),
    }
}

#[cfg(test)]
mod tests;
