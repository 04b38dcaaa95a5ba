//! Copies of the packets that come out of a TUN, over an `AF_PACKET` socket.

use std::io::{self, Read};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::frames::address;

/// `ETH_P_ALL` of linux/if_ether.h.
const ALL: u16 = 3;

/// The packets of one interface.
#[derive(Debug)]
pub struct TunPackets(Socket);

impl TunPackets {
    /// Opens a socket on the interface with that index.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`; `ENODEV` without the interface.
    pub fn open(index: u32) -> io::Result<Self> {
        // Without a protocol it receives nothing until it is bound.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
        socket.bind(&address(index, ALL)?)?;
        Ok(Self(socket))
    }

    /// Waits for a packet, at most this long; the part that does not fit into the buffer is lost.
    /// `None`: none came.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn next<'a>(
        &mut self,
        wait: Duration,
        buffer: &'a mut [u8],
    ) -> io::Result<Option<&'a [u8]>> {
        // Zero would wait without end.
        self.0.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
        match self.0.read(buffer) {
            Ok(length) => Ok(buffer.get(..length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(error),
        }
    }
}
