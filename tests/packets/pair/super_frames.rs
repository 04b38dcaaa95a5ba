//! Super-frames of the client, and segments that a real server's network card merges.

use super::*;

/// A real server's network card merges consecutive datagrams of one TCP stream: one datagram, the
/// inner lengths summed up, the inner checksum partial.
fn merged(pair: &Pair, datagrams: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let outer_len = pair.outer.header_len();
    let headers = outer_len + pair.inner.header_len() + 20;
    let mut whole = datagrams[0].1.clone();
    for (_, datagram) in &datagrams[1..] {
        match pair.outer {
            Family::V4 => {
                assert_eq!(datagram[4..6], [0, 0], "an id of zero");
                assert_eq!(datagram[6..9], whole[6..9], "DF and TTL as the first one's");
            }
            Family::V6 => {
                assert_eq!(datagram[..4], whole[..4], "the first one's flow label");
                assert_eq!(datagram[7], whole[7], "and hop limit");
            }
        }
        whole.extend_from_slice(&datagram[headers..]);
    }
    let flags = headers - 20 + 13;
    whole[flags] |= datagrams.last().unwrap().1[flags];
    set_length(&mut whole);
    set_length(&mut whole[outer_len..]);
    make_partial(&mut whole[outer_len..], 16);
    whole
}

#[test]
fn a_super_frame_arrives_as_the_segments_that_the_client_cut() {
    for mix in MIXES {
        let mut pair = Pair::new(mix);
        pair.send(pair.tcp(Flags::SYN));
        let sent = data(40_000);
        let size = usize::from(SEGMENT);
        let segment = |index: usize, flags| {
            let start = index * size;
            let sequence = 5_000 + u32::try_from(start).unwrap();
            // A sender's own segments have consecutive IDs.
            mix.0
                .tcp(flags)
                .sequence(sequence)
                .identification(u16::try_from(index).unwrap())
                .data(&sent[start..sent.len().min(start + size)])
        };
        let mut frame = pair.tcp(Flags::ACK | Flags::PSH).sequence(5_000).data(&sent).bytes();
        make_partial(&mut frame, 16);
        let offload = Offload::Tcp { segment: SEGMENT, start: pair.start() };
        let datagrams = pair.tunnelled(&frame, offload);
        assert_eq!(datagrams.len(), 29);
        for (index, (real, datagram)) in datagrams.into_iter().enumerate() {
            let delivered = pair.open(real, datagram).unwrap();
            let flags = if index == 28 { Flags::ACK | Flags::PSH } else { Flags::ACK };
            assert_eq!(delivered.packet, segment(index, flags).bytes(), "segment {index}");
            assert_eq!(delivered.header, virtio::Header::default());
        }
        let headers = mix.0.header_len() as u64 + 20;
        let real = &pair.director.snapshot().services[0].reals[0];
        assert_eq!((real.packets, real.bytes), (30, 40_000 + 30 * headers));
        pair.ends();
    }
}

#[test]
fn segments_that_the_network_card_merged_arrive_as_one_super_frame() {
    for mix in MIXES {
        let mut pair = Pair::new(mix);
        pair.send(pair.tcp(Flags::SYN));
        let sent = data(20 * usize::from(SEGMENT) + 7);
        let mut frame = pair.tcp(Flags::ACK | Flags::PSH).data(&sent).bytes();
        make_partial(&mut frame, 16);
        let offload = Offload::Tcp { segment: SEGMENT, start: pair.start() };
        let datagrams = pair.tunnelled(&frame, offload);
        let delivered = pair.open(datagrams[0].0, merged(&pair, &datagrams)).unwrap();
        let headers = mix.0.header_len() + 20;
        let expected = virtio::Header {
            flags: virtio::NEEDS_CSUM,
            gso_type: mix.0.pick(virtio::GSO_TCPV4, virtio::GSO_TCPV6),
            hdr_len: u16::try_from(headers).unwrap(),
            gso_size: SEGMENT,
            csum_start: pair.start(),
            csum_offset: 16,
        };
        assert_eq!(delivered.header, expected);
        assert_eq!(&delivered.packet[headers..], sent);
        assert_eq!(delivered.packet, frame, "the frame that the director had read");
        let again = split(&delivered.packet, offload);
        let outer_len = mix.1.header_len();
        let cut: Vec<_> =
            datagrams.iter().map(|(_, datagram)| datagram[outer_len..].to_vec()).collect();
        assert_eq!(again, cut, "and its segments are those that the card had merged");
        assert_eq!(pair.reals[&A].counters().super_packets, 1);
        pair.ends();
    }
}

/// Merging would lose the datagrams' boundaries. Over IPv4 differing IDs without DF prevent it,
/// over IPv6 differing hop limits.
#[test]
fn a_udp_super_frame_arrives_as_datagrams_that_no_card_merges() {
    for mix in MIXES {
        let mut pair = Pair::new(mix);
        let mut frame = mix.0.udp(53).data(&data(1_000)).bytes();
        make_partial(&mut frame, 6);
        let offload = Offload::Udp { segment: 300, start: pair.start() };
        let mut datagrams = pair.tunnelled(&frame, offload);
        let next = mix.0.udp(53).data(b"another").bytes();
        datagrams.extend(pair.tunnelled(&next, Offload::None));
        let telling = mix.1.pick(4..6, 7..8);
        let identities: std::collections::BTreeSet<_> =
            datagrams.iter().map(|(_, datagram)| datagram[telling.clone()].to_vec()).collect();
        assert_eq!(identities.len(), 5, "all differ");
        let mut received = Vec::new();
        for (real, datagram) in datagrams {
            if mix.1 == Family::V4 {
                assert_eq!(datagram[6..8], [0, 0], "neither DF nor a fragment");
            }
            let delivered = pair.open(real, datagram).unwrap();
            assert_eq!(delivered.header, virtio::Header::default());
            received.push(delivered.packet[mix.0.header_len() + 8..].to_vec());
        }
        assert_eq!(received.iter().map(Vec::len).collect::<Vec<_>>(), [300, 300, 300, 100, 7]);
        assert_eq!(received[..4].concat(), data(1_000));
        pair.ends();
    }
}
