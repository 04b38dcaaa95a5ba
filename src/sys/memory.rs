//! How the kernel backs memory.

use std::io;
use std::ops::Range;

/// Asks for huge pages (madvise(2), `MADV_HUGEPAGE`) for this address range. A random read from a
/// large table then misses one cache less, that of the page tables.
///
/// # Errors
/// The kernel has no huge pages, or the range is not mapped.
pub fn prefer_huge_pages(addresses: Range<usize>) -> io::Result<()> {
    let page = page_size();
    let start = addresses.start.next_multiple_of(page);
    let len = addresses.end.saturating_sub(start) / page * page;
    // SAFETY: this advice changes neither the content of memory nor its mapping; the kernel checks
    // the addresses.
    let done = unsafe { libc::madvise(start as *mut libc::c_void, len, libc::MADV_HUGEPAGE) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

pub(super) fn page_size() -> usize {
    // SAFETY: sysconf has no preconditions.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).ok().filter(|size| size.is_power_of_two()).unwrap_or(4_096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_keeps_its_content_and_an_unmapped_range_is_refused() {
        let bytes = vec![7_u8; 8 << 20];
        let Range { start, end } = bytes.as_ptr_range();
        // A kernel without huge pages refuses; the content stays as it is.
        let _ = prefer_huge_pages(start as usize..end as usize);
        assert!(bytes.iter().all(|byte| *byte == 7));
        assert!(prefer_huge_pages(usize::MAX - (1 << 20)..usize::MAX).is_err());
    }
}
