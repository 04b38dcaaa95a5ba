//! The identity of this thread's network namespace and boot.

use std::os::fd::AsRawFd;
use std::{fs, io};

use socket2::{Domain, Socket, Type};

/// `SO_NETNS_COOKIE` of `<asm-generic/socket.h>`, not in every libc.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// Another one after each boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A text that identifies this network namespace across boots. The kernel's cookie (Linux 5.14) is
/// never reused; older kernels have only the namespace's inode, which may be.
///
/// # Errors
///
/// `/proc` is not mounted.
pub fn identity() -> io::Result<String> {
    let boot = fs::read_to_string(BOOT_ID).map_err(|error| {
        let text = format!(
            "cannot read {BOOT_ID}: {error}; vstun needs all of /proc (with systemd, no \
             `ProcSubset=pid`)"
        );
        io::Error::new(error.kind(), text)
    })?;
    let namespace = match cookie() {
        Ok(cookie) => format!("cookie {cookie}"),
        Err(_) => fs::read_link("/proc/thread-self/ns/net")?.to_string_lossy().into_owned(),
    };
    Ok(format!("{} {namespace}", boot.trim()))
}

fn cookie() -> io::Result<u64> {
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
    let mut cookie: u64 = 0;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).map_err(io::Error::other)?;
    // SAFETY: `cookie` and `length` live through the call, and `length` is the size of `cookie`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn one_namespace_has_one_identity() {
        let first = super::identity().expect("/proc is there");
        assert_eq!(first, super::identity().expect("still there"));
        assert!(first.len() > 36, "{first:?} holds a boot id and a namespace");
    }
}
