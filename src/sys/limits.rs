//! How many files the process may have open.

use std::io;

/// Raises the soft limit of open files to the hard limit, and returns it.
///
/// # Errors
/// The kernel does not report the limit.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is alive and of the type that the call writes.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is alive and of the type that the call reads.
    let raised = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } == 0;
    Ok(if raised { limit.rlim_max } else { before })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_limit_is_what_it_was_or_higher() {
        let first = super::raise_open_files().expect("a process may ask");
        assert!(first >= 64, "{first}");
        assert_eq!(super::raise_open_files().expect("a process may ask"), first);
    }
}
