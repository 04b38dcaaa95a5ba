//! The director's page.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::families::Families;
use super::{Page, latency, turns};
use crate::control::{
    Checks, DirectorStats, HostStatus, ListedAgent, ListedCheck, ListedReal, ListedService,
    ServiceList, Use,
};

/// The values of a director's page.
#[derive(Clone, Debug)]
pub struct DirectorPage {
    /// The program's version.
    pub version: String,
    /// Services and real servers, and drops by reason.
    pub list: ServiceList,
    /// The packet thread's counters.
    pub stats: DirectorStats,
    /// The health checks.
    pub checks: Checks,
}

/// Labels of one series.
type Labels<'a, const N: usize> = [(&'static str, &'a str); N];

impl Collector for DirectorPage {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        program(&mut families, "director", &self.version, self.stats.uptime_seconds)?;
        self.packets(&mut families)?;
        self.input_and_output(&mut families)?;
        self.tables(&mut families)?;
        turns::write(&mut families, &self.stats.turns)?;
        host(&mut families, &self.stats.host)?;
        self.vips(&mut families)?;
        self.services(&mut families)?;
        self.reals(&mut families)?;
        self.tunnels(&mut families)?;
        self.hooks(&mut families)?;
        checks(&mut families, &self.checks)?;
        agents(&mut families, &self.checks)
    }
}

impl Page for DirectorPage {
    fn append_large(&self, text: &mut String) {
        let each = || self.each_real(|real| real.latency.as_deref());
        latency::append(text, || {
            each().map(|([(_, service), (_, real)], latency)| (service, real, latency))
        });
    }
}

/// The program's version and uptime.
pub(super) fn program(
    families: &mut Families<'_>,
    role: &str,
    version: &str,
    uptime_seconds: u64,
) -> fmt::Result {
    let labels: Labels<'_, 2> = [("role", role), ("version", version)];
    families.gauges("build_info", "The program: always 1", [(labels, 1_u32)])?;
    families.gauge("uptime_seconds", "Seconds since the daemon was ready", uptime_seconds)
}

/// What the kernel does for the daemon, or has refused.
pub(super) fn kernel(
    families: &mut Families<'_>,
    offload_refused: u64,
    fast_path: bool,
) -> fmt::Result {
    let help = "How often the kernel refused a TUN with offload";
    families.counter("tun_offload_refused", help, offload_refused)?;
    families.gauge("fast_path", "Whether the fast path is in use", u32::from(fast_path))
}

/// The problems of the host, by subject.
pub(super) fn host(families: &mut Families<'_>, host: &HostStatus) -> fmt::Result {
    let mut wrong: BTreeMap<&str, u64> = BTreeMap::new();
    for one in &host.wrong {
        *wrong.entry(&one.what).or_default() += 1;
    }
    let all = host.wrong.len() as u64;
    families.gauge("host_faults", "Current problems of the host", all)?;
    let series = wrong.into_iter().map(|(what, count)| ([("what", what)], count));
    families.gauges("host_faults_by_kind", "Current problems of the host, by subject", series)?;
    let help = "Host settings that other programs undid and vstun restored";
    families.counter("host_put_back", help, host.put_back)
}

/// Named counters as series.
pub(super) fn named<'a>(
    label: &'static str,
    counts: &'a [(String, u64)],
) -> impl Iterator<Item = (Labels<'a, 1>, u64)> {
    counts.iter().map(move |(name, count)| ([(label, name.as_str())], *count))
}

