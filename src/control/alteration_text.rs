//! A change as text, for people and for JSON.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize, Serializer};

use super::alteration::{Alteration, Altered, StateUntil, Summary};
use super::counted;
use crate::health::CheckCause;
use crate::model::duration::Text;
use crate::model::{Health, Listen, RealSpec, RealValue, SchedulerKind};

/// An [`Alteration`] in the form of text and JSON.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct AlterationText {
    /// What changes: `weight`, `state`, `add_real`, …; for a policy or the timeouts the key.
    pub what: String,
    /// The service concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The real server, or the virtual IP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The old value; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The new value; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The reason; absent for an operator's command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// `web 10.0.0.11: weight 1 → 3`.
impl fmt::Display for AlterationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, service, address, before, after, why } = self;
        let subject = [service.clone(), address.map(|address| address.to_string())];
        let subject: Vec<String> = subject.into_iter().flatten().collect();
        if !subject.is_empty() {
            write!(f, "{}: ", subject.join(" "))?;
        }
        match (before, after) {
            // The change of a value, so this is a key and is printed unchanged.
            (Some(before), Some(after)) => write!(f, "{what} {before} → {after}"),
            (Some(only), None) | (None, Some(only)) => {
                write!(f, "{} ({only})", what.replace('_', " "))
            }
            (None, None) => f.write_str(&what.replace('_', " ")),
        }?;
        why.iter().try_for_each(|why| write!(f, ", {why}"))
    }
}

impl From<&Alteration> for AlterationText {
    fn from(alteration: &Alteration) -> Self {
        let Alteration { service, address, what } = alteration;
        let (before, after) = what.values();
        Self {
            what: what.name().into_owned(),
            service: service.clone(),
            address: *address,
            before,
            after,
            why: what.why(),
        }
    }
}

impl fmt::Display for Alteration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        AlterationText::from(self).fmt(f)
    }
}

impl Serialize for Alteration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        AlterationText::from(self).serialize(serializer)
    }
}

