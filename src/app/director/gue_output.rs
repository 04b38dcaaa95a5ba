//! Packets in GUE by UDP sockets: many in one call where they go together.
//!
//! Each source port has its socket, opened with its first packet. Where there is none (another
//! program has the port, the kernel has no `UDP_SEGMENT`, or refuses it again and again) packets go
//! one by one by the raw sockets.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::balancer::outer::TTL;
use crate::sys::raw::segmented::{Headers, SegmentedSender};
use crate::wire::encap::joins::{GuePacket, Joins, MAX_INNER, OuterFields, Send};
use crate::wire::encap::{self, GuePorts, MAX_OUTER_LEN, Outer, Shim, SourcePorts, gue};
use crate::wire::packet::{IPV4_HEADER_LEN, IPV6_HEADER_LEN, UDP_HEADER_LEN};

use super::sent::SendLog;

/// Sends that the kernel may refuse in a row before no more are made.
const REFUSALS: u32 = 8;

/// Sends in a row that the kernel has refused, though not for their size. Those of one packet and
/// those of several are counted apart: it may take the first and never the others.
#[derive(Clone, Copy, Debug, Default)]
struct RefusedSends {
    lone: u32,
    several: u32,
}

impl RefusedSends {
    fn of(&mut self, packets: usize) -> &mut u32 {
        if packets > 1 { &mut self.several } else { &mut self.lone }
    }

    /// The kernel has taken a send.
    fn taken(&mut self, packets: usize) {
        *self.of(packets) = 0;
    }

    /// It has refused one. Whether that is the one after which no more are made.
    fn refused(&mut self, packets: usize) -> bool {
        let before = self.given_up();
        *self.of(packets) += 1;
        !before && self.given_up()
    }

    /// Whether no more sends are made.
    fn given_up(self) -> bool {
        self.lone >= REFUSALS || self.several >= REFUSALS
    }
}

/// The socket of a source port.
#[derive(Debug, Default)]
enum Port {
    #[default]
    Unused,
    Open(SegmentedSender),
    /// It cannot be opened.
    Taken,
}

/// The sends that packets wait in, and the sockets.
#[derive(Debug)]
pub(super) struct GueOutput {
    joins: Joins,
    ports: GuePorts,
    /// For each source port.
    v4: Vec<Port>,
    v6: Vec<Port>,
    refusals: RefusedSends,
}

impl GueOutput {
    pub(super) fn new(ports: GuePorts) -> Self {
        let (v4, v6) = (unused(ports.sources), unused(ports.sources));
        Self { joins: Joins::default(), ports, v4, v6, refusals: RefusedSends::default() }
    }

    /// The source ports, and the UDP port of real servers.
    #[inline]
    pub(super) fn ports(&self) -> GuePorts {
        self.ports
    }

    /// From now on packets have these ports. No packet waits.
    pub(super) fn set_ports(&mut self, ports: GuePorts) {
        if ports.sources != self.ports.sources {
            (self.v4, self.v6) = (unused(ports.sources), unused(ports.sources));
        }
        self.ports = ports;
    }

    /// How many source ports another program has.
    pub(super) fn taken(&self) -> usize {
        let both = self.v4.iter().zip(&self.v6);
        both.filter(|(v4, v6)| matches!(v4, Port::Taken) || matches!(v6, Port::Taken)).count()
    }

    /// Whether no packet waits.
    pub(super) fn is_empty(&self) -> bool {
        self.joins.is_empty()
    }

    /// The outer fields of a packet of `len` bytes that a UDP socket can send; `None` if a raw
    /// socket has to send it. That is so for an IPv4 packet that routers may fragment, because
    /// several sends have the same identifications.
    pub(super) fn fields(&mut self, outer: &Outer, shim: Shim, len: usize) -> Option<OuterFields> {
        let Shim::Gue { source_port, .. } = shim else { return None };
        let fits = len <= MAX_INNER && (outer.dont_fragment || outer.destination.is_ipv6());
        let sends = fits && !self.refusals.given_up();
        let ipv6 = outer.destination.is_ipv6();
        (sends && self.open(ipv6, source_port).is_some()).then_some(OuterFields {
            source: outer.source,
            destination: outer.destination,
            source_port,
            traffic_class: outer.traffic_class,
        })
    }

