"""Sends HTTP requests on several connections at once, one after the other on each, and prints the
median of the answers' times in microseconds for each server. Usage: timed_requests.py ADDRESS PORT
CONNECTIONS REQUESTS"""

import asyncio
import collections
import statistics
import sys
import time

address, port, connections, requests = sys.argv[1:]
times = collections.defaultdict(list)


async def ask():
    reader, writer = await asyncio.open_connection(address, int(port))
    for _ in range(int(requests)):
        began = time.monotonic()
        writer.write(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        took = time.monotonic() - began
        name = await reader.readexactly(int(head.split(b"Content-Length: ")[1].split()[0]))
        times[name.decode()].append(took)
    writer.close()


async def main():
    await asyncio.gather(*(ask() for _ in range(int(connections))))
    for name, took in sorted(times.items()):
        print(name, round(statistics.median(took) * 1e6))


asyncio.run(main())
