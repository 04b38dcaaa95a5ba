"""leased.py FILE...: holds a write lease on each FILE, so that whoever opens or runs it waits for
up to 45 s, as for a file system that does not answer. Prints `leased`, and `wanted FILE` when one
is waited for; ends with its standard input."""
import fcntl
import os
import select
import signal
import sys

signal.signal(signal.SIGIO, signal.SIG_IGN)
held = {}
for path in sys.argv[1:]:
    file = os.open(path, os.O_RDONLY)
    # Somebody may have it open just now.
    while path not in held:
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            held[path] = file
        except BlockingIOError:
            pass
print("leased", flush=True)
while not select.select([sys.stdin], [], [], 0.05)[0]:
    for path, file in list(held.items()):
        if fcntl.fcntl(file, fcntl.F_GETLEASE) != fcntl.F_WRLCK:
            print("wanted", path, flush=True)
            del held[path]
