# Persistence: a client's connections go to one real server over two ports and both transports, also
# after all of them have ended. Another client has its own. With weight 0 the client stays or moves,
# by the service's policy.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

DIRECTOR_KEYS='timeouts = { tcp_fin_wait = "1s", tcp_time_wait = "1s", udp = "1s" }'
SERVICE_KEYS='persistence = "6m"'
make_topology
declare -A SECOND=([4]=198.51.100.11 [6]=2001:db8:c::11)
# Deprecated, so that programs use it only on request.
ip -n vt-client address add "$(in_subnet "${SECOND[$INNER]}")" dev eth0 preferred_lft 0
start_web "${REALS[@]}"
start_real "${REALS[@]}"
start_echo "${REALS[@]}"
start_director rr 1 1 1

as_second() { # N
    at vt-client curl -sS --fail-early --max-time 60 --interface "${SECOND[$INNER]}" \
        -H 'Connection: close' "$(url "/?[1-$1]")" | sort | uniq -c
}
datagrams() { at vt-client python3 "$here/traffic/udp_client.py" "$VIP" 9000 10 2; }
no_connections() { [[ $(number director list .connections.current) == 0 ]]; }

served=$(fetch 30)
expect_eq "connections of one client at real1" "$(share "$served" real1)" 30
served=$(datagrams)
expect_eq "its UDP flows to another port at real1" "$(share "$served" real1)" 10
served=$(as_second 10)
expect_eq "connections of another client at real2" "$(share "$served" real2)" 10
expect_eq "templates" "$(number director list .templates.current)" 2
expect_eq "templates that name real1" "$(real_field real1 templates)" 1

wait_for "the end of all connections" no_connections
served=$(fetch 5)
expect_eq "connections at real1 after the others have ended" "$(share "$served" real1)" 5

configure "$WORK/director.toml" rr 0 1 1
ask director reload
served=$(fetch 5)
expect_eq "connections at real1, now of weight 0" "$(share "$served" real1)" 5
SERVICE_KEYS='persistence = "6m"
quiescent = "move"'
configure "$WORK/director.toml" rr 0 1 1
ask director reload
served=$(fetch 5)
expect_eq "connections at real1 when such clients move" "$(share "$served" real1)" 0
expect_eq "servers that have them" "$(wc -l <<<"$served")" 1
expect_eq "templates" "$(number director list .templates.current)" 2
expect_direct_replies 100
expect_accounted
