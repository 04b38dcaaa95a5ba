//! The interfaces of this network namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

/// The addresses of this host, and its Ethernet interfaces.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HostInterfaces {
    /// The addresses of all interfaces.
    pub addresses: BTreeSet<IpAddr>,
    /// The names of interfaces whose frames have an Ethernet header, by their indexes.
    pub ethernets: BTreeMap<u32, String>,
}

/// Reads them.
///
/// # Errors
///
/// The kernel's.
pub fn ends() -> io::Result<HostInterfaces> {
    let mut list = std::ptr::null_mut();
    // SAFETY: the kernel's list is stored in `list`, and `freeifaddrs` frees it.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let (mut ends, mut next) = (HostInterfaces::default(), list);
    // SAFETY: each pointer is null or an entry of the list, which lives until it is freed.
    while let Some(entry) = unsafe { next.as_ref() } {
        next = entry.ifa_next;
        // SAFETY: each name is a C string that lives as long as the list.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) };
        // SAFETY: the address is null, or as long as its family says.
        match unsafe { address_of(entry.ifa_addr) } {
            Some(InterfaceAddress::Ip(address)) => drop(ends.addresses.insert(address)),
            Some(InterfaceAddress::Ethernet(index)) => {
                ends.ethernets.insert(index, name.to_string_lossy().into_owned());
            }
            None => {}
        }
    }
    // SAFETY: the list is from `getifaddrs` and is not used any more.
    unsafe { libc::freeifaddrs(list) };
    Ok(ends)
}

/// An address of an interface.
enum InterfaceAddress {
    Ip(IpAddr),
    /// The index of an Ethernet interface.
    Ethernet(u32),
}

/// # Safety
///
/// The pointer is null, or the address is as long as its family says.
unsafe fn address_of(at: *const libc::sockaddr) -> Option<InterfaceAddress> {
    // SAFETY: the caller's promise; every family's structure begins with the family.
    let family = i32::from(unsafe { at.as_ref() }?.sa_family);
    // SAFETY: the structures of these families, by the caller's promise; they need no alignment.
    unsafe {
        match family {
            libc::AF_INET => {
                let at = at.cast::<libc::sockaddr_in>().read_unaligned();
                Some(InterfaceAddress::Ip(Ipv4Addr::from(at.sin_addr.s_addr.to_ne_bytes()).into()))
            }
            libc::AF_INET6 => {
                let at = at.cast::<libc::sockaddr_in6>().read_unaligned();
                Some(InterfaceAddress::Ip(Ipv6Addr::from(at.sin6_addr.s6_addr).into()))
            }
            libc::AF_PACKET => {
                let at = at.cast::<libc::sockaddr_ll>().read_unaligned();
                let index = u32::try_from(at.sll_ifindex).ok()?;
                (at.sll_hatype == libc::ARPHRD_ETHER).then_some(InterfaceAddress::Ethernet(index))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_loopback_interface_is_the_first() {
        let names = super::names().expect("interfaces can be listed");
        assert_eq!(names.get(&1).map(String::as_str), Some("lo"));
    }

    #[test]
    fn this_host_has_the_loopback_address_and_the_loopback_is_no_ethernet() {
        let ends = super::ends().expect("addresses can be listed");
        assert!(ends.addresses.contains(&std::net::Ipv4Addr::LOCALHOST.into()));
        assert!(!ends.ethernets.values().any(|name| name == "lo"));
    }
}
