"""tcx_programs.py INTERFACE: prints how many eBPF programs are attached to its ingress
(BPF_PROG_QUERY)."""
import ctypes
import platform
import socket
import struct
import sys

BPF_PROG_QUERY = 16
BPF_TCX_INGRESS = 46
SYSCALL = {"x86_64": 321, "aarch64": 280}[platform.machine()]

ids = (ctypes.c_uint32 * 16)()
index = socket.if_nametoindex(sys.argv[1])
# target_ifindex, attach_type, query_flags, attach_flags, prog_ids, count
attributes = bytearray(
    struct.pack("=IIIIQI", index, BPF_TCX_INGRESS, 0, 0, ctypes.addressof(ids), len(ids)).ljust(
        64, b"\0"
    )
)
buffer = (ctypes.c_char * len(attributes)).from_buffer(attributes)
libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(SYSCALL, BPF_PROG_QUERY, buffer, len(attributes)) < 0:
    sys.exit(f"BPF_PROG_QUERY: errno {ctypes.get_errno()}")
print(struct.unpack_from("=I", attributes, 24)[0])
