//! Fragments of a packet, valid and invalid ones.
#![allow(clippy::unwrap_used)]

use std::ops::Range;

/// The fragment with these bytes of a packet's data (RFC 791 section 3.2, RFC 8200 section 4.5).
/// The packet has no IP options or extension headers; bytes past its end are zero.
pub(crate) fn piece(whole: &[u8], identification: u32, data: Range<usize>, more: bool) -> Vec<u8> {
    let offset = u16::try_from(data.start).unwrap();
    assert!(offset.is_multiple_of(8));
    let is_v4 = whole[0] >> 4 == 4;
    let (header, all) = whole.split_at(if is_v4 { 20 } else { 40 });
    let data: Vec<u8> = data.map(|at| all.get(at).copied().unwrap_or_default()).collect();
    let mut header = header.to_vec();
    if is_v4 {
        let length = u16::try_from(20 + data.len()).unwrap();
        let [_, _, id @ ..] = identification.to_be_bytes();
        header[2..4].copy_from_slice(&length.to_be_bytes());
        header[4..6].copy_from_slice(&id);
        header[6..8].copy_from_slice(&(offset / 8 + (u16::from(more) << 13)).to_be_bytes());
        header[10..12].fill(0);
        let check = checksum(&header);
        header[10..12].copy_from_slice(&check.to_be_bytes());
    } else {
        let length = u16::try_from(8 + data.len()).unwrap();
        let next = std::mem::replace(&mut header[6], 44);
        header[4..6].copy_from_slice(&length.to_be_bytes());
        header.extend([next, 0]);
        header.extend((offset | u16::from(more)).to_be_bytes());
        header.extend(identification.to_be_bytes());
    }
    [header, data].concat()
}

/// The whole packet in fragments, cut at these offsets of its data.
pub(crate) fn cut(whole: &[u8], identification: u32, cuts: &[usize]) -> Vec<Vec<u8>> {
    let len = whole.len() - if whole[0] >> 4 == 4 { 20 } else { 40 };
    let starts = std::iter::once(0).chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain([len]);
    starts
        .zip(ends)
        .map(|(start, end)| piece(whole, identification, start..end, end < len))
        .collect()
}

/// The checksum as RFC 1071 describes it.
fn checksum(header: &[u8]) -> u16 {
    let mut sum: u32 =
        header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
