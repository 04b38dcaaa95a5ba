# UDP: each flow has one real server, shares by rr, answers come straight from the VIP.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

make_topology
start_real "${REALS[@]}"
start_echo "${REALS[@]}"
start_director rr 1 1 1
answers=$(at vt-client python3 "$here/traffic/udp_client.py" "$VIP" 9000 30 20)
for name in "${REALS[@]}"; do
    expect_eq "flows answered by $name" "$(share "$answers" "$name")" 10
    expect_eq "connections of $name in vstun list" "$(real_field "$name" connections)" 10
    expect_eq "packets to $name in vstun list" "$(real_field "$name" packets)" 200
done
expect_direct_replies 600
expect_accounted
