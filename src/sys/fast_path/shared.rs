//! The kernel's array maps, mapped into this process.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;

use aya::maps::{Map, MapData};

use crate::sys::memory::page_size;

/// An array map in this process's memory. Its elements are atomics, valid with any content.
#[derive(Debug)]
pub(super) struct Shared<T> {
    start: NonNull<T>,
    count: u32,
    /// The whole mapping in bytes.
    len: usize,
    /// Keeps the map.
    _map: MapData,
}

// SAFETY: the elements are atomics and constants, and the mapping is this value's own.
unsafe impl<T> Send for Shared<T> {}

impl<T> Shared<T> {
    /// Maps an array of `count` elements of `T`'s size.
    pub(super) fn of(map: Map, count: u32) -> io::Result<Self> {
        let Map::Array(map) = map else { return Err(crate::sys::ingress::missing("array")) };
        let element = size_of::<T>();
        let len = (count as usize * element).next_multiple_of(page_size());
        let start = map_memory(map.fd().as_fd(), len)?;
        Ok(Self { start: start.cast(), count, len, _map: map })
    }

    /// The element at an index.
    #[inline]
    pub(super) fn at(&self, index: u32) -> Option<&T> {
        // SAFETY: the index is within the mapping, which lives as long as `self`; its elements have
        // `T`'s size, are aligned (they begin on a page, and the size is a multiple of eight), and
        // are valid with any content. Both halves write them as atomics.
        (index < self.count).then(|| unsafe { self.start.add(index as usize).as_ref() })
    }

    /// How many elements there are.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// The map's descriptor.
    #[cfg(test)]
    pub(super) fn descriptor(&self) -> i32 {
        self._map.fd().as_fd().as_raw_fd()
    }
}

fn map_memory(map: BorrowedFd<'_>, len: usize) -> io::Result<NonNull<libc::c_void>> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping where the kernel chooses; it touches no other memory.
    let start = unsafe {
        libc::mmap(std::ptr::null_mut(), len, access, libc::MAP_SHARED, map.as_raw_fd(), 0)
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start).ok_or_else(io::Error::last_os_error)
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