    /// See [`Joins::enter`].
    #[inline]
    pub(super) fn enter(&mut self, segment: &GuePacket<'_>) -> Result<(), usize> {
        self.joins.enter(segment)
    }

    /// See [`Joins::before`].
    pub(super) fn before(&self, shim: Shim, real: IpAddr) -> Option<usize> {
        let Shim::Gue { source_port, .. } = shim else { return None };
        self.joins.before(real, source_port)
    }

    /// Sends those at that position, and copies them for a trace.
    pub(super) fn leave(
        &mut self,
        position: usize,
        send_log: &mut SendLog,
        tapped: Option<&mut Vec<Vec<u8>>>,
    ) {
        let Some(send) = self.joins.take(position) else { return };
        if let Some(tapped) = tapped {
            self.copy(&send, tapped);
        }
        self.send(&send, send_log);
        self.joins.give_back(send);
    }

    fn send(&mut self, send: &Send, send_log: &mut SendLog) {
        let OuterFields { source, destination, source_port, traffic_class } = send.outer();
        let to = SocketAddr::new(destination, self.ports.destination);
        let flow_label = source_port.into();
        let headers = Headers { source, destination: to, traffic_class, flow_label };
        let ip = if destination.is_ipv4() { IPV4_HEADER_LEN } else { IPV6_HEADER_LEN };
        send_log.sent.bytes += (send.len() + send.count() * (ip + UDP_HEADER_LEN)) as u64;
        send_log.sent.calls += 1;
        let Some(socket) = self.open(destination.is_ipv6(), source_port) else {
            return send_log.without_socket(destination, send.count());
        };
        let (bytes, ends) = send.payloads();
        match again(|| socket.send(&headers, bytes, ends, send.size())) {
            Ok(()) => {
                self.refusals.taken(send.count());
                send_log.sent.joined(send.count(), send.padding());
            }
            Err(error) => self.failed(send, &headers, &error, send_log),
        }
    }

    /// Sends one by one what did not go together.
    #[cold]
    fn failed(
        &mut self,
        send: &Send,
        headers: &Headers,
        error: &io::Error,
        send_log: &mut SendLog,
    ) {
        let destination = headers.destination.ip();
        let refused = matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EIO));
        let too_big = |error: &io::Error| error.raw_os_error() == Some(libc::EMSGSIZE);
        if !refused && !too_big(error) || send.count() == 1 {
            for _ in send.datagrams() {
                send_log.failed(destination, error, 0);
            }
            if refused {
                self.refused(send.count(), error);
            }
            return;
        }
        let source_port = send.outer().source_port;
        let Some(socket) = self.open(destination.is_ipv6(), source_port) else {
            return send_log.without_socket(destination, send.count());
        };
        let mut any_too_big = false;
        for datagram in send.datagrams() {
            send_log.sent.calls += 1;
            let one = || socket.send(headers, datagram, &[datagram.len()], datagram.len());
            match again(one) {
                Ok(()) => send_log.sent.joined(1, 0),
                Err(error) => {
                    any_too_big |= too_big(&error);
                    send_log.failed(destination, &error, 0);
                }
            }
        }
        if refused && !any_too_big {
            self.refused(send.count(), error);
        }
    }

    fn refused(&mut self, packets: usize, error: &io::Error) {
        if self.refusals.refused(packets) {
            let what = if packets > 1 { "UDP_SEGMENT" } else { "sends of UDP sockets" };
            log::warn!("the kernel refuses {what} ({error}): packets in GUE are sent one by one");
        }
    }

    /// The socket of that port, which is opened if it has not been used.
    fn open(&mut self, ipv6: bool, source_port: u16) -> Option<&SegmentedSender> {
        let ports = if ipv6 { &mut self.v6 } else { &mut self.v4 };
        let port = ports.get_mut(self.ports.sources.position(source_port)?)?;
        if let Port::Unused = port {
            *port = match SegmentedSender::open(ipv6, source_port, TTL) {
                Ok(socket) => Port::Open(socket),
                Err(error) => {
                    not_opened(source_port, &error, &mut self.refusals);
                    Port::Taken
                }
            };
        }
        match port {
            Port::Open(socket) => Some(socket),
            _ => None,
        }
    }

    /// The packets as the kernel sends them, but for what only it knows: identification, checksums,
    /// and the padding.
    #[cold]
    fn copy(&self, send: &Send, tapped: &mut Vec<Vec<u8>>) {
        let OuterFields { source, destination, source_port, traffic_class } = send.outer();
        let outer = Outer {
            source,
            destination,
            traffic_class,
            ttl: TTL,
            dont_fragment: true,
            identification: 0,
            flow_label: source_port.into(),
        };
        let shim = Shim::Gue { source_port, port: self.ports.destination };
        for datagram in send.datagrams() {
            let inner = datagram.get(gue::HEADER_LEN..).unwrap_or_default();
            let version = inner.first().map_or(0, |first| first >> 4);
            let mut room = [0; MAX_OUTER_LEN];
            if let Some(len) = encap::write(shim, &outer, version, [&[], inner], &mut room) {
                let header = room.get(room.len() - len..).unwrap_or_default();
                tapped.push([header, inner].concat());
            }
        }
    }
}

