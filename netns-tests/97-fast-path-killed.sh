# SIGKILL of a director whose 1,000 connections are carried, with Maglev hashing and the kept seed:
# the kernel detaches the program, and the next director adopts every connection, carries it again,
# and leaves nothing behind.
# mixes: 6in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

CONNECTIONS=1000
attached() { at vt-director python3 "$here/traffic/tcx_programs.py" eth0; }
carried() {
    ask director connections --json |
        jq -s '[.[].connections[] | select(.carried)] | length'
}
all_carried() { (($(carried) == CONNECTIONS)); }

make_topology
start_web "${REALS[@]}"
start_real "${REALS[@]}"
DIRECTOR_KEYS='fast_path = "auto"'
start_director mh 1 1 1
needs_fast_path
start_busy "$CONNECTIONS"
wait_for "all connections to be carried" all_carried
expect_eq "marks of carried connections" \
    "$(ask director connections --limit 100 | grep -c '^tcp\* .* ESTABLISHED')" 100

stop director KILL
expect_eq "programs at the uplink of a killed director" "$(attached)" 0
start_director mh 1 1 1
whole_turn "by the new director"
wait_for "all connections to be carried again" all_carried
end_busy
expect_eq "resets by the director" "$(number director stats .packets.replied)" 0
expect_accounted

stop director KILL
ask director cleanup
expect_eq "programs at the uplink after cleanup" "$(attached)" 0
