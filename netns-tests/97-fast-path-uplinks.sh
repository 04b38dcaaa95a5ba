# The fast path at uplinks that are a VLAN, a bond or a bridge, beside other programs on the same
# hook (one that passes packets on changes nothing; one that ends the chain earlier keeps all
# packets with the director), and with frames of a VLAN that is not the uplink's.
# mixes: 4in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

TURNS=30
carried() { number director stats .packets.carried; }
attached() { at vt-director python3 "$here/traffic/tcx_programs.py" "$1"; } # INTERFACE

# The director's uplink becomes DEVICE, with all addresses and the default routes.
moves_to() { # DEVICE
    local family
    ip -n vt-director address flush dev eth0
    for family in 4 6; do
        ip -n vt-director address add "$(in_subnet "${UPLINK_DIRECTORS[$family]}")" dev "$1"
    done
    ip -n vt-director link set dev eth0 up
    ip -n vt-director link set dev "$1" up
    for family in 4 6; do
        ip -n vt-director route replace default via "${UPLINK_ROUTERS[$family]}"
    done
}

moves_back() { # DEVICE
    ip -n vt-director link delete "$1"
    moves_to eth0
}

serves() { # UPLINK CARRIED
    local before
    before=$(carried)
    expect_eq "datagrams answered by $1" \
        "$(at vt-client python3 "$here/traffic/udp_turns.py" "$VIP" 9000 "$TURNS")" "$TURNS"
    if [[ $2 == most ]]; then
        expect_between "datagrams carried from $1" $(($(carried) - before)) 15 22
    else
        expect_eq "datagrams carried from $1" $(($(carried) - before)) "$2"
    fi
}

runs_at() { # UPLINK
    DIRECTOR_KEYS="fast_path = \"auto\"
uplinks = [\"$1\"]"
    start_director rr 1
    expect_eq "programs at $1" "$(attached "$1")" 1
    serves "$1" most
    expect_accounted
    stop director
    expect_eq "programs left at $1" "$(attached "$1")" 0
}

other() { # ANSWER: another program before the director's
    mkfifo "$WORK/other$1"
    spawn vt-director "other$1" sh \
        -c "exec python3 '$here/traffic/tcx_other.py' eth0 $1 <'$WORK/other$1'"
    exec {release}>"$WORK/other$1"
    wait_for "another program" log_has "other$1" attached
    expect_eq "programs at eth0" "$(attached eth0)" 2
}

other_ends() { # ANSWER
    echo >&"$release"
    exec {release}>&-
    stop "other$1" KILL
}

make_topology
start_real real1
start_echo real1
DIRECTOR_KEYS='fast_path = "auto"'
start_director rr 1
needs_fast_path

other -1
serves "eth0, behind a program that passes packets on" most
other_ends -1
other 0
serves "eth0, behind a program that ends the chain" 0
other_ends 0
serves eth0 most

# The tag of a VLAN is not in the data of such frames, but they are of another network.
at vt-client python3 "$here/traffic/udp_turns.py" "$VIP" 9000 "$TURNS" 5555 >/dev/null
carried=$(carried) tagged=$(number director stats .not_carried.frame)
at vt-router python3 "$here/traffic/tagged.py" up-dir \
    "$(at vt-director cat /sys/class/net/eth0/address)" "$CLIENT" 5555 "$VIP" 9000 10
have_come() { (($(number director stats .not_carried.frame) >= tagged + 10)); }
wait_for "tagged frames of a carried flow" have_come
expect_eq "tagged frames that are carried" $(($(carried) - carried)) 0
expect_accounted
stop director

if ip -n vt-director link add bond0 type bond mode active-backup 2>/dev/null; then
    ip -n vt-director link set dev eth0 down
    ip -n vt-director link set dev eth0 master bond0
    moves_to bond0
    runs_at bond0
    moves_back bond0
else
    say "no bonds here"
fi

ip -n vt-director link add br0 type bridge mcast_snooping 0
ip -n vt-director link set dev eth0 master br0
moves_to br0
runs_at br0
moves_back br0

if ip -n vt-director link add link eth0 name eth0.7 type vlan id 7 2>/dev/null; then
    ip -n vt-router link add link up-dir name up-dir.7 type vlan id 7
    ip -n vt-router link set dev up-dir nomaster
    ip -n vt-router link set dev up-dir.7 master uplink
    ip -n vt-router link set dev up-dir.7 up
    moves_to eth0.7
    runs_at eth0.7
else
    say "no VLANs here"
fi
