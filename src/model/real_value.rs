//! One value of a real server that its configuration sets and that changes while it runs: how to
//! read it, set it, check it and show it. Its state is apart, since operators and deadlines change
//! that too.

use std::fmt;

use super::real::{MAX_WEIGHT, RealSpec};
use super::thresholds::Thresholds;

/// A value of a real server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RealValue {
    /// [`RealSpec::weight`].
    Weight(u32),
    /// [`RealSpec::thresholds`].
    Thresholds(Thresholds),
}

impl RealValue {
    /// Their keys in `[[service.real]]`.
    pub const KEYS: [&str; 3] = ["weight", "upper", "lower"];

    /// All values of a real server, in the order in which plans show them.
    #[must_use]
    pub fn all(spec: &RealSpec) -> [Self; 2] {
        // Without `..`, so that the compiler shows where a new field has to be added.
        let RealSpec { weight, thresholds, address: _, state: _, last_resort: _ } = *spec;
        [Self::Weight(weight), Self::Thresholds(thresholds)]
    }

    /// The same value of another real server.
    #[must_use]
    pub fn of(self, spec: &RealSpec) -> Self {
        match self {
            Self::Weight(_) => Self::Weight(spec.weight),
            Self::Thresholds(_) => Self::Thresholds(spec.thresholds),
        }
    }

    /// Sets it.
    pub fn set(self, spec: &mut RealSpec) {
        match self {
            Self::Weight(weight) => spec.weight = weight,
            Self::Thresholds(thresholds) => spec.thresholds = thresholds,
        }
    }

    /// The name in plans and events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Weight(_) => "weight",
            Self::Thresholds(_) => "thresholds",
        }
    }

    /// The rule that it breaks, if any.
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
        }
    }
}

/// As plans and events show it, without its name.
impl fmt::Display for RealValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weight(weight) => write!(f, "{weight}"),
            Self::Thresholds(thresholds) => write!(f, "{thresholds}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn spec(weight: u32, upper: u32) -> RealSpec {
        let thresholds = Thresholds { upper, lower: 0 };
        RealSpec { thresholds, ..RealSpec::new(IpAddr::from([10, 0, 0, 11]), weight) }
    }

    #[test]
    fn what_is_read_of_one_can_be_set_to_another() {
        let (one, mut other) = (spec(3, 7), spec(1, 0));
        let values = RealValue::all(&one);
        assert!(values.iter().all(|value| value.of(&one) == *value && value.of(&other) != *value));
        values.iter().for_each(|value| value.set(&mut other));
        assert_eq!(other, one);
    }

    #[test]
    fn a_value_at_its_bound_is_taken_and_one_past_it_is_not() {
        let most = spec(MAX_WEIGHT, Thresholds::MAX);
        assert!(RealValue::all(&most).iter().all(|value| value.broken_rule().is_none()));
        let past = spec(MAX_WEIGHT + 1, Thresholds::MAX + 1);
        let rules: Vec<_> = RealValue::all(&past).into_iter().map(RealValue::broken_rule).collect();
        let expected = [
            "weight 65536 is above 65535",
            "threshold lower = 0 is above upper = 16777217, or that above 16777216",
        ];
        assert_eq!(rules, expected.map(|rule| Some(rule.to_owned())));
    }

    #[test]
    fn thresholds_show_those_there_are() {
        let shown = |upper, lower| Thresholds { upper, lower }.to_string();
        assert_eq!([shown(0, 0), shown(9, 0), shown(9, 4)], ["none", "upper 9", "upper 9 lower 4"]);
    }
}
