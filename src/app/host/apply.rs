//! Applies or undoes one step.

use std::collections::BTreeMap;
use std::io;

use anyhow::{Context, Result, anyhow};

use crate::host::{HostStep, Object, PROTOCOL, copies};
use crate::sys::netlink::packet_route::route::RouteMessage;
use crate::sys::netlink::{Netlink, RouteRequest};
use crate::sys::sysctl;

use super::state::StateFile;
use super::{gather, messages, routes};

/// The result of undoing a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Undone {
    /// It was undone.
    Yes,
    /// There was nothing to undo.
    Gone,
    /// The setting has its original value: it was never changed, or another program restored it.
    AsBefore,
    /// Another program has set another value since.
    Changed,
    /// Another running daemon relies on it, and will undo it.
    Claimed,
}

/// Applies a step. Applying it again changes nothing.
pub(super) async fn apply(step: &HostStep, replace: bool, netlink: &Netlink) -> Result<()> {
    match step {
        HostStep::Write { sysctl, to, .. } => write(sysctl, to),
        HostStep::Add(object) => {
            add(object, replace, netlink).await.with_context(|| format!("cannot make {object}"))
        }
        HostStep::Remove(object) => {
            let removed = remove(object, netlink).await;
            absent_is_fine(removed).with_context(|| format!("cannot remove {object}")).map(|_| ())
        }
    }
}

/// Undoes a step.
pub(super) async fn undo(
    step: &HostStep,
    netlink: &Netlink,
    others: &[StateFile],
) -> Result<Undone> {
    match step {
        HostStep::Write { sysctl, from, to, beside } => {
            let undone = restore(sysctl, from, to, others)?;
            if undone == Undone::Yes {
                restore_beside(beside, from)?;
            }
            Ok(undone)
        }
        HostStep::Add(object) => absent_is_fine(remove(object, netlink).await)
            .with_context(|| format!("cannot remove {object}")),
        HostStep::Remove(_) => {
            apply(&step.inverse(), false, netlink).await?;
            Ok(Undone::Yes)
        }
    }
}

fn restore(setting: &str, from: &str, to: &str, others: &[StateFile]) -> Result<Undone> {
    match sysctl::read(setting) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Undone::Gone),
        Err(error) => return Err(error).with_context(|| format!("cannot read sysctl {setting}")),
        Ok(now) if now == from && now != to => return Ok(Undone::AsBefore),
        Ok(now) if now != to => return Ok(Undone::Changed),
        Ok(_) => {}
    }
    if others.iter().any(|other| other.holder(setting, to).is_some()) {
        return Ok(Undone::Claimed);
    }
    write(setting, from).map(|()| Undone::Yes)
}

/// Restores a setting that the kernel set to `written` together with another one.
fn restore_beside(beside: &BTreeMap<String, String>, written: &str) -> Result<()> {
    for (setting, before) in beside {
        // Its interface may be gone, or another program may have set it since.
        if sysctl::read(setting).is_ok_and(|now| now == written) {
            write(setting, before)?;
        }
    }
    Ok(())
}

/// Where settings can be written.
pub(crate) const WRITABLE: &str = "or run where /proc/sys/net can be written (a container needs \
                                   CAP_NET_ADMIN and a writable /proc/sys)";

fn write(setting: &str, value: &str) -> Result<()> {
    sysctl::write(setting, value).map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => format!(
                "; set it from outside with `sysctl -w {setting}={value}` before the start (for an \
                 interface that is made later, the same of `default`), {WRITABLE}"
            ),
            _ => String::new(),
        };
        anyhow!("cannot set sysctl {setting} to {value}: {error}{advice}")
    })
}

