//! The steps that were made on a host, in their order, found by what they change.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use serde::{Deserialize, Serialize, Serializer};

use super::step::{HostStep, Object};

/// What a step changes. A host has at most one step for each: a later one replaces it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum RecordKey {
    /// A kernel setting.
    Setting(String),
    /// A proxy neighbour entry on an interface.
    Proxy(IpAddr, String),
    /// A local address on an interface.
    Address(IpAddr, String),
    /// The route of one address in a table.
    Route(IpAddr, u32),
    /// The route of one address with itself as gateway.
    Neighbour(IpAddr),
    /// A rule from an address to a table, with its priority.
    Rule(IpAddr, u32, u32),
    /// The copies in a table.
    Copies(u32),
}

impl HostStep {
    /// The key of what the step changes.
    #[must_use]
    pub fn record_key(&self) -> RecordKey {
        match self {
            Self::Write { sysctl, .. } => RecordKey::Setting(sysctl.clone()),
            Self::Add(object) | Self::Remove(object) => match object {
                Object::Proxy { address, link } => RecordKey::Proxy(*address, link.clone()),
                Object::Address { address, link } => RecordKey::Address(*address, link.clone()),
                Object::Route { address, table, .. } => RecordKey::Route(*address, *table),
                Object::Neighbour { address, .. } => RecordKey::Neighbour(*address),
                Object::Rule { from, table, priority } => RecordKey::Rule(*from, *table, *priority),
                Object::Copies { table } => RecordKey::Copies(*table),
            },
        }
    }
}

/// A position in the order: steps that guard others come first, so that they are undone last.
type UndoPosition = (bool, u64);

/// Steps in the order in which they were recorded, guards first. Each operation costs the logarithm
/// of their number.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Vec<HostStep>")]
pub struct HostRecord {
    steps: BTreeMap<UndoPosition, HostStep>,
    positions: HashMap<RecordKey, UndoPosition>,
    /// How many were ever added.
    added: u64,
}

impl HostRecord {
    /// Records a step after the others. It replaces the one with the same key.
    pub fn add(&mut self, step: HostStep) {
        self.added += 1;
        let position = (!step.guards(), self.added);
        if let Some(replaced) = self.positions.insert(step.record_key(), position) {
            self.steps.remove(&replaced);
        }
        self.steps.insert(position, step);
    }

    /// The step with this key.
    #[must_use]
    pub fn about(&self, key: &RecordKey) -> Option<&HostStep> {
        self.steps.get(self.positions.get(key)?)
    }

    /// The step that leads to the same state.
    #[must_use]
    pub fn same_end(&self, step: &HostStep) -> Option<&HostStep> {
        self.about(&step.record_key()).filter(|known| known.same_end(step))
    }

    /// Whether exactly this step is recorded.
    #[must_use]
    pub fn contains(&self, step: &HostStep) -> bool {
        self.about(&step.record_key()) == Some(step)
    }

    /// Removes exactly this step.
    pub fn forget(&mut self, step: &HostStep) {
        let key = step.record_key();
        if self.about(&key) == Some(step)
            && let Some(position) = self.positions.remove(&key)
        {
            self.steps.remove(&position);
        }
    }

    /// Removes the steps for which `keep` is false.
    pub fn retain(&mut self, keep: impl Fn(&HostStep) -> bool) {
        let positions = &mut self.positions;
        self.steps.retain(|_, step| {
            let kept = keep(step);
            if !kept {
                positions.remove(&step.record_key());
            }
            kept
        });
    }

    /// The steps in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &HostStep> {
        self.steps.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether no step is recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl FromIterator<HostStep> for HostRecord {
    fn from_iter<I: IntoIterator<Item = HostStep>>(steps: I) -> Self {
        let mut record = Self::default();
        steps.into_iter().for_each(|step| record.add(step));
        record
    }
}

impl From<Vec<HostStep>> for HostRecord {
    fn from(steps: Vec<HostStep>) -> Self {
        steps.into_iter().collect()
    }
}

impl Serialize for HostRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// Equal steps in an equal order.
impl PartialEq for HostRecord {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for HostRecord {}
