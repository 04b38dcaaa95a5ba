# `list --rate --watch`: the intervals' rates add up to the total, and Ctrl-C ends it successfully.
# usual: 6in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

make_topology
start_web real1 real2
start_real real1 real2
start_director rr 1 1
spawn vt-director watch "$VSTUN_BIN/vstun" --socket "$CONTROL/director.sock" list \
    --rate --watch 200ms --json
# The first rates are measured since the list before it.
wait_for "the first rates" test -s "$WORK/watch.log"
fetch 40 >/dev/null

sum() { # JQ-FILTER: a rate; rounded as the rates are
    jq -rs "map(($1) * .rate_milliseconds / 1000) | add + 0.5 | floor" "$WORK/watch.log"
}
has_come() { (($(sum '.services[0].rate.connections') >= 38)); }
wait_for "the rates of 40 connections" has_come
expect_between "connections by their rates" "$(sum '.services[0].rate.connections')" 38 42
expect_between "those of real1" "$(sum '.services[0].reals[0].rate.connections')" 18 22
expect_between "packets by their rates, in percent of those there were" \
    "$(($(sum '.services[0].rate.packets') * 100 / $(packets_given)))" 90 110
stop watch INT
expect_eq "the exit code after Ctrl-C" "$CODE" 0
