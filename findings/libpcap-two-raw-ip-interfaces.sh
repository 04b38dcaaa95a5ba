#!/usr/bin/env bash
# libpcap 1.10.3 with tcpdump 4.99.3 (Debian 12): a pcapng file with two interfaces of link type 101 (RAW, raw IP)
# cannot be read beyond its second interface block, although both interfaces have the same link type.
#
# Seen: "an interface has a type 101 different from the type of the first interface", exit 1, no packet printed.
# The same file with two interfaces of type 228 (raw IPv4), 1 (Ethernet) or 12 is read. libpcap maps 101 to its own
# number 12 for the first interface only and compares the next one's unmapped number with that.
# Expected: an interface of the same link type is accepted, as with every other type.
# Matters to every tool that records a tunnel's two sides (as it came, as it was sent) into one file of raw IP packets.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
apt-get download 'tcpdump=4.99.3-*' 'libpcap0.8=1.10.3-*' >/dev/null 2>&1 || { echo "the packages are gone"; exit 77; }
for package in *.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH; LD_LIBRARY_PATH=$(dirname "$(find "$dir/root" -name 'libpcap.so.0.8' | head -n 1)")

python3 - <<'PY'
import struct
packet = bytes.fromhex('4500001c000000004011f6cdc0000201c0000202' '0035003500080000')
def block(kind, body):
    body += bytes(-len(body) % 4)
    return struct.pack('<II', kind, len(body) + 12) + body + struct.pack('<I', len(body) + 12)
section = block(0x0A0D0D0A, struct.pack('<IHHq', 0x1A2B3C4D, 1, 0, -1))
for link in (101, 228):
    interface = block(1, struct.pack('<HHI', link, 0, 262144))
    frame = block(6, struct.pack('<IIIII', 0, 0, 1, len(packet), len(packet)) + packet)
    for interfaces in (1, 2):
        open(f'{link}-{interfaces}.pcapng', 'wb').write(section + interface * interfaces + frame)
PY
read_it() { root/usr/bin/tcpdump -Z root -nr "$1" 2>&1; }
root/usr/bin/tcpdump --version 2>&1 | head -n 2
for file in 101-1 228-1 228-2; do
    read_it $file.pcapng | grep -q 'IP 192.0.2.1' || { echo "changed: $file is not read"; exit 1; }
    echo "link type ${file%-*}, ${file#*-} interface(s): read"
done
if output=$(read_it 101-2.pcapng); then echo "changed: two interfaces of type 101 are read"; exit 1; fi
grep -q 'type 101 different from the type of the first interface' <<<"$output" || { echo "changed: $output"; exit 1; }
echo "link type 101, 2 interfaces: refused: ${output##*$'\n'}"
