//! The real server's fast path: the program at the Ethernet interfaces, and what it admits.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use ipnet::IpNet;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::app::host::gather;
use crate::app::latest::{Latest, Published};
use crate::config::{self, FastPath};
use crate::control::FastPathState;
use crate::host::ipsec;
use crate::sys::host_events::HostEvents;
use crate::sys::ingress::NEEDS;
use crate::sys::interfaces::{self, HostInterfaces};
use crate::sys::real_path::{self, Admitted, Count, Program, ProgramCounters};

/// A burst of changes of interfaces and addresses is followed at once after this time.
const BURST: Duration = Duration::from_millis(10);

/// How often the state of the host is read without a change that the kernel reports: it reports
/// none of IPsec policies here.
const LOOK: Duration = Duration::from_secs(4);

/// The ends of the tunnels that the program may serve.
#[derive(Debug, Default, Eq, PartialEq)]
struct Ends {
    /// Where tunnelled packets arrive, and the addresses that they are sent to.
    interfaces: HostInterfaces,
    /// The directors whose packets are under no IPsec policy.
    directors: Vec<IpNet>,
}

/// The program, if it is configured and the kernel and the capabilities allow it.
#[derive(Debug, Default)]
pub(super) struct RealFastPath {
    program: Option<Program>,
    /// Whether the real server must not run without it.
    needed: bool,
    counts: Option<Arc<ProgramCounters>>,
    /// The state of the host that the program was last set up for.
    ends: Ends,
    state: Published<FastPathState>,
}

impl RealFastPath {
    /// Loads the program for the TUN with this index. It admits nothing yet.
    ///
    /// # Errors
    /// `fast_path` is "on", and the kernel or the capabilities do not allow it.
    pub(super) fn load(config: &config::RealServer, tun: u32) -> anyhow::Result<Self> {
        let needed = config.fast_path == FastPath::On;
        let mut loaded = Self { needed, ..Self::default() };
        if config.fast_path == FastPath::Off {
            return Ok(loaded);
        }
        match real_path::load(tun, config.gue_port) {
            Ok((program, counts)) => {
                (loaded.program, loaded.counts) = (Some(program), Some(Arc::new(counts)));
            }
            Err(error) if needed => return Err(error).context(NEEDS),
            Err(error) => {
                let why = format!("{error}; {NEEDS}");
                log::warn!("no fast path, all packets come to the daemon: {why}");
                loaded.state.replace(FastPathState { at: Vec::new(), missing: vec![why] });
            }
        }
        Ok(loaded)
    }

    /// The program's counters, if there is one.
    pub(super) fn counts(&self) -> Option<Arc<ProgramCounters>> {
        self.counts.clone()
    }

    /// Where it is attached, and why it is missing elsewhere.
    pub(super) fn state(&self) -> Latest<FastPathState> {
        self.state.latest()
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

    fn set_up(&mut self, config: &config::RealServer, ends: Ends) {
        let Some(program) = &mut self.program else { return };
        let (directors, vips) = (ends.directors.clone(), config.vips.clone());
        let own = ends.interfaces.addresses.clone();
        if let Err(error) = program.admit(&Admitted { directors, vips, own }) {
            Self::warn(&error);
        }
        let mut now = FastPathState::default();
        let ethernets = &ends.interfaces.ethernets;
        program.detach_others(&ethernets.keys().copied().collect::<Vec<_>>());
        for (index, name) in ethernets {
            match program.attach(*index, name) {
                Ok(()) => now.at.push(name.clone()),
                Err(error) => now.missing.push(format!("{name}: {error}")),
            }
        }
        let under_policy = config.directors.iter().filter(|net| !ends.directors.contains(net));
        now.missing.extend(under_policy.map(|net| {
            format!("{net}: an IPsec policy of this host is for its tunnelled packets")
        }));
        let known = self.state.part(|state| state.missing.clone());
        for missing in &now.missing {
            if !known.contains(missing) {
                log::warn!("no fast path at {missing}; packets from there come to the daemon");
            }
        }
        self.ends = ends;
        self.state.replace(now);
    }

    fn warn(error: &io::Error) {
        log::warn!("the fast path admits less than configured: {error}");
    }

    /// Logs that the program is in use, if it is at any interface.
    ///
    /// # Errors
    /// `fast_path` is "on", and the program is nowhere.
    pub(super) fn check_attached(&self) -> anyhow::Result<()> {
        let FastPathState { at, missing } = self.state.get();
        if !at.is_empty() {
            log::info!(
                "fast path: the kernel takes packets out of the tunnel; firewall rules see them \
                 only at the TUN, fast_path = \"off\" undoes it"
            );
        } else if self.needed {
            let why = missing.first().map_or("no interface is an Ethernet", String::as_str);
            bail!("fast_path is \"on\": {why}; {NEEDS}");
        }
        Ok(())
    }

    /// The changes to follow; without a program there are none.
    pub(super) fn changes(&self) -> EndChanges {
        let open = || {
            let events = HostEvents::of_addresses();
            events.inspect_err(|error| {
                log::warn!(
                    "the fast path uses later addresses and interfaces only after seconds: {error}"
                );
            })
        };
        if self.program.is_none() {
            return EndChanges::default();
        }
        EndChanges { events: open().ok(), due: Some(Instant::now() + LOOK) }
    }
}

/// Changes of the tunnels' ends on this host.
#[derive(Debug, Default)]
pub(super) struct EndChanges {
    /// Of interfaces and addresses.
    events: Option<HostEvents>,
    /// When the host is read again: at the end of a burst that has begun. `None`: never.
    due: Option<Instant>,
}

impl EndChanges {
    /// Waits until there may be a change. It may be dropped at any await point and called again.
    pub(super) async fn next(&mut self) {
        let Some(due) = &mut self.due else { return std::future::pending().await };
        while let Some(events) = &mut self.events {
            let Ok(event) = timeout_at(*due, events.next()).await else { break };
            *due = (*due).min(Instant::now() + BURST);
            if let Err(error) = event {
                log::warn!("the fast path uses later addresses only after seconds: {error}");
                self.events = None;
            }
        }
        sleep_until(*due).await;
        *due = Instant::now() + LOOK;
    }
}

/// The tunnels' ends on this host as it is now.
fn ends(config: &config::RealServer) -> io::Result<Ends> {
    let mut interfaces = interfaces::ends()?;
    interfaces.ethernets.retain(|_, name| *name != config.tun);
    // No director of ours sends tunnelled packets to a virtual IP.
    interfaces.addresses.retain(|address| !config.vips.contains(address));
    let own: Vec<_> = interfaces.addresses.iter().copied().collect();
    let directors = ipsec::arrive_plain(&config.directors, &own, &gather::policies());
    Ok(Ends { interfaces, directors })
}

/// What the program has carried so far; nothing without a program.
pub(super) fn carried(counts: Option<&Arc<ProgramCounters>>) -> Count {
    counts.map(|counts| counts.sum()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
