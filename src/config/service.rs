//! `[[service]]` and `[[service.real]]`, and the rules between all of them.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use crate::health::plan::destinations;
use crate::health::{CheckSpec, MAX_CHECKS};
use crate::model::{Listen, RealSpec, RealValues, SchedulerKind, ServiceSpec};
use crate::wire::encap::Encap;

use super::address;
use super::bounds::{MAX_LISTENS, MAX_NAME_LEN, MAX_REALS, MAX_REALS_PER_SERVICE, MAX_SERVICES};
use super::check::{self, ServiceHealth};
use super::document::Document;
use super::fault::{Faults, quoted};
use super::keys;
use super::policy;
use super::section::{ConfigEntry, Section};
use super::value;

/// A service as configured: the balancer's part, and the health checks, which the balancer does not
/// need.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceConfig {
    /// The balancer's part.
    pub spec: ServiceSpec,
    /// Its health checks and their rules.
    pub health: ServiceHealth,
    /// The encapsulation of its real servers that have no `encap` of their own.
    pub encap: Encap,
}

impl ServiceConfig {
    /// The number of its probes: one for each real server, check and destination.
    fn probed(&self) -> usize {
        let Self { spec, health, .. } = self;
        // The number of destinations is the same for all real servers.
        let any = IpAddr::from([0, 0, 0, 0]);
        let one = |check: &Arc<CheckSpec>| destinations(check, any, &spec.listens).len();
        spec.reals.iter().filter(|real| !real.last_resort).count()
            * health.checks.iter().map(one).sum::<usize>()
    }
}

/// The services of a document, with the lines for faults.
#[derive(Default)]
pub(super) struct Services<'a> {
    services: Vec<ServiceConfig>,
    names: HashMap<&'a str, ConfigEntry<'a>>,
    listens: Vec<ListenAt<'a>>,
    reals: Vec<RealAt<'a>>,
}

struct ListenAt<'a> {
    listen: Listen,
    service: &'a str,
    entry: ConfigEntry<'a>,
}

struct RealAt<'a> {
    address: IpAddr,
    entry: ConfigEntry<'a>,
}

/// Reads every service and checks them against each other.
pub(super) fn read_all<'a>(document: &'a Document<'_>, faults: &mut Faults) -> Services<'a> {
    let mut services = Services::default();
    let Some(entry) = Section::root(document).entry("service") else {
        faults.add(1, "service", "there is no [[service]]; write at least one");
        return services;
    };
    let tables = entry.tables(faults);
    if tables.len() > MAX_SERVICES {
        entry.fault(
            format!("{} services; at most {MAX_SERVICES} are taken, write fewer", tables.len()),
            faults,
        );
        return services;
    }
    if entry.is_empty_list() {
        entry.fault("the list is empty; write at least one [[service]]", faults);
    }
    for table in tables {
        if let Some(section) = Section::open(table, "service", &keys::SERVICE, faults) {
            services.read(&section, faults);
        }
    }
    services.check_totals(&entry, faults);
    services.check_overlaps(faults);
    services.check_reals(faults);
    services
}

impl<'a> Services<'a> {
    pub(super) fn into_services(self) -> Vec<ServiceConfig> {
        self.services
    }

    /// How many of them have a Maglev table.
    pub(super) fn with_maglev(&self) -> usize {
        let with_maglev =
            |service: &&ServiceConfig| service.spec.scheduler == SchedulerKind::Maglev;
        self.services.iter().filter(with_maglev).count()
    }

    /// The line of the first listen of each VIP.
    pub(super) fn vip_lines(&self) -> BTreeMap<IpAddr, usize> {
        let mut lines = BTreeMap::new();
        for at in &self.listens {
            lines.entry(at.listen.address).or_insert(at.entry.line);
        }
        lines
    }

    /// Checks that the tunnels' source is not a VIP or a real server: it has to be an address of
    /// the director.
    pub(super) fn check_source(
        &self,
        source: IpAddr,
        entry: &ConfigEntry<'_>,
        faults: &mut Faults,
    ) {
        if self.listens.iter().any(|at| at.listen.address == source) {
            let hint = "write an address of the director itself";
            entry.fault(format!("{source} is a virtual IP; {hint}"), faults);
        }
        if let Some(real) = self.reals.iter().find(|at| at.address == source) {
            let hint = format!("which is a real server at line {}", real.entry.line);
            let message = format!("{source} is the director's own address, {hint}; write another");
            entry.fault(message, faults);
        }
    }

