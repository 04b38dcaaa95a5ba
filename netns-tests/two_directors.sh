# Two directors for one VIP, which announce it only on command, and two real servers behind them,
# for the tests of `announce` and `withdraw`. Sourced after daemons.sh.
# shellcheck shell=bash

TABLE=4711
two_directors() {
    DIRECTOR_KEYS=$'announce = false\nuplinks = ["eth0"]\nannounce_table = '$TABLE
    TRUSTED=("$DIRECTOR" "${LAN_OTHERS[$OUTER]}") # tunnelled packets come from either director
    make_topology
    make_other
    start_web real1 real2
    start_real real1 real2
    start_director rr 1 1
    start_other
}

who_has() {
    at vt-router python3 "$here/traffic/who_has.py" uplink "${UPLINK_ROUTERS[$INNER]}" "$VIP"
}
mac() { at "vt-$1" cat /sys/class/net/eth0/address; } # DIRECTOR
learnt() { ip -n vt-router neigh show "$VIP" dev uplink | grep -q "$(mac "$1")"; } # DIRECTOR
routes_to_announce() { # DIRECTOR
    ip -n "vt-$1" "-$INNER" route show table $TABLE 2>/dev/null || true
}
proxies() { ip -n "vt-$1" "-$INNER" neigh show proxy; } # DIRECTOR
announced() { number "$1" list ".vips[] | select(.address == \"$VIP\") | .announced"; } # DIRECTOR
read_by() { number "$1" stats .packets.read; } # DIRECTOR

# The hooks of one move: the new master first, as with VRRP, where it does not wait for the old one.
move() { # FROM TO
    ask "$2" announce "$VIP" >"$WORK/announce.out"
    wait_for "the router to learn $2's address" learnt "$2"
    ask "$1" withdraw "$VIP" >"$WORK/withdraw.out"
}
