//! What a plan's steps need on the host as it is, and their record before they are made.

use std::io;

use anyhow::{Context, Result};

use crate::host::{Facts, HostStep, Problem, ProblemKind, reliance};
use crate::sys::sysctl;

use super::Session;
use super::failures::Failures;
use super::state::StateFile;

/// The action for one step.
pub(super) enum Due {
    /// It is in force already.
    Nothing,
    /// Apply it; it is in the state file.
    Again(HostStep),
    /// Record it, then apply it.
    New(HostStep),
    /// Record it: another daemon has applied it.
    Claim(HostStep),
}

impl Due {
    pub(super) fn is_recorded(&self) -> bool {
        matches!(self, Self::Nothing | Self::Again(_))
    }
}

/// The subject of the problem that the state file cannot be written.
pub(super) const UNSAVED: &str = "state file";

impl Session {
    /// What each step of a plan needs.
    pub(super) fn due(
        &self,
        steps: &[HostStep],
        facts: &Facts,
        others: &[StateFile],
        failures: &mut Failures<'_>,
    ) -> Result<Vec<Due>> {
        let mut all = Vec::with_capacity(steps.len());
        for step in steps {
            let due = self.due_one(step, facts, others);
            all.extend(failures.note(&step.subject(), due)?);
        }
        Ok(all)
    }

    fn due_one(&self, step: &HostStep, facts: &Facts, others: &[StateFile]) -> Result<Due> {
        let about = self.state.steps.about(&step.record_key());
        let recorded = about.filter(|known| known.same_end(step));
        let HostStep::Write { sysctl, to, beside, .. } = step else {
            return Ok(match recorded {
                Some(_) if facts.lacks(step) => Due::Again(step.clone()),
                Some(_) => Due::Nothing,
                None => Due::New(step.clone()),
            });
        };
        let now = match sysctl::read(sysctl) {
            Ok(now) => now,
            // The interface was removed since the host was checked.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Due::Nothing),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read sysctl {sysctl}"));
            }
        };
        let claimed = others.iter().find_map(|other| other.holder(sysctl, to));
        // Another plan has set it to another value, and recorded the original.
        let original = about.and_then(|known| match known {
            HostStep::Write { from, to: set, .. } if set != to => Some(from.clone()),
            _ => None,
        });
        Ok(match recorded {
            Some(_) if now == *to => Due::Nothing,
            // While the daemon runs the value is restored. After a predecessor's end a value that
            // another program has set is a new original.
            Some(known @ HostStep::Write { from, .. }) if self.role.is_some() || now == *from => {
                Due::Again(known.clone())
            }
            _ if now != *to => Due::New(HostStep::Write {
                sysctl: sysctl.clone(),
                from: original.unwrap_or(now),
                to: to.clone(),
                beside: beside.clone(),
            }),
            _ => claimed.map_or(Due::Nothing, |original| Due::Claim(original.clone())),
        })
    }

    /// Remembers what forwards before the first step that turns forwarding on.
    pub(super) fn note_forwarding<'a>(
        &mut self,
        due: impl Iterator<Item = &'a Due>,
        facts: &Facts,
    ) {
        for due in due {
            let Due::New(step) = due else { continue };
            let Some(family) = reliance::forwarding(step) else { continue };
            let of_family = |setting: &String| reliance::is_forwarding(setting, family);
            if self.state.steps.iter().any(|step| reliance::forwarding(step) == Some(family)) {
                continue;
            }
            let now = facts.sysctls.iter().filter(|(setting, _)| of_family(setting));
            let now: Vec<_> = now.map(|(path, value)| (path.clone(), value.clone())).collect();
            self.state.forwarding.retain(|setting, _| !of_family(setting));
            self.state.forwarding.extend(now);
        }
    }

    /// Records new steps. What is not in the state file is not undone after a kill: if it cannot be
    /// written, none of them is recorded.
    pub(super) async fn record<'a>(&mut self, due: impl Iterator<Item = &'a Due>) -> Result<()> {
        let new = due.filter_map(|due| match due {
            Due::New(step) | Due::Claim(step) => Some(step),
            Due::Nothing | Due::Again(_) => None,
        });
        let mut new = new.peekable();
        if new.peek().is_none() {
            return Ok(());
        }
        let mut state = self.state.clone();
        new.for_each(|step| state.add(step));
        state.note_links(&self.indices);
        // If this call is dropped, the file may have steps that are not made.
        self.unsaved = true;
        self.files.write_state(Some(state.text()?)).await?;
        self.unsaved = false;
        self.state = state;
        Ok(())
    }

    /// Writes the state file again if the last attempt failed.
    pub(super) async fn save_again(&mut self) -> Option<Problem> {
        if !self.unsaved {
            return None;
        }
        let error = self.save().await.err()?;
        let text = format!(
            "{error:#}; until it can be written, vstun makes no new change of this host, since it \
             could not undo that after a kill; look at that file system"
        );
        Some(Problem::new(ProblemKind::Step, UNSAVED, text))
    }
}
