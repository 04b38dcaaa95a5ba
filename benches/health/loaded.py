"""The work on load from the real servers: one of three has its CPU taken by others."""

import os
import signal
import subprocess
import time
from types import SimpleNamespace

import bed
import peers

VSTUN, WITHOUT = "vstun-director", 'load = "off"'
AGENT = 9181
# Requests a second of all clients, and what one costs its server.
RATE, COST = 90, 0.005
TAKERS = 5
# Seconds until weights have followed, and of a measurement.
FOLLOWS, LASTS = 5, 5
# The part of its share before that counts as back, and the limit in seconds.
BACK, BACK_WITHIN = 0.9, 10
TARGET = ("<=", 0.6)
GROUPS = f"{bed.RUN}/cgroup"


def loaded(plan):
    """Clients' p99 by load of the real servers, and without; and how soon the share is back."""
    groups = make_groups()
    try:
        return rows(plan, groups)
    finally:
        bed.end_all()
        for group in groups.values():
            while subprocess.run(["rmdir", group], stderr=subprocess.DEVNULL).returncode:
                time.sleep(0.1)


def make_groups():
    """A control group for each real server's host, whose waiting tasks its agent sees."""
    os.mkdir(GROUPS)
    bed.sh(f"mount -t cgroup2 none {GROUPS}")
    groups = {}
    for number in [1, 2, 3]:
        groups[number] = f"{GROUPS}/vstun-bench-{os.getpid()}-{number}"
        os.mkdir(groups[number])
        weight = f"{groups[number]}/cpu.weight"
        if os.path.exists(weight):
            # Programs beside the bench, in groups of their own, do not make one of the three slow.
            with open(weight, "w") as file:
                file.write("10000")
    return groups


def rows(plan, groups):
    client = build(groups)
    takers = []
    for number in range(TAKERS):
        taker = peers.python("real1", f"taker{number}", "-c", "while True: pass", cpu="1")
        join(groups[1], taker)
        takers.append(taker)
    pause(takers)
    by_weight = rounds(plan, client, takers, "wrr")
    by_connections = rounds(plan, client, takers, "wlc")
    work = "one of three real servers has its CPU taken"
    without = by_weight[False]
    return [
        (work, "p99 of requests", "ms", VSTUN, by_weight[True].p99, WITHOUT, without.p99, TARGET),
        (work, "p50 of requests", "ms", VSTUN, by_weight[True].p50, WITHOUT, without.p50, None),
        (work, "its share of requests", "", VSTUN, by_weight[True].share, None, None, None),
        (work, "its share is back after", "s", VSTUN, by_weight[True].back, None, None,
         ("<=", BACK_WITHIN)),
        (work, "p99 of requests by wlc", "ms", VSTUN, by_connections[True].p99, WITHOUT,
         by_connections[False].p99, None),
        (work, "its share by wlc", "", VSTUN, by_connections[True].share, WITHOUT,
         by_connections[False].share, None),
    ]


def rounds(plan, client, takers, scheduler):
    """What was measured with and without load."""
    seen = {}
    for by_load in [False, True]:
        seen[by_load] = SimpleNamespace(p50=[], p99=[], share=[], back=[])
    for _ in range(min(plan.rounds, 4)):
        for by_load, one in seen.items():
            director = start(by_load, scheduler)
            ask(client, FOLLOWS)
            before = ask(client, LASTS)[2]
            resume(takers)
            ask(client, FOLLOWS)
            middle, slow, share = ask(client, LASTS)
            one.p50.append(middle)
            one.p99.append(slow)
            one.share.append(share)
            pause(takers)
            if by_load and scheduler == "wrr":
                one.back.append(until_back(client, before))
            director.end()
    return seen


def build(groups):
    """Three real servers, of which the first has a CPU of its own, and a client."""
    for name in ["client", "director", "real1", "real2", "real3"]:
        bed.add_node(name)
    bed.wire(1, "client", "director")
    bed.node("client", f"ip route add {peers.VIP}/32 via 10.1.0.2")
    for number in [1, 2, 3]:
        name = f"real{number}"
        bed.wire(number + 1, "director", name)
        bed.node(name, f"ip route add 10.1.0.0/24 via 10.{number + 1}.0.1")
        cpu = "1" if number == 1 else bed.CPU
        words = [f"{peers.HERE}/load.py", "web", name, str(COST)]
        web = peers.python(name, f"{name}-web", *words, cpu=cpu)
        web.process.stdout.readline()
        join(groups[number], web)
        agent = f'agent = "10.{number + 1}.0.2:{AGENT}"\nagent_cgroup = "{groups[number]}"\n'
        peers.real_server(name, [f"10.{number + 1}.0.1"], agent)
    bed.place_receivers()
    client = peers.python("client", "client", f"{peers.HERE}/load.py", "client")
    client.process.stdout.readline()
    return client


def join(group, program):
    with open(f"{group}/cgroup.procs", "w") as file:
        file.write(str(program.pid))


def start(by_load, scheduler):
    """The director, which asks the agents in both cases."""
    keys = f'load = "{"agent" if by_load else "off"}"\n'
    keys += f'[[service.check]]\ntype = "agent"\nport = {AGENT}\ninterval = "500ms"\n'
    reals = [f"10.{number}.0.2" for number in [2, 3, 4]]
    web = peers.service("web", f"{peers.VIP}:{peers.WEB}/tcp", reals, keys, scheduler)
    return peers.director("director", "w1b", [web])


def ask(client, seconds):
    """p50 and p99 of requests in milliseconds, and the share of the first real server."""
    answer = client.ask(f"requests {peers.VIP} {peers.WEB} {RATE} {seconds} real1")
    return [float(word) for word in answer]


def until_back(client, before):
    """Seconds until the first real server has its share again, by requests of a second each."""
    began = time.monotonic()
    while time.monotonic() < began + 3 * BACK_WITHIN:
        if ask(client, 1)[2] >= before * BACK:
            break
    return time.monotonic() - began


def resume(takers):
    for taker in takers:
        os.kill(taker.pid, signal.SIGCONT)


def pause(takers):
    for taker in takers:
        os.kill(taker.pid, signal.SIGSTOP)
