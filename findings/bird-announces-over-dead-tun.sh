#!/usr/bin/env bash
# BIRD 2.0.12 (Debian 12), `protocol kernel { learn; }`: a learnt route over a persistent TUN stays in BIRD's table, and so
# stays announced, after the program that held the TUN has ended. The kernel marks the route `linkdown` at once (the device
# has NO-CARRIER), and BIRD's own `show interfaces` says the link is down.
#
# Seen: `show route` lists 192.0.2.10/32 before and 3 s after the holder's end; a lookup in the kernel with
# ignore_routes_with_linkdown=1 would not use it. With a TUN that is not persistent the route goes with the device.
# Expected by a user of anycast: the announcement goes when the program behind the device does, as with FRR.
# Needs root: a private network namespace with a TUN device.
set -euo pipefail
cd "$(dirname "$0")"
[[ $(id -u) == 0 && -c /dev/net/tun ]] || { echo "needs root and /dev/net/tun"; exit 77; }
if [[ -z ${FOLDER:-} ]]; then # packages first: the namespace has no network
    dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; chmod 755 "$dir"; cd "$dir"
    apt-get download 'bird2=2.0.12-*' libssh-gcrypt-4 >/dev/null 2>&1 || { echo "the packages are gone"; exit 77; }
    FOLDER=$dir unshare -m -n -p -f --kill-child --mount-proc bash "$OLDPWD/${0##*/}"
    exit
fi
dir=$FOLDER; cd "$dir"
for package in *.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH; LD_LIBRARY_PATH=$(dirname "$(find "$dir/root" -name 'libssh-gcrypt.so.4' | head -n 1)")
birdc() { root/usr/sbin/birdc -s bird.ctl "$@"; }
until_true() { for _ in $(seq 100); do if "$@"; then return 0; fi; sleep 0.05; done; return 1; }
listed() { birdc show route 2>/dev/null | grep -q '192\.0\.2\.10/32'; }
linkdown() { ip route show 192.0.2.10 | grep -q linkdown; }

ip link set lo up
ip tuntap add dev tun7 mode tun
ip link set tun7 up
mkfifo hold
python3 - <<'PY' &
import fcntl, struct
tun = open('/dev/net/tun', 'r+b', buffering=0)
fcntl.ioctl(tun, 0x400454CA, struct.pack('16sH22x', b'tun7', 0x0001 | 0x1000))  # TUNSETIFF: IFF_TUN | IFF_NO_PI
open('held', 'w').close()
open('hold').read()  # until it is killed
PY
holder=$!
until_true test -e held
ip route add 192.0.2.10/32 dev tun7 proto 176
cat >bird.conf <<'CONF'
router id 192.0.2.1;
protocol device { scan time 1; }
protocol kernel { learn; scan time 1; ipv4 { import all; export none; }; }
CONF
root/usr/sbin/bird -f -c bird.conf -s bird.ctl -P bird.pid 2>/dev/null &
root/usr/sbin/bird --version 2>&1
until_true listed || { echo "changed: the route is not learnt"; exit 1; }
echo "learnt:  $(birdc show route | grep -A1 '192.0.2.10/32' | tr -s ' \n\t' ' ')"
kill -KILL $holder; wait $holder 2>/dev/null || true
until_true linkdown || { echo "changed: the kernel does not mark the route"; exit 1; }
echo "kernel:  $(ip route show 192.0.2.10)"
sleep 3 # three scans
listed || { echo "changed: BIRD withdraws the route"; exit 1; }
echo "BIRD 3 s later: $(birdc show route | grep -A1 '192.0.2.10/32' | tr -s ' \n\t' ' ')"
