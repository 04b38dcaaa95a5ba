# Two directors for one VIP, told by hooks who is to have it, as keepalived would: `announce` answers for it at once and
# tells the neighbours, without a question whether the other one has it; `withdraw` takes that back, with the route for
# routing daemons, and goes on forwarding what still arrives. Every request is served on the way there and back. What the
# operator said outlives what happens to the host.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/host_state.sh"

TABLE=4711
DIRECTOR_KEYS=$'announce = false\nuplinks = ["eth0"]\nannounce_table = '$TABLE
make_topology
make_other
start_web real1 real2
for name in real1 real2; do
    # Tunnelled packets come from either director.
    printf '[realserver]\nvips = ["%s"]\ndirectors = ["%s", "%s"]\ncontrol = "%s/%s.sock"\n' \
        "$VIP" "$(alone "$DIRECTOR")" "$(alone "${LAN_OTHERS[$OUTER]}")" "$CONTROL" "$name" >"$WORK/$name.toml"
    spawn "vt-$name" "$name" "$VSTUN_BIN/vstun-realserver" --config "$WORK/$name.toml"
    wait_ready "$name"
done
start_director rr 1 1
sed "s|$CONTROL/director.sock|$CONTROL/other.sock|" "$WORK/director.toml" >"$WORK/other.toml"
spawn vt-other other "$VSTUN_BIN/vstun-director" --config "$WORK/other.toml"
wait_ready other

who_has() { at vt-router python3 "$here/traffic/who_has.py" uplink "${UPLINK_ROUTERS[$INNER]}" "$VIP"; }
mac() { at "vt-$1" cat /sys/class/net/eth0/address; } # DIRECTOR
learnt() { ip -n vt-router neigh show "$VIP" dev uplink | grep -q "$(mac "$1")"; } # DIRECTOR
told() { ip -n "vt-$1" "-$INNER" route show table $TABLE 2>/dev/null || true; } # DIRECTOR: what a routing daemon there sees
proxies() { ip -n "vt-$1" "-$INNER" neigh show proxy; } # DIRECTOR
announced() { number "$1" list ".vips[] | select(.address == \"$VIP\") | .announced"; } # DIRECTOR
read_by() { number "$1" stats .packets.read; } # DIRECTOR

expect_eq "who has a VIP that nobody was told to announce" "$(who_has)" ""
for name in director other; do
    expect_eq "what $name says of the VIP" "$(announced $name)" false
    expect_eq "the table for routing daemons at $name" "$(told $name)" ""
done

# The hooks of one move: the new master first, as with VRRP, where it does not wait for the old one.
move() { # FROM TO
    ask "$2" announce "$VIP" >"$WORK/announce.out"
    learnt "$2" || wait_for "the router to learn $2's address" learnt "$2"
    ask "$1" withdraw "$VIP" >"$WORK/withdraw.out"
}

ask director announce "$VIP"
expect_eq "who has the VIP" "$(who_has)" "$(mac director)"
expect_fails "no route for routing daemons" test -z "$(told director)"
expect_eq "requests served by the first" "$(fetch 20 | awk '{ n += $1 } END { print n }')" 20

for round in "director other" "other director" "director other"; do
    read -r from to <<<"$round"
    before=$(read_by "$to")
    move "$from" "$to"
    expect_eq "who has the VIP after the move to $to" "$(who_has)" "$(mac "$to")"
    expect_eq "proxy entries of $from" "$(proxies "$from")" ""
    expect_eq "routes for routing daemons at $from and $to" "$(told "$from" | wc -l) $(told "$to" | wc -l)" "0 1"
    expect_eq "what $from and $to say of the VIP" "$(announced "$from") $(announced "$to")" "false true"
    expect_eq "requests served right after the move" "$(fetch 20 | awk '{ n += $1 } END { print n }')" 20
    (($(read_by "$to") > before)) || fail "$to has read no packet"
done

# A neighbour that has not heard of it: the director that was withdrawn still forwards.
before=$(read_by director)
ip -n vt-router neigh replace "$VIP" lladdr "$(mac director)" dev uplink nud permanent
expect_eq "requests served by the withdrawn director" "$(fetch 20 | awk '{ n += $1 } END { print n }')" 20
(($(read_by director) > before)) || fail "the withdrawn director has read no packet"
ip -n vt-router neigh del "$VIP" dev uplink

# What the host goes through announces nothing: a link that flaps, an interface that comes, a reload.
ip -n vt-director link set dev eth0 down
ip -n vt-director link add eth9 type veth peer name eth8
ip -n vt-director link set dev eth0 up
for family in 4 6; do
    ip -n vt-director address replace "$(in_subnet "${UPLINK_DIRECTORS[$family]}")" dev eth0
    ip -n vt-director route replace default via "${UPLINK_ROUTERS[$family]}"
done
ip -n vt-director link del eth9
ask director reload
expect_eq "proxy entries of a withdrawn director after all that" "$(proxies director)" ""
expect_eq "its routes for routing daemons" "$(told director)" ""
expect_eq "who has the VIP" "$(who_has)" "$(mac other)"

# Twice the same is no fault, and both are lines of their own in the log.
ask director withdraw "$VIP"
ask other announce "$VIP"
expect_log other "announced false → true .announce by operator, uid 0 gid 0 pid"

# What was announced by a hook is undone at the end as anything else, also for the one that was killed.
stop director
expect_eq "the director's exit code" "$CODE" 0
host_state vt-director >"$WORK/before"
start_director rr 1 1
expect_eq "requests served by the other" "$(fetch 20 | awk '{ n += $1 } END { print n }')" 20
move other director
stop director
expect_host_state "after announce and SIGTERM" vt-director "$WORK/before"
ask other announce "$VIP"
stop other KILL
ask other cleanup
expect_eq "who has the VIP when all are gone" "$(who_has)" ""
