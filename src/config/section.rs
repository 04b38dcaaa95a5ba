//! One TOML table: its known keys and its entries.

use std::fmt;
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::{Document, Lines};
use super::fault::{Faults, quoted};
use super::keys;

/// A table of the document whose keys are all known.
#[derive(Clone, Copy)]
pub(super) struct Section<'a> {
    name: &'static str,
    table: &'a DeTable<'a>,
    lines: &'a Lines,
    /// The line of the table's header.
    pub(super) line: usize,
}

impl<'a> Section<'a> {
    /// The document's root table.
    pub(super) fn root(document: &'a Document<'_>) -> Self {
        Self { name: "", table: &document.root, lines: &document.lines, line: 1 }
    }

    /// The top-level table `name`; a fault if it is missing.
    pub(super) fn required(
        document: &'a Document<'_>,
        name: &'static str,
        known: &[&str],
        faults: &mut Faults,
    ) -> Option<Self> {
        let Some(entry) = Self::root(document).entry(name) else {
            faults.add(1, name, format!("there is no [{name}] table; write one"));
            return None;
        };
        Self::open(entry, name, known, faults)
    }

    /// The entry's table, named `name`, with a fault for each key that is not in `known`.
    pub(super) fn open(
        entry: ConfigEntry<'a>,
        name: &'static str,
        known: &[&str],
        faults: &mut Faults,
    ) -> Option<Self> {
        let Some(table) = entry.value.get_ref().as_table() else {
            entry.expected("a table", faults);
            return None;
        };
        let section = Self { name, table, lines: entry.lines, line: entry.line };
        for (key, _) in table {
            let text: &str = key.get_ref();
            if !known.contains(&text) && !faults.is_full() {
                let line = section.lines.at(key.span().start);
                let shown = format!("{name}.{}", keys::shown(text));
                faults.add(line, shown, keys::unknown(name, known, text));
            }
        }
        Some(section)
    }

    /// The entry of `key`, if present.
    pub(super) fn entry(&self, key: &'static str) -> Option<ConfigEntry<'a>> {
        let (spanned, value) = self.table.get_key_value(key)?;
        let line = self.lines.at(spanned.span().start);
        Some(ConfigEntry { section: self.name, key, value, lines: self.lines, line })
    }

    /// The entry of `key`; a fault at the table's header if it is missing.
    pub(super) fn required_entry(
        &self,
        key: &'static str,
        hint: &str,
        faults: &mut Faults,
    ) -> Option<ConfigEntry<'a>> {
        let entry = self.entry(key);
        if entry.is_none() {
            faults.add(self.line, format!("{}.{key}", self.name), format!("missing; {hint}"));
        }
        entry
    }
}

/// One value with its key and line.
#[derive(Clone, Copy)]
pub(super) struct ConfigEntry<'a> {
    section: &'static str,
    key: &'static str,
    value: &'a Spanned<DeValue<'a>>,
    lines: &'a Lines,
    pub(super) line: usize,
}

/// The key as faults show it.
impl fmt::Display for ConfigEntry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.section.is_empty() {
            write!(f, "{}.", self.section)?;
        }
        f.write_str(self.key)
    }
}

impl<'a> ConfigEntry<'a> {
    /// A fault at this entry.
    pub(super) fn fault(&self, message: impl Into<String>, faults: &mut Faults) {
        faults.add(self.line, self, message);
    }

    /// The text, checked by `parse`.
    pub(super) fn parsed<T>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, String>,
        faults: &mut Faults,
    ) -> Option<T> {
        parse(self.text(faults)?).map_err(|message| self.fault(message, faults)).ok()
    }

    /// A text in quotes.
    pub(super) fn text(&self, faults: &mut Faults) -> Option<&'a str> {
        let text = self.value.get_ref().as_str();
        if text.is_none() {
            self.expected("a text in quotes", faults);
        }
        text
    }

    /// A quoted duration, checked by `parse`. A bare number gets a message of its own.
    pub(super) fn duration<T>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, String>,
        faults: &mut Faults,
    ) -> Option<T> {
        if self.value.get_ref().is_integer() {
            self.fault("has no unit; write a text such as \"15m\" or \"2s\"", faults);
            return None;
        }
        self.parsed(parse, faults)
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, faults: &mut Faults) -> Option<bool> {
        let value = self.value.get_ref().as_bool();
        if value.is_none() {
            self.expected("true or false", faults);
        }
        value
    }

    /// A whole number within `range`.
    pub(super) fn number(&self, range: RangeInclusive<u32>, faults: &mut Faults) -> Option<u32> {
        let Some(integer) = self.value.get_ref().as_integer() else {
            self.expected("a whole number without quotes", faults);
            return None;
        };
        let value = u32::from_str_radix(integer.as_str(), integer.radix()).ok();
        let value = value.filter(|value| range.contains(value));
        if value.is_none() {
            let (least, most) = range.into_inner();
            let shown = quoted(integer.as_str());
            let shown = shown.trim_matches('"');
            self.fault(
                format!("{shown} is out of range; write a number from {least} to {most}"),
                faults,
            );
        }
        value
    }

    /// The elements of a list, each with its own line.
    pub(super) fn list(&self, faults: &mut Faults) -> Vec<Self> {
        let Some(array) = self.value.get_ref().as_array() else {
            self.expected("a list in square brackets", faults);
            return Vec::new();
        };
        array.iter().map(|value| Self { value, ..*self }.located()).collect()
    }

    /// The elements of a list, or a single text instead of a list.
    pub(super) fn texts(&self, faults: &mut Faults) -> Vec<Self> {
        let value = self.value.get_ref();
        if value.is_str() {
            return vec![*self];
        }
        if !value.is_array() {
            self.expected("a text in quotes, or a list of them in square brackets", faults);
            return Vec::new();
        }
        self.list(faults)
    }

    /// The elements of an array of tables. One table in single brackets gets a message of its own.
    pub(super) fn tables(&self, faults: &mut Faults) -> Vec<Self> {
        if self.value.get_ref().is_table() {
            self.fault(format!("is a single table; write [[{self}]], in double brackets"), faults);
            return Vec::new();
        }
        self.list(faults)
    }

    /// The keys of a table of free names, each value with its own line.
    pub(super) fn pairs(&self, faults: &mut Faults) -> Vec<(&'a str, Self)> {
        let Some(table) = self.value.get_ref().as_table() else {
            self.expected("a table in braces", faults);
            return Vec::new();
        };
        let pair =
            |(name, value): (&'a Spanned<std::borrow::Cow<'a, str>>, &'a Spanned<DeValue<'a>>)| {
                let name: &str = name.get_ref();
                (name, Self { value, ..*self }.located())
            };
        table.iter().map(pair).collect()
    }

    /// Whether it is a whole number.
    pub(super) fn is_number(&self) -> bool {
        self.value.get_ref().is_integer()
    }

    /// Whether it is a list without elements.
    pub(super) fn is_empty_list(&self) -> bool {
        self.value.get_ref().as_array().is_some_and(|array| array.is_empty())
    }

    /// The byte offset of the value in the text: unique, unlike a line.
    pub(super) fn offset(&self) -> usize {
        self.value.span().start
    }

    fn located(mut self) -> Self {
        self.line = self.lines.at(self.offset());
        self
    }

    fn expected(&self, what: &str, faults: &mut Faults) {
        let found = self.value.get_ref().type_str();
        self.fault(format!("is of type {found}; write {what}"), faults);
    }
}
