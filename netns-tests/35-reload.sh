# SIGHUP: new weights and real servers apply to new connections, open ones stay. A faulty
# configuration changes nothing, and the fault is logged, whatever caused the reload.
# usual: 6in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

make_topology
start_web "${REALS[@]}"
start_real "${REALS[@]}"
start_director wrr 1 1
hold held 10

configure "$WORK/director.toml" wrr 0 1 3
kill -HUP "${PID[director]}"
has_three() { [[ $(number director list '.services[0].reals | length') == 3 ]]; }
wait_for "the third real server" has_three
served=$(fetch 40)
expect_eq "requests to real1, now of weight 0" "$(share "$served" real1)" 0
expect_eq "requests to real2 of weight 1" "$(share "$served" real2)" 10
expect_eq "requests to real3 of weight 3" "$(share "$served" real3)" 30
expect_eq "open connections of real1" "$(real_field real1 active)" 5

ask director list --json | jq '[.services[].reals[] | {address, weight}]' >"$WORK/before"
sed 's/scheduler = "wrr"/scheduler = "wrx"/' "$WORK/director.toml" >"$WORK/bad" &&
    cp "$WORK/bad" "$WORK/director.toml"
kill -HUP "${PID[director]}"
wait_for "the fault in the log" log_has director 'scheduler'
ask director list --json | jq '[.services[].reals[] | {address, weight}]' | cmp - "$WORK/before" ||
    fail "a bad reload changed something"
expect_eq "requests served after a bad reload" "$(fetch 40 | awk '{ n += $1 } END { print n }')" 40

expect_fails "vstun reload of a bad configuration" ask director reload
faults() { grep -c 'reload: .*scheduler' "$WORK/director.log"; }
expect_eq "faults in the log, by SIGHUP and by vstun reload" "$(faults)" 2
configure "$WORK/director.toml" wrr 1 1 1
ask director reload
expect_eq "reloads in the log" "$(grep -c 'reloaded ' "$WORK/director.log")" 2

release held 10
expect_direct_replies 200
expect_accounted
