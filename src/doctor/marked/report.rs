//! The kernel's reports about marked packets (`NFT_MSG_TRACE` of linux/netfilter/nf_tables.h), and
//! how each packet ended.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::ending::{Ending, MarkedFlow, Point, Translation};
use super::table::{HOOKS, TraceTables, UNWATCHED};
use crate::doctor::firewall::{DropPoint, Ruleset};

/// The header of a message of nfnetlink: the family first.
const HEADER: usize = 4;

// Attributes of a report.
const TABLE: u16 = 1;
const CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const TYPE: u16 = 4;
const VERDICT: u16 = 5;
const ID: u16 = 6;
const LINK_HEADER: u16 = 7;
const NETWORK_HEADER: u16 = 8;
const TRANSPORT_HEADER: u16 = 9;
const POLICY: u16 = 16;
/// The attribute of a verdict that has its number.
const VERDICT_CODE: u16 = 1;

/// `NFT_TRACETYPE_POLICY`.
const BY_POLICY: u32 = 1;
/// `NF_DROP` and `NF_ACCEPT`.
const DROP: u32 = 0;
const ACCEPT: u32 = 1;

/// One report: a rule that a packet met, or the end of a chain.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Report {
    /// The packet's number in the kernel.
    id: u32,
    family: &'static str,
    table: String,
    chain: String,
    /// `None`: the chain's policy.
    rule: Option<u64>,
    drops: bool,
    accepts: bool,
    /// The source address of its frame; in a packet's first report of each hook.
    source: Option<[u8; 6]>,
    /// Its addresses and ports; in its first report of each chain.
    flow: Option<MarkedFlow>,
}

/// The reports so far.
#[derive(Debug)]
pub struct Reports<'a> {
    tables: &'a TraceTables,
    ruleset: &'a Ruleset,
    /// The number of each marked packet by the kernel's.
    numbers: HashMap<u32, u16>,
    paths: HashMap<u16, PacketPath>,
}

/// The path of one packet.
#[derive(Debug)]
struct PacketPath {
    point: Point,
    /// The latest base chain, and its hook.
    base: (String, String),
    ending: Option<Ending>,
    /// The latest addresses and ports.
    flow: Option<MarkedFlow>,
    /// The latest rule that ended a chain which translates.
    translator: Option<DropPoint>,
    translated: Option<Translation>,
}

impl<'a> Reports<'a> {
    /// None yet.
    #[must_use]
    pub fn new(tables: &'a TraceTables, ruleset: &'a Ruleset) -> Self {
        Self { tables, ruleset, numbers: HashMap::new(), paths: HashMap::new() }
    }

    /// Adds a report. One about another packet, or that cannot be read, is left out.
    pub fn add(&mut self, message: &[u8]) {
        let Some(report) = Report::read(message) else { return };
        if let Some([.., high, low]) = report.source.filter(|one| one[..4] == self.tables.mac) {
            self.numbers.insert(report.id, u16::from_be_bytes([high, low]));
        }
        let Some(number) = self.numbers.get(&report.id) else { return };
        let path = self.paths.entry(*number).or_insert_with(|| PacketPath {
            point: Point::Arrival,
            base: (String::new(), String::new()),
            ending: None,
            flow: None,
            translator: None,
            translated: None,
        });
        path.follow(report.flow);
        if report.table == self.tables.name {
            path.point = point(&report.chain).unwrap_or(path.point);
            if report.drops {
                path.ending = Some(ending(self.tables, &report.chain));
            }
            return;
        }
        if let Some(hook) = self.ruleset.hook_of(report.family, &report.table, &report.chain) {
            path.base = (report.chain.clone(), hook.to_owned());
        }
        if report.drops {
            path.ending = Some(Ending::Dropped(drop_point(report, path)));
        } else if report.accepts
            && report.rule.is_some()
            && self.ruleset.is_nat(report.family, &report.table, &path.base.0)
        {
            path.translator = Some(drop_point(report, path));
        }
    }

    /// What became of the addresses of the packet with this number.
    #[must_use]
    pub fn translated(&self, number: u16) -> Option<Translation> {
        self.paths.get(&number)?.translated.clone()
    }

    /// How the packet of this number has ended; `None`: it is not known yet.
    #[must_use]
    pub fn ended(&self, number: u16) -> Option<Ending> {
        self.paths.get(&number)?.ending.clone()
    }

    /// How it has ended if no more reports come.
    #[must_use]
    pub fn finally(&self, number: u16) -> Ending {
        let path = self.paths.get(&number);
        let lost = Ending::Lost(path.map_or(Point::Arrival, |path| path.point));
        self.ended(number).unwrap_or(lost)
    }
}

