"""The works on being watched: what metrics, a scrape a second and the recorder cost."""

import os
import subprocess
import time

import bed
import peers

VSTUN, OFF, HAPROXY = "vstun-director", "nothing on", "HAProxy"
# The large configuration: as many as a metrics page must support.
SERVICES, EACH = 1000, 20
METRICS = "http://127.0.0.1:9180/metrics"
EXPORTER = "http://127.0.0.1:9181/metrics"
# The scraper is on another CPU, as Prometheus is on another host.
SCRAPER_CPU = "1"
# Scrapes of each of the two exporters.
SCRAPES = 5
# Rounds of connections after which each real server must have latencies: a packet may be lost.
TRIES = 5
WATCHED = 'http = "127.0.0.1:9180"\nrecorder = 10_000\n'


def two(keys, more):
    """A director with these keys and services, one without the keys, a real server behind both,
    and a client."""
    for name in ["client", "watched", "plain", "loaded"]:
        bed.add_node(name)
    for number, name in [(1, "watched"), (2, "plain")]:
        bed.wire(number, "client", name)
        bed.wire(number + 2, name, "loaded")
    bed.wire(7, "loaded", "client")
    bed.place_receivers()
    bed.node("client", "ip addr add 10.9.0.1/32 dev lo")
    bed.node("loaded", "ip route add 10.9.0.1/32 via 10.7.0.2 advmss 1440")
    peers.real_server("loaded", ["10.3.0.1", "10.4.0.1"])
    for what in ["echo", "sink"]:
        peers.python("loaded", what, f"{peers.HERE}/load.py", what).process.stdout.readline()
    made = {}
    for number, name in [(1, "watched"), (2, "plain")]:
        real = [f"10.{number + 2}.0.2"]
        services = [
            peers.service("echo", f"{peers.VIP}:{peers.ECHO}/tcp", real),
            peers.service("sink", f"{peers.VIP}:{peers.SINK}/udp", real),
            *more,
        ]
        own = keys if name == "watched" else ""
        made[name] = peers.director(name, f"w{number}b", services, keys=own, cpu="0,1")
    client = peers.python("client", "client", f"{peers.HERE}/load.py", "client")
    client.process.stdout.readline()
    peers.python("watched", "scraper", "-c", SCRAPER, METRICS, cpu=SCRAPER_CPU).process.stdout \
        .readline()
    return client, made


# Scrapes once a second, and says so after the first time.
SCRAPER = """
import sys, time, urllib.request
while True:
    began = time.monotonic()
    with urllib.request.urlopen(sys.argv[1]) as answer:
        while answer.read(1 << 20):
            pass
    print('scraped', flush=True) if sys.stdout else None
    sys.stdout = None
    time.sleep(max(0, 1 - (time.monotonic() - began)))
"""


def large():
    """The services of the large configuration; their real servers are never asked."""
    return [
        peers.service(
            f"service-{number}",
            f"{peers.VIP}:{1000 + number}/tcp",
            [f"10.100.{real}.{number % 250 + 1}" for real in range(EACH)],
        )
        for number in range(SERVICES)
    ]


def towards(name):
    """The client's packets to the VIP take the way of this director from now on."""
    wire = {"watched": 1, "plain": 2}[name]
    bed.node("client", f"ip route replace {peers.VIP}/32 via 10.{wire}.0.2 src 10.9.0.1")


def datagrams(plan):
    """CPU of all threads for each packet: watched by HTTP, a scrape a second and a recorder."""
    client, both = two(WATCHED, [])
    rounds = {name: [] for name in both}
    for number in range(plan.rounds * 3 + 1):
        for name, director in both.items():
            towards(name)
            wire = {"watched": "w3a", "plain": "w4a"}[name]
            # At least one scrape is within.
            work = f"datagrams {peers.VIP} {peers.SINK} {plan.window + 1}"
            figure = bed.cpu_per_packet(director.pid, wire, lambda: client.ask(work))
            if number > 0:
                rounds[name].append(figure)
    return [(
        "small UDP, 20k/s, scraped each second, recorder on", "process CPU per packet", "us",
        VSTUN, rounds["watched"], OFF, rounds["plain"], ("<=", 1.05),
    )]


