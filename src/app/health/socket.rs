//! The probes' sockets: ordinary ones to a real server's own address; those to a virtual IP have a
//! port whose flow is pinned.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

use super::TakesChanges;
use super::pins::{FlowRefusal, Pins};
use super::trace::{CONNECTED, PINNED, Trace};
use crate::app::source_address;
use crate::balancer::{PROBE_HOPS, ProbeFlow};
use crate::health::{Patterns, PlannedCheck};
use crate::sys::disconnect::disconnect;
use crate::sys::random;

/// How many ports are tried until one is free: the kernel picks one of 28,000 at random, and each
/// check uses one.
const TRIES: usize = 32;

/// A check with a longer interval keeps no socket: it would save little.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// What a check keeps of a probe that has passed, for its next one.
#[derive(Debug)]
pub(super) struct KeptProbe {
    /// The pinned flow.
    pub(super) flow: ProbeFlow,
    /// Its TCP socket, which is not connected.
    pub(super) socket: Option<Socket>,
}

impl KeptProbe {
    fn flow(flow: ProbeFlow) -> Self {
        Self { flow, socket: None }
    }
}

/// The first data that this host sends on a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sends {
    /// Nothing, or only after the server's first data.
    Nothing,
    /// One request in one write.
    Request,
    /// The first of several messages.
    Messages,
}

/// The destination of a probe, and the flow of its check.
#[derive(Debug)]
pub(super) struct ProbeTarget<'a, B> {
    pub(super) check: &'a PlannedCheck,
    pub(super) pins: &'a Arc<Pins<B>>,
    /// The compiled regular expressions of the plan.
    pub(super) patterns: &'a Patterns,
    /// The pinned flow and its socket; kept for the next probe if this one passes.
    pub(super) kept: &'a mut Option<KeptProbe>,
    /// Whether the socket is bound to the number of its port, and so can keep it.
    pub(super) holds_port: bool,
    pub(super) trace: &'a Trace,
    /// The channel for a refusal of this probe, until it is registered for the flow.
    pub(super) refuses: Option<oneshot::Sender<FlowRefusal>>,
    /// Whether the real server's host has refused the probe.
    pub(super) refused: bool,
}

