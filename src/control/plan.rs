//! The answer to `plan`: the changes of a reload, and the connections that they affect.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

use crate::balancer::Change;
use crate::balancer::maglev::MaglevTables;
use crate::balancer::snapshot;
use crate::model::{AdminState, Difference, Existing, Policy, RealState, RealValue, Value};

use super::alteration::{Alteration, Altered};
use super::before::{After, Before};
use super::passed_on::of_removed;
use super::{Layout, counted, table};

/// What a reload would do. The daemon's plan has its changes as values; a client reads them as
/// [`AlterationText`](super::AlterationText).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ReloadPlan<C = Alteration> {
    /// The changes, in order; empty if nothing would change.
    pub changes: Vec<Planned<C>>,
    /// Connections that would end, of all changes together: their service is removed, or their real
    /// server with `existing = "reset"`.
    pub connections_lost: u64,
    /// Connections whose real server would take no new ones and would keep these until they end.
    pub connections_drained: u64,
    /// Services whose Maglev table would change, be added or be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub maglev: Vec<Moved>,
    /// The TUN's MTU in bytes after the reload; absent if it does not change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tun_mtu: Option<u16>,
    /// Warnings about the host with that configuration, and about services without a real server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One change, and the number of current connections that it affects.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Planned<C = Alteration> {
    /// The change.
    #[serde(flatten)]
    pub change: C,
    /// Connections of the changed real server or service; if some connections of a service are
    /// lost, only those.
    pub connections: u64,
    /// What happens to them.
    pub fate: FlowOutcome,
}

/// What happens to connections.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowOutcome {
    /// They go on, and there may be new ones.
    Kept,
    /// They go on until they end; there are no new ones.
    Drained,
    /// They end.
    Lost,
}

/// How a service's Maglev table changes.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Moved {
    /// The service.
    pub service: String,
    /// Slots whose real server would change. New flows in them go elsewhere; flows with an entry
    /// stay. `null` if the slots cannot be compared: the scheduler changes to or from mh, or
    /// `hash_ports` changes what is hashed.
    pub moved: Option<u64>,
    /// The number of slots of its table now, or of its new table if it has none.
    pub slots: u64,
}

impl ReloadPlan {
    /// The plan of changes found by a comparison.
    #[must_use]
    pub fn new(changes: &[Change], before: &Before<'_>) -> Self {
        let mut plan = Self::default();
        let after = After::new(changes);
        Alteration::each(changes, before, &after, |change, shown, before| {
            let (connections, fate) = affected(change, &shown, changes, before, &after);
            match fate {
                FlowOutcome::Kept => {}
                FlowOutcome::Drained => plan.connections_drained += connections,
                FlowOutcome::Lost => plan.connections_lost += connections,
            }
            plan.changes.push(Planned { change: shown, connections, fate });
        });
        plan
    }

    /// The plan with changes that affect no connection.
    #[must_use]
    pub fn with(mut self, settings: Vec<Alteration>) -> Self {
        let planned = |change| Planned { change, connections: 0, fate: FlowOutcome::Kept };
        self.changes.extend(settings.into_iter().map(planned));
        self
    }

    /// The plan with the slots that differ between the two sets of tables. Tables of services that
    /// are added or removed are left out: the changes show them.
    #[must_use]
    pub fn with_tables(self, now: &MaglevTables, then: &MaglevTables) -> Self {
        let stays = |service: &&str| now.has(service) && then.has(service);
        let all: BTreeSet<&str> = now.tables().chain(then.tables()).map(|(name, _)| name).collect();
        let moved = |service: &str| {
            let (old, new) = (now.table(service), then.table(service));
            let (moved, slots) = match (old, new) {
                (Some(old), Some(_)) if self.hashes_otherwise(service) => (None, old.slots()),
                (Some(old), Some(new)) => (Some(old.moved(new) as u64), old.slots()),
                (one, other) => (None, one.or(other)?.slots()),
            };
            let (service, slots) = (service.to_owned(), slots as u64);
            (moved != Some(0)).then_some(Moved { service, moved, slots })
        };
        let maglev = all.into_iter().filter(stays).filter_map(moved).collect();
        Self { maglev, ..self }
    }

    /// Whether mh would hash other fields of this service's flows.
    fn hashes_otherwise(&self, service: &str) -> bool {
        let with_ports = |value: &Value| *value != Value::Flag(false);
        let changes = self.changes.iter().map(|planned| &planned.change);
        let mut of_service = changes.filter(|change| change.service.as_deref() == Some(service));
        of_service.any(|change| match &change.what {
            Altered::Setting(Difference { key: Policy::HASH_PORTS, before, after }) => {
                with_ports(before) != with_ports(after)
            }
            _ => false,
        })
    }
}

impl<C> Default for ReloadPlan<C> {
    fn default() -> Self {
        Self {
            changes: Vec::new(),
            connections_lost: 0,
            connections_drained: 0,
            maglev: Vec::new(),
            tun_mtu: None,
            warnings: Vec::new(),
        }
    }
}

