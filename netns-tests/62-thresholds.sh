# Thresholds: a real server takes no new connection at its upper threshold, keeps those it has, and
# takes some again below its lower one.
# usual: 6in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

DIRECTOR_KEYS='timeouts = { tcp_fin_wait = "1s" }'
make_topology
start_web real1 real2
start_real real1 real2
start_director rr 1 1
sed -i "/^address = \"${ADDRESS[real1]}\"/a upper = 10\nlower = 5" "$WORK/director.toml"
ask director reload
hold first 30
expect_eq "open at real1, which takes 10" "$(held_at first real1)" 10
expect_eq "open at real2" "$(held_at first real2)" 20
expect_eq "real1 is full" "$(real_field real1 full)" true
served=$(fetch 5)
expect_eq "more connections at real1" "$(share "$served" real1)" 0

release first 30
has_room() { [[ $(real_field real1 full) == false ]]; }
wait_for "the end of most connections" has_room
hold second 8
expect_eq "open at real1 again" "$(held_at second real1)" 4
expect_eq "real1 is full" "$(real_field real1 full)" false
release second 8
expect_direct_replies 100
expect_accounted