impl PacketPath {
    /// Compares addresses and ports with those before. The first change counts.
    fn follow(&mut self, flow: Option<MarkedFlow>) {
        let Some(to) = flow else { return };
        if let Some(from) = self.flow.replace(to).filter(|from| *from != to) {
            let rule = self.translator.take();
            self.translated.get_or_insert(Translation { from, to, rule });
        }
    }
}

/// The rule or policy of a report.
fn drop_point(report: Report, path: &PacketPath) -> DropPoint {
    let Report { family, table, chain, rule, .. } = report;
    let rule = match rule {
        Some(handle) => format!("rule {handle} of chain {chain}"),
        None => "its policy".to_owned(),
    };
    let (base, hook) = path.base.clone();
    let chain = if base.is_empty() { chain } else { base };
    DropPoint { family: family.to_owned(), table, chain, hook, rule, certain: true }
}

/// The point that a packet has reached in one of our chains.
fn point(chain: &str) -> Option<Point> {
    let (hook, end) = chain.split_once('_')?;
    let hook = HOOKS.into_iter().find(|one| one.name() == hook)?;
    Some(if end == "first" { Point::Within(hook) } else { Point::Behind(hook) })
}

/// How a packet ended that one of our chains has dropped.
fn ending(tables: &TraceTables, chain: &str) -> Ending {
    let index = chain.strip_prefix("to_").and_then(|index| index.parse::<u32>().ok());
    match (index, tables.aim) {
        (None, _) if chain == UNWATCHED => Ending::Elsewhere("another interface".to_owned()),
        (None, None) => Ending::Through,
        (None, Some(_)) => Ending::Local,
        (index, aim) if index == aim => Ending::Through,
        (index, _) => {
            let exit = tables.exits.iter().find(|exit| Some(exit.index) == index);
            Ending::Elsewhere(exit.map_or_else(String::new, |exit| exit.name.clone()))
        }
    }
}

impl Report {
    fn read(message: &[u8]) -> Option<Self> {
        let family = match message.first()? {
            1 => "inet",
            2 => "ip",
            5 => "netdev",
            7 => "bridge",
            10 => "ip6",
            _ => return None,
        };
        let mut report = Self { family, ..Self::default() };
        let (mut kind, mut verdict, mut policy) = (0, None, None);
        let (mut addresses, mut ports) = (None, None);
        for (name, value) in attributes(message.get(HEADER..)?) {
            match name {
                TABLE => report.table = text(value),
                CHAIN => report.chain = text(value),
                RULE_HANDLE => report.rule = Some(u64::from_be_bytes(value.try_into().ok()?)),
                TYPE => kind = number(value)?,
                ID => report.id = number(value)?,
                POLICY => policy = number(value),
                VERDICT => {
                    let code = attributes(value).find(|(name, _)| *name == VERDICT_CODE);
                    verdict = code.and_then(|(_, value)| number(value));
                }
                NETWORK_HEADER => addresses = addresses_of(value),
                TRANSPORT_HEADER => ports = ports_of(value),
                LINK_HEADER => report.source = value.get(6..12).and_then(|one| one.try_into().ok()),
                _ => {}
            }
        }
        let verdict = if kind == BY_POLICY { policy } else { verdict };
        (report.drops, report.accepts) = (verdict == Some(DROP), verdict == Some(ACCEPT));
        let known = addresses.zip(ports);
        report.flow = known.map(|((source, destination), (from, to))| MarkedFlow {
            source: SocketAddr::new(source, from),
            destination: SocketAddr::new(destination, to),
        });
        Some(report)
    }
}

/// Source and destination in an IP header.
fn addresses_of(header: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let four = |at: usize| -> Option<[u8; 4]> { header.get(at..at + 4)?.try_into().ok() };
    let six = |at: usize| -> Option<[u8; 16]> { header.get(at..at + 16)?.try_into().ok() };
    match header.first()? >> 4 {
        4 => Some((Ipv4Addr::from(four(12)?).into(), Ipv4Addr::from(four(16)?).into())),
        6 => Some((Ipv6Addr::from(six(8)?).into(), Ipv6Addr::from(six(24)?).into())),
        _ => None,
    }
}

/// Source and destination port in a transport header.
fn ports_of(header: &[u8]) -> Option<(u16, u16)> {
    let port = |at: usize| -> Option<[u8; 2]> { header.get(at..at + 2)?.try_into().ok() };
    Some((u16::from_be_bytes(port(0)?), u16::from_be_bytes(port(2)?)))
}

/// The attributes of a message, each with its number without flags.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.get(..4)?;
        let len = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let name = u16::from_ne_bytes([header[2], header[3]]) & 0x3fff;
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((name, value))
    })
}

fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
