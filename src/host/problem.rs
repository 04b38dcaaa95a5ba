//! The current problems of the host, and since when they exist.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::mem::{Discriminant, discriminant};
use std::net::IpAddr;
use std::time::SystemTime;

use super::refusal::HostRefusal;

/// The subject of a problem; the names are part of the control protocol.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ProblemKind {
    /// The host cannot serve a virtual IP.
    VirtualIp,
    /// An uplink is missing, unfit or down.
    Uplink,
    /// Packets for a virtual IP do not reach the TUN.
    Capture,
    /// Another host answers for a virtual IP.
    Conflict,
    /// There is no usable route to a real server.
    RealServer,
    /// The tunnels' source address is not the expected one.
    Source,
    /// Clients may reach a real server without the director.
    Announcing,
    /// Replies leave without the MSS that fits the tunnel.
    Mss,
    /// A step of the plan is not in force.
    Step,
    /// Another program undoes a step again and again, and it is left undone.
    Contested,
    /// Another program has the UDP port on which GUE is received.
    Gue,
    /// The control socket is not at its path any more.
    Control,
    /// The host cannot be checked.
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
            Self::Mss => "mss",
            Self::Step => "step",
            Self::Contested => "contested",
            Self::Gue => "gue",
            Self::Control => "control",
            Self::Unknown => "unknown",
        }
    }
}

/// One problem.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Its sort.
    pub kind: ProblemKind,
    /// An address, an interface, a step. Sort and subject identify a problem.
    pub subject: String,
    /// The virtual IP or real server concerned, if there is one.
    pub address: Option<IpAddr>,
    /// The problem and its remedy.
    pub text: String,
    /// The reason to refuse a first start; `None`: the start goes on.
    pub refusal: Option<HostRefusal>,
}

impl Problem {
    /// A problem that does not prevent a start.
    #[must_use]
    pub fn new(kind: ProblemKind, subject: impl Into<String>, text: impl Into<String>) -> Self {
        let (subject, text) = (subject.into(), text.into());
        Self { kind, address: subject.parse().ok(), subject, text, refusal: None }
    }

    /// What identifies it, without its text.
    #[must_use]
    pub fn key(&self) -> (ProblemKind, String) {
        (self.kind, self.subject.clone())
    }

    /// The cause, where one sort of problem has several.
    fn cause(&self) -> Option<Discriminant<HostRefusal>> {
        self.refusal.as_ref().map(discriminant)
    }
}

/// A problem that prevents the start of a director or a real server.
impl From<HostRefusal> for Problem {
    fn from(refusal: HostRefusal) -> Self {
        use ProblemKind::{RealServer, Source, Step, Uplink, VirtualIp};
        let (kind, subject) = match &refusal {
            HostRefusal::VipIsLocal { address, .. }
            | HostRefusal::VipIsAnycast { address, .. }
            | HostRefusal::VipOnLink { address, .. }
            | HostRefusal::RouteExists { address, .. }
            | HostRefusal::Ipv6Off { address, .. }
            | HostRefusal::Ipv6Missing(address)
            | HostRefusal::UplinkMissing(address) => (VirtualIp, address.to_string()),
            HostRefusal::UplinkUnknown(link) | HostRefusal::UplinkUnfit(link) => {
                (Uplink, link.clone())
            }
            HostRefusal::RealIsLocal { address, .. } => (RealServer, address.to_string()),
            HostRefusal::SourceForeign(source) => (Source, source.to_string()),
            HostRefusal::TunExists(link) | HostRefusal::TunName(link) => (Step, link.clone()),
            HostRefusal::TableReserved { table, .. } | HostRefusal::TableUsed(table) => {
                (Step, format!("table {table}"))
            }
            HostRefusal::Priority(priority) => (Step, format!("rule {priority}")),
        };
        let text = refusal.to_string();
        Self { refusal: Some(refusal), ..Self::new(kind, subject, text) }
    }
}

/// A problem and its beginning.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OngoingProblem {
    /// The problem, with the text of the last check.
    pub problem: Problem,
    /// When it began, without interruption.
    pub since: SystemTime,
}

/// A difference between two checks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ProblemChange {
    /// The problem is new.
    Began(Problem),
    /// It is over.
    Ended(OngoingProblem),
}

/// The current problems.
#[derive(Clone, Debug, Default)]
pub struct CurrentProblems {
    ongoing: Vec<OngoingProblem>,
}

impl CurrentProblems {
    /// Records the problems of a check at `now`, each once, and returns the differences. A problem
    /// with another cause than before is a new one; with another text it is not.
    pub fn update(&mut self, now: SystemTime, found: Vec<Problem>) -> Vec<ProblemChange> {
        let before = std::mem::take(&mut self.ongoing);
        let known: HashMap<_, _> =
            before.iter().map(|known| (known.problem.key(), known)).collect();
        let mut keys = HashMap::with_capacity(found.len());
        let mut changes = Vec::new();
        for problem in found {
            let key = problem.key();
            let same = known.get(&key).filter(|known| known.problem.cause() == problem.cause());
            let since = same.map(|known| known.since);
            match keys.entry(key) {
                Entry::Occupied(_) => continue,
                Entry::Vacant(free) => free.insert(problem.cause()),
            };
            if since.is_none() {
                changes.push(ProblemChange::Began(problem.clone()));
            }
            self.ongoing.push(OngoingProblem { problem, since: since.unwrap_or(now) });
        }
        let lasts = |old: &Problem| keys.get(&old.key()) == Some(&old.cause());
        let over = before.into_iter().filter(|old| !lasts(&old.problem));
        changes.extend(over.map(ProblemChange::Ended));
        changes
    }

    /// Why a virtual IP is not announced although it should be: a problem with the virtual IP
    /// itself, with the step that announces it, or with the uplinks.
    #[must_use]
    pub fn why_silent(&self, vip: IpAddr) -> Option<&Problem> {
        use ProblemKind::{Conflict, Contested, Step, Uplink, VirtualIp};
        let of_vip = |problem: &Problem| {
            matches!(problem.kind, VirtualIp | Conflict) && problem.address == Some(vip)
        };
        let step = format!(" {vip} dev ");
        let of_step = |problem: &Problem| {
            matches!(problem.kind, Step | Contested) && problem.subject.contains(&step)
        };
        let of_uplink = |problem: &Problem| problem.kind == Uplink;
        // A problem of a whole family has one of its addresses.
        let of_family = |problem: &Problem| {
            let same = |address: IpAddr| address.is_ipv4() == vip.is_ipv4();
            problem.kind == VirtualIp && problem.address.is_some_and(same)
        };
        let all = || self.ongoing.iter().map(|ongoing| &ongoing.problem);
        let first = |is: &dyn Fn(&Problem) -> bool| all().find(|problem| is(problem));
        first(&of_vip)
            .or_else(|| first(&of_step))
            .or_else(|| first(&of_uplink))
            .or_else(|| first(&of_family))
    }

    /// The current problems, in the order of the last check.
    #[must_use]
    pub fn ongoing(&self) -> &[OngoingProblem] {
        &self.ongoing
    }
}
