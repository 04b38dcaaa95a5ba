//! The real server's model: `[realserver]`, or the same from command-line flags.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::wire::encap::{Encap, gue};

use super::access::Access;
use super::address;
use super::director::{FastPath, boolean, busy_poll, fast_path_of};
use super::document::Document;
use super::fault::{Fault, Faults};
use super::http::{self, HttpAddress};
use super::keys;
use super::section::{ConfigEntry, Section};
use super::value;

/// The most virtual IPs of a real server.
pub const MAX_VIPS: usize = 1024;
/// The most address ranges of directors: each tunnelled packet's source is compared with all of
/// them.
pub const MAX_DIRECTORS: usize = 256;

/// How the MSS that clients learn from the SYN-ACK is kept small enough for the tunnel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MssSetting {
    /// Routes from the VIPs carry an `advmss`.
    Route,
    /// Not at all: path MTU discovery handles it.
    Off,
}

/// The load agent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AgentSettings {
    /// The address where it answers.
    pub listen: SocketAddr,
    /// The file whose first word takes the real server out of rotation.
    pub state: Option<PathBuf>,
    /// The control group whose pressure is reported; `None`: the host's.
    pub cgroup: Option<PathBuf>,
}

/// A checked real server configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RealServer {
    /// The TUN device's name.
    pub tun: String,
    /// The virtual IPs that the TUN holds.
    pub vips: Vec<IpAddr>,
    /// The directors that may send tunnelled packets.
    pub directors: Vec<IpNet>,
    /// The path of the control socket.
    pub control: PathBuf,
    /// Who may use the control socket.
    pub access: Access,
    /// The address of the server of metrics and JSON; `None`: no server.
    pub http: Option<HttpAddress>,
    /// The UDP port on which GUE is received.
    pub gue_port: u16,
    /// The longest encapsulation that the directors use: the MSS leaves room for it.
    pub encap: Encap,
    /// The load agent; `None`: there is none.
    pub agent: Option<AgentSettings>,
    /// The MSS clamp.
    pub mss: MssSetting,
    /// The priority of the rules that send packets from the VIPs to `table`.
    pub rule_priority: u32,
    /// The routing table for packets from the VIPs.
    pub table: u32,
    /// Whether super-frames are written to the TUN (virtio-net offload).
    pub offload: bool,
    /// Whether the kernel takes packets out of the tunnel by an eBPF program.
    pub fast_path: FastPath,
    /// How long an idle packet loop polls before it sleeps.
    pub busy_poll: Duration,
    /// Whether vstun merges segments that the NIC did not merge into super-frames; only with
    /// `offload`.
    pub coalesce: bool,
}

impl RealServer {
    /// The default of `tun`.
    pub const TUN: &str = "vstun0";
    /// The default of `control`.
    pub const CONTROL: &str = "/run/vstun/realserver.sock";
    /// The default of `rule_priority`.
    pub const RULE_PRIORITY: u32 = 1020;
    /// The default of `table`.
    pub const TABLE: u32 = 1020;
    /// The highest priority before the kernel's rule for table main, 32766.
    pub const MAX_RULE_PRIORITY: u32 = 32_765;

    /// A configuration from command-line flags, with defaults for the rest.
    ///
    /// # Errors
    /// Every fault of the flags; they have no line.
    pub fn from_flags(
        vips: &[String],
        directors: &[String],
        control: Option<&str>,
    ) -> Result<Self, Vec<Fault>> {
        let mut faults = Faults::default();
        let vips = flags("--vip", vips, MAX_VIPS, address::vip, &mut faults);
        let directors =
            flags("--director", directors, MAX_DIRECTORS, address::network, &mut faults);
        let control = value::control(control.unwrap_or(Self::CONTROL))
            .map_err(|message| faults.add(0, "--control", message))
            .unwrap_or_default();
        let from_vip = directors.iter().find_map(|range| Some((range, inside(range, &vips)?)));
        if let Some((range, vip)) = from_vip {
            faults.add(0, "--director", own_vip(range, vip));
        }
        faults.into_result(Some(Self { vips, directors, control, ..Self::default() }))
    }

    pub(super) fn read(document: &Document<'_>, faults: &mut Faults) -> Option<Self> {
        let section = Section::required(document, "realserver", &keys::REALSERVER, faults)?;
        let default = Self::default();
        let tun = section.entry("tun").and_then(|entry| entry.parsed(value::interface, faults));
        let control = section.entry("control");
        let control = control.and_then(|entry| entry.parsed(value::control, faults));
        let encap = section.entry("encap");
        let encap = encap.and_then(|entry| entry.parsed(value::encap, faults));
        let mss = section.entry("mss").and_then(|entry| entry.parsed(mss, faults));
        let priority = section.entry("rule_priority");
        let priority = priority.and_then(|entry| entry.number(1..=Self::MAX_RULE_PRIORITY, faults));
        let table = section.entry("table").and_then(|entry| table(&entry, faults));
        let vips = read_vips(&section, faults);
        let agent = agent(&section, &vips, faults);
        Some(Self {
            agent,
            tun: tun.unwrap_or(default.tun),
            directors: read_directors(&section, &vips, faults),
            vips,
            control: control.unwrap_or(default.control),
            access: Access::read(&section, faults),
            http: section.entry("http").and_then(|entry| entry.parsed(http::address, faults)),
            gue_port: value::gue_port(&section, faults),
            encap: encap.unwrap_or(default.encap),
            mss: mss.unwrap_or(default.mss),
            rule_priority: priority.unwrap_or(default.rule_priority),
            table: table.unwrap_or(default.table),
            offload: boolean(&section, "offload", faults),
            fast_path: fast_path_of(&section, faults),
            busy_poll: busy_poll(&section, faults),
            coalesce: boolean(&section, "coalesce", faults),
        })
    }
}

