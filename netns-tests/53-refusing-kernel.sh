# Kernels that refuse offload: no virtio-net header, no TUN with one, no offloads, no super-frames. Traffic goes on, each says so
# once and counts it, and what is refused again and again is offered no more. A filter of this test's makes the kernel refuse.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

refusing() { UNDER=(python3 "$here/traffic/refusing.py" "$1"); }
warnings() { grep -cE 'WARN.*(offload|super-frame)' "$WORK/$1.log" || true; } # DAEMON

both_ways() { # HOW
    at vt-client curl -sSf --max-time 60 -T "$WORK/files/random" "$(url /upload/up)" -o /dev/null
    cmp "$WORK/files/random" "$WORK/real1/upload/up" || fail "$1: the upload differs"
    at vt-client curl -sSf --max-time 60 "$(url /files/random)" | cmp - "$WORK/files/random" || fail "$1: the download differs"
    rm "$WORK/real1/upload/up"
    expect_accounted
}

# The device was made without offload, after one warning.
expect_without() { # DAEMON HOW
    expect_eq "$2, offload" "$(number "$1" stats .offload)" false
    expect_eq "$2, refusals counted" "$(number "$1" stats .offload_refused)" 1
    expect_eq "$2, warnings" "$(warnings "$1")" 1
    expect_log "$1" 'no TUN device with offload'
}

make_topology
start_web real1
gro vt-director eth0 on
head -c 3000000 /dev/urandom >"$WORK/files/random"

# As a control: with nothing refused there is no warning, and there are super-frames.
start_real real1
start_director rr 1
both_ways "nothing refused"
for daemon in director real1; do
    expect_eq "nothing refused, warnings of $daemon" "$(warnings "$daemon")" 0
    expect_eq "nothing refused, offload of $daemon" "$(number "$daemon" stats .offload)" true
    expect_eq "nothing refused, refusals counted by $daemon" "$(number "$daemon" stats .offload_refused)" 0
done
expect_between "super-frames read" "$(number director stats .super_frames)" 10 10000
stop director

for what in header device offload; do
    refusing "$what"
    start_director rr 1
    both_ways "$what refused to the director"
    expect_without director "$what refused to the director"
    expect_eq "super-frames read" "$(number director stats .super_frames)" 0
    stop director
done
UNDER=()
start_director rr 1
stop real1

for what in header device offload; do
    refusing "$what"
    start_real real1
    both_ways "$what refused to the real server"
    expect_without real1 "$what refused to the real server"
    expect_eq "packets coalesced" "$(number real1 stats .coalesced_packets)" 0
    expect_eq "writes refused" "$(number real1 stats '[.write_errors[]] | add')" 0
    stop real1
done

# What the daemon has put together, then what the NIC has.
for merging in off on; do
    gro vt-real1 eth0 "$merging"
    refusing frame
    start_real real1
    expect_eq "merging $merging, offload at the start" "$(number real1 stats .offload)" true
    both_ways "super-frames refused, merging $merging"
    expect_eq "merging $merging, super-frames refused" "$(number real1 stats .write_errors.super_frame_refused)" 8
    expect_eq "merging $merging, packets lost" "$(number real1 stats .write_errors.write_failed)" 0
    expect_eq "merging $merging, offload after that" "$(number real1 stats .offload)" false
    expect_eq "merging $merging, coalescing after that" "$(number real1 stats .coalesce)" false
    expect_eq "merging $merging, warnings" "$(warnings real1)" 1
    expect_log real1 'does not take super-frames'
    stop real1
done
expect_direct_replies 1
