//! Sends inquiries to the daemons of real servers through the tunnel, to all at the same time:
//! first small ones, then full-size ones that routers must not fragment.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant, SystemTime};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::doctor::inquiry::{
    InquiryAnswer, InquiryTunnel, MAX_LEN, MAX_PORTS, MIN_LEN, Ports, Question, message_len, packet,
};
use crate::doctor::{EndAnswer, EndFacts, FullSize, Tunnelled};
use crate::model::Listen;
use crate::sys::random;
use crate::sys::raw::{
    BatchMessage, ErrorQueue, HEADROOM, Inside, MAX_ERROR, RawError, ReceiveBuffers, Received,
    Receiver, SendBatch, Sender,
};
use crate::wire::Packet;
use crate::wire::encap::{self, Encap, GuePorts, Shim, gre, gue};
use crate::wire::icmp::{TunnelCause, TunnelReport, report_v4, report_v6};
use crate::wire::inquiry::{PROTOCOL, is_inquiry};

/// How long to wait for an answer, each time that the inquiry is sent. A late answer counts until
/// the last wait is over.
const WAITS: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(400), Duration::from_millis(800)];

/// The waits while a size is searched: the path is known to carry small ones.
const SEARCH_WAITS: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(400)];

/// How many sizes are tried at the same time.
const SIZES: usize = 4;

/// A search ends where the largest size that came through and the smallest that did not differ by
/// no more bytes.
const CLOSE: usize = 8;

/// The length of a small inquiry: it and its answer fit every path.
const SMALL: usize = MIN_LEN;

/// Inquiries sent without a pause.
const BURST: usize = 32;

/// The pause.
const PAUSE: Duration = Duration::from_millis(5);

/// The smallest packet tried on a path that does not carry full-size ones, in bytes.
const SMALLEST: usize = 576;

/// Packets received in one call.
const BATCH: usize = 16;

/// The tunnel to a real server, and the subject of the inquiry there.
#[derive(Clone, Debug)]
pub(super) struct End {
    /// The real server.
    pub(super) real: IpAddr,
    /// The tunnel's source.
    pub(super) source: IpAddr,
    /// An address of this host of the virtual IP's family.
    pub(super) asker: IpAddr,
    /// The virtual IP.
    pub(super) vip: IpAddr,
    /// Its ports.
    pub(super) listens: Vec<Listen>,
    /// The MTU of the interface to the real server, or of the route, in bytes.
    pub(super) mtu: usize,
    /// How packets to the real server are encapsulated.
    pub(super) tunnelled: Tunnelled,
}

/// The sockets, and the packets received.
struct Exchange {
    sender: Sender,
    receivers: Vec<Receiver>,
    errors: ErrorQueue,
    poll: Poll,
    /// The director's ports of GUE.
    ports: GuePorts,
    batch: SendBatch,
    datagrams: ReceiveBuffers,
    /// By nonce.
    answers: HashMap<u64, (InquiryAnswer, SystemTime)>,
    /// The latest refusal of a tunnelled packet to each real server.
    refusals: HashMap<IpAddr, TunnelCause>,
    path_mtus: HashMap<IpAddr, u16>,
}

/// Sends inquiries to all ends; blocks for a few seconds. `ports` are the director's.
///
/// # Errors
/// `EPERM` without `CAP_NET_RAW`.
pub(super) fn ask(ends: &[End], ports: GuePorts) -> io::Result<Vec<EndFacts>> {
    let mut exchange = Exchange::open(ports)?;
    let small: Vec<usize> = ends.iter().map(|_| SMALL).collect();
    let answers = exchange.round(ends, &small, &WAITS)?;
    let mut facts: Vec<EndFacts> = ends
        .iter()
        .zip(answers)
        .map(|(end, answer)| EndFacts {
            real: end.real,
            vip: end.vip,
            listens: end.listens.clone(),
            answer,
            full: None,
        })
        .collect();
    full_size(&mut exchange, ends, &mut facts)?;
    Ok(facts)
}

