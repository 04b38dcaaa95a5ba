//! A configuration with one change, for an operator's verb at run time.
//!
//! A verb's arguments go through the same checks as a file's values. A fault has the verb's
//! argument as its key.

use std::net::IpAddr;
use std::time::Duration;

use crate::model::{MAX_WEIGHT, RealSpec, RealValue, ServiceSpec, Target};

use super::address;
use super::bounds::{MAX_REALS, MAX_REALS_PER_SERVICE};
use super::director::Director;
use super::fault::{Fault, quoted};
use super::keys;
use super::service::ServiceConfig;
use super::value;

/// The change to the selected real servers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Edit {
    /// Set another value.
    Set(RealValue),
    /// Add them, with this weight.
    Add(u32),
    /// Remove them.
    Remove,
}

/// The services and the address that a [`Target`] selects.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Selected {
    /// The names of the services, at least one.
    pub services: Vec<String>,
    /// The real server.
    pub address: IpAddr,
}

impl Director {
    /// Resolves the target among the configured real servers.
    ///
    /// # Errors
    /// The argument that matches nothing, or more than one service.
    pub fn select(&self, target: &Target) -> Result<Selected, Fault> {
        self.select_also(target, &[])
    }

    /// As [`Self::select`], also in the services `removed`: the real server was removed from them
    /// and still has connections.
    ///
    /// # Errors
    /// As those of [`Self::select`].
    pub fn select_also(&self, target: &Target, removed: &[&str]) -> Result<Selected, Fault> {
        let address = real(&target.address)?;
        let has = |service: &&ServiceSpec| {
            removed.contains(&service.name.as_str())
                || service.reals.iter().any(|real| real.address == address)
        };
        if let Some(name) = target.service.as_deref() {
            let service = self.service(name)?;
            if !has(&service) {
                return Err(fault("address", no_real(service, address)));
            }
            return Ok(Selected { services: vec![name.to_owned()], address });
        }
        let services: Vec<_> = self.specs().filter(has).collect();
        if services.is_empty() {
            let hint = "`vstun list` names those there are";
            return Err(fault(
                "address",
                format!("{address} is not a real server of any service; {hint}"),
            ));
        }
        one_or_all(&services, target, "is in")
    }

    /// The same configuration with one change.
    ///
    /// # Errors
    /// The faulty argument, and the rule.
    pub fn edited(&self, target: &Target, edit: Edit) -> Result<Self, Fault> {
        if let Edit::Set(RealValue::Weight(weight)) | Edit::Add(weight) = edit
            && weight > MAX_WEIGHT
        {
            let hint = format!("write a number from 0 to {MAX_WEIGHT}");
            return Err(fault("weight", format!("{weight} is out of range; {hint}")));
        }
        let Selected { services, address } = match edit {
            Edit::Add(_) => self.select_new(target)?,
            _ => self.select(target)?,
        };
        let mut wanted = self.clone();
        let named = |one: &&mut ServiceConfig| services.contains(&one.spec.name);
        for ServiceConfig { spec: service, encap, .. } in wanted.services.iter_mut().filter(named) {
            let here = service.reals.iter_mut().find(|real| real.address == address);
            match (edit, here) {
                (Edit::Set(value), Some(real)) => value.set(&mut real.values),
                (Edit::Add(weight), _) => {
                    service.reals.push(RealSpec::new(address, weight).encapsulated(*encap));
                }
                _ => service.reals.retain(|real| real.address != address),
            }
        }
        wanted.check_totals()?;
        Ok(wanted)
    }

