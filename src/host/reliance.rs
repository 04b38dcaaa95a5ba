//! Whether other programs have come to rely on forwarding that a step has turned on.
//!
//! A container runtime or a VPN that starts later turns forwarding on for its own interfaces, or
//! for the whole host, and finds that of the uplink on already. It cannot know that vstun turns the
//! uplink's off again.

use std::collections::BTreeMap;

use super::family::Family;
use super::step::HostStep;
use super::sysctl::{FORCE_FORWARDING, conf_of};

/// Settings and their values.
type SettingValues = BTreeMap<String, String>;

/// The family whose packets an interface forwards because of this step; `None` for other steps.
#[must_use]
pub fn forwarding(step: &HostStep) -> Option<Family> {
    let HostStep::Write { sysctl, .. } = step else { return None };
    family_of(sysctl).filter(|family| *sysctl != everywhere(*family))
}

/// Whether the setting turns on forwarding of the family for an interface or the whole host.
#[must_use]
pub fn is_forwarding(setting: &str, family: Family) -> bool {
    family_of(setting) == Some(family)
}

/// The setting that shows that another program relies on what `step` has turned on: it was off
/// `before` that, and is on `now`. `ours`: steps of this daemon, or of another one, that hold a
/// setting.
#[must_use]
pub fn relied_on(
    step: &HostStep,
    before: &SettingValues,
    now: &SettingValues,
    ours: impl Fn(&str) -> bool,
) -> Option<String> {
    let family = forwarding(step)?;
    // The kernel has written this step's value to every interface.
    if before.is_empty() || ours(&everywhere(family)) {
        return None;
    }
    let default = conf_of(family, "default", "forwarding");
    let inherits = now.get(&default).is_some_and(|value| value != "0");
    let turned_on = |setting: &String| match before.get(setting) {
        Some(value) => value == "0",
        // A new interface: it has the value of `default`, or was set since.
        None => !inherits,
    };
    let on = now.iter().filter(|(setting, value)| is_forwarding(setting, family) && *value != "0");
    on.map(|(setting, _)| setting).find(|setting| !ours(setting) && turned_on(setting)).cloned()
}

fn everywhere(family: Family) -> String {
    conf_of(family, "all", "forwarding")
}

fn family_of(setting: &str) -> Option<Family> {
    let mut parts = setting.split('/').skip(1);
    let (family, table, name) = (parts.next()?, parts.next()?, parts.nth(1)?);
    if table != "conf" || !["forwarding", FORCE_FORWARDING].contains(&name) {
        return None;
    }
    match family {
        "ipv4" => Some(Family::V4),
        "ipv6" => Some(Family::V6),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(list: &[(&str, &str)]) -> SettingValues {
        let path = |link: &str| format!("net/ipv4/conf/{link}/forwarding");
        list.iter().map(|(link, value)| (path(link), (*value).to_owned())).collect()
    }

    fn step(link: &str) -> HostStep {
        HostStep::Write {
            sysctl: format!("net/ipv4/conf/{link}/forwarding"),
            from: "0".into(),
            to: "1".into(),
            beside: BTreeMap::new(),
        }
    }

    #[test]
    fn only_settings_that_others_have_turned_on_since_keep_it_on() {
        let before = [("all", "0"), ("default", "0"), ("eth0", "0"), ("eth1", "1"), ("tun", "0")];
        let before = settings(&before);
        let eth0 = "net/ipv4/conf/eth0/forwarding";
        let found = |now: &[(&str, &str)]| {
            let mut all = before.clone();
            all.extend(settings(now));
            relied_on(&step("eth0"), &before, &all, |setting| setting == eth0)
        };
        let path = |link: &str| Some(format!("net/ipv4/conf/{link}/forwarding"));
        assert_eq!(found(&[("eth0", "1")]), None, "ours, and eth1 as before");
        assert_eq!(found(&[("eth0", "1"), ("all", "1")]), path("all"), "ip_forward");
        assert_eq!(found(&[("eth0", "1"), ("wg0", "1")]), path("wg0"), "set to");
        let inherited = [("eth0", "1"), ("default", "1"), ("wg0", "1")];
        assert_eq!(found(&inherited), path("default"));
        assert_eq!(found(&[("eth0", "1"), ("wg0", "0")]), None);
    }

    #[test]
    fn without_a_record_or_for_other_settings_nothing_is_reported() {
        let now = settings(&[("all", "1"), ("eth0", "1")]);
        assert_eq!(relied_on(&step("eth0"), &SettingValues::new(), &now, |_| false), None);
        let other = HostStep::Write {
            sysctl: "net/ipv4/conf/eth0/rp_filter".into(),
            from: "1".into(),
            to: "2".into(),
            beside: BTreeMap::new(),
        };
        assert_eq!(relied_on(&other, &settings(&[("all", "0")]), &now, |_| false), None);
    }

    #[test]
    fn after_a_step_for_the_whole_host_interfaces_prove_nothing() {
        let before = settings(&[("all", "0"), ("eth0", "0"), ("eth1", "0")]);
        let now = settings(&[("all", "1"), ("eth0", "1"), ("eth1", "1")]);
        let ours = |setting: &str| setting.contains("/all/") || setting.contains("/eth0/");
        assert_eq!(relied_on(&step("eth0"), &before, &now, ours), None);
    }
}
