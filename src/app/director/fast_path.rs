//! The fast path: loads the kernel's half, attaches it to the uplinks, and gives the balancer its
//! maps as a carrier.

use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

use anyhow::{Context, bail};

use super::reload::RunningDirector;
use crate::app::latest::{Latest, Published};
use crate::balancer::carrier::{
    Carried, CarriedFlow, CarriedTunnel, Carrier, FlowProgress, NotCarriedCounts, TunnelNumber,
};
use crate::balancer::flow::Key;
use crate::config::{self, FastPath};
use crate::control::FastPathState;
use crate::model::Millis;
use crate::sys::fast_path::{self, CarriedCount, FlowKey, MapTunnelSpec, Maps, TUNNELS};
use crate::sys::ingress::{IngressProgram, NEEDS};

/// How many numbers are tried for a new tunnel: slots of open tunnels are skipped.
const TRIES: u32 = 64;

const NANOS_A_MILLI: u64 = 1_000_000;

/// The program at the uplinks; the control thread's end.
#[derive(Debug)]
pub(super) struct FastPathProgram {
    program: Option<IngressProgram>,
    /// Whether the director must not run without it.
    needed: bool,
    state: Published<FastPathState>,
}

/// Loads the program if it is configured, before any change to the host.
///
/// # Errors
/// `fast_path` is "on", and the kernel or the capabilities do not allow it.
pub(super) fn load(
    config: &config::Director,
    started: Instant,
) -> anyhow::Result<(FastPathProgram, Option<KernelCarrier>)> {
    let needed = config.fast_path == FastPath::On;
    if config.fast_path == FastPath::Off {
        return Ok((FastPathProgram::none(), None));
    }
    match fast_path::load(config.max_connections) {
        Ok((program, maps)) => {
            let carrier = KernelCarrier::new(maps, started);
            let state = Published::default();
            Ok((FastPathProgram { program: Some(program), needed, state }, Some(carrier)))
        }
        Err(error) if needed => Err(error).context(NEEDS),
        Err(error) => {
            let why = format!("{error}; {NEEDS}");
            log::warn!("no fast path, all packets come to the director: {why}");
            let none = FastPathProgram::none();
            none.state.replace(FastPathState { at: Vec::new(), missing: vec![why] });
            Ok((none, None))
        }
    }
}

impl FastPathProgram {
    /// Attached to no interface.
    pub(super) fn none() -> Self {
        Self { program: None, needed: false, state: Published::default() }
    }

    /// Where it is attached, and why it is missing elsewhere.
    pub(super) fn state(&self) -> Latest<FastPathState> {
        self.state.latest()
    }

    /// Attaches the program to new uplinks, and detaches it from other interfaces. Failures are
    /// logged; packets that arrive there come to the director.
    pub(super) fn set_uplinks(&mut self, uplinks: &BTreeMap<u32, String>) {
        warn_of_missing(&self.attach(uplinks));
    }

    /// Returns the uplinks where that fails.
    fn attach(&mut self, uplinks: &BTreeMap<u32, String>) -> Vec<(String, io::Error)> {
        let Some(program) = &mut self.program else { return Vec::new() };
        program.detach_others(&uplinks.keys().copied().collect::<Vec<_>>());
        let attach = |(&index, name): (&u32, &String)| {
            program.attach(index, name).err().map(|error| (name.clone(), error))
        };
        let failed: Vec<_> = uplinks.iter().filter_map(attach).collect();
        let is_at = |name: &String| !failed.iter().any(|(other, _)| other == name);
        self.state.replace(FastPathState {
            at: uplinks.values().filter(|name| is_at(name)).cloned().collect(),
            missing: failed.iter().map(|(name, error)| format!("{name}: {error}")).collect(),
        });
        failed
    }
}

fn warn_of_missing(failed: &[(String, io::Error)]) {
    for (name, error) in failed {
        log::warn!(
            link = name.as_str();
            "no fast path at {name}, its packets come to the director: {error}"
        );
    }
}

