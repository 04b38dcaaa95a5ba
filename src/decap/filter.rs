//! A program of classic BPF that refuses strangers' packets in the kernel, before they are queued.
//!
//! The kernel runs it for each packet of a socket. For a raw IPv4 socket the packet starts at the
//! IPv4 header, for a raw IPv6 socket at the payload, for a UDP socket at the UDP header. So the
//! program reads the source by an offset from the network header (`SKF_NET_OFF`). The program
//! searches the sorted ranges of directors, word by word of the address. The gate judges all
//! packets that pass.
//!
//! The kernel counts no packet that a socket's filter refuses. So the program lets one stranger's
//! packet in [`SAMPLE`] pass, at random, and the gate counts it for all of them.

use ipnet::IpNet;

/// One in this many strangers' packets passes. A power of two.
pub const SAMPLE: u32 = 64;

/// The most instructions that the kernel accepts (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4_096;

/// The outer IP version of a socket's packets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OuterVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// An instruction (`struct sock_filter`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Instruction {
    /// The operation.
    pub code: u16,
    /// How many instructions are skipped if the condition holds.
    pub jt: u8,
    /// How many are skipped if it does not hold.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

// `linux/bpf_common.h`
/// `A = the 32 bits at k`, in network byte order.
const LOAD: u16 = 0x20;
/// Skips `k` instructions.
const JUMP: u16 = 0x05;
/// Whether `A == k`.
const EQUAL: u16 = 0x15;
/// Whether `A >= k`.
const AT_LEAST: u16 = 0x35;
/// Whether `A & k != 0`.
const ANY_BIT: u16 = 0x45;
/// Passes the first `k` bytes of the packet; 0 refuses it.
const RETURN: u16 = 0x06;

// `linux/filter.h`
/// Offsets from here on count from the network header.
const NETWORK_HEADER: u32 = 0xfff0_0000;
/// This offset holds a random number (Linux 3.16).
const RANDOM: u32 = 0xffff_f000 + 56;

/// A jump to the end of the program, where strangers' packets are refused; its distance is filled
/// in when the program is whole.
const TO_STRANGERS: Instruction = Instruction { code: JUMP, jt: 0, jf: 0, k: u32::MAX };

const PASS: Instruction = Instruction { code: RETURN, jt: 0, jf: 0, k: u32::MAX };
const REFUSE: Instruction = Instruction { code: RETURN, jt: 0, jf: 0, k: 0 };

/// The program for sockets of that outer version; `None` if it would be longer than
/// [`MAX_INSTRUCTIONS`].
#[must_use]
pub fn program(directors: &[IpNet], outer: OuterVersion) -> Option<Vec<Instruction>> {
    let first = Word { outer, number: 0 };
    let mut program = vec![first.load()];
    program.extend(search(&boundaries(directors, outer), first, false));
    let strangers = program.len();
    for (index, one) in program.iter_mut().enumerate() {
        if *one == TO_STRANGERS {
            one.k = u32::try_from(strangers - index - 1).unwrap_or(u32::MAX);
        }
    }
    program.extend([
        Instruction { code: LOAD, jt: 0, jf: 0, k: RANDOM },
        Instruction { code: ANY_BIT, jt: 1, jf: 0, k: SAMPLE - 1 },
        PASS,
        REFUSE,
    ]);
    (program.len() <= MAX_INSTRUCTIONS).then_some(program)
}

/// An address from which on the result differs, and the result: whether the addresses belong to a
/// director. An IPv4 address is the upper 32 bits.
type Boundary = (u128, bool);

/// The boundaries of all directors of the family, in order.
fn boundaries(directors: &[IpNet], outer: OuterVersion) -> Vec<Boundary> {
    let mut ranges: Vec<(u128, u128)> =
        directors.iter().filter_map(|net| range(net, outer)).collect();
    ranges.sort_unstable();
    let mut boundaries: Vec<Boundary> = Vec::with_capacity(2 * ranges.len());
    let mut end = None;
    for (first, last) in ranges {
        match end {
            // The range overlaps or directly follows the one before.
            Some(before) if first <= before || first - 1 == before => {
                boundaries.pop_if(|(_, inside)| !*inside);
            }
            _ => boundaries.push((first, true)),
        }
        let last = end.map_or(last, |before: u128| before.max(last));
        boundaries.extend(last.checked_add(1).map(|after| (after, false)));
        end = Some(last);
    }
    boundaries
}

