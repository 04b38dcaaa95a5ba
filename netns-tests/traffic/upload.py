"""upload.py discard PORT: accepts connections and discards what they send.
upload.py send ADDRESS PORT N: sends on N connections until they are closed.
upload.py once ADDRESS PORT N MB: sends so many megabytes on each of N connections, which it closes
when all has been read."""

import concurrent.futures
import socket
import sys
import threading


def drain(connection):
    while connection.recv_into(bytearray(1 << 20)):
        pass


def send(connection):
    zeros = bytes(1 << 20)
    while True:
        connection.sendall(zeros)


def send_and_close(connection, megabytes):
    for _ in range(megabytes):
        connection.sendall(bytes(1_000_000))
    connection.shutdown(socket.SHUT_WR)
    connection.recv(1)


def background(work, connection):
    threading.Thread(target=work, args=(connection,), daemon=True).start()


what, arguments = sys.argv[1], sys.argv[2:]
if what == "discard":
    listener = socket.create_server(
        ("::", int(arguments[0])), family=socket.AF_INET6, dualstack_ipv6=True
    )
    print("ready", flush=True)
    while True:
        background(drain, listener.accept()[0])
address, port, count = arguments[0], int(arguments[1]), int(arguments[2])
connections = [socket.create_connection((address, port)) for _ in range(count)]
if what == "once":
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        list(pool.map(send_and_close, connections, [int(arguments[3])] * count))
    sys.exit()
for connection in connections:
    background(send, connection)
print("sending", flush=True)
threading.Event().wait()
