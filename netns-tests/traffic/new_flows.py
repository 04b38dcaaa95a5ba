"""new_flows.py ADDRESS PORT RATE SECONDS COMMAND...: opens RATE new connections a second for
SECONDS. After the first second it runs COMMAND, or sends SIGKILL to PID for `kill PID`. A SYN
without an answer is sent again after a second (RFC 6298), so a connection with such a SYN went to a
real server that did not answer, unless the machine stood still for a second. Prints `MILLISECONDS
LOST ALL`: from the command's end until the last such connection began (0: none began later), how
many they were, and how many connections there were. """

import os
import selectors
import signal
import socket
import subprocess
import sys
import time

RETRANSMISSION = 1.2
TCP_INFO_LEN, TOTAL_RETRANS = 104, 100  # struct tcp_info of linux/tcp.h
address, port, rate, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
command = sys.argv[5:]
waiting = selectors.DefaultSelector()
family = socket.AF_INET6 if ":" in address else socket.AF_INET
began = time.monotonic()
done_at, opened, lost = None, 0, []


def was_lost(client):
    """Whether its SYN was sent again. A short pause of the machine makes a handshake slow only."""
    info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_LEN)
    return int.from_bytes(info[TOTAL_RETRANS:], sys.byteorder) > 0


def collect(until):
    """Closes the connections whose handshakes have ended, until then."""
    while True:
        left = max(0, until - time.monotonic())
        for key, _ in waiting.select(left):
            waiting.unregister(key.fileobj)
            if was_lost(key.fileobj):
                lost.append(key.data)
            key.fileobj.close()
        if left == 0:
            return


while (start := began + opened / rate) < began + seconds:
    collect(start)
    if done_at is None and start - began >= 1:
        asked_at = time.monotonic()
        if command[0] == "kill":
            os.kill(int(command[1]), signal.SIGKILL)
        else:
            subprocess.run(command, check=True)
        # However long it took, the seconds that are left have as many connections.
        done_at = time.monotonic()
        began += done_at - asked_at
    client = socket.socket(family, socket.SOCK_STREAM)
    client.setblocking(False)
    client.connect_ex((address, port))
    waiting.register(client, selectors.EVENT_WRITE, time.monotonic())
    opened += 1
collect(time.monotonic() + RETRANSMISSION)
lost += [key.data for key in waiting.get_map().values() if was_lost(key.fileobj)]
last = max(lost, default=done_at)
print(max(0, round((last - done_at) * 1000)), len(lost), opened)
