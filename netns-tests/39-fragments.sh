# Fragmented UDP: all fragments of a datagram reach the real server of its flow, in any order;
# overlapping, too small and too many fragments are refused and counted; a flood of fragments
# without a first one uses no more memory than its bound, and displaces no good traffic.
# first: in one mix it waits 30 seconds for what is held to expire
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

HELD_MOST=4194304   # bytes
WAITING_MOST=1024   # datagrams
STRANGERS=([4]=198.51.100.66 [6]=2001:db8:c::66) # in whose name the flood comes

fragments() { at vt-client python3 "$here/traffic/fragments.py" "$@"; } # MODE ...
stat() { number director stats ".$1"; }                                # FIELD
is_forgotten() {
    (($(stat packets.held) == 0 && $(stat fragments.waiting) == 0 &&
        $(stat fragments.decided) == 0))
}
is_flooded() { (($(dropped fragment_limit) > before + 10000)); }
memory() { awk '/^VmRSS/ { print $2 }' "/proc/${PID[director]}/status"; } # KiB

make_topology
start_real "${REALS[@]}"
for name in "${REALS[@]}"; do
    spawn "vt-$name" "$name-digest" python3 "$here/traffic/udp_digest.py" "$name" "$VIP" 9000
done
for name in "${REALS[@]}"; do wait_for "$name's digest server" log_has "$name-digest" '^ready'; done
start_director rr 1 1 1

# Fragmented by the client's kernel: 4,000 bytes, and the longest datagram of either family.
answers=$(fragments kernel "$VIP" 9000 12 5 4000)
for name in "${REALS[@]}"; do
    expect_eq "flows answered by $name" "$(share "$answers" "$name")" 4
done
# On a busy machine one of its 45 fragments may be lost: another try.
for _ in {1..3}; do
    code=0
    said=$(fragments kernel "$VIP" 9000 1 2 65507 2>&1) || code=$?
    [[ $code != 0 && $said == *"no answer"* ]] || break
done
expect_eq "the longest datagrams: $said" "$code" 0
expect_between "connections" "$(connections_given)" 13 15

# Fragmented by hand; in most orders fragments arrive before the first one.
answers=$(fragments by-hand "$CLIENT" "$VIP" 9000 6 1)
expect_eq "flows cut by hand that were answered" \
    "$(awk '{ sum += $1 } END { print sum }' <<<"$answers")" 6
expect_between "duplicates" "$(dropped fragment_duplicate)" 1 100
for reason in fragment_overlap fragment_limit fragment_expired fragment; do
    expect_eq "dropped as $reason" "$(dropped "$reason")" 0
done

# Fragments that must not arrive.
malformed=$(dropped malformed)
expect_eq "hostile datagrams" "$(fragments hostile "$CLIENT" "$VIP" 9000 20 1000)" 20
expect_eq "dropped as overlaps" "$(dropped fragment_overlap)" $((20 * 6))
expect_eq "dropped as too many" "$(dropped fragment_limit)" $((20 * 200))
expect_eq "dropped as malformed" "$(($(dropped malformed) - malformed))" $((20 * 2))
expect_eq "fragments of pings" "$(dropped fragment)" $((20 * 3))
# Duplicates of datagrams that were already complete are still held.
expect_accounted

# A flood, with good traffic beside it, fragmented by hand so that it needs an entry too.
grown=$(memory) before=$(dropped fragment_limit)
spawn vt-client flood python3 "$here/traffic/fragments.py" lone "${STRANGERS[$INNER]}" "$VIP" 9000
wait_for "fragments that give way to newer ones" is_flooded
answers=$(fragments by-hand "$CLIENT" "$VIP" 9000 6 2000)
expect_eq "flows answered beside a flood" "$(awk '{ sum += $1 } END { print sum }' <<<"$answers")" 6
answers=$(fragments kernel "$VIP" 9000 6 5 4000)
expect_eq "flows answered beside a flood" "$(awk '{ sum += $1 } END { print sum }' <<<"$answers")" 6
is_running flood || fail "the flood ended meanwhile"
stop flood
expect_between "datagrams that wait" "$(stat fragments.waiting)" 1 $WAITING_MOST
expect_between "bytes held" "$(stat fragments.held_bytes)" 500000 $HELD_MOST
expect_between "KiB that the director has grown" $(($(memory) - grown)) -1000 8192
expect_accounted

# The rest expires, in an idle director too.
if [[ $MIX == 4in6 ]]; then
    wait_for "held fragments to be forgotten" is_forgotten
    expect_between "dropped as too late" "$(dropped fragment_expired)" 1 $WAITING_MOST
    expect_accounted
fi