impl DirectorPage {
    fn packets(&self, families: &mut Families<'_>) -> fmt::Result {
        let packets = &self.stats.packets;
        for (name, help, value) in [
            ("packets_read", "Packets read from the TUN; a super-frame is one", packets.read),
            ("packets_tunnelled", "Packets sent to real servers", packets.tunnelled),
            ("packets_carried", "Packets that the fast path carried", packets.carried),
            ("packets_replied", "Packets that the director answered itself", packets.replied),
            ("packets_ended", "Packets answered by a reset on both sides", packets.ended),
            ("packets_held", "Fragments held until their datagram's first one", packets.held),
            ("packets_probes", "Packets of the director's own health checks", packets.probes),
            (
                "packets_without_entry",
                "Packets sent without a connection entry: table full or flood mode",
                packets.without_entry,
            ),
            (
                "packets_without_template",
                "New flows placed by hash: persistence table full",
                packets.without_template,
            ),
        ] {
            families.counter(name, help, value)?;
        }
        let drops = named("reason", &self.list.drops.0);
        families.counters("packets_dropped", "Packets dropped, by reason", drops)?;
        let answered = named("reason", &self.stats.answered.0);
        let help = "Packets that the director answered itself, by reason";
        families.counters("packets_answered", help, answered)?;
        let kept = named("reason", &self.stats.not_carried.0);
        let help = "Packets at the uplinks that the fast path did not carry, by reason";
        families.counters("packets_not_carried", help, kept)
    }

    fn input_and_output(&self, families: &mut Families<'_>) -> fmt::Result {
        let stats = &self.stats;
        for (name, help, value) in [
            ("tun_dropped_packets", "Packets lost before the TUN was read", stats.tun_dropped),
            ("tun_reads", "Reads of the TUN that returned a frame", stats.reads),
            ("tun_super_frames", "Frames that held several segments", stats.super_frames),
            ("wakeups", "Turns of the packet thread that had something to do", stats.wakeups),
            ("sent_segments", "Segments and replies that the kernel accepted", stats.segments_sent),
            ("sent_bytes", "Bytes of them, with outer headers", stats.bytes_sent),
            (
                "sent_segments_fragmented",
                "Segments that did not fit the path and were fragmented",
                stats.segments_fragmented,
            ),
            ("sent_outer_fragments", "Outer fragments of these", stats.outer_fragments),
            ("send_batches", "Calls of sendmmsg", stats.batches),
            ("gue_joined_packets", "Segments in GUE sent by UDP sockets", stats.gue_joined),
            ("gue_sends", "Calls for these", stats.gue_sends),
            ("gue_padding_bytes", "Bytes of zeros behind shorter ones", stats.gue_padding),
            (
                "tunnel_errors_received",
                "ICMP errors about tunnels, the unverified ones too",
                stats.tunnel_errors_received,
            ),
        ] {
            families.counter(name, help, value)?;
        }
        let errors = named("error", &stats.send_errors.0);
        families.counters("send_errors", "Segments that the kernel refused, by error", errors)?;
        let help = "Source ports of GUE that another program has";
        families.gauge("gue_ports_taken", help, stats.gue_ports_taken)?;
        let help = "Whether the TUN delivers super-frames";
        families.gauge("tun_offload", help, u32::from(stats.offload))?;
        kernel(families, stats.offload_refused, stats.fast_path)
    }

    fn tables(&self, families: &mut Families<'_>) -> fmt::Result {
        let (list, stats) = (&self.list, &self.stats);
        let Use { current, capacity } = list.connections;
        families.gauge("connections", "Entries of the connection table", current)?;
        families.gauge("connections_max", "Entries that fit", capacity)?;
        let Use { current, capacity } = list.templates;
        families.gauge("templates", "Persistence templates", current)?;
        families.gauge("templates_max", "Persistence templates that fit", capacity)?;
        for (name, help, value) in [
            ("connections_expired", "Connections that have expired", stats.timers.expired),
            ("connections_evicted", "Connections evicted in floods", stats.timers.evicted),
            ("timers_requeued", "Timers that were queued again", stats.timers.requeued),
        ] {
            families.counter(name, help, value)?;
        }
        let fragments = &stats.fragments;
        let waiting = "Datagrams whose first fragment has not come";
        families.gauge("fragments_waiting", waiting, fragments.waiting)?;
        let decided = "Datagrams whose further fragments are awaited";
        families.gauge("fragments_decided", decided, fragments.decided)?;
        families.gauge("fragments_held_bytes", "Bytes of fragments held", fragments.held_bytes)
    }

