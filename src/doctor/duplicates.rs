//! Findings about addresses of real servers that several hosts have.

use std::net::IpAddr;

use super::{Cause, Finding, Severity};

/// A real server's address for which several hardware addresses answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DuplicateAddress {
    /// The real server.
    pub real: IpAddr,
    /// The interface of this host.
    pub link: String,
    /// The hardware addresses, as `ip` shows them.
    pub hardware: Vec<String>,
}

/// The finding. `serves`: the real server answers what comes through the tunnel, at present.
pub(super) fn finding(duplicate: &DuplicateAddress, serves: bool) -> Finding {
    let DuplicateAddress { real, link, hardware } = duplicate;
    let text = format!(
        "several hosts on {link} answer for the address of real server {real}, and tunnelled \
         packets go to one of them: give the other ones another address"
    );
    let (severity, family) = (
        if serves { Severity::Warning } else { Severity::Fault },
        if real.is_ipv4() { "-4" } else { "-6" },
    );
    Finding::new(Cause::NextHop, severity, text)
        .seen(format!("answers of {}", hardware.join(", ")))
        .about(*real)
        .mended_by(format!("ip {family} neigh show to {real} dev {link}"))
}
