# `vstun trace`: each packet's decision, filtered; a file that tshark and tcpdump read; faults in
# the options.
# mixes: 4in4 6in4 4in6
# usual: 6in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

trace() { at vt-director "$VSTUN_BIN/vstun" --socket "$CONTROL/director.sock" trace "$@"; }
begin() { # NAME ARGUMENT...
    local name=$1; shift
    spawn vt-director "$name" "$VSTUN_BIN/vstun" --socket "$CONTROL/director.sock" trace "$@"
    wait_for "the trace" log_has "$name" 'Ctrl-C ends it'
}
records() { grep '^{' "$WORK/$1.log"; } # NAME

make_topology
start_web real1 real2
start_real real1 real2
DIRECTOR_KEYS='recorder = 100'
start_director rr 1 1

begin all --json
begin second --json --count 2 --service web --client "$CLIENT" --vip "$(in_url "$VIP"):80" \
    --verdict tunnel
begin drops --json --verdict reply --reason no_service
begin file --write "$WORK/web.pcapng" --vip "$VIP"
said=$(trace 2>&1) && fail "a fifth trace runs"
[[ $said == *"busy: 4 traces run"* ]] || fail "the fifth trace: $said"

served=$(at vt-client curl -sS --local-port 40001 "$(url /)")
expect_fails "a port without a service" at vt-client curl -sS --max-time 5 \
    "http://$(in_url "$VIP"):81/"
wait_for "the refusal" log_has drops no_service
wait_for "two packets" has_ended second

first=$(records all | jq -c 'select(.client and (.client | endswith(":40001")))' | sed -n 1p)
expect_eq "the SYN" \
    "$(jq -r '"\(.verdict) \(.service) \(.address) \(.why) \(.scheduler) \(.before) \(.after)"' \
    <<<"$first")" \
    "tunnel web ${ADDRESS[$served]} scheduler rr null SYN_RECV"
expect_eq "the packet after it" \
    "$(records second | tail -n 1 | jq -r '"\(.why) \(.before) \(.after)"')" \
    "entry SYN_RECV ESTABLISHED"
expect_eq "no packet without --write" "$(records all | jq -s 'map(select(.packet)) | length')" 0
expect_eq "its decisions" "$(records second | jq -s length)" 2
expect_eq "the refusal" \
    "$(records drops | sed -n 1p | jq -r '"\(.verdict) \(.reason) \(.service)"')" \
    "reply no_service null"

stop all INT
expect_eq "how Ctrl-C ends it" "$CODE" 0
stop file INT
expect_eq "how Ctrl-C ends the file" "$CODE" 0
expect_eq "the file is its owner's" "$(stat -c %a "$WORK/web.pcapng")" 600

if command -v tcpdump >/dev/null; then
    at vt-director tcpdump -nn -r "$WORK/web.pcapng" >"$WORK/tcpdump.out" 2>"$WORK/tcpdump.err" ||
        fail "tcpdump: $(<"$WORK/tcpdump.err")"
    expect_between "packets for tcpdump" "$(wc -l <"$WORK/tcpdump.out")" 10 1000
else
    say "no tcpdump here: apt-get install tcpdump"
fi
if command -v tshark >/dev/null; then
    tshark -r "$WORK/web.pcapng" -T fields -E occurrence=f -e frame.interface_name -e tcp.srcport \
        -e tcp.len -e frame.len \
        -e frame.cap_len -e _ws.malformed -e frame.comment >"$WORK/tshark.out" \
        2>"$WORK/tshark.err" ||
        fail "tshark: $(<"$WORK/tshark.err")"
    field() { # tun|out FIELD
        awk -F '\t' -v way="$1" -v field="$2" '$1 == way && $2 == 40001 { print $field; exit }' \
            "$WORK/tshark.out"
    }
    expect_eq "the comment" "$(field tun 7 | sed 's/.*: //; s/,{.*//')" \
        "web → ${ADDRESS[$served]} by scheduler rr, new → SYN_RECV"
    expect_eq "the outer header's length" $(($(field out 4) - $(field tun 4))) \
        "$([[ $OUTER == 4 ]] && echo 20 || echo 40)"
    expect_eq "malformed packets" "$(awk -F '\t' '$6 != ""' "$WORK/tshark.out" | wc -l)" 0
    expect_eq "packets with payload" \
        "$(awk -F '\t' '$3 > 0' "$WORK/tshark.out" | wc -l | awk '{ print ($1 > 0) }')" 1
    expect_eq "packets whose payload is in the file" \
        "$(awk -F '\t' '$3 > 0 && $4 == $5' "$WORK/tshark.out" | wc -l)" 0
