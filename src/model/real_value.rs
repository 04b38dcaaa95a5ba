//! The values of a real server that its configuration sets and that change while it runs: their
//! keys and bounds, how to read, set, check and show them. The state is not one of them, since
//! operators and deadlines change it too.
//!
//! The configuration, plans, events and listings use these definitions. How each value acts is in
//! `balancer`.

use std::fmt;

use super::thresholds::Thresholds;
use crate::wire::encap::Encap;

/// The largest weight of a real server (keepalived's bound).
pub const MAX_WEIGHT: u32 = 65_535;

/// All values of a real server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RealValues {
    /// Share of new connections, 0 to [`MAX_WEIGHT`]; 0 takes no new connection.
    pub weight: u32,
    /// How many connections it takes at most.
    pub thresholds: Thresholds,
    /// How packets to it are encapsulated.
    pub encap: Encap,
}

impl RealValues {
    /// The keys of the numbers in `[[service.real]]` and in listings.
    pub const KEYS: [&str; 3] = ["weight", "upper", "lower"];
    /// The highest number for each key; the lowest is 0.
    pub const MOST: [u32; 3] = [MAX_WEIGHT, Thresholds::MAX, Thresholds::MAX];

    /// This weight, and otherwise the defaults.
    #[must_use]
    pub const fn of_weight(weight: u32) -> Self {
        Self { weight, thresholds: Thresholds { upper: 0, lower: 0 }, encap: Encap::Ipip }
    }

    /// The values with these numbers, in the order of [`Self::KEYS`], and otherwise the defaults.
    #[must_use]
    pub fn from_numbers([weight, upper, lower]: [u32; 3]) -> Self {
        Self { thresholds: Thresholds { upper, lower }, ..Self::of_weight(weight) }
    }

    /// The number of each key, in the order of [`Self::KEYS`].
    #[must_use]
    pub fn numbers(self) -> [u32; 3] {
        let Self { weight, thresholds: Thresholds { upper, lower }, .. } = self;
        [weight, upper, lower]
    }

    /// Two keys whose numbers contradict each other, the one to correct first, and the rule.
    #[must_use]
    pub fn mismatch(self) -> Option<([&'static str; 2], String)> {
        let Thresholds { upper, lower } = self.thresholds;
        let why = || format!("{lower} is above upper, {upper}; write at most that");
        (lower > upper).then(|| (["lower", "upper"], why()))
    }

    /// Each value by itself, in the order in which plans show them.
    #[must_use]
    pub fn each(self) -> [RealValue; 3] {
        // Without `..`, so that the compiler shows where a new value has to be added.
        let Self { weight, thresholds, encap } = self;
        [RealValue::Weight(weight), RealValue::Thresholds(thresholds), RealValue::Encap(encap)]
    }

    /// Whether a real server with `connections` takes no new one; `before`: whether it took none
    /// until now.
    #[must_use]
    pub fn full(self, connections: u64, before: bool) -> bool {
        self.thresholds.full(connections, before)
    }
}

/// Weight 1, and no bound of connections.
impl Default for RealValues {
    fn default() -> Self {
        Self::of_weight(1)
    }
}

/// A value of a real server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RealValue {
    /// [`RealValues::weight`].
    Weight(u32),
    /// [`RealValues::thresholds`].
    Thresholds(Thresholds),
    /// [`RealValues::encap`].
    Encap(Encap),
}

impl RealValue {
    /// The value of the same kind in `values`.
    #[must_use]
    pub fn of(self, values: RealValues) -> Self {
        match self {
            Self::Weight(_) => Self::Weight(values.weight),
            Self::Thresholds(_) => Self::Thresholds(values.thresholds),
            Self::Encap(_) => Self::Encap(values.encap),
        }
    }

    /// Sets this value in `values`.
    pub fn set(self, values: &mut RealValues) {
        match self {
            Self::Weight(weight) => values.weight = weight,
            Self::Thresholds(thresholds) => values.thresholds = thresholds,
            Self::Encap(encap) => values.encap = encap,
        }
    }

    /// The name in plans and events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Weight(_) => "weight",
            Self::Thresholds(_) => "thresholds",
            Self::Encap(_) => "encap",
        }
    }

    /// The rule that this value breaks, if any.
    #[must_use]
    pub fn broken_rule(self) -> Option<String> {
        match self {
            Self::Weight(weight) => {
                (weight > MAX_WEIGHT).then(|| format!("weight {weight} is above {MAX_WEIGHT}"))
            }
            Self::Thresholds(thresholds) => (!thresholds.valid()).then(|| {
                let (Thresholds { upper, lower }, most) = (thresholds, Thresholds::MAX);
                format!("threshold lower = {lower} is above upper = {upper}, or that above {most}")
            }),
            Self::Encap(_) => None,
        }
    }
}

/// As plans and events show it, without its name.
impl fmt::Display for RealValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weight(weight) => write!(f, "{weight}"),
            Self::Thresholds(thresholds) => write!(f, "{thresholds}"),
            Self::Encap(encap) => f.write_str(encap.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(weight: u32, upper: u32) -> RealValues {
        RealValues::from_numbers([weight, upper, 0])
    }

    #[test]
    fn what_is_read_of_one_can_be_set_to_another() {
        let (one, mut other) = (RealValues { encap: Encap::Gue, ..values(3, 7) }, values(1, 0));
        let each = one.each();
        assert!(each.iter().all(|value| value.of(one) == *value && value.of(other) != *value));
        each.iter().for_each(|value| value.set(&mut other));
        assert_eq!(other, one);
    }

    #[test]
    fn numbers_read_back_in_the_order_of_their_keys() {
        let numbers = [3, 9, 4];
        assert_eq!(RealValues::from_numbers(numbers).numbers(), numbers);
        assert_eq!(RealValues::default().numbers(), [1, 0, 0]);
    }

    #[test]
    fn a_lower_above_the_upper_is_named() {
        assert_eq!(RealValues::from_numbers([1, 4, 4]).mismatch(), None);
        let (keys, why) = RealValues::from_numbers([1, 4, 5]).mismatch().unwrap_or_default();
        assert_eq!((keys[0], &*why), ("lower", "5 is above upper, 4; write at most that"));
    }

    #[test]
    fn a_value_at_its_bound_is_taken_and_one_past_it_is_not() {
        let most = values(MAX_WEIGHT, Thresholds::MAX);
        assert!(most.each().iter().all(|value| value.broken_rule().is_none()));
        let past = values(MAX_WEIGHT + 1, Thresholds::MAX + 1);
        let rules = past.each().map(RealValue::broken_rule);
        let expected = [
            "weight 65536 is above 65535",
            "threshold lower = 0 is above upper = 16777217, or that above 16777216",
        ];
        assert_eq!(rules[..2], expected.map(|rule| Some(rule.to_owned())));
    }

    #[test]
    fn thresholds_show_those_there_are() {
        let shown = |upper, lower| Thresholds { upper, lower }.to_string();
        assert_eq!([shown(0, 0), shown(9, 0), shown(9, 4)], ["none", "upper 9", "upper 9 lower 4"]);
    }
}
