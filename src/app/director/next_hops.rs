//! Lets the kernel ask again which host has the address of a real server that does not answer, or
//! of the router towards it. Its card may have been replaced, or another host may have answered ARP
//! or a solicitation in its name. By itself the kernel asks up to 45 seconds after the last answer
//! (`base_reachable_time`), and five seconds after the next packet (`delay_first_probe_time`).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::app::host::survey::{self, FoundHop};

/// Real servers that wait for the next round, at most. Further ones are left out.
const WAITING: usize = 1_024;

/// The time between two rounds. The kernel asks the host that it knows for three seconds
/// (`ucast_solicit`, `retrans_time`), then all hosts.
const ROUND: Duration = Duration::from_secs(5);

/// How many real servers are logged in a round.
const LOGGED: usize = 20;

/// Takes real servers that do not answer.
#[derive(Clone, Debug)]
pub(super) struct NextHops(mpsc::Sender<IpAddr>);

impl NextHops {
    /// Starts the rounds in the background, until the last clone is dropped.
    pub(super) fn start() -> Self {
        let (sender, reals) = mpsc::channel(WAITING);
        tokio::spawn(rounds(reals));
        Self(sender)
    }

    /// The real server does not answer.
    pub(super) fn doubt(&self, real: IpAddr) {
        // With so many the rounds are not what helps.
        let _ = self.0.try_send(real);
    }
}

async fn rounds(mut reals: mpsc::Receiver<IpAddr>) {
    while let Some(first) = reals.recv().await {
        let mut doubted = BTreeSet::from([first]);
        while let Ok(real) = reals.try_recv() {
            doubted.insert(real);
        }
        let doubted: Vec<IpAddr> = doubted.into_iter().collect();
        if let Err(error) = round(&doubted).await {
            log::debug!("the kernel does not ask for real servers' addresses again: {error:#}");
        }
    }
}

/// Lets the kernel ask for all of them, and says which have moved.
async fn round(reals: &[IpAddr]) -> Result<()> {
    let before = survey::next_hops(reals).await?;
    let asked: BTreeSet<(u32, IpAddr)> = before
        .iter()
        .filter(|found| found.may_be_old())
        .map(|found| (found.link, found.hop))
        .collect();
    survey::probe_hops(&asked.into_iter().collect::<Vec<_>>()).await?;
    sleep(ROUND).await;
    let after = survey::next_hops(reals).await?;
    for (real, text) in moved(&before, &after).take(LOGGED) {
        log::warn!(address:% = real; "{text}");
    }
    Ok(())
}

/// The real servers whose next hop has another hardware address than before, with a text.
fn moved<'a>(
    before: &'a [FoundHop],
    after: &'a [FoundHop],
) -> impl Iterator<Item = (IpAddr, String)> + 'a {
    let known =
        |found: &FoundHop| found.entry.clone().map(|(_, mac)| mac).filter(|m| !m.is_empty());
    after.iter().filter_map(move |now| {
        let (real, hop) = (now.to, now.hop);
        let then = before.iter().find(|then| (then.to, then.hop) == (real, hop))?;
        let (old, new) = (known(then)?, known(now)?);
        let who = match hop == real {
            true => format!("real server {real} has"),
            false => format!("{hop}, the next hop towards real server {real}, has"),
        };
        let text = format!(
            "{who} hardware address {} and not {}, where it did not answer: the card was replaced, \
             or another host has claimed the address (`vstun doctor`)",
            survey::mac(&new),
            survey::mac(&old)
        );
        (old != new).then_some((real, text))
    })
}

#[cfg(test)]
mod tests {
    use NeighbourState::{Failed, Reachable, Stale};

    use super::*;
    use crate::sys::netlink::packet_route::neighbour::NeighbourState;

    fn found(to: u8, hop: u8, state: NeighbourState, mac: &[u8]) -> FoundHop {
        let address = |last| IpAddr::from([10, 0, 0, last]);
        let entry = Some((state, mac.to_vec()));
        FoundHop { to: address(to), link: 2, hop: address(hop), entry }
    }

    #[test]
    fn a_next_hop_with_another_hardware_address_is_named() {
        let (old, new) = ([2, 0, 0, 0, 0, 0xa], [2, 0, 0, 0, 0, 0xb]);
        let before = [
            found(11, 11, Stale, &old),
            found(12, 12, Reachable, &old),
            found(13, 254, Reachable, &old),
            found(14, 14, Stale, &old),
            found(15, 15, Stale, &old),
        ];
        let after = [
            found(11, 11, Reachable, &new),
            found(12, 12, Reachable, &old),
            found(13, 254, Reachable, &new),
            // Nobody has answered yet; and another route is no other card.
            found(14, 14, Failed, &[]),
            found(15, 254, Reachable, &new),
        ];
        let moved: Vec<_> = moved(&before, &after).collect();
        let reals: Vec<_> = moved.iter().map(|(real, _)| real.to_string()).collect();
        assert_eq!(reals, ["10.0.0.11", "10.0.0.13"]);
        let text = "real server 10.0.0.11 has hardware address 02:00:00:00:00:0b and not \
                    02:00:00:00:00:0a, where";
        assert!(moved[0].1.starts_with(text), "{}", moved[0].1);
        assert!(moved[1].1.starts_with("10.0.0.254, the next hop towards"), "{}", moved[1].1);
    }
}
