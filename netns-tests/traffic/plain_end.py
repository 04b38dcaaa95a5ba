"""plain_end.py VIP DIRECTOR [PROGRAM AHEAD]: ends a tunnel as the kernel's own tunnel does: it
writes the inner packets to a TUN that has the VIP.

With PROGRAM it also answers the inquiries of `vstun doctor`, like a daemon of that release whose
clock is AHEAD seconds ahead and whose host has no fault.
"""

import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
import time

import frames

TUNSETIFF, TUN, NO_PI = 0x400454CA, 1, 0x1000
INQUIRY, QUESTION, ANSWER = 253, 1, 2
CONFIGURED_AND_PRESENT, AT_VIP, MSS = 3, 1, 1440

vip, director = sys.argv[1:3]
program, ahead = (sys.argv[3].encode(), int(sys.argv[4])) if len(sys.argv) > 3 else (None, 0)


def answer(question):
    count, nonce = question[6:8], question[8:16]
    now = int((time.time() + ahead) * 1000)
    body = struct.pack("!QHH", now, CONFIGURED_AND_PRESENT, MSS)
    body += bytes([AT_VIP]) * int.from_bytes(count, "big")
    body += bytes([len(program)]) + program + bytes(2)
    return b"vsDQ" + bytes([1, ANSWER]) + count + nonce + body


def asked(inner):
    """The question in a packet of the tunnel, and who asks."""
    header, protocol, source = (
        (20, inner[9], inner[12:16]) if frames.version(inner) == 4 else (40, inner[6], inner[8:24])
    )
    if program is None or protocol != INQUIRY or inner[header : header + 4] != b"vsDQ":
        return None
    return inner[header:], socket.inet_ntop(frames.address_family(vip), source)


tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", b"plain0", TUN | NO_PI))
prefix = "128" if frames.family(vip) == 6 else "32"
subprocess.run(["ip", "addr", "add", f"{vip}/{prefix}", "dev", "plain0"], check=True)
subprocess.run(["ip", "link", "set", "plain0", "up"], check=True)
for name, value in [("plain0/rp_filter", "2"), ("eth0/arp_ignore", "1")]:
    with open(f"/proc/sys/net/ipv4/conf/{name}", "w") as file:
        file.write(value)
number = frames.ENCAPSULATED[frames.family(vip)]
end = socket.socket(frames.address_family(director), socket.SOCK_RAW, number)
end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
print("ready", flush=True)
while True:
    select.select([end], [], [])
    packet, (source, *_) = end.recvfrom(65535)
    # A raw socket of IPv4 has the outer header, one of IPv6 has not.
    inner = packet[(packet[0] & 15) * 4 :] if frames.family(director) == 4 else packet
    if source != director:
        continue
    if found := asked(inner):
        question, asker = found
        end.sendto(frames.ip(vip, asker, INQUIRY, answer(question)), (director, 0))
    else:
        os.write(tun, inner)
