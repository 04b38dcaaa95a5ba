# A bond, a VLAN on it and a VLAN on a cable, as the director's uplink and as the interface of a
# real server: traffic, the fast path where the kernel has it, a fail-over to another hardware
# address, which is announced, an uplink that goes down and comes back, and undo.
# mixes: 4in4 6in6
source "$(dirname "$0")/../lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/host_state.sh"

VLAN=7

# The namespace's addresses and default routes move to DEVICE. ADDRESSES and ROUTERS are names of
# arrays by family.
moves_to() { # NAMESPACE DEVICE FROM ADDRESSES ROUTERS
    local -n addresses=$4 routers=$5
    local family
    [[ $2 == "$3" ]] || ip -n "$1" address flush dev "$3" scope global
    for family in 4 6; do
        ip -n "$1" address replace "$(in_subnet "${addresses[$family]}")" dev "$2"
        ip -n "$1" route replace default via "${routers[$family]}"
    done
}
REAL1=([4]=${REAL_ADDRESSES[real1/4]} [6]=${REAL_ADDRESSES[real1/6]})
director_moves() { moves_to vt-director "$1" "$2" UPLINK_DIRECTORS UPLINK_ROUTERS; } # DEVICE FROM
real1_moves() { moves_to vt-real1 "$1" "$2" REAL1 LAN_ROUTERS; }                     # DEVICE FROM

# eth0 and a second cable become a bond; the second one's port is PORT2, in BRIDGE.
bond() { # NAMESPACE PORT2 BRIDGE
    local port
    ip -n vt-router link add "$2" type veth peer name eth9 netns "$1"
    ip -n vt-router link set dev "$2" master "$3"
    ip -n vt-router link set dev "$2" up
    as_a_wire vt-router "$2"
    as_a_wire "$1" eth9
    ip -n "$1" link add bond0 type bond mode active-backup miimon 50 fail_over_mac active
    for port in eth0 eth9; do
        ip -n "$1" link set dev "$port" down
        ip -n "$1" link set dev "$port" master bond0
    done
    ip -n "$1" link set dev bond0 up
    as_a_wire "$1" bond0
    wait_for "the bond's carrier" bond_is_up "$1"
}
bond_is_up() { [[ $(at "$1" cat /sys/class/net/bond0/operstate) == up ]]; }

vlan() { # NAMESPACE LOWER BRIDGE PORT...
    local port
    ip -n "$1" link add link "$2" name "$2.$VLAN" type vlan id "$VLAN"
    ip -n "$1" link set dev "$2.$VLAN" up
    as_a_wire "$1" "$2.$VLAN"
    for port in "${@:4}"; do
        ip -n vt-router link set dev "$port" nomaster
        ip -n vt-router link add link "$port" name "$port.$VLAN" type vlan id "$VLAN"
        ip -n vt-router link set dev "$port.$VLAN" master "$3"
        ip -n vt-router link set dev "$port.$VLAN" up
    done
}

# --- what must hold at each of them ---------------------------------------------------------------

works() { # WHEN
    local before has_fast=0
    ! log_has director 'INFO .*fast path at' || has_fast=1
    before=$(packets_carried)
    expect_eq "requests served $1" "$(share "$(fetch 5)" real1)" 5
    expect_eq "datagrams answered $1" \
        "$(at vt-client python3 "$here/traffic/udp_turns.py" "$VIP" 9000 30)" 30
    ((has_fast == 0)) || expect_between "packets carried $1" $(($(packets_carried) - before)) 15 60
    both_ways "$1"
}

mac() { at "$1" cat "/sys/class/net/$2/address"; }                             # NAMESPACE DEVICE
router_has() { [[ $(ip -n vt-router neigh show "$VIP") == *"$1"* ]]; }         # MAC
heals() { [[ $(at vt-client curl -s --max-time 2 "$(url /)") == real1 ]]; }

fails_over() { # UPLINK
    local old new active other
    old=$(mac vt-director "$1")
    wait_for "the router to know the VIP" router_has "$old"
    active=$(at vt-director cat /sys/class/net/bond0/bonding/active_slave)
    other=$([[ $active == eth0 ]] && echo eth9 || echo eth0)
    ip -n vt-director link set dev "$active" down
    moved() { [[ $(at vt-director cat /sys/class/net/bond0/bonding/active_slave) == "$other" ]]; }
    wait_for "the fail-over" moved
    new=$(mac vt-director "$1")
    [[ $new != "$old" ]] || fail "the bond kept its address $old"
    # Nothing asks meanwhile: only an announcement tells the router.
    wait_for "the router to learn the new address of the VIP" router_has "$new"
    works "after the fail-over of $1"
    ip -n vt-director link set dev "$active" up
}

comes_back() { # DEVICE
    ip -n vt-director link set dev "$1" down
    ip -n vt-director link set dev "$1" up
    director_moves "$1" "$1"
    wait_for "service after $1 was down" heals
    works "after $1 was down"
}

# Without what a fail-over changes: the bond's own state.
state() { host_state "vt-$1" | grep -vE '^ *(bond|link/ether|[0-9]+: )'; } # NAME

at_uplinks() { # DIRECTOR-DEVICE REAL-DEVICE
    local name
    say "director at $1, real server at $2"
    DIRECTOR_KEYS="fast_path = \"auto\"
uplinks = [\"$1\"]"
    REAL_KEYS='fast_path = "auto"'
    for name in director real1; do state "$name" >"$WORK/$name.before"; done
    start_real real1
    start_director rr 1
    works "at $1"
    [[ $1 != bond0* ]] || fails_over "$1"
    for name in director real1; do
        stop "$name"
        expect_eq "exit code of $name at $1" "$CODE" 0
    done
    for name in director real1; do
        state "$name" | diff -U 0 "$WORK/$name.before" - || fail "$1: $name's host is not as before"
    done
    start_real real1
    start_director rr 1
    comes_back "$1"
    stop director
    stop real1
}

make_topology
start_web real1
start_real real1
start_echo real1
head -c 1000000 /dev/urandom >"$WORK/files/random"
stop real1

bond vt-director up-dir9 uplink
director_moves bond0 eth0
bond vt-real1 lan-real9 lan
real1_moves bond0 eth0
at_uplinks bond0 bond0

vlan vt-director bond0 uplink up-dir up-dir9
director_moves bond0.7 bond0
vlan vt-real1 bond0 lan lan-real1 lan-real9
real1_moves bond0.7 bond0
at_uplinks bond0.7 bond0.7

# The VLAN on a cable.
for name in vt-director vt-real1; do
    ip -n "$name" link del bond0
    ip -n "$name" link set dev eth9 down
    ip -n "$name" link set dev eth0 up
    ip -n "$name" link add link eth0 name eth0.7 type vlan id "$VLAN"
    ip -n "$name" link set dev eth0.7 up
    as_a_wire "$name" eth0.7
done
director_moves eth0.7 eth0
real1_moves eth0.7 eth0
at_uplinks eth0.7 eth0.7
