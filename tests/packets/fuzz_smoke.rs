//! A short run of every fuzz target in an ordinary test: the same functions, mutations from a fixed
//! seed, no libFuzzer.

// Public in the fuzz crate, which is a library to its targets.
#[allow(unreachable_pub)]
#[path = "../../fuzz/src/bodies.rs"]
mod bodies;
#[allow(unreachable_pub)]
#[path = "../../fuzz/src/seeds.rs"]
mod seeds;

use bodies::Body;

const ROUNDS: usize = 4_000;

#[test]
fn frames_with_segmentation() {
    smoke("frames");
}

#[test]
fn fragments_in_any_order() {
    smoke("fragments");
}

#[test]
fn decapsulation() {
    smoke("decapsulation");
}

#[test]
fn merged_gue() {
    smoke("merged_gue");
}

#[test]
fn coalescing() {
    smoke("coalescing");
}

#[test]
fn icmp_quotes() {
    smoke("quotes");
}

#[test]
fn configuration_text() {
    smoke("configuration");
}

#[test]
fn recorded_files() {
    smoke("recordings");
}

/// The seeds themselves, then mutants of them.
fn smoke(target: &str) {
    let (_, body) = bodies::ALL.into_iter().find(|(name, _)| *name == target).expect("a target");
    let (_, seeds) = seeds::all().into_iter().find(|(name, _)| *name == target).expect("its seeds");
    for seed in &seeds {
        run(body, seed);
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..ROUNDS {
        let mut input = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut input, &mut random);
        }
        run(body, &input);
    }
}

/// A seed must not be refused by the first check.
#[test]
fn seeds_reach_the_far_ends() {
    use vstun::wire::{Packet, icmp, virtio};
    let of = |target: &str| {
        let (_, seeds) = seeds::all().into_iter().find(|(name, _)| *name == target).expect("it");
        seeds
    };
    for frame in of("frames") {
        let (offload, packet) = virtio::split_frame(&frame).expect("a frame");
        let packet = Packet::parse(packet).expect("a packet");
        if let virtio::Offload::Tcp { .. } | virtio::Offload::Udp { .. } = offload {
            vstun::wire::segment::SplitPlan::new(&packet, offload).expect("a super-frame");
        }
    }
    for batch in of("coalescing") {
        let mut coalescer = vstun::wire::coalesce::Coalescer::default();
        coalescer.sort(&bodies::batch(&batch));
        assert!(coalescer.groups().any(|group| group.count() == 4), "a merged frame");
    }
    let quotes = of("quotes");
    let named = |bytes: &&Vec<u8>| icmp::quote(&Packet::parse(bytes).expect("a packet")).is_some();
    assert_eq!(quotes.iter().filter(named).count(), 2 * 2 + 4, "all but the later fragment's");
    for file in of("recordings") {
        let mut reader = vstun::trace::reading::Reader::new(&file).expect("a recording");
        assert!(reader.next_packet().expect("a packet").is_some());
    }
    for text in of("configuration") {
        let text = std::str::from_utf8(&text).expect("text");
        let faults = (vstun::config::director(text).err(), vstun::config::realserver(text).err());
        assert!(faults.0.is_none() || faults.1.is_none(), "{faults:?}");
    }
}

/// A target fails by a panic; this adds the input to its message.
fn run(body: Body, input: &[u8]) {
    struct OnPanic<'a>(&'a [u8]);
    impl Drop for OnPanic<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("the input: {:02x?}", self.0);
            }
        }
    }
    let _on_panic = OnPanic(input);
    body(input);
}

fn mutate(input: &mut Vec<u8>, random: &mut Random) {
    const TELLING: [u8; 8] = [0, 1, 0x10, 0x40, 0x45, 0x7f, 0x80, 0xff];
    let at = random.below(input.len().max(1));
    match random.below(6) {
        0 => input.truncate(at),
        1 => input.insert(at.min(input.len()), random.byte()),
        2 => input.extend_from_within(at.min(input.len())..),
        choice => {
            // Mostly within the headers, whose bytes decide most.
            let at =
                if random.below(2) == 0 { at } else { random.below(64.min(input.len().max(1))) };
            let Some(byte) = input.get_mut(at) else { return };
            match choice {
                3 => *byte ^= 1 << random.below(8),
                4 => *byte = random.byte(),
                _ => *byte = TELLING[random.below(TELLING.len())],
            }
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 32).expect("32 bits fit") % bound
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }
}