/// Sends full-size packets to each real server that has answered. Where they are lost, a search
/// finds the size that fits, for all ends and several sizes at the same time.
fn full_size(exchange: &mut Exchange, ends: &[End], facts: &mut [EndFacts]) -> io::Result<()> {
    let mut tried: Vec<(usize, usize)> = Vec::new();
    for (index, fact) in facts.iter().enumerate() {
        let first = !tried.iter().any(|(other, _)| ends[*other].real == fact.real);
        if first && matches!(fact.answer, EndAnswer::Answered { .. }) {
            tried.push((index, ends[index].mtu));
        }
    }
    let mut bounds: HashMap<usize, SizeBounds> = HashMap::new();
    for (index, passed) in exchange.passes(ends, &tried, &WAITS)? {
        let End { real, mtu, .. } = ends[index];
        let reported = exchange.path_mtus.get(&real).copied();
        facts[index].full = Some(FullSize { mtu, passed, largest: None, reported });
        if !passed {
            bounds.insert(index, SizeBounds { fits: SMALLEST, lost: mtu });
        }
    }
    // If a router has reported the path MTU, that size is tried too.
    let reported = |exchange: &Exchange, index: usize| {
        exchange.path_mtus.get(&ends[index].real).map(|mtu| usize::from(*mtu))
    };
    loop {
        tried.clear();
        for (index, bounds) in &bounds {
            tried.extend(bounds.next(reported(exchange, *index)).map(|size| (*index, size)));
        }
        if tried.is_empty() {
            return Ok(());
        }
        let results = exchange.passes(ends, &tried, &SEARCH_WAITS)?;
        for ((_, size), (index, passed)) in tried.iter().zip(results) {
            let Some(bounds) = bounds.get_mut(&index) else { continue };
            bounds.note(*size, passed);
            if let Some(full) = &mut facts[index].full {
                full.largest = Some(bounds.fits);
            }
        }
    }
}

/// What is known of the sizes that a path carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct SizeBounds {
    /// A size that fits.
    fits: usize,
    /// A larger one that is lost.
    lost: usize,
}

impl SizeBounds {
    /// The sizes to try next, in ascending order; none once both bounds are close.
    fn next(self, reported: Option<usize>) -> impl Iterator<Item = usize> {
        let Self { fits, lost } = self;
        let open = lost - fits > CLOSE;
        let step = |number| fits + (lost - fits) * number / (SIZES + 1);
        let all = (1..=SIZES).map(step).chain(reported);
        let mut all: Vec<usize> = all.filter(|size| open && *size > fits && *size < lost).collect();
        all.sort_unstable();
        all.dedup();
        all.into_iter()
    }

    /// A packet of one size may be lost by chance, and a larger one come through.
    fn note(&mut self, size: usize, passed: bool) {
        if passed {
            self.fits = self.fits.max(size);
            self.lost = self.lost.max(size + 1);
        } else if size > self.fits {
            self.lost = self.lost.min(size);
        }
    }
}

impl Exchange {
    fn open(ports: GuePorts) -> io::Result<Self> {
        let (sender, errors, poll) = (Sender::open()?, ErrorQueue::open()?, Poll::new()?);
        // An answer comes in the inquiry's encapsulation.
        let mut receivers = Receiver::open_each()?;
        for receiver in receivers.iter().filter(|receiver| receiver.inner_version().is_some()) {
            receiver.attach_filter(filter(receiver).into_iter())?;
        }
        // If another inquiry has the port, answers in GUE do not come here.
        receivers.extend(Receiver::open_gue(ports.inquiry()).unwrap_or_default());
        let descriptors = receivers.iter().map(AsRawFd::as_raw_fd).chain(errors.descriptors());
        for (index, descriptor) in descriptors.enumerate() {
            let mut source = SourceFd(&descriptor);
            poll.registry().register(&mut source, Token(index), Interest::READABLE)?;
        }
        Ok(Self {
            sender,
            receivers,
            errors,
            poll,
            ports,
            batch: SendBatch::new(1),
            datagrams: ReceiveBuffers::new(BATCH),
            answers: HashMap::new(),
            refusals: HashMap::new(),
            path_mtus: HashMap::new(),
        })
    }

    /// Which of these packets come through: the end's place and the packet's size in bytes.
    fn passes(
        &mut self,
        ends: &[End],
        tried: &[(usize, usize)],
        waits: &[Duration],
    ) -> io::Result<Vec<(usize, bool)>> {
        let asked: Vec<End> = tried.iter().map(|(index, _)| ends[*index].clone()).collect();
        let size = |(end, (_, size)): (&End, &(usize, usize))| {
            message_len(*size, end.tunnelled.encap, end.real, end.vip)
        };
        let sizes: Vec<usize> = asked.iter().zip(tried).map(size).collect();
        let answers = self.round(&asked, &sizes, waits)?;
        let passed = |answer| matches!(answer, EndAnswer::Answered { .. });
        Ok(tried.iter().zip(answers).map(|((index, _), answer)| (*index, passed(answer))).collect())
    }

