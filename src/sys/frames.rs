//! Ethernet frames over an `AF_PACKET` socket.

use std::io::{self, Read};

use socket2::{Domain, SockAddr, SockFilter, Socket, Type};
use tokio::io::unix::AsyncFd;

/// The broadcast address.
pub(super) const BROADCAST: [u8; 6] = [0xff; 6];
/// Bytes of an Ethernet header.
pub(super) const HEADER: usize = 14;

/// A socket on one Ethernet interface for frames of one protocol.
#[derive(Debug)]
pub(super) struct FrameSocket(AsyncFd<Socket>);

impl FrameSocket {
    /// Opens a socket on the interface with that index. Needs a tokio runtime with IO and
    /// `CAP_NET_RAW`.
    pub(super) fn open(link: u32, ethertype: u16, filter: &[SockFilter]) -> io::Result<Self> {
        // Without a protocol it receives nothing until it is bound to interface and protocol.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        if !filter.is_empty() {
            socket.attach_filter(filter)?;
        }
        socket.bind(&address(link, ethertype)?)?;
        socket.set_nonblocking(true)?;
        // SAFETY: a `Socket` owns its descriptor, gives the same one each time, and `AsyncFd` owns
        // the `Socket`.
        unsafe { AsyncFd::register(socket) }.map(Self).map_err(io::Error::from)
    }

    /// Waits for a frame; the part that does not fit into the buffer is lost.
    pub(super) async fn receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
        loop {
            let mut ready = self.0.readable().await?;
            let read = ready.try_io(|socket| socket.get_ref().read(buffer));
            let Ok(length) = read else { continue };
            return Ok(buffer.get(..length?).unwrap_or_default());
        }
    }

    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.0.get_ref().send(frame).map(|_| ())
    }
}

pub(super) fn address(link: u32, ethertype: u16) -> io::Result<SockAddr> {
    let link = libc::c_int::try_from(link).map_err(io::Error::other)?;
    let family = libc::sa_family_t::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    let size = size_of::<libc::sockaddr_ll>().try_into().map_err(io::Error::other)?;
    // SAFETY: `try_init` gives zeroed storage of `sockaddr_storage`'s size and alignment, which
    // every `sockaddr_ll` fits in, and all of whose bit patterns are valid; the length set is that
    // of `sockaddr_ll`.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let ll = storage.cast::<libc::sockaddr_ll>();
            (*ll).sll_family = family;
            (*ll).sll_protocol = ethertype.to_be();
            (*ll).sll_ifindex = link;
            *length = size;
            Ok(())
        })?
    };
    Ok(address)
}
