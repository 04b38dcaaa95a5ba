//! Policies and timeouts for display: configuration keys with their values.

use std::time::Duration;

use crate::model::duration::Text;
use crate::model::{FloodMarks, Persistence, Policy, Timeouts, Unknown};

/// A key, with its table's name in front if it has one, and its value in the configuration's form,
/// without quotes.
pub(super) type Setting = (&'static str, String);

/// Shown for an absent key whose default is not a value that can be written.
const UNSET: &str = "unset";

/// A policy's keys of `[[service]]`, in their order there.
pub(super) fn of_policy(policy: &Policy) -> Vec<Setting> {
    // Without `..`, so that the compiler shows where a new field has to be added.
    let Policy {
        hash_ports,
        fallback,
        unknown,
        persistence,
        one_packet,
        existing,
        drain_deadline,
        slow_start,
        flood: FloodMarks { new_flows, table_use },
    } = policy;
    let of_persistence = |shown: fn(&Persistence) -> String| {
        persistence.as_ref().map_or_else(|| UNSET.to_owned(), shown)
    };
    vec![
        ("hash_ports", or_unset(*hash_ports)),
        ("fallback", fallback.to_string()),
        ("unknown", or_unset(unknown.map(Unknown::name))),
        ("persistence", of_persistence(|persistence| Text(persistence.timeout).to_string())),
        ("persistence_prefix_v4", of_persistence(|persistence| persistence.prefix_v4.to_string())),
        ("persistence_prefix_v6", of_persistence(|persistence| persistence.prefix_v6.to_string())),
        ("quiescent", of_persistence(|persistence| persistence.quiescent.name().to_owned())),
        ("one_packet", one_packet.to_string()),
        ("existing", existing.name().to_owned()),
        ("drain_deadline", or_unset(drain_deadline.map(Text))),
        ("slow_start", Text(*slow_start).to_string()),
        ("flood_new_flows", new_flows.to_string()),
        (
            "flood_table_use",
            if *table_use == 0 { "off".to_owned() } else { format!("{table_use}%") },
        ),
    ]
}

/// The keys of `[director.timeouts]`.
pub(super) fn of_timeouts(timeouts: &Timeouts) -> Vec<Setting> {
    let Timeouts {
        tcp_established,
        tcp_idle,
        tcp_syn_recv,
        tcp_fin_wait,
        tcp_time_wait,
        tcp_close,
        udp,
    } = timeouts;
    let shown = |key, timeout: &Duration| (key, Text(*timeout).to_string());
    vec![
        shown("timeouts.tcp_established", tcp_established),
        shown("timeouts.tcp_idle", tcp_idle),
        shown("timeouts.tcp_syn_recv", tcp_syn_recv),
        shown("timeouts.tcp_fin_wait", tcp_fin_wait),
        shown("timeouts.tcp_time_wait", tcp_time_wait),
        shown("timeouts.tcp_close", tcp_close),
        shown("timeouts.udp", udp),
    ]
}

fn or_unset(value: Option<impl ToString>) -> String {
    value.map_or_else(|| UNSET.to_owned(), |value| value.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::alteration::{Alteration, altered};
    use super::*;
    use crate::config;

    const EVERY_KEY: &str = "hash_ports = false\nfallback = false\nunknown = \"reset\"\npersistence = \"5m30s\"\n\
        persistence_prefix_v4 = 24\npersistence_prefix_v6 = 64\nquiescent = \"move\"\none_packet = false\n\
        existing = \"reset\"\ndrain_deadline = \"1h\"\nslow_start = \"90s\"\nflood_new_flows = 5\nflood_table_use = \"off\"\n";

    fn policy(keys: &str) -> Policy {
        let text = "[director]\n[[service]]\nname = \"a\"\nlisten = [\"192.0.2.1:80/tcp\"]\nscheduler = \"mh\"\n";
        config::director(&format!("{text}{keys}")).unwrap().services[0].spec.policy
    }

    fn lines(changes: &[Alteration]) -> Vec<String> {
        changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_different_values_are_shown() {
        let before = policy("persistence = \"300s\"\n");
        let after = policy("persistence = \"1h30m\"\nquiescent = \"move\"\n");
        let shown = altered(Some("a"), of_policy(&before), of_policy(&after));
        assert_eq!(lines(&shown), ["a: persistence 5m → 1h30m", "a: quiescent keep → move"]);
        assert!(altered(Some("a"), of_policy(&before), of_policy(&before)).is_empty());
    }

    #[test]
    fn an_added_or_removed_key_was_or_is_unset() {
        let (none, some) = (policy(""), policy(EVERY_KEY));
        let shown = altered(Some("a"), of_policy(&some), of_policy(&none));
        let expected = [
            "a: hash_ports false → unset",
            "a: fallback false → true",
            "a: unknown reset → unset",
            "a: persistence 5m30s → unset",
            "a: persistence_prefix_v4 24 → unset",
            "a: persistence_prefix_v6 64 → unset",
            "a: quiescent move → unset",
            "a: existing reset → keep",
            "a: drain_deadline 1h → unset",
            "a: slow_start 1m30s → 0s",
            "a: flood_new_flows 5 → 0",
            "a: flood_table_use off → 90%",
        ];
        assert_eq!(lines(&shown), expected);
        let back = altered(Some("a"), of_policy(&none), of_policy(&some));
        assert_eq!(back.len(), shown.len());
        assert_eq!(back[3].before.as_deref(), Some("unset"));
    }

    #[test]
    fn the_displayed_policy_reads_back_as_the_same() {
        let all = policy(EVERY_KEY);
        assert!(matches!(all.persistence, Some(Persistence { prefix_v4: 24, .. })));
        let text = of_policy(&all).into_iter().map(|(key, value)| match value.as_str() {
            "true" | "false" | "24" | "64" | "5" => format!("{key} = {value}\n"),
            _ => format!("{key} = \"{value}\"\n"),
        });
        assert_eq!(policy(&text.collect::<String>()), all);
    }

    #[test]
    fn every_key_is_one_of_the_configuration_s() {
        let keys = |settings: Vec<Setting>| settings.into_iter().map(|(key, _)| key);
        let policy = keys(of_policy(&Policy::default())).collect::<Vec<_>>();
        let elsewhere = [
            ["name", "listen", "scheduler", "real"],
            // The rules for health checks are not in the balancer's policy.
            ["quorum", "quorum_hysteresis", "panic", "check"],
            // A real server.
            ["fallback_real", "load", "", ""],
        ]
        .concat();
        let expected: Vec<_> =
            config::keys::SERVICE.into_iter().filter(|key| !elsewhere.contains(key)).collect();
        assert_eq!(policy, expected);
        let timeouts: Vec<_> = keys(of_timeouts(&Timeouts::DEFAULT)).collect();
        assert_eq!(timeouts, config::keys::TIMEOUTS.map(|key| format!("timeouts.{key}")));
        let udp = Timeouts { udp: Duration::from_millis(90_500), ..Timeouts::DEFAULT };
        let shown = altered(None, of_timeouts(&Timeouts::DEFAULT), of_timeouts(&udp));
        assert_eq!(lines(&shown), ["timeouts.udp 5m → 1m30s500ms"]);
    }
}
