//! The manual page of the configuration file. `config.example` documents each key, and a test keeps
//! it complete, so the page is that file in the manual's form.

use clap_mangen::roff::{Roff, bold, roman};

/// The keys with their defaults and documentation.
const EXAMPLE: &str = include_str!("../../../config.example");

/// A part of the example.
#[derive(Debug, Default, PartialEq)]
struct ExamplePart<'a> {
    /// The comment above it, line by line.
    text: Vec<&'a str>,
    /// `[director]`; empty for a comment alone and for keys.
    table: &'a str,
    /// `arp = true`, one or several with one comment.
    keys: Vec<&'a str>,
}

/// The page.
pub(super) fn page() -> String {
    let mut page = Roff::new();
    page.control("TH", ["VSTUN.TOML", "5", super::DATE, "vstun"]);
    page.control("SH", ["NAME"]);
    page.text([roman("vstun.toml - configuration of vstun-director and vstun-realserver")]);
    page.control("SH", ["DESCRIPTION"]);
    for (index, part) in parts(EXAMPLE).into_iter().enumerate() {
        if !part.table.is_empty() {
            page.control("SH", [part.table]);
        } else if let Some((first, others)) = part.keys.split_first() {
            page.control("TP", []);
            page.text([bold(*first)]);
            for key in others {
                page.control("TQ", []);
                page.text([bold(*key)]);
            }
        } else if index > 0 {
            page.control("PP", []);
        }
        paragraphs(&mut page, &part.text);
    }
    page.to_roff()
}

/// Writes lines; those that are indented stay as they are.
fn paragraphs(page: &mut Roff, lines: &[&str]) {
    let mut verbatim = false;
    for line in lines {
        let indented = line.starts_with("  ");
        if indented != verbatim {
            page.control(if indented { "RS" } else { "RE" }, []);
            page.control(if indented { "nf" } else { "fi" }, []);
            verbatim = indented;
        }
        if line.trim().is_empty() {
            page.control("PP", []);
        } else {
            page.text([roman(line.trim())]);
        }
    }
    if verbatim {
        page.control("fi", []);
        page.control("RE", []);
    }
}

/// Splits the example into parts.
fn parts(example: &str) -> Vec<ExamplePart<'_>> {
    let (mut parts, mut part) = (Vec::new(), ExamplePart::default());
    for line in example.lines() {
        let comment = line.strip_prefix("# ").or_else(|| (line == "#").then_some(""));
        let ends = match comment {
            Some(_) => !part.keys.is_empty() || !part.table.is_empty(),
            None => line.is_empty() || line.starts_with('[') && !part.keys.is_empty(),
        };
        if ends && part != ExamplePart::default() {
            parts.push(std::mem::take(&mut part));
        }
        match comment {
            Some(text) => part.text.push(text),
            None if line.starts_with('[') => part.table = line,
            None if !line.is_empty() => {
                if !part.table.is_empty() {
                    parts.push(std::mem::take(&mut part));
                }
                part.keys.push(line.trim_start_matches('#'));
            }
            None => {}
        }
    }
    parts.push(part);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_a_comment_with_its_table_or_keys() {
        let example = "# Intro.\n\n# A table.\n[one]\nkey = 1\n# Two\n# lines.\na = 1\n#b = 2\n";
        let part = |text: &[&'static str], table, keys: &[&'static str]| ExamplePart {
            text: text.to_vec(),
            table,
            keys: keys.to_vec(),
        };
        assert_eq!(
            parts(example),
            [
                part(&["Intro."], "", &[]),
                part(&["A table."], "[one]", &[]),
                part(&[], "", &["key = 1"]),
                part(&["Two", "lines."], "", &["a = 1", "b = 2"]),
            ]
        );
    }

    #[test]
    fn the_page_has_every_table_and_key() {
        let page = page();
        for word in
            ["[director]", "[director.timeouts]", "[[service]]", "[[service.real]]", "arp = true"]
        {
            assert!(page.contains(word), "{word}");
        }
    }
}
