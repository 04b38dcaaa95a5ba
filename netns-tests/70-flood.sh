# A flood of ten times as many SYNs as the table holds, of as many sources: a thousand open connections live on, new clients
# are served meanwhile, and afterwards all is as before.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

WAIT=60
FORGED=([4]=198.18.0.0/15 [6]=2001:db8:5::/48)
DIRECTOR_KEYS=$'max_connections = 2000\ntimeouts.tcp_syn_recv = "5s"'
SERVICE_KEYS='flood_new_flows = 1500'

flood_field() { number director list ".services[0].flood.$1"; } # FIELD
in_flood_mode() { [[ $(flood_field active) == "$1" ]]; } # true|false

make_topology
# What the real servers answer to nobody is lost, and no router complains of it.
ip -n vt-router route add blackhole "${FORGED[$INNER]}"
start_web "${REALS[@]}"
start_real "${REALS[@]}"
start_director wlc 1 1 1
spawn vt-director events sh -c "exec '$VSTUN_BIN/vstun' --socket '$CONTROL/director.sock' events 2>'$WORK/listening'"
wait_for "a listener to events" test -s "$WORK/listening"
mkfifo "$WORK/release"
spawn vt-client hold sh -c "exec python3 '$here/traffic/hold.py' $VIP 80 1000 <'$WORK/release'"
exec {release}>"$WORK/release"
wait_for "1000 open connections" log_has hold '^held'
expect_eq "flood mode before" "$(flood_field active)" false

spawn vt-client flood python3 "$here/traffic/syn_flood.py" "${FORGED[$INNER]}" "$VIP" 80 20000 4000
wait_for "the flood" log_has flood '^flooding'
wait_for "flood mode" in_flood_mode true
shares=$(fetch 50)
is_running flood || fail "the flood was over too soon to say anything"
expect_eq "new clients served meanwhile" "$(awk '{ n += $1 } END { print n }' <<<"$shares")" 50
exit_code flood
expect_log flood '^20000 sent'
expect_eq "flood mode" "$(flood_field active)" true
expect_between "packets without an entry" "$(flood_field without_entry)" 10000 21000
expect_between "connections in the table" "$(number director list .connections.current)" 1000 2000
expect_log director 'service web: flood mode:'

wait_for "the end of flood mode" in_flood_mode false
expect_log director 'service web: flood mode is over'
expect_eq "floods" "$(flood_field floods)" 1
both_events() { (($(wc -l <"$WORK/events.log") >= 2)); }
wait_for "the events of its beginning and its end" both_events
expect_eq "events" "$(jq -r '"\(.who) \(.verb) \(.what) \(.service) \(.before) \(.after)"' "$WORK/events.log")" \
    "director flood flood_mode web off on
director flood flood_mode web on off"
exec {release}>&-
exit_code hold
log_has hold '^alive 1000' || fail "not all connections lived on"
expect_direct_replies 1000
expect_accounted
