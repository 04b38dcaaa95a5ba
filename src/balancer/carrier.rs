//! The interface to the kernel's half of the fast path, or to a model of it. A carrier forwards
//! packets of established flows without the balancer.
//!
//! The balancer decides which flows are carried, and where to. A carrier only carries packets that
//! would change no more than their flow's position and deadline, and their real server's counters.
//! It records these, and the balancer reads them.

use std::fmt::Debug;
use std::net::IpAddr;

use super::flow::Key;
use super::not_carried::NotCarried;
use crate::model::Millis;

/// Packets that were carried.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Carried {
    /// Frames; a super-frame is one.
    pub frames: u64,
    /// Packets on the wire.
    pub packets: u64,
    /// Their bytes, without outer headers.
    pub bytes: u64,
}

/// A real server's tunnel, with all that carried packets need.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CarriedTunnel {
    /// The real server.
    pub real: IpAddr,
    /// The director's own address towards it, of the same family.
    pub source: IpAddr,
    /// The index of the interface towards it.
    pub interface: u32,
    /// Bytes of the longest inner packet that is carried.
    pub limit: usize,
}

/// The number of an open tunnel. A carrier assigns each number once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TunnelNumber(pub u32);

/// A flow to carry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CarriedFlow {
    /// Its key.
    pub key: Key,
    /// Its real server's tunnel.
    pub tunnel: TunnelNumber,
    /// The outer flow label over IPv6.
    pub label: u32,
    /// The client's next TCP sequence number.
    pub next: u32,
    /// The upper half of the client's last TCP acknowledgement number.
    pub acknowledged: u16,
}

/// What a carrier has recorded of a flow since it was entered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FlowProgress {
    /// When the last packet was carried, or shortly after that. `None`: no packet was carried.
    pub last: Option<Millis>,
    /// See [`CarriedFlow::next`].
    pub next: u32,
    /// See [`CarriedFlow::acknowledged`].
    pub acknowledged: u16,
}

/// How many packets were not carried, in the order of [`NotCarried::ALL`].
pub type NotCarriedCounts = [u64; NotCarried::ALL.len()];

/// Carries packets. A flow's `index` is the index of its entry in the connection table.
pub trait Carrier: Debug + Send {
    /// Opens a tunnel; `None`: there are too many.
    fn open(&mut self, tunnel: &CarriedTunnel) -> Option<TunnelNumber>;

    /// Closes a tunnel: from now on no packet of its flows is carried. Returns the same as
    /// [`Self::carried`].
    fn close(&mut self, tunnel: TunnelNumber) -> Carried;

    /// What a tunnel has carried since the last call.
    fn carried(&mut self, tunnel: TunnelNumber) -> Carried;

    /// Carries a flow from now on. Returns whether there was room.
    fn enter(&mut self, index: usize, flow: &CarriedFlow) -> bool;

    /// What was recorded of the flow at an index.
    fn seen(&self, index: usize) -> FlowProgress;

    /// Whether the flow at an index is carried: it was entered, and its tunnel is open.
    fn carries(&self, index: usize) -> bool;

    /// Stops carrying the flow at an index. Returns whether it was carried until now.
    fn hold(&mut self, index: usize) -> bool;

    /// As [`Self::hold`]; the flow will not be entered again at this index. Does nothing if it
    /// never was entered.
    fn forget(&mut self, index: usize, key: &Key);

    /// How many packets have not been carried so far.
    fn not_carried(&self) -> NotCarriedCounts;
}
