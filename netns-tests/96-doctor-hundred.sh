# `vstun doctor` at a director with 100 real servers ends within 30 seconds: if all are well, if a
# switch drops long packets to each, and if none answers.
# mixes: 4in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/doctor.sh"

COUNT=100
address() { echo "10.0.0.$((100 + $1))"; } # NUMBER

make_topology
start_web real1
for number in $(seq $COUNT); do echo "addr add $(address "$number")/24 dev eth0"; done |
    ip -n vt-real1 -batch -
# One program ends the tunnels of all.
spawn vt-real1 end python3 "$here/traffic/plain_end.py" "$VIP" "$DIRECTOR" \
    "$("$VSTUN_BIN/vstun" --version | cut -d ' ' -f 2)" 0
wait_for "the end" log_has end ^ready
start_echo real1
LISTENS="80/tcp 9000/udp"
configure "$WORK/director.toml" rr
for number in $(seq $COUNT); do
    printf '[[service.real]]\naddress = "%s"\nweight = 1\n' "$(address "$number")"
done >>"$WORK/director.toml"
spawn vt-director director "$VSTUN_BIN/vstun-director" --config "$WORK/director.toml"
wait_ready director

within() { # WHAT EXPECTED-CODE CAUSE COUNT
    local began found
    # A pause of the machine makes some answers late: another try.
    for _ in 1 2 3; do
        began=${EPOCHREALTIME/./}
        doctor director
        expect_between "$1: milliseconds" $(((${EPOCHREALTIME/./} - began) / 1000)) 0 30000
        found=$(jq "[.findings[] | select(.cause | test(\"^($3)$\"))] | length" "$WORK/report")
        [[ $CODE != "$2" || $found != "$4" ]] || break
    done
    expect_eq "$1: exit code" "$CODE" "$2"
    expect_eq "$1: findings of $3" "$found" "$4"
}
within "all well" 0 tunnel 0
all_answered() {
    doctor director
    [[ $(jq -r '.well[] | select(contains("answered"))' "$WORK/report") == \
        "$((2 * COUNT)) ports answered through the tunnel" ]]
}
wait_for "an answer of each port" all_answered
ip -n vt-router link set lan-real1 mtu 1400
within "a small switch" 1 mtu $COUNT
ip -n vt-router link set lan-real1 down
# Some may have answered ARP just before.
within "nothing answers" 1 'tunnel|next_hop' $COUNT
