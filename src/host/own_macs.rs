//! The hardware addresses by which neighbours know this host's own addresses. After an interface
//! was replaced the kernel announces nothing (`arp_notify`, `ndisc_notify`), and neighbours send to
//! the old hardware address for up to a minute: a real server would be unreachable for that long.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::facts::{Facts, Link};
use super::plan::Announcement;

/// Addresses remembered beyond those that the host has: temporary ones come and go.
const FORMER_MAX: usize = 1_024;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct OwnMacs(BTreeMap<IpAddr, [u8; 6]>);

impl OwnMacs {
    /// Records the current ones. Returns the addresses that had another one before.
    pub fn note(&mut self, facts: &Facts) -> Vec<Announcement> {
        let mut current: BTreeMap<IpAddr, Option<(&Link, [u8; 6])>> = BTreeMap::new();
        for own in facts.addresses.iter().filter(|own| !own.tentative && !own.host_scope) {
            let Some(link) = facts.link_at(own.link) else { continue };
            let heard = link.arp && link.up && link.carrier;
            let Some(mac) = link.mac.filter(|_| heard) else { continue };
            // An address on two interfaces has no single one.
            let one = current.entry(own.address);
            one.and_modify(|one| *one = None).or_insert(Some((link, mac)));
        }
        let mut moved = Vec::new();
        for (&address, one) in &current {
            let Some((link, mac)) = *one else { continue };
            if self.0.insert(address, mac).is_some_and(|before| before != mac) {
                moved.push(Announcement { link: link.name.clone(), address });
            }
        }
        if self.0.len() > current.len() + FORMER_MAX {
            self.0.retain(|address, _| current.contains_key(address));
        }
        moved
    }
}
