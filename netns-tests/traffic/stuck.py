"""stuck.py SOCKET: keeps 40 connections to a control socket, sends requests on all of them, never
reads an answer, and opens each connection again when it is closed, until it is stopped. It prints
`stuck` when all have been opened once."""

import socket
import sys
import time

ASKS = b'{"version":1,"verb":"list"}\n' * 100


def opened():
    one = socket.socket(socket.AF_UNIX)
    one.connect(sys.argv[1])
    one.setblocking(False)
    return one


crowd = [opened() for _ in range(40)]
first = True
while True:
    for place, one in enumerate(crowd):
        try:
            one.send(ASKS)
        except BlockingIOError:
            pass
        except OSError:
            one.close()
            crowd[place] = opened()
    if first:
        print("stuck", flush=True)
    first = False
    time.sleep(0.02)
