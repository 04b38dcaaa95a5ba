# Kernels that refuse offload to a real server: no virtio-net header, no TUN with one, no offloads,
# no super-frames. Traffic goes on; the real server logs and counts that once, and stops offering
# what is refused repeatedly.
# first: five ways to refuse
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/refusing.sh"

make_refusing_bed
start_director rr 1

for what in header device offload; do
    refusing "$what"
    start_real real1
    both_ways "$what refused to the real server"
    expect_without real1 "$what refused to the real server"
    expect_eq "packets coalesced" "$(number real1 stats .coalesced_packets)" 0
    expect_eq "writes refused" "$(number real1 stats '[.write_errors[]] | add')" 0
    stop real1
done

# Frames merged by the daemon, then by the NIC.
for merging in off on; do
    gro vt-real1 eth0 "$merging"
    refusing frame
    start_real real1
    expect_eq "merging $merging, offload at the start" "$(number real1 stats .offload)" true
    both_ways "super-frames refused, merging $merging"
    expect_eq "merging $merging, super-frames refused" \
        "$(number real1 stats .write_errors.super_frame_refused)" 8
    expect_eq "merging $merging, packets lost" "$(number real1 stats .write_errors.write_failed)" 0
    expect_eq "merging $merging, offload after that" "$(number real1 stats .offload)" false
    expect_eq "merging $merging, coalescing after that" "$(number real1 stats .coalesce)" false
    expect_eq "merging $merging, warnings" "$(warnings real1)" 1
    expect_log real1 'does not take super-frames'
    stop real1
done
expect_direct_replies 1
