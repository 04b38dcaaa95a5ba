# The load agent of a real server: HAProxy reads its words and vstun's own clients its JSON, with
# the connections that are established. Its owner takes it out of rotation, by the control socket or
# by a file, at HAProxy and at two directors alike, without access to any of them. Only directors
# get answers.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

PORT=9181
say_to_agent() { # NAMESPACE WORDS
    at "$1" timeout 10 bash \
        -c "exec 3<>'/dev/tcp/${ADDRESS[real1]}/$PORT' && printf '%s' '$2' >&3 && cat <&3" \
        2>/dev/null || true
}
words() { say_to_agent vt-director "words"$'\n'; }
report() { say_to_agent vt-director "vstun 1"$'\n'; }
says() { [[ $(words) == $1 ]]; } # PATTERN
established() {
    report | jq -r "[.listening[] | select(.address == \"$VIP\" and .port == 80) | .established]
        | add // 0"
}
holds() { [[ $(established) == "$1" ]]; }

# Both directors ask the agent; the second one does not announce the virtual IP.
SERVICE_KEYS="[[service.check]]
type = \"agent\"
port = $PORT
interval = \"500ms\""
TRUSTED=("$DIRECTOR" "${LAN_OTHERS[$OUTER]}")
weight_at() { # DAEMON: the share of real1's weight that it has there
    number "$1" list ".services[0].reals[0] | .effective_weight // 1"
}
in_rotation() { [[ $(weight_at director) != 0 && $(weight_at other) != 0 ]]; }
out_of_rotation() { [[ $(weight_at director) == 0 && $(weight_at other) == 0 ]]; }

make_topology
make_other
start_web real1
REAL_KEYS="agent = \"$(in_url "${ADDRESS[real1]}"):$PORT\"
agent_state = \"$WORK/rotation\""
start_real real1
start_director rr 1
sed "s|^control.*|control = '$CONTROL/other.sock'\nannounce = false\nuplinks = ['eth0']|" \
    "$WORK/director.toml" >"$WORK/other.toml"
spawn vt-other other "$VSTUN_BIN/vstun-director" --config "$WORK/other.toml"
wait_ready other
wait_for "both directors to have it in rotation" in_rotation

[[ $(words) =~ ^ready\ up\ [0-9]+%$ ]] || fail "the agent said: $(words)"
expect_eq "the report's state" "$(report | jq -r .state)" up
hold held 7
wait_for "seven established connections" holds 7
release held 7
wait_for "no established connection" holds 0
expect_eq "what a client hears" "$(say_to_agent vt-client "vstun 1"$'\n')" ""
expect_between "strangers refused" "$(number real1 stats .agent.refused)" 1 10

# HAProxy, which uses the agent like any other.
if command -v haproxy >/dev/null; then
    cat >"$WORK/haproxy.cfg" <<-CFG
		global
		    stats socket $WORK/haproxy.sock level admin
		defaults
		    mode tcp
		    timeout connect 5s
		    timeout client 5s
		    timeout server 5s
		backend web
		    default-server weight 100 check agent-check agent-port $PORT agent-inter 500ms
		    server real1 $(in_url "${ADDRESS[real1]}"):80 agent-addr ${ADDRESS[real1]}
	CFG
    spawn vt-director haproxy haproxy -db -f "$WORK/haproxy.cfg"
    haproxy_says() { # FIELD
        python3 - "$WORK/haproxy.sock" "$1" <<-'PY'
			import csv, socket, sys
			s = socket.socket(socket.AF_UNIX)
			s.connect(sys.argv[1])
			s.sendall(b"show stat\n")
			text = b"".join(iter(lambda: s.recv(65536), b"")).decode().lstrip("# ")
			rows = csv.DictReader(text.splitlines())
			print(next(row[sys.argv[2]] for row in rows if row["svname"] == "real1"))
		PY
    }
    haproxy_has() { [[ $(haproxy_says "$1" 2>/dev/null) == $2 ]]; } # FIELD PATTERN
    wait_for "HAProxy to hear the agent" haproxy_has agent_status L7OK
    wait_for "HAProxy to have it up" haproxy_has status "UP*"
    expect_between "HAProxy's weight for it" "$(haproxy_says weight)" 1 100
fi

# Its owner's setting, at the real server itself.
ask real1 drain
wait_for "the agent to say drain" says "drain*"
[[ ! ${PID[haproxy]:-} ]] || wait_for "HAProxy to drain it" haproxy_has status "DRAIN*"
wait_for "both directors to give it no new connection" out_of_rotation
for name in director other; do
    expect_eq "its state at $name" "$(number "$name" list ".services[0].reals[0].state")" up
    expect_eq "weight at $name" "$(number "$name" list ".services[0].reals[0].weight")" 1
done
expect_eq "requests served meanwhile" "$(fetch 1 2>/dev/null | wc -l)" 0
ask real1 disable
wait_for "the agent to say maint" says "maint*"
[[ ! ${PID[haproxy]:-} ]] ||
    wait_for "HAProxy to have it in maintenance" haproxy_has status "MAINT*"
ask real1 enable
wait_for "the agent to say ready" says "ready up*"
[[ ! ${PID[haproxy]:-} ]] || wait_for "HAProxy to have it up again" haproxy_has status "UP*"
wait_for "both directors to have it back" in_rotation
expect_eq "requests served again" "$(fetch 1 | wc -l)" 1
echo drain >"$WORK/rotation"
wait_for "the agent to say what the file says" says "drain*"
wait_for "both directors to hear of the file" out_of_rotation
rm "$WORK/rotation"
wait_for "the agent to say ready without the file" says "ready up*"
wait_for "both directors to have it back without the file" in_rotation
expect_fails "an address at a real server" ask real1 drain "${ADDRESS[real1]}"