impl RunningDirector {
    /// Attaches the program for the first time.
    ///
    /// # Errors
    /// `fast_path` is "on", and the program cannot be attached to any uplink.
    pub(super) fn attach_fast_path(
        &mut self,
        uplinks: &BTreeMap<u32, String>,
    ) -> anyhow::Result<()> {
        let fast_path = &mut self.fast_path;
        if fast_path.program.is_none() {
            return Ok(());
        }
        let failed = fast_path.attach(uplinks);
        if fast_path.needed && (!failed.is_empty() || uplinks.is_empty()) {
            let why = failed.first().map_or_else(
                || "no uplink is an Ethernet".to_owned(),
                |(name, error)| format!("{name}: {error}"),
            );
            bail!("fast_path is \"on\": {why}; {NEEDS}");
        }
        warn_of_missing(&failed);
        if failed.len() < uplinks.len() {
            log::info!(
                "fast path at {}: the kernel carries established connections; no firewall rule \
                 sees their packets, fast_path = \"off\" undoes it",
                fast_path.state.get().at.join(" ")
            );
        }
        Ok(())
    }
}

/// The maps as the balancer's carrier.
#[derive(Debug)]
pub(super) struct KernelCarrier {
    maps: Maps,
    /// `CLOCK_MONOTONIC` in nanoseconds at the start of the balancer's time.
    began: u64,
    last_number: u32,
    /// The number of the open tunnel in each slot; 0: none.
    open: Vec<u32>,
    /// The counters of each slot when they were last read.
    counted: Vec<CarriedCount>,
}

impl KernelCarrier {
    fn new(maps: Maps, started: Instant) -> Self {
        let passed = u64::try_from(started.elapsed().as_nanos()).unwrap_or_default();
        Self {
            maps,
            began: fast_path::monotonic().saturating_sub(passed),
            last_number: 0,
            open: vec![0; TUNNELS as usize],
            counted: vec![CarriedCount::default(); TUNNELS as usize],
        }
    }

    fn next_number(&mut self) -> Option<u32> {
        for _ in 0..TRIES {
            self.last_number = self.last_number.wrapping_add(1).max(1);
            let slot = slot(self.last_number);
            if self.open[slot] == 0 {
                self.open[slot] = self.last_number;
                return Some(self.last_number);
            }
        }
        None
    }
}

fn slot(number: u32) -> usize {
    (number % TUNNELS) as usize
}

fn key_of(key: &Key) -> FlowKey {
    let (client, vip) = ((key.client(), key.client_port()), (key.vip(), key.virtual_port()));
    FlowKey::new(key.protocol(), client, vip)
}

fn index_of(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

impl Carrier for KernelCarrier {
    fn open(&mut self, tunnel: &CarriedTunnel) -> Option<TunnelNumber> {
        let number = self.next_number()?;
        // The counts so far belong to the slot's previous tunnel.
        self.counted[slot(number)] = self.maps.count(number);
        let limit = u32::try_from(tunnel.limit).unwrap_or(u32::MAX);
        let CarriedTunnel { real: destination, source, interface, .. } = *tunnel;
        self.maps.open(number, &MapTunnelSpec { destination, source, interface, limit });
        Some(TunnelNumber(number))
    }

    fn close(&mut self, TunnelNumber(number): TunnelNumber) -> Carried {
        self.maps.close(number);
        self.open[slot(number)] = 0;
        self.carried(TunnelNumber(number))
    }

    fn carried(&mut self, TunnelNumber(number): TunnelNumber) -> Carried {
        let now = self.maps.count(number);
        let before = std::mem::replace(&mut self.counted[slot(number)], now);
        Carried {
            frames: now.frames.saturating_sub(before.frames),
            packets: now.packets.saturating_sub(before.packets),
            bytes: now.bytes.saturating_sub(before.bytes),
        }
    }

    fn enter(&mut self, index: usize, flow: &CarriedFlow) -> bool {
        let position = (flow.next, u32::from(flow.acknowledged) << 16);
        let TunnelNumber(number) = flow.tunnel;
        self.maps.enter(index_of(index), &key_of(&flow.key), number, flow.label, position)
    }

    fn seen(&self, index: usize) -> FlowProgress {
        let seen = self.maps.seen(index_of(index));
        let moment = |nanos: u64| Millis(nanos.saturating_sub(self.began) / NANOS_A_MILLI);
        FlowProgress {
            last: seen.last.map(moment),
            next: seen.next,
            acknowledged: u16::try_from(seen.acknowledged >> 16).unwrap_or_default(),
        }
    }

    fn carries(&self, index: usize) -> bool {
        self.maps.carries(index_of(index))
    }

    fn hold(&mut self, index: usize) -> bool {
        self.maps.hold(index_of(index))
    }

    fn forget(&mut self, index: usize, _: &Key) {
        self.maps.forget(index_of(index));
    }

    fn not_carried(&self) -> NotCarriedCounts {
        self.maps.refused()
    }
}

#[cfg(test)]
mod tests;
