"""The works. Each returns rows: work, figure, unit, subject, its rounds, yardstick, its rounds,
target."""

import json
import os
import signal
import subprocess
import time

import bed
import loaded
import peers
import watched

VSTUN, HAPROXY = "vstun-director", "HAProxy"
# The programs that only check: by hyper, or by tokio alone; see bare.rs.
BARE = os.environ.get("BARE_BY", "hyper").split()
# Rounds of the work on failures, which waits for each real server to be back.
FAILURES = 4
# `timeout` times `fall`, milliseconds.
CUT_OFF = ("<=", 3 * 100)


def thousand(placement=bed.CPU):
    """A director that checks a thousand real servers, one that does not, and a client. Another
    real server takes the load of both."""
    for name in ["client", "checking", "plain", "reals", "loaded"]:
        bed.add_node(name)
    bed.wire(1, "client", "checking")
    bed.wire(2, "client", "plain")
    bed.wire(3, "checking", "reals")
    bed.wire(4, "plain", "reals")
    bed.wire(5, "checking", "loaded")
    bed.wire(6, "plain", "loaded")
    bed.wire(7, "loaded", "client")
    bed.place_receivers()
    bed.node("reals", "ip route add local 10.100.0.0/16 dev lo")
    for name, number in [("checking", 3), ("plain", 4)]:
        bed.node(name, f"ip route add 10.100.0.0/16 via 10.{number}.0.2")
        # Whichever of the director's addresses its probes come from, they are answered.
        for wire in {"checking": [1, 5], "plain": [2, 6]}[name]:
            bed.node("reals", f"ip route add 10.{wire}.0.0/24 via 10.{number}.0.1")
    # The client's address, reached from the loaded real server by its own wire.
    bed.node("client", "ip addr add 10.9.0.1/32 dev lo")
    bed.node("loaded", "ip route add 10.9.0.1/32 via 10.7.0.2 advmss 1440")
    peers.nginx("reals", cpu=placement)
    peers.real_server("reals", ["10.3.0.1", "10.4.0.1"], cpu=placement)
    peers.real_server("loaded", ["10.5.0.1", "10.6.0.1"])
    for what in ["echo", "sink"]:
        peers.python("loaded", what, f"{peers.HERE}/load.py", what).process.stdout.readline()
    client = peers.python("client", "client", f"{peers.HERE}/load.py", "client")
    client.process.stdout.readline()
    return client


def directors(interval, cpu=bed.CPU):
    """Both of them: one with a check of each of its thousand real servers."""
    made = {}
    for name, wire, real in [("checking", 1, "10.5.0.2"), ("plain", 2, "10.6.0.2")]:
        web = peers.http_check(interval) if name == "checking" else ""
        made[name] = peers.director(
            name,
            f"w{wire}b",
            [
                peers.service("web", f"{peers.VIP}:{peers.WEB}/tcp", peers.many(), web),
                peers.service("echo", f"{peers.VIP}:{peers.ECHO}/tcp", [real]),
                peers.service("sink", f"{peers.VIP}:{peers.SINK}/udp", [real]),
            ],
            cpu=cpu,
        )
    return made


def passed():
    """Waits until all checks have passed: failures cost something else."""
    command = f"ip netns exec checking {peers.BIN}/vstun --socket {bed.RUN}/checking.sock checks"
    deadline = time.monotonic() + 20
    while True:
        answer = subprocess.run([*command.split(), "--json"], stdout=subprocess.PIPE, check=True)
        checks = json.loads(answer.stdout)["checks"]
        bad = [one for one in checks if not one["results"] or not one["results"][0]["passed"]]
        if not bad:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(bad)} of {len(checks)} checks do not pass, as {bad[0]}")
        time.sleep(0.2)


def towards(name):
    """The client's packets to the VIP take the way of this director from now on."""
    wire = {"checking": 1, "plain": 2}[name]
    bed.node(
        "client", f"ip route replace {peers.VIP}/32 via 10.{wire}.0.2 src 10.9.0.1"
    )



def checks(plan):
    """CPU of a thousand checks a second, beside HAProxy's, which does the same at the same time,
    and a program's that does nothing else, through an equal director."""
    thousand()
    both = directors("1s")
    director, plain = both["checking"], both["plain"]
    proxy = peers.haproxy("checking", peers.many(), "1s")
    bare = [peers.bare("plain", bed.REALS, how) for how in BARE]
    time.sleep(4)
    passed()
    mine, packets, all_of_it, theirs = [], [], [], []
    least = {how: [] for how in BARE}
    for _ in range(plan.rounds):
        before = reading(director.pid, proxy.pid, bare, plain.pid)
        time.sleep(plan.window * 3)
        after = reading(director.pid, proxy.pid, bare, plain.pid)
        two, rest, *spent = [b - a for a, b in zip(before, after)]
        # Each of the two starts half of the connections; of a steady thousand a second.
        own = [ns / (two / 2) / 1000 for ns in spent[:3]]
        all_of_it.append(own[0])
        packets.append(own[1])
        mine.append(own[0] - own[1])
        theirs.append(own[2])
        for how, ns in zip(BARE, spent[3:]):
            least[how].append(ns / (rest / len(BARE)) / 1000)
    passed()
    for program in bare:
        program.works()
    work = "1,000 checks a second"
    figure = "process CPU per check without packets"
    return [
        (work, figure, "us", VSTUN, mine, HAPROXY, theirs, ("<=", 0.8)),
        (work, "packet thread's CPU per check", "us", VSTUN, packets, HAPROXY, theirs, None),
        (work, "process CPU per check", "us", VSTUN, all_of_it, HAPROXY, theirs, None),
    ] + [
        (work, "process CPU per check", "us", f"{how} alone", spent, HAPROXY, theirs, None)
        for how, spent in least.items()
    ]


