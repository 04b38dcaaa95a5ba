//! The director's model: `[director]`, `[director.timeouts]` and the services.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use crate::balancer::maglev;
use crate::model::{ServiceSpec, Timeouts};
use crate::wire::encap::GuePorts;

use crate::health::{Plan, ServiceInput};

use super::access::Access;
use super::address;
use super::bounds::MAX_RECORDED;
use super::document::Document;
use super::fault::{Faults, quoted};
use super::http::{self, HttpAddress};
use super::keys;
use super::section::{ConfigEntry, Section};
use super::service::{self, ServiceConfig, Services};
use super::value;

/// The most sources of tunnels: one of each family.
const MAX_SOURCES: usize = 2;

/// Whether the kernel carries the packets of established flows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum FastPath {
    /// All packets come to the director.
    #[default]
    Off,
    /// The kernel carries them if it can and the process has the capabilities.
    Auto,
    /// As [`Self::Auto`], but the director does not start without it.
    On,
}

impl FastPath {
    /// All, in the order used in messages.
    const ALL: [Self; 3] = [Self::Off, Self::Auto, Self::On];

    /// The name in the configuration.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Auto => "auto",
            Self::On => "on",
        }
    }
}

/// A checked director configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Director {
    /// The TUN device's name.
    pub tun: String,
    /// The uplinks: interfaces on which clients' packets arrive; `None`: the ones whose subnets
    /// contain the VIPs, or the default route's.
    pub uplinks: Option<Vec<String>>,
    /// Whether to answer ARP and neighbour discovery for the VIPs on the uplinks, and to announce
    /// them.
    pub arp: bool,
    /// The tunnels' source addresses, at most one of each family, IPv4 first. For a family without
    /// one the routing table picks a source for each real server.
    pub sources: Vec<IpAddr>,
    /// Whether the VIPs are announced from the start, or only after `vstun announce`.
    pub announce: bool,
    /// Whether a virtual IP is withdrawn while none of its services has its quorum.
    pub withdraw_without_quorum: bool,
    /// The program to run at changes, with its arguments; `None`: no program.
    pub hooks: Option<Vec<String>>,
    /// The routing table to which the VIPs are copied for a routing daemon; 0: none.
    pub announce_table: u32,
    /// Whether real servers on directly connected networks get routes of their own.
    pub neighbour_routes: bool,
    /// The path of the control socket.
    pub control: PathBuf,
    /// Who may use the control socket.
    pub access: Access,
    /// The folder of what outlasts a restart: the random seed, the states that operators have set,
    /// and the recorder's file after a crash; `None`: nothing is kept.
    pub state: Option<PathBuf>,
    /// The address of the server of metrics, JSON and the status page; `None`: no server.
    pub http: Option<HttpAddress>,
    /// The capacity of the connection table.
    pub max_connections: u32,
    /// Whether the TUN delivers super-frames (virtio-net offload).
    pub offload: bool,
    /// Whether the kernel carries the packets of established flows.
    pub fast_path: FastPath,
    /// The UDP ports of packets in GUE.
    pub gue: GuePorts,
    /// How long an idle packet loop polls before it sleeps.
    pub busy_poll: Duration,
    /// How many of the latest decisions are kept; 0: none.
    pub recorder: u32,
    /// The seed shared by directors that place flows alike; `None`: a random seed.
    pub hash_seed: Option<String>,
    /// The number of slots of a Maglev table: a prime.
    pub maglev_slots: u32,
    /// How long idle flows are kept.
    pub timeouts: Timeouts,
    /// The services, in the order of the file.
    pub services: Vec<ServiceConfig>,
    pub(super) lines: KeyLines,
}

/// The lines of values, for faults that only a comparison finds.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct KeyLines {
    /// The line of the `[director]` header.
    pub(super) section: usize,
    /// The line of each present key of `[director]`.
    pub(super) keys: BTreeMap<&'static str, usize>,
}

impl Director {
    /// The default of `tun`.
    pub const TUN: &str = "vstun0";
    /// The default of `control`.
    pub const CONTROL: &str = "/run/vstun/director.sock";
    /// The default of `state`.
    pub const STATE: &str = "/var/lib/vstun";
    /// The default of `max_connections`.
    pub const CONNECTIONS: u32 = 1_000_000;

    /// The balancer's part of each service, in the order of the file.
    pub fn specs(&self) -> impl Iterator<Item = &ServiceSpec> {
        self.services.iter().map(|service| &service.spec)
    }

