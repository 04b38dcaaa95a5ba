#!/usr/bin/env bash
# Linux 6.18, GRO: two IPv4 datagrams without DF that have the same identification are merged. An identification of a packet that may
# be fragmented names one datagram (RFC 6864 section 4.2), and the kernel's documentation of segmentation offloads says that a fixed
# identification is for packets with DF. A sender that keeps datagrams apart for receivers that cannot undo a merge (a raw socket of a
# tunnel, for which the boundaries of the datagrams are lost) must therefore not only avoid numbers that count up by one: two random
# ones are equal once in 65,536 pairs. Numbers that grow by two are never merged, with DF or without.
#
# Seen: 200 datagrams through a veth pair with GRO to a socket with `UDP_GRO`. Identifications all equal, no DF: merged ones. All
# equal, with DF: merged ones. Growing by two, no DF: none.
# Expected: none for equal ones without DF.
# Needs root, python3 and Debian's iproute2 and ethtool.
set -euo pipefail
for one in ip ethtool python3; do
    command -v "$one" >/dev/null || { echo "needs iproute2, ethtool and python3"; exit 77; }
done
[[ ${INSIDE:-} ]] || INSIDE=1 exec unshare --net --mount bash "$(realpath "$0")"
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
echo "Linux $(uname -r), $(ip -V)"
mount -t tmpfs tmpfs /run
ip netns add sink
ip link add near type veth peer name far
ip link set far netns sink
ip address add 192.0.2.1/24 dev near
ip link set near up
ip -n sink address add 192.0.2.2/24 dev far
ip -n sink link set far up
ethtool -K near tso off  # a veth gives only such packets to GRO
ip netns exec sink ethtool -K far gro on
ip netns exec sink sh -c 'echo 200000 >/sys/class/net/far/gro_flush_timeout; echo 2 >/sys/class/net/far/napi_defer_hard_irqs'
cat >sink.py <<'P'
import socket

UDP_GRO = 104
sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sink.setsockopt(socket.SOL_UDP, UDP_GRO, 1)
sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
sink.bind(("192.0.2.2", 9000))
sink.settimeout(1)
print("ready", flush=True)
merged = total = 0
while True:
    try:
        data = sink.recv(65536)
    except TimeoutError:
        if total:
            break
        continue
    merged += len(data) > 1000
    total += len(data) // 1000
print(total, "datagrams,", "some merged" if merged else "none merged")
P
cat >source.py <<'P'
import socket
import struct
import sys

mode, flags = sys.argv[1], int(sys.argv[2], 0)
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for number in range(200):
    identification = 8 if mode == "equal" else 1000 + 2 * number
    data = b"." * 1000
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 1028, identification, flags, 64, 17, 0,
                       socket.inet_aton("192.0.2.1"), socket.inet_aton("192.0.2.2"))
    pseudo = head[12:20] + struct.pack("!BBH", 0, 17, 1008)
    udp = struct.pack("!HHHH", 7000, 9000, 1008, 0)
    words = struct.unpack("!%dH" % ((len(pseudo + udp + data)) // 2), pseudo + udp + data)
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    udp = struct.pack("!HHHH", 7000, 9000, 1008, ~total & 0xFFFF or 0xFFFF)
    raw.sendto(head + udp + data, ("192.0.2.2", 0))
P
seen() { # MODE FLAGS EXPECTED
    ip netns exec sink python3 sink.py >seen & local pid=$!
    until grep -q ready seen; do sleep 0.05; done
    python3 source.py "$1" "$2"
    wait $pid
    echo "identifications $1, flags $2: $(tail -1 seen)"
    grep -q "^200 datagrams, $3" seen || { echo "changed: expected $3"; exit 1; }
}
seen equal 0x4000 "some merged"
seen two 0 "none merged"
seen equal 0 "some merged"
echo "as stated: Linux merges datagrams with equal identifications that may be fragmented"
