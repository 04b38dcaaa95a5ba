# GUE that the kernel merges for the real server (UDP_GRO): datagrams are separated again, segments
# become frames for the TUN, inner UDP keeps its boundaries, and each bad datagram is counted by its
# reason. A checksum of zero is right over IPv4 alone. It works without merging too, and on a kernel
# without `UDP_GRO`. Where the daemon has died the port is unreachable.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/refusing.sh"
source "$here/doctor.sh"

TUNNELLED+=("udp dport 6080")
figure() { number real1 stats ".$1"; } # FIELD
figure_is() { [[ $(figure "$1") == "$2" ]]; }
from_director() {
    at vt-director python3 "$here/traffic/gue.py" "$DIRECTOR" "${ADDRESS[real1]}" "$@"
}
uploads() { # HOW
    upload real1
    expect_eq "$1, writes that the kernel refused" "$(figure 'write_errors[]' | sort -u)" 0
}

make_topology
gro vt-real1 eth0 on
start_web real1
head -c 4000000 /dev/urandom >"$WORK/files/random"
start_real real1
start_echo real1
SERVICE_KEYS='encap = "gue"
[[service.check]]
type = "http"
interval = "500ms"
timeout = "30s"'
start_director rr 1

say "merged by the kernel"
uploads "merged"
all=$(figure gue)
expect_between "of $all datagrams merged" "$(figure gue_merged)" $((all / 4)) "$all"
expect_between "reads" "$(figure batches)" 1 $((all / 2))
expect_between "coalesced" "$(figure coalesced_packets)" $((all / 4)) "$all"
expect_between "bytes in GUE" "$(figure gue_bytes)" 4000000 5000000
expect_eq "packets in IP in IP" "$(figure ipip)" 0

say "two flows in one send"
before=$(counter vt-router replies) merged=$(figure gue_merged) joined=$(figure coalesced_packets)
from_director merged "$CLIENT" "$VIP" 9000 8
answered() { (($(counter vt-router replies) - before >= 8 + 1)); }
wait_for "eight answers from the echo server and a reset" answered
# The packets of checks may be merged too.
expect_between "of 16 datagrams merged" "$(($(figure gue_merged) - merged))" 8 80
expect_between "of 8 segments coalesced" "$(($(figure coalesced_packets) - joined))" 4 8

say "bad input"
good=$(python3 -c 'import sys
sys.path.append(sys.argv[1])
import frames
print(frames.udp(*sys.argv[2:3], 40000, sys.argv[3], 9000, b"bad").hex())' \
    "$here/traffic" "$CLIENT" "$VIP")
number=$([[ $INNER == 4 ]] && echo 04 || echo 29)
declare -A BAD=([tunnel_header]="20${number}0000$good 01${number}0000$good 1f${number}0000$good \
00${number}8000$good 00${number}0001$good 80${number}0000$good c0${number}0000$good 70$good"
    [unsupported]="00110000$good 00000000$good"
    [malformed]="$([[ $INNER == 4 ]] && echo 0029 || echo 0004)0000$good"
    [truncated]="00${number}00 ${good:0:38} 00${number}0000${good:0:-2}"
    [padding]="00${number}0000${good}01 00${number}0000${good}000001 \
$good$(printf '0%.0s' {1..3000})")
for reason in "${!BAD[@]}"; do
    read -ra payloads <<<"${BAD[$reason]}"
    from_director lone "${payloads[@]}"
    refused_all() { [[ $(refused real1 "$reason") == "${#payloads[@]}" ]]; }
    wait_for "${#payloads[@]} drops for $reason" refused_all
done
before=$(figure delivered)
wrong_sums() { at vt-real1 nstat -asz | awk '/^Udp6InCsumErrors/ { n += $2 } END { print n + 0 }'; }
from_director unsummed "$good"
if ((OUTER == 4)); then
    is_delivered() { (($(figure delivered) > before)); }
    wait_for "a datagram without a checksum" is_delivered
else
    is_refused() { (($(wrong_sums) == 1)); }
    wait_for "the kernel to count a checksum of zero" is_refused
fi
at vt-router python3 "$here/traffic/gue.py" "${LAN_ROUTERS[$OUTER]}" "${ADDRESS[real1]}" lone \
    "$good" "20000000"
strangers() { [[ $(refused real1 source) == 2 ]]; }
wait_for "strangers' drops" strangers
expect_eq "packets read, delivered and dropped" \
    "$(figure '| .read == .delivered + ([.dropped[].count] | add)')" true

say "vstun doctor asks in GUE where nothing else passes"
at vt-real1 nft -f - <<-NFT
	table inet others {
	    chain input {
	        type filter hook input priority 0
	        meta l4proto { 4, 41, 47 } drop
	    }
	}
	NFT
# Nothing listens on port 9000, and the answer from the real server says so.
asked_in_gue() {
    doctor director
    [[ $(jq -c '[.findings[].cause]' "$WORK/report") == '["listener"]' ]] &&
        [[ $(first evidence) == "its daemon's list of sockets" ]]
}
wait_for "an answer in GUE" asked_in_gue
expect_between "packets in IP in IP, GRE" "$(number real1 stats '.ipip + .gre')" 0 0
at vt-real1 nft delete table inet others

say "the daemon dies"
kill -9 "${PID[real1]}"
exit_code real1
down() { [[ $(real_field real1 state) == down ]]; }
wait_for "the check to fail long before its timeout" down
real_field real1 why | grep -F "port unreachable from ${ADDRESS[real1]}" >/dev/null ||
    fail "real1 is down because: $(real_field real1 why)"

say "a kernel that merges no UDP"
refusing udp_gro
start_real real1
up() { [[ $(real_field real1 state) == up ]]; }
wait_for "real1 to be up" up
uploads "without UDP_GRO"
expect_eq "datagrams merged" "$(figure gue_merged)" 0
expect_eq "warnings" "$(grep -c 'WARN.*UDP_GRO' "$WORK/real1.log")" 1