    /// The virtual IPs: every address that a service listens on, sorted, without duplicates.
    #[must_use]
    pub fn vips(&self) -> Vec<IpAddr> {
        let listens = self.specs().flat_map(|service| &service.listens);
        unique(listens.map(|listen| listen.address))
    }

    /// The configured outer source address for IPv4.
    #[must_use]
    pub fn source_v4(&self) -> Option<Ipv4Addr> {
        self.sources.iter().find_map(|source| match source {
            IpAddr::V4(source) => Some(*source),
            IpAddr::V6(_) => None,
        })
    }

    /// The real servers of all services, sorted, without duplicates.
    #[must_use]
    pub fn reals(&self) -> Vec<IpAddr> {
        let reals = self.specs().flat_map(|service| &service.reals);
        unique(reals.map(|real| real.address))
    }

    /// Bytes between the outer IP header and the packet, for each real server with GRE or GUE.
    #[must_use]
    pub fn shims(&self) -> BTreeMap<IpAddr, u32> {
        let mut shims = BTreeMap::new();
        for real in self.specs().flat_map(|service| &service.reals) {
            let len = u32::try_from(real.values.encap.shim_len()).unwrap_or_default();
            let shim = shims.entry(real.address).or_insert(len);
            // A real server of several services counts with the shortest: the TUN's MTU is the
            // largest that fits any of them.
            *shim = len.min(*shim);
        }
        shims.retain(|_, len| *len > 0);
        shims
    }

    /// The virtual IPs to withdraw while these services have no quorum: those on which no other
    /// service listens.
    #[must_use]
    pub fn unserved(&self, without_quorum: &[String]) -> BTreeSet<IpAddr> {
        if !self.withdraw_without_quorum {
            return BTreeSet::new();
        }
        let lost: BTreeSet<&str> = without_quorum.iter().map(String::as_str).collect();
        let serving = self.specs().filter(|spec| !lost.contains(spec.name.as_str()));
        let served: BTreeSet<IpAddr> =
            serving.flat_map(|spec| spec.listens.iter().map(|listen| listen.address)).collect();
        self.vips().into_iter().filter(|vip| !served.contains(vip)).collect()
    }

    /// The checks of all real servers.
    #[must_use]
    pub fn checks(&self) -> Plan {
        Plan::new(self.services.iter().map(|ServiceConfig { spec, health, .. }| ServiceInput {
            name: &spec.name,
            listens: &spec.listens,
            reals: &spec.reals,
            checks: &health.checks,
            rules: health.rules,
            load: health.load,
        }))
    }

    pub(super) fn read(document: &Document<'_>, faults: &mut Faults) -> Option<Self> {
        let section = Section::required(document, "director", &keys::DIRECTOR, faults);
        let services = service::read_all(document, faults);
        let section = section?;
        let keys = keys::DIRECTOR.iter().filter_map(|key| Some((*key, section.entry(key)?.line)));
        let lines = KeyLines { section: section.line, keys: keys.collect() };
        let tun = section.entry("tun").and_then(|entry| entry.parsed(value::interface, faults));
        let tun = tun.unwrap_or_else(|| Self::TUN.to_owned());
        let sources = section.entry("source").map(|entry| sources(&entry, &services, faults));
        let control = section.entry("control");
        let control = control.and_then(|entry| entry.parsed(value::control, faults));
        let connections = section.entry("max_connections");
        let connections =
            connections.and_then(|entry| entry.number(1..=value::MAX_CONNECTIONS, faults));
        let maglev = section.entry("maglev_slots");
        let maglev = maglev.and_then(|entry| maglev_slots(&entry, &services, faults));
        let (arp, announce_table) = announcing(&section, faults);
        let announces = arp || announce_table != 0;
        let withdraw = section.entry("withdraw_without_quorum");
        let withdraw_without_quorum =
            withdraw.is_some_and(|entry| withdraws(&entry, announces, faults));
        Some(Self {
            withdraw_without_quorum,
            hooks: section.entry("hooks").and_then(|entry| hooks(&entry, faults)),
            uplinks: section.entry("uplinks").map(|entry| uplinks(&entry, &tun, faults)),
            tun,
            arp,
            sources: sources.unwrap_or_default(),
            announce: boolean(&section, "announce", faults),
            announce_table,
            neighbour_routes: section
                .entry("neighbour_routes")
                .and_then(|entry| entry.boolean(faults))
                .unwrap_or(false),
            control: control.unwrap_or_else(|| Self::CONTROL.into()),
            access: Access::read(&section, faults),
            state: section
                .entry("state")
                .and_then(|entry| entry.parsed(value::folder, faults))
                .unwrap_or_else(|| Some(Self::STATE.into())),
            http: section.entry("http").and_then(|entry| entry.parsed(http::address, faults)),
            max_connections: connections.unwrap_or(Self::CONNECTIONS),
            offload: boolean(&section, "offload", faults),
            fast_path: fast_path_of(&section, faults),
            gue: gue_ports(&section, faults),
            busy_poll: busy_poll(&section, faults),
            recorder: recorder(&section, faults),
            hash_seed: section
                .entry("hash_seed")
                .and_then(|entry| entry.parsed(value::hash_seed, faults)),
            maglev_slots: maglev.unwrap_or(maglev::SLOTS),
            timeouts: section
                .entry("timeouts")
                .map(|entry| timeouts(entry, faults))
                .unwrap_or_default(),
            services: services.into_services(),
            lines,
        })
    }
}

