//! Five nodes and seven wires, set up so that costs can be attributed correctly:
//!
//! ```text
//!   client ──── requests ────► director ──── tunnelled requests ────► real server
//!      ▲                                                                   │
//!      └───────────────────────────── replies ─────────────────────────────┘
//! ```
//!
//! - There are two real servers with wires of their own, one for each kind of tunnel end: a
//!   namespace has room for one only, since every raw socket in it receives everything that is
//!   tunnelled to it.
//! - A further way to this project's real server leads through a switch. The director's device
//!   there takes what one send has put together whole (UDP segmentation), and the switch cuts it:
//!   for the director, that is a NIC that segments.
//! - Each veth's receive work runs in a kernel thread of its own (threaded NAPI): the sender is not
//!   billed for it.
//! - 1,500-byte packets arrive everywhere (TCP and UDP segmentation off at the sender), and receive
//!   offload merges them (GRO).
//! - A bounded `pfifo` gives back-pressure; without it bursts are lost at the peer's 256-entry
//!   ring.
//! - Everything is pinned to one CPU, or the director alone to another.
//! - Each wire has addresses of both families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{self, Command};
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use vstun::netns::{self, Device};

use crate::node::{Node, PRIORITY};

/// The client's address on the request wire, the source of every request.
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
pub(crate) const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
/// The director's address on the tunnel wire, the source of every tunnelled packet.
pub(crate) const DIRECTOR: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);
pub(crate) const DIRECTOR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1);

/// Which of the two real servers, by the program that ends its tunnels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// The bare one; sides without a tunnel use it too.
    Bare,
    /// This project's.
    Vstun,
}

impl End {
    /// The number of the wire from the director; the wire to the client has the next one.
    const fn wire(self) -> u8 {
        match self {
            Self::Bare => 2,
            Self::Vstun => 4,
        }
    }

    /// The real server's address on the tunnel wire.
    pub(crate) const fn v4(self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.wire(), 0, 2)
    }

    /// The same of IPv6.
    pub(crate) const fn v6(self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, self.wire() as u16, 0, 0, 0, 0, 2)
    }
}

/// The bare real server once more, on the same wire and by a route with itself as gateway, as
/// `neighbour_routes` makes it.
pub(crate) const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 3);
pub(crate) const NEIGHBOUR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 3);

/// This project's real server once more, behind the switch.
pub(crate) const BEHIND_NIC: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 2);

/// Which CPU runs what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placement {
    /// The director's processes and its receive threads.
    pub(crate) director: usize,
    /// Client and real server.
    pub(crate) others: usize,
}

/// A real server and the devices whose counters and queues matter.
pub(crate) struct RealNode {
    pub(crate) node: Node,
    /// Where tunnelled packets leave the director.
    pub(crate) tunnel_wire: String,
    /// Where they arrive.
    inlet: String,
    /// Where replies leave for the client.
    reply_wire: String,
    /// Where they arrive.
    outlet: String,
}

/// What stands for a NIC that segments UDP.
struct Switch {
    node: Node,
    /// Where its packets leave the director.
    wire: String,
    /// Where single datagrams leave it for the real server.
    outlet: String,
}

/// The nodes, and the devices whose counters and threads are read.
pub(crate) struct Topology {
    pub(crate) client: Node,
    pub(crate) director: Node,
    bare: RealNode,
    vstun: RealNode,
    switch: Switch,
    /// Where clients' packets leave the client.
    request_wire: String,
    /// Where they reach the director.
    pub(crate) uplink: String,
    /// Threads of the kernel that do the director's receive work.
    pub(crate) director_receive: Vec<u32>,
    placement: Placement,
}

impl Topology {
    /// Makes everything; the namespaces vanish with the run.
    pub(crate) fn build(placement: Placement) -> Result<Self> {
        let client = Node::new("client", placement.others)?;
        let director = Node::new("director", placement.director)?;
        let (request_wire, uplink) = (device("cd"), device("dc"));
        wire(1, (&client, &request_wire, 1), (&director, &uplink, 2))?;
        director.sysctl("net/ipv4/ip_forward", "1")?;
        director.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        let bare = real(&client, &director, End::Bare, placement)?;
        let vstun = real(&client, &director, End::Vstun, placement)?;
        neighbour(&director, &bare)?;
        let switch = switch(&director, &vstun, placement)?;
        // Devices made from now on, the TUNs, get no link-local address, so that the kernel sends
        // nothing into them.
        for node in [&director, &bare.node, &vstun.node] {
            node.sysctl("net/ipv6/conf/default/addr_gen_mode", "1")?;
        }
        let director_receive = [&uplink, &bare.tunnel_wire, &vstun.tunnel_wire, &switch.wire]
            .map(|device| receive_thread(device, placement.director))
            .into_iter()
            .collect::<Result<_>>()?;
        receive_thread(&request_wire, placement.others)?;
        let all = Self {
            client,
            director,
            bare,
            vstun,
            switch,
            request_wire,
            uplink,
            director_receive,
            placement,
        };
        Ok(all)
    }

