# A full connection table: a new connection is still served, without an entry, and carries 100 kB
# each way; the connections in the table live on.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

DIRECTOR_KEYS='max_connections = 64'
SERVICE_KEYS='flood_table_use = "off"'
make_topology
start_web "${REALS[@]}"
start_real "${REALS[@]}"
start_director wlc 1 2 1
head -c 100000 /dev/urandom >"$WORK/files/random"
hold held 64
expect_eq "connections in the table" "$(number director list .connections.current)" 64
expect_eq "packets without an entry" "$(number director stats .packets.without_entry)" 0

for _ in {1..10}; do
    at vt-client curl -sSf --max-time 60 "$(url /files/random)" | cmp - "$WORK/files/random" ||
        fail "the download differs"
    at vt-client curl -sSf --max-time 60 -T "$WORK/files/random" "$(url /upload/up)" -o /dev/null
done
for file in "$WORK"/real?/upload/up; do
    cmp "$file" "$WORK/files/random" || fail "an upload differs"
done
expect_eq "connections in the table" "$(number director list .connections.current)" 64
expect_between "packets without an entry" "$(number director stats .packets.without_entry)" \
    100 10000
expect_log director 'table'

release held 64
expect_direct_replies 1000
expect_accounted