/// The defaults; the two lists without a default are empty.
impl Default for RealServer {
    fn default() -> Self {
        Self {
            tun: Self::TUN.to_owned(),
            vips: Vec::new(),
            directors: Vec::new(),
            control: Self::CONTROL.into(),
            access: Access::default(),
            http: None,
            gue_port: gue::PORT,
            encap: Encap::default(),
            agent: None,
            mss: MssSetting::Route,
            rule_priority: Self::RULE_PRIORITY,
            table: Self::TABLE,
            offload: true,
            fast_path: FastPath::Off,
            busy_poll: Duration::ZERO,
            coalesce: true,
        }
    }
}

fn flags<T: Eq + std::hash::Hash + Clone>(
    flag: &str,
    texts: &[String],
    most: usize,
    parse: impl Fn(&str) -> Result<T, String>,
    faults: &mut Faults,
) -> Vec<T> {
    if texts.is_empty() {
        faults.add(0, flag, "missing; give it at least once, or --config FILE");
    }
    if texts.len() > most {
        faults.add(
            0,
            flag,
            format!("given {} times; at most {most} are taken, give fewer", texts.len()),
        );
        return Vec::new();
    }
    let mut seen = std::collections::HashSet::new();
    let mut values = Vec::with_capacity(texts.len());
    for text in texts {
        match parse(text) {
            Ok(value) if seen.insert(value.clone()) => values.push(value),
            Ok(_) => faults.add(0, flag, format!("{text} is given twice; keep one")),
            Err(message) => faults.add(0, flag, message),
        }
    }
    values
}

fn read_vips(section: &Section<'_>, faults: &mut Faults) -> Vec<IpAddr> {
    let hint = "write vips = [\"192.0.2.10\"]";
    let Some(entry) = section.required_entry("vips", hint, faults) else { return Vec::new() };
    if entry.is_empty_list() {
        entry.fault(format!("the list is empty; {hint}"), faults);
    }
    value::set(&entry, MAX_VIPS, address::vip, faults)
}

fn read_directors(section: &Section<'_>, vips: &[IpAddr], faults: &mut Faults) -> Vec<IpNet> {
    let hint = "write who may send tunnelled packets, as in directors = [\"10.0.0.1/32\"]";
    let Some(entry) = section.required_entry("directors", hint, faults) else {
        return Vec::new();
    };
    if entry.is_empty_list() {
        entry.fault(format!("the list is empty; {hint}"), faults);
    }
    let parse = |text: &str| {
        let range = address::network(text)?;
        match inside(&range, vips) {
            Some(vip) => Err(own_vip(&range, vip)),
            None => Ok(range),
        }
    };
    value::set(&entry, MAX_DIRECTORS, parse, faults)
}

/// A VIP that is the whole range. A wider range may contain VIPs: directors and VIPs can share a
/// subnet.
fn inside(range: &IpNet, vips: &[IpAddr]) -> Option<IpAddr> {
    vips.iter().copied().find(|vip| IpNet::from(*vip) == *range)
}

fn own_vip(range: &IpNet, vip: IpAddr) -> String {
    format!("{range} is the virtual IP {vip}; write the director's own address")
}

/// The keys of the load agent. The last two have no effect without the first.
fn agent(section: &Section<'_>, vips: &[IpAddr], faults: &mut Faults) -> Option<AgentSettings> {
    let path = |key, faults: &mut Faults| {
        section.entry(key).and_then(|entry| entry.parsed(value::agent_path, faults))
    };
    let (state, cgroup) = (path("agent_state", faults), path("agent_cgroup", faults));
    let Some(entry) = section.entry("agent") else {
        for entry in
            ["agent_state", "agent_cgroup"].into_iter().filter_map(|key| section.entry(key))
        {
            let hint = "has no effect without agent; write agent = \"10.0.0.11:9181\" too";
            entry.fault(hint, faults);
        }
        return None;
    };
    let listen = entry.parsed(value::agent_address, faults)?;
    if vips.contains(&listen.ip()) {
        let hint = "write this host's own address, which its directors know";
        entry.fault(format!("{} is a virtual IP; {hint}", listen.ip()), faults);
    }
    Some(AgentSettings { listen, state, cgroup })
}

fn mss(text: &str) -> Result<MssSetting, String> {
    match text {
        "route" => Ok(MssSetting::Route),
        "off" => Ok(MssSetting::Off),
        _ => Err(format!("{} is unknown; write \"route\" or \"off\"", super::fault::quoted(text))),
    }
}

fn table(entry: &ConfigEntry<'_>, faults: &mut Faults) -> Option<u32> {
    let table = entry.number(1..=u32::MAX, faults)?;
    if let Some(name) = value::kernel_table(table) {
        entry.fault(format!("{table} is the kernel's table {name}; write another"), faults);
    }
    Some(table)
}
