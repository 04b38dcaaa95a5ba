"""load.py echo|sink|web|client: the servers and the load of the works on health checks.

`web NAME SECONDS` spends so much CPU on each request, one after the other, and answers with its
name.

`client` takes orders on its standard input, and answers each with a line:
    pingpong ADDRESS PORT SECONDS   p50 and p99 of a round trip of 64 bytes, in microseconds
    datagrams ADDRESS PORT SECONDS  datagrams of 18 bytes sent, 20 each millisecond from 64 ports
    requests ADDRESS PORT RATE SECONDS NAME
                                    p50 and p99 of requests on connections of their own, from the
                                    start of each to the end of its answer, in milliseconds, and the
                                    share of those that NAME has answered
"""

import selectors
import socket
import sys
import time

from peers import ECHO, SINK, WEB

# Seconds that clients wait for the last answers.
PATIENCE = 10


def echo():
    server = socket.create_server(("0.0.0.0", ECHO))
    print("ready", flush=True)
    while True:
        peer, _ = server.accept()
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := peer.recv(64):
            peer.sendall(data)


def sink():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    server.bind(("0.0.0.0", SINK))
    print("ready", flush=True)
    # The kernel drops what is not read here, after the director.
    while True:
        time.sleep(3600)


def pingpong(address, port, seconds):
    peer = socket.create_connection((address, int(port)))
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    taken, end, clock = [], time.monotonic() + float(seconds), time.perf_counter_ns
    while time.monotonic() < end:
        began = clock()
        peer.sendall(b"." * 64)
        left = 64
        while left:
            left -= len(peer.recv(left))
        taken.append(clock() - began)
    taken.sort()
    return [taken[len(taken) * part // 100] / 1000 for part in (50, 99)]


def datagrams(address, port, seconds):
    flows = []
    for _ in range(64):
        flow = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        flow.connect((address, int(port)))
        flows.append(flow)
    count, began = 0, time.monotonic()
    while (now := time.monotonic()) < began + float(seconds):
        for _ in range(20):
            flows[count % 64].send(b"." * 18)
            count += 1
        time.sleep(max(0, began + count / 20_000 - now))
    return [count]


def web():
    name, cost = sys.argv[2].encode(), float(sys.argv[3])
    server = socket.create_server(("0.0.0.0", WEB), backlog=4096)
    print("ready", flush=True)
    while True:
        peer, _ = server.accept()
        try:
            peer.recv(4096)
            end = time.thread_time() + cost
            while time.thread_time() < end:
                pass
            peer.sendall(name)
        except OSError:  # a client that waits no longer
            pass
        peer.close()


def requests(address, port, rate, seconds, name):
    """At a steady rate, however long answers take."""
    waiting, taken, by_name = selectors.DefaultSelector(), [], 0
    count, began = int(float(rate) * float(seconds)), time.monotonic()
    for number in range(count + 1):
        start = began + number / float(rate)
        # After the last one all answers are waited for, as long as clients do.
        until = start if number < count else time.monotonic() + PATIENCE
        while (left := until - time.monotonic()) > 0 and (number < count or waiting.get_map()):
            for key, _ in waiting.select(left):
                peer, since, asked = key.fileobj, *key.data
                if not asked:
                    peer.send(b"GET / HTTP/1.0\r\n\r\n")
                    waiting.modify(peer, selectors.EVENT_READ, (since, True))
                    continue
                by_name += peer.recv(64) == name.encode()
                taken.append(time.monotonic() - since)
                waiting.unregister(peer)
                peer.close()
        if number < count:
            peer = socket.socket()
            peer.setblocking(False)
            peer.connect_ex((address, int(port)))
            waiting.register(peer, selectors.EVENT_WRITE, (time.monotonic(), False))
    for key in list(waiting.get_map().values()):
        taken.append(time.monotonic() - key.data[0])
        key.fileobj.close()
    taken.sort()
    p50, p99 = [taken[len(taken) * part // 100] * 1000 for part in (50, 99)]
    return [p50, p99, by_name / count]


def client():
    print("ready", flush=True)
    for line in sys.stdin:
        order, *arguments = line.split()
        orders = {"pingpong": pingpong, "datagrams": datagrams, "requests": requests}
        print(*orders[order](*arguments), flush=True)


{"echo": echo, "sink": sink, "web": web, "client": client}[sys.argv[1]]()