impl Altered {
    /// [`AlterationText::what`].
    pub(super) fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::AddService(_) => "add_service",
            Self::RemoveService(_) => "remove_service",
            Self::Name { .. } => "name",
            Self::Listens { .. } => "listen",
            Self::Scheduler { .. } => "scheduler",
            Self::Setting(difference) => difference.key,
            Self::Timeout(difference) => {
                return Cow::Owned(format!("timeouts.{}", difference.key));
            }
            Self::AddReal(_) => "add_real",
            Self::RemoveReal(_) => "remove_real",
            Self::Real { after, .. } => after.name(),
            Self::State { .. } => "state",
            Self::Health { .. } => "health",
            Self::Rotation { .. } => "rotation",
            Self::Quorum { .. } => "quorum",
            Self::Panic { .. } => "panic",
            Self::FloodMode { .. } => "flood_mode",
            Self::Served { .. } => "served",
            Self::Unanswered { .. } => "unanswered",
            Self::Announced { .. } => "announced",
            Self::Source { .. } => "source",
            Self::LinkMtu { .. } => "link_mtu",
            Self::AddVip => "add_vip",
            Self::RemoveVip => "remove_vip",
            Self::Ended { .. } => "ended",
            Self::Flush { .. } => "flush",
            Self::PutBack { .. } => "put_back",
            Self::HostWrong { .. } => "host_wrong",
            Self::HostRight { .. } => "host_right",
        })
    }

    /// The old value and the new one.
    fn values(&self) -> (Option<String>, Option<String>) {
        match self {
            Self::AddService(after) => only_after(after),
            Self::RemoveService(before) => (before.as_ref().map(ToString::to_string), None),
            Self::Name { before, after } => pair(before, after),
            Self::Listens { before, after } => pair(ListensText(before), ListensText(after)),
            Self::Scheduler { before, after } => {
                pair(before.map_or("", SchedulerKind::name), after.name())
            }
            Self::Setting(difference) | Self::Timeout(difference) => {
                pair(&difference.before, &difference.after)
            }
            Self::AddReal(after) => only_after(brief(after)),
            Self::RemoveReal(before) => (before.as_ref().map(brief), None),
            Self::Real { before, after } => pair(before, after),
            Self::State { before, after } => {
                pair(before.map(|before| before.to_string()).unwrap_or_default(), after)
            }
            Self::Health { before, after, .. } => {
                let shown = |health: Health| health.name().to_owned();
                (before.map(shown), Some(shown(*after)))
            }
            Self::Rotation { before, after } => pair(before.name(), after.name()),
            Self::Quorum { reached, .. } => flag_values(*reached, ["lost", "reached"]),
            Self::Panic { active, .. } | Self::FloodMode { active } => {
                flag_values(*active, ["off", "on"])
            }
            Self::Served { outage } => flag_values(outage.is_none(), ["no", "yes"]),
            Self::Announced { announced, .. } => flag_values(*announced, ["false", "true"]),
            Self::Source { before, after } => known(before.as_ref(), after),
            Self::LinkMtu { before, after } => known(before.as_ref(), after),
            Self::AddVip | Self::RemoveVip | Self::Unanswered { .. } => (None, None),
            Self::Ended { connections } | Self::Flush { connections } => {
                (Some(counted(*connections, "connection")), None)
            }
            Self::PutBack { step: after } | Self::HostWrong { problem: after } => only_after(after),
            Self::HostRight { problem } => (Some(problem.clone()), None),
        }
    }

    /// The reason.
    fn why(&self) -> Option<String> {
        match self {
            Self::Health { why, .. } => why.as_ref().map(CheckCause::to_string),
            Self::Quorum { alive, .. } => {
                let of_whom = "the real servers that take connections";
                Some(format!("the weights of {of_whom} add up to {alive}"))
            }
            Self::Panic { down, all, .. } => {
                Some(format!("{down} of {all} real servers fail their checks"))
            }
            Self::Unanswered { syns, lasting } => {
                let syns = counted(u64::from(*syns), "SYN");
                Some(format!("{syns} in {} s and no handshake ended", lasting.as_secs()))
            }
            Self::Served { outage } => Some(match outage {
                Some(outage) => format!("no real server serves: {outage}"),
                None => "a real server serves again".to_owned(),
            }),
            Self::Announced { by_quorum: false, .. } => None,
            Self::Announced { announced: true, .. } => {
                Some("a service of it has its quorum".into())
            }
            Self::Announced { announced: false, .. } => {
                Some("none of its services has its quorum".into())
            }
            _ => None,
        }
    }
}

fn pair(before: impl fmt::Display, after: impl fmt::Display) -> (Option<String>, Option<String>) {
    (Some(before.to_string()), Some(after.to_string()))
}

fn known<T: fmt::Display>(before: Option<&T>, after: &T) -> (Option<String>, Option<String>) {
    (before.map(ToString::to_string), Some(after.to_string()))
}

fn only_after(after: impl fmt::Display) -> (Option<String>, Option<String>) {
    (None, Some(after.to_string()))
}

/// The old and the new name of a value that has become `now`.
fn flag_values(now: bool, [no, yes]: [&str; 2]) -> (Option<String>, Option<String>) {
    if now { pair(no, yes) } else { pair(yes, no) }
}

/// `draining, for 9m58s at most`.
impl fmt::Display for StateUntil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.state.name())?;
        self.left.map_or(Ok(()), |left| write!(f, ", for {} at most", Text(left)))
    }
}

/// `wlc 192.0.2.10:80/tcp, 3 real servers`.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheduler, listens, reals } = self;
        let reals = counted(*reals as u64, "real server");
        write!(f, "{} {}, {reals}", scheduler.name(), ListensText(listens))
    }
}

/// A list of listens on one line.
struct ListensText<'a>(&'a [Listen]);

impl fmt::Display for ListensText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listens: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&listens.join(" "))
    }
}

/// A real server's share of new connections.
fn brief(real: &RealSpec) -> String {
    if real.last_resort {
        return "last resort".to_owned();
    }
    let weight = RealValue::Weight(real.values.weight);
    format!("{} {weight}", weight.name())
}