    /// The real server with that tunnel end.
    pub(crate) fn real(&self, end: End) -> &RealNode {
        match end {
            End::Bare => &self.bare,
            End::Vstun => &self.vstun,
        }
    }

    fn reals(&self) -> [&RealNode; 2] {
        [&self.bare, &self.vstun]
    }

    /// Packets that have left the director for the real servers.
    pub(crate) fn tunnelled(&self) -> Result<u64> {
        let sent = |real: &RealNode| self.director.sent_packets(&real.tunnel_wire);
        let cut = self.switch.node.sent_packets(&self.switch.outlet)?;
        Ok(sent(&self.bare)? + sent(&self.vstun)? + cut)
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

    /// Gives a director's TUN a queue that lasts 100 ms without the CPU: the same for every
    /// director. `TUN_QUEUE=500` is Linux's own.
    pub(crate) fn deepen_queue(&self, tun: &str) -> Result<()> {
        let length = env::var("TUN_QUEUE").unwrap_or_else(|_| "5000".to_owned());
        self.director.run(&format!("ip link set {tun} txqueuelen {length}"))
    }

    /// Shapes requests and replies on all paths to this rate, or restores the wires' plain queues.
    pub(crate) fn shape(&self, rate: Option<&str>) -> Result<()> {
        let queue = match rate {
            Some(rate) => format!("tbf rate {rate} {SHAPER}"),
            None => queue(),
        };
        let shape = |node: &Node, device: &str| {
            node.run(&format!("tc qdisc replace dev {device} root {queue}"))
        };
        shape(&self.client, &self.request_wire)?;
        for real in self.reals() {
            shape(&real.node, &real.reply_wire)?;
            // Replies of the sides that return through the director.
            shape(&real.node, &real.inlet)?;
        }
        Ok(())
    }

    /// Whether every receiver waits for more packets to merge (the default), or delivers at once: a
    /// lone packet would be delayed by the whole wait on every wire.
    pub(crate) fn wait_to_merge(&self, waits: bool) -> Result<()> {
        let set = |node: &Node, device: &str| {
            let knobs = if waits {
                MERGING
            } else {
                [("gro_flush_timeout", "0"), ("napi_defer_hard_irqs", "0")]
            };
            receive_knobs(node, device, &knobs)
        };
        set(&self.client, &self.request_wire)?;
        set(&self.director, &self.uplink)?;
        for real in self.reals() {
            set(&self.director, &real.tunnel_wire)?;
            set(&real.node, &real.inlet)?;
            set(&real.node, &real.reply_wire)?;
            set(&self.client, &real.outlet)?;
        }
        Ok(())
    }

    /// Whether the real servers' NICs merge tunnelled packets (GRO).
    ///
    /// Without GRO a veth has no receive thread: its work is billed to the sender. So the
    /// director's figures are meaningless meanwhile.
    pub(crate) fn merge_at_real_servers(&self, merged: bool) -> Result<()> {
        let gro = if merged { "on" } else { "off" };
        for real in self.reals() {
            real.node.run(&format!("ethtool -K {} gro {gro}", real.inlet))?;
            if merged {
                receive_knobs(&real.node, &real.inlet, &[THREADED])?;
                receive_knobs(&real.node, &real.inlet, &MERGING)?;
                receive_thread(&real.inlet, self.placement.others)?;
            }
        }
        Ok(())
    }
}

/// A real server between director and client.
fn real(client: &Node, director: &Node, end: End, placement: Placement) -> Result<RealNode> {
    let (name, mark) = match end {
        End::Bare => ("bare-real", 'b'),
        End::Vstun => ("vstun-real", 'v'),
    };
    let node = Node::new(name, placement.others)?;
    let [tunnel_wire, inlet] = [device(&format!("d{mark}")), device(&format!("{mark}d"))];
    let [reply_wire, outlet] = [device(&format!("{mark}c")), device(&format!("c{mark}"))];
    let number = end.wire();
    wire(number, (director, &tunnel_wire, 1), (&node, &inlet, 2))?;
    wire(number + 1, (&node, &reply_wire, 2), (client, &outlet, 1))?;
    // A tunnelled client must send segments smaller by the outer header (advmss): 1,440 for 1,460.
    let number = number + 1;
    node.run(&format!("ip route add {CLIENT}/32 via 10.{number}.0.1 advmss 1440"))?;
    node.run(&format!("ip route add {CLIENT_V6}/128 via 2001:db8:{number}::1 advmss 1400"))?;
    for device in [&inlet, &reply_wire, &outlet] {
        receive_thread(device, placement.others)?;
    }
    Ok(RealNode { node, tunnel_wire, inlet, reply_wire, outlet })
}

/// The way to [`BEHIND_NIC`].
fn switch(director: &Node, real: &RealNode, placement: Placement) -> Result<Switch> {
    let node = Node::new("switch", placement.others)?;
    node.sysctl("net/ipv4/ip_forward", "1")?;
    let [wire_out, inlet] = [device("ds"), device("sd")];
    let [outlet, end] = [device("sv"), device("vs")];
    wire(6, (director, &wire_out, 1), (&node, &inlet, 2))?;
    wire(7, (&node, &outlet, 1), (&real.node, &end, 2))?;
    director.run(&format!("ethtool -K {wire_out} tx-udp-segmentation on"))?;
    director.run("ip route add 10.7.0.0/24 via 10.6.0.2")?;
    for device in [&inlet, &outlet, &end] {
        receive_thread(device, placement.others)?;
    }
    Ok(Switch { node, wire: wire_out, outlet })
}

/// The second addresses of a real server, and the routes to them.
fn neighbour(director: &Node, real: &RealNode) -> Result<()> {
    real.node.run(&format!("ip addr add {NEIGHBOUR}/24 dev {}", real.inlet))?;
    real.node.run(&format!("ip addr add {NEIGHBOUR_V6}/64 dev {} nodad", real.inlet))?;
    let wire = &real.tunnel_wire;
    director.run(&format!("ip route add {NEIGHBOUR}/32 via {NEIGHBOUR} dev {wire} onlink"))?;
    director.run(&format!("ip route add {NEIGHBOUR_V6}/128 via {NEIGHBOUR_V6} dev {wire} onlink"))
}

/// The prefix that holds this address and no other.
pub(crate) fn alone(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}

/// A node, its device, and its host number on the wire.
type Attached<'a> = (&'a Node, &'a str, u8);

fn plug<'a>((node, device, _): Attached<'a>) -> Device<'a> {
    Device::of(node.name(), device)
}