    /// The service of that name.
    ///
    /// # Errors
    /// There is no such service.
    pub fn service(&self, name: &str) -> Result<&ServiceSpec, Fault> {
        self.specs().find(|service| service.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.specs().map(|service| service.name.as_str()).collect();
            let hint = match keys::nearest(&names, name) {
                Some(meant) => format!("did you mean {meant}?"),
                None => "`vstun list` names those there are".to_owned(),
            };
            fault("service", format!("{} is not a service; {hint}", quoted(name)))
        })
    }

    /// The services that get the new real server.
    fn select_new(&self, target: &Target) -> Result<Selected, Fault> {
        let address = real(&target.address)?;
        if self.vips().contains(&address) {
            let hint = "write the real server's own address";
            return Err(fault("address", format!("{address} is a virtual IP; {hint}")));
        }
        if self.sources.contains(&address) {
            let hint = "which is the director's own address (`source`)";
            return Err(fault("address", format!("{address}, {hint}, cannot be a real server")));
        }
        let lacks =
            |service: &&ServiceSpec| service.reals.iter().all(|real| real.address != address);
        if let Some(name) = target.service.as_deref() {
            if !lacks(&self.service(name)?) {
                return Err(fault("address", format!("{address} is in service {name} already")));
            }
            return Ok(Selected { services: vec![name.to_owned()], address });
        }
        let services: Vec<_> = match target.all_services {
            true => self.specs().filter(lacks).collect(),
            false => self.specs().collect(),
        };
        match services.as_slice() {
            [] => Err(fault("address", format!("{address} is in every service already"))),
            [one] if !lacks(one) => {
                Err(fault("address", format!("{address} is in service {} already", one.name)))
            }
            several => one_or_all(several, target, "could join"),
        }
    }

    fn check_totals(&self) -> Result<(), Fault> {
        let most = MAX_REALS_PER_SERVICE;
        if let Some(service) = self.specs().find(|service| service.reals.len() > most) {
            let message =
                format!("{} has {most} real servers, as many as a service may have", service.name);
            return Err(fault("service", message));
        }
        if self.specs().map(|service| service.reals.len()).sum::<usize>() > MAX_REALS {
            return Err(fault(
                "address",
                format!("there are {MAX_REALS} real servers, as many as there may be"),
            ));
        }
        Ok(())
    }
}

/// The virtual IP that a text names.
///
/// # Errors
/// The text is not an address, or no service listens on it.
pub fn vip(director: &Director, text: &str) -> Result<IpAddr, Fault> {
    let address = address::vip(text).map_err(|message| fault("address", message))?;
    if director.vips().contains(&address) {
        return Ok(address);
    }
    Err(fault(
        "address",
        format!("no service listens on {address}; `vstun list` names the virtual IPs"),
    ))
}

/// The deadline of a drain.
///
/// # Errors
/// It does not parse, or is out of range.
pub fn deadline(text: &str) -> Result<Duration, Fault> {
    value::timeout(text).map_err(|message| fault("deadline", message))
}

fn one_or_all(services: &[&ServiceSpec], target: &Target, verb: &str) -> Result<Selected, Fault> {
    let names: Vec<String> = services.iter().map(|service| service.name.clone()).collect();
    let address = real(&target.address)?;
    if names.len() > 1 && !target.all_services {
        let shown = shown(&names);
        let hint = "name one with --service, or all of them with --all-services";
        return Err(fault(
            "service",
            format!("{address} {verb} {} services ({shown}); {hint}", names.len()),
        ));
    }
    Ok(Selected { services: names, address })
}

fn no_real(service: &ServiceSpec, address: IpAddr) -> String {
    let known: Vec<String> = service.reals.iter().map(|real| real.address.to_string()).collect();
    let name = &service.name;
    match known.is_empty() {
        true => format!("{address} is not a real server of {name}, which has none"),
        false => format!("{address} is not a real server of {name}, which has {}", shown(&known)),
    }
}

/// The first few names.
fn shown(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let more = if names.len() > SHOWN { ", …" } else { "" };
    names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ") + more
}

/// A real server's address.
///
/// # Errors
/// It is not the address of one host.
pub fn real(text: &str) -> Result<IpAddr, Fault> {
    address::real(text).map_err(|message| fault("address", message))
}

fn fault(key: &str, message: String) -> Fault {
    Fault { line: 0, key: key.to_owned(), message }
}
