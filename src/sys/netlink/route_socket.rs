//! Many routes at once: a dump that keeps only matching routes, and batches of some hundred changes
//! in one system call.

use std::io;

use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

/// Bytes per read: the most that the kernel puts into one message of a dump.
const READ: usize = 32 << 10;
/// Receive buffer in bytes: it holds the errors of a full batch.
const BUFFER: usize = 1 << 20;
/// Requests per system call. The kernel may answer each with an error of some hundred bytes.
const BATCH: usize = 256;
/// Reads of a dump before the task yields to others on its thread.
const READS: usize = 16;

/// A change of one route.
#[derive(Clone, Debug)]
pub enum RouteRequest {
    /// Add it, or replace the route with the same key.
    Replace(RouteMessage),
    /// Remove it.
    Remove(RouteMessage),
}

/// A request that the kernel refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RefusedRequest {
    /// Its index in the list of requests.
    pub index: usize,
    /// The kernel's `errno`.
    pub errno: i32,
}

/// A netlink socket of its own for routes.
#[derive(Debug)]
pub(super) struct RouteSocket {
    socket: Socket,
    port: u32,
    sequence: u32,
    /// Whether an exchange was cancelled midway: the socket may still hold the rest of its answers.
    broken: bool,
}

impl RouteSocket {
    pub(super) fn open() -> io::Result<Self> {
        let (socket, port) = bound(0)?;
        Ok(Self { socket, port, sequence: 0, broken: false })
    }

    /// The port number that notifications of this socket's own changes carry.
    pub(super) fn port(&self) -> u32 {
        self.port
    }

    fn begin(&mut self) -> io::Result<u32> {
        if self.broken {
            // Closed first, so that its port number is free again.
            self.socket = Socket::new(NETLINK_ROUTE)?;
            self.socket = bound(self.port)?.0;
        }
        self.broken = true;
        self.sequence = self.sequence.wrapping_add(1);
        Ok(self.sequence)
    }

    /// Calls `each` with every route of a family, or with those that the request names: since Linux
    /// 4.20 the kernel leaves out routes of other tables and protocols.
    pub(super) async fn dump(
        &mut self,
        mut request: RouteMessage,
        mut each: impl FnMut(RouteMessage),
    ) -> io::Result<()> {
        let sequence = self.begin()?;
        // With strict checking this excludes cached routes with a learned path MTU.
        request.header.flags = rtnetlink::packet_route::route::RouteFlags::empty();
        let request = RouteNetlinkMessage::GetRoute(request);
        self.send(&message(request, NLM_F_REQUEST | NLM_F_DUMP, sequence))?;
        for reads in 1.. {
            for answer in self.read()? {
                if answer.header.sequence_number != sequence {
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) => {
                        each(route);
                    }
                    NetlinkPayload::Done(_) => {
                        self.broken = false;
                        return Ok(());
                    }
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        self.broken = false;
                        return Err(error.to_io());
                    }
                    _ => {}
                }
            }
            if reads % READS == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// Sends all changes in order and returns those that the kernel refused.
    pub(super) async fn change(
        &mut self,
        requests: &[RouteRequest],
    ) -> io::Result<Vec<RefusedRequest>> {
        let mut refused = Vec::new();
        for (number, batch) in requests.chunks(BATCH).enumerate() {
            self.change_batch(batch, number * BATCH, &mut refused)?;
            tokio::task::yield_now().await;
        }
        Ok(refused)
    }

    /// When the send returns, the kernel has processed the batch and queued its answers: one for
    /// each refused request, and one for the last.
    fn change_batch(
        &mut self,
        batch: &[RouteRequest],
        offset: usize,
        refused: &mut Vec<RefusedRequest>,
    ) -> io::Result<()> {
        let first = self.begin()?;
        let mut bytes = Vec::new();
        let mut last = first;
        for (index, request) in batch.iter().enumerate() {
            last = first.wrapping_add(u32::try_from(index).unwrap_or(u32::MAX));
            let ack = if index + 1 == batch.len() { NLM_F_ACK } else { 0 };
            let (request, flags) = match request {
                RouteRequest::Replace(route) => {
                    (RouteNetlinkMessage::NewRoute(route.clone()), NLM_F_CREATE | NLM_F_REPLACE)
                }
                RouteRequest::Remove(route) => (RouteNetlinkMessage::DelRoute(route.clone()), 0),
            };
            bytes.extend(message(request, NLM_F_REQUEST | flags | ack, last));
        }
        self.sequence = last;
        self.send(&bytes)?;
        loop {
            for answer in self.read()? {
                let index = answer.header.sequence_number.wrapping_sub(first);
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                let NetlinkPayload::Error(error) = answer.payload else { continue };
                if index >= batch.len() {
                    continue;
                }
                if let Some(code) = error.code {
                    refused.push(RefusedRequest { index: offset + index, errno: code.get().abs() });
                }
                if index + 1 == batch.len() {
                    self.broken = false;
                    return Ok(());
                }
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.socket.send(bytes, 0).map(drop)
    }

    /// The messages of one read. Messages that do not parse are left out.
    fn read(&self) -> io::Result<Vec<NetlinkMessage<RouteNetlinkMessage>>> {
        let mut buffer = Vec::with_capacity(READ);
        // The answers are already queued: without MSG_DONTWAIT a missing one would block for ever.
        self.socket.recv(&mut buffer, libc::MSG_DONTWAIT)?;
        let mut rest = buffer.as_slice();
        let mut messages = Vec::new();
        while let Some(len) = rest.first_chunk().map(|len| u32::from_ne_bytes(*len)) {
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            let Some(bytes) = rest.get(..len).filter(|bytes| bytes.len() >= size_of::<u32>())
            else {
                break;
            };
            messages.extend(NetlinkMessage::deserialize(bytes));
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(messages)
    }
}

/// Opens a socket with that port number; 0: the kernel chooses one.
fn bound(port: u32) -> io::Result<(Socket, u32)> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    let address = if port == 0 {
        socket.bind_auto()?
    } else {
        let address = SocketAddr::new(port, 0);
        socket.bind(&address)?;
        address
    };
    socket.connect(&SocketAddr::new(0, 0))?;
    // An older kernel without these options only costs time.
    let _ = socket.set_cap_ack(true);
    let _ = socket.set_netlink_get_strict_chk(true);
    socket.set_rx_buf_sz(libc::c_int::try_from(BUFFER).unwrap_or(libc::c_int::MAX))?;
    Ok((socket, address.port_number()))
}

fn message(request: RouteNetlinkMessage, flags: u16, sequence: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}
