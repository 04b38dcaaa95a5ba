//! The checks of all services: for each real server and virtual IP, without duplicates.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::rule::Rules;
use super::spec::{CheckSpec, Probe, Via};
use crate::model::{AdminState, Encap, Listen, RealSpec};

/// The largest number of checks of a director, counted per real server: it keeps their state and
/// results in memory.
pub const MAX_CHECKS: usize = 65_536;

/// Where a probe goes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Destination {
    /// A virtual IP, or the real server's own address.
    pub address: IpAddr,
    /// The port; 0 where the probe has none.
    pub port: u16,
}

/// One check of one real server. Equal checks run once.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PlannedCheck {
    /// The real server.
    pub real: IpAddr,
    /// How packets to it are encapsulated.
    pub encap: Encap,
    /// Where the probe goes.
    pub destination: Destination,
    /// The check as configured.
    pub spec: Arc<CheckSpec>,
}

impl PlannedCheck {
    /// Whether its probes go through the tunnel.
    #[must_use]
    pub fn is_tunnelled(&self) -> bool {
        self.destination.address != self.real
    }
}

/// The input of a plan: one service as configured.
#[derive(Clone, Copy, Debug)]
pub struct ServiceInput<'a> {
    /// The service's name.
    pub name: &'a str,
    /// Where it listens.
    pub listens: &'a [Listen],
    /// Its real servers.
    pub reals: &'a [RealSpec],
    /// Its checks.
    pub checks: &'a [Arc<CheckSpec>],
    /// Its quorum and panic threshold.
    pub rules: Rules,
    /// Whether weights follow the load that agents report.
    pub load: bool,
}

/// The checks of one service's real servers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServicePlan {
    /// The service's name.
    pub name: String,
    /// Its name in the plan before; `None`: it was not in that.
    pub before: Option<String>,
    /// Its quorum and panic threshold.
    pub rules: Rules,
    /// Whether weights follow the load that agents report.
    pub load: bool,
    /// Where it listens.
    pub listens: Vec<Listen>,
    /// Its real servers.
    pub reals: Vec<RealPlan>,
}

/// The checks of a real server in one service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RealPlan {
    /// Its address.
    pub address: IpAddr,
    /// Its weight.
    pub weight: u32,
    /// Whether the operator has it out of service.
    pub out: bool,
    /// Its checks, as indexes of [`Plan::checks`].
    pub checks: Vec<usize>,
}

/// The checks of all services.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Plan {
    /// The checks, without duplicates.
    pub checks: Vec<PlannedCheck>,
    /// The services with their real servers.
    pub services: Vec<ServicePlan>,
}

impl Plan {
    /// The plan of these services.
    #[must_use]
    pub fn new<'a>(services: impl IntoIterator<Item = ServiceInput<'a>>) -> Self {
        let mut plan = Self::default();
        let mut indexes = HashMap::new();
        for service in services {
            // A last resort is not checked: no other real server could take its flows.
            let checked = service.reals.iter().filter(|real| !real.last_resort);
            let reals = checked.map(|real| {
                let checks = service.checks.iter();
                let planned = checks.flat_map(|spec| planned(spec, real, service.listens));
                RealPlan {
                    address: real.address,
                    weight: real.values.weight,
                    out: real.state != AdminState::Up,
                    checks: planned
                        .map(|check| index_of(check, &mut plan.checks, &mut indexes))
                        .collect(),
                }
            });
            let reals = reals.collect();
            let (name, before) = (service.name.to_owned(), Some(service.name.to_owned()));
            let (rules, load, listens) = (service.rules, service.load, service.listens.to_vec());
            plan.services.push(ServicePlan { name, before, rules, load, listens, reals });
        }
        plan
    }

    /// The plan with the operator's changes since the configuration was read: `state` returns the
    /// wanted state of a service's real server, if it is known.
    #[must_use]
    pub fn with_states(mut self, state: impl Fn(&str, IpAddr) -> Option<AdminState>) -> Self {
        for service in &mut self.services {
            for real in &mut service.reals {
                if let Some(state) = state(&service.name, real.address) {
                    real.out = state != AdminState::Up;
                }
            }
        }
        self
    }

    /// The plan for services of which these have other names than before: each old name with the
    /// new one. Another service may have the old name now.
    #[must_use]
    pub fn renamed(mut self, names: &[(String, String)]) -> Self {
        let old_of: HashMap<&str, &str> =
            names.iter().map(|(old, new)| (new.as_str(), old.as_str())).collect();
        let given_up: HashSet<&str> = names.iter().map(|(old, _)| old.as_str()).collect();
        for service in &mut self.services {
            let name = service.name.as_str();
            service.before = match old_of.get(name) {
                Some(old) => Some((*old).to_owned()),
                None => Some(name).filter(|name| !given_up.contains(name)).map(str::to_owned),
            };
        }
        self
    }
}

/// The check's index in the list; adds it if it is new.
fn index_of(
    check: PlannedCheck,
    checks: &mut Vec<PlannedCheck>,
    indexes: &mut HashMap<PlannedCheck, usize>,
) -> usize {
    *indexes.entry(check.clone()).or_insert_with(|| {
        checks.push(check);
        checks.len() - 1
    })
}

fn planned<'a>(
    spec: &'a Arc<CheckSpec>,
    real: &RealSpec,
    listens: &[Listen],
) -> impl Iterator<Item = PlannedCheck> + use<'a> {
    let (real, encap) = (real.address, real.values.encap);
    let destinations = destinations(spec, real, listens).into_iter();
    destinations.map(move |destination| {
        let spec = Arc::clone(spec);
        PlannedCheck { real, encap, destination, spec }
    })
}

