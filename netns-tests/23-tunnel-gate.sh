# The real server takes packets from its directors only, and for its VIPs only.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

make_topology
start_real real1
start_echo real1
all_refused() { [[ $(refused real1 "$1") == 5 ]]; }

send_tunnelled vt-router "${LAN_ROUTERS[$OUTER]}" "$VIP" 5
wait_for "packets of an unknown director to be refused" all_refused source
send_tunnelled vt-director "$DIRECTOR" "${REAL_ADDRESSES[real1/$INNER]}" 5
wait_for "packets to no VIP to be refused" all_refused not_vip
expect_eq "answers so far" "$(counter vt-router replies)" 0

# The same packets with the right addresses are answered: the test would see them.
send_tunnelled vt-director "$DIRECTOR" "$VIP" 5
answered() { [[ $(counter vt-router replies) == 5 ]]; }
wait_for "answers to good packets" answered
expect_eq "packets accepted" "$(number real1 stats .delivered)" 5