def reading(director, proxy, bare, plain):
    """Connections opened at both nodes; CPU of the director, of its packet thread, of the proxy and
    of the programs that only check."""
    packets = bed.cpu(director, "packets")
    spent = [bed.cpu(director), packets, bed.cpu(proxy), *(bed.cpu(one.pid) for one in bare)]
    return bed.opened(director), bed.opened(plain), *spent


def packets(plan):
    """Packets of UDP through a director with a thousand checks configured, and without."""
    client = thousand()
    both = directors("1h")
    # The first probes are over.
    time.sleep(4)
    passed()
    rounds = {name: [] for name in both}
    for number in range(plan.rounds * 3 + 1):
        for name, director in both.items():
            towards(name)
            wire = {"checking": "w5a", "plain": "w6a"}[name]
            work = f"datagrams {peers.VIP} {peers.SINK} {plan.window}"
            figure = bed.cpu_per_packet(director.pid, wire, lambda: client.ask(work))
            if number > 0:
                rounds[name].append(figure)
    return [(
        "small UDP, 20k/s, 1,000 checks configured", "process CPU per packet", "us",
        VSTUN, rounds["checking"], "without checks", rounds["plain"], ("<=", 1.02),
    )]


def pingpong(plan):
    """Round trips through a director that checks a thousand real servers a second, through one that
    does not, and through that one while HAProxy checks the same beside it. The checked servers have
    the other CPU: of theirs a packet thread could wait for whole time slices."""
    client = thousand(placement="1")
    both = directors("1s")
    proxy = peers.haproxy("plain", peers.many(), "1s")
    time.sleep(3)
    passed()
    # Whose packets are measured, and which checks run meanwhile.
    turns = {
        "checking": ("checking", both["checking"]),
        "plain": ("plain", None),
        "proxy": ("plain", proxy),
    }
    rounds = {name: ([], []) for name in turns}
    for number in range(plan.rounds + 1):
        for name, (node, checker) in turns.items():
            towards(node)
            for program in [both["checking"], proxy]:
                os.kill(program.pid, signal.SIGCONT if program is checker else signal.SIGSTOP)
            if checker:
                time.sleep(2)
            order = f"pingpong {peers.VIP} {peers.ECHO} {plan.window * 2}"
            p50, p99 = map(float, client.ask(order))
            if number > 0:
                rounds[name][0].append(p50)
                rounds[name][1].append(p99)
    work = "64-byte ping-pong, 1,000 checks a second"
    rows = []
    for index, figure in [(1, "p99"), (0, "p50")]:
        mine, without, theirs = [rounds[name][index] for name in turns]
        target = ("<=", 1.1) if figure == "p99" else None
        rows += [
            (work, figure, "us", VSTUN, mine, "without checks", without, target),
            (work, figure, "us", HAPROXY, theirs, "without checks", without, None),
        ]
    return rows


def failure(plan):
    """A real server that dies under 200 new connections a second: until the last one goes there."""
    for name in ["client", "director", "real1", "real2", "real3"]:
        bed.add_node(name)
    bed.wire(1, "client", "director")
    bed.node("client", f"ip route add {peers.VIP}/32 via 10.1.0.2")
    daemons, reals = {}, []
    for number in [1, 2, 3]:
        bed.wire(number + 1, "director", f"real{number}")
        bed.node(f"real{number}", f"ip route add 10.1.0.0/24 via 10.{number + 1}.0.1")
        reals.append(f"10.{number + 1}.0.2")
        peers.nginx(f"real{number}")
        daemons[number] = peers.real_server(f"real{number}", [f"10.{number + 1}.0.1"])
    bed.place_receivers()
    timing = 'fast_interval = "100ms"\ntimeout = "100ms"\n'
    listen = f"{peers.VIP}:{peers.WEB}/tcp"
    peers.director(
        "director", "w1b", [peers.service("web", listen, reals, peers.http_check("1s", timing))]
    )
    time.sleep(2)
    killed, cut = [], []
    for _ in range(min(plan.rounds, FAILURES)):
        killed.append(last_lost("2", "kill", str(daemons[2].pid)))
        daemons[2].end()
        daemons[2] = peers.real_server("real2", ["10.3.0.1"])
        time.sleep(1.5)
        cut.append(last_lost("4", *"ip -n director link set w2a down".split()))
        bed.node("director", "ip link set w2a up")
        time.sleep(1.5)
    work = "a real server dies under 200 connections a second"
    return [
        (work, "daemon killed: last flow after", "ms", VSTUN, killed, None, None, ("<=", 100)),
        (work, "host cut off: last flow after", "ms", VSTUN, cut, None, None, CUT_OFF),
    ]


def last_lost(seconds, *command):
    load = [f"{peers.TRAFFIC}/new_flows.py", peers.VIP, str(peers.WEB), "200", seconds, *command]
    answer = peers.python("client", "flows", *load, cpu="1").process.communicate()[0].split()
    return float(answer[0])


ALL = {
    "checks": checks,
    "checks-packets": packets,
    "checks-pingpong": pingpong,
    "failure": failure,
    "load-agent": loaded.loaded,
    "watched": watched.datagrams,
    "watched-pingpong": watched.pingpong,
    "watched-scrape": watched.scrape,
}
