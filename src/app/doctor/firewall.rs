//! Reads the firewall's rules.

use std::io;
use std::process::{Command, Stdio};

use crate::doctor::firewall::Ruleset;
use crate::doctor::{Cause, Finding, Severity};

/// How an error begins about a program that is missing.
const NO_PROGRAM: &str = "there is no program";

/// Tables of iptables-legacy, which nftables does not list.
const LEGACY: [&str; 2] = ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"];

/// The programs that print their rules, for IPv4 and IPv6.
const SAVES: [&str; 2] = ["iptables-legacy-save", "ip6tables-legacy-save"];

/// The ruleset of nftables, and findings about rules that could not be read.
pub(super) fn read() -> (Option<Ruleset>, Vec<Finding>) {
    let mut unseen = Vec::new();
    if LEGACY.iter().any(|path| {
        let names = std::fs::read_to_string(path).unwrap_or_default();
        names.lines().any(|name| name == "filter")
    }) {
        let text = "the rules of iptables-legacy are not looked at: see whether they accept what \
                    goes into the TUN";
        unseen.push(note(text).mended_by("iptables-legacy -vnL"));
    }
    match ruleset() {
        Ok(ruleset) => (Some(ruleset), unseen),
        Err(why) => {
            unseen.push(unread(why));
            (None, unseen)
        }
    }
}

/// As [`read`], with the rules of iptables-legacy.
pub(super) fn read_all() -> (Option<Ruleset>, Vec<Finding>) {
    let (mut ruleset, mut unseen) = match ruleset() {
        Ok(ruleset) => (ruleset, Vec::new()),
        // Those of iptables-legacy alone may explain a drop.
        Err(why) => (Ruleset::default(), vec![unread(why)]),
    };
    for ((path, program), version) in LEGACY.iter().zip(SAVES).zip([4, 6]) {
        if !std::fs::read_to_string(path).is_ok_and(|tables| !tables.trim().is_empty()) {
            continue;
        }
        match output(program, &[]) {
            Ok(saved) => ruleset.add_legacy(&String::from_utf8_lossy(&saved), version),
            Err(why) => {
                let text = "the rules of iptables-legacy could not be read: see whether they let \
                            tunnelled packets, and replies from the virtual IPs, through";
                unseen.push(note(text).seen(why).mended_by(program));
            }
        }
    }
    (Some(ruleset), unseen)
}

fn unread(why: String) -> Finding {
    let text = "the firewall's rules could not be read, so they are not looked at";
    let missing = why.starts_with(NO_PROGRAM);
    let mend = if missing { "apt-get install nftables" } else { "sudo vstun doctor" };
    note(text).seen(why).mended_by(mend)
}

fn note(text: &str) -> Finding {
    Finding::new(Cause::Firewall, Severity::Note, text)
}

fn ruleset() -> Result<Ruleset, String> {
    let listing = output("nft", &["-j", "list", "ruleset"])?;
    // Some versions of nft print nothing without rules and tables.
    if listing.trim_ascii().is_empty() {
        return Ok(Ruleset::default());
    }
    let mut ruleset =
        Ruleset::read(&listing).ok_or_else(|| "cannot read what nft -j prints".to_owned())?;
    if ruleset.lacks_devices()
        && let Ok(chains) = output("nft", &["list", "chains"])
    {
        ruleset.add_devices(&String::from_utf8_lossy(&chains));
    }
    Ok(ruleset)
}

/// What a program prints.
fn output(program: &str, arguments: &[&str]) -> Result<Vec<u8>, String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let output = command.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("{NO_PROGRAM} {program} here"),
        _ => format!("cannot run {program}: {error}"),
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{program}: {}", said.lines().next().unwrap_or_default()));
    }
    Ok(output.stdout)
}
