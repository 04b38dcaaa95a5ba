//! Whether a packet meets a condition of a rule.

use serde_json::Value;

use super::field::operand;
use super::operand::{Met, Operand, any};
use super::packet::JudgedPacket;
use super::sets::{Sets, TableName};

/// A packet at the rules of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct AtTable<'a> {
    /// The packet.
    pub(super) packet: &'a JudgedPacket,
    /// The table.
    pub(super) table: TableName<'a>,
    /// The sets of all tables.
    pub(super) sets: &'a Sets,
    /// Whether a rule of any table sets marks.
    pub(super) marks: bool,
}

/// What a map has for a packet.
#[derive(Debug)]
pub(super) enum Mapped<'a> {
    /// Nothing: the next rule is looked at.
    Nothing,
    /// This verdict.
    Verdict(&'a Value),
    /// One of these, or nothing.
    Possible(Vec<&'a Value>),
}

/// Whether the packet meets a `match` statement. A packet that lacks the field on its left meets
/// none, whatever the operator: the kernel ends the rule.
pub(super) fn met(statement: &Value, at: AtTable<'_>) -> Met {
    let right = &statement["right"];
    let left = operand(&statement["left"], at.packet, at.marks);
    if matches!(left, Operand::Absent) {
        return Some(false);
    }
    let not = |met: Met| met.map(|met| !met);
    match statement["op"].as_str()? {
        "!=" => not(equals(&left, right, at)),
        "in" if left.is_of_flags() && elements(right, at).is_none() => left.has(right),
        "==" | "in" => equals(&left, right, at),
        "!" => not(left.has(right)),
        "<" => left.is_below(right, false),
        "<=" => left.is_below(right, true),
        ">" => not(left.is_below(right, true)),
        ">=" => not(left.is_below(right, false)),
        _ => None,
    }
}

/// Whether the field has the value, or one of the values, on the right.
fn equals(left: &Operand<'_>, right: &Value, at: AtTable<'_>) -> Met {
    if let Some(elements) = elements(right, at) {
        return any(elements.iter().map(|element| is_element(left, element)));
    }
    match right.as_array() {
        Some(values) if !left.is_of_flags() => any(values.iter().map(|value| left.is(value))),
        _ if right.as_str().is_some_and(|name| name.starts_with('@')) => None,
        _ => left.is(right),
    }
}

/// The elements of a set: an anonymous one, or one of the table.
fn elements<'a>(right: &'a Value, at: AtTable<'a>) -> Option<&'a [Value]> {
    match right.as_str() {
        Some(name) => at.sets.elements(at.table, name.strip_prefix('@')?),
        None => right["set"].as_array().map(Vec::as_slice),
    }
}

/// Whether the field is this element of a set.
fn is_element(left: &Operand<'_>, element: &Value) -> Met {
    let value = &element["elem"]["val"];
    let value = if value.is_null() { element } else { value };
    if *value == "*" { Some(true) } else { left.is(value) }
}

/// What a map of verdicts has for the packet.
pub(super) fn mapped<'a>(vmap: &'a Value, at: AtTable<'a>) -> Mapped<'a> {
    let left = operand(&vmap["key"], at.packet, at.marks);
    if matches!(left, Operand::Absent) {
        return Mapped::Nothing;
    }
    let Some(pairs) = elements(&vmap["data"], at) else { return Mapped::Possible(Vec::new()) };
    // What is for all others stands for itself.
    let (others, named): (Vec<&Value>, Vec<&Value>) =
        pairs.iter().partition(|pair| pair[0] == "*" || pair[0]["elem"]["val"] == "*");
    let judged: Vec<_> = named.iter().map(|pair| (is_element(&left, &pair[0]), &pair[1])).collect();
    if let Some((_, verdict)) = judged.iter().find(|(met, _)| *met == Some(true)) {
        return Mapped::Verdict(verdict);
    }
    let possible = judged.iter().filter(|(met, _)| met.is_none()).map(|(_, verdict)| *verdict);
    let mut possible: Vec<&Value> = possible.collect();
    let rest = others.first().map(|pair| &pair[1]);
    match (possible.is_empty(), rest) {
        (true, None) => Mapped::Nothing,
        (true, Some(verdict)) => Mapped::Verdict(verdict),
        (false, rest) => {
            possible.extend(rest);
            Mapped::Possible(possible)
        }
    }
}

#[cfg(test)]
#[path = "condition_tests.rs"]
mod tests;
