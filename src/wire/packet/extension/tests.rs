#![allow(clippy::unwrap_used)]

use super::*;

const TCP: u8 = 6;
/// Six bytes of options: one PadN (RFC 8200 section 4.2).
const PADDED: [u8; 6] = [1, 4, 0, 0, 0, 0];
/// A routing header of type 2 (RFC 6275) at its end.
const ROUTED: [u8; 6] = [2, 0, 0, 0, 0, 0];

/// A header: its number, and what follows its first two bytes.
type Header<'a> = (u8, &'a [u8]);

/// The headers one after the other, and the first one's number; `last` follows them.
fn chain(headers: &[Header<'_>], last: u8) -> (u8, Vec<u8>) {
    let mut next = headers.iter().map(|(kind, _)| *kind).chain([last]);
    let first = next.next().unwrap();
    let bytes = headers.iter().zip(next).flat_map(|((kind, body), next)| {
        let len = if *kind == FRAGMENT { 0 } else { u8::try_from(body.len() / UNIT).unwrap() };
        [&[next, len], *body].concat()
    });
    (first, bytes.collect())
}

/// Walks the chain, with 40 more bytes after it.
fn walked(headers: &[Header<'_>], last: u8) -> Result<HeaderChain, ParseError> {
    let (first, bytes) = chain(headers, last);
    walk(first, &[&bytes[..], &[0xee; 40]].concat())
}

/// Protocol and length of a chain without a fragment header.
fn end(headers: &[Header<'_>]) -> Result<(u8, usize), ParseError> {
    walked(headers, TCP).map(|chain| {
        assert_eq!(chain.piece, None);
        (chain.protocol, chain.len)
    })
}

/// A fragment header's six bytes.
fn piece_of(offset: usize, more: bool) -> [u8; 6] {
    let [high, low] = (u16::try_from(offset).unwrap() | u16::from(more)).to_be_bytes();
    [high, low, 1, 2, 3, 4]
}

#[test]
fn the_numbers_that_no_transport_follows_at_once() {
    let extensions: Vec<u8> = (0..=u8::MAX).filter(|&number| is_extension(number)).collect();
    assert_eq!(extensions, [0, 43, 44, 51, 60, 135, 139, 140]);
}

#[test]
fn every_kind_in_every_order_is_walked_but_hop_by_hop_goes_first() {
    let kinds: [Header<'_>; 3] =
        [(HOP_BY_HOP, &PADDED), (DESTINATION_OPTIONS, &PADDED), (ROUTING, &ROUTED)];
    assert_eq!(end(&[]), Ok((TCP, 0)));
    for first in kinds {
        assert_eq!(end(&[first]), Ok((TCP, 8)), "{first:?}");
        for second in kinds {
            for third in kinds {
                let late = second.0 == HOP_BY_HOP || third.0 == HOP_BY_HOP;
                let expected = if late { Err(ParseError::ExtensionHeader) } else { Ok((TCP, 24)) };
                assert_eq!(
                    end(&[first, second, third]),
                    expected,
                    "{first:?} {second:?} {third:?}"
                );
            }
        }
    }
}

/// The headers of RFC 8200 section 4.1, in its order.
#[test]
fn the_chain_that_the_rfc_recommends() {
    let piece = piece_of(0, true);
    let headers: [Header<'_>; 5] = [
        (HOP_BY_HOP, &PADDED),
        (DESTINATION_OPTIONS, &PADDED),
        (ROUTING, &ROUTED),
        (FRAGMENT, &piece),
        (DESTINATION_OPTIONS, &PADDED),
    ];
    let piece = Piece { offset: 0, more: true };
    let expected = HeaderChain { protocol: TCP, len: 40, piece: Some((piece, 24)) };
    assert_eq!(walked(&headers, TCP), Ok(expected));
}

#[test]
fn eight_headers_and_not_nine() {
    let option: Header<'_> = (DESTINATION_OPTIONS, &PADDED);
    assert_eq!(end(&[option; MAX_HEADERS]), Ok((TCP, 64)));
    assert_eq!(end(&[option; MAX_HEADERS + 1]), Err(ParseError::ExtensionHeader));
    let headers = [option; MAX_HEADERS];
    assert_eq!(walked(&headers, 51), Err(ParseError::Unsupported), "the ninth is not even walked");
    assert_eq!(walked(&headers, 59).map(|chain| chain.protocol), Ok(59), "no next header");
}

#[test]
fn a_hundred_and_sixty_bytes_and_not_a_unit_more() {
    let of = |len: usize| [&[1, u8::try_from(len - 4).unwrap()], &vec![0; len - 4][..]].concat();
    for (first, second, fits) in [(160, 0, true), (168, 0, false), (80, 80, true), (88, 80, false)]
    {
        let bodies: Vec<_> = [first, second].into_iter().filter(|len| *len > 0).map(of).collect();
        let headers: Vec<Header<'_>> =
            bodies.iter().map(|body| (DESTINATION_OPTIONS, &body[..])).collect();
        let expected = if fits { Ok((TCP, MAX_LEN)) } else { Err(ParseError::ExtensionHeader) };
        assert_eq!(end(&headers), expected, "{first} + {second}");
    }
}

#[test]
fn options_are_walked_and_have_no_effect() {
    let rows: [(&str, &[u8]); 8] = [
        ("six times Pad1", &[0; 6]),
        ("PadN without data", &[1, 0, 1, 0, 1, 0]),
        ("PadN and Pad1", &[1, 3, 9, 9, 9, 0]),
        ("router alert (RFC 2711)", &[5, 2, 0, 0, 1, 0]),
        ("unknown, to be skipped", &[0x1e, 4, 0xc2, 0xc2, 0xc2, 0xc2]),
        ("unknown, to be dropped", &[0x5e, 4, 1, 2, 3, 4]),
        ("unknown, to be dropped and reported", &[0x9e, 4, 1, 2, 3, 4]),
        ("tunnel encapsulation limit (RFC 2473)", &[4, 1, 4, 1, 1, 0]),
    ];
    for kind in [HOP_BY_HOP, DESTINATION_OPTIONS] {
        for (name, options) in rows {
            assert_eq!(end(&[(kind, options)]), Ok((TCP, 8)), "{name} in {kind}");
        }
    }
}

#[test]
fn an_option_that_runs_out_of_its_header_is_malformed() {
    for kind in [HOP_BY_HOP, DESTINATION_OPTIONS] {
        for options in
            [[1, 5, 0, 0, 0, 0], [1, 2, 0, 0, 1, 1], [0, 0, 0, 0, 0, 1], [9, 255, 0, 0, 0, 0]]
        {
            assert_eq!(end(&[(kind, &options)]), Err(ParseError::Malformed), "{options:?}");
        }
        let behind_it = end(&[(kind, &[0, 0, 0, 0, 1, 1]), (DESTINATION_OPTIONS, &PADDED)]);
        assert_eq!(behind_it, Err(ParseError::Malformed), "the next header is no option's data");
    }
}

/// RFC 2675: the option is one of hop-by-hop options. Among destination options hosts do not accept
/// it, and its number then requires a drop (RFC 8200 section 4.2).
#[test]
fn a_jumbo_payload_is_refused_among_all_options() {
    let jumbo = [0xc2, 4, 0, 1, 0, 0];
    for kind in [HOP_BY_HOP, DESTINATION_OPTIONS] {
        assert_eq!(end(&[(kind, &jumbo)]), Err(ParseError::ExtensionHeader));
        let mut second = [&[1, 4, 0, 0, 0, 0, 1, 0][..], &jumbo].concat();
        assert_eq!(end(&[(kind, &second)]), Err(ParseError::ExtensionHeader));
        second[8] = 0x02;
        assert_eq!(end(&[(kind, &second)]), Ok((TCP, 16)), "an option of another number");
    }
}

/// RFC 2675 section 3: the payload length of a jumbogram is zero.
#[test]
fn hop_by_hop_options_with_a_payload_length_of_zero_are_a_jumbogram() {
    assert_eq!(walk(HOP_BY_HOP, &[]), Err(ParseError::ExtensionHeader));
    for other in [ROUTING, FRAGMENT, DESTINATION_OPTIONS] {
        assert_eq!(walk(other, &[]), Err(ParseError::Malformed), "{other}");
    }
}

/// RFC 8200 section 4.4, RFC 5095.
#[test]
fn a_route_that_has_been_followed_is_ignored_and_type_0_and_others_are_refused() {
    for kind in 0..=u8::MAX {
        let route = [kind, 0, 0, 0, 0, 0];
        let expected = if kind == 0 { Err(ParseError::SourceRoute) } else { Ok((TCP, 8)) };
        assert_eq!(end(&[(ROUTING, &route)]), expected, "type {kind}, at its end");
        for left in [1, 2, 255] {
            let route = [kind, left, 0, 0, 0, 0];
            let refused = end(&[(ROUTING, &route)]);
            assert_eq!(refused, Err(ParseError::SourceRoute), "type {kind}, {left} left");
        }
    }
    let after_options = end(&[(DESTINATION_OPTIONS, &PADDED), (ROUTING, &[3, 1, 0, 0, 0, 0])]);
    assert_eq!(after_options, Err(ParseError::SourceRoute));
}

#[test]
fn headers_that_are_not_walked_are_unsupported_wherever_they_stand() {
    for kind in [51, 135, 139, 140] {
        assert_eq!(walk(kind, &[]), Err(ParseError::Unsupported), "{kind}");
        let later = walked(&[(HOP_BY_HOP, &PADDED), (ROUTING, &ROUTED)], kind);
        assert_eq!(later, Err(ParseError::Unsupported), "{kind}");
        let first = walked(&[(FRAGMENT, &piece_of(0, true))], kind);
        assert_eq!(first, Err(ParseError::Unsupported), "{kind} in a first fragment");
    }
    for other in [4, 17, 41, 50, 58, 59, 132, 253, 255] {
        let chain = walked(&[(DESTINATION_OPTIONS, &PADDED)], other).unwrap();
        assert_eq!((chain.protocol, chain.len), (other, 8), "not a header to be walked");
    }
}

#[test]
fn the_fragment_header_has_the_offset_and_whether_more_follow() {
    for (offset, more) in [(0, false), (0, true), (8, true), (1_480, false), (65_528, true)] {
        let piece = piece_of(offset, more);
        let headers: [Header<'_>; 2] = [(HOP_BY_HOP, &PADDED), (FRAGMENT, &piece)];
        let expected =
            HeaderChain { protocol: TCP, len: 16, piece: Some((Piece { offset, more }, 8)) };
        assert_eq!(walked(&headers, TCP), Ok(expected), "{offset} {more}");
    }
    let reserved = [0, 0b110, 0, 0, 0, 0];
    let piece = walked(&[(FRAGMENT, &reserved)], TCP).unwrap().piece;
    assert_eq!(piece, Some((Piece { offset: 0, more: false }, 0)), "reserved bits are ignored");
}

#[test]
fn a_later_fragment_is_not_walked_past_its_fragment_header() {
    for next in 0..=u8::MAX {
        let chain = walked(&[(FRAGMENT, &piece_of(8, false))], next).unwrap();
        assert_eq!((chain.protocol, chain.len), (next, 8), "{next}");
    }
}

#[test]
fn fragments_of_fragments_are_refused() {
    let (atomic, first) = (piece_of(0, false), piece_of(0, true));
    for outer in [atomic, first] {
        for inner in [atomic, first, piece_of(8, true)] {
            let nested = end(&[(FRAGMENT, &outer), (FRAGMENT, &inner)]);
            assert_eq!(nested, Err(ParseError::ExtensionHeader));
        }
        let between =
            end(&[(FRAGMENT, &outer), (DESTINATION_OPTIONS, &PADDED), (FRAGMENT, &atomic)]);
        assert_eq!(between, Err(ParseError::ExtensionHeader));
        let late = end(&[(FRAGMENT, &outer), (HOP_BY_HOP, &PADDED)]);
        assert_eq!(late, Err(ParseError::ExtensionHeader), "hop-by-hop options are not cut up");
    }
}

/// RFC 7112 for a first fragment; for a whole packet nothing else makes sense.
#[test]
fn a_chain_cut_at_any_byte_is_malformed() {
    let piece = piece_of(0, true);
    let long = [&[1, 20][..], &[0; 20]].concat();
    let headers: [Header<'_>; 4] = [
        (HOP_BY_HOP, &PADDED),
        (ROUTING, &ROUTED),
        (FRAGMENT, &piece),
        (DESTINATION_OPTIONS, &long),
    ];
    let (first, bytes) = chain(&headers, TCP);
    assert_eq!(walk(first, &bytes).map(|chain| chain.len), Ok(48));
    for len in 1..bytes.len() {
        assert_eq!(walk(first, &bytes[..len]), Err(ParseError::Malformed), "{len} bytes");
    }
}
