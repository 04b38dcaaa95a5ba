//! Limits how often errors about a real server hurry its checks: any host can send ICMP errors.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::config;
use crate::health::Doubt;
use crate::model::Millis;

/// The time after an error in which further ones about the same real server are ignored. No check
/// runs more often (its `fast_interval` is at least that).
const MOMENT: Duration = Duration::from_millis(10);

/// The most real servers remembered. The kernel passes only errors that quote a tunnelled packet,
/// but forged ones may name more addresses than there are real servers.
const REMEMBERED: usize = config::MAX_REALS;

/// The time of the last accepted error about each real server, by sort.
#[derive(Debug, Default)]
pub(super) struct Doubts(HashMap<(IpAddr, Doubt), Millis>);

impl Doubts {
    /// Records an error about `real`. Returns whether it brings its checks forward now.
    pub(super) fn record(&mut self, now: Millis, real: IpAddr, doubt: Doubt) -> bool {
        let key = (real, doubt);
        if self.0.len() >= REMEMBERED && !self.0.contains_key(&key) {
            self.0.clear();
        }
        match self.0.insert(key, now) {
            Some(last) if last.until(now) < MOMENT => {
                self.0.insert(key, last);
                false
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORGED: Doubt = Doubt::Unverified;

    #[test]
    fn a_thousand_errors_in_a_tenth_of_a_second_hurry_checks_ten_times() {
        let (mut doubts, one) = (Doubts::default(), IpAddr::from([10, 0, 0, 11]));
        let reported =
            (0..1_000).filter(|tick| doubts.record(Millis(tick / 10), one, FORGED)).count();
        assert_eq!(reported, 10);
        assert!(doubts.record(Millis(99), IpAddr::from([10, 0, 0, 12]), FORGED));
        assert!(doubts.record(Millis(99), one, Doubt::Quoted), "a genuine one counts nevertheless");
    }

    #[test]
    fn no_more_are_remembered_than_the_bound() {
        let mut doubts = Doubts::default();
        for number in 0..=u32::try_from(REMEMBERED).unwrap_or(0) {
            assert!(doubts.record(Millis(0), IpAddr::from(number.to_be_bytes()), FORGED));
        }
        assert!(doubts.0.len() <= REMEMBERED);
    }
}
