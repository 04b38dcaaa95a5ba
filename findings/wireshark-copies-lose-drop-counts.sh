#!/usr/bin/env bash
# Wireshark 4.0.17 (Debian 12), editcap (and mergecap): interface statistics blocks of a pcapng file are not copied. They hold how many
# packets the interface dropped while it recorded, so a capture that says "42 packets are missing here" says nothing any more after its
# first copy, and looks complete.
#
# Seen: a file with isb_ifdrop = 42 in; the copy has the packet and no statistics block.
# Expected: the block is copied, or a remark that it is left out.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; chmod 755 "$dir"; cd "$dir"
apt-get download 'wireshark-common=4.0.17-*' 'libwiretap13=4.0.17-*' 'libwsutil14=4.0.17-*' >/dev/null 2>&1 ||
    { echo "the packages are gone"; exit 77; }
# Those that cannot be had are there already.
for library in libglib2.0-0 libgcrypt20 libgpg-error0 liblz4-1 libzstd1 libpcre2-8-0; do
    apt-get download "$library" >/dev/null 2>&1 || true
done
for package in *.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH; LD_LIBRARY_PATH=$(find "$dir/root" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd:)
editcap() { root/usr/bin/editcap "$@"; }
version=$(editcap --version 2>/dev/null) || { echo "it does not run here"; exit 77; }
echo "${version%%.$'\n'*}" | sed -n 1p
cat >pcapng.py <<'PY'
import struct, sys
BLOCKS = {0x0A0D0D0A: ("section", 16), 1: ("interface", 8), 6: ("packet", 20), 5: ("statistics", 12)}
def option(code, value):
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)
def block(kind, body):
    return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)
def write(name, packet_options, after=b""):
    packet = bytes([0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0xF6, 0x8C, 192, 0, 2, 1, 192, 0, 2, 2])
    end = struct.pack("<HH", 0, 0)
    with open(name, "wb") as file:
        file.write(block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)))
        file.write(block(1, struct.pack("<HHI", 101, 0, 0)))
        file.write(block(6, struct.pack("<IIIII", 0, 0, 1, 20, 20) + packet + packet_options + end))
        file.write(after)
def show(name):
    data, at = open(name, "rb").read(), 0
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        body, at = data[at + 8 : at + size - 4], at + size
        title, fixed = BLOCKS[kind]
        place = fixed + (20 if title == "packet" else 0)
        options = []
        while place + 4 <= len(body):
            code, length = struct.unpack_from("<HH", body, place)
            if code == 0:
                break
            options.append(f"{code}={body[place + 4 : place + 4 + length].hex()}")
            place += 4 + (length + 3) // 4 * 4
        if title in ("packet", "statistics"):
            print(f"{name}: {title} {' '.join(options)}")
PY
python3 - <<'PY'
import struct
from pcapng import block, option, write
statistics = struct.pack("<III", 0, 0, 2) + option(5, struct.pack("<Q", 42)) + option(0, b"")
write("in.pcapng", b"", block(5, statistics))
PY
editcap in.pcapng out.pcapng
python3 -c 'from pcapng import show; show("in.pcapng"); show("out.pcapng")' >out
cat out
diff - out <<'X' || { echo changed; exit 1; }
in.pcapng: packet 
in.pcapng: statistics 5=2a00000000000000
out.pcapng: packet 
X
