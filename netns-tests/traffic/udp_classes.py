"""udp_classes.py ADDRESS PORT: prints `TEXT: ECN` for each datagram received, followed by
`foreign` if its DSCP is not the one that the other scripts send. Begins with `ready`; goes on until
it is stopped."""

import socket
import sys

import frames

ECN = ("not-ect", "ect1", "ect0", "ce")  # by number, RFC 3168 section 5
DSCP = 0xB8


def main(address, port):
    server = socket.socket(frames.address_family(address), socket.SOCK_DGRAM)
    if frames.family(address) == 6:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
    else:
        server.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
    server.bind((address, port))
    print("ready", flush=True)
    while True:
        data, ((_, _, value), *_), _, _ = server.recvmsg(65535, 64)
        traffic_class = int.from_bytes(value, sys.byteorder)
        print(
            f"{data.decode()}: {ECN[traffic_class & 3]}",
            *["foreign"] * (traffic_class & ~3 != DSCP),
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
