//! The named sets and maps of a ruleset.

use std::collections::HashMap;

use serde_json::Value;

/// A table: its family and its name.
pub(super) type TableName<'a> = (&'a str, &'a str);

/// Elements by family, table and name.
#[derive(Clone, Debug, Default)]
pub(super) struct Sets(HashMap<(String, String, String), Vec<Value>>);

impl Sets {
    /// Adds a set or a map.
    pub(super) fn add(&mut self, (family, table): TableName<'_>, set: &Value) {
        let Some(name) = set["name"].as_str() else { return };
        // nft lists no elements of an empty set.
        let elements = set["elem"].as_array().cloned().unwrap_or_default();
        self.0.insert((family.to_owned(), table.to_owned(), name.to_owned()), elements);
    }

    /// The elements; `None`: the table has no such set.
    pub(super) fn elements(&self, (family, table): TableName<'_>, name: &str) -> Option<&[Value]> {
        let key = (family.to_owned(), table.to_owned(), name.to_owned());
        self.0.get(&key).map(Vec::as_slice)
    }
}
