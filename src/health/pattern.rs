//! The regular expressions of checks. A check is the key of maps and has their texts alone; the
//! compiled ones are beside it.

use std::collections::HashMap;

use regex::bytes::{Regex, RegexBuilder};

use super::plan::Plan;

/// Bytes that a compiled regular expression may take.
const MAX_SIZE: usize = 1 << 20;

/// Compiles a regular expression.
///
/// # Errors
/// It is none, or too large.
pub fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(MAX_SIZE).build()
}

/// The compiled regular expressions of a plan, by their texts.
#[derive(Clone, Debug, Default)]
pub struct Patterns(HashMap<String, Regex>);

impl Patterns {
    /// Those of the plan. Texts that these have too are not compiled again.
    #[must_use]
    pub fn with(mut self, plan: &Plan) -> Self {
        let mut compiled = HashMap::new();
        for pattern in plan.checks.iter().filter_map(|check| check.spec.probe.pattern()) {
            if compiled.contains_key(pattern) {
                continue;
            }
            let known = self.0.remove(pattern);
            // The configuration has only patterns that can be compiled.
            if let Some(regex) = known.or_else(|| compile(pattern).ok()) {
                compiled.insert(pattern.to_owned(), regex);
            }
        }
        Self(compiled)
    }

    /// The compiled form. A text that is not the plan's is compiled for this use.
    ///
    /// # Errors
    /// As [`compile`].
    pub fn get(&self, pattern: &str) -> Result<Regex, regex::Error> {
        self.0.get(pattern).map_or_else(|| compile(pattern), |regex| Ok(regex.clone()))
    }
}

#[cfg(test)]
impl Patterns {
    /// Takes one for a text that it is not compiled from, to show which of the two is used.
    pub(crate) fn replace(&mut self, pattern: &str, regex: Regex) {
        self.0.insert(pattern.to_owned(), regex);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
