"""load.py echo|sink|client: the servers and the load of the works on health checks.

`client` takes orders on its standard input, and answers each with a line:
    pingpong ADDRESS PORT SECONDS   p50 and p99 of a round trip of 64 bytes, in microseconds
    datagrams ADDRESS PORT SECONDS  datagrams of 18 bytes sent, 20 each millisecond from 64 ports
"""

import socket
import sys
import time

from peers import ECHO, SINK


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
    # What nobody reads is dropped in the kernel, after the director.
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


def client():
    print("ready", flush=True)
    for line in sys.stdin:
        order, *arguments = line.split()
        answer = {"pingpong": pingpong, "datagrams": datagrams}[order](*arguments)
        print(*answer, flush=True)


{"echo": echo, "sink": sink, "client": client}[sys.argv[1]]()
