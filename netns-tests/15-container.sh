# Clients and servers in containers of one host: 64 KB frames and unfinished checksums reach the
# director from the client.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

make_topology
for name in client director real1; do as_containers "vt-$name" eth0; done
as_containers vt-director eth1
for port in cl up-dir lan-dir lan-real1; do as_containers vt-router $port; done
start_web real1
start_real real1
start_echo real1
head -c 20000000 /dev/urandom >"$WORK/files/random"
start_director rr 1
# Long frames on a busy machine too, where TCP paces itself to two segments a frame.
at vt-client sysctl -qw net.ipv4.tcp_min_tso_segs=16
frames=$(number director stats .packets.read)
at vt-client curl -sSf --max-time 60 -T "$WORK/files/random" "$(url /upload/up)" -o /dev/null
cmp "$WORK/files/random" "$WORK/real1/upload/up" || fail "the upload differs"
expect_between "frames read for 20 MB" $(($(number director stats .packets.read) - frames)) \
    100 5000
at vt-client curl -sSf --max-time 60 "$(url /files/random)" | cmp - "$WORK/files/random" ||
    fail "the download differs"
at vt-client python3 "$here/traffic/udp_client.py" "$VIP" 9000 3 20 >/dev/null
expect_direct_replies 100
expect_accounted
