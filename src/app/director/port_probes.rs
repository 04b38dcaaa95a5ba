//! Connections through the tunnel to every port at every real server, for `vstun doctor`.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::app::health::CheckRun;
use crate::balancer::snapshot::ServiceSnapshot;
use crate::control::{Probed, ProbedPort};
use crate::health::plan::{Destination, PlannedCheck};
use crate::health::spec::{CheckSpec, Probe, Timing, UdpProbe, Via};
use crate::model::Protocol;

/// The most ports probed for one request: 256 at a time, each for up to a second, take eight
/// seconds.
const MOST: usize = 2_048;

/// How long a port may take to answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The probes of all single ports, and how many ports are left out.
pub(super) fn planned(services: &[ServiceSnapshot]) -> (Vec<PlannedCheck>, u64) {
    let (tcp, udp) = (spec(Protocol::Tcp), spec(Protocol::Udp));
    let (mut probes, mut left_out, mut known) = (Vec::new(), 0, HashSet::new());
    for service in services {
        for real in service.reals.iter().filter(|real| !real.removed) {
            for listen in service.listens.iter() {
                let ports = listen.ports;
                // For a range, the real server's daemon reports whether anything listens in it.
                if ports.first != ports.last || probes.len() == MOST {
                    left_out += 1;
                    continue;
                }
                if !known.insert((real.address, real.values.encap, *listen)) {
                    continue;
                }
                let spec = if listen.protocol == Protocol::Tcp { &tcp } else { &udp };
                let destination = Destination { address: listen.address, port: ports.first };
                probes.push(PlannedCheck {
                    real: real.address,
                    encap: real.values.encap,
                    destination,
                    spec: Arc::clone(spec),
                });
            }
        }
    }
    (probes, left_out)
}

fn spec(protocol: Protocol) -> Arc<CheckSpec> {
    let probe = match protocol {
        Protocol::Tcp => Probe::Tcp,
        // Passes unless the port is refused.
        Protocol::Udp => Probe::Udp(UdpProbe { send: String::new(), expect: None }),
    };
    let timing = Timing { timeout: TIMEOUT, ..Timing::DEFAULT };
    Arc::new(CheckSpec { probe, via: Via::Tunnel, port: None, timing })
}

/// The answer to the request.
pub(super) fn probed(found: Vec<CheckRun>, left_out: u64) -> Probed {
    let port = |one: CheckRun| {
        let Destination { address, port } = one.check.destination;
        ProbedPort {
            address: one.check.real,
            protocol: one.check.spec.probe.name().to_owned(),
            destination: SocketAddr::new(address, port),
            passed: one.passed,
            detail: one.detail,
        }
    };
    Probed { ports: found.into_iter().map(port).collect(), left_out }
}
