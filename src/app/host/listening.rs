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
pub(super) struct ClaimListener {
    /// By interface and family, with the addresses that they listen for.
    tasks: BTreeMap<(u32, Family), (ListenScope, JoinHandle<()>)>,
    claims: Receiver<(Announcement, Claim)>,
    /// The sender for new tasks.
    sender: Sender<(Announcement, Claim)>,
}

/// What one task listens for.
#[derive(Clone, Debug, Eq, PartialEq)]
struct ListenScope {
    link: Link,
    addresses: Vec<IpAddr>,
    /// The hardware addresses of this host: two of its interfaces in one network receive each
    /// other's packets.
    own: Vec<[u8; 6]>,
}

impl ClaimListener {
    pub(super) fn new() -> Self {
        let (sender, claims) = mpsc::channel(WAITING);
        Self { tasks: BTreeMap::new(), claims, sender }
    }

    /// Listens for exactly these from now on. Claims that come right afterwards wait in sockets.
    pub(super) fn listen_for<'a>(
        &mut self,
        announced: impl Iterator<Item = &'a Announcement>,
        facts: &Facts,
    ) {
        let mut wanted: BTreeMap<(u32, Family), ListenScope> = BTreeMap::new();
        let own: Vec<[u8; 6]> = facts.links.iter().filter_map(|link| link.mac).collect();
        for Announcement { link, address } in announced {
            let Some(link) = facts.link(link) else { continue };
            let scope = wanted.entry((link.index, Family::of(*address))).or_insert_with(|| {
                ListenScope { link: link.clone(), addresses: Vec::new(), own: own.clone() }
            });
            scope.addresses.push(*address);
        }
        self.tasks.retain(|key, (scope, task)| {
            let stays = wanted.get(key) == Some(scope);
            if !stays {
                task.abort();
            }
            stays
        });
        for (key, scope) in wanted {
            let sender = &self.sender;
            self.tasks.entry(key).or_insert_with(|| {
                let socket = open(&scope, key.1);
                let task = tokio::spawn(receive_claims(scope.clone(), socket, sender.clone()));
                (scope, task)
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

impl Drop for ClaimListener {
    fn drop(&mut self) {
        for (_, task) in self.tasks.values() {
            task.abort();
        }
    }
}

/// `None`: the interface has no hardware address, or there is no socket, which is logged.
fn open(scope: &ListenScope, family: Family) -> Option<NeighbourSocket> {
    match NeighbourSocket::open_for(&scope.link, family, &scope.addresses)? {
        Ok(socket) => {
            scope.addresses.iter().for_each(|address| socket.listen(*address));
            Some(socket)
        }
        Err(error) => {
            let name = scope.link.name.as_str();
            warn!(
                link = name;
                "cannot hear on {name} whether another host takes a virtual IP: {error}"
            );
            None
        }
    }
}

async fn receive_claims(
    scope: ListenScope,
    socket: Option<NeighbourSocket>,
    sender: Sender<(Announcement, Claim)>,
) {
    let Some(socket) = socket else { return };
    let name = &scope.link.name;
    loop {
        let Ok(message) = socket.receive().await else {
            sleep(RETRY).await;
            continue;
        };
        if scope.own.contains(&message.mac()) {
            continue;
        }
        for &address in &scope.addresses {
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
