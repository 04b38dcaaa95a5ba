#!/usr/bin/env bash
# Linux TUN, ioctl TUNGETIFF: a device that was made WITHOUT IFF_NO_PI, so each packet has four bytes of packet information before
# it, is reported with the bit of IFF_NO_PI set. The kernel uses one value, 0x1000, for IFF_NO_PI (set by programs) and
# IFF_NOFILTER (set by the kernel: no socket filter is attached), and the second overlays the first. A program that is handed a
# descriptor and asks how its packets are framed gets a wrong answer, and reads each packet four bytes off.
#
# Seen (6.18): flags asked for 0x0001 (IFF_TUN), reported 0x1001; asked for 0x1001, reported 0x1001; reads have 4 bytes more
# in the first case.
# Expected: different answers for different framings.
# Needs user namespaces and /dev/net/tun.
set -euo pipefail
[[ -c /dev/net/tun ]] || { echo "needs /dev/net/tun"; exit 77; }
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
cat >tun.py <<'PY'
import fcntl, os, socket, struct, subprocess
TUNSETIFF, TUNGETIFF = 0x400454CA, 0x800454D2
print("Linux", os.uname().release)
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
for name, flags in (("with", 0x0001), ("without", 0x1001)):
    tun = open("/dev/net/tun", "r+b", buffering=0)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    told = struct.unpack("16sH22x", fcntl.ioctl(tun, TUNGETIFF, bytes(40)))[1]
    subprocess.run(["ip", "link", "set", name, "up"], check=True)
    subprocess.run(["ip", "addr", "add", f"10.{flags & 15}.{len(name)}.1/24", "dev", name], check=True)
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.sendto(b"x" * 72, (f"10.{flags & 15}.{len(name)}.2", 9))
    while True:  # others, such as router solicitations, may come before
        packet = tun.read(2000)
        at = packet.find(b"x" * 72)
        if at >= 0:
            break
    print(f"asked for {flags:#06x}, told {told & 0x1fff:#06x}, bytes before the IPv4 header: {at - 28}")
PY
unshare -r -n python3 tun.py >out || { echo "cannot make a TUN in a user namespace"; cat out; exit 77; }
cat out
diff - <(tail -n 2 out) <<'X' || { echo changed; exit 1; }
asked for 0x0001, told 0x1001, bytes before the IPv4 header: 4
asked for 0x1001, told 0x1001, bytes before the IPv4 header: 0
X
