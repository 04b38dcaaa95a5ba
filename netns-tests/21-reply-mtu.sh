# A small MTU on the clients' side: the router sends its ICMP error about a reply to the VIP, so to
# the director, which has to pass it to the real server that sent the reply; otherwise the download
# hangs.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

make_topology
# Locked, since an IPv6 router otherwise uses the device's MTU.
ip -n vt-router route add "$CLIENT" dev cl mtu lock 1300
start_web "${REALS[@]}"
start_real "${REALS[@]}"
head -c 1000000 /dev/urandom >"$WORK/files/random"
start_director rr 1 1 1
for name in "${REALS[@]}"; do
    at vt-client curl -sSf --max-time 60 "$(url /files/random)" | cmp - "$WORK/files/random" ||
        fail "the download differs"
    [[ $(at "vt-$name" ip route get "$CLIENT" from "$VIP") == *"mtu 1300"* ]] ||
        fail "$name has not learnt the path MTU"
done
expect_eq "ICMP errors without a flow" "$(dropped icmp_no_flow)" 0

# An error that quotes no flow is dropped and counted.
at vt-client python3 - "$here/traffic" "$CLIENT" "$VIP" <<'PYTHON'
import sys
sys.path.insert(0, sys.argv[1])
import frames
client, vip = sys.argv[2:]
quote = frames.tcp(vip, 80, client, 9, 0x10)[:-12]
frames.send(frames.too_big(client, vip, 1300, quote))
PYTHON
counted() { [[ $(dropped icmp_no_flow) == 1 ]]; }
wait_for "the error without a flow to be counted" counted
expect_direct_replies 1000
expect_accounted
