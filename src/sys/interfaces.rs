//! The interfaces of this network namespace.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io;

/// The names of all interfaces by their indexes.
///
/// # Errors
///
/// The kernel's.
pub fn names() -> io::Result<BTreeMap<u32, String>> {
    // SAFETY: no argument; the result is null, or a list that `if_freenameindex` frees.
    let list = unsafe { libc::if_nameindex() };
    if list.is_null() {
        return Err(io::Error::last_os_error());
    }
    let mut names = BTreeMap::new();
    let mut next = list;
    loop {
        // SAFETY: `next` points into the list, which ends with an entry that has no name.
        let entry = unsafe { &*next };
        if entry.if_name.is_null() {
            break;
        }
        // SAFETY: each name is a C string that lives as long as the list.
        let name = unsafe { CStr::from_ptr(entry.if_name) };
        names.insert(entry.if_index, name.to_string_lossy().into_owned());
        // SAFETY: this entry is not the last one.
        next = unsafe { next.add(1) };
    }
    // SAFETY: `list` is from `if_nameindex` and is not used any more.
    unsafe { libc::if_freenameindex(list) };
    Ok(names)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_loopback_interface_is_the_first() {
        let names = super::names().expect("interfaces can be listed");
        assert_eq!(names.get(&1).map(String::as_str), Some("lo"));
    }
}
