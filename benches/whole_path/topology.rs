//! Three nodes and three wires, made so that cost can be read honestly:
//!
//! ```text
//!   client ──── requests ────► director ──── tunnelled requests ────► real server
//!      ▲                                                                   │
//!      └───────────────────────────── replies ─────────────────────────────┘
//! ```
//!
//! - Each veth's receive work runs in a kernel thread of its own (threaded NAPI): the sender is not billed for it.
//! - 1,500-byte packets arrive everywhere (`tso off` at the sender), and receive offload merges them (GRO).
//! - A bounded `pfifo` gives back-pressure; without it bursts are lost at the peer's 256-entry ring.
//! - Everything is pinned to one CPU, or the director alone to another.
//! - Each wire has addresses of both families.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{self, Command};

use anyhow::{Context, Result, ensure};

use crate::node::{Node, PRIORITY, checked};

/// The client's address on the request wire, the source of every request.
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
pub(crate) const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
/// The director's address on the tunnel wire, the source of every tunnelled packet.
pub(crate) const DIRECTOR: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);
pub(crate) const DIRECTOR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1);
/// The real server's address on the tunnel wire.
pub(crate) const REAL: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 2);
pub(crate) const REAL_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2);

/// Which CPU runs what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placement {
    /// The director's processes and its receive threads.
    pub(crate) director: usize,
    /// Client and real server.
    pub(crate) others: usize,
}

/// The nodes, and the devices whose counters and threads are read.
pub(crate) struct Topology {
    pub(crate) client: Node,
    pub(crate) director: Node,
    pub(crate) real: Node,
    /// Where clients' packets reach the director.
    pub(crate) uplink: String,
    /// Where tunnelled packets leave the director.
    pub(crate) tunnel_wire: String,
    /// Where replies leave the real server.
    pub(crate) reply_wire: String,
    /// Threads of the kernel that do the director's receive work.
    pub(crate) director_receive: Vec<u32>,
}

impl Topology {
    /// Makes everything; the namespaces vanish with the run.
    pub(crate) fn build(placement: Placement) -> Result<Self> {
        let client = Node::new("client", placement.others)?;
        let director = Node::new("director", placement.director)?;
        let real = Node::new("real", placement.others)?;
        let mark = mark();
        let name = |role: &str| format!("{role}{mark}");
        let (uplink, tunnel_wire, reply_wire) = (name("dc"), name("dr"), name("rc"));
        wire(1, (&client, &name("cd"), 1), (&director, &uplink, 2))?;
        wire(2, (&director, &tunnel_wire, 1), (&real, &name("rd"), 2))?;
        wire(3, (&real, &reply_wire, 2), (&client, &name("cr"), 1))?;
        director.sysctl("net/ipv4/ip_forward", "1")?;
        director.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        // TUNs, all that is made from now on, get no link-local address: in its name the kernel would send into them.
        for node in [&director, &real] {
            node.sysctl("net/ipv6/conf/default/addr_gen_mode", "1")?;
        }
        // A tunnelled client must send segments smaller by the outer header (advmss): 1,440 for 1,460.
        real.run(&format!("ip route add {CLIENT}/32 via 10.3.0.1 advmss 1440"))?;
        real.run(&format!("ip route add {CLIENT_V6}/128 via 2001:db8:3::1 advmss 1400"))?;
        let director_receive = [&uplink, &tunnel_wire]
            .map(|device| receive_thread(device, placement.director))
            .into_iter()
            .collect::<Result<_>>()?;
        for device in [name("cd"), name("cr"), name("rd"), name("rc")] {
            receive_thread(&device, placement.others)?;
        }
        Ok(Self { client, director, real, uplink, tunnel_wire, reply_wire, director_receive })
    }

    /// Sends the client's packets for `vip` to the director.
    pub(crate) fn announce(&self, vip: IpAddr) -> Result<()> {
        let (next, source): (&str, IpAddr) = match vip {
            IpAddr::V4(_) => ("10.1.0.2", CLIENT.into()),
            IpAddr::V6(_) => ("2001:db8:1::2", CLIENT_V6.into()),
        };
        let vip = alone(vip);
        self.client.run(&format!("ip route replace {vip} via {next} src {source}"))
    }

    /// Gives a director's TUN a queue that outlasts 100 ms without the CPU: every director the same.
    pub(crate) fn deepen_queue(&self, tun: &str) -> Result<()> {
        self.director.run(&format!("ip link set {tun} txqueuelen 5000"))
    }

    /// Shapes the replies' wire to 1 Gbit/s, or gives it its plain queue back.
    pub(crate) fn shape_replies(&self, shaped: bool) -> Result<()> {
        let queue = if shaped { SHAPER } else { QUEUE };
        self.real.run(&format!("tc qdisc replace dev {} root {queue}", self.reply_wire))
    }
}

/// The prefix that holds this address and no other.
pub(crate) fn alone(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}

/// A node, its device, and its host number on the wire.
type End<'a> = (&'a Node, &'a str, u8);

/// The `number`th wire is 10.`number`.0.0/24 and 2001:db8:`number`::/64.
fn wire(number: u8, left: End<'_>, right: End<'_>) -> Result<()> {
    let mut link = Command::new("ip");
    link.args(["link", "add", left.1, "netns", left.0.name(), "type", "veth"]);
    link.args(["peer", "name", right.1, "netns", right.0.name()]);
    checked(&mut link)?;
    for (node, device, host) in [left, right] {
        node.run(&format!("ip addr add 10.{number}.0.{host}/24 dev {device}"))?;
        node.run(&format!("ip addr add 2001:db8:{number}::{host}/64 dev {device} nodad"))?;
        node.run(&format!("ethtool -K {device} tso off gro on"))?;
        node.run(&format!("ip link set {device} up"))?;
        node.run(&format!("tc qdisc replace dev {device} root {QUEUE}"))?;
        let knobs =
            [("threaded", "1"), ("gro_flush_timeout", "100000"), ("napi_defer_hard_irqs", "2")];
        for (knob, value) in knobs {
            node.write(&format!("/sys/class/net/{device}/{knob}"), value)?;
        }
    }
    Ok(())
}

/// Finds the threaded NAPI of `device` and pins it.
fn receive_thread(device: &str, cpu: usize) -> Result<u32> {
    let prefix = format!("napi/{device}-");
    let id = fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|id| {
            let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
            name.starts_with(&prefix)
        })
        .with_context(|| {
            format!("no receive thread for {device}: threaded NAPI needs Linux 5.12")
        })?;
    let pinned = checked(Command::new("taskset").args(["-pc", &cpu.to_string(), &id.to_string()]));
    let raised = checked(Command::new("renice").args(["-n", PRIORITY, "-p", &id.to_string()]));
    ensure!(pinned.and(raised).is_ok(), "cannot pin the receive thread of {device} to CPU {cpu}");
    Ok(id)
}

/// Two characters that keep this run's device names, and so its kernel threads' names, apart from another run's.
fn mark() -> String {
    let digit = |n: u32| char::from_digit(n % 36, 36).unwrap_or('0');
    [digit(process::id() / 36), digit(process::id())].iter().collect()
}

/// More than one TCP window, so that a stream is held back and not cut.
const QUEUE: &str = "pfifo limit 5000";
/// 1 Gbit/s with bursts of 1 ms; room for a whole TCP window, since a loss here would measure TCP's recovery.
const SHAPER: &str = "tbf rate 1gbit burst 128kb limit 8mb";
