//! Manual pages and shell completions, made from the definitions of the command lines and from
//! `config.example`.

mod config_page;

use std::fs;
use std::path::Path;

use anyhow::Context;
use clap::{Arg, Command, ValueHint};
use clap_complete::Shell;
use clap_mangen::Man;

use super::cli;

/// The manual's section of daemons and their administration (man(1)).
const SECTION: &str = "8";

/// The date of the last change of the pages' form. A page needs a date (man(7)), and the build's
/// date would make builds unreproducible.
const DATE: &str = "2026-11-28";

/// The shells that have completions, their folders, and the prefix and suffix of their file names.
const SHELLS: [(Shell, &str, &str, &str); 3] = [
    (Shell::Bash, "bash", "", ""),
    (Shell::Zsh, "zsh", "_", ""),
    (Shell::Fish, "fish", "", ".fish"),
];

/// The longest line of a page's source, in bytes.
const LINE: usize = 78;

/// Writes `man/*.8`, `man/vstun.toml.5` and a folder of completions for each shell.
///
/// # Errors
/// The folder cannot be written.
pub(super) fn write(folder: &Path) -> anyhow::Result<()> {
    let man = folder.join("man");
    make(&man)?;
    for program in cli::command_lines() {
        let mut program = without_files(program);
        let name = program.get_name().to_owned();
        for (shell, completions, before, after) in SHELLS {
            let folder = folder.join(completions);
            make(&folder)?;
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut program, &name, &mut script);
            put(&folder.join(format!("{before}{name}{after}")), &script)?;
        }
        pages(&program, &man)?;
    }
    put_page(&man.join("vstun.toml.5"), &config_page::page())
}

/// The program whose completions offer files only for paths: shells offer them for every value
/// without a hint.
fn without_files(program: Command) -> Command {
    let hinted = |argument: Arg| match argument.get_value_hint() {
        ValueHint::Unknown if argument.get_action().takes_values() => {
            argument.value_hint(ValueHint::Other)
        }
        _ => argument,
    };
    program.mut_args(hinted).mut_subcommands(without_files)
}

/// The page of a program and of each of its subcommands, named like git's: `vstun-list.8`.
fn pages(program: &Command, folder: &Path) -> anyhow::Result<()> {
    let name = program.get_name();
    page(program.clone(), name, folder)?;
    for verb in program.get_subcommands().filter(|verb| has_page(verb)) {
        let name = format!("{name}-{}", verb.get_name());
        page(verb.clone().name(name.clone()), &name, folder)?;
    }
    Ok(())
}

/// `help` shows what the pages say.
fn has_page(verb: &Command) -> bool {
    !verb.is_hide_set() && verb.get_name() != "help"
}

fn page(command: Command, name: &str, folder: &Path) -> anyhow::Result<()> {
    let title = name.to_uppercase();
    let man = Man::new(command).title(title).section(SECTION).date(DATE).source("vstun");
    let mut text = Vec::new();
    man.render(&mut text).context("a manual page could not be written")?;
    put_page(&folder.join(format!("{name}.{SECTION}")), &String::from_utf8(text)?)
}

fn make(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))
}

fn put_page(path: &Path, text: &str) -> anyhow::Result<()> {
    put(path, in_style(text).as_bytes())
}

/// The page without space at the end of lines and without long lines (mandoc(1), STYLE). Only text
/// that a reader's program fills may be broken.
fn in_style(text: &str) -> String {
    let mut filled = true;
    let mut page = String::with_capacity(text.len());
    for line in text.lines().map(str::trim_end) {
        filled = (filled || line == ".fi") && line != ".nf";
        if filled && !line.starts_with(['.', '\'', ' ']) {
            break_line(line, &mut page);
        } else {
            page.push_str(line);
        }
        page.push('\n');
    }
    page
}

/// Adds the words of a line in lines of at most [`LINE`] bytes.
fn break_line(line: &str, page: &mut String) {
    let mut used = 0;
    for (index, word) in line.split(' ').enumerate() {
        if index > 0 && used + 1 + word.len() > LINE {
            // A point or an apostrophe at the start would make it a request (roff(7)).
            page.push_str(if word.starts_with(['.', '\'']) { "\n\\&" } else { "\n" });
            used = 0;
        } else if index > 0 {
            page.push(' ');
            used += 1;
        }
        page.push_str(word);
        used += word.len();
    }
}

fn put(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("could not write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_where_text_is_filled() {
        let long = format!("{} .so .TH", "word ".repeat(15).trim_end());
        let broken = format!("{}\n\\&.TH\n", &long[..long.len() - 4]);
        assert_eq!(in_style(&long), broken);
        let kept = format!(".nf\n{long}\n.fi\n.TP \n");
        assert_eq!(in_style(&kept), kept.replace(" \n", "\n"));
    }
}
