//! The balancer's time, in milliseconds since the daemon started, and the timeouts of flows.

use std::time::Duration;

use super::setting::{Setting, Settings};

/// A moment, in milliseconds since the daemon started. The packet loop reads the clock once per
/// wake-up.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Millis(pub u64);

impl Millis {
    /// This moment plus `duration`; saturates.
    #[inline]
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        // `Duration::as_millis` computes in 128 bits, which would slow every packet.
        let millis = duration.as_secs().saturating_mul(1_000);
        Self(self.0.saturating_add(millis).saturating_add(u64::from(duration.subsec_millis())))
    }

    /// This moment minus `duration`; at the earliest the clock's beginning.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(Self(0).after(duration).0))
    }

    /// The time until `later`; zero if it has passed.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        Duration::from_millis(later.0.saturating_sub(self.0))
    }
}

/// How long an idle flow is kept, by state. The defaults are those of IPVS (`ip_vs_proto_tcp.c`,
/// `_udp.c`), except for `tcp_idle`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// TCP with data flowing: 15 minutes.
    pub tcp_established: Duration,
    /// TCP with data flowing, until it no longer counts as active: 1 minute. IPVS has no such
    /// timeout.
    pub tcp_idle: Duration,
    /// TCP after the client's SYN, without a further packet: 1 minute.
    pub tcp_syn_recv: Duration,
    /// TCP after the client's FIN: 2 minutes.
    pub tcp_fin_wait: Duration,
    /// TCP after a FIN that completes the client's handshake: 2 minutes.
    pub tcp_time_wait: Duration,
    /// TCP after an RST: 10 seconds.
    pub tcp_close: Duration,
    /// UDP: 5 minutes.
    pub udp: Duration,
}

impl Timeouts {
    /// IPVS's defaults.
    pub const DEFAULT: Self = Self {
        tcp_established: Duration::from_secs(15 * 60),
        tcp_idle: Duration::from_secs(60),
        tcp_syn_recv: Duration::from_secs(60),
        tcp_fin_wait: Duration::from_secs(2 * 60),
        tcp_time_wait: Duration::from_secs(2 * 60),
        tcp_close: Duration::from_secs(10),
        udp: Duration::from_secs(5 * 60),
    };
    /// Its keys in `[director.timeouts]`.
    pub const KEYS: [&str; 7] = [
        "tcp_established",
        "tcp_idle",
        "tcp_syn_recv",
        "tcp_fin_wait",
        "tcp_time_wait",
        "tcp_close",
        "udp",
    ];

    /// The shortest timeout that is accepted.
    pub const MIN: Duration = Duration::from_secs(1);
    /// The longest timeout that is accepted: 31 days, IPVS's bound for persistence.
    pub const MAX: Duration = Duration::from_secs(31 * 24 * 60 * 60);

    /// All of them, in the order of [`Self::KEYS`].
    pub fn all_mut(&mut self) -> [&mut Duration; Self::KEYS.len()] {
        // Without `..`, so that the compiler shows where a new field has to be added.
        let Self {
            tcp_established,
            tcp_idle,
            tcp_syn_recv,
            tcp_fin_wait,
            tcp_time_wait,
            tcp_close,
            udp,
        } = self;
        [tcp_established, tcp_idle, tcp_syn_recv, tcp_fin_wait, tcp_time_wait, tcp_close, udp]
    }

    /// The same, with `tcp_idle` not above `tcp_established`.
    #[must_use]
    pub fn ordered(self) -> Self {
        Self { tcp_idle: self.tcp_idle.min(self.tcp_established), ..self }
    }
}

impl Settings for Timeouts {
    fn settings(&self) -> Vec<Setting> {
        let mut timeouts = *self;
        let values = timeouts.all_mut().map(|timeout| (*timeout).into());
        Self::KEYS.into_iter().zip(values).collect()
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self::DEFAULT
    }
}
