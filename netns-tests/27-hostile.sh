# Bad frames on every input, beside good traffic: they are counted, the daemons survive, good
# traffic goes on.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

# Why the director drops them, by the clients' family.
REASONS=([4]="truncated malformed not_ip protocol source_route fragment"
    [6]="truncated malformed not_ip protocol source_route extension_header unsupported fragment \
        link_noise")

make_topology
start_web real1
start_real real1
start_echo real1
start_director rr 1

fetch 20 >/dev/null
spawn vt-client good sh \
    -c "while curl -sSf --max-time 60 -o /dev/null -H 'Connection: close' '$(url '/?[1-50]')'; do
    echo round; sleep 0.05; done"
wait_for "good traffic" log_has good round
before=$(number director stats .packets.dropped)
sent=$(at vt-client python3 "$here/traffic/hostile.py" raw "$CLIENT" "$VIP" 5000)
expect_between "bad packets from the client" "$sent" 4000 5000
sent=$(at vt-director python3 "$here/traffic/hostile.py" device vstun0 "$CLIENT" "$VIP" 20000)
expect_between "bad frames at the director's TUN" "$sent" 15000 20000
# From the router and in the director's name, so that what the director itself has sent can be
# counted.
sent=$(at vt-router python3 "$here/traffic/hostile.py" tunnel "$DIRECTOR" "${ADDRESS[real1]}" \
    "$CLIENT" "$VIP" 5000)
expect_between "bad packets through the tunnel" "$sent" 4000 5000
is_running good || fail "good traffic stopped meanwhile"
stop good
is_running director || fail "the director ended"
is_running real1 || fail "the real server ended"
expect_between "frames dropped by the director" \
    $(($(number director stats .packets.dropped) - before)) 5000 25000
for reason in ${REASONS[$INNER]}; do
    expect_between "dropped as $reason" "$(dropped "$reason")" 1 25000
done
expect_between "packets refused by the real server" "$(number real1 drops '[.drops[]] | add')" \
    1000 5000
expect_eq "requests served afterwards" "$(share "$(fetch 50)" real1)" 50
at vt-client python3 "$here/traffic/udp_client.py" "$VIP" 9000 3 10 >/dev/null
expect_accounted
