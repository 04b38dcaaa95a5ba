"""inquiries.py SOURCE REAL ASKER VIP SECONDS: sends tunnelled inquiries of `vstun doctor` from
SOURCE to REAL, as fast as one thread can, and prints how many answers have come to SOURCE through
the tunnel, the time until it stopped to count in milliseconds, and how many were sent."""

import socket
import sys
import time

import frames

source, real, asker, vip = sys.argv[1:5]
seconds = float(sys.argv[5])
question = b"vsDQ" + bytes([1, 1, 0, 0]) + bytes(8)
inner = frames.ip(asker, vip, 253, question.ljust(512, b"\0"))
packet = frames.tunnelled(source, real, inner)
end = socket.socket(
    frames.address_family(source), socket.SOCK_RAW, frames.ENCAPSULATED[frames.family(vip)]
)
end.bind((source, 0))
end.setblocking(False)
began = time.monotonic()
sent = answers = 0
while (elapsed := time.monotonic() - began) < seconds + 1:
    if elapsed < seconds:
        frames.send(packet)
        sent += 1
    try:
        while b"vsDQ" in end.recv(65535):
            answers += 1
    except BlockingIOError:
        time.sleep(0.0005)
print(answers, int(elapsed * 1000), sent)
