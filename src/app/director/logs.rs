//! Warnings of the packet thread, at most once a minute for each sort.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::app::log_throttle::LogThrottle;
use crate::balancer::FloodNotice;
use crate::control::counted;
use crate::sys::tun::{self, Tun};
use crate::wire::icmp::TunnelCause;

/// Real servers and sorts of errors remembered for the throttle. Only errors about packets that
/// were sent to a real server are recorded here. With more real servers than this the entry that
/// was logged longest ago is replaced.
const REMEMBERED: usize = 1_024;

/// Tunnel errors, by real server and sort.
#[derive(Debug, Default)]
pub(super) struct TunnelLog {
    seen: HashMap<(IpAddr, &'static str), LogThrottle>,
    unverified: LogThrottle,
}

impl TunnelLog {
    /// Records an error that quotes a packet sent to this real server.
    pub(super) fn note(&mut self, now: Instant, real: IpAddr, cause: TunnelCause) {
        let what = describe(cause);
        let Some(count) = self.count(now, real, what) else { return };
        let times = counted(count, "time");
        match cause {
            TunnelCause::PathMtu(mtu) => {
                let lost = if mtu < needed(real) {
                    format!(
                        "; IPv6 clients' packets of 1280 bytes need {} and go in fragments",
                        needed(real)
                    )
                } else {
                    String::new()
                };
                log::warn!(
                    address:% = real, count;
                    "real server {real}: {what}: {mtu} bytes ({times}){lost}"
                );
            }
            _ => log::warn!(address:% = real, count; "real server {real}: {what} ({times})"),
        }
    }

    /// Records an error that quotes no such packet.
    pub(super) fn note_unverified(&mut self, now: Instant, real: IpAddr) {
        if let Some(count) = self.unverified.note(now) {
            log::warn!(
                address:% = real, count;
                "ICMP errors about packets that were not sent: {count} since the last report, the \
                 last one about {real}; they change nothing"
            );
        }
    }

    /// Whether to log this about the real server now.
    pub(super) fn is_news(&mut self, now: Instant, real: IpAddr, what: &'static str) -> bool {
        self.count(now, real, what).is_some()
    }

    /// The number of errors since the last line, if one is to be logged now.
    fn count(&mut self, now: Instant, real: IpAddr, what: &'static str) -> Option<u64> {
        let key = (real, what);
        if self.seen.len() >= REMEMBERED && !self.seen.contains_key(&key) {
            self.seen.retain(|_, throttle| !throttle.is_due(now));
            if self.seen.len() >= REMEMBERED
                && let Some(oldest) = self
                    .seen
                    .iter()
                    .min_by_key(|(_, throttle)| throttle.logged())
                    .map(|(key, _)| *key)
            {
                self.seen.remove(&oldest);
            }
        }
        self.seen.entry(key).or_default().note(now)
    }
}

/// The path MTU at which the tunnel carries the 1280 bytes that every IPv6 sender may send (RFC
/// 8200 section 5). Over IPv4 the tunnel's packets may be fragmented (RFC 4213 section 3.2.2), over
/// IPv6 not.
fn needed(real: IpAddr) -> u16 {
    if real.is_ipv4() { 0 } else { 1320 }
}

fn describe(cause: TunnelCause) -> &'static str {
    match cause {
        TunnelCause::ProtocolUnreachable => {
            "protocol unreachable: vstun-realserver does not run there, or cannot keep up \
             (`vstun stats` there)"
        }
        TunnelCause::PortUnreachable => {
            "port unreachable: nothing there receives GUE; does vstun-realserver run?"
        }
        TunnelCause::NoTunnel => {
            "port unreachable: a tunnel module of its kernel refuses the packets; vstun-realserver \
             gets them if it runs there, and says at its start which module to unload"
        }
        TunnelCause::HostUnreachable => "host unreachable: is it up?",
        TunnelCause::Prohibited => {
            "refused by a firewall on the path; let IP protocols 4 and 41 (IPv6 inside) pass, or \
             47 for GRE, or the UDP port of GUE"
        }
        TunnelCause::Unreachable(_) => "unreachable",
        TunnelCause::PathMtu(_) => "the path takes smaller packets",
        TunnelCause::TimeExceeded => "time exceeded on the path: a routing loop?",
        TunnelCause::Other(_) => "an ICMP error",
    }
}