impl<C: fmt::Display> ReloadPlan<C> {
    /// Whether a reload would change nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.tun_mtu.is_none()
    }

    /// The text output.
    #[must_use]
    pub fn human(&self, layout: Layout) -> String {
        let mut text = String::new();
        for Planned { change, connections, fate } in &self.changes {
            // Writing to a String does not fail.
            let _ = match connections {
                0 => writeln!(text, "{change}"),
                _ => writeln!(
                    text,
                    "{change}; {} {}",
                    counted(*connections, "connection"),
                    fate.name()
                ),
            };
        }
        for Moved { service, moved, slots } in &self.maglev {
            let _ = match moved {
                Some(moved) => writeln!(text, "{service}: {moved} of {slots} Maglev slots move"),
                None => writeln!(
                    text,
                    "{service}: new flows are hashed otherwise; its {slots} Maglev slots cannot be \
                     compared"
                ),
            };
        }
        if let Some(mtu) = self.tun_mtu {
            let _ = writeln!(text, "MTU of the TUN: {mtu}");
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "warning: {warning}");
        }
        let Self { connections_lost: lost, connections_drained: drained, .. } = self;
        let _ = match self.is_empty() {
            true => writeln!(text, "nothing would change"),
            false => writeln!(
                text,
                "{}; {} drained, {lost} lost",
                counted(self.changes.len() as u64, "change"),
                counted(*drained, "connection")
            ),
        };
        table::wrap(&text, layout.width, 4)
    }
}

impl FlowOutcome {
    fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Drained => "drained",
            Self::Lost => "lost",
        }
    }
}

/// How many connections a change affects, and what happens to them, by their service's policy for
/// existing connections after all changes.
fn affected(
    change: &Change,
    shown: &Alteration,
    changes: &[Change],
    before: &Before<'_>,
    after: &After<'_>,
) -> (u64, FlowOutcome) {
    let (connections, fate) = match change {
        Change::RemoveService { service } => match of_removed(service, changes, before) {
            (all, 0) if all > 0 => (all, FlowOutcome::Kept),
            (_, lost) => (lost, FlowOutcome::Lost),
        },
        _ => affected_unless_ended(change, before),
    };
    let resets = |service: &str| before.policy_after(service, after).existing == Existing::Reset;
    match change {
        Change::RenameServices { .. } => {
            let reals = before.reals_now(shown.service.as_deref().unwrap_or_default());
            (reals.iter().map(self::connections).sum(), FlowOutcome::Kept)
        }
        Change::SetState { service, state: AdminState::Down | AdminState::Disabled, .. }
            if resets(service) =>
        {
            (connections, FlowOutcome::Lost)
        }
        Change::RemoveReal { service, address } if resets(service) => {
            let out = before.real_now(service, *address).is_some_and(is_out);
            (connections, if out { FlowOutcome::Lost } else { fate })
        }
        Change::SetPolicy { service, .. }
            if matches!(&shown.what, Altered::Setting(one) if one.key == Policy::EXISTING)
                && resets(service) =>
        {
            match already_out(service, changes, before) {
                0 => (connections, fate),
                lost => (lost, FlowOutcome::Lost),
            }
        }
        _ => (connections, fate),
    }
}

/// Whether a real server still has connections only because existing ones are kept.
fn is_out(real: &snapshot::RealSnapshot) -> bool {
    matches!(real.state, RealState::Down | RealState::Disabled)
}

/// The connections of a service's real servers that are out of service already and have no change
/// of their own.
fn already_out(name: &str, changes: &[Change], before: &Before<'_>) -> u64 {
    let changed = |real: &&snapshot::RealSnapshot| {
        changes.iter().any(|change| match change {
            Change::SetState { service, address, .. } | Change::RemoveReal { service, address } => {
                service == name && *address == real.address
            }
            Change::AddReal { service, real: added } => {
                service == name && added.address == real.address
            }
            _ => false,
        })
    };
    before
        .reals_now(name)
        .iter()
        .filter(|real| is_out(real) && !changed(real))
        .map(connections)
        .sum()
}

/// How many connections a change affects, and what happens to them if none is ended.
fn affected_unless_ended(change: &Change, before: &Before<'_>) -> (u64, FlowOutcome) {
    let all = |name: &str| before.reals_now(name).iter().map(connections).sum();
    let one = |name: &str, address| before.real_now(name, address).map_or(0, connections);
    match change {
        Change::RemoveReal { service, address } => (one(service, *address), FlowOutcome::Drained),
        Change::SetState { service, address, state } => {
            let fate =
                if *state == AdminState::Up { FlowOutcome::Kept } else { FlowOutcome::Drained };
            (one(service, *address), fate)
        }
        Change::SetReal { service, address, value } => {
            let fate = if *value == RealValue::Weight(0) {
                FlowOutcome::Drained
            } else {
                FlowOutcome::Kept
            };
            (one(service, *address), fate)
        }
        Change::AddReal { service, real } => (one(service, real.address), FlowOutcome::Kept),
        Change::RestoreState { service, address, .. }
        | Change::SetHealth { service, address, .. }
        | Change::SetLoad { service, address, .. }
        | Change::SetStep { service, address, .. } => (one(service, *address), FlowOutcome::Kept),
        Change::SetListens { service, .. }
        | Change::SetScheduler { service, .. }
        | Change::SetPolicy { service, .. } => (all(service), FlowOutcome::Kept),
        Change::AddService(_)
        | Change::RemoveService { .. }
        | Change::RenameServices { .. }
        | Change::SetMaglev { .. }
        | Change::PinProbe { .. }
        | Change::UnpinProbe(_)
        | Change::SetCapacity(_)
        | Change::SetHashSeed(_)
        | Change::SetSources(_)
        | Change::SetLinkMtus(_)
        | Change::SetInterfaces(_)
        | Change::SetTimeouts(_) => (0, FlowOutcome::Kept),
    }
}

fn connections(real: &snapshot::RealSnapshot) -> u64 {
    real.active + real.inactive
}
