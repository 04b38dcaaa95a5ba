# Kernels that refuse offload to a director: no virtio-net header, no TUN with one, no offloads.
# Traffic goes on; the director logs and counts that once.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/refusing.sh"

make_refusing_bed

# As a control: without a refusal there is no warning, and there are super-frames.
start_real real1
start_director rr 1
both_ways "nothing refused"
for daemon in director real1; do
    expect_eq "nothing refused, warnings of $daemon" "$(warnings "$daemon")" 0
    expect_eq "nothing refused, offload of $daemon" "$(number "$daemon" stats .offload)" true
    expect_eq "nothing refused, refusals counted by $daemon" \
        "$(number "$daemon" stats .offload_refused)" 0
done
fast_by_default && least=1 || least=10
expect_between "super-frames read" "$(number director stats .super_frames)" $least 10000
stop director

for what in header device offload; do
    refusing "$what"
    start_director rr 1
    both_ways "$what refused to the director"
    expect_without director "$what refused to the director"
    expect_eq "super-frames read" "$(number director stats .super_frames)" 0
    stop director
done
expect_direct_replies 1
