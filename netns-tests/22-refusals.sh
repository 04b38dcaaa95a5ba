# What the director answers itself, since the VIP is no address of its own: ping, closed ports, stray TCP; and who answers
# ARP for the VIP.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

refusals() { # WHAT PORT COUNTER: TCP is refused at once, UDP with ICMP port unreachable
    local code=0 start=$EPOCHREALTIME
    at vt-client curl -s --max-time 5 "http://$VIP:$2/" || code=$?
    expect_eq "$1: curl's exit code (7: refused)" "$code" 7
    expect_between "$1: milliseconds until refused" "$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%d", (b - a) * 1000 }')" 0 900
    expect_eq "$1: UDP" "$(at vt-client python3 "$here/traffic/udp_refused.py" "$VIP" "$2")" refused
}

make_topology
start_web real1
start_real real1
LISTENS="80/tcp 81/tcp 81/udp"
start_director rr 0

at vt-client ping -c 3 -i 0.2 -W 2 "$VIP" >/dev/null || fail "the VIP does not answer ping"
at vt-client ping -c 1 -s 1400 -W 2 "$VIP" >/dev/null || fail "the VIP does not answer a large ping"
refusals "no service on the port" 82
refusals "every real server has weight 0" 81
expect_eq "connections given" "$(connections_given)" 0
mapfile -t answers < <(at vt-client python3 "$here/traffic/stray_ack.py" "$CLIENT" "$VIP" 80)
expect_eq "answer to a stray ACK" "${answers[0]}" "rst 777"
expect_eq "answer to a stray RST" "${answers[1]}" "silence"
expect_between "packets answered by the director" "$(number director stats .packets.replied)" 9 20
expect_accounted

own=$(at vt-director cat /sys/class/net/eth0/address)
expect_eq "who has the VIP on the uplink" "$(at vt-router python3 "$here/traffic/arp.py" uplink 192.0.2.1 "$VIP")" "$own"
expect_eq "who has the VIP on the servers' network" "$(at vt-router python3 "$here/traffic/arp.py" lan 10.0.0.254 "$VIP")" ""
stop director
expect_eq "who has the VIP when the director has stopped" "$(at vt-router python3 "$here/traffic/arp.py" uplink 192.0.2.1 "$VIP")" ""