async fn add(object: &Object, replace: bool, netlink: &Netlink) -> io::Result<()> {
    let added = match object {
        Object::Proxy { address, link } => {
            let link = netlink.index(link).await?;
            netlink.add_proxy(link, *address, PROTOCOL).await
        }
        Object::Address { address, link } => {
            let link = netlink.index(link).await?;
            let full = messages::full(*address);
            if replace && address.is_ipv4() {
                // The kernel changes the scope of no existing address.
                absent_is_fine(netlink.remove_address(link, *address, full).await)?;
            }
            netlink.add_served_address(link, *address, full, replace).await
        }
        Object::Route { address, link, table, source } => {
            let link = netlink.index(link).await?;
            let message = routes::host_route(*address, link, *table, *source);
            netlink.add_route(message, replace).await
        }
        Object::Neighbour { address, link, source } => {
            let link = netlink.index(link).await?;
            netlink.add_route(routes::neighbour(*address, link, *source), replace).await
        }
        Object::Rule { from, table, priority } => {
            netlink.add_rule(messages::rule_message(*from, *table, *priority)).await
        }
        // `copy` fills the table, since it needs the routes to copy.
        Object::Copies { .. } => Ok(()),
    };
    match added {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

async fn remove(object: &Object, netlink: &Netlink) -> io::Result<()> {
    match object {
        Object::Proxy { address, link } => {
            netlink.remove_proxy(netlink.index(link).await?, *address).await
        }
        Object::Address { address, link } => {
            let link = netlink.index(link).await?;
            netlink.remove_address(link, *address, messages::full(*address)).await
        }
        Object::Route { address, link, table, source } => {
            let link = netlink.index(link).await?;
            netlink.remove_route(routes::host_route(*address, link, *table, *source)).await
        }
        // With any source.
        Object::Neighbour { address, link, .. } => {
            let link = netlink.index(link).await?;
            netlink.remove_route(routes::neighbour(*address, link, None)).await
        }
        Object::Rule { from, table, priority } => {
            netlink.remove_rule(messages::rule_message(*from, *table, *priority)).await
        }
        Object::Copies { table } => empty(*table, netlink).await,
    }
}

/// Removes all routes with our protocol number from the table.
async fn empty(table: u32, netlink: &Netlink) -> io::Result<()> {
    let mut ours = Vec::new();
    for family in gather::families() {
        let keep = |message: RouteMessage| {
            let route = routes::listed(&message);
            ours.extend(route.filter(|route| route.table == table && route.protocol == PROTOCOL));
        };
        netlink.routes_of(&messages::version(family), table, PROTOCOL, keep).await?;
    }
    if ours.is_empty() {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    let removals = ours.iter().map(|route| RouteRequest::Remove(routes::route_message(route)));
    let refused = netlink.change_routes(&removals.collect::<Vec<_>>()).await?;
    match refused.iter().find(|refused| !ABSENT.contains(&refused.errno)) {
        Some(refused) => Err(io::Error::from_raw_os_error(refused.errno)),
        None => Ok(()),
    }
}

/// Updates a table of copies. A change that the kernel refuses does not stop the others.
pub(super) async fn copy(changes: &[copies::RouteChange], netlink: &Netlink) -> Result<()> {
    let request = |change: &copies::RouteChange| match change {
        copies::RouteChange::Replace(route) => RouteRequest::Replace(routes::route_message(route)),
        copies::RouteChange::Remove(route) => RouteRequest::Remove(routes::route_message(route)),
    };
    let requests: Vec<_> = changes.iter().map(request).collect();
    let refused = netlink.change_routes(&requests).await.context("cannot copy routes")?;
    let mut faults = refused.iter().filter_map(|refused| {
        let error = io::Error::from_raw_os_error(refused.errno);
        match changes.get(refused.index)? {
            copies::RouteChange::Replace(route) => Some(anyhow!(
                "cannot copy route {} to table {}: {error}",
                route.destination,
                route.table
            )),
            copies::RouteChange::Remove(_) if ABSENT.contains(&refused.errno) => None,
            copies::RouteChange::Remove(route) => Some(anyhow!(
                "cannot remove route {} table {}: {error}",
                route.destination,
                route.table
            )),
        }
    });
    faults.next().map_or(Ok(()), Err)
}

/// Errors of removing something that does not exist: no such route (`ESRCH`), rule or neighbour
/// (`ENOENT`), address (`EADDRNOTAVAIL`), interface (`ENODEV`, `ENXIO`).
const ABSENT: [i32; 5] =
    [libc::ESRCH, libc::ENOENT, libc::EADDRNOTAVAIL, libc::ENODEV, libc::ENXIO];

fn absent_is_fine(removed: io::Result<()>) -> io::Result<Undone> {
    match removed {
        Ok(()) => Ok(Undone::Yes),
        Err(error) if error.raw_os_error().is_some_and(|errno| ABSENT.contains(&errno)) => {
            Ok(Undone::Gone)
        }
        Err(error) => Err(error),
    }
}