    /// One inquiry to each end, with messages of these lengths; repeats those without an answer
    /// after each wait but the last.
    fn round(
        &mut self,
        ends: &[End],
        sizes: &[usize],
        waits: &[Duration],
    ) -> io::Result<Vec<EndAnswer>> {
        let mut nonces = Vec::with_capacity(ends.len());
        let mut sent = vec![SystemTime::now(); ends.len()];
        for _ in ends {
            nonces.push(random::words::<1>()?[0]);
        }
        for wait in waits {
            let open: Vec<usize> = (0..ends.len())
                .filter(|index| !self.is_settled(ends[*index].real, nonces[*index]))
                .collect();
            for burst in open.chunks(BURST) {
                for index in burst {
                    sent[*index] = SystemTime::now();
                    self.send(&ends[*index], nonces[*index], sizes[*index]);
                }
                self.receive(PAUSE)?;
            }
            let until = Instant::now() + *wait;
            while Instant::now() < until {
                let settled = |exchange: &Self| {
                    open.iter().all(|index| exchange.is_settled(ends[*index].real, nonces[*index]))
                };
                if settled(self) {
                    break;
                }
                self.receive(PAUSE)?;
            }
        }
        let inquiries = ends.iter().zip(&nonces).zip(sent);
        Ok(inquiries.map(|((end, nonce), sent)| self.answer_to(end.real, *nonce, sent)).collect())
    }

    fn is_settled(&self, real: IpAddr, nonce: u64) -> bool {
        let refused = self.refusals.get(&real).is_some_and(|cause| cause.is_certain());
        self.answers.contains_key(&nonce) || refused
    }

    fn answer_to(&self, real: IpAddr, nonce: u64, sent: SystemTime) -> EndAnswer {
        match (self.answers.get(&nonce), self.refusals.get(&real)) {
            (Some((answer, came)), _) => EndAnswer::Answered {
                answer: answer.clone(),
                clock: clock(answer.time, sent, *came),
            },
            (None, Some(cause)) => EndAnswer::Refused(cause.name().to_owned()),
            (None, None) => EndAnswer::Silent,
        }
    }

    fn send(&mut self, end: &End, nonce: u64, len: usize) {
        let ports = end.listens.iter().take(MAX_PORTS).map(|listen| Ports {
            protocol: listen.protocol.number(),
            first: listen.ports.first,
            last: listen.ports.last,
        });
        let question = Question { nonce, ports: ports.collect(), len: len.clamp(MIN_LEN, MAX_LEN) };
        let shim = match end.tunnelled {
            Tunnelled { encap: Encap::Ipip, .. } => Shim::None,
            Tunnelled { encap: Encap::Gre, .. } => Shim::Gre,
            Tunnelled { encap: Encap::Gue, gue_port } => {
                Shim::Gue { source_port: self.ports.inquiry(), port: gue_port }
            }
        };
        let tunnel = InquiryTunnel { from: end.source, to: end.real, shim };
        let Some(bytes) = packet(tunnel, (end.asker, end.vip), &question.encode(), true) else {
            return;
        };
        let payload = 0..bytes.len();
        let message = BatchMessage { destination: end.real, header: 0..0, payload, fragment_of: 0 };
        self.batch.push(message);
        // An inquiry that could not be sent counts as unanswered; the finding about the firewall
        // has the reason.
        self.batch.flush(&self.sender, &[], &bytes, |_, _| {});
    }

