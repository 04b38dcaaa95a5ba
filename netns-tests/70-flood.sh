# A flood of ten times as many SYNs as the table has entries, from as many sources: a thousand open
# connections live on, new clients are served meanwhile, and afterwards everything is as before.
# first: a flood is over ten to twenty seconds after its last packet
# usual: 4in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

FORGED=([4]=198.18.0.0/15 [6]=2001:db8:5::/48)
DIRECTOR_KEYS=$'max_connections = 2000\ntimeouts.tcp_syn_recv = "5s"'
SERVICE_KEYS='flood_new_flows = 1500'

flood_field() { number director list ".services[0].flood.$1"; } # FIELD
in_flood_mode() { [[ $(flood_field active) == "$1" ]]; } # true|false

make_topology
# The real servers' answers to forged sources are lost, and routers send no errors about them.
ip -n vt-router route add blackhole "${FORGED[$INNER]}"
start_web "${REALS[@]}"
start_real "${REALS[@]}"
start_director wlc 1 1 1
listen_to_events
hold held 1000
expect_eq "flood mode before" "$(flood_field active)" false

began=$SECONDS
spawn vt-client flood python3 "$here/traffic/syn_flood.py" "${FORGED[$INNER]}" "$VIP" 80 20000 2500
wait_for "the flood" log_has flood '^flooding'
wait_for "flood mode" in_flood_mode true
shares=$(fetch 50)
is_running flood || fail "the flood was over too soon to say anything"
expect_eq "new clients served meanwhile" "$(awk '{ n += $1 } END { print n }' <<<"$shares")" 50
exit_code flood
expect_log flood '^20000 sent'
expect_between "packets without an entry" "$(flood_field without_entry)" 10000 21000
expect_between "connections in the table" "$(number director list .connections.current)" 1000 2000
expect_log director 'service web: flood mode:'

wait_for "the end of flood mode" in_flood_mode false
expect_log director 'service web: flood mode is over'
# The mode lasts at least ten seconds. A machine that sends slowly has several floods, one after the
# other.
floods=$(flood_field floods)
expect_between "floods" "$floods" 1 $((1 + (SECONDS - began) / 10))
all_events() { (($(wc -l <"$WORK/events.log") >= 2 * floods)); }
wait_for "the events of its beginning and its end" all_events
expect_eq "events" \
    "$(jq -r '"\(.who) \(.verb) \(.what) \(.service) \(.before) \(.after)"' "$WORK/events.log")" \
    "$(for ((count = 0; count < floods; count++)); do
        echo "director flood flood_mode web off on"
        echo "director flood flood_mode web on off"
    done)"
release held 1000
expect_direct_replies 1000
expect_accounted
