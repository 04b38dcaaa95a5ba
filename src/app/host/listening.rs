//! Receives other hosts' claims on the uplinks to virtual IPs that are announced here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use log::warn;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::host::defence::Claim;
use crate::host::{Announcement, Facts, Family, Link};

use super::neighbour_socket::{NeighbourMessage, NeighbourSocket};

/// Claims queued for the session; more are dropped, since claims are repeated.
const WAITING: usize = 64;
/// The time between attempts while an interface is down.
const RETRY: Duration = Duration::from_secs(1);

/// Listens on every interface on which a virtual IP is announced.
#[derive(Debug)]
pub(super) struct Listening {
    /// By interface and family, with the addresses that they listen for.
    tasks: BTreeMap<(u32, Family), (Ear, JoinHandle<()>)>,
    claims: Receiver<(Announcement, Claim)>,
    /// The sender for new tasks.
    sender: Sender<(Announcement, Claim)>,
}

/// What one task listens for.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Ear {
    link: Link,
    addresses: Vec<IpAddr>,
    /// The hardware addresses of this host: two of its interfaces in one network receive each
    /// other's packets.
    own: Vec<[u8; 6]>,
}

impl Listening {
    pub(super) fn new() -> Self {
        let (sender, claims) = mpsc::channel(WAITING);
        Self { tasks: BTreeMap::new(), claims, sender }
    }

    /// Listens for exactly these from now on.
    pub(super) fn listen_for<'a>(
        &mut self,
        announced: impl Iterator<Item = &'a Announcement>,
        facts: &Facts,
    ) {
        let mut wanted: BTreeMap<(u32, Family), Ear> = BTreeMap::new();
        let own: Vec<[u8; 6]> = facts.links.iter().filter_map(|link| link.mac).collect();
        for Announcement { link, address } in announced {
            let Some(link) = facts.link(link) else { continue };
            let ear = wanted.entry((link.index, Family::of(*address))).or_insert_with(|| Ear {
                link: link.clone(),
                addresses: Vec::new(),
                own: own.clone(),
            });
            ear.addresses.push(*address);
        }
        self.tasks.retain(|key, (ear, task)| {
            let stays = wanted.get(key) == Some(ear);
            if !stays {
                task.abort();
            }
            stays
        });
        for (key, ear) in wanted {
            let sender = &self.sender;
            self.tasks.entry(key).or_insert_with(|| {
                let task = tokio::spawn(hear(ear.clone(), key.1, sender.clone()));
                (ear, task)
            });
        }
    }

    /// Waits for the next claim; cancelling the wait loses nothing.
    pub(super) async fn next(&mut self) -> (Announcement, Claim) {
        match self.claims.recv().await {
            Some(claim) => claim,
            // There is a sender as long as there is a receiver.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        for (_, task) in self.tasks.values() {
            task.abort();
        }
    }
}

async fn hear(ear: Ear, family: Family, sender: Sender<(Announcement, Claim)>) {
    let Some(opened) = NeighbourSocket::open_for(&ear.link, family, &ear.addresses) else { return };
    let name = &ear.link.name;
    let socket = match opened {
        Ok(socket) => socket,
        Err(error) => {
            return warn!("cannot hear on {name} whether another host takes a virtual IP: {error}");
        }
    };
    for address in &ear.addresses {
        socket.listen(*address);
    }
    loop {
        let Ok(message) = socket.receive().await else {
            sleep(RETRY).await;
            continue;
        };
        if ear.own.contains(&message.mac()) {
            continue;
        }
        for &address in &ear.addresses {
            if let Some(claim) = claim(&message, address) {
                let _ = sender.try_send((Announcement { link: name.clone(), address }, claim));
            }
        }
    }
}

fn claim(message: &NeighbourMessage, address: IpAddr) -> Option<Claim> {
    if !message.conflicts(address) {
        return None;
    }
    Some(if message.probes() { Claim::Probes } else { Claim::Has(message.mac()) })
}
