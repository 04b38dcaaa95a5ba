//! IDs of real servers and services: indexes in the balancer's arenas.

/// A real server of one service.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RealId(pub(crate) u32);

/// A service.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ServiceId {
    pub(crate) index: u32,
    /// How many services have used that index before.
    pub(crate) generation: u32,
}