/// The `number`th wire is 10.`number`.0.0/24 and 2001:db8:`number`::/64.
fn wire(number: u8, left: Attached<'_>, right: Attached<'_>) -> Result<()> {
    netns::cable(plug(left), plug(right))?;
    for attached @ (node, device, host) in [left, right] {
        plug(attached).address(&format!("10.{number}.0.{host}/24"))?;
        plug(attached).address(&format!("2001:db8:{number}::{host}/64"))?;
        node.run(&format!("ethtool -K {device} tso off tx-udp-segmentation off gro on"))?;
        plug(attached).up()?;
        node.run(&format!("tc qdisc replace dev {device} root {}", queue()))?;
        receive_knobs(node, device, &[THREADED])?;
        receive_knobs(node, device, &MERGING)?;
    }
    Ok(())
}

/// How a device receives.
fn receive_knobs(node: &Node, device: &str, knobs: &[(&str, &str)]) -> Result<()> {
    knobs
        .iter()
        .try_for_each(|(knob, value)| node.write(&format!("/sys/class/net/{device}/{knob}"), value))
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
    let pinned =
        netns::output(Command::new("taskset").args(["-pc", &cpu.to_string(), &id.to_string()]));
    let raised =
        netns::output(Command::new("renice").args(["-n", PRIORITY, "-p", &id.to_string()]));
    ensure!(pinned.and(raised).is_ok(), "cannot pin the receive thread of {device} to CPU {cpu}");
    Ok(id)
}

/// A device's name for its role, with two characters that keep this run's names, and so its kernel
/// threads' names, apart from another run's.
fn device(role: &str) -> String {
    let digit = |n: u32| char::from_digit(n % 36, 36).unwrap_or('0');
    format!("{role}{}{}", digit(process::id() / 36), digit(process::id()))
}

/// A receive thread of its own.
const THREADED: (&str, &str) = ("threaded", "1");
/// Receivers wait 100 microseconds for more to merge.
const MERGING: [(&str, &str); 2] = [("gro_flush_timeout", "100000"), ("napi_defer_hard_irqs", "2")];
/// More than one TCP window, so that a stream is delayed and loses nothing. `WIRE_QUEUE=noqueue` is
/// a veth's own: what finds the peer's ring full is lost.
fn queue() -> String {
    env::var("WIRE_QUEUE").unwrap_or_else(|_| "pfifo limit 5000".to_owned())
}
/// Bursts of 1 ms at 1 Gbit/s; room for a whole TCP window, since a loss here would measure TCP's
/// recovery.
const SHAPER: &str = "burst 128kb limit 8mb";
