//! Services without a real server for new connections.

use std::fmt;
use std::sync::Arc;

/// Why none of a service's real servers takes new connections: how many are out for each reason. A
/// full one is not out: it takes connections again when some have ended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Outage {
    /// Down by health checks, or by the configuration.
    pub down: usize,
    /// Disabled.
    pub disabled: usize,
    /// Draining.
    pub draining: usize,
    /// Up, with weight 0.
    pub weightless: usize,
    /// Up, and its check or agent gives it none of its weight.
    pub resting: usize,
}

/// A service has lost its last available real server, or has one again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OutageNotice {
    /// The service's name.
    pub service: Arc<str>,
    /// Why none of its real servers takes new connections; `None`: one takes them again.
    pub outage: Option<Outage>,
}

/// `2 down, 1 of weight 0`.
impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Self { down, disabled, draining, weightless, resting } = self;
        let causes = [
            (down, "down"),
            (disabled, "disabled"),
            (draining, "draining"),
            (weightless, "of weight 0"),
            (resting, "out of rotation by its agent or check"),
        ];
        let causes = causes.into_iter().filter(|(count, _)| *count > 0);
        let causes: Vec<_> = causes.map(|(count, cause)| format!("{count} {cause}")).collect();
        match causes.is_empty() {
            true => f.write_str("none is configured"),
            false => f.write_str(&causes.join(", ")),
        }
    }
}
