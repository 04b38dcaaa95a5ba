# A link on the path to a real server has a smaller MTU than the director's own: a router sends the
# director an error, and another one about the director's own probe. The director answers the client
# with "too big", and uploads go on with smaller packets. Over IPv4 they go on before that: the
# router fragments packets without DF, and answers the probe a second after its last error. Another
# client gets its answer at once, without another error from the router.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

FAR=([4]=10.7.0.11 [6]=2001:db8:7::11)
SECOND_CLIENT=([4]=198.51.100.11 [6]=2001:db8:c::11)
NARROW=1400

learnt() { # CLIENT
    upload real1 --interface "$1"
    [[ $(at vt-client ip route get "$VIP" from "$1") == *"mtu $((NARROW - IP_HEADER[OUTER]))"* ]]
}
too_big_errors() { number director stats .tunnel_errors_received; }

make_topology
ip -n vt-real1 address add "$(alone "${FAR[$OUTER]}")" dev eth0
# Locked, since an IPv6 router otherwise uses the device's MTU.
ip -n vt-router route add "${FAR[$OUTER]}" via "${ADDRESS[real1]}" dev lan mtu lock $NARROW
ip -n vt-client address add "$(in_subnet "${SECOND_CLIENT[$INNER]}")" dev eth0
ADDRESS[real1]=${FAR[$OUTER]}
DIRECTOR=${UPLINK_DIRECTORS[$OUTER]} # it leaves by the default route now
start_web real1
start_real real1
head -c 1000000 /dev/urandom >"$WORK/files/random"
start_director rr 1

wait_for "the path MTU at the first client" learnt "$CLIENT"
expect_eq "the path MTU in vstun stats" "$(number director stats '.tunnel_errors[0].path_mtu')" \
    "$NARROW"
expect_between "too big by ICMP at the client" "$(counter vt-client too_big)" 1 100
expect_between "errors from the router" "$(too_big_errors)" 1 100
# The director's kernel has not learnt from them: a forged one would change the routes of the host.
way=$(at vt-director ip route get "${FAR[$OUTER]}")
[[ $way != *mtu* && $way != *expires* ]] ||
    fail "the director's kernel has learnt the path MTU: $way"

before=$(too_big_errors)
learnt "${SECOND_CLIENT[$INNER]}" || fail "the second client has not learnt the path MTU"
expect_eq "errors from the router for the second client" "$(($(too_big_errors) - before))" 0
expect_direct_replies 50
REFUSED_LATE=100
expect_accounted