/// How many decisions the recorder keeps; 0: none.
fn recorder(section: &Section<'_>, faults: &mut Faults) -> u32 {
    let entry = section.entry("recorder");
    entry.and_then(|entry| entry.number(0..=MAX_RECORDED, faults)).unwrap_or(0)
}

pub(super) fn fast_path_of(section: &Section<'_>, faults: &mut Faults) -> FastPath {
    let entry = section.entry("fast_path");
    entry.and_then(|entry| entry.parsed(fast_path, faults)).unwrap_or_default()
}

/// Whether the director answers for the virtual IPs, and the table that a routing daemon reads; 0:
/// none.
fn announcing(section: &Section<'_>, faults: &mut Faults) -> (bool, u32) {
    let arp = boolean(section, "arp", faults);
    let table = section.entry("announce_table");
    (arp, table.and_then(|entry| announce_table_of(&entry, faults)).unwrap_or(0))
}

fn unique(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    addresses.collect::<BTreeSet<_>>().into_iter().collect()
}

/// A switch that is on by default.
pub(super) fn boolean(section: &Section<'_>, key: &'static str, faults: &mut Faults) -> bool {
    section.entry(key).and_then(|entry| entry.boolean(faults)).unwrap_or(true)
}

/// A packet's source port must not be a port on which real servers receive: a real server answers
/// its director's inquiries, and each end tells the two sorts of packets by their ports.
fn gue_ports(section: &Section<'_>, faults: &mut Faults) -> GuePorts {
    let destination = value::gue_port(section, faults);
    let entry = section.entry("gue_source_ports");
    let sources = entry.as_ref().and_then(|entry| entry.parsed(value::source_ports, faults));
    let sources = sources.unwrap_or_default();
    if sources.contains(destination) {
        let message = match &entry {
            Some(_) => format!("{sources} contains gue_port, {destination}; write other ports"),
            None => format!(
                "{destination} is one of gue_source_ports, {sources} by default; write another port"
            ),
        };
        if let Some(entry) = entry.or_else(|| section.entry("gue_port")) {
            entry.fault(message, faults);
        }
    }
    GuePorts { sources, destination }
}

/// Zero by default.
pub(super) fn busy_poll(section: &Section<'_>, faults: &mut Faults) -> Duration {
    let entry = section.entry("busy_poll");
    entry.and_then(|entry| entry.duration(value::busy_poll, faults)).unwrap_or_default()
}

fn fast_path(text: &str) -> Result<FastPath, String> {
    let named = FastPath::ALL.into_iter().find(|wanted| wanted.name() == text);
    named.ok_or_else(|| format!("there is no {}; write off, auto or on", quoted(text)))
}

/// Only an announced virtual IP can be withdrawn.
fn withdraws(entry: &ConfigEntry<'_>, announces: bool, faults: &mut Faults) -> bool {
    let withdraws = entry.boolean(faults).unwrap_or(false);
    if withdraws && !announces {
        let message = "true, and nothing announces virtual IPs here: arp is false and";
        entry.fault(format!("{message} announce_table is 0; take it out"), faults);
    }
    withdraws
}

