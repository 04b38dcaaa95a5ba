//! Numbers of real servers and services: indices into the balancer's arenas.

/// A real server of one service: an index into the balancer's slab.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RealId(pub(crate) u32);

/// A service: an index into the balancer's services.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ServiceId(pub(crate) usize);
