# `vstun doctor`: it names each fault first, and the command that it prints corrects the fault.
# Between the faults it finds nothing.
# mixes: 4in4 6in4
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"
source "$here/doctor.sh"

make_topology
start_web real1 real2
start_real real1 real2
start_echo real1 real2
LISTENS="80/tcp 9000/udp"
start_director rr 1 1

unheard() { at vt-director nft delete table inet filter; }

healthy director
healthy real1
say "well: $(jq -c .well "$WORK/report")"

at vt-director nft -f - <<-NFT
	table inet filter {
	    chain forward {
	        type filter hook forward priority 0; policy drop
	    }
	}
	NFT
named director firewall "$VIP"
mend vt-director
healthy director
unheard

at vt-director nft -f - <<-NFT
	table inet filter {
	    chain forward {
	        type filter hook forward priority 0
	        ct state vmap { established : accept, related : accept, invalid : drop }
	    }
	}
	NFT
named director ct_invalid "$VIP"
mend vt-director
healthy director
unheard

at vt-director nft -f - <<-NFT
	table inet filter {
	    chain output {
	        type filter hook output priority 0
	        meta l4proto { 4, 41 } drop
	    }
	}
	NFT
named director firewall "${ADDRESS[real1]}"
mend vt-director
healthy director
unheard

# What an operator has done.
ask director disable "${ADDRESS[real1]}" >"$WORK/verbs.log"
EXIT=0
named director outage
ask director set-weight "${ADDRESS[real2]}" --weight 0 >"$WORK/verbs.log"
EXIT=1
named director outage
expect_eq "its commands" "$(first 'mend | join("; ")')" \
    "vstun enable ${ADDRESS[real1]}; vstun set-weight ${ADDRESS[real2]} --weight 1"
at vt-director env PATH="$VSTUN_BIN:$PATH" sh -c "$(first 'mend | join("; ")')" >"$WORK/verbs.log"
healthy director
expect_eq "findings" "$(jq '.findings | length' "$WORK/report")" 0
ask director withdraw "$VIP" >"$WORK/verbs.log"
EXIT=0
named director withdrawn "$VIP"
EXIT=1
mend vt-director
healthy director
expect_eq "findings" "$(jq '.findings | length' "$WORK/report")" 0

# An ordinary host's firewall, and the real server's with the rules for tunnels only.
if [[ $INNER == 6 ]]; then
    at vt-director nft -f - <<-NFT
	table inet filter {
	    chain input {
	        type filter hook input priority 0; policy drop
	        ct state established,related accept
	        iifname "lo" accept
	    }
	}
	NFT
    named director neighbours
    mend vt-director
    healthy director
    unheard
    at vt-real1 nft -f - <<-NFT
	table inet filter {
	    chain input {
	        type filter hook input priority 0; policy drop
	        meta l4proto { 4, 41 } accept
	        iifname "vstun0" accept
	    }
	}
	NFT
    named real1 neighbours
    mend vt-real1
    healthy real1
    at vt-real1 nft delete table inet filter
fi

stop real1
named director real_server_daemon "${ADDRESS[real1]}"
start_real real1
healthy director

# The findings of the real server's own daemon.
stop real2-web
named director listener "${ADDRESS[real2]}"
start_web real2
healthy director

any=([4]=0.0.0.0 [6]=::)
stop "real2-echo$INNER"
spawn vt-real2 anywhere python3 "$here/traffic/udp_echo.py" real2 "${any[INNER]}" 9000
named director udp_wildcard "${ADDRESS[real2]}"
stop anywhere
start_echo real2
healthy director

at vt-real1 nft -f - <<-NFT
	table inet filter {
	    chain input {
	        type filter hook input priority 0
	        meta l4proto { 4, 41 } drop
	    }
	}
	NFT
named director tunnel "${ADDRESS[real1]}"
named real1 firewall
mend vt-real1
healthy real1
healthy director
at vt-real1 nft flush chain inet filter input
at vt-real1 nft add rule inet filter input iifname vstun0 drop
named director reply_path "${ADDRESS[real1]}"
named real1 firewall "$VIP"
mend vt-real1
healthy director
at vt-real1 nft delete table inet filter
healthy director

# A switch that drops packets above its MTU without an error.
ip -n vt-router link set lan-real1 mtu 1400
named director mtu "${ADDRESS[real1]}"
mend vt-director
healthy director
ip -n vt-router link set lan-real1 mtu 1500

# Connection tracking knows which packets are replies, so masquerading leaves them as they are; but
# not those of datagrams that it has not seen.
at vt-real1 nft -f - <<-NFT
	table inet nat {
	    chain post {
	        type nat hook postrouting priority 100
	        masquerade
	    }
	}
	NFT
healthy real1
healthy director
at vt-real1 nft "add table inet raw;
    add chain inet raw pre { type filter hook prerouting priority raw; };
    add rule inet raw pre iifname vstun0 notrack"
named real1 nat "$VIP"
mend vt-real1
healthy real1
at vt-real1 nft delete table inet nat
at vt-real1 nft delete table inet raw

stop real1
TRUSTED=("${LAN_OTHERS[$OUTER]}")
start_real real1
TRUSTED=()
named director tunnel "${ADDRESS[real1]}"
named real1 gate
[[ $(first evidence) == *"${LAN_OTHERS[$OUTER]}"* ]] || fail "its evidence: $(first evidence)"
[[ $(first text) == *"from $DIRECTOR are refused"* ]] || fail "it says: $(first text)"
# The command adds it and reloads, by the usual path of the socket.
command=$(first 'mend[0]')
at vt-real1 env PATH="$VSTUN_BIN:$PATH" sh -c \
    "${command//\/run\/vstun\/realserver.sock/$CONTROL/real1.sock}"
healthy director
healthy real1

stop director
doctor director --config "$WORK/director.toml"
expect_eq "without a director" "$(first cause)" daemon_missing
