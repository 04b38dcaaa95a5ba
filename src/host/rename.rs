//! Renamed uplinks: an interface is followed by its index.

use std::collections::BTreeMap;

use super::facts::Facts;

/// The indexes that the configured names had.
#[derive(Clone, Debug, Default)]
pub struct Uplinks(BTreeMap<String, u32>);

impl Uplinks {
    /// The current names of the configured uplinks. The name of a removed interface stays, for a
    /// new one that gets it.
    pub fn current(&mut self, configured: &[String], facts: &Facts) -> Vec<String> {
        self.0.retain(|name, _| configured.contains(name));
        configured.iter().map(|name| self.current_one(name, facts)).collect()
    }

    fn current_one(&mut self, name: &str, facts: &Facts) -> String {
        let known = self.0.get(name).and_then(|index| facts.link_at(*index));
        if let Some(link) = known.or_else(|| facts.link(name)) {
            self.0.insert(name.to_owned(), link.index);
            return link.name.clone();
        }
        name.to_owned()
    }
}

/// The interfaces that `known` has with the same index but another name: the new names by the old
/// ones. `now`: the names by index.
#[must_use]
pub fn renamed(
    known: &BTreeMap<String, u32>,
    now: &BTreeMap<u32, String>,
) -> BTreeMap<String, String> {
    let other = |(name, index): (&String, &u32)| {
        let new = now.get(index).filter(|new| *new != name)?;
        Some((name.clone(), new.clone()))
    };
    known.iter().filter_map(other).collect()
}
