//! Reads the firewall's rules.

use std::process::{Command, Stdio};

use crate::doctor::firewall::Ruleset;
use crate::doctor::{Cause, Finding, Severity};

/// Tables of iptables-legacy, which nftables does not list.
const LEGACY: [&str; 2] = ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"];

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
            let text = "the firewall's rules could not be read, so they are not looked at";
            unseen.push(note(text).seen(why).mended_by("nft list ruleset"));
            (None, unseen)
        }
    }
}

fn note(text: &str) -> Finding {
    Finding::new(Cause::Firewall, Severity::Note, text)
}

fn ruleset() -> Result<Ruleset, String> {
    let mut command = Command::new("nft");
    command.args(["-j", "list", "ruleset"]).stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("cannot run nft: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("nft: {}", said.lines().next().unwrap_or_default()));
    }
    // Some versions of nft print nothing without rules and tables.
    if output.stdout.trim_ascii().is_empty() {
        return Ok(Ruleset::default());
    }
    Ruleset::read(&output.stdout).ok_or_else(|| "cannot read what nft -j prints".to_owned())
}
