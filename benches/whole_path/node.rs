//! A node of the topology: a network namespace, its counters, and the programs that run in it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddrV4;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;
use vstun::netns;

use crate::sandbox;

/// A network namespace, held open by a process that does nothing.
pub(crate) struct Node {
    name: &'static str,
    cpu: usize,
    anchor: Child,
}

impl Node {
    /// A new namespace whose programs all run on `cpu`.
    pub(crate) fn new(name: &'static str, cpu: usize) -> Result<Self> {
        netns::add(name)?;
        let anchor = enter(name)
            .args(["sleep", "infinity"])
            .spawn()
            .with_context(|| format!("start in the namespace {name}"))?;
        let node = Self { name, cpu, anchor };
        // Addresses usable at once, and devices that send nothing by themselves.
        for key in ["accept_dad", "accept_ra", "router_solicitations"] {
            node.sysctl(&format!("net/ipv6/conf/default/{key}"), "0")?;
        }
        // BBR, the default on some machines, paces by timers whose work is attributed to the
        // program that runs when they fire. This alternative is permitted in every namespace.
        node.sysctl("net/ipv4/tcp_congestion_control", "reno")?;
        // Room for thousands of short connections a second.
        node.sysctl("net/ipv4/ip_local_port_range", "10240 65535")?;
        Ok(node)
    }

    /// The name `ip netns` knows it by.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Runs a command in the namespace; its words are separated by spaces.
    pub(crate) fn run(&self, command: &str) -> Result<()> {
        netns::output(enter(self.name).args(command.split_whitespace())).map(drop)
    }

    /// Sets a kernel parameter, named as under `/proc/sys`.
    pub(crate) fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        self.write(&format!("/proc/sys/{key}"), value)
    }

    /// Writes a file of the namespace (`/sys/class/net`, `/proc/sys/net`).
    pub(crate) fn write(&self, path: &str, value: &str) -> Result<()> {
        let script = format!("echo {value} > {path}");
        netns::output(enter(self.name).args(["sh", "-c", &script])).map(drop)
    }

    /// Packets that have left by `device`.
    pub(crate) fn sent_packets(&self, device: &str) -> Result<u64> {
        let table = fs::read_to_string(format!("/proc/{}/net/dev", self.anchor.id()))?;
        let fields = table
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(device)?.strip_prefix(':'))
            .with_context(|| format!("no device {device} in {}", self.name))?;
        // Eight receive columns, then bytes and packets sent.
        let packets = fields.split_whitespace().nth(9).context("short line in net/dev")?;
        Ok(packets.parse()?)
    }

    /// Whether some program listens there.
    pub(crate) fn listens(&self, address: SocketAddrV4) -> Result<bool> {
        let table = fs::read_to_string(format!("/proc/{}/net/tcp", self.anchor.id()))?;
        let bits = u32::from_ne_bytes(address.ip().octets());
        let local = format!("{bits:08X}:{:04X}", address.port());
        const LISTEN: &str = "0A";
        Ok(table.lines().any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            fields.next() == Some(&local) && fields.nth(1) == Some(LISTEN)
        }))
    }

    /// UDP datagrams of either family delivered to programs.
    pub(crate) fn datagrams(&self) -> Result<u64> {
        let table = fs::read_to_string(format!("/proc/{}/net/snmp6", self.anchor.id()))?;
        let v6 = table.lines().find_map(|line| line.strip_prefix("Udp6InDatagrams"));
        let v6: u64 = v6.context("no Udp6InDatagrams")?.trim().parse()?;
        let table = fs::read_to_string(format!("/proc/{}/net/snmp", self.anchor.id()))?;
        let mut rows = table.lines().filter_map(|line| line.strip_prefix("Udp: "));
        let (names, values) = rows.next().zip(rows.next()).context("no UDP counters")?;
        let mut pairs = names.split_whitespace().zip(values.split_whitespace());
        let (_, value) =
            pairs.find(|(name, _)| *name == "InDatagrams").context("no InDatagrams")?;
        Ok(value.parse::<u64>()? + v6)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.anchor.kill();
        let _ = self.anchor.wait();
    }
}

