# Kernels without super-frames: with `offload = false` on both sides every frame is a wire packet,
# also if the real server's NIC merges. And with `offload = false` on one side.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

make_topology
start_web real1
gro vt-director eth0 on
gro vt-real1 eth0 on
head -c 10000000 /dev/urandom >"$WORK/files/random"

DIRECTOR_KEYS='offload = false' REAL_KEYS='offload = false'
start_real real1
start_director rr 1
both_ways "no offload"
say "$(number real1 stats .super_packets) super-packets at the real server"
expect_eq "super-frames read without offload" "$(number director stats .super_frames)" 0
expect_between "super-packets to split" "$(number real1 stats .super_packets)" 10 10000
stop director
DIRECTOR_KEYS=
start_director rr 1
both_ways "offload at the director"
say "$(number real1 stats .super_packets) super-packets at the real server"
fast_by_default && least=1 || least=10
expect_between "super-frames read with offload" "$(number director stats .super_frames)" \
    $least 10000
stop director
stop real1
DIRECTOR_KEYS='offload = false' REAL_KEYS=
start_real real1
start_director rr 1
both_ways "offload at the real server"
say "$(number real1 stats .super_packets) super-packets at the real server"
expect_direct_replies 10000
