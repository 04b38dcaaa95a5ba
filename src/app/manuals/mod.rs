//! Manual pages and shell completions, made from the definitions of the command lines and from
//! `config.example`.

mod config_page;

use std::fs;
use std::path::Path;

use anyhow::Context;
use clap::Command;
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

/// Writes `man/*.8`, `man/vstun.toml.5` and a folder of completions for each shell.
///
/// # Errors
/// The folder cannot be written.
pub(super) fn write(folder: &Path) -> anyhow::Result<()> {
    let man = folder.join("man");
    make(&man)?;
    for mut program in cli::command_lines() {
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
    put(&man.join("vstun.toml.5"), config_page::page().as_bytes())
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
    put(&folder.join(format!("{name}.{SECTION}")), &text)
}

fn make(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))
}

fn put(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("could not write {}", path.display()))
}
