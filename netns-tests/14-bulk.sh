# Bulk up and down with checksums, with merging off at the director and the real server, and with
# merging on. There are more packets upwards than IP identifications.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

SIZE=100000000  # upwards with merging on: some 70,000 segments
LESS=20000000

bulk() { # HOW BYTES
    local before
    before=$(packets_given)
    head -c "$2" "$WORK/random" >"$WORK/files/random"
    at vt-client curl -sSf --max-time 400 -T "$WORK/files/random" "$(url /upload/up)" -o /dev/null
    cmp "$WORK/real1/upload/up" "$WORK/files/random" || fail "$1: the upload differs"
    # A packet carries at most $MSS bytes of data.
    expect_between "$1, packets of the upload through the director" $(($(packets_given) - before)) \
        $(($2 / MSS)) $(($2 / 400))
    # Replies do not pass the director.
    truncate -s "$LESS" "$WORK/files/random"
    at vt-client curl -sSf --max-time 400 "$(url /files/random)" | cmp - "$WORK/files/random" ||
        fail "$1: the download differs"
    rm "$WORK/real1/upload/up"
    expect_accounted
}

make_topology
start_web real1
start_real real1
head -c "$SIZE" /dev/urandom >"$WORK/random"
start_director rr 1
bulk "merging off" "$LESS"
expect_eq "super-packets at the real server with merging off" \
    "$(number real1 stats .super_packets)" 0

gro vt-director eth0 on
gro vt-real1 eth0 on
frames=$(number director stats .packets.read)
bulk "merging on" "$SIZE"
expect_between "super-packets at the real server with merging on" \
    "$(number real1 stats .super_packets)" 500 $((SIZE / MSS))
# A frame read from the TUN holds several segments of the upload.
expect_between "frames read for the upload" $(($(number director stats .packets.read) - frames)) \
    1000 $((SIZE / MSS / 2))
expect_direct_replies $((2 * LESS / 1500))
