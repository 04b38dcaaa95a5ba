# Two directors for one VIP; hooks decide which of them announces it, as with keepalived: `announce`
# answers for the VIP and announces it at once, without a probe for the other director; `withdraw`
# undoes that, with the route for routing daemons, and still forwards packets that arrive. All
# requests are served during the moves.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/two_directors.sh"

two_directors
expect_eq "hosts with the VIP before any announcement" "$(who_has)" ""
for name in director other; do
    expect_eq "what $name says of the VIP" "$(announced $name)" false
    expect_eq "the table for routing daemons at $name" "$(routes_to_announce $name)" ""
done

ask director announce "$VIP"
expect_eq "who has the VIP" "$(who_has)" "$(mac director)"
expect_fails "no route for routing daemons" test -z "$(routes_to_announce director)"
expect_eq "requests served by the first" "$(fetch 20 | awk '{ n += $1 } END { print n }')" 20

for round in "director other" "other director" "director other"; do
    read -r from to <<<"$round"
    before=$(read_by "$to")
    move "$from" "$to"
    expect_eq "who has the VIP after the move to $to" "$(who_has)" "$(mac "$to")"
    expect_eq "proxy entries of $from" "$(proxies "$from")" ""
    expect_eq "routes for routing daemons at $from and $to" \
        "$(routes_to_announce "$from" | wc -l) $(routes_to_announce "$to" | wc -l)" "0 1"
    expect_eq "what $from and $to say of the VIP" "$(announced "$from") $(announced "$to")" \
        "false true"
    expect_eq "requests served right after the move" \
        "$(fetch 20 | awk '{ n += $1 } END { print n }')" 20
    (($(read_by "$to") > before)) || fail "$to has read no packet"
done

# A neighbour with the old hardware address: the director that was withdrawn still forwards.
before=$(read_by director)
ip -n vt-router neigh replace "$VIP" lladdr "$(mac director)" dev uplink nud permanent
expect_eq "requests served by the withdrawn director" \
    "$(fetch 20 | awk '{ n += $1 } END { print n }')" 20
(($(read_by director) > before)) || fail "the withdrawn director has read no packet"
ip -n vt-router neigh del "$VIP" dev uplink
