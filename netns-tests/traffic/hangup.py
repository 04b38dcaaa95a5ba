"""hangup.py VSTUN SOCKET: starts each command of vstun that runs until it is ended, takes its
terminal or its reader away, and prints `COMMAND: WAY ended`, or `lives` if it has not ended after
ten seconds. Ways: `hangup`, its terminal closes; `silent`, its terminal closes and sends no SIGHUP;
`pipe`, the reader of its output goes; `stuck`, SIGTERM while its terminal takes no output."""

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time

PROGRAM, SOCKET = sys.argv[1:]
WAYS = {
    "top --interval 100ms": ["hangup", "silent", "stuck"],
    "list --rate --watch 1h": ["hangup", "silent", "pipe"],
    "list --watch 100ms": ["hangup", "silent", "pipe"],
    "events": ["hangup", "silent", "pipe"],
    "trace --client 192.0.2.250": ["hangup", "silent", "pipe"],
}
# write(2) and writev(2) on x86_64, on arm64.
WRITES = {"1", "20", "64", "66"}


def own_terminal():
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def start(words, way):
    """The process, the descriptor whose closing takes its terminal or its reader away, and the
    terminal's other end."""
    near, far = os.pipe() if way == "pipe" else os.openpty()
    source = subprocess.DEVNULL if way == "pipe" else far
    errors = subprocess.DEVNULL if way == "pipe" else far
    if way != "pipe":
        fcntl.ioctl(far, termios.TIOCSWINSZ, b"\x18\0\x50\0\0\0\0\0")  # 24 by 80
    prepare = own_terminal if way == "hangup" else os.setsid
    process = subprocess.Popen(words, stdin=source, stdout=far, stderr=errors, preexec_fn=prepare)
    return process, near, far


def until(condition):
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)


def has_socket(process):
    folder = f"/proc/{process.pid}/fd"
    try:
        return any("socket:" in os.readlink(f"{folder}/{one}") for one in os.listdir(folder))
    except FileNotFoundError:  # A file that has been closed since.
        return False


def writes(process):
    with open(f"/proc/{process.pid}/syscall") as call:
        return call.read().split()[0] in WRITES


def end(process, way, near, far):
    """Takes away what the process needs."""
    if way == "stuck":
        termios.tcflow(far, termios.TCOOFF)
        until(lambda: writes(process))
        process.send_signal(signal.SIGTERM)
        return
    os.close(far)
    os.close(near)


for command, ways in WAYS.items():
    for way in ways:
        words = [PROGRAM, "--socket", SOCKET, *command.split()]
        process, near, far = start(words, way)
        if way == "pipe" and not command.startswith("list"):
            until(lambda: has_socket(process))
        else:
            os.read(near, 1)
        end(process, way, near, far)
        try:
            process.wait(timeout=10)
            print(f"{command}: {way} ended", flush=True)
        except subprocess.TimeoutExpired:
            print(f"{command}: {way} lives", flush=True)
            process.kill()
            process.wait()
        if way == "stuck":
            os.close(far)
            os.close(near)