/// The destinations of a check of `real`, in a service with those listens: through the tunnel each
/// virtual IP, otherwise the real server's own address. Empty if the check has no port and no
/// listen of its transport provides one.
#[must_use]
pub fn destinations(spec: &CheckSpec, real: IpAddr, listens: &[Listen]) -> Vec<Destination> {
    if let Probe::Exec(_) = spec.probe {
        let first = || listens.first().map(|listen| listen.ports.first);
        let port = spec.port.or_else(first).unwrap_or_default();
        return vec![Destination { address: real, port }];
    }
    let port_at = |vip: Option<IpAddr>| match (spec.probe.transport(), spec.port) {
        (None, _) => Some(0),
        (Some(_), Some(port)) => Some(port),
        (Some(transport), None) => listens
            .iter()
            .find(|one| one.protocol == transport && vip.is_none_or(|vip| one.address == vip))
            .map(|listen| listen.ports.first),
    };
    let mut vips: Vec<Option<IpAddr>> = Vec::new();
    match spec.via {
        Via::Direct => vips.push(None),
        Via::Tunnel => {
            for listen in listens {
                if !vips.contains(&Some(listen.address)) {
                    vips.push(Some(listen.address));
                }
            }
        }
    }
    let at = |vip: Option<IpAddr>| {
        Some(Destination { address: vip.unwrap_or(real), port: port_at(vip)? })
    };
    vips.into_iter().filter_map(at).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::health::spec::{ExecProbe, Timing};

    fn spec(via: Via, port: Option<u16>) -> Arc<CheckSpec> {
        Arc::new(CheckSpec { probe: Probe::Tcp, via, port, timing: Timing::DEFAULT })
    }

    fn listens(texts: &[&str]) -> Vec<Listen> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn real(address: &str) -> RealSpec {
        RealSpec::new(address.parse().unwrap(), 1)
    }

    fn shown(plan: &Plan) -> Vec<String> {
        let one = |check: &PlannedCheck| {
            format!("{} {}:{}", check.real, check.destination.address, check.destination.port)
        };
        plan.checks.iter().map(one).collect()
    }

    #[test]
    fn a_check_of_several_listens_or_services_with_the_same_text_is_one() {
        let reals = [real("10.0.0.11"), real("10.0.0.12")];
        let (web, secure) = (
            listens(&["192.0.2.10:80/tcp"]),
            listens(&["192.0.2.10:443/tcp", "192.0.2.10:8443/tcp"]),
        );
        let checks = [spec(Via::Tunnel, Some(80))];
        let same = [spec(Via::Tunnel, Some(80))];
        let input = |name, listens, checks| ServiceInput {
            name,
            listens,
            reals: &reals,
            checks,
            rules: Rules::DEFAULT,
            load: false,
        };
        let plan = Plan::new([input("web", &web, &checks), input("secure", &secure, &same)]);
        assert_eq!(shown(&plan), ["10.0.0.11 192.0.2.10:80", "10.0.0.12 192.0.2.10:80"]);
        for service in &plan.services {
            assert_eq!(service.reals[1].checks, [1], "{}", service.name);
        }
    }

    /// No other real server could take its flows.
    #[test]
    fn the_last_resort_is_not_checked() {
        let fallback = RealSpec { last_resort: true, ..real("10.0.0.12") };
        let plan = Plan::new([ServiceInput {
            name: "web",
            listens: &listens(&["192.0.2.10:80/tcp"]),
            reals: &[real("10.0.0.11"), fallback],
            checks: &[spec(Via::Tunnel, None)],
            rules: Rules::DEFAULT,
            load: false,
        }]);
        assert_eq!(shown(&plan), ["10.0.0.11 192.0.2.10:80"]);
        assert_eq!(plan.services[0].reals.len(), 1);
    }

    #[test]
    fn a_tunnelled_check_probes_each_virtual_ip_and_a_direct_one_the_real_server() {
        let listens = listens(&[
            "192.0.2.10:80/tcp",
            "192.0.2.10:443/tcp",
            "[2001:db8::10]:443/tcp",
            "192.0.2.11:53/udp",
        ]);
        let reals = [real("10.0.0.11")];
        let plan = |checks: &[Arc<CheckSpec>]| {
            let (name, rules) = ("web", Rules::DEFAULT);
            shown(&Plan::new([ServiceInput {
                name,
                listens: &listens,
                reals: &reals,
                checks,
                rules,
                load: false,
            }]))
        };
        let tunnelled = plan(&[spec(Via::Tunnel, None)]);
        assert_eq!(tunnelled, ["10.0.0.11 192.0.2.10:80", "10.0.0.11 2001:db8::10:443"]);
        let elsewhere = plan(&[spec(Via::Tunnel, Some(8080))]);
        assert_eq!(elsewhere.len(), 3);
        assert_eq!(plan(&[spec(Via::Direct, None)]), ["10.0.0.11 10.0.0.11:80"]);
    }

    #[test]
    fn a_program_has_the_check_s_port_or_that_of_the_first_listen() {
        let exec = |port| CheckSpec {
            probe: Probe::Exec(ExecProbe { command: vec!["/check".to_owned()], dynamic: false }),
            via: Via::Direct,
            port,
            timing: Timing::DEFAULT,
        };
        let address = IpAddr::from([10, 0, 0, 11]);
        let some = ["192.0.2.10:53/udp", "192.0.2.10:80-89/tcp"];
        for (port, texts, expected) in [
            (Some(8080), &some[..], 8_080),
            (None, &some, 53),
            (None, &some[1..], 80),
            (None, &[], 0),
        ] {
            let found = destinations(&exec(port), address, &listens(texts));
            assert_eq!(found, [Destination { address, port: expected }], "{port:?} {texts:?}");
        }
    }
}