/// Logs that a service has entered or left flood mode: at most one line in some seconds each.
pub(super) fn flood(notice: &FloodNotice) {
    let FloodNotice { service, new_flows, connections, capacity, without_entry, .. } = notice;
    if notice.entered {
        log::warn!(
            service:% = service;
            "service {service}: flood mode: {new_flows} new flows in this second, {connections} of \
             {capacity} connections in use"
        );
    } else {
        log::info!(
            service:% = service;
            "service {service}: flood mode is over: {} placed without an entry in floods so far, \
             {connections} of {capacity} connections in use",
            counted(*without_entry, "packet")
        );
    }
}

/// Flows forwarded without an entry because the table was full: logged at the first, then
/// throttled.
#[derive(Debug, Default)]
pub(super) struct FullLog {
    known: u64,
    throttle: LogThrottle,
}

impl FullLog {
    /// Records the counter's value.
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
                count = without_entry;
                "flows without an entry: {} placed by hash since the connection table was full \
                 or a service flooded; raise max_connections",
                counted(without_entry, "packet")
            );
        }
    }
}

/// Packets dropped because the TUN's queue was full.
#[derive(Debug, Default)]
pub(super) struct QueueLog {
    known: u64,
    looked: Option<Instant>,
    throttle: LogThrottle,
}

impl QueueLog {
    /// The time between two reads of the kernel's counter.
    const INTERVAL: Duration = Duration::from_secs(1);

    /// Reads the drop counter of that TUN, at most once in an interval.
    pub(super) fn look(&mut self, tun: &Tun) {
        let now = Instant::now();
        if self.looked.is_some_and(|looked| now.duration_since(looked) < Self::INTERVAL) {
            return;
        }
        self.looked = Some(now);
        let lost = tun::dropped(&tun.name()).unwrap_or_default().to_program;
        let new = lost.saturating_sub(std::mem::replace(&mut self.known, lost));
        if new > 0
            && let Some(count) = self.throttle.note_many(new, now)
        {
            log::warn!(
                count;
                "{} lost because the TUN's queue was full: this director does not keep up",
                counted(count, "packet")
            );
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn real(number: usize) -> IpAddr {
        IpAddr::from([
            10,
            0,
            u8::try_from(number >> 8).unwrap(),
            u8::try_from(number & 0xff).unwrap(),
        ])
    }

    /// Whatever forged errors name, those about a real server have their own lines.
    #[test]
    fn forged_errors_of_any_number_do_not_mute_a_genuine_one() {
        for forged in [REMEMBERED, REMEMBERED + 1] {
            let (mut log, start) = (TunnelLog::default(), Instant::now());
            (0..forged).for_each(|number| log.note_unverified(start, real(number)));
            assert_eq!(log.unverified.note(start), None, "one line a minute for all of them");
            assert_eq!(log.seen.len(), 0, "they are not remembered");
            let genuine = real(forged);
            assert_eq!(log.count(start, genuine, "down"), Some(1), "after {forged} forged ones");
        }
    }

    #[test]
    fn a_full_log_replaces_its_oldest_entry() {
        let (mut log, start) = (TunnelLog::default(), Instant::now());
        let at = |millis: usize| start + Duration::from_millis(u64::try_from(millis).unwrap());
        for number in 0..REMEMBERED {
            assert_eq!(log.count(at(number), real(number), "down"), Some(1));
        }
        assert_eq!(log.count(at(2_000), real(0), "down"), None, "it was logged within the minute");
        assert_eq!(
            (log.seen.len(), log.count(at(2_000), real(REMEMBERED), "down")),
            (REMEMBERED, Some(1))
        );
        assert_eq!(log.seen.len(), REMEMBERED);
        assert!(!log.seen.contains_key(&(real(0), "down")), "the longest ago");
        assert_eq!(log.count(at(2_000), real(7), "down"), None);
        assert_eq!(log.count(at(2_000), real(7), "slow"), Some(1), "another kind has its own line");
        assert_eq!(log.count(at(70_000), real(9_999), "down"), Some(1));
        assert_eq!(log.seen.len(), 1, "all others are older than a minute");
        assert_eq!(log.count(at(70_000), real(7), "down"), Some(1));
    }
}
