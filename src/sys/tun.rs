//! The TUN device: frames with a 10-byte virtio-net header in front, with and without offload.

use std::fs::OpenOptions;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;

use tun_rs::{DeviceBuilder, SyncDevice};

/// Length of the virtio-net header in front of every frame.
pub const VIRTIO_HEADER_LEN: usize = 10;

/// The longest frame; a shorter read buffer would truncate it silently.
pub const MAX_FRAME_LEN: usize = VIRTIO_HEADER_LEN + 65_535;

/// Packets that the device queues for the daemon before the kernel drops: more than one full burst.
/// Small packets fill the default of 500 in a millisecond.
const QUEUE_LEN: u32 = 4_096;

/// Packets that the kernel has dropped at a device since it was created.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Dropped {
    /// From the kernel to the program: the program's queue was full.
    pub to_program: u64,
    /// From the program to the kernel: its backlog was full, or it could not accept them.
    pub from_program: u64,
}

/// Reads the drop counters of the device of that name in this thread's network namespace.
///
/// # Errors
/// `NotFound` if there is no such device; errors of reading `/proc/thread-self/net/dev`.
pub fn dropped(name: &str) -> io::Result<Dropped> {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev")?;
    let line =
        table.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':'));
    line.and_then(drops_of).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Eight counters of received frames (from the program), then eight of sent frames (to the
/// program). The fourth of each is the drops.
fn drops_of(figures: &str) -> Option<Dropped> {
    let mut figures = figures.split_ascii_whitespace().map(str::parse);
    let from_program = figures.nth(3)?.ok()?;
    Some(Dropped { from_program, to_program: figures.nth(7)?.ok()? })
}

/// A TUN device, non-blocking, removed when dropped.
pub struct Tun {
    device: SyncDevice,
    name: String,
    offload: bool,
}

impl std::fmt::Debug for Tun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tun")
            .field("fd", &self.as_raw_fd())
            .field("name", &self.name)
            .field("offload", &self.offload)
            .finish()
    }
}

/// The device that makes TUN devices.
const DEVICE: &str = "/dev/net/tun";

/// Whether the device that makes TUN devices can be opened, or made by [`Tun::create`].
///
/// # Errors
/// Those of opening it.
pub fn available() -> io::Result<()> {
    match OpenOptions::new().read(true).write(true).open(DEVICE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && may_be_made() => Ok(()),
        opened => opened.map(drop),
    }
}

/// Whether this user may write to the folder of the device, or to the one that it would be made in.
fn may_be_made() -> bool {
    let folder = if Path::new("/dev/net").exists() { c"/dev/net" } else { c"/dev" };
    // SAFETY: access(2) reads the string, which ends with a zero and lives forever.
    unsafe { libc::access(folder.as_ptr(), libc::W_OK) == 0 }
}

