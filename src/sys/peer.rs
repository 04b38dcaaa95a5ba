//! Credentials of a Unix socket's peer, and the groups of this system.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// The most supplementary groups that a process has (`NGROUPS_MAX` of limits.h).
const MAX_GROUPS: usize = 65_536;

/// The longest group database entry that is read, in bytes; it includes the member list.
const MAX_ENTRY: usize = 1 << 20;

/// The supplementary groups that the peer had when it connected (`SO_PEERGROUPS`, Linux 4.13).
///
/// # Errors
/// Those of `getsockopt(2)`.
pub fn groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups = vec![0u32; 64];
    loop {
        let mut len =
            libc::socklen_t::try_from(size_of_val(groups.as_slice())).map_err(io::Error::other)?;
        // SAFETY: `groups` is writable for `len` bytes, any bytes are valid integers, and `len`
        // outlives the call.
        let asked = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        let count = len as usize / size_of::<u32>();
        if asked == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // The kernel has written the length that it needs.
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() || count > MAX_GROUPS
        {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

/// The ID of the group with that name; `None` if there is none.
///
/// # Errors
/// Those of `getgrnam_r(3)`, when the group database cannot be read.
pub fn group(name: &str) -> io::Result<Option<u32>> {
    let name = CString::new(name)?;
    let mut room: Vec<libc::c_char> = vec![0; 1024];
    loop {
        // SAFETY: a group of zeros is valid: null pointers and the number 0. It is read only after
        // success.
        let mut group: libc::group = unsafe { std::mem::zeroed() };
        let mut found = ptr::null_mut();
        // SAFETY: `name` ends with a zero, `room` is writable for its length, and all pointers
        // outlive the call.
        let error = unsafe {
            libc::getgrnam_r(
                name.as_ptr(),
                &raw mut group,
                room.as_mut_ptr(),
                room.len(),
                &raw mut found,
            )
        };
        match error {
            0 => return Ok((!found.is_null()).then_some(group.gr_gid)),
            // getgrnam(3) lists these as "not found", beside a null pointer.
            libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM => return Ok(None),
            libc::ERANGE if room.len() < MAX_ENTRY => room.resize(room.len() * 2, 0),
            _ => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_peers_groups_are_our_own() {
        let (one, _other) = UnixStream::pair().unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
        let mut own: Vec<u32> =
            line.split_whitespace().map(|group| group.parse().unwrap()).collect();
        let mut asked = groups(one.as_fd()).unwrap();
        own.sort_unstable();
        asked.sort_unstable();
        assert_eq!(asked, own);
    }

    #[test]
    fn groups_are_found_by_name() {
        assert_eq!(group("root").unwrap(), Some(0));
        assert_eq!(group("no-such-group-here").unwrap(), None);
        assert!(group("a\0b").is_err());
    }
}
