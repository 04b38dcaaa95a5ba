//! The sockets' filters: in a flood of strangers' packets the kernel refuses them.

use std::time::{Duration, Instant};

use crate::app::log_throttle::LogThrottle;
use crate::decap::Gate;
use crate::decap::filter::{self, Instruction, OuterVersion, SAMPLE};
use crate::decap::strangers::{FLOOD, FilterStep, Strangers};
use crate::sys::raw::Receiver;

/// The programs for a list of directors; the control thread makes them.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    v4: Option<Vec<Instruction>>,
    v6: Option<Vec<Instruction>>,
}

impl Programs {
    /// The programs that let the gate's directors pass.
    pub(super) fn of(gate: &Gate) -> Self {
        let program = |outer| filter::program(gate.directors(), outer);
        Self { v4: program(OuterVersion::V4), v6: program(OuterVersion::V6) }
    }

    fn attach(&self, receiver: &Receiver) -> bool {
        let program = if receiver.outer_version() == 4 { &self.v4 } else { &self.v6 };
        let Some(program) = program else { return false };
        let program = program.iter().map(|one| (one.code, one.jt, one.jf, one.k));
        match receiver.attach_filter(program) {
            Ok(()) => true,
            Err(error) => {
                log::debug!("cannot attach a socket filter: {error}");
                false
            }
        }
    }
}

/// Strangers' packets, and the programs against a flood of them.
#[derive(Debug)]
pub(super) struct StrangerFilter {
    programs: Programs,
    strangers: Strangers,
    throttle: LogThrottle,
}

/// A socket's filter.
#[derive(Debug, Default)]
pub(super) struct FilterState {
    /// Whether the kernel has it.
    now: bool,
    /// Whether all datagrams that can still be read have passed it.
    pub(super) sampled: bool,
}

impl FilterState {
    /// Whether the kernel has it.
    pub(super) fn refuses(&self) -> bool {
        self.now
    }

    /// Notes that the socket has been read empty: later datagrams have passed the filter, if there
    /// is one.
    pub(super) fn drained(&mut self) {
        self.sampled = self.now;
    }
}

impl StrangerFilter {
    pub(super) fn new(programs: Programs) -> Self {
        let strangers = Strangers::new(Instant::now());
        Self { programs, strangers, throttle: LogThrottle::default() }
    }

    /// Takes the count of strangers' packets; attaches the filters when a flood begins, and removes
    /// them when it is over.
    pub(super) fn watch<'a>(
        &mut self,
        now: Instant,
        count: u64,
        sockets: impl Iterator<Item = (&'a Receiver, &'a mut FilterState)>,
    ) {
        match self.strangers.next(now, count) {
            None => {}
            Some(FilterStep::Began) => self.attach(now, sockets),
            Some(FilterStep::Ended) => {
                log::info!("the flood of strangers' tunnelled packets is over: each is read again");
                for (receiver, attached) in sockets {
                    let _ = receiver.detach_filter();
                    *attached = FilterState::default();
                }
            }
        }
    }

    /// Uses other programs from now on.
    pub(super) fn replace<'a>(
        &mut self,
        programs: Programs,
        sockets: impl Iterator<Item = (&'a Receiver, &'a mut FilterState)>,
    ) {
        self.programs = programs;
        if self.strangers.flood() {
            for (receiver, attached) in sockets {
                attached.now = self.programs.attach(receiver);
                if !attached.now {
                    let _ = receiver.detach_filter();
                    attached.sampled = false;
                }
            }
        }
    }

    /// How long until [`Self::watch`] has to be called even if no packet comes.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        self.strangers.wait(now)
    }

    /// Whether there is a flood, in which the kernel refuses strangers' packets.
    pub(super) fn flood(&self) -> bool {
        self.strangers.flood()
    }

    #[cold]
    fn attach<'a>(
        &mut self,
        now: Instant,
        sockets: impl Iterator<Item = (&'a Receiver, &'a mut FilterState)>,
    ) {
        let mut all = true;
        for (receiver, attached) in sockets {
            attached.now = self.programs.attach(receiver);
            all &= attached.now;
        }
        if self.throttle.note(now).is_none() {
            return;
        }
        if all {
            log::warn!(
                "more than {FLOOD} tunnelled packets a second come from strangers: the kernel \
                 refuses them while that lasts; one in {SAMPLE} is read and counts for all"
            );
        } else {
            log::warn!(
                "more than {FLOOD} tunnelled packets a second come from strangers, and the kernel \
                 takes no socket filter against them: a larger `net.core.optmem_max`, fewer \
                 `directors`, or a firewall that drops protocols 4, 41 and 47 and the UDP port of \
                 GUE from others saves this daemon the work"
            );
        }
    }
}
