//! Undoes steps, last one first; a failure is logged and the rest goes on.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Result, bail};
use log::{error, info, warn};

use crate::control::counted;
use crate::host::{self, Family, HostStep, reliance};
use crate::sys::sysctl;

use super::apply::{Undone, undo};
use super::{Session, state};

/// Why steps are undone; decides the log level.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mode {
    /// The program ends.
    End,
    /// They are no longer in the plan.
    Prune,
    /// A later step failed.
    RollBack,
}

/// One undone step, for messages.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct UndoReport {
    /// The step.
    pub(crate) step: String,
    /// The result.
    pub(crate) result: String,
}

impl Session {
    /// Undoes everything, then removes the state file, the control socket, the lock and the
    /// directory if it was created here. Steps that could not be undone stay in the state file.
    ///
    /// # Errors
    ///
    /// The number of steps that could not be undone; each is in the log.
    pub async fn undo(&mut self) -> Result<()> {
        self.finish().await.map(|_| ())
    }

    /// As [`Self::undo`], and returns the result of each step.
    pub(crate) async fn finish(&mut self) -> Result<Vec<UndoReport>> {
        for (_, saying) in self.announcing.drain(..) {
            saying.abort();
        }
        self.announced.clear();
        self.listening.listen_for([].iter(), &self.last);
        self.events = None;
        let outcomes = self.undo_steps(self.state.steps.iter().cloned().collect(), Mode::End).await;
        self.role = None;
        let left = self.state.steps.len();
        if left > 0 {
            bail!(
                "{} of this host could not be undone; `vstun cleanup` tries again, {} names what \
                 is left",
                counted(left as u64, "change"),
                self.files.state().display()
            );
        }
        self.save().await?;
        Ok(outcomes)
    }

    /// Why a step stays: other programs rely on the forwarding that it has turned on; or an
    /// interface that forwards for them needs it to learn its default routes.
    fn left_on(&self, step: &HostStep, others: &[state::StateFile]) -> Option<String> {
        let HostStep::Write { sysctl, from, .. } = step else { return None };
        if step.guards() {
            let link = step.link()?;
            let kept = host::sysctl::conf6(link, "forwarding");
            let ours = self.state.forwarding.get(&kept).is_some_and(|before| before == "0");
            let held = others.iter().any(|other| other.holder(&kept, "1").is_some());
            let forwards = sysctl::read(&kept).is_ok_and(|now| now == "1");
            return (ours && forwards && !held)
                .then(|| format!("left alone: {link} forwards on for other programs"));
        }
        reliance::forwarding(step)?;
        let held = |setting: &str| {
            let holds = |state: &state::StateFile| state.holder(setting, "1").is_some();
            holds(&self.state) || others.iter().any(holds)
        };
        let sign = reliance::relied_on(step, &self.state.forwarding, &forwarding_now(), held)?;
        Some(format!(
            "left alone: {sign} has been turned on since, so other programs rely on forwarding; if \
             not, `sysctl -w {sysctl}={from}`"
        ))
    }

    pub(super) async fn undo_steps(&mut self, steps: Vec<HostStep>, mode: Mode) -> Vec<UndoReport> {
        let others = state::of_running_daemons(&self.files, &self.state.namespace);
        let mut outcomes = Vec::new();
        for step in steps.into_iter().rev() {
            if let Some(left) = self.left_on(&step, &others) {
                warn!("{step}: {left}");
                self.state.steps.forget(&step);
                outcomes.push(UndoReport { step: step.to_string(), result: left });
                continue;
            }
            let result = match undo(&step, &self.netlink, &others).await {
                Ok(undone) => {
                    self.state.steps.forget(&step);
                    describe(&step, undone, mode)
                }
                Err(error) => {
                    error!("cannot undo {step}: {error:#}");
                    format!("failed: {error:#}")
                }
            };
            outcomes.push(UndoReport { step: step.to_string(), result });
        }
        if !outcomes.is_empty()
            && let Err(error) = self.save().await
        {
            warn!("{error:#}");
        }
        outcomes
    }
}

/// The current forwarding settings.
fn forwarding_now() -> BTreeMap<String, String> {
    let mut now = BTreeMap::new();
    for family in Family::BOTH {
        let folder = format!("/proc/sys/{}", host::sysctl::conf_of(family, "", ""));
        let Ok(links) = fs::read_dir(folder.trim_end_matches('/')) else { continue };
        for link in links.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
            for name in ["forwarding", host::sysctl::FORCE_FORWARDING] {
                let path = host::sysctl::conf_of(family, &link, name);
                let value = sysctl::read(&path).ok();
                now.extend(value.map(|value| (path, value)));
            }
        }
    }
    now
}

fn describe(step: &HostStep, undone: Undone, mode: Mode) -> String {
    let result = match undone {
        Undone::Yes => "undone",
        Undone::Gone => "was gone already",
        Undone::AsBefore => "was as before already",
        Undone::Changed => "left alone: another program has changed it since",
        Undone::Claimed => "left to another daemon that relies on it",
    };
    match (mode, undone) {
        (Mode::Prune, _) | (_, Undone::Changed | Undone::Claimed) => info!("{step}: {result}"),
        _ => log::debug!("{step}: {result}"),
    }
    result.to_owned()
}