impl<B: TakesChanges> ProbeTarget<'_, B> {
    /// The destination of the probe.
    pub(super) fn destination(&self) -> SocketAddr {
        let destination = self.check.destination;
        SocketAddr::new(destination.address, destination.port)
    }

    /// A TCP connection. Dropping it resets it, so that its port can be used again at once.
    ///
    /// # Errors
    /// The reason as text.
    pub(super) async fn connect(&mut self, sends: Sends) -> Result<TcpStream, String> {
        if let Some(socket) = self.kept_socket() {
            match handshake(socket, self.destination(), sends).await {
                // It is bound to an address that is no longer this host's.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.leave(),
                connected => return self.connected(connected),
            }
        }
        let socket = self.open(Type::STREAM, Protocol::TCP).await?;
        // Avoids TIME_WAIT, which would block the port for a minute.
        socket.set_linger(Some(Duration::ZERO)).map_err(|error| local(&error))?;
        let connected = handshake(socket, self.destination(), sends).await;
        self.connected(connected)
    }

    fn connected(&mut self, stream: io::Result<TcpStream>) -> Result<TcpStream, String> {
        let stream = stream.map_err(|error| self.failed(&error))?;
        self.trace.step(CONNECTED);
        Ok(stream)
    }

    /// Releases the flow, even if this probe times out meanwhile.
    fn leave(&mut self) {
        self.holds_port = false;
        if let Some(kept) = self.kept.take() {
            self.pins.release_later(vec![kept.flow]);
        }
    }

    /// Resets the connection, and keeps its socket for the next probe if that is worth it: to make
    /// and bind another one costs more than the rest of a probe's system calls but `connect`.
    pub(super) fn keep(&mut self, stream: TcpStream) {
        let Some(kept) = self.kept.as_mut().filter(|_| self.holds_port) else { return };
        if self.check.spec.timing.interval > KEPT_FOR {
            return;
        }
        kept.socket =
            stream.into_std().ok().filter(|stream| disconnect(stream).is_ok()).map(Into::into);
    }

    /// The socket that the last probe left.
    fn kept_socket(&mut self) -> Option<Socket> {
        let kept = self.kept.as_mut()?;
        let socket = kept.socket.take()?;
        self.pins.set_receiver(kept.flow, self.refuses.take());
        self.holds_port = true;
        Some(socket)
    }

    /// The error as text. A reset, and of a datagram "port unreachable", come from the real
    /// server's host itself.
    pub(super) fn failed(&mut self, error: &io::Error) -> String {
        self.refused |= matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
        );
        describe(error)
    }

    /// A socket whose packets take the check's path.
    ///
    /// # Errors
    /// The reason as text.
    pub(super) async fn open(&mut self, kind: Type, protocol: Protocol) -> Result<Socket, String> {
        match self.check.is_tunnelled() {
            true => self.pinned(kind, protocol).await,
            false => open(self.destination(), kind, protocol).map_err(|error| local(&error)),
        }
    }

    /// The source and the identifier of an echo request whose flow is pinned to the real server.
    /// The check keeps its identifier while it passes.
    ///
    /// # Errors
    /// The reason as text.
    pub(super) async fn pinned_echo(&mut self) -> Result<(IpAddr, u16), String> {
        if let Some(flow) = self.kept.as_ref().map(|kept| kept.flow) {
            self.pins.set_receiver(flow, self.refuses.take());
            return Ok((flow.source, flow.source_port));
        }
        let destination = self.destination();
        let protocol = if destination.is_ipv4() { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
        for _ in 0..TRIES {
            let (source, source_port) = self.own_echo()?;
            let flow = ProbeFlow {
                protocol: u8::try_from(i32::from(protocol)).unwrap_or_default(),
                source,
                source_port,
                destination: destination.ip(),
                destination_port: 0,
            };
            if self.pins.reserve(flow) {
                *self.kept = Some(KeptProbe::flow(flow));
                self.pins.set_receiver(flow, self.refuses.take());
                self.pins.pin(flow, self.check.real, self.check.encap).await?;
                self.trace.step(PINNED);
                return Ok((source, source_port));
            }
        }
        Err("no free echo identifier on this host".to_owned())
    }

    /// The source and a random identifier for an echo request.
    ///
    /// # Errors
    /// The reason as text.
    pub(super) fn own_echo(&self) -> Result<(IpAddr, u16), String> {
        let source = source_address::towards(self.destination()).map_err(|error| local(&error))?;
        let [word] = random::words::<1>().map_err(|error| local(&error))?;
        Ok((source, u16::try_from(word & 0xffff).unwrap_or_default()))
    }

    /// A socket whose flow is pinned to the real server.
    async fn pinned(&mut self, kind: Type, protocol: Protocol) -> Result<Socket, String> {
        let destination = self.destination();
        if let Some(flow) = self.kept.as_ref().map(|kept| kept.flow) {
            let socket = own(destination, kind, protocol).map_err(|error| local(&error))?;
            let own = SocketAddr::new(flow.source, flow.source_port).into();
            // The previous probe's socket may not be closed yet.
            let bound = socket
                .bind(&own)
                .or_else(|_| socket.set_reuse_address(true).and_then(|()| socket.bind(&own)));
            if bound.is_ok() {
                self.pins.set_receiver(flow, self.refuses.take());
                self.holds_port = true;
                return Ok(socket);
            }
            self.leave();
        }
        let source = source_address::towards(destination).map_err(|error| local(&error))?;
        for _ in 0..TRIES {
            let socket = own(destination, kind, protocol).map_err(|error| local(&error))?;
            socket.bind(&SocketAddr::new(source, 0).into()).map_err(|error| local(&error))?;
            let bound = socket.local_addr().map_err(|error| local(&error))?.as_socket();
            let Some(bound) = bound else { break };
            let flow = ProbeFlow {
                protocol: u8::try_from(i32::from(protocol)).unwrap_or_default(),
                source,
                source_port: bound.port(),
                destination: destination.ip(),
                destination_port: destination.port(),
            };
            if !self.pins.reserve(flow) {
                continue;
            }
            *self.kept = Some(KeptProbe::flow(flow));
            self.pins.set_receiver(flow, self.refuses.take());
            self.pins.pin(flow, self.check.real, self.check.encap).await?;
            self.trace.step(PINNED);
            return Ok(socket);
        }
        Err("no free port on this host".to_owned())
    }
}

async fn handshake(socket: Socket, destination: SocketAddr, sends: Sends) -> io::Result<TcpStream> {
    let _ = match sends {
        Sends::Nothing => Ok(()),
        // The request acknowledges the handshake: a packet less through the tunnel.
        Sends::Request => socket.set_tcp_quickack(false),
        Sends::Messages => socket.set_tcp_nodelay(true),
    };
    TcpSocket::from_std_stream(socket.into()).connect(destination).await
}

fn open(destination: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    Socket::new(Domain::for_address(destination), kind.nonblocking(), Some(protocol))
}

/// A socket whose packets the balancer knows as the director's own.
fn own(destination: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = open(destination, kind, protocol)?;
    set_hops(&socket, destination.ip())?;
    Ok(socket)
}

pub(super) fn set_hops(socket: &Socket, destination: IpAddr) -> io::Result<()> {
    match destination {
        IpAddr::V4(_) => socket.set_ttl_v4(PROBE_HOPS.into()),
        IpAddr::V6(_) => socket.set_unicast_hops_v6(PROBE_HOPS.into()),
    }
}

/// The network error as text.
pub(super) fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        io::ErrorKind::TimedOut => "timed out".to_owned(),
        io::ErrorKind::UnexpectedEof => "connection closed".to_owned(),
        _ => error.to_string(),
    }
}

/// The local error as text.
fn local(error: &io::Error) -> String {
    format!("this host: {}", describe(error))
}
