//! Asks which hosts have the addresses of real servers on this host's own networks.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::thread::JoinHandle;

use log::debug;

use crate::app::host::survey::{self, Survey};
use crate::doctor::DuplicateAddress;

/// The most real servers that are asked for.
const MOST: usize = 256;

/// Asks in a thread of its own, for real servers that have no router before them.
pub(super) fn ask(reals: &[IpAddr], survey: &Survey) -> JoinHandle<Vec<DuplicateAddress>> {
    let facts = survey.facts.clone();
    let near = reals.iter().filter_map(|real| {
        let link = facts.link_at(facts.lookups.get(real)?.link?)?;
        let mut own = facts.addresses.iter().filter(|own| own.link == link.index);
        let on_link = own.any(|own| own.subnet.contains(real));
        (on_link && link.arp).then(|| (link.name.clone(), *real))
    });
    let near: Vec<(String, IpAddr)> = near.take(MOST).collect();
    std::thread::spawn(move || {
        if near.is_empty() {
            return Vec::new();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let heard = runtime.map(|runtime| runtime.block_on(survey::holders(&near, &facts)));
        let heard = heard.unwrap_or_else(|error| {
            debug!("cannot ask for neighbours: {error}");
            Vec::new()
        });
        let mut by_real: BTreeMap<IpAddr, Vec<String>> = BTreeMap::new();
        for (real, mac) in heard {
            by_real.entry(real).or_default().push(survey::mac(&mac));
        }
        let link = |real| near.iter().find(|(_, one)| *one == real).map(|(link, _)| link.clone());
        let several = by_real.into_iter().filter(|(_, hardware)| hardware.len() > 1);
        several
            .filter_map(|(real, hardware)| {
                Some(DuplicateAddress { real, link: link(real)?, hardware })
            })
            .collect()
    })
}
