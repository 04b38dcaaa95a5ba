"""The nodes of the works on health checks, their programs, and the CPU that these use."""

import atexit
import ctypes
import os
import signal
import subprocess
import time

RUN = "/run"
REALS = 1000
# All on one CPU, as in the whole path's bench.
CPU = "0"
PRIORITY = "-15"
started = []


def sh(command):
    """Runs a command whose words are separated by spaces."""
    subprocess.run(command.split(), check=True, stdout=subprocess.DEVNULL)


def node(name, command):
    """Runs a command in a node."""
    sh(f"ip netns exec {name} {command}")


def write(name, path, text):
    """Writes a file as the node sees it."""
    subprocess.run(["ip", "netns", "exec", name, "sh", "-c", f"echo {text} > {path}"], check=True)


def add_node(name):
    """A network namespace."""
    sh(f"ip netns add {name}")
    node(name, "ip link set lo up")
    for key, value in [
        ("net/ipv4/tcp_congestion_control", "reno"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
        ("net/ipv4/ip_forward", "1"),
    ]:
        write(name, f"/proc/sys/{key}", value)


def wire(number, left, right):
    """10.NUMBER.0.0/24 between two nodes. Each end receives in a kernel thread of its own, so that
    a sender does not pay for its receiver."""
    ends = [(left, f"w{number}a", 1), (right, f"w{number}b", 2)]
    sh(f"ip link add w{number}a netns {left} type veth peer name w{number}b netns {right}")
    for name, device, host in ends:
        node(name, f"ip addr add 10.{number}.0.{host}/24 dev {device}")
        node(name, f"ethtool -K {device} tso off gro on")
        node(name, f"ip link set {device} up")
        node(name, f"tc qdisc replace dev {device} root pfifo limit 5000")
        write(name, f"/sys/class/net/{device}/threaded", 1)


def place_receivers(cpu=CPU, of="w"):
    """Pins the receive threads of this run's wires."""
    for process in os.listdir("/proc"):
        try:
            if open(f"/proc/{process}/comm").read().startswith(f"napi/{of}"):
                sh(f"taskset -pc {cpu} {process}")
                sh(f"renice -n {PRIORITY} -p {process}")
        except (OSError, subprocess.CalledProcessError):
            continue


class Program:
    """A program in a node. It ends with the run."""

    def __init__(self, name, title, command, cpu=CPU):
        self.title, self.log = title, open(f"{RUN}/{title}.log", "w")
        words = f"ip netns exec {name} nice -n {PRIORITY} taskset -c {cpu}".split() + command
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=self.log, stdin=subprocess.PIPE, text=True,
            preexec_fn=die_with_parent,
        )
        self.pid = self.process.pid
        started.append(self)

    def ask(self, order):
        """Sends one order, and returns the words of the answer."""
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().split()

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def until(self, ready, limit=20):
        """Waits until it is ready, at most so many seconds."""
        deadline = time.monotonic() + limit
        while not ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.title}: {open(self.log.name).read()[-400:]}")
            time.sleep(0.05)
        return self

    def works(self):
        """Ends the run if it has logged a failure."""
        log = open(self.log.name).read()
        if self.process.poll() is not None or "failed" in log:
            raise RuntimeError(f"{self.title}: {log[-400:]}")

    def says(self, text):
        """Waits until its log has this."""
        return self.until(lambda: text in open(self.log.name).read())


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@atexit.register
def end_all():
    for program in reversed(started):
        program.end()


def cpu(pid, thread=None):
    """CPU nanoseconds of a process, or of its threads of that name."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        at = f"/proc/{pid}/task/{task}"
        if thread is None or open(f"{at}/comm").read().strip() == thread:
            total += int(open(f"{at}/schedstat").read().split()[0])
    return total


def sent(pid, device):
    """Packets that have left by a device of the process's node."""
    for line in open(f"/proc/{pid}/net/dev"):
        name, _, fields = line.partition(":")
        if name.strip() == device:
            return int(fields.split()[9])
    raise RuntimeError(f"no device {device}")


def cpu_per_packet(pid, device, work):
    """CPU microseconds of a process for each packet that leaves its node by a device."""
    before = cpu(pid), sent(pid, device)
    work()
    time.sleep(0.05)
    return (cpu(pid) - before[0]) / (sent(pid, device) - before[1]) / 1000


def opened(pid):
    """TCP connections that the process's node has opened."""
    names, values = [line.split() for line in open(f"/proc/{pid}/net/snmp") if line[:4] == "Tcp:"]
    return int(values[names.index("ActiveOpens")])


def text(name, content):
    """Writes a file that only this run sees; returns its path."""
    with open(f"{RUN}/{name}", "w") as file:
        file.write(content)
    return f"{RUN}/{name}"
