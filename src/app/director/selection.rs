//! Parses and checks a client's selection of connections.

use anyhow::bail;
use ipnet::IpNet;

use crate::balancer::Selection;
use crate::balancer::snapshot::ServiceSnapshot;
use crate::balancer::tcp::ConnState;
use crate::config;
use crate::control::Which;
use crate::trace::clients;

/// How many characters of a client's text an error shows.
const SHOWN: usize = 64;

/// Parses a selection.
///
/// # Errors
/// A value does not parse; the message says what to write instead.
pub(super) fn read(which: &Which) -> anyhow::Result<Selection> {
    Ok(Selection {
        client: which.client.as_deref().map(client).transpose()?,
        real: which.address.as_deref().map(config::real).transpose()?,
        state: which.state.as_deref().map(state).transpose()?,
        service: which.service.clone(),
    })
}

/// A client's address, or a network of clients.
fn client(text: &str) -> anyhow::Result<IpNet> {
    let Some(network) = clients(text) else {
        bail!(
            "client: {:?} is not an IP address or a network; write 198.51.100.7 or 198.51.100.0/24",
            cut(text)
        );
    };
    Ok(network)
}

fn state(text: &str) -> anyhow::Result<&'static str> {
    let Some(name) = ConnState::known_name(text) else {
        bail!(
            "state: {:?} is not a state; write one of {}",
            cut(text),
            ConnState::NAMES.join(", ")
        );
    };
    Ok(name)
}

fn cut(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

/// Checks that the named service and real server exist: an empty listing after a typo would
/// mislead.
///
/// # Errors
/// There is no such service, or no such real server in it.
pub(super) fn check(selection: &Selection, services: &[ServiceSnapshot]) -> anyhow::Result<()> {
    let Selection { real, service, .. } = selection;
    let named = |one: &&ServiceSnapshot| service.as_ref().is_none_or(|name| **name == *one.name);
    let mut asked = services.iter().filter(named).peekable();
    if let (Some(name), None) = (service, asked.peek()) {
        bail!("service: {:?} is not a service; `vstun list` names those there are", cut(name));
    }
    let Some(address) = real else { return Ok(()) };
    if !asked.any(|service| service.reals.iter().any(|real| real.address == *address)) {
        let scope = service.clone().unwrap_or_else(|| "any service".to_owned());
        bail!(
            "address: {address} is not a real server of {scope}; `vstun list` names those there are"
        );
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::balancer::{Balancer, Change, Limits};
    use crate::model::{Millis, Policy, RealSpec, SchedulerKind, Seed, ServiceSpec};

    #[test]
    fn values_are_parsed_or_refused_with_advice() {
        let which = |client: &str, real: &str, state: &str| Which {
            client: Some(client.to_owned()),
            address: Some(real.to_owned()),
            state: Some(state.to_owned()),
            service: None,
        };
        let read_one = read(&which("198.51.100.7", "10.0.0.11", "established")).unwrap();
        assert_eq!(read_one.client, Some("198.51.100.7/32".parse().unwrap()));
        assert_eq!(read_one.state, Some("ESTABLISHED"));
        let network = read(&which("2001:db8::/32", "2001:db8::11", "SYN_RECV")).unwrap();
        assert_eq!(network.client, Some("2001:db8::/32".parse().unwrap()));
        for (which, word) in [
            (
                which("198.51.100", "10.0.0.11", "UDP"),
                "client: \"198.51.100\" is not an IP address",
            ),
            (which("198.51.100.0/33", "10.0.0.11", "UDP"), "or 198.51.100.0/24"),
            (which("::ffff:198.51.100.7", "10.0.0.11", "UDP"), "is not an IP address"),
            (which("198.51.100.7", "::ffff:10.0.0.11", "UDP"), "IPv4-mapped"),
            (which("198.51.100.7", "10.0.0", "UDP"), "\"10.0.0\" is not an IP address"),
            (which("198.51.100.7", "10.0.0.11", "OPEN"), "write one of SYN_RECV, SYNACK, "),
        ] {
            let error = read(&which).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn what_is_no_service_or_none_of_its_real_servers_is_refused() {
        let limits = Limits { connections: 1, refusals_per_second: 0 };
        let mut balancer = Balancer::new(limits, Seed(1, 2));
        for (name, port, real) in [("web", 80, 11), ("mail", 25, 12)] {
            let listen = format!("192.0.2.10:{port}/tcp");
            let spec = ServiceSpec {
                name: name.to_owned(),
                listens: vec![listen.parse().unwrap()],
                scheduler: SchedulerKind::RoundRobin,
                policy: Policy::default(),
                reals: vec![RealSpec::new([10, 0, 0, real].into(), 1)],
            };
            balancer.apply(Millis(0), &Change::AddService(spec)).unwrap();
        }
        let services = balancer.snapshot().services;
        let checked = |service: Option<&str>, real: Option<u8>| {
            let real = real.map(|last| [10, 0, 0, last].into());
            let service = service.map(ToOwned::to_owned);
            let selection = Selection { client: None, real, state: None, service };
            check(&selection, &services).map_err(|error| error.to_string())
        };
        for (service, real) in
            [(None, None), (Some("web"), None), (None, Some(12)), (Some("web"), Some(11))]
        {
            assert_eq!(checked(service, real), Ok(()), "{service:?} {real:?}");
        }
        for (service, real, text) in [
            (Some("wbe"), None, "service: \"wbe\" is not a service"),
            (None, Some(13), "address: 10.0.0.13 is not a real server of any service"),
            (Some("web"), Some(12), "address: 10.0.0.12 is not a real server of web"),
        ] {
            let refused = checked(service, real).unwrap_err();
            assert!(refused.starts_with(text), "{refused}");
        }
    }
}
