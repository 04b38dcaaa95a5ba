"""udp_rounds.py ADDRESS PORT CLIENT-PORT: for each number N on standard input sends N datagrams
from one port, each after the answer to the previous one, and prints `answered` and their count."""

import socket
import sys

address, port, own = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
client = socket.socket(family, socket.SOCK_DGRAM)
client.settimeout(5)
client.bind(("", own))
client.connect((address, port))
print("ready", flush=True)
for line in sys.stdin:
    answered = 0
    for number in range(int(line)):
        question = b"%d " % number + bytes(40)
        try:
            client.send(question)
            answered += client.recv(65535).endswith(question)
        except OSError as error:
            print("failed", error, flush=True)
    print("answered", answered, flush=True)
