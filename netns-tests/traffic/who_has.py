"""who_has.py DEVICE OWN ADDRESS: asks three times on DEVICE who has ADDRESS, by ARP or by neighbour
discovery, as the host with the address OWN, and prints the hardware address of each host that
answers; nothing if none does.

A probe as of RFC 5227, from 0.0.0.0, would not do: the kernel answers it for its own addresses
only, not as a proxy."""

import socket
import struct
import sys
import time

import frames

device, sender, address = sys.argv[1:4]
ARP, REQUEST, REPLY = 0x0806, 1, 2
SOLICITATION, ADVERTISEMENT, SOURCE_LINK, TARGET_LINK = 135, 136, 1, 2


def arp_question():
    body = (
        struct.pack("!HHBBH", 1, frames.IPV4, 6, 4, REQUEST)
        + own
        + frames.packed(sender)
        + bytes(6)
    )
    return b"\xff" * 6 + own + struct.pack("!H", ARP) + body + frames.packed(address)


def arp_answer(frame):
    kind, hardware, owner = struct.unpack("!H6s4s", frame[20:32])
    return hardware if kind == REPLY and owner == frames.packed(address) else None


def nd_question():
    """To the solicited-node address (RFC 4291 section 2.7.1); answers go to the link address in the
    option."""
    group = bytes.fromhex("ff02" + "00" * 9 + "01ff") + frames.packed(address)[13:]
    target = frames.packed(address) + bytes([SOURCE_LINK, 1]) + own
    packet = frames.icmp(
        sender, socket.inet_ntop(socket.AF_INET6, group), SOLICITATION, 0, 0, target, hop_limit=255
    )
    return b"\x33\x33" + group[12:] + own + struct.pack("!H", frames.IPV6) + packet


def nd_answer(frame):
    packet = frame[14:]
    if (
        packet[6] != frames.ICMPV6
        or packet[40] != ADVERTISEMENT
        or packet[48:64] != frames.packed(address)
    ):
        return None
    option = packet[64:72]
    return option[2:] if option[:2] == bytes([TARGET_LINK, 1]) else frame[6:12]


question, answer, kind = {
    4: (arp_question, arp_answer, ARP),
    6: (nd_question, nd_answer, frames.IPV6),
}[frames.family(address)]
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
link.bind((device, kind))
own = link.getsockname()[4]
answers = set()
for _ in range(3):
    link.send(question())
    end = time.monotonic() + 0.3
    while (left := end - time.monotonic()) > 0:
        link.settimeout(left)
        try:
            hardware = answer(link.recv(2048))
        except TimeoutError:
            break
        if hardware:
            answers.add(hardware.hex(":"))
print(*sorted(answers), sep="\n", end="\n" if answers else "")