    fn hooks(&self, families: &mut Families<'_>) -> fmt::Result {
        let hooks = &self.stats.hooks;
        for (name, help, value) in [
            ("hook_runs", "Finished runs of the hook program", hooks.run),
            ("hook_failures", "Runs that failed: not started, an exit code, killed", hooks.failed),
            ("hook_timeouts", "Runs that took too long and were killed", hooks.killed),
            ("hook_dropped", "Changes without a run, because too many were queued", hooks.dropped),
        ] {
            families.counter(name, help, value)?;
        }
        families.gauge("hook_queue", "Changes that wait for the hook program", hooks.queued)
    }

    fn vips(&self, families: &mut Families<'_>) -> fmt::Result {
        let vips: Vec<_> =
            self.list.vips.iter().map(|vip| (vip.address.to_string(), vip.announced)).collect();
        let series =
            vips.iter().map(|(vip, announced)| ([("vip", vip.as_str())], u32::from(*announced)));
        families.gauges("vip_announced", "Whether this director answers for the VIP", series)
    }

    fn services(&self, families: &mut Families<'_>) -> fmt::Result {
        let each = |figure: fn(&ListedService) -> u64| {
            let services = self.list.services.iter();
            services.map(move |service| ([("service", service.name.as_str())], figure(service)))
        };
        let info = self.list.services.iter().map(|service| {
            let checksum = service.maglev.as_ref().map_or("", |maglev| maglev.checksum.as_str());
            let labels: Labels<'_, 3> = [
                ("service", &service.name),
                ("scheduler", &service.scheduler),
                ("maglev_checksum", checksum),
            ];
            (labels, 1_u32)
        });
        let help = "The service: always 1; directors with equal checksums place flows alike";
        families.gauges("service_info", help, info)?;
        let served = each(|service| u64::from(service.outage.is_none()));
        let help = "Whether a real server of it takes new connections";
        families.gauges("service_served", help, served)?;
        let quorum = each(|service| u64::from(service.quorum.unwrap_or(true)));
        families.gauges("service_quorum", "Whether the service has its quorum", quorum)?;
        let panic = each(|service| u64::from(service.panic));
        families.gauges(
            "service_panic",
            "Whether its health checks are ignored because too many fail",
            panic,
        )?;
        let flooded = each(|service| u64::from(service.flood.active));
        families.gauges("service_flood", "Whether the service is in flood mode", flooded)?;
        let floods = each(|service| service.flood.floods);
        families.counters("service_floods", "How often it entered flood mode", floods)?;
        let without = each(|service| service.flood.without_entry);
        let help = "Packets sent without an entry in flood mode";
        families.counters("service_flood_packets", help, without)
    }

    /// A series for each real server. A removed one that still has connections is left out, since
    /// its address may be listed twice.
    fn each_real<'a, N>(
        &'a self,
        figure: impl Fn(&'a ListedReal) -> Option<N>,
    ) -> impl Iterator<Item = (Labels<'a, 2>, N)> {
        let services = self.list.services.iter();
        let reals = services
            .flat_map(|service| service.reals.iter().map(move |real| (&*service.name, real)));
        reals.filter(|(_, real)| !real.removed).filter_map(move |(service, real)| {
            Some(([("service", service), ("real", &*real.address)], figure(real)?))
        })
    }

    fn reals(&self, families: &mut Families<'_>) -> fmt::Result {
        type Figure = fn(&ListedReal) -> u64;
        let gauges: [(&str, &str, Figure); 5] = [
            ("real_up", "Whether it takes new flows", |real| u64::from(real.state == "up")),
            ("real_weight", "Its configured weight", |real| u64::from(real.weight)),
            ("real_active_connections", "Connections in an active state", |real| real.active),
            ("real_half_open_connections", "Those without a handshake", |real| real.half_open),
            ("real_inactive_connections", "Connections in other states", |real| real.inactive),
        ];
        for (name, help, figure) in gauges {
            families.gauges(name, help, self.each_real(|real| Some(figure(real))))?;
        }
        let effective = self.each_real(|real| real.effective_weight.map(f64::from));
        let help = "Its weight now, where that is not the configured one";
        families.gauges("real_effective_weight", help, effective)?;
        let full = self.each_real(|real| real.upper.map(|_| u32::from(real.full)));
        families.gauges("real_full", "Whether its upper threshold is reached", full)?;
        let reported = self.each_real(|real| real.reported);
        let help = "Connections that it reports, and those given to it since";
        families.gauges("real_reported_connections", help, reported)?;
        let templates = self.each_real(|real| Some(real.templates).filter(|&many| many > 0));
        let help = "Persistence templates that name it";
        families.gauges("real_templates", help, templates)?;
        let carried = self.each_real(|real| real.carried_packets);
        let help = "Packets to it that the fast path carried";
        families.counters("real_carried_packets", help, carried)?;
        let draining = self.each_real(|real| (real.state == "draining").then_some(1_u32));
        families.gauges("real_draining", "1 while it is drained, absent otherwise", draining)?;
        let counters: [(&str, &str, Figure); 3] = [
            ("real_connections", "Connections given to it", |real| real.connections),
            ("real_packets", "Packets sent to it", |real| real.packets),
            ("real_bytes", "Bytes of them, without outer headers", |real| real.bytes),
        ];
        for (name, help, figure) in counters {
            families.counters(name, help, self.each_real(|real| Some(figure(real))))?;
        }
        Ok(())
    }

    fn tunnels(&self, families: &mut Families<'_>) -> fmt::Result {
        let some = |count: u64| (count > 0).then_some(count);
        let dead = self.each_real(|real| some(real.protocol_unreachable));
        let help = "ICMP protocol-unreachable for its tunnel: no daemon, or its socket is full";
        families.counters("real_tunnel_refusals", help, dead)?;
        let other = self.each_real(|real| some(real.unreachable));
        let help = "Other ICMP errors about its tunnel";
        families.counters("real_tunnel_unreachable", help, other)?;
        let mtu = self.each_real(|real| real.path_mtu.map(u32::from));
        families.gauges("real_path_mtu_bytes", "The smallest reported path MTU", mtu)
    }
}

