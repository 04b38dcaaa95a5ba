# Another host claims a real server's address on their network, and the kernel sends its packets
# there. The director has the kernel ask again as soon as checks fail or SYNs stay unanswered, and
# says who had it. By itself the kernel would not ask for ten minutes here.
# mixes: 4in4 6in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

make_topology
make_other
start_web real1
start_real real1
table=net.$([[ $OUTER == 4 ]] && echo ipv4 || echo ipv6).neigh.eth1
at vt-director sysctl -qw "$table.base_reachable_time_ms=600000"
at vt-director sysctl -qw "$table.delay_first_probe_time=600"
own=$(at vt-real1 cat /sys/class/net/eth0/address)
rival=$(at vt-other cat /sys/class/net/eth1/address)
sends_to() { # HARDWARE-ADDRESS
    [[ $(ip -n vt-director neigh show "${ADDRESS[real1]}" dev eth1) == *" $1 "* ]]
}
claim() {
    at vt-other python3 "$here/traffic/claim.py" eth1 "${ADDRESS[real1]}" 1
    sends_to "$rival"
}

# With checks.
SERVICE_KEYS='[[service.check]]
type = "tcp"
port = 80
interval = "200ms"
timeout = "200ms"'
start_director rr 1
is() { [[ $(real_field real1 state) == "$1" ]]; } # STATE
wait_for "the first probes" is up
# The kernel takes no other address within a second of the last one (`locktime`).
wait_for "the claim to be believed" claim
wait_for "the real server to be down" is down
wait_for "its own hardware address again" sends_to "$own"
wait_for "the real server to be up" is up
wait_for "a word about it" log_has director \
    "WARN .*real server ${ADDRESS[real1]} has hardware address $own and not $rival, "
stop director

# Without: SYNs without an answer.
SERVICE_KEYS=
start_director rr 1
expect_eq "requests served" "$(fetch 2 | awk '{ n += $1 } END { print n }')" 2
wait_for "the second claim to be believed" claim
served() { at vt-client curl -sf --max-time 1 "$(url /)" -o /dev/null; }
wait_for "requests to be served again" served
sends_to "$own" || fail "packets go to $(ip -n vt-director neigh show "${ADDRESS[real1]}")"
stop director
expect_eq "exit code" "$CODE" 0
