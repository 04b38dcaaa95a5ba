# Packets as the kernel's own GUE and GRE tunnels and IPVS send them are those of
# src/decap/tests/senders.txt, byte for byte. Those with remote checksum offload, which a packet has
# only if its checksum was left to a network card, are counted at our real server, and its log says
# what to do; with the option off the same packets arrive.
# mixes: 4in4
source "$(dirname "$0")/../lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

TUNNELLED+=("udp dport 6080" "meta l4proto 47")
VECTORS=$here/../src/decap/tests/senders.txt
# The client's SYN to the VIP of each family, with a hop more than the tunnels carry.
declare -A SYN
eval "$(python3 - "$here/traffic" "${CLIENTS[4]} ${VIPS[4]}" "${CLIENTS[6]} ${VIPS[6]}" <<'PACKETS'
import sys
sys.path.append(sys.argv[1])
import frames
for family, ends in zip((4, 6), sys.argv[2:]):
    client, vip = ends.split()
    segment = frames.tcp(client, 40000, vip, 80, 2, sequence=1)
    print(f"SYN[{family}]={segment.hex()}")
PACKETS
)"

inject() { # FAMILY whole|unfinished
    at vt-client python3 "$here/traffic/inject.py" eth0 "$ROUTER_MAC" "$2" "${SYN[$1]}"
}

captures() { # NAME FAMILY whole|unfinished
    local before
    before=$(wc -l <"$WORK/sniffer.log")
    inject "$2" "$3"
    more() { (($(wc -l <"$WORK/sniffer.log") > before)); }
    wait_for "$1 on the wire" more
    say "$1 $(tail -n 1 "$WORK/sniffer.log")"
    python3 "$here/traffic/captured.py" compare "$VECTORS" "$1" \
        "$(tail -n 1 "$WORK/sniffer.log")" || DIFFERENT+=" $1"
}

tunnel() { # FAMILY TYPE OPTION...
    ip -n vt-director link add name far type "$2" remote "${ADDRESS[real1]}" local "$DIRECTOR" \
        "${@:3}"
    ip -n vt-director link set dev far up
    ip -n vt-director route replace "$(alone "${VIPS[$1]}")" dev far
}
no_tunnel() { ip -n vt-director link del far; }

balanced() { # FAMILY TUNNEL-OPTION...
    at vt-director ipvsadm -C
    at vt-director ipvsadm -A -t "$(in_url "${VIPS[$1]}"):80" -s rr
    at vt-director ipvsadm -a -t "$(in_url "${VIPS[$1]}"):80" -r "${ADDRESS[real1]}:80" -i "${@:2}"
}

make_topology
DIFFERENT=
modprobe -a fou ipip sit ip_gre ip_vs ip_vs_rr
ROUTER_MAC=$(at vt-router cat /sys/class/net/cl/address)
at vt-director sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
    net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0
for family in 4 6; do
    ip -n vt-router route replace "$(alone "${VIPS[$family]}")" via "${UPLINK_DIRECTORS[$family]}"
done
as_containers vt-router cl
as_containers vt-client eth0
as_containers vt-router up-dir
as_containers vt-director eth0
spawn vt-real1 sniffer python3 "$here/traffic/captured.py" eth0
wait_for "the sniffer" log_has sniffer '^ready'

gue=(encap gue encap-sport auto encap-dport 6080)
for device in "4 ipip" "6 sit"; do
    read -r family kind <<<"$device"
    for options in "noencap-csum noencap-remcsum" "encap-csum noencap-remcsum" \
        "encap-csum encap-remcsum"; do
        # shellcheck disable=SC2086 # two words
        tunnel "$family" "$kind" "${gue[@]}" $options
        case $options in
            no*) captures "$kind-gue" "$family" whole ;;
            *noencap-remcsum) captures "$kind-gue-csum" "$family" whole ;;
            *) captures "$kind-gue-remcsum" "$family" unfinished ;;
        esac
        no_tunnel
    done
    tunnel "$family" gre
    captures "gre-$family" "$family" whole
    no_tunnel
done

for family in 4 6; do
    ip -n vt-director address add "$(alone "${VIPS[$family]}")" dev lo
    for sum in nocsum csum remcsum; do
        balanced "$family" --tun-type gue --tun-port 6080 --tun-$sum
        captures "ipvs-gue-$sum-$family" "$family" \
            "$([[ $sum == remcsum ]] && echo unfinished || echo whole)"
        [[ $sum != remcsum ]] || continue
        balanced "$family" --tun-type gre --tun-$sum
        captures "ipvs-gre-$sum-$family" "$family" whole
    done
done
[[ -z $DIFFERENT ]] || fail "not as in $VECTORS:$DIFFERENT"

say "remote checksum offload at our real server"
SERVED=("${VIPS[@]}")
start_real real1
balanced 4 --tun-type gue --tun-port 6080 --tun-remcsum
inject 4 unfinished
balanced 6 --tun-type gue --tun-port 6080 --tun-remcsum
inject 6 unfinished
two_refused() { [[ $(refused real1 remote_checksum) == 2 ]]; }
wait_for "both to be counted" two_refused
expect_log real1 'remote checksum offload.*noencap-remcsum.*--tun-csum'
expect_eq "warnings about it" "$(grep -c 'remote checksum offload' "$WORK/real1.log")" 1
expect_eq "delivered" "$(number real1 stats .delivered)" 0
balanced 4 --tun-type gue --tun-port 6080 --tun-csum
inject 4 unfinished
is_delivered() { [[ $(number real1 stats .delivered) == 1 ]]; }
wait_for "the same packet without the option" is_delivered