/// A program by its absolute path, and its arguments.
fn hooks(entry: &ConfigEntry<'_>, faults: &mut Faults) -> Option<Vec<String>> {
    let elements = entry.texts(faults);
    if entry.is_empty_list() {
        return None;
    }
    if elements.len() > value::MAX_HOOK_WORDS {
        let most = value::MAX_HOOK_WORDS;
        entry.fault(
            format!("{} elements; at most {most} are taken, write fewer", elements.len()),
            faults,
        );
        return None;
    }
    let mut words = Vec::with_capacity(elements.len());
    for (index, element) in elements.iter().enumerate() {
        words.extend(element.parsed(|text| value::hook_word(text, index == 0), faults));
    }
    Some(words)
}

fn uplinks(entry: &ConfigEntry<'_>, tun: &str, faults: &mut Faults) -> Vec<String> {
    let parse = |text: &str| {
        let name = value::interface(text)?;
        if name == tun {
            return Err(format!("{name} is the tun; write the interfaces that clients reach"));
        }
        Ok(name)
    };
    if entry.is_empty_list() {
        entry.fault("the list is empty; leave the key out to let vstun choose", faults);
    }
    value::set(entry, value::MAX_UPLINKS, parse, faults)
}

/// At most one tunnel source per family; the real servers of a family may come only with a reload.
fn sources(entry: &ConfigEntry<'_>, services: &Services<'_>, faults: &mut Faults) -> Vec<IpAddr> {
    if entry.is_empty_list() {
        entry.fault("the list is empty; leave the key out to let the routing table choose", faults);
    }
    let elements = entry.texts(faults);
    if elements.len() > MAX_SOURCES {
        let message =
            format!("{} elements; write at most one address of each family", elements.len());
        entry.fault(message, faults);
        return Vec::new();
    }
    let mut sources: Vec<IpAddr> = Vec::with_capacity(elements.len());
    for element in elements {
        let Some(source) = element.parsed(address::unicast, faults) else { continue };
        services.check_source(source, &element, faults);
        if let Some(first) = sources.iter().find(|first| first.is_ipv4() == source.is_ipv4()) {
            let message = format!("{source} is of the same family as {first}; keep one of them");
            element.fault(message, faults);
        } else {
            sources.push(source);
        }
    }
    // Their order has no meaning, so it must not be a change.
    sources.sort_unstable();
    sources
}

/// A routing table's number. The kernel's own three are refused: routes in them would take effect
/// instead of being an announcement (`RT_TABLE_DEFAULT`, `_MAIN`, `_LOCAL` of rtnetlink(7)).
fn announce_table_of(entry: &ConfigEntry<'_>, faults: &mut Faults) -> Option<u32> {
    let table = entry.number(0..=u32::MAX, faults)?;
    if let Some(name) = value::kernel_table(table) {
        let message = format!("{table} is the kernel's table {name}; write another, or 0 for none");
        entry.fault(message, faults);
    }
    Some(table)
}

/// A prime: only then does a real server's permutation cover all slots.
fn maglev_slots(
    entry: &ConfigEntry<'_>,
    services: &Services<'_>,
    faults: &mut Faults,
) -> Option<u32> {
    let slots = entry.number(maglev::MIN_SLOTS..=maglev::MAX_SLOTS, faults)?;
    if !maglev::is_prime(slots) {
        let next = (slots..=maglev::MAX_SLOTS).find(|number| maglev::is_prime(*number));
        let next = next.unwrap_or(maglev::MAX_SLOTS);
        entry.fault(format!("{slots} is not a prime number; the next is {next}"), faults);
    }
    let (tables, most) = (services.with_maglev(), value::MAX_MAGLEV_SLOTS);
    // Without the key the default fits any number of services.
    if tables as u64 * u64::from(slots) > most {
        let all = tables as u64 * u64::from(slots);
        let message = format!(
            "{slots} for {tables} services with scheduler mh are {all} slots; at most {most}"
        );
        entry.fault(message + " are taken in all, write fewer", faults);
    }
    Some(slots)
}

fn timeouts(entry: ConfigEntry<'_>, faults: &mut Faults) -> Timeouts {
    let mut timeouts = Timeouts::DEFAULT;
    let Some(section) = Section::open(entry, "director.timeouts", &keys::TIMEOUTS, faults) else {
        return timeouts;
    };
    for (key, field) in Timeouts::KEYS.into_iter().zip(timeouts.all_mut()) {
        if let Some(value) =
            section.entry(key).and_then(|entry| entry.duration(value::timeout, faults))
        {
            *field = value;
        }
    }
    timeouts
}
