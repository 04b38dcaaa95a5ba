//! Answers inquiries of `vstun doctor` at a director about this real server.
//!
//! An inquiry comes through the tunnel from a director that the gate admits. The answer goes back
//! through a tunnel, only to that address: a firewall that tracks connections accepts it as the
//! reply to the inquiry's outer packet. It is never longer than the inquiry, and there are at most
//! fifty a second.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::desired;
use crate::app::host::survey::{self, Survey};
use crate::app::latest::Latest;
use crate::app::listeners::{ListenerSum, kind};
use crate::app::source_address;
use crate::config;
use crate::control::HostStatus;
use crate::doctor::inquiry::{
    EndState, InquiryAnswer, InquiryTunnel, ListenerKinds, Ports, Question, packet,
};
use crate::host::{HostStep, Object};
use crate::model::Protocol;
use crate::sys::raw::{BatchMessage, SendBatch, Sender};
use crate::sys::sock_diag::bound_sockets;
use crate::wire::encap::{Encap, Shim};

/// The most inquiries that wait; further ones are dropped and counted.
pub(super) const WAITING: usize = 16;

/// The shortest time between two answers.
const GAP: Duration = Duration::from_millis(20);

/// No packet is sent to this port: the socket is only opened to find its source address.
const ANY_PORT: u16 = 9;

/// An inquiry and its origin.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The director: the outer source.
    pub(super) director: IpAddr,
    /// How it was encapsulated, as the answer will be.
    pub(super) encap: Encap,
    /// The outer UDP source port, if it came in GUE.
    pub(super) port: u16,
    /// This host: the outer destination, if the kernel reports it.
    pub(super) here: Option<IpAddr>,
    /// The sender: the inner source.
    pub(super) asker: IpAddr,
    /// The virtual IP: the inner destination.
    pub(super) vip: IpAddr,
    /// The question.
    pub(super) question: Question,
}

/// Inquiries, at most one in [`GAP`].
#[derive(Debug)]
struct PacedInbox {
    inbox: mpsc::Receiver<Asked>,
    not_before: Instant,
}

impl PacedInbox {
    fn new(inbox: mpsc::Receiver<Asked>) -> Self {
        Self { inbox, not_before: Instant::now() }
    }

    /// The next inquiry; `None`: there will be none.
    async fn next(&mut self) -> Option<Asked> {
        let asked = self.inbox.recv().await?;
        sleep_until(self.not_before).await;
        self.not_before = Instant::now() + GAP;
        Some(asked)
    }
}

/// Answers them.
#[derive(Debug)]
pub(super) struct InquiryAnswers {
    inbox: PacedInbox,
    config: Latest<config::RealServer>,
    host: Latest<HostStatus>,
    sender: Sender,
    batch: SendBatch,
}

impl InquiryAnswers {
    /// For the inquiries from `inbox`.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`.
    pub(super) fn new(
        inbox: mpsc::Receiver<Asked>,
        config: Latest<config::RealServer>,
        host: Latest<HostStatus>,
    ) -> anyhow::Result<Self> {
        let sender = Sender::open();
        let sender = sender.context("could not open a raw socket for answers to vstun doctor")?;
        let inbox = PacedInbox::new(inbox);
        Ok(Self { inbox, config, host, sender, batch: SendBatch::new(1) })
    }

    /// Answers one inquiry after the other, without end.
    pub(super) async fn run(mut self) {
        while let Some(asked) = self.inbox.next().await {
            match self.answer(&asked).await {
                Ok(answer) => self.send(&asked, &answer),
                Err(error) => log::debug!("a question of vstun doctor: {error:#}"),
            }
        }
        std::future::pending::<()>().await;
    }