    fn read(&mut self, section: &Section<'a>, faults: &mut Faults) {
        let name = self.read_name(section, faults).unwrap_or_default();
        let scheduler = section.entry("scheduler");
        let scheduler = scheduler.map_or(Some(SchedulerKind::WeightedLeastConnections), |entry| {
            entry.parsed(value::scheduler, faults)
        });
        let encap = encap_or(section, Encap::default(), faults);
        let mut reals = self.read_reals(section, encap, faults);
        reals.extend(self.read_fallback(section, &reals, encap, faults));
        let spec = ServiceSpec {
            name: name.to_owned(),
            listens: self.read_listens(name, section, faults),
            scheduler: scheduler.unwrap_or(SchedulerKind::WeightedLeastConnections),
            reals,
            policy: policy::read(section, scheduler, faults),
        };
        policy::check_one_packet(&spec, section, faults);
        let health = check::read(section, &spec, faults);
        self.services.push(ServiceConfig { spec, health, encap });
    }

    fn read_name(&mut self, section: &Section<'a>, faults: &mut Faults) -> Option<&'a str> {
        let entry = section.required_entry("name", "write name = \"web\"", faults)?;
        let name = entry.text(faults)?;
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.len() > MAX_NAME_LEN || !name.bytes().all(legal) {
            let shown = quoted(name);
            let hint = format!("write 1 to {MAX_NAME_LEN} letters, digits, '-', '_' and '.'");
            entry.fault(format!("{shown} cannot be a name; {hint}"), faults);
            return None;
        }
        if let Some(first) = self.names.get(name) {
            let line = first.line;
            let hint = "write another name";
            entry.fault(format!("{name} is a service already, at line {line}; {hint}"), faults);
        } else {
            self.names.insert(name, entry);
        }
        Some(name)
    }

    fn read_listens(
        &mut self,
        service: &'a str,
        section: &Section<'a>,
        faults: &mut Faults,
    ) -> Vec<Listen> {
        let hint = "write listen = [\"192.0.2.10:80/tcp\"]";
        let Some(entry) = section.required_entry("listen", hint, faults) else {
            return Vec::new();
        };
        let elements = entry.list(faults);
        if entry.is_empty_list() {
            entry.fault(format!("the list is empty; {hint}"), faults);
        }
        let mut listens = Vec::with_capacity(elements.len());
        for element in elements {
            if let Some(listen) = element.parsed(address::listen, faults) {
                listens.push(listen);
                self.listens.push(ListenAt { listen, service, entry: element });
            }
        }
        listens
    }

    fn read_reals(
        &mut self,
        section: &Section<'a>,
        encap: Encap,
        faults: &mut Faults,
    ) -> Vec<RealSpec> {
        let Some(entry) = section.entry("real") else { return Vec::new() };
        let tables = entry.tables(faults);
        if tables.len() > MAX_REALS_PER_SERVICE {
            let count = tables.len();
            let message = format!("{count} real servers; a service has at most");
            entry.fault(format!("{message} {MAX_REALS_PER_SERVICE}, write fewer"), faults);
            return Vec::new();
        }
        let mut reals = Vec::with_capacity(tables.len());
        let mut first_entries: HashMap<IpAddr, ConfigEntry<'_>> = HashMap::new();
        for table in tables {
            let Some(section) = Section::open(table, "service.real", &keys::REAL, faults) else {
                continue;
            };
            let values = values(&section, encap, faults);
            let state = section.entry("state");
            let state = state.and_then(|entry| entry.parsed(value::state, faults));
            let hint = "write address = \"10.0.0.11\"";
            let Some(entry) = section.required_entry("address", hint, faults) else { continue };
            let Some(address) = entry.parsed(address::real, faults) else { continue };
            if let Some(first) = first_entries.get(&address) {
                let line = first.line;
                let message = format!("{address} is in this service already, at line {line}");
                entry.fault(message + "; keep one", faults);
            } else {
                first_entries.insert(address, entry);
            }
            let state = state.unwrap_or_default();
            reals.push(RealSpec { address, values, state, last_resort: false });
            self.reals.push(RealAt { address, entry });
        }
        reals
    }

    /// The last resort: a real server beside those among which the service chooses.
    fn read_fallback(
        &mut self,
        section: &Section<'a>,
        reals: &[RealSpec],
        encap: Encap,
        faults: &mut Faults,
    ) -> Option<RealSpec> {
        let entry = section.entry("fallback_real")?;
        let address = entry.parsed(address::real, faults)?;
        if reals.iter().any(|real| real.address == address) {
            let hint = "where it has its share already; write another address";
            entry.fault(format!("{address} is a real server of this service, {hint}"), faults);
        }
        self.reals.push(RealAt { address, entry });
        Some(RealSpec::last_resort(address).encapsulated(encap))
    }

    fn check_totals(&self, entry: &ConfigEntry<'_>, faults: &mut Faults) {
        let checks = self.services.iter().map(ServiceConfig::probed).sum();
        for (what, count, most) in [
            ("listens", self.listens.len(), MAX_LISTENS),
            ("real servers", self.reals.len(), MAX_REALS),
            ("checks of real servers", checks, MAX_CHECKS),
        ] {
            if count > most {
                entry.fault(
                    format!("{count} {what} in all; at most {most} are taken, write fewer"),
                    faults,
                );
            }
        }
    }

    /// Sorted by first port, a listen overlaps an earlier one if and only if it starts at or before
    /// the highest port so far. One pass finds at least one fault for each listen that has one.
    fn check_overlaps(&self, faults: &mut Faults) {
        let mut sorted: Vec<&ListenAt<'_>> = self.listens.iter().collect();
        sorted.sort_by_key(|at| (at.listen.protocol, at.listen.address, at.listen.ports.first));
        let mut highest: Option<&ListenAt<'_>> = None;
        for at in sorted {
            let (listen, endpoint) = (at.listen, (at.listen.protocol, at.listen.address));
            let same_endpoint =
                highest.filter(|other| (other.listen.protocol, other.listen.address) == endpoint);
            if let Some(other) =
                same_endpoint.filter(|other| other.listen.ports.overlaps(listen.ports))
            {
                report_overlap(at, other, faults);
            }
            if same_endpoint.is_none_or(|other| other.listen.ports.last < listen.ports.last) {
                highest = Some(at);
            }
        }
    }

    fn check_reals(&self, faults: &mut Faults) {
        let vips = self.vip_lines();
        for at in &self.reals {
            if let Some(line) = vips.get(&at.address) {
                at.entry.fault(
                    format!(
                        "{} is a virtual IP, at line {line}; write the real server's own address",
                        at.address
                    ),
                    faults,
                );
            }
        }
    }
}

/// The encapsulation that a section configures, otherwise `other`.
fn encap_or(section: &Section<'_>, other: Encap, faults: &mut Faults) -> Encap {
    let entry = section.entry("encap");
    entry.and_then(|entry| entry.parsed(value::encap, faults)).unwrap_or(other)
}

/// A real server's values. Absent or faulty ones have their defaults; the default of the
/// encapsulation is its service's.
fn values(section: &Section<'_>, encap: Encap, faults: &mut Faults) -> RealValues {
    let mut numbers = RealValues::default().numbers();
    let mut faulty = Vec::new();
    let keys = RealValues::KEYS.into_iter().zip(RealValues::MOST);
    for (number, (key, most)) in numbers.iter_mut().zip(keys) {
        let Some(entry) = section.entry(key) else { continue };
        match entry.number(0..=most, faults) {
            Some(written) => *number = written,
            None => faulty.push(key),
        }
    }
    let encap = encap_or(section, encap, faults);
    let values = RealValues { encap, ..RealValues::from_numbers(numbers) };
    if let Some((keys, why)) = values.mismatch()
        && !keys.iter().any(|key| faulty.contains(key))
        && let Some(entry) = section.entry(keys[0])
    {
        entry.fault(why, faults);
    }
    values
}

/// Reports the fault at the later listen and names the earlier one.
fn report_overlap(one: &ListenAt<'_>, other: &ListenAt<'_>, faults: &mut Faults) {
    let (earlier, later) =
        if one.entry.offset() < other.entry.offset() { (one, other) } else { (other, one) };
    let ListenAt { listen, service, entry } = earlier;
    let message = if later.listen == *listen && later.entry.line == entry.line {
        format!("{listen} is given twice; keep one")
    } else {
        format!(
            "{} overlaps {listen} of service {service} at line {}; give each port to one service \
             only",
            later.listen, entry.line
        )
    };
    later.entry.fault(message, faults);
}
