"""Answers HTTP requests by its name after a delay: half of the answers come within the given
milliseconds, the others within twice as many. Usage: slow_web.py ADDRESS PORT NAME MILLISECONDS"""

import asyncio
import random
import sys

address, port, name, milliseconds = sys.argv[1:]
body = name.encode()
answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


async def serve(reader, writer):
    while await reader.readline():
        while (await reader.readline()).strip():
            pass
        await asyncio.sleep(random.uniform(0.5, 1.5) * float(milliseconds) / 1000)
        writer.write(answer)
    writer.close()


async def main():
    server = await asyncio.start_server(serve, address, int(port))
    print("listening", flush=True)
    await server.serve_forever()


asyncio.run(main())