fn range(net: &IpNet, outer: OuterVersion) -> Option<(u128, u128)> {
    match (net, outer) {
        (IpNet::V4(net), OuterVersion::V4) => {
            let upper = |address: std::net::Ipv4Addr| u128::from(address.to_bits()) << 96;
            Some((upper(net.network()), upper(net.broadcast()) | u128::MAX >> 32))
        }
        (IpNet::V6(net), OuterVersion::V6) => {
            Some((net.network().to_bits(), net.broadcast().to_bits()))
        }
        _ => None,
    }
}

/// 32 bits of the source address.
#[derive(Clone, Copy, Debug)]
struct Word {
    outer: OuterVersion,
    number: u32,
}

impl Word {
    fn load(self) -> Instruction {
        let source = match self.outer {
            OuterVersion::V4 => NETWORK_HEADER + 12,
            OuterVersion::V6 => NETWORK_HEADER + 8,
        };
        Instruction { code: LOAD, jt: 0, jf: 0, k: source + 4 * self.number }
    }

    /// The word of that address.
    fn of(self, address: u128) -> u32 {
        u32::try_from(address >> (96 - 32 * self.number) & u128::from(u32::MAX)).unwrap_or(u32::MAX)
    }

    /// Whether all later words of that address are 0.
    fn ends(self, address: u128) -> bool {
        address.checked_shl(32 * (self.number + 1)).unwrap_or(0) == 0
    }

    fn next(self) -> Self {
        Self { number: self.number + 1, ..self }
    }
}

/// The code for the values of a word from `from` on.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Case {
    from: u32,
    code: Vec<Instruction>,
}

/// The code that decides about an address whose earlier words are those of all `boundaries`; `word`
/// is loaded. `inside` is the result before the first boundary.
fn search(boundaries: &[Boundary], word: Word, mut inside: bool) -> Vec<Instruction> {
    let mut cases = vec![Case { from: 0, code: answer(inside) }];
    for group in boundaries.chunk_by(|(one, _), (other, _)| word.of(*one) == word.of(*other)) {
        let [.., (address, after)] = group else { continue };
        let value = word.of(*address);
        if group.len() == 1 && word.ends(*address) {
            add(&mut cases, value, answer(*after));
        } else {
            let mut code = vec![word.next().load()];
            code.extend(search(group, word.next(), inside));
            add(&mut cases, value, code);
            if let Some(beyond) = value.checked_add(1) {
                add(&mut cases, beyond, answer(*after));
            }
        }
        inside = *after;
    }
    choose(&cases)
}

fn answer(inside: bool) -> Vec<Instruction> {
    vec![if inside { PASS } else { TO_STRANGERS }]
}

/// Adds a case after the others. It replaces one that begins at the same value.
fn add(cases: &mut Vec<Case>, from: u32, code: Vec<Instruction>) {
    cases.pop_if(|last| last.from == from);
    if cases.last().is_none_or(|last| last.code != code) {
        cases.push(Case { from, code });
    }
}

/// A binary search for the case of the loaded word.
fn choose(cases: &[Case]) -> Vec<Instruction> {
    match cases {
        [] => answer(false),
        [only] => only.code.clone(),
        // A single value between two cases with the same code.
        [others, one, beyond]
            if one.from.checked_add(1) == Some(beyond.from) && others.code == beyond.code =>
        {
            branch(EQUAL, one.from, &others.code, &one.code)
        }
        _ => {
            let (lower, upper) = cases.split_at(cases.len() / 2);
            let from = upper.first().map_or(0, |case| case.from);
            branch(AT_LEAST, from, &choose(lower), &choose(upper))
        }
    }
}

/// Continues with one of two codes. A condition skips at most 255 instructions, a jump any number.
fn branch(condition: u16, k: u32, no: &[Instruction], yes: &[Instruction]) -> Vec<Instruction> {
    let head = match u8::try_from(no.len()) {
        Ok(jt) => vec![Instruction { code: condition, jt, jf: 0, k }],
        Err(_) => {
            let distance = u32::try_from(no.len()).unwrap_or(u32::MAX);
            let jump = Instruction { code: JUMP, jt: 0, jf: 0, k: distance };
            vec![Instruction { code: condition, jt: 0, jf: 1, k }, jump]
        }
    };
    [&head, no, yes].concat()
}

#[cfg(test)]
pub(super) mod tests;