else
    say "no tshark here: apt-get install tshark"
fi

# Past decisions are recorded without a trace.
expect_eq "the recorded SYN" \
    "$(trace --recorded --json --client "$CLIENT" |
    jq -r 'select(.client // "" | endswith(":40001")) | "\(.address) \(.why)"' |
        sed -n 1p)" "${ADDRESS[$served]} scheduler"
expect_between "recorded decisions" "$(trace --recorded --json | wc -l)" 5 100

# The file's decisions again: with its configuration they agree, with another they do not.
replay() { # CONFIGURATION [FILE [OPTION...]]
    "$VSTUN_BIN/vstun" replay "$WORK/${2:-web}.pcapng" --config "$1" "${@:3}"
}
replay "$WORK/director.toml" || fail "the recording does not agree with its own configuration"
sed "s/${ADDRESS[$served]}/${ADDRESS[real3]}/" "$WORK/director.toml" >"$WORK/other.toml"
said=$(replay "$WORK/other.toml") && fail "the recording agrees with another configuration"
[[ $said == *"recorded  tcp"*"web → ${ADDRESS[$served]}"* ]] || fail "the difference is: $said"

# A recording that began while a real server was drained agrees only with the states of then.
ask director drain "${ADDRESS[real2]}" >"$WORK/drained.log"
ask director list --json >"$WORK/states.json"
# Each connection has a SYN, an acknowledgement and a request at least, so 12 packets end the
# recording. Ctrl-C could come before they are recorded.
begin drained --write "$WORK/drained.pcapng" --count 12
expect_eq "connections of the other" "$(share "$(fetch 4)" real1)" 4
exit_code drained
expect_eq "how the full recording ends" "$CODE" 0
said=$(replay "$WORK/director.toml" drained) && fail "it agrees without the states: $said"
[[ $said == *"give --states"* ]] || fail "without the states it says: $said"
said=$(replay "$WORK/director.toml" drained --states "$WORK/states.json") ||
    fail "it does not agree with the states: $said"
[[ $said == *" 0 decided otherwise"* ]] || fail "with the states it says: $said"

for fault in "--client x;--client: \"x\" is not an IP address" "--vip [::1;--vip: \"[::1\" is not" \
    "--reason bored;invalid value 'bored' for '--reason" \
    "--verdict maybe;possible values: tunnel" "--service wob;--service: \"wob\" is not a service" \
    "--real ::/0;--real: \"::/0\" is not an IP address" \
    "--real 10.9.9.9;--real: 10.9.9.9 is not a real server"; do
    read -r -a arguments <<<"${fault%%;*}"
    said=$(trace "${arguments[@]}" 2>&1) && fail "${fault%%;*} is accepted"
    [[ $said == *"${fault#*;}"* ]] || fail "${fault%%;*}: $said"
done
expect_accounted

said=$(trace --count 1 --recorded --vip 203.0.113.99 2>&1 >/dev/null)
[[ $said == *"203.0.113.99 is no virtual IP now"* ]] || fail "another address: $said"

# A trace is not over because the director is.
begin interrupted --write "$WORK/interrupted.pcapng"
stop director KILL
exit_code interrupted
expect_eq "how a trace ends whose director dies" "$CODE" 1
expect_log interrupted '^0 packets in '
expect_log interrupted 'the director closed the trace'
