//! `vstun drain --wait`: waits until no connection is left.

use std::io::{self, IsTerminal};
use std::net::IpAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;
use serde::Serialize;

use super::command::OwnOrRealArgument;
use super::{listing, terminal};
use crate::control::{ListedReal, ListedService, ServiceList, counted};

/// The time between two lists.
const PAUSE: Duration = Duration::from_millis(500);

/// The result of the wait.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(super) struct Waited {
    /// As text.
    pub(super) done: String,
    /// The remaining connections.
    pub(super) connections_left: u64,
    /// Whether there is nothing left to wait for.
    pub(super) drained: bool,
}

/// Waits for the real server's connections.
///
/// # Errors
/// No daemon answers, or the real server does not drain any more.
pub(super) fn wait(
    sockets: &[PathBuf],
    real: &OwnOrRealArgument,
    timeout: Option<Duration>,
) -> anyhow::Result<Waited> {
    let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut seen = None;
    loop {
        let progress = DrainProgress::of(&listing::list(sockets)?, real.address(), real.service());
        if let Some(waited) = progress.end(real.address())? {
            return Ok(waited);
        }
        let left = counted(progress.left, "connection");
        let now = Instant::now();
        if end.is_some_and(|end| now >= end) {
            let done = format!("{}: {left} left; it goes on draining", real.address());
            return Ok(Waited { done, connections_left: progress.left, drained: false });
        }
        if io::stderr().is_terminal() && seen.replace(progress.left) != Some(progress.left) {
            terminal::note(&format!("{left} left"));
        }
        let rest = end.map_or(PAUSE, |end| end.saturating_duration_since(now));
        thread::sleep(rest.min(PAUSE));
    }
}

/// The state of a real server in the listed services.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct DrainProgress {
    left: u64,
    /// Whether it takes new connections again in one of them.
    up: bool,
    /// Whether its remaining connections have time left.
    has_time: bool,
}

impl DrainProgress {
    fn of(list: &ServiceList, address: &str, service: Option<&str>) -> Self {
        let asked = address.parse::<IpAddr>().ok();
        let is = |real: &ListedReal| asked.is_some() && real.address.parse().ok() == asked;
        let named = |one: &&ListedService| service.is_none_or(|name| one.name == name);
        let reals = list.services.iter().filter(named).flat_map(|service| &service.reals);
        reals.filter(|real| is(real)).fold(Self::default(), |sum, real| {
            let left = real.active.saturating_add(real.inactive);
            Self {
                left: sum.left.saturating_add(left),
                up: sum.up || (real.state == "up" && !real.removed),
                has_time: sum.has_time || (left > 0 && real.deadline_seconds != Some(0)),
            }
        })
    }

    fn end(self, address: &str) -> anyhow::Result<Option<Waited>> {
        let left = counted(self.left, "connection");
        if self.up {
            bail!("{address} is up again, with {left}");
        }
        if self.has_time {
            return Ok(None);
        }
        let done = match self.left {
            0 => format!("{address}: no connection is left"),
            _ => {
                format!("{address}: the deadline is reached; {left} left, ended by the next packet")
            }
        };
        Ok(Some(Waited { done, connections_left: self.left, drained: true }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A list of services, each with the real server: state, connections, deadline.
    fn list(services: &[(&str, &str, u64, Option<u64>)]) -> ServiceList {
        let service = |&(name, state, active, deadline): &(&str, &str, u64, Option<u64>)| {
            let deadline =
                deadline.map(|left| format!(",\"deadline_seconds\":{left}")).unwrap_or_default();
            let real = format!(
                r#"{{"address":"2001:db8::11","weight":1,"state":"{state}","active":{active},
                "inactive":0,"connections":9,"packets":0,"bytes":0{deadline}}}"#
            );
            let text =
                format!(r#"{{"name":"{name}","listen":[],"scheduler":"rr","reals":[{real}]}}"#);
            serde_json::from_str(&text).unwrap()
        };
        ServiceList { services: services.iter().map(service).collect(), ..ServiceList::default() }
    }

    #[test]
    fn a_wait_ends_without_connections_or_at_the_deadline() {
        let end = |services: &[_], named: Option<&str>| {
            DrainProgress::of(&list(services), "2001:db8:0::11", named).end("2001:db8::11")
        };
        let left = |services: &[_], named| {
            end(services, named).unwrap().map(|waited| waited.connections_left)
        };
        assert_eq!(left(&[("web", "draining", 0, None)], None), Some(0));
        assert_eq!(left(&[], None), Some(0), "it was removed and is gone");
        assert_eq!(left(&[("web", "draining", 2, None)], None), None);
        assert_eq!(left(&[("web", "draining", 2, Some(1))], None), None);
        assert_eq!(left(&[("web", "draining", 2, Some(0))], None), Some(2));
        let both = [("web", "draining", 2, Some(0)), ("dns", "draining", 3, None)];
        assert_eq!(left(&both, None), None);
        assert_eq!(left(&both, Some("web")), Some(2));
        let again = end(&[("web", "up", 2, None)], None).unwrap_err().to_string();
        assert_eq!(again, "2001:db8::11 is up again, with 2 connections");
        assert!(
            left(&[("web", "up", 2, None), ("dns", "disabled", 0, None)], Some("dns")).is_some()
        );
    }
}