    async fn answer(&self, asked: &Asked) -> anyhow::Result<InquiryAnswer> {
        let config = self.config.get();
        let survey = survey::realserver_briefly(&desired(&config)).await?;
        let host = self.host.get();
        let wrong: Vec<String> = host.wrong.iter().map(|wrong| wrong.text.clone()).collect();
        let mut state = state(asked.vip, &config, &survey);
        if host.wrong.iter().any(|wrong| wrong.what == "mss") {
            state = state.and(EndState::NO_MSS);
        }
        if state.has(EndState::PRESENT) && !survey::has_reply_route(asked.vip).await? {
            state = state.and(EndState::NO_REPLY_ROUTE);
        }
        if !wrong.is_empty() {
            state = state.and(EndState::FAULTS);
        }
        let (vip, ports) = (asked.vip, asked.question.ports.clone());
        let tun = survey.facts.link(config.tun.as_str()).map(|link| link.index);
        let listening = tokio::task::spawn_blocking(move || listening(vip, tun, &ports)).await??;
        let mss = survey.plan.map_or(0, |plan| match vip {
            IpAddr::V4(_) => plan.advertised_mss.v4,
            IpAddr::V6(_) => plan.advertised_mss.v6,
        });
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(InquiryAnswer {
            nonce: asked.question.nonce,
            time: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            state,
            mss,
            listening,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            text: wrong.join(" | "),
            tun: config.tun.as_str().to_owned(),
        })
    }

    fn send(&mut self, asked: &Asked, answer: &InquiryAnswer) {
        let destination = asked.director;
        let source = asked.here.or_else(|| towards(destination));
        let gue_port = self.config.part(|config| config.gue_port);
        let Some(bytes) = source.and_then(|source| reply(asked, answer, source, gue_port)) else {
            return;
        };
        let message =
            BatchMessage { destination, header: 0..0, payload: 0..bytes.len(), fragment_of: 0 };
        self.batch.push(message);
        self.batch.flush(&self.sender, &[], &bytes, |_, error| {
            log::debug!("cannot answer vstun doctor: {error}");
        });
    }
}

/// The answer as a packet to the director that has asked, not longer than what it has sent. `None`
/// if addresses are of different families.
fn reply(asked: &Asked, answer: &InquiryAnswer, from: IpAddr, gue_port: u16) -> Option<Vec<u8>> {
    let Asked { director, encap, port, asker, vip, question, .. } = asked;
    let shim = match encap {
        Encap::Ipip => Shim::None,
        Encap::Gre => Shim::Gre,
        Encap::Gue => Shim::Gue { source_port: gue_port, port: *port },
    };
    let tunnel = InquiryTunnel { from, to: *director, shim };
    packet(tunnel, (*vip, *asker), &answer.encode(question.len), false)
}

/// The address that the routing table picks towards the director.
fn towards(director: IpAddr) -> Option<IpAddr> {
    source_address::towards((director, ANY_PORT).into()).ok()
}

fn state(vip: IpAddr, config: &config::RealServer, survey: &Survey) -> EndState {
    let (tun, facts) = (config.tun.as_str(), &survey.facts);
    let conf = |link: &str, name: &str| facts.conf(link, name).max(facts.conf("all", name));
    let others = || facts.links.iter().filter(|link| !link.loopback && link.name != tun);
    let mss = survey.plan.iter().flat_map(|plan| &plan.steps);
    let rule =
        mss.filter(|step| matches!(step, HostStep::Add(Object::Rule { from, .. }) if *from == vip));
    let v4 = vip.is_ipv4();
    [
        (EndState::CONFIGURED, config.vips.contains(&vip)),
        (EndState::PRESENT, facts.owners(vip).any(|(_, link)| link.name == tun)),
        (
            EndState::ELSEWHERE,
            facts.owners(vip).any(|(_, link)| link.name != tun && !link.loopback),
        ),
        // 1, 2 and 8 keep the kernel from answering for an address of another interface.
        (
            EndState::ANSWERS_ARP,
            v4 && others()
                .any(|link| link.arp && !matches!(conf(&link.name, "arp_ignore"), 1 | 2 | 8)),
        ),
        (EndState::STRICT, v4 && conf(tun, "rp_filter") == 1),
        (
            EndState::NO_MSS,
            config.mss == config::MssSetting::Route && rule.clone().any(|step| !facts.holds(step)),
        ),
    ]
    .into_iter()
    .filter(|(_, is)| *is)
    .fold(EndState::default(), |all, (state, _)| all.and(state))
}

