//! The balancer's state of the fast path, except for the marks in the table's entries.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::table::Handle;
use crate::model::{Millis, RealId};

/// The index of the director's interface towards each real server that has a route.
pub type Interfaces = BTreeMap<IpAddr, u32>;

/// The most flows that wait to be carried; others are noted with one of their next packets.
pub const WANTED: usize = 1_024;

/// The state that decides which flows are carried, except for the table's marks.
#[derive(Debug, Default)]
pub(super) struct CarryPolicy {
    /// Whether there is a carrier.
    pub(super) on: bool,
    /// See [`Inner::of`](super::outer::Inner::of).
    pub(super) label_key: u64,
    /// Flows to carry, noted when their last packet came.
    pub(super) wanted: Vec<Handle>,
    /// The flow of the current packet, if it was carried when the packet came.
    pub(super) overtaken: Option<Handle>,
    /// The real servers with an open tunnel.
    pub(super) open: Vec<RealId>,
    pub(super) interfaces: Interfaces,
    /// When the counts of carried packets were last read.
    pub(super) collected: Millis,
}

impl CarryPolicy {
    /// Notes a flow to carry, if there is room.
    #[inline]
    pub(super) fn want(&mut self, handle: Handle) {
        if self.wanted.len() < WANTED {
            self.wanted.push(handle);
        }
    }
}
