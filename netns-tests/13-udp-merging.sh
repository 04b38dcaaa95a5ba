# Datagrams keep their boundaries: with a NIC that merges and a UDP_GRO socket on the VIP's port,
# the director's outer headers keep tunnelled datagrams apart. A sender with other outer headers
# shows that the test would notice, and that the real server drops and counts merged datagrams.
# Whole ones with an unfinished checksum arrive.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

make_topology
gro vt-real1 eth0 on
start_real real1
spawn vt-real1 echo python3 "$here/traffic/udp_echo.py" real1 "$VIP" 9000 gro
wait_for "the echo server" log_has echo '^ready'
start_director rr 1
answers=$(at vt-client python3 "$here/traffic/udp_client.py" "$VIP" 9000 4 100 1200)
expect_eq "datagrams answered" \
    "$(share "$answers" answers; awk '$1 == "answers" { print $2 }' <<<"$answers")" "0
400"
expect_eq "merged datagrams seen by the UDP_GRO socket" \
    "$(grep -c merged "$WORK/echo.log" || true)" 0
expect_eq "UDP super-packets dropped" "$(refused real1 udp_super_packet)" 0
expect_direct_replies 400
expect_accounted

send_tunnelled vt-director "$DIRECTOR" "$VIP" 200 merge
merged() { (($(refused real1 udp_super_packet) > 0)); }
wait_for "a merged datagram to be dropped" merged
expect_log real1 'UDP'

send_tunnelled vt-director "$DIRECTOR" "$VIP" 5 unfinished
arrived() { (($(grep -c '^unfinished' "$WORK/echo.log") == 5)); }
wait_for "the datagrams with unfinished checksums" arrived
expect_eq "packets with unfinished checksums" "$(number real1 stats .partial_checksums)" 5
