//! Findings, and the report of them.

use std::fmt::Write as _;
use std::net::IpAddr;

use serde::Serialize;

use super::Cause;
use crate::control::{counted, wrap};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It affects clients.
    Fault,
    /// It may affect some clients, or will later.
    Warning,
    /// Something that could not be tested, or that may be on purpose; it leaves the exit code
    /// alone.
    Note,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// The cause.
    pub cause: Cause,
    /// How bad it is.
    pub severity: Severity,
    /// The real server or virtual IP that it concerns, if it is one.
    pub address: Option<IpAddr>,
    /// The finding in a sentence.
    pub text: String,
    /// What was observed.
    pub evidence: String,
    /// The commands that correct it, in order.
    pub mend: Vec<String>,
    /// The host to run them on: empty for this one.
    pub on: String,
    /// Whether a daemon cannot start because of it.
    pub prevents_start: bool,
}

impl Finding {
    /// A finding about this host.
    #[must_use]
    pub fn new(cause: Cause, severity: Severity, text: impl Into<String>) -> Self {
        let (evidence, on, mend) = (String::new(), String::new(), Vec::new());
        let (text, address, prevents_start) = (text.into(), None, false);
        Self { cause, severity, address, text, evidence, mend, on, prevents_start }
    }

    /// The finding with its evidence.
    #[must_use]
    pub fn seen(self, evidence: impl Into<String>) -> Self {
        Self { evidence: evidence.into(), ..self }
    }

    /// The finding with a further command that corrects it.
    #[must_use]
    pub fn mended_by(mut self, command: impl Into<String>) -> Self {
        self.mend.push(command.into());
        self
    }

    /// The finding about this address.
    #[must_use]
    pub fn about(self, address: IpAddr) -> Self {
        Self { address: Some(address), ..self }
    }

    /// The finding with the host on which to run the commands.
    #[must_use]
    pub fn on(self, host: impl Into<String>) -> Self {
        Self { on: host.into(), ..self }
    }
}

/// The result of `doctor`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Diagnosis {
    /// `director` or `realserver`.
    pub role: String,
    /// The findings, sorted by [`Diagnosis::new`].
    pub findings: Vec<Finding>,
    /// The tests without findings, a line each.
    pub well: Vec<String>,
    /// Whether something could not be looked at.
    pub partial: bool,
}

/// As JSON.
#[derive(Serialize)]
struct FindingJson<'a> {
    role: &'a str,
    healthy: bool,
    findings: Vec<FindingObject<'a>>,
    well: &'a [String],
}

#[derive(Serialize)]
struct FindingObject<'a> {
    cause: &'static str,
    severity: Severity,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    text: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    evidence: &'a str,
    mend: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    on: &'a str,
}

impl<'a> FindingObject<'a> {
    fn of(finding: &'a Finding) -> Self {
        let Finding { cause, severity, address, text, evidence, mend, on, .. } = finding;
        let (cause, severity, address) = (cause.name(), *severity, *address);
        Self { cause, severity, address, text, evidence, mend, on }
    }
}

impl Diagnosis {
    /// A report with the findings in order: faults, warnings, notes; within each what prevents a
    /// start, then the others in the order in which a packet meets them.
    #[must_use]
    pub fn new(role: &str, mut findings: Vec<Finding>, well: Vec<String>) -> Self {
        findings.sort_by(|one, other| {
            let key = |one: &Finding| (one.severity, !one.prevents_start, one.cause);
            key(one).cmp(&key(other)).then_with(|| one.address.cmp(&other.address))
        });
        findings.dedup();
        Self { role: role.to_owned(), findings, well, partial: false }
    }

    /// The report of observations of which some could not be made.
    #[must_use]
    pub fn partly(self, partial: bool) -> Self {
        Self { partial, ..self }
    }

    /// Whether there is neither fault nor warning.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity == Severity::Note)
    }

    /// As a JSON object of one line.
    #[must_use]
    pub fn json(&self) -> String {
        crate::control::encode(&FindingJson {
            role: &self.role,
            healthy: self.is_healthy(),
            findings: self.findings.iter().map(FindingObject::of).collect(),
            well: &self.well,
        })
    }

    /// As text in lines of at most `width` characters. Commands stay whole, to be copied: a long
    /// one has a line of its own.
    #[must_use]
    pub fn human(&self, width: usize) -> String {
        const HANG: usize = 3;
        let mut text = String::new();
        // Writing to a String does not fail.
        for (index, finding) in self.findings.iter().enumerate() {
            let Finding { severity, text: what, evidence, mend, on, .. } = finding;
            let line = format!("{}. {}: {what}", index + 1, severity.name());
            text += &wrap(&line, width, HANG);
            if !evidence.is_empty() {
                text += &wrap(&format!("   seen: {evidence}"), width, HANG);
            }
            let host = if on.is_empty() { String::new() } else { format!(" on {on}") };
            for command in mend {
                let line = format!("   mend{host}: {command}");
                if line.chars().count() <= width {
                    let _ = writeln!(text, "{line}");
                } else {
                    let _ = writeln!(text, "   mend{host}:\n{command}");
                }
            }
        }
        for line in &self.well {
            text += &wrap(&format!("well: {line}"), width, HANG);
        }
        let count = self.findings.iter().filter(|one| one.severity != Severity::Note).count();
        let _ = match count {
            0 if self.partial => {
                writeln!(text, "{}: nothing is wrong in what could be looked at", self.role)
            }
            0 => writeln!(text, "{}: nothing is wrong", self.role),
            count => writeln!(text, "{}: {}", self.role, counted(count as u64, "finding")),
        };
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts are wrapped between words, and commands stay in one piece, alone in their line if they
    /// are long.
    #[test]
    fn a_report_fits_a_terminal_and_its_commands_can_be_copied() {
        const WIDTH: usize = 80;
        let short = "ip route get 2001:db8:b::10 from 2001:db8:c::10 iif eth0";
        let long = format!("sed -i 's|{}|x|' /etc/vstun/realserver.toml", "a".repeat(WIDTH));
        let text = "real server 2001:db8:a::11 answers nothing that comes through the tunnel: it \
                    is down, or a firewall there drops protocols 4 and 41";
        let finding = Finding::new(Cause::Tunnel, Severity::Fault, text)
            .seen("probes of [2001:db8:b::10]:80/tcp: no answer within 1s, three times in a row")
            .mended_by(short)
            .mended_by(long.clone())
            .on("real server 2001:db8:a::11");
        let well =
            vec!["the kernel's route lookup for a packet that comes from a client, ".repeat(2)];
        let report = Diagnosis::new("director", vec![finding], well).human(WIDTH);
        for line in report.lines() {
            let bare = line.trim_start();
            assert!(line.chars().count() <= WIDTH || line == long, "{line}");
            assert!(
                !bare.is_empty() && !bare.starts_with("mend on real server 2001:db8:a::11: sed")
            );
        }
        let lines: Vec<&str> = report.lines().collect();
        assert!(lines.contains(&long.as_str()), "{report}");
        let alone = lines.iter().position(|line| *line == short).map(|at| lines[at - 1]);
        assert_eq!(alone, Some("   mend on real server 2001:db8:a::11:"), "{report}");
        let words: Vec<&str> = report.split_whitespace().collect();
        assert!(words.join(" ").contains(text), "{report}");
    }
}
