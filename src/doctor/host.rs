//! Findings from the problems that the daemon, or a plan for its host, reports.

use std::net::IpAddr;

use super::{Cause, Finding, Severity};

/// A problem of the host.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HostFault {
    /// Its sort, as the `host` section of listings names it.
    pub what: String,
    /// The virtual IP or real server that it concerns.
    pub address: Option<IpAddr>,
    /// The problem; the commands of the remedy are in backquotes.
    pub text: String,
    /// Since when, or empty.
    pub since: String,
    /// Whether a daemon cannot start because of it.
    pub prevents_start: bool,
}

/// The first words of commands in a text. Other quoted texts are keys or values.
const COMMANDS: [&str; 10] = [
    "ip ",
    "sysctl ",
    "nft ",
    "iptables ",
    "modprobe ",
    "systemctl ",
    "vstun ",
    "ethtool ",
    "tc ",
    "ss ",
];

/// A finding for each problem.
#[must_use]
pub fn host_findings(faults: &[HostFault]) -> Vec<Finding> {
    let captured = faults.iter().all(|fault| fault.what != "capture");
    let explains = |fault: &HostFault| SETTINGS.iter().any(|name| fault.text.contains(name));
    let each = |fault: &HostFault| match finding(fault) {
        // Packets do not reach the TUN, and this setting decides that.
        found
            if !captured
                && matches!(found.cause, Cause::Host | Cause::RpFilter)
                && explains(fault) =>
        {
            Finding { cause: Cause::Capture, severity: Severity::Fault, ..found }
        }
        found => found,
    };
    faults.iter().map(each).collect()
}

/// The settings without which the kernel forwards nothing from an uplink into the TUN.
const SETTINGS: [&str; 2] = ["/forwarding", "/rp_filter"];

fn finding(fault: &HostFault) -> Finding {
    let (cause, severity) = match fault.what.as_str() {
        "vip" => (Cause::VirtualIp, Severity::Fault),
        "uplink" => (Cause::Uplink, Severity::Fault),
        "capture" => (Cause::Capture, Severity::Fault),
        "conflict" => (Cause::Conflict, Severity::Fault),
        "real_server" => (Cause::RealServerRoute, Severity::Fault),
        "source" => (Cause::Source, Severity::Fault),
        "announcing" => (Cause::Announcing, Severity::Fault),
        "mss" => (Cause::Mss, Severity::Warning),
        "gue" => (Cause::GuePorts, Severity::Warning),
        "raw" => (Cause::Tunnel, Severity::Fault),
        "step" if fault.text.contains("/rp_filter") => (Cause::RpFilter, Severity::Warning),
        "tun" => (Cause::Tun, Severity::Fault),
        "warning" => (Cause::Host, Severity::Note),
        _ => (Cause::Host, Severity::Warning),
    };
    let mut found = Finding::new(cause, severity, fault.text.clone());
    if !fault.since.is_empty() {
        found = found.seen(format!("the daemon has reported it since {}", fault.since));
    }
    if fault.prevents_start {
        found.severity = Severity::Fault;
    }
    found.prevents_start = fault.prevents_start;
    found.address = fault.address;
    found.mend = commands(&fault.text);
    found
}

/// A daemon that does not answer: why, and its unit.
pub(super) fn not_running(text: &str, (why, unit): &(String, String)) -> Finding {
    Finding::new(Cause::DaemonMissing, Severity::Fault, text)
        .seen(why.clone())
        .mended_by(format!("systemctl start {unit}"))
        .mended_by(format!("journalctl -u {unit} -n 20"))
}

/// The commands in backquotes.
pub(super) fn commands(text: &str) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    let commands = quoted.filter(|quoted| COMMANDS.iter().any(|word| quoted.starts_with(word)));
    commands.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_becomes_a_finding_with_its_commands() {
        let fault = HostFault {
            what: "vip".to_owned(),
            address: Some("192.0.2.10".parse().expect("an address")),
            text: "virtual IP 192.0.2.10 is a local address; `ip addr del 192.0.2.10/32 dev lo`, \
                   or write another `listen`"
                .to_owned(),
            since: "2026-11-28T17:00:00Z".to_owned(),
            prevents_start: false,
        };
        let found = host_findings(&[fault]);
        assert_eq!(found[0].cause, Cause::VirtualIp);
        assert_eq!(found[0].severity, Severity::Fault);
        assert_eq!(found[0].mend, ["ip addr del 192.0.2.10/32 dev lo"]);
        assert!(found[0].evidence.contains("2026"));
    }

    /// The command of the capture's fault only shows it.
    #[test]
    fn a_setting_that_keeps_packets_from_the_tun_comes_before_the_capture() {
        let fault = |what: &str, address: Option<&str>, text: &str| HostFault {
            what: what.to_owned(),
            address: address.map(|address| address.parse().expect("an address")),
            text: text.to_owned(),
            ..HostFault::default()
        };
        let setting = fault("step", None, "`sysctl -w net/ipv4/conf/eth0/forwarding=1`");
        let capture = fault("capture", Some("192.0.2.10"), "see `ip rule`");
        let report = crate::doctor::Diagnosis::new(
            "director",
            host_findings(&[capture, setting.clone()]),
            Vec::new(),
        );
        assert_eq!(report.findings[0].mend, ["sysctl -w net/ipv4/conf/eth0/forwarding=1"]);
        assert_eq!(report.findings[0].severity, Severity::Fault);
        assert_eq!(host_findings(&[setting])[0].severity, Severity::Warning);
    }

    #[test]
    fn text_with_an_odd_backquote_has_no_command_in_its_rest() {
        assert_eq!(commands("`uplinks` and `ip link"), ["ip link"]);
        assert!(commands("no quotes").is_empty());
    }
}
