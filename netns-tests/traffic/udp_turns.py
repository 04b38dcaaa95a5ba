"""udp_turns.py ADDRESS PORT N [OWN-PORT]: sends N datagrams from one port, each after the answer to
the previous one, and prints how many were answered."""

import socket
import sys

address, port, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
client = socket.socket(family, socket.SOCK_DGRAM)
client.settimeout(10)
if len(sys.argv) > 4:
    client.bind(("", int(sys.argv[4])))
client.connect((address, port))
answered = 0
for number in range(n):
    question = b"%d " % number + bytes(range(256)) * (number % 5)
    client.send(question)
    answered += client.recv(65535).endswith(question[:64])
print(answered)
