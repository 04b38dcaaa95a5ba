# A real server whose kernel has tunnel modules, as after a migration from IPVS: with the tunnel
# device down, the kernel answers tunnelled packets with "port unreachable", though the daemon gets
# them. The daemon warns, and the real server stays up.
source "$(dirname "$0")/../lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

TUNNELLED+=("meta l4proto 47")

refusals() { number director stats '[.tunnel_errors[].unreachable] | add // 0'; }
has_refusals() { (($(refusals) >= $1)); }                            # AT-LEAST
probes() { number director checks '[.checks[].runs] | add'; }
has_probed() { (($(probes) >= $1)); }                                # AT-LEAST

make_topology
start_web real1
modprobe -a ipip sit ip6_tunnel ip_gre ip6_gre
for encap in ipip gre; do
    REAL_KEYS="encap = \"$encap\""
    start_real real1
    expect_log real1 'WARN.*modprobe -r'
    SERVICE_KEYS="encap = \"$encap\"
[[service.check]]
type = \"http\"
interval = \"300ms\"
timeout = \"20s\""
    start_director rr 1
    expect_eq "$encap, requests served" "$(share "$(fetch 10)" real1)" 10
    wait_for "ten refusals by the kernel" has_refusals 10
    wait_for "ten probes" has_probed 10
    expect_eq "$encap, state of real1" "$(real_field real1 state)" up
    expect_eq "$encap, requests served" "$(share "$(fetch 10)" real1)" 10
    expect_eq "$encap, times that it was down" "$(grep -c ' down' "$WORK/director.log" || true)" 0
    expect_log director 'a tunnel module of its kernel refuses the packets'
    stop director
    stop real1
done
# They would refuse the packets of other tests' real servers.
modprobe -r ip_gre ip6_gre ip6_tunnel sit ipip 2>/dev/null || true
