# 100 MB up and down with checksums, with merging on at the director and the real server, and with
# it off at the real server.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

SIZE=100000000

bulk() { # HOW
    local sum before
    before=$(packets_given)
    at vt-client curl -sSf --max-time 120 -T "$WORK/files/random" "$(url /upload/up)" -o /dev/null
    read -r sum _ < <(sha256sum "$WORK/real1/upload/up")
    expect_eq "$1, upload's checksum" "$sum" "$SUM"
    # A packet carries at most $MSS bytes of data.
    expect_between "$1, packets of the upload through the director" $(($(packets_given) - before)) \
        $((SIZE / MSS)) $((SIZE / 400))
    read -r sum _ < <(at vt-client curl -sSf --max-time 120 "$(url /files/random)" | sha256sum)
    expect_eq "$1, download's checksum" "$sum" "$SUM"
    rm "$WORK/real1/upload/up"
    expect_accounted
}

make_topology
start_web real1
start_real real1
head -c "$SIZE" /dev/urandom >"$WORK/files/random"
read -r SUM _ < <(sha256sum "$WORK/files/random")
start_director rr 1
bulk "merging off"
expect_eq "super-packets at the real server with merging off" \
    "$(number real1 stats .super_packets)" 0

gro vt-director eth0 on
gro vt-real1 eth0 on
frames=$(number director stats .packets.read)
bulk "merging on"
expect_between "super-packets at the real server with merging on" \
    "$(number real1 stats .super_packets)" 500 $((SIZE / MSS))
# A frame read from the TUN holds several segments of the upload.
expect_between "frames read for the upload" $(($(number director stats .packets.read) - frames)) \
    1000 $((SIZE / MSS / 2))
expect_direct_replies $((2 * SIZE / 1500))
