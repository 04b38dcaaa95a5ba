# The outer header on the wire, seen at the real server: protocol, the client's traffic class with
# its ECN bits (RFC 6040, normal mode), hop limit, the fields that let a NIC merge TCP and not UDP,
# and the flow label that spreads flows (RFC 6438).
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

# The output of FILTER for the list of captured tunnelled packets, as one line.
seen() { jq -sc "$1" <(grep '^{' "$WORK/sniffer.log"); } # FILTER
values() { seen "map($1) | unique"; } # FILTER: of each packet

make_topology
start_web real1
start_real real1
start_echo real1
start_director rr 1
spawn vt-real1 sniffer python3 "$here/traffic/outer.py" eth0
wait_for "the sniffer" log_has sniffer '^ready'

fetch 10 >/dev/null
at vt-client python3 "$here/traffic/udp_client.py" "$VIP" 9000 10 20 >/dev/null
# The next flows use other ports than those before.
at vt-client sysctl -qw net.ipv4.ip_local_port_range="20000 29999"
at vt-client python3 "$here/traffic/udp_marked.py" "$VIP" 9000 {0..255}
all_seen() { [[ $(seen 'map(select(.inner_protocol == 17)) | length') == 456 ]]; }
wait_for "all datagrams at the real server" all_seen

expect_eq "outer IP version" "$(values .version)" "[$OUTER]"
expect_eq "outer protocol" "$(values .protocol)" "[${TUNNEL_PROTOCOL[$INNER]}]"
expect_eq "addresses" "$(values '.source + " to " + .destination')" \
    "[\"$DIRECTOR to ${ADDRESS[real1]}\"]"
expect_eq "outer traffic class less the inner one" "$(values '.class - .inner_class')" "[0]"
expect_eq "traffic classes seen" "$(values .class | jq length)" 256
expect_eq "hop limit around TCP" "$(values 'select(.inner_protocol == 6) | .hop_limit')" "[64]"
expect_eq "packets of a hop limit below 32" "$(seen 'map(select(.hop_limit < 32)) | length')" 0

if ((OUTER == 4)); then
    expect_eq "DF and identification around TCP" \
        "$(values 'select(.inner_protocol == 6) | [.dont_fragment, .identification]')" "[[true,0]]"
    expect_eq "DF around UDP" "$(values 'select(.inner_protocol == 17) | .dont_fragment')" "[false]"
    expect_between "identifications around 456 datagrams" \
        "$(values 'select(.inner_protocol == 17) | .identification' | jq length)" 400 456
else
    flows='group_by(.flow) | map(map(.flow_label) | unique)'
    expect_eq "flows" "$(seen 'map(.flow) | unique | length')" 21
    expect_eq "flow labels of each flow" "$(seen "$flows | map(length) | unique")" "[1]"
    expect_eq "packets without a flow label" "$(seen 'map(select(.flow_label == 0)) | length')" 0
    # Of 20 bits: two of 21 flows have the same one time in five thousand.
    expect_between "flow labels of 21 flows" "$(seen "$flows | flatten | unique | length")" 19 21
    for protocol in 6 17; do
        expect_between "flow labels of 10 flows of protocol $protocol" \
            "$(seen "map(select(.inner_protocol == $protocol)) | $flows | flatten | unique
                | length")" 5 11
    done
fi
expect_accounted
