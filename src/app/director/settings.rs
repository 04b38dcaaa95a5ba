//! The changes of a reload outside of the balancer: virtual IPs, keys for the host or the packet
//! loop, the seed for placing flows, and health checks.

use std::net::IpAddr;

use super::health;
use crate::config;
use crate::control::Alteration;
use crate::model::duration::Text;

/// The differences that no [`Change`](crate::balancer::Change) of a comparison names.
pub(super) fn altered(old: &config::Director, new: &config::Director) -> Vec<Alteration> {
    let mut altered = virtual_ips(old, new);
    altered.extend(of_host(old, new));
    if old.hash_seed != new.hash_seed {
        // A client that knows the seed can choose its real server.
        let shown = |seed: &Option<String>| if seed.is_some() { "configured" } else { "random" };
        let after = match shown(&new.hash_seed) {
            after if after == shown(&old.hash_seed) => "another",
            after => after,
        };
        let change = Alteration::of("hash_seed", None, None);
        altered.push(change.from_to(shown(&old.hash_seed), after));
    }
    if old.maglev_slots != new.maglev_slots {
        let change = Alteration::of("maglev_slots", None, None);
        altered.push(change.from_to(old.maglev_slots, new.maglev_slots));
    }
    if old.hooks != new.hooks {
        let shown = |hooks: &Option<Vec<String>>| match hooks {
            Some(words) => words.join(" "),
            None => "unset".to_owned(),
        };
        let change = Alteration::of("hooks", None, None);
        altered.push(change.from_to(shown(&old.hooks), shown(&new.hooks)));
    }
    if old.withdraw_without_quorum != new.withdraw_without_quorum {
        let change = Alteration::of("withdraw_without_quorum", None, None);
        altered.push(change.from_to(old.withdraw_without_quorum, new.withdraw_without_quorum));
    }
    altered.extend(health::settings(old, new));
    altered
}

/// Virtual IPs that are added or removed.
fn virtual_ips(old: &config::Director, new: &config::Director) -> Vec<Alteration> {
    let (before, after) = (old.vips(), new.vips());
    let only = |what: &'static str, these: &[IpAddr], others: &[IpAddr]| -> Vec<Alteration> {
        let only = these.iter().filter(|vip| !others.contains(vip));
        only.map(|vip| Alteration::of(what, None, Some(*vip))).collect()
    };
    let mut altered = only("remove_vip", &before, &after);
    altered.extend(only("add_vip", &after, &before));
    altered
}

/// Keys of `[director]` that affect the host's plan or the packet loop.
fn of_host(old: &config::Director, new: &config::Director) -> Vec<Alteration> {
    let keys = ["uplinks", "arp", "source", "announce_table", "neighbour_routes", "busy_poll"];
    let values = shown(old).into_iter().zip(shown(new));
    let changed = keys.into_iter().zip(values).filter(|(_, (before, after))| before != after);
    let alteration = |(key, (before, after)): (&str, (String, String))| {
        Alteration::of(key, None, None).from_to(before, after)
    };
    changed.map(alteration).collect()
}

fn shown(config: &config::Director) -> [String; 6] {
    let sources: Vec<String> = config.sources.iter().map(ToString::to_string).collect();
    let or_unset = |text: String| if text.is_empty() { "unset".to_owned() } else { text };
    [
        or_unset(config.uplinks.as_ref().map(|names| names.join(" ")).unwrap_or_default()),
        config.arp.to_string(),
        or_unset(sources.join(" ")),
        config.announce_table.to_string(),
        config.neighbour_routes.to_string(),
        Text(config.busy_poll).to_string(),
    ]
}