impl Tun {
    /// Creates the device and leaves it down, so that nothing is sent into it before it is set up.
    /// With `offload` the kernel passes and accepts super-frames of up to 64 KB and leaves
    /// checksums to be completed; without, each frame is one wire packet.
    ///
    /// # Errors
    /// Errors of `/dev/net/tun` and its ioctls: `ENOENT`, `EPERM`, `EBUSY` for a name in use.
    /// `EINVAL` or the like, or `Unsupported`, if the kernel refuses `offload`: the caller may then
    /// create the device without.
    pub fn create(name: &str, mtu: u16, offload: bool) -> io::Result<Self> {
        let device = DeviceBuilder::new()
            .name(name)
            .mtu(mtu)
            .enable(false)
            .with(|builder| {
                builder.offload(offload).packet_information(false);
            })
            .build_sync()?;
        // Linux ignores unknown flags, so check that it has set this one.
        if offload && !has_virtio_header(&device)? {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "no virtio-net header"));
        }
        device.set_nonblocking(true)?;
        // This ioctl needs rights in the initial user namespace; without them the default stays.
        if let Err(error) = device.set_tx_queue_len(QUEUE_LEN)
            && error.kind() != io::ErrorKind::PermissionDenied
        {
            return Err(error);
        }
        Ok(Self { device, name: name.to_owned(), offload })
    }

    /// Reads one frame into `buffer`, which should have [`MAX_FRAME_LEN`] bytes; returns its
    /// length.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; `EBADFD` if the device was deleted.
    #[inline]
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.offload {
            return read(&self.device, buffer);
        }
        let (header, packet) = split(buffer)?;
        let len = read(&self.device, packet)?;
        header.fill(0);
        Ok(VIRTIO_HEADER_LEN + len)
    }

    /// Writes one frame.
    ///
    /// # Errors
    /// `EIO` if the device is down, `EBADFD` if it was deleted, `EINVAL` for a header that the
    /// kernel does not accept.
    #[inline]
    pub fn write(&self, frame: &[u8]) -> io::Result<usize> {
        if self.offload {
            return self.device.send(frame);
        }
        let packet = frame.get(VIRTIO_HEADER_LEN..).ok_or(io::ErrorKind::InvalidInput)?;
        self.device.send(packet)
    }

    /// Writes one frame that lies in several parts. The first begins with the virtio-net header;
    /// for devices without offload it is nothing else.
    ///
    /// # Errors
    /// As [`Self::write`].
    #[inline]
    pub fn write_parts(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.offload {
            return self.device.send_vectored(parts);
        }
        match parts {
            [header, packet @ ..] if header.len() == VIRTIO_HEADER_LEN => {
                self.device.send_vectored(packet)
            }
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Whether it was created with offload.
    #[must_use]
    pub fn offload(&self) -> bool {
        self.offload
    }

    /// Its current name, or after it was deleted the name that it was created with. Costs a system
    /// call.
    #[must_use]
    pub fn name(&self) -> String {
        self.device.name().unwrap_or_else(|_| self.name.clone())
    }

    /// The interface's index.
    ///
    /// # Errors
    /// `ENODEV` if the device was deleted.
    pub fn index(&self) -> io::Result<u32> {
        self.device.if_index()
    }
}

/// Whether the device has `IFF_VNET_HDR`.
fn has_virtio_header(device: &impl AsRawFd) -> io::Result<bool> {
    // SAFETY: all-zero bytes are a valid value of this C struct: a name, and a union of integers
    // and pointers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // SAFETY: TUNGETIFF writes a whole `ifreq` to the given address.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNGETIFF, &raw mut request) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: TUNGETIFF fills in the name and the flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok(libc::c_int::from(flags) & libc::IFF_VNET_HDR != 0)
}

/// `read(2)` by its system call number. In a program with threads libc's function is a cancellation
/// point, whose bookkeeping was 1.5 % of a small packet's cost.
#[inline]
fn read(device: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `buffer` is writable for its length, and the kernel writes no more than that.
    let len = unsafe {
        libc::syscall(libc::SYS_read, device.as_raw_fd(), buffer.as_mut_ptr(), buffer.len())
    };
    usize::try_from(len).map_err(|_| io::Error::last_os_error())
}

fn split(buffer: &mut [u8]) -> io::Result<(&mut [u8], &mut [u8])> {
    buffer.split_at_mut_checked(VIRTIO_HEADER_LEN).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

impl AsRawFd for Tun {
    fn as_raw_fd(&self) -> RawFd {
        self.device.as_raw_fd()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_the_fourth_counters() {
        let figures = " 1 2 3 44 5 6 7 8 9 10 11 122 13 14 15 16";
        let expected = Dropped { from_program: 44, to_program: 122 };
        assert_eq!(drops_of(figures), Some(expected));
        assert_eq!(drops_of(" 1 2 3"), None);
        assert!(dropped("lo").is_ok());
        assert_eq!(dropped("l").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
