# The director's own answers, since the VIP is none of its addresses: ping, closed ports, stray TCP;
# and which host answers ARP or neighbour discovery for the VIP. The client's kernel accepts the
# answers, and each one's checksums are checked.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

# The client's kernel repeats a SYN after a second: a refusal at once arrives earlier. Each SYN and
# the datagram have one answer: ASKED is their number.
sent_again() { at vt-client cat /proc/net/snmp | awk '/^Tcp: [0-9]/ { print $13 }'; }
refusals() { # WHAT PORT: TCP is refused at once, UDP with ICMP port unreachable
    local code before
    ASKED=1
    # After a pause of a second the client repeats a SYN too: another try.
    for _ in {1..5}; do
        before=$(sent_again) code=0
        at vt-client curl -s --max-time 60 "http://$(in_url "$VIP"):$2/" || code=$?
        expect_eq "$1: curl's exit code (7: refused)" "$code" 7
        ASKED=$((ASKED + 1 + $(sent_again) - before))
        (($(sent_again) > before)) || break
    done
    expect_eq "$1: segments that the client sent again" "$(($(sent_again) - before))" 0
    expect_eq "$1: UDP" "$(at vt-client python3 "$here/traffic/udp_refused.py" "$VIP" "$2")" refused
}

who_has() { at vt-router python3 "$here/traffic/who_has.py" "$1" "$2" "$VIP"; } # DEVICE ASKER

make_topology
start_web real1
start_real real1
LISTENS="80/tcp 81/tcp 81/udp"
start_director rr 0

spawn vt-client checked python3 "$here/traffic/checksums.py" eth0 "$VIP"
wait_for "the sniffer" log_has checked '^ready'
at vt-client ping -c 3 -i 0.2 -W 10 "$VIP" >/dev/null || fail "the VIP does not answer ping"
# Payloads of odd and even length, none, and the largest for the TUN.
for size in 0 1 1401 $((TUN_MTU - IP_HEADER[INNER] - 8)); do
    at vt-client ping -c 1 -s "$size" -W 10 "$VIP" >/dev/null ||
        fail "the VIP does not answer a ping of $size bytes"
done
refusals "no service on the port" 82
no_service=$ASKED
refusals "every real server has weight 0" 81
no_real_server=$ASKED
expect_eq "connections given" "$(connections_given)" 0
mapfile -t answers < <(at vt-client python3 "$here/traffic/stray_ack.py" "$CLIENT" "$VIP" 80)
expect_eq "answer to a stray ACK" "${answers[0]}" "rst 777"
expect_eq "answer to a stray RST" "${answers[1]}" "silence"
expect_between "packets answered by the director" "$(number director stats .packets.replied)" 12 40
answered() { number director drops ".answered.$1"; } # REASON
expect_eq "answers for want of a service" "$(answered no_service)" "$no_service"
expect_eq "answers for want of a real server" "$(answered no_real_server)" "$no_real_server"
expect_eq "answers to a stray ACK" "$(answered no_connection)" 1
expect_eq "pings answered" "$(answered echo)" 7
expect_eq "answers by reason" "$(number director drops '[.answered[]] | add')" \
    "$(number director stats .packets.replied)"
expect_accounted
ECHO_REPLY=([4]="icmp 0/0" [6]="icmpv6 129/0")
PORT_UNREACHABLE=([4]="icmp 3/3" [6]="icmpv6 1/4")
right() { (($(grep -c "^$1 right" "$WORK/checked.log") >= $2)); } # ANSWER NUMBER
wait_for "echo replies with the right checksums" right "${ECHO_REPLY[$INNER]}" 7
wait_for "port unreachables with the right checksums" right "${PORT_UNREACHABLE[$INNER]}" 2
wait_for "resets with the right checksums" right "tcp rst" 3
expect_eq "answers with wrong checksums" "$(grep -c "wrong" "$WORK/checked.log" || true)" 0

own=$(at vt-director cat /sys/class/net/eth0/address)
expect_eq "who has the VIP on the uplink" "$(who_has uplink "${UPLINK_ROUTERS[$INNER]}")" "$own"
expect_eq "who has the VIP on the servers' network" "$(who_has lan "${LAN_ROUTERS[$INNER]}")" ""
stop director
expect_eq "who has the VIP when the director has stopped" \
    "$(who_has uplink "${UPLINK_ROUTERS[$INNER]}")" ""