fn unused(ports: SourcePorts) -> Vec<Port> {
    ports.range().map(|_| Port::Unused).collect()
}

/// Repeats a call that a signal has interrupted.
fn again(mut act: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match act() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cold]
fn not_opened(source_port: u16, error: &io::Error, refusals: &mut RefusedSends) {
    if error.raw_os_error() == Some(libc::ENOPROTOOPT) {
        if !refusals.given_up() {
            log::warn!(
                "this kernel has no UDP_SEGMENT (Linux 4.18 and later do): packets in GUE are sent \
                 one by one"
            );
        }
        refusals.several = REFUSALS;
    } else {
        log::warn!(
            source_port;
            "could not use UDP port {source_port} for packets in GUE: {error}; those of its flows \
             are sent one by one; `gue_source_ports` names other ports"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::director::sent::{JoinedSends, SendError};

    /// A kernel that refuses `UDP_SEGMENT` takes single packets in between.
    #[test]
    fn eight_refusals_in_a_row_end_the_sends() {
        for (packets, others) in [(2, 1), (64, 1), (1, 2)] {
            let mut refusals = RefusedSends::default();
            for _ in 1..REFUSALS {
                assert!(!refusals.refused(packets));
                refusals.taken(others);
            }
            assert!(!refusals.given_up());
            let mut interrupted = refusals;
            interrupted.taken(packets);
            assert!(!interrupted.refused(packets) && !interrupted.given_up());
            assert!(refusals.refused(packets) && refusals.given_up());
            assert!(!refusals.refused(packets), "once");
        }
    }

    /// They are not lost without a count, whatever the ports are when they leave.
    #[test]
    fn packets_without_a_socket_are_counted() {
        let mut output = GueOutput::new(GuePorts::default());
        let mut send_log = SendLog::default();
        let (source, destination) = ([10, 0, 0, 1].into(), [10, 0, 0, 11].into());
        let fields = OuterFields { source, destination, source_port: 61_440, traffic_class: 0 };
        for flow in 0..3 {
            let packet = GuePacket::new(fields, flow, 4, [&[], &[0x45; 20]]).expect("a packet");
            assert_eq!(output.enter(&packet), Ok(()));
            send_log.sent.queued += 1;
        }
        let sources = SourcePorts::new(5_000, 5_000).expect("a port");
        output.set_ports(GuePorts { sources, ..GuePorts::default() });
        output.leave(0, &mut send_log, None);
        assert_eq!(send_log.sent.failed[SendError::NoPort as usize], 3);
        assert_eq!((send_log.sent.segments(), send_log.sent.joined), (0, JoinedSends::default()));
        assert!(output.is_empty());
    }
}
