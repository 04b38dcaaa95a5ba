"""refusing.py WHAT COMMAND...: runs COMMAND on a kernel that seems to lack a feature of TUN
devices, sockets or eBPF:

    header   ignores IFF_VNET_HDR, as Linux ignores flags that it does not know: the device has none
    device   EINVAL for a device with IFF_VNET_HDR
    offload  EINVAL for offloads (TUNSETOFFLOAD)
    frame    EINVAL for a frame whose virtio-net header asks for anything
    udp_gro  EINVAL for a socket that asks for merged UDP datagrams (UDP_GRO)
    segment  ENOPROTOOPT for UDP_SEGMENT
    joined   EIO for datagrams that are sent together by UDP_SEGMENT
    length   EMSGSIZE for the same
    tcx      EINVAL for questions about eBPF programs and for new links of them, as before Linux 6.6

A seccomp filter reports these system calls to a process of this script. It examines the arguments,
and refuses the call or lets it continue (seccomp_unotify(2)).
"""

import array
import ctypes
import os
import select
import socket
import struct
import sys

# System calls by their numbers.
NUMBERS = {"x86_64": (1, 16, 20, 46, 54, 317, 321), "aarch64": (64, 29, 66, 211, 208, 277, 280)}
WRITE, IOCTL, WRITEV, SENDMSG, SETSOCKOPT, SECCOMP, BPF = NUMBERS[os.uname().machine]
TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_VNET_HDR = 0x4000
BPF_PROG_QUERY, BPF_LINK_CREATE = 16, 28
SOL_UDP, UDP_GRO, UDP_SEGMENT = 17, 104, 103
EIO, EINVAL, EMSGSIZE, ENOPROTOOPT = 5, 22, 90, 92
ERRORS = {"segment": ENOPROTOOPT, "joined": EIO, "length": EMSGSIZE}  # others: EINVAL

SET_MODE_FILTER, NEW_LISTENER = 1, 8
PR_SET_NO_NEW_PRIVS = 38
NOTIF_RECV, NOTIF_SEND = 0xC0502100, 0xC0182101
GO_ON = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
ALLOW, USER_NOTIF = 0x7FFF0000, 0x7FC00000

CALLS = {
    "header": (IOCTL, TUNSETIFF),
    "device": (IOCTL, TUNSETIFF),
    "offload": (IOCTL, TUNSETOFFLOAD),
    "frame": (WRITE, WRITEV),
    "tcx": (BPF, BPF),
    "joined": (SENDMSG, socket.MSG_CONFIRM),
    "length": (SENDMSG, socket.MSG_CONFIRM),
    "udp_gro": (SETSOCKOPT, SOL_UDP),
    "segment": (SETSOCKOPT, SOL_UDP),
}
libc = ctypes.CDLL(None, use_errno=True)


def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def filter_program(what):
    """seccomp_data is the call's number (32 bits), architecture, instruction pointer, then six
    arguments of 64 bits."""
    load, equal, give = 0x20, 0x15, 0x06
    if what in ("joined", "length"):
        number, flags = CALLS[what]
        rows = [
            (load, 0, 0, 0),
            (equal, 0, 3, number),
            (load, 0, 0, 32),
            (equal, 1, 0, flags),  # this script's own call: nobody could answer for it
            (give, 0, 0, USER_NOTIF),
            (give, 0, 0, ALLOW),
        ]
    elif what in ("frame", "tcx"):
        one, other = CALLS[what]
        rows = [
            (load, 0, 0, 0),
            (equal, 1, 0, one),
            (equal, 0, 1, other),
            (give, 0, 0, USER_NOTIF),
            (give, 0, 0, ALLOW),
        ]
    else:
        number, request = CALLS[what]
        rows = [
            (load, 0, 0, 0),
            (equal, 0, 3, number),
            (load, 0, 0, 24),
            (equal, 0, 1, request),
            (give, 0, 0, USER_NOTIF),
            (give, 0, 0, ALLOW),
        ]
    return b"".join(struct.pack("HBBI", *row) for row in rows)


def install(what):
    """The filter on this process; the descriptor by which it asks."""
    program = filter_program(what)
    code = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    return check(libc.syscall(SECCOMP, SET_MODE_FILTER, NEW_LISTENER, head))


def is_refused(what, process, arguments):
    if what == "tcx":
        return arguments[0] in (BPF_PROG_QUERY, BPF_LINK_CREATE)
    with open(f"/proc/{process}/mem", "r+b", buffering=0) as memory:

        def read(at, length):
            memory.seek(at)
            return memory.read(length)

        if what == "offload":
            return arguments[2] != 0
        if what == "udp_gro":
            return arguments[2] == UDP_GRO
        if what == "segment":
            return arguments[2] == UDP_SEGMENT
        if what in ("joined", "length"):
            return has_segments(read, arguments[1])
        if what in ("header", "device"):
            at = arguments[2] + 16  # behind the name
            (flags,) = struct.unpack("H", read(at, 2))
            if what == "header":
                memory.seek(at)
                memory.write(struct.pack("H", flags & ~IFF_VNET_HDR))
            return what == "device" and flags & IFF_VNET_HDR != 0
        return os.readlink(f"/proc/{process}/fd/{arguments[0]}") == "/dev/net/tun" and asks(
            read, arguments
        )


def has_segments(read, header):
    """Whether a message's control data asks for UDP_SEGMENT: struct msghdr and struct cmsghdr of 64
    bits."""
    control, left = struct.unpack("QQ", read(header + 32, 16))
    while left >= 16:
        length, level, kind = struct.unpack("Qii", read(control, 16))
        if (level, kind) == (SOL_UDP, UDP_SEGMENT):
            return True
        step = max(16, (length + 7) // 8 * 8)
        control, left = control + step, left - min(left, step)
    return False


def asks(read, arguments):
    """Whether the virtio-net header of a frame asks for anything: the first part is longer than
    it."""
    number, _, first, length = arguments[-1], *arguments[:3]
    if number == WRITEV:
        first, length = struct.unpack("QQ", read(first, 16))
    return length >= 10 and any(read(first, 10))


def supervise(what, listener):
    error = ERRORS.get(what, EINVAL)
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        if any(event & select.POLLHUP for _, event in poll.poll()):
            return  # the last process with the filter has ended
        call = ctypes.create_string_buffer(80)
        if libc.ioctl(listener, NOTIF_RECV, call) < 0:
            continue  # who asked has ended meanwhile
        identity, process, _, number, _, _, *arguments = struct.unpack("QIIiIQ6Q", call.raw)
        try:
            refused = is_refused(what, process, [*arguments, number])
        except OSError:  # it has ended meanwhile
            refused = False
        answer = struct.pack(
            "QqiI", identity, 0, -error if refused else 0, 0 if refused else GO_ON
        )
        libc.ioctl(listener, NOTIF_SEND, ctypes.create_string_buffer(answer, len(answer)))


def main(what, command):
    ours, its = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        _, control, _, _ = its.recvmsg(1, socket.CMSG_SPACE(4))
        its.close()
        supervise(what, array.array("i", control[0][2])[0])
        os._exit(0)
    its.close()
    listener = install(what)
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener]))
    ours.sendmsg([b"."], [rights], socket.MSG_CONFIRM)
    os.close(listener)
    ours.close()
    os.execvp(command[0], command)


main(sys.argv[1], sys.argv[2:])