/// Whether a program listens, for each range of ports. `tun`: the index of the TUN.
fn listening(
    vip: IpAddr,
    tun: Option<u32>,
    ports: &[Ports],
) -> std::io::Result<Vec<ListenerKinds>> {
    let mut found = vec![ListenerSum::default(); ports.len()];
    bound_sockets(|bound| {
        let protocol = if bound.udp { Protocol::Udp } else { Protocol::Tcp };
        let Some(kind) = kind(&bound, vip, tun) else { return };
        for (ports, found) in ports.iter().zip(&mut found) {
            let within = (ports.first..=ports.last).contains(&bound.port);
            if within && ports.protocol == protocol.number() {
                found.add(kind, bound.full);
            }
        }
    })?;
    Ok(found.into_iter().map(ListenerSum::kinds).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::doctor::inquiry::{MAX_PORTS, MIN_LEN};
    use crate::wire::Packet;

    /// A forged inquiry makes this host send nothing to another than a director, and no more bytes
    /// than it has received.
    #[test]
    fn a_reply_goes_to_the_director_alone_and_is_not_longer_than_what_was_asked() {
        let tunnels = [("10.0.0.1", "10.0.0.11"), ("2001:db8:a::1", "2001:db8:a::11")];
        let insides = [("198.51.100.10", "192.0.2.10"), ("2001:db8:c::10", "2001:db8:b::10")];
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let ports = vec![Ports { protocol: 6, first: 80, last: 80 }; MAX_PORTS];
        let answer = InquiryAnswer {
            listening: vec![ListenerKinds::VIP; MAX_PORTS],
            program: "0.1.0".to_owned(),
            text: "a long text about a fault. ".repeat(100),
            ..InquiryAnswer::default()
        };
        for ((director, here), (asker, vip)) in
            tunnels.into_iter().flat_map(|tunnel| insides.map(|inside| (tunnel, inside)))
        {
            let (director, here) = (address(director), address(here));
            let (asker, vip) = (address(asker), address(vip));
            for encap in Encap::ALL {
                for len in [MIN_LEN, MIN_LEN + 1, 1_400] {
                    let question = Question { nonce: 1, ports: ports.clone(), len };
                    let shim = match encap {
                        Encap::Ipip => Shim::None,
                        Encap::Gre => Shim::Gre,
                        Encap::Gue => Shim::Gue { source_port: 61_440, port: 6_080 },
                    };
                    let tunnel = InquiryTunnel { from: director, to: here, shim };
                    let sent = packet(tunnel, (asker, vip), &question.encode(), true).unwrap();
                    let question = Question::parse(&question.encode()).unwrap();
                    let asked = Asked {
                        director,
                        encap,
                        port: 61_440,
                        here: Some(here),
                        asker,
                        vip,
                        question,
                    };
                    let replied = reply(&asked, &answer, here, 6_080).unwrap();
                    assert!(replied.len() <= sent.len(), "{} for {}", replied.len(), sent.len());
                    let outer = Packet::parse(&replied).unwrap();
                    assert_eq!((outer.source, outer.destination), (here, director));
                }
            }
        }
    }

    /// Each answer costs a look at the host, and an attacker may use a director's address.
    #[test]
    fn at_most_fifty_inquiries_a_second_are_answered() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (sender, inbox) = mpsc::channel(WAITING);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        for nonce in 0..5 {
            let question = Question { nonce, ports: Vec::new(), len: MIN_LEN };
            let (director, here) = (address("10.0.0.1"), None);
            let (asker, vip) = (address("198.51.100.10"), address("192.0.2.10"));
            let asked = Asked { director, encap: Encap::Ipip, port: 0, here, asker, vip, question };
            sender.try_send(asked).unwrap();
        }
        drop(sender);
        let begun = std::time::Instant::now();
        let count = runtime.block_on(async {
            let (mut inbox, mut count) = (PacedInbox::new(inbox), 0);
            while inbox.next().await.is_some() {
                count += 1;
            }
            count
        });
        assert_eq!(count, 5);
        let four = Duration::from_millis(4 * 1_000 / 50);
        assert!(begun.elapsed() >= four, "after {:?}", begun.elapsed());
    }
}