def pingpong(plan):
    """Round trips through a director whose 1,000 services of 20 are scraped once a second."""
    client, both = two(WATCHED, large())
    rounds = {name: ([], []) for name in both}
    for number in range(plan.rounds + 1):
        for name in both:
            towards(name)
            order = f"pingpong {peers.VIP} {peers.ECHO} {plan.window + 2}"
            p50, p99 = map(float, client.ask(order))
            if number > 0:
                rounds[name][0].append(p50)
                rounds[name][1].append(p99)
    work = f"64-byte ping-pong, {SERVICES:,} services of {EACH} scraped each second"
    watched, plain = rounds["watched"], rounds["plain"]
    return [
        (work, "p99", "us", VSTUN, watched[1], OFF, plain[1], ("<=", 1.1)),
        (work, "p50", "us", VSTUN, watched[0], OFF, plain[0], None),
    ]


def scrape(plan):
    """One scrape of as many services at HAProxy's own exporter, one after the other: of idle real
    servers, and of real servers with latencies."""
    bed.add_node("watched")
    bed.add_node("client")
    bed.wire(1, "client", "watched")
    bed.node("watched", "ip route add 10.100.0.0/16 via 10.1.0.1")
    # The packets to the real servers end here.
    bed.node("client", "ip route add blackhole 10.100.0.0/16")
    bed.node("client", f"ip route add {peers.VIP}/32 via 10.1.0.2")
    mine = peers.director("watched", "w1b", large(), keys=WATCHED)
    theirs = exporter()
    work = f"a scrape of {SERVICES:,} services of {EACH}"
    rows = scraped(plan, work, mine, theirs)
    give_latencies()
    return rows + scraped(plan, f"{work}, latencies of all", mine, theirs)


def scraped(plan, work, mine, theirs):
    """Time, size and CPU of both exporters' answers."""
    seen = {program: ([], [], []) for program in (mine, theirs)}
    for _ in range(min(plan.rounds, SCRAPES)):
        for program, url in [(mine, METRICS), (theirs, EXPORTER)]:
            before = bed.cpu(program.pid)
            seconds, size = fetch(url)
            for figures, value in zip(
                seen[program], [seconds, size / 1e6, (bed.cpu(program.pid) - before) / 1e6]
            ):
                figures.append(value)
    rows = []
    for place, (figure, unit) in enumerate([("time", "s"), ("size", "MB"), ("CPU", "ms")]):
        target = ("<=", 0.5) if place < 2 else None
        rows.append((work, figure, unit, VSTUN, seen[mine][place], HAPROXY, seen[theirs][place],
                     target))
    return rows


def give_latencies():
    """Connections from the client until each real server has latencies of both kinds."""
    for _ in range(TRIES):
        peers.python("client", "handshakes", f"{peers.HERE}/handshakes.py", peers.VIP,
                     str(SERVICES), str(EACH)).process.wait()
        page = subprocess.run(["ip", "netns", "exec", "watched", "curl", "-sSf", METRICS],
                              stdout=subprocess.PIPE, check=True, text=True).stdout
        kinds = [f"\nvstun_real_{kind}_seconds_count{{" for kind in ("handshake", "response")]
        counts = [page.count(kind) for kind in kinds]
        if counts == [SERVICES * EACH] * 2:
            return
    raise RuntimeError(f"real servers with latencies: {counts}")


def fetch(url):
    """Seconds and bytes of one answer."""
    command = ["ip", "netns", "exec", "watched", "taskset", "-c", SCRAPER_CPU, "curl", "-sSf",
               "-o", "/dev/null", "-w", "%{time_total} %{size_download}", url]
    answer = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    seconds, size = answer.stdout.split()
    return float(seconds), float(size)


def exporter():
    """HAProxy with as many servers, unchecked, and its exporter."""
    lines = [
        "global\n nbthread 1\n maxconn 100",
        "defaults\n mode http\n timeout connect 5s\n timeout client 1m\n timeout server 1m",
        f"frontend metrics\n bind {EXPORTER.split('/')[2]}",
        " http-request use-service prometheus-exporter if { path /metrics }",
    ]
    for number in range(SERVICES):
        lines.append(f"backend service-{number}")
        lines += [f" server s{real} 10.100.{real}.{number % 250 + 1}:80" for real in range(EACH)]
    config = bed.text("exporter.cfg", "\n".join(lines) + "\n")
    command = [peers.find("haproxy"), "-db", "-f", config]
    program = bed.Program("watched", "exporter", command)
    return program.until(lambda: os.path.exists(f"/proc/{program.pid}") and answers())


def answers():
    probe = ["ip", "netns", "exec", "watched", "curl", "-sf", "-o", "/dev/null",
             EXPORTER.replace("metrics", "")]
    # HAProxy answers any other path with an error, once it listens.
    return subprocess.run(probe, stderr=subprocess.DEVNULL).returncode != 7
