# Thresholds: a real server takes no new connection at its upper threshold, keeps those it has, and takes some again below
# its lower one.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

hold() { # NAME N
    mkfifo "$WORK/$1.release"
    spawn vt-client "$1" sh -c "exec python3 '$here/traffic/hold.py' $VIP 80 $2 <'$WORK/$1.release'"
    exec {release}>"$WORK/$1.release"
    wait_for "$2 open connections" log_has "$1" '^held'
}

DIRECTOR_KEYS='timeouts = { tcp_fin_wait = "1s" }'
make_topology
start_web real1 real2
start_real real1 real2
start_director rr 1 1
sed -i "/^address = \"${ADDRESS[real1]}\"/a upper = 10\nlower = 5" "$WORK/director.toml"
ask director reload
hold first 30
expect_eq "open at real1, which takes 10" "$(share "$(<"$WORK/first.log")" real1)" 10
expect_eq "open at real2" "$(share "$(<"$WORK/first.log")" real2)" 20
expect_eq "real1 is full" "$(real_field real1 full)" true
served=$(fetch 5)
expect_eq "more connections at real1" "$(share "$served" real1)" 0

exec {release}>&-
exit_code first
log_has first '^alive 30' || fail "not all connections were alive at the end"
has_room() { [[ $(real_field real1 full) == false ]]; }
wait_for "the end of most connections" has_room
hold second 8
expect_eq "open at real1 again" "$(share "$(<"$WORK/second.log")" real1)" 4
expect_eq "real1 is full" "$(real_field real1 full)" false
exec {release}>&-
exit_code second
log_has second '^alive 8' || fail "not all connections were alive at the end"
expect_direct_replies 100
expect_accounted
