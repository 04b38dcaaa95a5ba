# `withdraw_without_quorum`: a virtual IP none of whose services has its quorum is withdrawn, from
# ARP or neighbour discovery and from the announced routes alike, and comes back with one of them.
# One service with a quorum is enough. What the operator has withdrawn stays withdrawn.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

TABLE=200
is_announced() { # true|false
    [[ $(number director list ".vips[] | select(.address == \"$VIP\") | .announced") == "$1" ]]
}
answers() { ip -n vt-director "-$INNER" neigh show proxy | grep -q "^$VIP "; }
is_routed() { ip -n vt-director "-$INNER" route show table "$TABLE" | grep -q "^$VIP "; }
is_on_the_host() { answers && is_routed; }
is_off_the_host() { ! answers && ! is_routed; }
quorum_of() { number director list ".services[] | select(.name == \"$1\") | .quorum"; } # SERVICE
quorum_is() { [[ $(quorum_of "$1") == "$2" ]]; } # SERVICE true|false

CHECK='[[service.check]]
type = "http"
port = 80
interval = "200ms"
fast_interval = "50ms"
timeout = "500ms"'

make_topology
start_web real1 real2
start_real real1 real2
DIRECTOR_KEYS="announce_table = $TABLE
withdraw_without_quorum = true"
LISTENS="80/tcp"
SERVICE_KEYS="quorum = 2
$CHECK"
start_director rr 1 1
# Another service of the same virtual IP; real2 alone is its quorum.
cat >>"$WORK/director.toml" <<TOML
[[service]]
name = "other"
listen = ["$(in_url "$VIP"):81/tcp"]
$CHECK
[[service.real]]
address = "${ADDRESS[real2]}"
TOML
ask director reload
wait_for "the virtual IP on the host" is_on_the_host

stop real1-web KILL
wait_for "web without its quorum" quorum_is web false
expect_eq "quorum of the other service" "$(quorum_of other)" true
expect_eq "requests served of 10, though without quorum" "$(share "$(fetch 10)" real2)" 10
is_on_the_host || fail "withdrawn, although one service has its quorum"

stop real2-web KILL
wait_for "the virtual IP to be withdrawn" is_announced false
wait_for "the virtual IP to be off the host" is_off_the_host
expect_log director 'announced true → false, none of its services has its quorum'

start_web real2
wait_for "the virtual IP to be announced" is_announced true
wait_for "the virtual IP on the host" is_on_the_host
expect_eq "requests served of 10" "$(share "$(fetch 10)" real2)" 10

# The operator's withdrawal stays.
ask director withdraw "$VIP"
stop real2-web KILL
wait_for "the other service without its quorum" quorum_is other false
start_web real1 real2
wait_for "web with its quorum" quorum_is web true
wait_for "the other service with its quorum" quorum_is other true
is_announced false || fail "the operator has withdrawn it"
is_off_the_host || fail "the operator has withdrawn it"
# An operator who announces it has to wait for the quorum.
stop real1-web KILL
stop real2-web KILL
wait_for "the other service without its quorum" quorum_is other false
wait_for "web without its quorum" quorum_is web false
ask director announce "$VIP" | grep -q "as soon as one of its services has its quorum" ||
    fail "announced without a quorum"
is_off_the_host || fail "announced without a quorum"
start_web real2
wait_for "the virtual IP on the host" is_on_the_host

# A real server that the operator has taken out does not count for the quorum although it passes its
# checks; nor does one of weight 0.
ask director disable "${ADDRESS[real2]}" --all-services
wait_for "the virtual IP to be withdrawn with its last real server" is_off_the_host
expect_log director \
    'quorum reached → lost, the weights of the real servers that take connections add up to 0'
ask director enable "${ADDRESS[real2]}" --all-services
wait_for "the virtual IP on the host again" is_on_the_host
ask director set-weight "${ADDRESS[real2]}" --weight 0 --all-services
wait_for "the virtual IP to be withdrawn without a weight" is_off_the_host
ask director set-weight "${ADDRESS[real2]}" --weight 1 --all-services
wait_for "the virtual IP on the host once more" is_on_the_host
