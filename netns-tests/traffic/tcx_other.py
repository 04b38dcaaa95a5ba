"""tcx_other.py INTERFACE ANSWER: attaches an eBPF program at the interface's ingress, before all
others, which returns ANSWER for each packet (-1: the next program decides; 0: the packet passes
without the other programs). Prints `attached`, and detaches it at the end of its standard input."""

import ctypes
import os
import platform
import socket
import struct
import sys

BPF_PROG_LOAD, BPF_LINK_CREATE = 5, 28
SCHED_CLS = 3
BPF_TCX_INGRESS = 46
BPF_F_BEFORE = 8
SYSCALL = {"x86_64": 321, "aarch64": 280}[platform.machine()]
libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    descriptor = libc.syscall(SYSCALL, command, buffer, 128)
    if descriptor < 0:
        sys.exit(f"bpf {command}: {os.strerror(ctypes.get_errno())}")
    return descriptor


# r0 = ANSWER; exit
program = struct.pack("=BBhiBBhi", 0xB7, 0, 0, int(sys.argv[2]), 0x95, 0, 0, 0)
instructions = ctypes.create_string_buffer(program, len(program))
licence = ctypes.create_string_buffer(b"MIT")
load = struct.pack(
    "=IIQQ", SCHED_CLS, 2, ctypes.addressof(instructions), ctypes.addressof(licence)
)
loaded = bpf(BPF_PROG_LOAD, load)
index = socket.if_nametoindex(sys.argv[1])
link = bpf(BPF_LINK_CREATE, struct.pack("=IIII", loaded, index, BPF_TCX_INGRESS, BPF_F_BEFORE))
print("attached", flush=True)
sys.stdin.read()
