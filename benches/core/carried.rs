//! The fast path's program and its maps, by `BPF_PROG_TEST_RUN`: a system call and a packet of the
//! kernel's own around each run, as receipt and output are around a carried packet.

use vstun::sys::fast_path::{self, FlowKey, MapTunnelSpec, Maps};
use vstun::sys::ingress::IngressProgram;
use vstun::wire::checksum::Sum;
use vstun::wire::protocol;

use super::many::{MILLION, Random};
use super::packets::{CLIENT_PORT, Family, PORT};
use super::rows::Run;

const ETHERNET: usize = 14;
const TUNNEL: u32 = 1;
/// Where the header checksum is in IPv4.
const CHECKSUM: usize = ETHERNET + 10;

/// The program with this many flows entered. `None`, with a message: loading is not permitted.
fn carrying(flows: u32) -> Option<(IngressProgram, Maps)> {
    let loaded = fast_path::load(MILLION);
    let (program, mut maps) =
        loaded.inspect_err(|error| eprintln!("not measured: fast path: {error}")).ok()?;
    let (family, limit) = (Family::V4, 1_480);
    let (destination, source) = (family.real(0), family.director());
    maps.open(TUNNEL, &MapTunnelSpec { destination, source, interface: 1, limit });
    for number in 0..flows {
        assert!(maps.enter(number, &key(number), TUNNEL, 0, (0, 0)), "no room for {number}");
    }
    Some((program, maps))
}

fn key(number: u32) -> FlowKey {
    let (client, vip) = (Family::V4.client(number), Family::V4.vip());
    FlowKey::new(protocol::UDP, (client, CLIENT_PORT), (vip, PORT))
}

/// Datagrams of that many flows, in random order.
pub(crate) fn carry(flows: u32) -> Run {
    let Some((mut program, maps)) = carrying(flows) else { return Box::new(|_| ()) };
    let mut frame = [vec![0; ETHERNET], Family::V4.datagram(0)].concat();
    frame[12..ETHERNET].copy_from_slice(&[8, 0]);
    let (mut random, mut sent) = (Random(1), vec![0; 256]);
    Box::new(move |count| {
        for _ in 0..count {
            Family::V4.set_client(&mut frame[ETHERNET..], random.below(flows));
            frame[CHECKSUM..CHECKSUM + 2].fill(0);
            let check = Sum::of(&frame[ETHERNET..ETHERNET + 20]).checksum();
            frame[CHECKSUM..CHECKSUM + 2].copy_from_slice(&check.to_be_bytes());
            let (answer, _) = program.run(&frame, &mut sent).unwrap();
            assert_eq!(answer, fast_path::REDIRECT, "{:?}", maps.refused());
        }
    })
}

/// What the program costs a packet of a flow that is not carried, such as each of a short
/// connection, among a million that are. Only two system calls are made in all.
pub(crate) fn not_carried() -> Run {
    let Some((mut program, maps)) = carrying(MILLION - 1) else { return Box::new(|_| ()) };
    let mut frame = [vec![0; ETHERNET], Family::V4.segment(0, &[])].concat();
    frame[12..ETHERNET].copy_from_slice(&[8, 0]);
    let mut sent = vec![0; 256];
    Box::new(move |count| {
        let before = maps.refused().iter().sum::<u64>();
        program.run_often(u32::try_from(count).unwrap(), &frame, &mut sent).unwrap();
        assert_eq!(maps.refused().iter().sum::<u64>(), before + count);
    })
}

/// Entering a flow and forgetting it, among 900,000.
pub(crate) fn enter_and_forget() -> Run {
    const LASTING: u32 = 900_000;
    let Some((program, mut maps)) = carrying(LASTING) else { return Box::new(|_| ()) };
    let mut next = LASTING;
    Box::new(move |count| {
        let _program = &program;
        for _ in 0..count {
            maps.enter(next, &key(next), TUNNEL, 0, (0, 0));
            maps.forget(next);
            next = if next + 1 == MILLION { LASTING } else { next + 1 };
        }
    })
}
