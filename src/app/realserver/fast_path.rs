//! The real server's fast path: the program at the Ethernet interfaces, and what it admits.

use std::sync::Arc;

use anyhow::Context;

use crate::config::{self, FastPath};
use crate::sys::interfaces;
use crate::sys::real_path::{self, Admitted, Count, Program, ProgramCounters};

/// The program, if it is configured and the kernel and the capabilities allow it.
#[derive(Debug, Default)]
pub(super) struct RealFastPath {
    program: Option<Program>,
    counts: Option<Arc<ProgramCounters>>,
}

impl RealFastPath {
    /// Loads the program for the TUN with this index. It admits nothing yet.
    ///
    /// # Errors `fast_path` is "on", and the kernel or the capabilities do not allow it.
    pub(super) fn load(config: &config::RealServer, tun: u32) -> anyhow::Result<Self> {
        if config.fast_path == FastPath::Off {
            return Ok(Self::default());
        }
        match real_path::load(tun, config.gue_port) {
            Ok((program, counts)) => {
                Ok(Self { program: Some(program), counts: Some(Arc::new(counts)) })
            }
            Err(error) if config.fast_path == FastPath::On => Err(error).context(HINT),
            Err(error) => {
                log::warn!("no fast path, all packets come to the daemon: {error}; {HINT}");
                Ok(Self::default())
            }
        }
    }

    /// The program's counters, if there is one.
    pub(super) fn counts(&self) -> Option<Arc<ProgramCounters>> {
        self.counts.clone()
    }

    /// Makes the program admit what `config` admits, at all Ethernet interfaces and for the
    /// addresses that this host has now. A failure is logged: packets that the program does not
    /// admit come to the daemon.
    pub(super) fn admit(&mut self, config: &config::RealServer) {
        let Some(program) = &mut self.program else { return };
        if let Err(error) = admit(program, config) {
            log::warn!("the fast path admits less than configured: {error}");
        }
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
}

const HINT: &str = "fast_path needs Linux 6.6, CAP_BPF and CAP_NET_ADMIN";

fn admit(program: &mut Program, config: &config::RealServer) -> std::io::Result<()> {
    let mut ends = interfaces::ends()?;
    ends.ethernets.retain(|_, name| *name != config.tun);
    // No director of ours sends tunnelled packets to a virtual IP.
    ends.addresses.retain(|address| !config.vips.contains(address));
    let (directors, vips) = (config.directors.clone(), config.vips.clone());
    program.admit(&Admitted { directors, vips, own: ends.addresses })?;
    program.detach_others(&ends.ethernets.keys().copied().collect::<Vec<_>>());
    for (index, name) in &ends.ethernets {
        if let Err(error) = program.attach(*index, name) {
            log::warn!("no fast path at {name}, its packets come to the daemon: {error}");
        }
    }
    Ok(())
}

/// What the program has carried so far; nothing without a program.
pub(super) fn carried(counts: Option<&Arc<ProgramCounters>>) -> Count {
    counts.map(|counts| counts.sum()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
