//! Named counters in a fixed order.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::balancer::{Counters, Reason};

use super::Layout;
use super::table::Columns;

/// Named counters; in JSON an object whose fields have this order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counts(pub Vec<(String, u64)>);

impl Counts {
    /// The sum of all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }
}

impl<N: Into<String>> FromIterator<(N, u64)> for Counts {
    fn from_iter<I: IntoIterator<Item = (N, u64)>>(counts: I) -> Self {
        Self(counts.into_iter().map(|(name, count)| (name.into(), count)).collect())
    }
}

/// All drop reasons with their counters.
impl From<&Counters> for Counts {
    fn from(counters: &Counters) -> Self {
        Reason::ALL.iter().map(move |reason| (reason.name(), counters.dropped(*reason))).collect()
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
    /// What each reason means.
    pub meanings: BTreeMap<String, String>,
    /// What to do about each reason.
    #[serde(default)]
    pub remedies: BTreeMap<String, String>,
}

/// The director's drops.
impl From<&Counters> for Drops {
    fn from(counters: &Counters) -> Self {
        let text = |of: fn(Reason) -> &'static str| {
            Reason::ALL.iter().map(move |one| (one.name().to_owned(), of(*one).to_owned()))
        };
        let (meanings, remedies) = (text(Reason::meaning), text(Reason::remedy));
        Self { drops: counters.into(), meanings: meanings.collect(), remedies: remedies.collect() }
    }
}

impl Drops {
    /// The text output: the reasons that occurred, or with `all` every one.
    #[must_use]
    pub fn human(&self, all: bool, layout: Layout) -> String {
        let shown = self.drops.0.iter().filter(|(_, count)| all || *count > 0);
        let rows: Vec<_> = shown
            .map(|(name, count)| vec![name.clone(), count.to_string(), self.about(name)])
            .collect();
        if rows.is_empty() {
            return "no packet was dropped\n".to_owned();
        }
        let header = vec!["REASON", "PACKETS", "MEANING, AND WHAT TO DO"];
        Columns { header, numbers: &[1], prose: true }.text(rows, layout.width)
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
