//! Random numbers from the kernel, for hash keys.

use std::io;

/// `N` random words.
///
/// # Errors
/// Those of `getrandom(2)`, which does not fail once the system has booted.
pub fn words<const N: usize>() -> io::Result<[u64; N]> {
    let mut words = [0u64; N];
    let len = size_of_val(&words);
    // SAFETY: `words` is writable for `len` bytes, and any bytes are valid integers.
    let filled = unsafe { libc::getrandom(words.as_mut_ptr().cast(), len, 0) };
    if usize::try_from(filled) == Ok(len) { Ok(words) } else { Err(io::Error::last_os_error()) }
}
