//! The real server's fast path: the program at the Ethernet interfaces, and what it admits.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::config::{self, FastPath};
use crate::control::FastPathState;
use crate::sys::host_events::HostEvents;
use crate::sys::interfaces::{self, HostInterfaces};
use crate::sys::real_path::{self, Admitted, Count, Program, ProgramCounters};

/// A burst of changes of interfaces and addresses is followed at once after this time.
const BURST: Duration = Duration::from_millis(10);

const HINT: &str = "fast_path needs Linux 6.6, CAP_BPF and CAP_NET_ADMIN";

/// The program, if it is configured and the kernel and the capabilities allow it.
#[derive(Debug, Default)]
pub(super) struct RealFastPath {
    program: Option<Program>,
    counts: Option<Arc<ProgramCounters>>,
    /// The state of the host that the program was last set up for.
    ends: HostInterfaces,
    state: watch::Sender<FastPathState>,
}

impl RealFastPath {
    /// Loads the program for the TUN with this index. It admits nothing yet.
    ///
    /// # Errors `fast_path` is "on", and the kernel or the capabilities do not allow it.
    pub(super) fn load(config: &config::RealServer, tun: u32) -> anyhow::Result<Self> {
        let mut loaded = Self::default();
        if config.fast_path == FastPath::Off {
            return Ok(loaded);
        }
        match real_path::load(tun, config.gue_port) {
            Ok((program, counts)) => {
                (loaded.program, loaded.counts) = (Some(program), Some(Arc::new(counts)));
            }
            Err(error) if config.fast_path == FastPath::On => return Err(error).context(HINT),
            Err(error) => {
                let why = format!("{error}; {HINT}");
                log::warn!("no fast path, all packets come to the daemon: {why}");
                loaded.state.send_replace(FastPathState { at: Vec::new(), missing: vec![why] });
            }
        }
        Ok(loaded)
    }

    /// The program's counters, if there is one.
    pub(super) fn counts(&self) -> Option<Arc<ProgramCounters>> {
        self.counts.clone()
    }

    /// Where it is attached, and why it is missing elsewhere.
    pub(super) fn state(&self) -> watch::Receiver<FastPathState> {
        self.state.subscribe()
    }

    /// The program admits what `config` does from now on, at all Ethernet interfaces and for the
    /// addresses that this host has now. A failure is logged: packets that are not admitted here
    /// come to the daemon.
    pub(super) fn admit(&mut self, config: &config::RealServer) {
        if self.program.is_none() {
            return;
        }
        match ends(config) {
            Ok(ends) => self.set_up(config, ends),
            Err(error) => Self::warn(&error),
        }
    }

    /// The same for addresses and interfaces that have changed, if they have.
    pub(super) fn follow(&mut self, config: &config::RealServer) {
        match ends(config) {
            Ok(ends) if ends == self.ends => {}
            Ok(ends) => self.set_up(config, ends),
            Err(error) => Self::warn(&error),
        }
    }

    fn set_up(&mut self, config: &config::RealServer, ends: HostInterfaces) {
        let Some(program) = &mut self.program else { return };
        let (directors, vips) = (config.directors.clone(), config.vips.clone());
        let own = ends.addresses.clone();
        if let Err(error) = program.admit(&Admitted { directors, vips, own }) {
            Self::warn(&error);
        }
        let mut now = FastPathState::default();
        program.detach_others(&ends.ethernets.keys().copied().collect::<Vec<_>>());
        for (index, name) in &ends.ethernets {
            match program.attach(*index, name) {
                Ok(()) => now.at.push(name.clone()),
                Err(error) => now.missing.push(format!("{name}: {error}")),
            }
        }
        for missing in &now.missing {
            if !self.state.borrow().missing.contains(missing) {
                log::warn!("no fast path at {missing}; packets from there come to the daemon");
            }
        }
        self.ends = ends;
        self.state.send_replace(now);
    }

    fn warn(error: &io::Error) {
        log::warn!("the fast path admits less than configured: {error}");
    }

    /// Logs that the program is in use.
    pub(super) fn announce(&self) {
        if self.program.is_some() {
            log::info!(
                "fast path: the kernel takes packets out of the tunnel; firewall rules see them \
                 only at the TUN, fast_path = \"off\" undoes it"
            );
        }
    }

    /// The changes to follow; without a program there are none.
    pub(super) fn changes(&self) -> EndChanges {
        let open = || {
            let events = HostEvents::of_addresses();
            events.inspect_err(|error| {
                log::warn!(
                    "the fast path uses later addresses and interfaces only from the next reload \
                     on: {error}"
                );
            })
        };
        let events = self.program.as_ref().and_then(|_| open().ok());
        EndChanges { events, due: None }
    }
}

/// Changes of this host's interfaces and addresses.
#[derive(Debug)]
pub(super) struct EndChanges {
    events: Option<HostEvents>,
    /// When the burst that has begun is to be followed.
    due: Option<Instant>,
}

impl EndChanges {
    /// Waits until there was a change. It may be dropped at any await point and called again.
    pub(super) async fn next(&mut self) {
        while let Some(events) = &mut self.events {
            let heard = match self.due {
                Some(due) => match timeout_at(due, events.next()).await {
                    Ok(heard) => heard,
                    Err(_over) => {
                        self.due = None;
                        return;
                    }
                },
                None => events.next().await,
            };
            self.due = self.due.or_else(|| Some(Instant::now() + BURST));
            if let Err(error) = heard {
                log::warn!("the fast path follows no more changes of addresses: {error}");
                self.events = None;
            }
        }
        std::future::pending::<()>().await;
    }
}

/// The interfaces where tunnelled packets arrive, and the addresses that they are sent to.
fn ends(config: &config::RealServer) -> io::Result<HostInterfaces> {
    let mut ends = interfaces::ends()?;
    ends.ethernets.retain(|_, name| *name != config.tun);
    // No director of ours sends tunnelled packets to a virtual IP.
    ends.addresses.retain(|address| !config.vips.contains(address));
    Ok(ends)
}

/// What the program has carried so far; nothing without a program.
pub(super) fn carried(counts: Option<&Arc<ProgramCounters>>) -> Count {
    counts.map(|counts| counts.sum()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
