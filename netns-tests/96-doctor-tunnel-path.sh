# `vstun doctor` and the path of tunnelled packets: the next hop, the source, rules that translate
# it; and a virtual IP on another interface of the real server. The first finding's first command
# corrects each fault that a command on that host can correct.
# mixes: 4in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/doctor.sh"

make_topology
start_web real1 real2
start_real real1 real2
LISTENS="80/tcp"
DIRECTOR_KEYS='uplinks = ["eth0"]'
start_director rr 1 1
healthy director
healthy real1

ask_on() { # clients that ask again and again
    spawn vt-client asking sh -c "while :; do curl -so /dev/null --max-time 1 '$(url /)'; done"
}

# The kernel's entry for the real server: it does not answer, or someone has set another address.
at vt-director ip neigh replace "${ADDRESS[real1]}" lladdr 02:00:00:00:00:99 dev eth1 nud permanent
named director next_hop "${ADDRESS[real1]}"
mend vt-director
healthy director
# It has just answered, so the kernel's entry counts as fresh.
ip -n vt-router link set lan-real1 down
finds director next_hop "${ADDRESS[real1]}" || fail "at once: $(<"$WORK/report")"
mend vt-director | tee "$WORK/shown"
grep -Eq 'FAILED|INCOMPLETE' "$WORK/shown" || fail "its command shows: $(<"$WORK/shown")"
ip -n vt-router link set lan-real1 up
healthy director

# Without the link to the real servers the tunnels take another source, which they do not admit.
ip -n vt-director link set eth1 down
named director source
expect_eq "faults" "$(jq '[.findings[] | select(.severity == "fault")] | length' "$WORK/report")" 1
mend vt-director
healthy director

# A rule of the director gives tunnelled packets another source: one does, one changes nothing.
at vt-director nft -f - <<-NFT
	table ip nat {
	    chain post {
	        type nat hook postrouting priority 100
	        ip daddr ${ADDRESS[real1]} meta l4proto 4 snat to 10.0.0.99
	        oifname "eth1" masquerade
	    }
	}
	NFT
named director nat "${ADDRESS[real1]}"
expect_eq "findings at real servers" \
    "$(jq '[.findings[] | select(.severity == "fault")] | length' "$WORK/report")" 1
ask_on
named real1 gate
[[ $(first text) == *10.0.0.99* ]] || fail "it says: $(first text)"
stop asking KILL
named director nat "${ADDRESS[real1]}"
mend vt-director
healthy director
at vt-director nft delete table ip nat
at vt-director nft delete table inet vstun_tunnels

# --- virtual IPs ----------------------------------------------------------------------------------

ip -n vt-real1 addr add "$VIP/32" dev eth0
# Until its daemon has seen that, the finding cannot name the interface.
wait_for "the fault at real1" log_has real1 "$VIP is an address of interface eth0"
named director announcing "${ADDRESS[real1]}"
expect_eq "findings about one fault" "$(jq '.findings | length' "$WORK/report")" 1
mend vt-real1
healthy real1
healthy director
