# `drain --wait` returns with the last connection, or when its time is over; `connections` shows the
# clients and real servers.
# usual: 4in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

# Their real servers' FINs are not seen: the entries live on for this long after the clients' own.
DIRECTOR_KEYS='timeouts = { tcp_fin_wait = "1s" }'
make_topology
start_web real1 real2
start_real real1 real2
start_director rr 1 1
hold open 6

listed() { # ARGUMENTS...
    ask director connections "$@" --json | jq -s '[.[].connections[]] | length'
}
expect_eq "connections" "$(listed)" 6
expect_eq "those of real1" "$(listed --real "${ADDRESS[real1]}")" 3
expect_eq "those of the client at real2" "$(listed --real "${ADDRESS[real2]}" --client "$CLIENT")" 3
expect_eq "those of another client" "$(listed --client 203.0.113.0/24)" 0
expect_eq "those of the service that are established" \
    "$(listed --service web --state established)" 6
expect_eq "two of those" "$(listed --service web --state ESTABLISHED --limit 2)" 2
expect_fails "connections of a service that there is not" ask director connections --service wbe

drain() { spawn vt-director drain "$VSTUN_BIN/vstun" --socket "$CONTROL/director.sock" drain "$@"; }
drain "${ADDRESS[real1]}" --wait --timeout 1ms
exit_code drain
expect_eq "the exit code when the time is up" "$CODE" 4
expect_log drain "3 connections left; it goes on draining"
drain "${ADDRESS[real1]}" --wait --timeout 10m
# The client has the answer, and waits.
is_draining() { log_has drain "draining|nothing has changed"; }
wait_for "the order" is_draining
release open 6
exit_code drain
expect_eq "the exit code without a connection" "$CODE" 0
expect_log drain "no connection is left"
expect_eq "connections of real1" "$(listed --real "${ADDRESS[real1]}")" 0

expect_eq "what is said of a client without its port" \
    "$(ask director explain tcp "$CLIENT" "$(in_url "$VIP"):80" --json |
    jq -r '"\(.why) \(.address)"')" \
    "scheduler ${ADDRESS[real2]}"
