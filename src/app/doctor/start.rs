//! What the host lacks of a plan, and what prevents the start of a daemon.

use crate::app::daemon::tun_advice;
use crate::app::host::WRITABLE;
use crate::app::host::survey::Survey;
use crate::doctor::HostFault;
use crate::host::{HostStep, sysctl};
use crate::sys::{sysctl as settings, tun};

/// A setting that the plan needs and the host does not have.
struct Unset {
    setting: String,
    now: String,
    wanted: String,
}

/// What prevents the start of a daemon, besides the problems of its plan: it can make no TUN
/// device, or may not write a setting.
pub(super) fn obstacles(survey: &Survey) -> Vec<HostFault> {
    let device = tun::available().err().map(|error| {
        let text = format!("a TUN device cannot be made: {error}{}", tun_advice(&error));
        HostFault { what: "tun".to_owned(), text, prevents_start: true, ..HostFault::default() }
    });
    let refused = unset(survey).into_iter().filter_map(|one| {
        let error = settings::may_write(&one.setting).err()?;
        let why = format!(", the daemon cannot set it ({error})");
        Some(HostFault { prevents_start: true, ..fault(&one, &why, WRITABLE) })
    });
    device.into_iter().chain(refused).collect()
}

/// The settings that a running daemon has to restore.
pub(super) fn drifted(survey: &Survey) -> Vec<HostFault> {
    unset(survey).iter().map(|one| fault(one, "", "the daemon does it in a moment")).collect()
}

fn fault(Unset { setting, now, wanted }: &Unset, why: &str, or: &str) -> HostFault {
    let text = format!(
        "sysctl {setting} is {now} and must be {wanted}{why}: `sysctl -w {setting}={wanted}`, {or}"
    );
    HostFault { what: "step".to_owned(), text, ..HostFault::default() }
}

fn unset(survey: &Survey) -> Vec<Unset> {
    let Some(plan) = &survey.plan else { return Vec::new() };
    let steps = plan.on_tun.iter().chain(&plan.steps).filter(|step| !step.optional());
    let unset = steps.filter_map(|step| match step {
        HostStep::Write { sysctl, from, to, .. } if from != to => {
            Some((at_present(sysctl, survey), from, to))
        }
        _ => None,
    });
    unset
        .map(|(setting, from, to)| Unset { setting, now: from.clone(), wanted: to.clone() })
        .collect()
}

/// The setting of that interface, or the one that it will have when it is made.
fn at_present(path: &str, survey: &Survey) -> String {
    match sysctl::link(path) {
        Some(link) if survey.facts.link(link).is_none() => {
            let names = [(link.to_owned(), "default".to_owned())].into();
            sysctl::renamed(path, &names)
        }
        _ => path.to_owned(),
    }
}
