//! Random numbers from the kernel, for hash keys.

use std::io;

/// Three random words.
///
/// # Errors
/// Those of `getrandom(2)`, which has none once the system has booted.
pub fn words() -> io::Result<[u64; 3]> {
    let mut words = [0u64; 3];
    let len = size_of_val(&words);
    // SAFETY: `words` is writable for `len` bytes, and any bytes are valid integers.
    let filled = unsafe { libc::getrandom(words.as_mut_ptr().cast(), len, 0) };
    if usize::try_from(filled) == Ok(len) { Ok(words) } else { Err(io::Error::last_os_error()) }
}
