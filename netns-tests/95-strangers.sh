# In a flood of tunnelled packets from strangers a real server's kernel refuses them by a socket
# filter made from `directors`; the daemon counts them by a sample, and directors' packets pass. A
# reload of `directors` applies to the filter too, and without a flood each packet is counted. A
# flood in GUE costs the host no more than one in IP in IP.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

make_topology
start_real real1
start_echo real1
stat() { number real1 stats ".$1"; }                     # FIELD
stat_is() { [[ $(stat "$1") == "$2" ]]; }                # FIELD VALUE
send_tunnelled vt-router "${LAN_ROUTERS[$OUTER]}" "$VIP" 5
all_refused() { [[ $(refused real1 source) == "$1" ]]; } # N
wait_for "each of a few strangers to be counted" all_refused 5
expect_eq "a filter against a few" "$(stat filtering)" false

at vt-real1 nft -f - <<-NFT
	table inet offered {
	    counter offered {}
	    chain input {
	        type filter hook input priority 0
	        $(tunnel_match "$INNER" "$OUTER") ${NFT_IP[$OUTER]} saddr ${LAN_ROUTERS[$OUTER]} \\
	            counter name offered
	        udp dport 6080 counter name offered
	    }
	}
	NFT
offered() { counter vt-real1 offered offered; }
more_offered() { (($(offered) >= $1)); } # THAN
cpu() { # NANOSECONDS of the flood, which pays for the kernel's part too, and of the daemon
    cat "/proc/${PID[flood]}/schedstat" "/proc/${PID[real1]}"/task/*/schedstat |
        awk '{ n += $1 } END { printf "%d\n", n }'
}
# Sets COST, nanoseconds for a stranger's packet. The flood goes on until its release ends.
flood() { # [GUE-PORT]
    local spent count
    [[ -p $WORK/flood.release ]] || mkfifo "$WORK/flood.release"
    spawn vt-router flood sh -c "exec python3 '$here/traffic/strangers.py' \
        ${LAN_ROUTERS[$OUTER]} ${ADDRESS[real1]} $CLIENT $VIP 8000 $* <'$WORK/flood.release'"
    exec {RELEASE[flood]}>"$WORK/flood.release"
    wait_for "a filter against the flood" stat_is filtering true
    count=$(offered) spent=$(cpu)
    wait_for "a flood that is longer" more_offered $((count + 20000))
    COST=$((($(cpu) - spent) / ($(offered) - count)))
}
flood_ends() {
    exec {RELEASE[flood]}>&-
    exit_code flood
    wait_for "the end of the flood" stat_is filtering false
}
flood
in_ipip=$COST

before=$(stat delivered)
send_tunnelled vt-director "$DIRECTOR" "$VIP" 200
delivered() { (($(stat delivered) - before == $1)); } # N
wait_for "the director's packets" delivered 200
wait_for "their answers" eval '(($(counter vt-router replies) == 200))'

# A reload admits another director, and the first one not any more.
before=$(stat delivered)
send_tunnelled vt-real2 "${ADDRESS[real2]}" "$VIP" 20
sed -i "s|$(alone "$DIRECTOR")|$(alone "${ADDRESS[real2]}")|" "$WORK/real1.toml"
ask real1 reload
expect_eq "of the next director's packets before it is one" "$(($(stat delivered) - before))" 0
send_tunnelled vt-director "$DIRECTOR" "$VIP" 20
send_tunnelled vt-real2 "${ADDRESS[real2]}" "$VIP" 20
wait_for "the next director's packets" delivered 20
expect_eq "a filter after the reload" "$(stat filtering)" true

flood_ends
total=$(offered)
expect_between "strangers counted, of $total" "$(refused real1 source)" $((total * 7 / 10)) \
    $((total * 13 / 10))
expect_between "of them read" "$(($(stat read) - $(stat filtered)))" 1000 $((1000 + total / 4))
expect_eq "packets read, delivered and dropped" \
    "$(stat '| .read == .delivered + ([.dropped[].count] | add)')" true
expect_eq "lost before they were read" "$(stat socket_dropped)" 0
expect_log real1 'come from strangers: the kernel refuses them'

before=$(refused real1 source)
send_tunnelled vt-router "${LAN_ROUTERS[$OUTER]}" "$VIP" 5
each_counted() { (($(refused real1 source) - before == 5)); }
wait_for "each of a few strangers to be counted again" each_counted

say "in GUE"
flood 6080
delivered=$(stat delivered)
expect_eq "packets in GUE" "$(stat gue)" 0
flood_ends
expect_eq "of strangers delivered" "$(stat delivered)" "$delivered"
expect_eq "packets read, delivered and dropped" \
    "$(stat '| .read == .delivered + ([.dropped[].count] | add)')" true
say "a stranger's packet: $in_ipip ns in IP in IP, $COST ns in GUE"
# Equal within the noise of a busy machine, which is a factor of two.
expect_between "hundredths of the cost in IP in IP" $((100 * COST / in_ipip)) 20 250
