# ICMP errors about GUE. A smaller path MTU reaches the clients and not the director's kernel, even
# if the error is forged; port unreachable from the kernel of a real server whose daemon has ended
# makes the probes fail at once. No error fails a send.
# usual: 6in4 4in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

FAR=([4]=10.7.0.11 [6]=2001:db8:7::11)
NARROW=1400

# Errors are recognised by these.
DIRECTOR_KEYS='gue_source_ports = "5000-5003"'
TUNNELLED+=("udp dport 6080")
REAL_KEYS='encap = "gue"'
JOINED=1


make_topology
ip -n vt-real1 address add "$(alone "${FAR[$OUTER]}")" dev eth0
# Locked, since an IPv6 router otherwise uses the device's MTU.
ip -n vt-router route add "${FAR[$OUTER]}" via "${ADDRESS[real1]}" dev lan mtu lock $NARROW
ADDRESS[real1]=${FAR[$OUTER]}
DIRECTOR=${UPLINK_DIRECTORS[$OUTER]} # it leaves by the default route now
start_web real1
start_real real1
head -c 1000000 /dev/urandom >"$WORK/files/random"
SERVICE_KEYS='encap = "gue"' start_director rr 1

at vt-client curl -sSf --max-time 60 -T "$WORK/files/random" "$(url /upload/up)" -o /dev/null
cmp "$WORK/files/random" "$WORK/real1/upload/up" || fail "the upload differs"
[[ $(at vt-client ip route get "$VIP") == *"mtu $((NARROW - IP_HEADER[OUTER] - 12))"* ]] ||
    fail "the client has not learnt the path MTU"
expect_eq "the path MTU in vstun stats" "$(number director stats '.tunnel_errors[0].path_mtu')" \
    "$NARROW"
way=$(at vt-director ip route get "${FAR[$OUTER]}")
[[ $way != *mtu* && $way != *expires* ]] ||
    fail "the director's kernel has learnt the path MTU: $way"
REFUSED_LATE=100
expect_accounted
stop director

say "daemon killed"
start_web real2
start_real real2
# Three timeouts would take six seconds.
SERVICE_KEYS='encap = "gue"
[[service.check]]
type = "http"
interval = "1s"
fast_interval = "200ms"
timeout = "2s"'
start_director rr 1 1
wait_for "probes of both" all_probed 2
kill -KILL "${PID[real2]}"
exit_code real2
wait_for "real2 to be down" state_is real2 down
why_has real2 "port unreachable from ${ADDRESS[real2]}" ||
    fail "real2 is down because: $(real_field real2 why)"
expect_eq "requests of 20 to real1" "$(share "$(fetch 20)" real1)" 20
expect_eq "send errors" "$(number director stats '[.send_errors[]] | add')" 0
