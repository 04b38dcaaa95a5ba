//! What the packet thread says of itself, at most once a minute per kind.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::app::log_throttle::LogThrottle;
use crate::balancer::FloodNotice;
use crate::sys::raw::{Cause, TunnelError};
use crate::sys::tun;

/// Real servers that are remembered; errors about more of them are counted but not logged. Anybody can
/// send an ICMP error, though the kernel checks that it quotes a packet of protocol 4 or 41.
const REMEMBERED: usize = 1_024;

/// Tunnel errors, by real server and kind.
#[derive(Debug, Default)]
pub(super) struct TunnelLog {
    seen: HashMap<(IpAddr, &'static str), LogThrottle>,
}

impl TunnelLog {
    pub(super) fn note(&mut self, error: TunnelError) {
        let what = describe(error.cause);
        if self.seen.len() >= REMEMBERED && !self.seen.contains_key(&(error.real, what)) {
            return;
        }
        let throttle = self.seen.entry((error.real, what)).or_default();
        let Some(count) = throttle.note(Instant::now()) else { return };
        match error.cause {
            Cause::PathMtu(mtu) => {
                let lost = if mtu < needed(error.real) {
                    format!(
                        "; IPv6 clients' packets of 1280 bytes need {} and are lost",
                        needed(error.real)
                    )
                } else {
                    String::new()
                };
                log::warn!("real server {}: {what}: {mtu} bytes ({count} times){lost}", error.real);
            }
            _ => log::warn!("real server {}: {what} ({count} times)", error.real),
        }
    }
}

/// The path MTU that lets through the tunnel what every IPv6 sender may send unasked (RFC 8200 section 5). Over IPv4 the
/// tunnel's packets may be cut on the way (RFC 4213 section 3.2.2), over IPv6 not.
fn needed(real: IpAddr) -> u16 {
    if real.is_ipv4() { 0 } else { 1320 }
}

fn describe(cause: Cause) -> &'static str {
    match cause {
        Cause::ProtocolUnreachable => {
            "protocol unreachable: vstun-realserver does not run there, or cannot keep up (`vstun stats` there)"
        }
        Cause::HostUnreachable => "host unreachable: is it up?",
        Cause::Prohibited => {
            "refused by a firewall on the way; let IP protocols 4 and 41 (IPv6 inside) pass"
        }
        Cause::Unreachable(_) => "unreachable",
        Cause::PathMtu(_) => "the path takes smaller packets",
        Cause::TimeExceeded => "time exceeded on the way: a routing loop?",
        Cause::Other(_) => "an ICMP error",
    }
}

/// A service that has entered or left flood mode: at most one line in some seconds each.
pub(super) fn flood(notice: &FloodNotice) {
    let FloodNotice { service, new_flows, connections, capacity, without_entry, .. } = notice;
    if notice.entered {
        log::warn!(
            "service {service}: flood mode: {new_flows} new flows in this second, {connections} of {capacity} \
             connections in use"
        );
    } else {
        log::warn!(
            "service {service}: flood mode is over: {without_entry} packets placed without an entry in floods so \
             far, {connections} of {capacity} connections in use"
        );
    }
}

/// Flows that were forwarded without an entry, because the table was full: now, or when they began.
#[derive(Debug, Default)]
pub(super) struct FullLog {
    known: u64,
    throttle: LogThrottle,
}

impl FullLog {
    /// Takes the counter's value.
    #[inline]
    pub(super) fn note(&mut self, without_entry: u64) {
        if without_entry != self.known {
            self.write(without_entry);
        }
    }

    #[cold]
    fn write(&mut self, without_entry: u64) {
        self.known = without_entry;
        if self.throttle.note(Instant::now()).is_some() {
            log::warn!(
                "flows without an entry: {without_entry} packets placed by hash since the connection table was \
                 full or a service flooded; raise max_connections"
            );
        }
    }
}

/// Packets that the TUN's queue had no room for.
#[derive(Debug, Default)]
pub(super) struct QueueLog {
    known: u64,
    looked: Option<Instant>,
    throttle: LogThrottle,
}

impl QueueLog {
    /// Between two looks at the kernel's counter.
    const INTERVAL: Duration = Duration::from_secs(1);

    /// Looks at the counter of that TUN, at most once in an interval.
    pub(super) fn look(&mut self, tun: &str) {
        let now = Instant::now();
        if self.looked.is_some_and(|looked| now.duration_since(looked) < Self::INTERVAL) {
            return;
        }
        self.looked = Some(now);
        let lost = tun::dropped(tun).unwrap_or_default().to_program;
        let new = lost.saturating_sub(std::mem::replace(&mut self.known, lost));
        if new > 0
            && let Some(count) = self.throttle.note_many(new, now)
        {
            log::warn!(
                "{count} packets lost because the TUN's queue was full: this director does not keep up"
            );
        }
    }
}
