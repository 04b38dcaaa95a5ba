//! Many packets in one `sendmmsg`. Each packet is a header and a payload in the caller's buffers.

use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::os::fd::AsRawFd;

use socket2::Socket;

use super::Sender;

/// One packet, as ranges of the two buffers given to [`SendBatch::flush`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BatchMessage {
    /// The destination; of the same family as the packet's IP header.
    pub destination: IpAddr,
    /// Its first bytes, in the first buffer; may be empty.
    pub header: Range<usize>,
    /// The rest, in the second buffer; may be empty.
    pub payload: Range<usize>,
    /// The caller's number of the packet that this is a fragment of; 0: it is whole.
    pub fragment_of: u64,
}

/// A queue of packets, sent with one `sendmmsg` per family. Its arrays are allocated once.
#[derive(Debug)]
pub struct SendBatch {
    v4: FamilyQueue,
    v6: FamilyQueue,
    capacity: usize,
}

impl SendBatch {
    /// A queue of at most `capacity` packets; the kernel sends at most 1,024 per call.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { v4: FamilyQueue::new(capacity), v6: FamilyQueue::new(capacity), capacity }
    }

    /// How many packets are queued.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.messages.len() + self.v6.messages.len()
    }

    /// Whether none is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the queue is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() >= self.capacity
    }

    /// Queues a packet. The caller flushes before the queue is full; a packet beyond its capacity
    /// is ignored.
    #[inline]
    pub fn push(&mut self, message: BatchMessage) {
        if !self.is_full() {
            let queue = if message.destination.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
            queue.messages.push(message);
        }
    }

    /// The queued packets: first those to IPv4 destinations, then those to IPv6 ones.
    pub fn messages(&self) -> impl Iterator<Item = &BatchMessage> {
        self.v4.messages.iter().chain(&self.v6.messages)
    }

    /// Sends all queued packets and empties the queue. A packet that fails is reported to `failed`
    /// and skipped, and the rest is sent: `sendmmsg` reports an error only for the first packet of
    /// a call. Returns the number of calls.
    pub fn flush(
        &mut self,
        sender: &Sender,
        headers: &[u8],
        payloads: &[u8],
        mut failed: impl FnMut(&BatchMessage, io::Error),
    ) -> usize {
        let v4 = self.v4.flush(Some(&sender.v4), headers, payloads, &mut failed);
        v4 + self.v6.flush(sender.v6.as_ref(), headers, payloads, &mut failed)
    }
}

/// The queue of one family.
struct FamilyQueue {
    messages: Vec<BatchMessage>,
    addresses: Vec<SocketAddress>,
    parts: Vec<[libc::iovec; 2]>,
    headers: Vec<libc::mmsghdr>,
}

/// A socket address of either family, zeroed at first.
#[derive(Clone, Copy)]
#[repr(C)]
union SocketAddress {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

// SAFETY: the raw pointers in `parts` and `headers` are written anew by each `flush` before the
// kernel reads them, point into memory that this value or the caller's borrow owns for that call,
// and are never read otherwise; so the value can be used from any one thread.
unsafe impl Send for FamilyQueue {}

impl std::fmt::Debug for FamilyQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("messages", &self.messages).finish_non_exhaustive()
    }
}

impl FamilyQueue {
    fn new(capacity: usize) -> Self {
        // SAFETY: all-zero bytes are valid values of these C structs: integers and null pointers.
        let (address, part, header) = unsafe {
            (
                std::mem::zeroed::<SocketAddress>(),
                [std::mem::zeroed::<libc::iovec>(); 2],
                std::mem::zeroed(),
            )
        };
        Self {
            messages: Vec::with_capacity(capacity),
            addresses: vec![address; capacity],
            parts: vec![part; capacity],
            headers: vec![header; capacity],
        }
    }

    fn flush(
        &mut self,
        socket: Option<&Socket>,
        headers: &[u8],
        payloads: &[u8],
        failed: &mut impl FnMut(&BatchMessage, io::Error),
    ) -> usize {
        let count = self.messages.len();
        if count == 0 {
            return 0;
        }
        self.prepare(headers, payloads);
        let (mut done, mut calls) = (0, 0);
        while done < count {
            calls += 1;
            match self.send(socket, done, count) {
                Ok(sent) => done += sent.max(1),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    failed(&self.messages[done], error);
                    done += 1;
                }
            }
        }
        self.messages.clear();
        calls
    }

    /// Points the kernel's structs at the packets. A range outside its buffer, which is a bug of
    /// the caller, becomes empty, and the kernel refuses the packet as too short.
    fn prepare(&mut self, headers: &[u8], payloads: &[u8]) {
        for (index, message) in self.messages.iter().enumerate() {
            let header = headers.get(message.header.clone()).unwrap_or_default();
            let payload = payloads.get(message.payload.clone()).unwrap_or_default();
            let address = &mut self.addresses[index];
            let address_len = address.set(message.destination);
            let parts = &mut self.parts[index];
            *parts = [part(header), part(payload)];
            // A packet without a header is one part, which is less work for the kernel.
            let used = if header.is_empty() { &mut parts[1..] } else { &mut parts[..] };
            let entry = &mut self.headers[index].msg_hdr;
            entry.msg_name = (&raw mut *address).cast();
            entry.msg_namelen = address_len;
            entry.msg_iov = used.as_mut_ptr();
            entry.msg_iovlen = used.len();
        }
    }

    /// Without a socket of the family every packet fails as on a kernel without that family.
    fn send(&mut self, socket: Option<&Socket>, from: usize, to: usize) -> io::Result<usize> {
        let socket = socket.ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))?;
        let waiting = &mut self.headers[from..to];
        let count = libc::c_uint::try_from(waiting.len()).unwrap_or_default();
        // SAFETY: `waiting` holds `count` headers that `prepare` has pointed at addresses and parts
        // of this value and at bytes of the slices that `flush` still borrows.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), waiting.as_mut_ptr(), count, 0) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

impl SocketAddress {
    /// Sets the address and returns its length. The port stays zero: a raw socket would interpret
    /// it as a protocol.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // small constants
    fn set(&mut self, destination: IpAddr) -> libc::socklen_t {
        match destination {
            IpAddr::V4(destination) => {
                // SAFETY: any bytes are a valid sockaddr_in, all of them integers.
                let address = unsafe { &mut self.v4 };
                address.sin_family = libc::AF_INET as libc::sa_family_t;
                address.sin_addr.s_addr = u32::from_ne_bytes(destination.octets());
                size_of::<libc::sockaddr_in>() as libc::socklen_t
            }
            IpAddr::V6(destination) => {
                // SAFETY: any bytes are a valid sockaddr_in6, all of them integers.
                let address = unsafe { &mut self.v6 };
                address.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                address.sin6_addr.s6_addr = destination.octets();
                size_of::<libc::sockaddr_in6>() as libc::socklen_t
            }
        }
    }
}

fn part(bytes: &[u8]) -> libc::iovec {
    // Sending only reads the bytes; the struct has a mutable pointer since receiving shares it.
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}
