//! Makes text safe for a terminal: files, peers and sockets may send control characters (ECMA-48),
//! which move the cursor, set the title or hide lines.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with U+FFFD for each control character except the newline.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    replaced(text, |one| one.is_control() && one != '\n')
}

/// The same for a text of one line: newlines are replaced as well, so that a text cannot imitate a
/// second line.
#[must_use]
pub fn printable_line(text: &str) -> Cow<'_, str> {
    replaced(text, char::is_control)
}

fn replaced(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&hidden) {
        return text.into();
    }
    let shown = |one| if hidden(one) { char::REPLACEMENT_CHARACTER } else { one };
    text.chars().map(shown).collect::<String>().into()
}

/// JSON lines with DEL and the C1 controls in escaped form, so that the value is the same. JSON
/// itself requires that only of C0 (RFC 8259 section 7).
#[must_use]
pub fn printable_json(lines: &str) -> Cow<'_, str> {
    let hidden = |one: char| one.is_control() && one != '\n';
    if !lines.contains(hidden) {
        return lines.into();
    }
    let mut escaped = String::with_capacity(lines.len());
    for one in lines.chars() {
        if hidden(one) {
            // Writing to a String does not fail.
            let _ = write!(escaped, "\\u{:04x}", u32::from(one));
        } else {
            escaped.push(one);
        }
    }
    escaped.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Sets the title and clears the screen, with C0 and with C1 controls.
    const HOSTILE: &str = "a\x1b]0;pwned\x07\x1b[2J\u{9b}31m\x7f\r\nb\tü";

    #[test]
    fn every_control_character_is_replaced() {
        let one = "a\u{fffd}]0;pwned\u{fffd}\u{fffd}[2J\u{fffd}31m\u{fffd}\u{fffd}";
        assert_eq!(printable(HOSTILE), format!("{one}\nb\u{fffd}ü"));
        assert_eq!(printable_line(HOSTILE), format!("{one}\u{fffd}b\u{fffd}ü"));
        assert!(matches!(printable("web → 10.0.0.11\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_keeps_its_value_and_its_lines() {
        let value = serde_json::Value::from(HOSTILE);
        let lines = format!("{value}\n{value}\n");
        assert!(lines.contains('\x7f') && lines.contains('\u{9b}'));
        let shown = printable_json(&lines);
        assert!(!shown.replace('\n', "").contains(char::is_control), "{shown:?}");
        for line in shown.lines() {
            assert_eq!(serde_json::from_str::<serde_json::Value>(line).unwrap(), value);
        }
        assert_eq!(shown.lines().count(), 2);
    }
}
