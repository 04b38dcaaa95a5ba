//! Named counters in a fixed order.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::balancer::{Counters, Reason, counters};

use super::Layout;
use super::table::Columns;

/// The TUN's name in the remedies, which are those of the documentation.
const DOCUMENTED_TUN: &str = "vstun0";

/// The sum of a daemon's numbers. What answers on its socket may have sent any.
#[must_use]
pub fn total(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}

/// Named counters; in JSON an object whose fields have this order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counts(pub Vec<(String, u64)>);

impl Counts {
    /// The sum of all.
    #[must_use]
    pub fn total(&self) -> u64 {
        total(self.0.iter().map(|(_, count)| *count))
    }
}

impl<N: Into<String>> FromIterator<(N, u64)> for Counts {
    fn from_iter<I: IntoIterator<Item = (N, u64)>>(counts: I) -> Self {
        Self(counts.into_iter().map(|(name, count)| (name.into(), count)).collect())
    }
}

/// The dropped packets of each reason.
impl From<&Counters> for Counts {
    fn from(counters: &Counters) -> Self {
        Reason::ALL.iter().map(move |reason| (reason.name(), counters.dropped(*reason))).collect()
    }
}

impl Counts {
    /// The packets that a director answered, by name.
    #[must_use]
    pub fn answered(counters: &Counters) -> Self {
        counters.answered().collect()
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|one| one.0 == name)
    }

    fn of(&self, name: &str) -> u64 {
        self.0.iter().find(|one| one.0 == name).map_or(0, |one| one.1)
    }
}

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, count)| (name, count)))
    }
}

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Counts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of counters")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Counts, A::Error> {
                let mut counts = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    counts.push(entry);
                }
                Ok(Counts(counts))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// The answer to `drops`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Drops {
    /// Packets dropped, by reason.
    pub drops: Counts,
    /// Packets that a director answered itself, by reason; empty at a real server.
    #[serde(default)]
    pub answered: Counts,
    /// What each reason means.
    pub meanings: BTreeMap<String, String>,
    /// What to do about each reason.
    #[serde(default)]
    pub remedies: BTreeMap<String, String>,
}

/// Answers that refuse nothing: the name, what it means, and what to do.
const ANSWERS: [(&str, &str, &str); 2] = [
    (
        counters::CONNECTION_ENDED,
        "A packet of a connection that is ended because of its real server's state.",
        "nothing; `vstun list` has the state",
    ),
    (counters::ECHO, "An echo request to a virtual IP.", "nothing"),
];

/// The director's drops.
impl From<&Counters> for Drops {
    fn from(counters: &Counters) -> Self {
        let text = |of: fn(Reason) -> &'static str| {
            Reason::ALL.iter().map(move |one| (one.name().to_owned(), of(*one).to_owned()))
        };
        let also = |of: fn(&(&str, &str, &str)) -> String| {
            ANSWERS.iter().map(move |one| (one.0.to_owned(), of(one)))
        };
        let meanings = text(Reason::meaning).chain(also(|one| one.1.to_owned()));
        let remedies = text(Reason::remedy).chain(also(|one| one.2.to_owned()));
        Self {
            drops: counters.into(),
            answered: Counts::answered(counters),
            meanings: meanings.collect(),
            remedies: remedies.collect(),
        }
    }
}

impl Drops {
    /// The same with commands for a TUN of this name, where the documentation has the default.
    #[must_use]
    pub fn with_tun(mut self, tun: &str) -> Self {
        self.remedies.values_mut().for_each(|text| *text = text.replace(DOCUMENTED_TUN, tun));
        self
    }

    /// The text output: the reasons that occurred, or with `all` every one.
    #[must_use]
    pub fn human(&self, all: bool, layout: Layout) -> String {
        let shown =
            self.rows().filter(|(_, dropped, answered)| all || *dropped > 0 || *answered > 0);
        let director = !self.answered.0.is_empty();
        let row = |(name, dropped, answered): (&str, u64, u64)| {
            let answered = director.then(|| answered.to_string());
            let cells = [Some(name.to_owned()), Some(dropped.to_string()), answered];
            cells.into_iter().chain([Some(self.about(name))]).flatten().collect()
        };
        let rows: Vec<Vec<_>> = shown.map(row).collect();
        if rows.is_empty() {
            return "no packet was dropped\n".to_owned();
        }
        let text = "MEANING, AND WHAT TO DO";
        let header = match director {
            true => vec!["REASON", "DROPPED", "ANSWERED", text],
            false => vec!["REASON", "PACKETS", text],
        };
        let numbers: &[_] = if director { &[1, 2] } else { &[1] };
        Columns { header, numbers, prose: true }.text(rows, layout.width)
    }

    /// Each reason, how many packets were dropped for it, and how many answered.
    pub fn rows(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        let beside = self.answered.0.iter().filter(|(name, _)| !self.drops.has(name));
        let names = self.drops.0.iter().chain(beside).map(|(name, _)| name.as_str());
        names.map(|name| (name, self.drops.of(name), self.answered.of(name)))
    }

    /// What a reason means and what to do about it.
    #[must_use]
    pub fn about(&self, reason: &str) -> String {
        let mut text = self.meanings.get(reason).cloned().unwrap_or_default();
        if let Some(remedy) = self.remedies.get(reason).filter(|remedy| !remedy.is_empty()) {
            text.push_str(" To do: ");
            text.push_str(remedy);
            text.push('.');
        }
        text
    }
}
