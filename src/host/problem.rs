//! What is wrong with the host now, and since when.

use std::net::IpAddr;
use std::time::SystemTime;

use super::plan::Refusal;

/// What a problem is about; the names are part of the control protocol.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ProblemKind {
    /// A virtual IP cannot be served as the host is.
    VirtualIp,
    /// An uplink is missing, unfit or down.
    Uplink,
    /// Packets for a virtual IP do not get into the TUN.
    Capture,
    /// Another host answers for a virtual IP.
    Conflict,
    /// There is no usable way to a real server.
    RealServer,
    /// The tunnels' source address is not what it should be.
    Source,
    /// Clients may find a real server without the director.
    Announcing,
    /// A step of the plan is not in force.
    Step,
    /// Somebody undoes a step again and again, and it is left so.
    Contested,
    /// The host cannot be looked at.
    Unknown,
}

impl ProblemKind {
    /// The name in replies and events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::VirtualIp => "vip",
            Self::Uplink => "uplink",
            Self::Capture => "capture",
            Self::Conflict => "conflict",
            Self::RealServer => "real_server",
            Self::Source => "source",
            Self::Announcing => "announcing",
            Self::Step => "step",
            Self::Contested => "contested",
            Self::Unknown => "unknown",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// What it is about.
    pub kind: ProblemKind,
    /// What it concerns: an address, an interface, a step. With the kind it says whether two
    /// problems are the same one.
    pub subject: String,
    /// The virtual IP or real server that it concerns, where it is one.
    pub address: Option<IpAddr>,
    /// What is wrong and what mends it.
    pub text: String,
    /// Why a first start is refused because of it; none: the start goes on.
    pub refusal: Option<Refusal>,
}

impl Problem {
    /// A problem that does not keep a director from starting.
    #[must_use]
    pub fn new(kind: ProblemKind, subject: impl Into<String>, text: impl Into<String>) -> Self {
        let (subject, text) = (subject.into(), text.into());
        Self { kind, address: subject.parse().ok(), subject, text, refusal: None }
    }

    /// The same problem as that one, whatever the words.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.kind == other.kind && self.subject == other.subject
    }
}

/// A problem that keeps a director or a real server from starting.
impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        use ProblemKind::{RealServer, Source, Step, Uplink, VirtualIp};
        let (kind, subject) = match &refusal {
            Refusal::VipIsLocal { address, .. }
            | Refusal::VipIsAnycast { address, .. }
            | Refusal::VipOnLink { address, .. }
            | Refusal::RouteExists { address, .. }
            | Refusal::Ipv6Off { address, .. }
            | Refusal::Ipv6Missing(address)
            | Refusal::UplinkMissing(address) => (VirtualIp, address.to_string()),
            Refusal::UplinkUnknown(link) | Refusal::UplinkUnfit(link) => (Uplink, link.clone()),
            Refusal::RealIsLocal { address, .. } => (RealServer, address.to_string()),
            Refusal::SourceForeign(source) => (Source, source.to_string()),
            Refusal::TunExists(link) | Refusal::TunName(link) => (Step, link.clone()),
            Refusal::TableReserved { table, .. } | Refusal::TableUsed(table) => {
                (Step, format!("table {table}"))
            }
            Refusal::Priority(priority) => (Step, format!("rule {priority}")),
        };
        let text = refusal.to_string();
        Self { refusal: Some(refusal), ..Self::new(kind, subject, text) }
    }
}

/// A problem and when it began.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Standing {
    /// The problem, in the words of the last look.
    pub problem: Problem,
    /// When it was first seen without a break.
    pub since: SystemTime,
}

/// What a look has found to be different from the look before.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Turn {
    /// It was not there before.
    Began(Problem),
    /// It is over.
    Ended(Standing),
}

/// The problems that there are.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    standing: Vec<Standing>,
}

impl Ledger {
    /// Takes what a look at `now` has found, each problem once, and gives back what is different.
    pub fn update(&mut self, now: SystemTime, found: Vec<Problem>) -> Vec<Turn> {
        let mut turns = Vec::new();
        let mut standing: Vec<Standing> = Vec::with_capacity(found.len());
        for problem in found {
            if standing.iter().any(|known| known.problem.is(&problem)) {
                continue;
            }
            let known = self.standing.iter().find(|known| known.problem.is(&problem));
            let since = known.map_or(now, |known| known.since);
            if known.is_none() {
                turns.push(Turn::Began(problem.clone()));
            }
            standing.push(Standing { problem, since });
        }
        let before = std::mem::replace(&mut self.standing, standing);
        let over = before
            .into_iter()
            .filter(|old| !self.standing.iter().any(|new| new.problem.is(&old.problem)));
        turns.extend(over.map(Turn::Ended));
        turns
    }

    /// What is wrong, in the order of the last look.
    #[must_use]
    pub fn standing(&self) -> &[Standing] {
        &self.standing
    }
}
