# A client quotes a genuine packet of its own flow in forged errors with a very small MTU. The
# director probes the path itself, and other clients are not affected.
# mixes: 4in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

OTHER_CLIENT=([4]=198.51.100.11 [6]=2001:db8:c::11)
SMALLEST=([4]=552 [6]=1280)

lie() {
    at vt-client timeout 20 python3 "$here/traffic/claimed_path.py" "$CLIENT" "$VIP" \
        "${LAN_ROUTERS[$OUTER]}" "$DIRECTOR" "${ADDRESS[real1]}" "${SMALLEST[$OUTER]}" >/dev/null
}

reported() { number director stats .tunnel_errors_received; }
heard() { (($(reported) >= $1)); }

make_topology
ip -n vt-client address add "$(in_subnet "${OTHER_CLIENT[$INNER]}")" dev eth0
start_web real1
start_real real1
start_echo real1
head -c 1000000 /dev/urandom >"$WORK/files/random"
start_director rr 1

for round in 1 2; do
    lie
    wait_for "the forged errors of round $round" heard $((round * 100))
    upload real1 --interface "${OTHER_CLIENT[$INNER]}" --max-time 20
done
expect_eq "too big by ICMP at the clients" "$(counter vt-client too_big)" 0
expect_eq "path MTUs in vstun stats" \
    "$(number director stats '[.tunnel_errors[].path_mtu | values] | length')" 0
expect_eq "unverified errors" "$(refused director tunnel_error_unverified)" 100
expect_direct_replies 50
expect_accounted
