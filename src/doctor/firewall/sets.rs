//! The named sets of a ruleset.

use std::collections::HashMap;

use serde_json::Value;

/// Elements by the set's name.
#[derive(Clone, Debug, Default)]
pub(super) struct Sets(HashMap<String, Vec<Value>>);

impl Sets {
    /// Adds a set. If two tables have sets of one name, neither is used.
    pub(super) fn add(&mut self, name: &str, elements: &[Value]) {
        if self.0.insert(name.to_owned(), elements.to_vec()).is_some() {
            self.0.insert(name.to_owned(), vec![Value::Null]);
        }
    }

    /// The elements of the set; `None`: there is no such set, or it has none.
    pub(super) fn elements(&self, name: &str) -> Option<&[Value]> {
        self.0.get(name).map(Vec::as_slice)
    }
}
