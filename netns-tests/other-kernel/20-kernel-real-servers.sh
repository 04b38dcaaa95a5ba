# The kernel's own tunnels as real servers of a director: ipip, sit and ip6tnl, GRE, and GUE by fou.
# Web, datagrams, health checks, uploads and downloads through each.
source "$(dirname "$0")/../lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

TUNNELLED+=("udp dport 6080" "meta l4proto 47")
REFUSED_LATE=100 # uploads find the tunnel's MTU by the director's errors

# The tunnel devices that a network namespace has as soon as the module is loaded take packets of
# any peer. GUE comes out of fou as if it had come in IP in IP.
device() { # ENCAP
    case $1/$OUTER/$INNER in
        gre/4/*) echo gre0 ;;
        gre/6/*) echo ip6gre0 ;;
        */4/4) echo tunl0 ;;
        */4/6) echo sit0 ;;
        */6/*) echo ip6tnl0 ;;
    esac
}

kernel_real() { # NAME ENCAP
    local tunnel; tunnel=$(device "$2")
    modprobe -a ipip sit ip6_tunnel ip_gre ip6_gre
    ip -n "vt-$1" address replace "$(alone "$VIP")" dev lo
    ip -n "vt-$1" link set dev "$tunnel" up
    [[ $tunnel != ip6* ]] || at "vt-$1" sysctl -qw "net.ipv6.conf.$tunnel.disable_ipv6=0"
    # By itself it takes IPv6 packets alone.
    [[ $tunnel != ip6tnl0 ]] || ip -n "vt-$1" -6 tunnel change ip6tnl0 mode any
    at "vt-$1" sysctl -qw net.ipv4.conf.all.rp_filter=0 "net.ipv4.conf.$tunnel.rp_filter=0" \
        net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
    if [[ $2 == gue ]]; then
        modprobe -a fou fou6
        at "vt-$1" ip fou add port 6080 gue $([[ $OUTER == 4 ]] || echo -6)
    fi
}

kernel_real_ends() { # NAME ENCAP
    ip -n "vt-$1" link set dev "$(device "$2")" down
    [[ $2 != gue ]] || at "vt-$1" ip fou del port 6080 $([[ $OUTER == 4 ]] || echo -6)
}

is_up() { [[ $(real_field real1 state) == up ]]; }
checked() { [[ $(number director checks '[.checks[] | select(.passed > 2)] | length') == 1 ]]; }

make_topology
start_web real1
head -c 1000000 /dev/urandom >"$WORK/files/random"
ip -n vt-real1 address replace "$(alone "$VIP")" dev lo
start_echo real1
for encap in ipip gre gue; do
    kernel_real real1 "$encap"
    SERVICE_KEYS="encap = \"$encap\"
[[service.check]]
type = \"http\"
interval = \"500ms\""
    [[ $encap == gue ]] && JOINED=1 || JOINED=0
    start_director rr 1
    expect_eq "$encap, requests served" "$(share "$(fetch 20)" real1)" 20
    answers=$(at vt-client python3 "$here/traffic/udp_client.py" "$VIP" 9000 6 5 18-300)
    expect_eq "$encap, flows answered" "$(share "$answers" real1)" 6
    both_ways "$encap"
    is_up || fail "$encap: real1 is $(real_field real1 state): $(real_field real1 why)"
    ask director checks
    stop director
    kernel_real_ends real1 "$encap"
done
# They would take the packets of other tests' real servers.
modprobe -r fou fou6 ip_gre ip6_gre ip6_tunnel sit ipip 2>/dev/null || true
