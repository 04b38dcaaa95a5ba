# One carried flow. Its neighbour gets another hardware address, its route another next hop and
# another interface. An IPsec policy towards the real server takes it back, and so does a trace
# while it runs. Packets that are not carried are counted by reason. `doctor` names the firewall
# chains that carried packets bypass. A reload that changes `fast_path` is refused, and `cleanup`
# reports that nothing is left.
# mixes: 4in4 4in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

PORT=40007
REAL=${ADDRESS[real1]}
carried() { number director stats .packets.carried; }
carried_flows() {
    ask director connections --client "$CLIENT" --json |
        jq -s '[.[].connections[] | select(.carried)] | length'
}
not_carried() { number director stats ".not_carried.$1"; } # REASON

rounds=0
has_rounds() { (($(grep -c '^answered' "$WORK/rounds.log") >= rounds)); }
serves() { # WHAT LEAST MOST [ANSWERED]: of 20 datagrams, carried; all are answered, or so many
    local before answers
    before=$(carried)
    echo 20 >&"${RELEASE[rounds]}"
    rounds=$((rounds + 1))
    wait_for "the answers of round $rounds" has_rounds
    answers=$(awk '/^answered/ { n = $2 } END { print n }' "$WORK/rounds.log")
    expect_between "datagrams answered $1" "$answers" "${4:-20}" 20
    expect_between "datagrams carried $1" $(($(carried) - before)) "$2" "$3"
}
through_router() { # INTERFACE: tunnelled packets that it has forwarded
    at vt-router nft -j list counter inet way "$1" |
        jq '.nftables[] | .counter? | values | .packets'
}

make_topology
at vt-router nft -f - <<-NFT
	table inet way {
	    counter lan {}
	    counter uplink {}
	    chain forward {
	        type filter hook forward priority 0
	        oifname "lan" iifname "lan" meta l4proto { 4, 41 } counter name lan
	        oifname "lan" iifname "uplink" meta l4proto { 4, 41 } counter name uplink
	    }
	}
	NFT
start_real real1
start_echo real1
DIRECTOR_KEYS='fast_path = "auto"'
start_director rr 1
needs_fast_path

mkfifo "$WORK/rounds.release"
spawn vt-client rounds sh -c \
    "exec python3 '$here/traffic/udp_rounds.py' $VIP 9000 $PORT <'$WORK/rounds.release'"
exec {RELEASE[rounds]}>"$WORK/rounds.release"
wait_for "the client" log_has rounds ready
serves "of a new flow" 8 14
serves "of a carried one" 20 20

at vt-client ping -c 1 -W 5 "$VIP" >/dev/null || true
expect_between "packets without a flow" "$(not_carried no_flow)" 5 20
expect_between "packets of other protocols" "$(not_carried protocol)" 1 20
expect_eq "the flow's mark" "$(carried_flows)" 1
expect_eq "the flow, explained" \
    "$(ask director explain udp "$(in_url "$CLIENT"):$PORT" "$(in_url "$VIP"):9000" --json |
        jq -r '"\(.address) \(.why)"')" "$REAL entry"
serves "after it was explained" 20 20

# The neighbour's hardware address.
before=$(ip -n vt-director neigh show "$REAL")
ip -n vt-real1 link set dev eth0 address 02:00:00:00:77:77
ip -n vt-real1 neigh flush dev eth0
for family in 4 6; do ip -n vt-real1 route replace default via "${LAN_ROUTERS[$family]}"; done
at vt-real1 ping -c 1 -W 10 "$DIRECTOR" >/dev/null
say "the director's neighbour: $before, now $(ip -n vt-director neigh show "$REAL")"
at vt-router ip neigh flush dev lan
serves "by a neighbour with another hardware address" 19 20

# Another next hop on the same link, then another link: what the kernel carries before the director
# has learnt of that may be lost.
ip -n vt-director route add "$(alone "$REAL")" via "${LAN_ROUTERS[$OUTER]}" dev eth1 src "$DIRECTOR"
serves "by another next hop" 18 20
expect_between "datagrams that the next hop forwards" "$(through_router lan)" 19 20
ip -n vt-director route replace "$(alone "$REAL")" via "${UPLINK_ROUTERS[$OUTER]}" dev eth0 \
    src "$DIRECTOR"
by_that_link() {
    serves "while the director learns of another link" 0 20 19
    (($(through_router uplink) > 0))
}
wait_for "datagrams by another link" by_that_link
serves "by another link" 15 20
expect_between "datagrams by that link" "$(through_router uplink)" 16 40
ip -n vt-director route delete "$(alone "$REAL")"
serves "while the director learns of the first link again" 0 20 19

# An IPsec policy: the program would send the packets past it, unencrypted.
flow_is_carried() { [[ $(carried_flows) == "$1" ]]; } # 0 OR 1
policy=(dir out src "$(alone "$DIRECTOR")" dst "$(alone "$REAL")")
at vt-director ip xfrm policy add "${policy[@]}" \
    tmpl src "$DIRECTOR" dst "$REAL" proto esp mode transport
wait_for "the flow to be taken back" flow_is_carried 0
at vt-director ip xfrm policy delete "${policy[@]}"
by_the_kernel_again() {
    serves "while the director learns of its end" 0 20 19
    flow_is_carried 1
}
wait_for "the flow to be carried again" by_the_kernel_again

# A trace.
spawn vt-director trace "$VSTUN_BIN/vstun" --socket "$CONTROL/director.sock" trace --json \
    --client "$CLIENT"
wait_for "the trace" log_has trace 'Ctrl-C ends it'
serves "under a trace" 0 0
traced() { [[ $(grep -c "\"client\":\"$(in_url "$CLIENT"):$PORT\"" "$WORK/trace.log") == 20 ]]; }
wait_for "20 decisions in the trace" traced
stop trace INT
serves "after the trace" 18 20

# Before doctor, which sends packets of its own.
expect_accounted
ask director doctor --json >"$WORK/report" || true # other findings are no matter here
expect_eq "what doctor says of the fast path" "$(jq -r '.findings[]
    | select(.cause == "fast_path") | "\(.severity) \(.text | test("from eth0 past the firewall"))
        \(.evidence | test("inet count prerouting .prerouting."))" | gsub("\\s+"; " ")' \
    "$WORK/report")" "note true true"

# A change of the key needs a restart; the daemon goes on with the old configuration.
DIRECTOR_KEYS='fast_path = "off"'
configure "$WORK/director.toml" rr 1
expect_fails "a reload that changes fast_path" ask director reload 2>"$WORK/refused"
grep -q 'fast_path' "$WORK/refused" || fail "the refusal: $(<"$WORK/refused")"
say "$(<"$WORK/refused")"
serves "after a refused reload" 20 20

stop director KILL
ask director cleanup >"$WORK/cleaned"
grep -q '^fast path of a director: attached nowhere' "$WORK/cleaned" ||
    fail "cleanup: $(<"$WORK/cleaned")"