    /// Receives packets for this time.
    fn receive(&mut self, time: Duration) -> io::Result<()> {
        let mut events = Events::with_capacity(8);
        match self.poll.poll(&mut events, Some(time)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for receiver in &self.receivers {
            while self.datagrams.receive(receiver, BATCH).is_ok() {
                let came = SystemTime::now();
                let inside = receiver.inside();
                for answer in self.datagrams.iter_mut().filter_map(|one| read(one, inside)) {
                    self.answers.entry(answer.nonce).or_insert((answer, came));
                }
            }
        }
        let mut room = [0; MAX_ERROR];
        // The daemon's packets show the same causes.
        let ports = self.ports;
        let ours = |port| ports.sources.contains(port) || port == ports.inquiry();
        while let Ok(error) = self.errors.next(&mut room) {
            let report = match error {
                RawError::V4(bytes) => report_v4(bytes, ours),
                RawError::V6(sender, bytes) => report_v6(sender, bytes, ours),
            };
            if let Some(TunnelReport { real, cause, .. }) = report {
                match cause {
                    TunnelCause::PathMtu(mtu) => drop(self.path_mtus.insert(real, mtu)),
                    cause if cause.is_of_the_end() => drop(self.refusals.insert(real, cause)),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// How far the other clock is ahead, in milliseconds, within the accuracy of the round trip.
fn clock(time: u64, sent: SystemTime, came: SystemTime) -> i64 {
    let millis = |moment: SystemTime| {
        let since = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    };
    let time = i64::try_from(time).unwrap_or(i64::MAX);
    match (time.saturating_sub(millis(sent)), time.saturating_sub(millis(came))) {
        (early, _) if early < 0 => early,
        (_, late) if late > 0 => late,
        _ => 0,
    }
}

/// The answer in a tunnelled packet.
fn read(received: Received<'_>, inside: Inside) -> Option<InquiryAnswer> {
    let (version, inner) = match received {
        Received::Whole(bytes) => {
            let opened = encap::open(bytes).ok()?;
            (opened.inner_version, bytes.get(opened.inner)?)
        }
        Received::Payload { bytes, .. } => {
            let payload = bytes.get(HEADROOM..)?;
            let (version, start) = match inside {
                Inside::Ipv4 => (4, 0),
                Inside::Ipv6 => (6, 0),
                Inside::Gre => gre::open(payload).ok()?,
                Inside::Gue => gue::open(payload).ok()?,
            };
            (version, payload.get(start..)?)
        }
    };
    let packet = Packet::parse(inner).ok()?;
    if packet.version() != version || packet.protocol != PROTOCOL || !is_inquiry(packet.payload()) {
        return None;
    }
    InquiryAnswer::parse(packet.payload()).ok()
}

// Classic BPF (`linux/filter.h`).
const LOAD_BYTE: u16 = 0x30;
const LOAD_BYTE_FROM_X: u16 = 0x50;
const HEADER_LEN_TO_X: u16 = 0xb1;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// Passes packets of [`PROTOCOL`] in a tunnel: IPv4 datagrams start with their outer header, IPv6
/// ones with the inner packet. The protocol is the inner IPv4 header's tenth byte, the inner IPv6
/// header's seventh.
fn filter(receiver: &Receiver) -> Vec<(u16, u8, u8, u32)> {
    let index = if receiver.inner_version() == Some(4) { 9 } else { 6 };
    let mut program = match receiver.outer_version() {
        4 => vec![(HEADER_LEN_TO_X, 0, 0, 0), (LOAD_BYTE_FROM_X, 0, 0, index)],
        _ => vec![(LOAD_BYTE, 0, 0, index)],
    };
    program.push((JUMP_IF_EQUAL, 0, 1, PROTOCOL.into()));
    program.extend([(RETURN, 0, 0, u32::MAX), (RETURN, 0, 0, 0)]);
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_ends_close_to_the_size_that_fits() {
        for carried in [576, 577, 1_000, 1_400, 1_491, 1_499] {
            for reported in [None, Some(carried)] {
                let mut bounds = SizeBounds { fits: SMALLEST, lost: 1_500 };
                let mut rounds = 0;
                loop {
                    let sizes: Vec<usize> = bounds.next(reported).collect();
                    if sizes.is_empty() {
                        break;
                    }
                    rounds += 1;
                    sizes.iter().for_each(|size| bounds.note(*size, *size <= carried));
                }
                assert!(rounds <= 4, "{carried}: {rounds} rounds");
                assert!(bounds.fits <= carried && carried < bounds.lost, "{carried}: {bounds:?}");
                assert!(bounds.lost - bounds.fits <= CLOSE, "{carried}: {bounds:?}");
                assert!(reported.is_none_or(|mtu| mtu == bounds.fits), "{carried}: {bounds:?}");
            }
        }
    }

    #[test]
    fn a_packet_lost_by_chance_moves_no_bound_below_a_size_that_fits() {
        let mut bounds = SizeBounds { fits: 576, lost: 1_500 };
        bounds.note(700, false);
        bounds.note(900, true);
        bounds.note(800, false);
        assert_eq!(bounds, SizeBounds { fits: 900, lost: 901 });
        assert_eq!(bounds.next(None).count(), 0);
    }
}