/// The reports of the load agents.
fn agents(families: &mut Families<'_>, checks: &Checks) -> fmt::Result {
    let each = |figure: fn(&ListedAgent) -> u64| {
        checks.checks.iter().filter_map(move |check| {
            let labels: Labels<'_, 2> = [("real", &check.address), ("to", &check.destination)];
            Some((labels, figure(check.agent.as_ref()?)))
        })
    };
    families.counters("agent_reports", "Reports of its load agent", each(|one| one.reports))?;
    let help = "Probes of its load agent that brought no report";
    families.counters("agent_errors", help, each(|one| one.errors))?;
    let help = "Whether its load agent's last report has expired";
    families.gauges("agent_stale", help, each(|one| u64::from(one.stale)))
}

fn checks(families: &mut Families<'_>, checks: &Checks) -> fmt::Result {
    if checks.checks.is_empty() {
        return Ok(());
    }
    let each = |check: &ListedCheck| {
        [
            ("real", check.address.clone()),
            ("check", check.check.clone()),
            ("via", check.via.clone()),
        ]
    };
    // One check at two ports of a real server has two series.
    let each = |check: &ListedCheck| (each(check), [("to", check.destination.clone())]);
    let all = &checks.checks;
    let is_up = |state: &str| state == "up" || state == "falling";
    let up = all.iter().map(|check| (each(check), u32::from(is_up(&check.state))));
    families.gauges("check_up", "Whether the check considers its real server up", up)?;
    let took = all.iter().filter_map(|check| {
        let micros = u32::try_from(check.results.first()?.microseconds).unwrap_or(u32::MAX);
        Some((each(check), f64::from(micros) / 1e6))
    });
    families.gauges("check_duration_seconds", "How long its last probe took", took)?;
    let runs = all.iter().map(|check| (each(check), check.runs));
    families.counters("check_probes", "Its probes so far", runs)?;
    let lag = u32::try_from(checks.check_lag_milliseconds).unwrap_or(u32::MAX);
    let help = "How late the most delayed probe of the last seconds was";
    families.gauge("check_lag_seconds", help, f64::from(lag) / 1e3)
}