/// A program running in a node. Killed when dropped, and by the kernel if the harness dies first.
pub(crate) struct Program {
    name: String,
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    log: PathBuf,
}

impl Program {
    /// Starts `command` and waits until it reports that it is ready (sd_notify(3)).
    pub(crate) fn start(node: &Node, name: &str, command: &[&str]) -> Result<Self> {
        let notify = sandbox::scratch().join(format!("{}.notify", name.replace(' ', "-")));
        let _ = fs::remove_file(&notify);
        let readiness = UnixDatagram::bind(&notify)?;
        readiness.set_read_timeout(Some(READY_POLL))?;
        let mut program = Self::spawn(node, name, command, &notify)?;
        let mut message = [0; 256];
        program.await_ready(|| match readiness.recv(&mut message) {
            Ok(length) => Ok(message[..length].starts_with(b"READY=1")),
            Err(_) => Ok(false),
        })?;
        Ok(program)
    }

    /// Starts `command`, which sends no readiness message, and waits until it listens at `address`.
    pub(crate) fn start_listener(
        node: &Node,
        name: &str,
        command: &[&str],
        address: SocketAddrV4,
    ) -> Result<Self> {
        let mut program = Self::spawn(node, name, command, Path::new(""))?;
        program.await_ready(|| {
            thread::sleep(READY_POLL);
            node.listens(address)
        })?;
        Ok(program)
    }

    fn spawn(node: &Node, name: &str, command: &[&str], notify: &Path) -> Result<Self> {
        let log = sandbox::scratch().join(format!("{}.log", name.replace(' ', "-")));
        let mut child = enter(node.name)
            .args(["nice", "-n", PRIORITY, "taskset", "-c", &node.cpu.to_string()])
            .args(command)
            .env("NOTIFY_SOCKET", notify)
            .env("RUST_LOG", "info")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log)?)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        let orders = child.stdin.take().context("no standard input")?;
        let answers = BufReader::new(child.stdout.take().context("no standard output")?);
        Ok(Self { name: name.to_owned(), child, orders, answers, log })
    }

    /// Sends one order and waits for its answer.
    pub(crate) fn ask(&mut self, order: &str) -> Result<Value> {
        writeln!(self.orders, "{order}").with_context(|| self.obituary())?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        ensure!(!line.is_empty(), self.obituary());
        let answer: Value = serde_json::from_str(&line)?;
        match answer.get("error") {
            Some(error) => bail!("{}: {order}: {error}", self.name),
            None => Ok(answer),
        }
    }

    /// An error with the program's last log line if it has ended.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                Err(anyhow!("{} ended with {status}: {}", self.name, self.last_words()))
            }
        }
    }

    /// The process ID; `ip`, `setpriv`, `nice` and `taskset` have been replaced by the program.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Repeats `is_ready` until it returns true.
    fn await_ready(&mut self, mut is_ready: impl FnMut() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            self.check_alive()?;
            if is_ready()? {
                return Ok(());
            }
        }
        bail!(
            "{} was not ready after {} s: {}",
            self.name,
            START_LIMIT.as_secs(),
            self.last_words()
        )
    }

    fn obituary(&self) -> String {
        format!("{} does not answer: {}", self.name, self.last_words())
    }

    /// The last line the program logged.
    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().last().unwrap_or("its log is empty").to_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command in the namespace `name`, which dies with the harness.
fn enter(name: &str) -> Command {
    let mut command = netns::at(name, "setpriv");
    command.args(["--pdeathsig", "KILL", "--"]);
    command
}

/// The nice value of everything that is measured: equal among them, ahead of other programs on the
/// machine.
pub(crate) const PRIORITY: &str = "-15";
/// The time limit for a daemon to get ready.
const START_LIMIT: Duration = Duration::from_secs(15);
/// The interval of these checks.
const READY_POLL: Duration = Duration::from_millis(50);
