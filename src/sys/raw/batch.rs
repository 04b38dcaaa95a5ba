//! Many packets in one `sendmmsg`, each of a header and a payload that lie in buffers of the caller's.

use std::io;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::os::fd::AsRawFd;

use super::Sender;

/// One packet: where its parts lie in the two buffers that [`Batch::flush`] is given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// Where the packet goes.
    pub destination: Ipv4Addr,
    /// Its first bytes, in the first buffer; may be empty.
    pub header: Range<usize>,
    /// The rest, in the second buffer; may be empty.
    pub payload: Range<usize>,
}

/// A queue of packets for one `sendmmsg`. Its arrays are made once.
#[derive(Debug)]
pub struct Batch {
    messages: Vec<Message>,
    capacity: usize,
    addresses: Vec<libc::sockaddr_in>,
    parts: Vec<[libc::iovec; 2]>,
    headers: Vec<libc::mmsghdr>,
}

// SAFETY: the raw pointers in `parts` and `headers` are written anew by each `flush` before the kernel reads
// them, point into memory that this value or the caller's borrow owns for that call, and are never read
// otherwise; so the value can be used from any one thread.
unsafe impl Send for Batch {}

impl Batch {
    /// A queue of at most `capacity` packets; the kernel takes no more than 1,024 at once.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        // SAFETY: all-zero bytes are valid values of these C structs: integers and null pointers.
        let (address, part, header) = unsafe {
            (
                std::mem::zeroed::<libc::sockaddr_in>(),
                [std::mem::zeroed::<libc::iovec>(); 2],
                std::mem::zeroed(),
            )
        };
        Self {
            messages: Vec::with_capacity(capacity),
            capacity,
            addresses: vec![address; capacity],
            parts: vec![part; capacity],
            headers: vec![header; capacity],
        }
    }

    /// How many packets are queued.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether none is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether no more fit.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.messages.len() >= self.capacity
    }

    /// Queues a packet; the caller flushes before the queue is full, a packet too many is not taken.
    #[inline]
    pub fn push(&mut self, message: Message) {
        if !self.is_full() {
            self.messages.push(message);
        }
    }

    /// Sends all that is queued and empties the queue. A packet that fails is told to `failed` and skipped, the
    /// rest goes on: `sendmmsg` reports an error only for the first packet of a call. Returns how many calls
    /// it took.
    pub fn flush(
        &mut self,
        sender: &Sender,
        headers: &[u8],
        payloads: &[u8],
        mut failed: impl FnMut(&Message, io::Error),
    ) -> usize {
        self.prepare(headers, payloads);
        let count = self.messages.len();
        let (mut done, mut calls) = (0, 0);
        while done < count {
            calls += 1;
            match self.send(sender, done, count) {
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

    /// Points the kernel's structs at the packets. A range that is not in its buffer becomes empty, which
    /// the kernel refuses as too short; pushing one is a bug of the caller.
    fn prepare(&mut self, headers: &[u8], payloads: &[u8]) {
        let address_len =
            libc::socklen_t::try_from(size_of::<libc::sockaddr_in>()).unwrap_or_default();
        let family = libc::sa_family_t::try_from(libc::AF_INET).unwrap_or_default();
        for (place, message) in self.messages.iter().enumerate() {
            let header = headers.get(message.header.clone()).unwrap_or_default();
            let payload = payloads.get(message.payload.clone()).unwrap_or_default();
            let address = &mut self.addresses[place];
            address.sin_family = family;
            address.sin_addr.s_addr = u32::from_ne_bytes(message.destination.octets());
            let parts = &mut self.parts[place];
            *parts = [part(header), part(payload)];
            // A packet in one piece is one part: half the work for the kernel's import of them.
            let used = if header.is_empty() { &mut parts[1..] } else { &mut parts[..] };
            let entry = &mut self.headers[place].msg_hdr;
            entry.msg_name = (&raw mut *address).cast();
            entry.msg_namelen = address_len;
            entry.msg_iov = used.as_mut_ptr();
            entry.msg_iovlen = used.len();
        }
    }

    fn send(&mut self, sender: &Sender, from: usize, to: usize) -> io::Result<usize> {
        let waiting = &mut self.headers[from..to];
        let count = libc::c_uint::try_from(waiting.len()).unwrap_or_default();
        // SAFETY: `waiting` holds `count` headers that `prepare` has pointed at addresses and parts of this
        // value and at bytes of the slices that `flush` still borrows.
        let sent = unsafe { libc::sendmmsg(sender.as_raw_fd(), waiting.as_mut_ptr(), count, 0) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

fn part(bytes: &[u8]) -> libc::iovec {
    // The kernel only reads what it sends; the struct is shared with the receiving calls, hence mutable.
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}
