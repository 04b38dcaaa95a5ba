//! Control messages (RFC 3542 section 4) as `recvmsg` and `recvmmsg` fill them in.

/// A type for which all bit patterns are valid.
///
/// # Safety
/// The type has no invalid bit patterns and no padding that matters: integers and C structs of
/// integers.
pub(super) unsafe trait Plain: Copy {}

// SAFETY: an integer.
unsafe impl Plain for libc::c_int {}
// SAFETY: an integer.
unsafe impl Plain for u8 {}
// SAFETY: a C struct of integers.
unsafe impl Plain for libc::sock_extended_err {}

/// The value of the first control message of that level and type; `None` if there is none or it is
/// shorter.
///
/// `header` must be as the kernel left it: its control buffer holds `msg_controllen` bytes of
/// messages.
pub(super) fn find<T: Plain>(header: &libc::msghdr, level: i32, kind: i32) -> Option<T> {
    // SAFETY: the caller's header names a control buffer of the length that it says, or none.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: the macro only computes.
    let wanted = unsafe { libc::CMSG_LEN(u32::try_from(size_of::<T>()).unwrap_or(u32::MAX)) };
    while !message.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give null or a whole header within the control
        // buffer.
        let (at, of, len) =
            unsafe { ((*message).cmsg_level, (*message).cmsg_type, (*message).cmsg_len) };
        let enough = u32::try_from(len).is_ok_and(|len| len >= wanted);
        if (at, of) == (level, kind) && enough {
            // SAFETY: the message is long enough for the value, which has no invalid bits; it may
            // lie at any alignment.
            return Some(unsafe { libc::CMSG_DATA(message).cast::<T>().read_unaligned() });
        }
        // SAFETY: as for CMSG_FIRSTHDR; `message` lies in that buffer.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    None
}
