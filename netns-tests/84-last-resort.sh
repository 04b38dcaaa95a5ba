# A service's `fallback_real`: a server with an error page. It gets no connection while any other
# real server takes one, all new ones while none does, and keeps its connections when the others are
# back. With `panic`, checks that would take down too many at once are ignored.
# usual: 4in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

state_is() { [[ $(real_field "$1" state) == "$2" ]]; } # NAME STATE

make_topology
start_web "${REALS[@]}"
start_real "${REALS[@]}"
SERVICE_KEYS="fallback_real = \"${ADDRESS[real3]}\"
[[service.check]]
type = \"http\"
interval = \"200ms\"
fast_interval = \"50ms\"
timeout = \"500ms\""
start_director rr 1 1
expect_eq "whether real3 is listed as the last resort" "$(real_field real3 last_resort)" true
expect_eq "requests to real3 of 20" "$(share "$(fetch 20)" real3)" 0

stop real1-web KILL
wait_for "real1 to be down" state_is real1 down
expect_eq "requests to real2 of 20" "$(share "$(fetch 20)" real2)" 20
stop real2-web KILL
wait_for "real2 to be down" state_is real2 down
expect_eq "requests to real3 of 20 without another server" "$(share "$(fetch 20)" real3)" 20
hold held 5
expect_eq "held connections at real3" "$(held_at held real3)" 5

start_web real1
wait_for "real1 to be up" state_is real1 up
expect_eq "requests to real1 of 20" "$(share "$(fetch 20)" real1)" 20
release held 5

sed -i 's/^fallback_real/panic = "60%"\n&/' "$WORK/director.toml"
ask director reload
start_web real2
wait_for "real2 to be up" state_is real2 up
stop real1-web KILL
wait_for "real1 to be down, which is half of them" state_is real1 down
stop real2-web KILL
panics() { [[ $(number director list '.services[0].panic // false') == "$1" ]]; } # true|false
wait_for "the checks to be ignored" panics true
expect_eq "states while both fail" "$(real_field real1 state) $(real_field real2 state)" "up up"
expect_eq "errors about it" "$(grep -c '2 of 2 real servers fail their checks at' \
    "$WORK/director.log" || true)" 1
start_web real1
wait_for "the checks to count again" panics false
wait_for "real2 to be down" state_is real2 down
expect_accounted
