# One service with an IPv4 and an IPv6 VIP, and real servers of both families: clients of both
# families share its scheduler, each real server gets both through its own tunnel, and advertises a
# matching MSS.
# mixes: dual
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

count_mss() {
    at vt-router nft -f - <<-NFT
	table inet mss {
	    counter v4in4 { }
	    counter v4in6 { }
	    counter v6in4 { }
	    counter v6in6 { }
	    chain forward {
	        type filter hook forward priority 0
	        tcp flags & (syn | ack) != (syn | ack) return
	        ip saddr ${VIPS[4]} tcp option maxseg size $(mss 4 4) counter name v4in4
	        ip saddr ${VIPS[4]} tcp option maxseg size $(mss 4 6) counter name v4in6
	        ip6 saddr ${VIPS[6]} tcp option maxseg size $(mss 6 4) counter name v6in4
	        ip6 saddr ${VIPS[6]} tcp option maxseg size $(mss 6 6) counter name v6in6
	    }
	}
	NFT
}

# Sums the lines `COUNT NAME` of both families.
both() { # NAME
    share "$(awk '{ n[$2] += $1 } END { for (name in n) print n[name], name }' \
        <<<"$served4"$'\n'"$served6")" "$1"
}

# rr's turn continues across families: with a turn per family real1 would have 11.
shared() { # WHAT COMMAND...: a command that uses $VIP and takes a number
    local what=$1 name
    VIP=${VIPS[4]} served4=$("${@:2}" 10)
    VIP=${VIPS[6]} served6=$("${@:2}" 20)
    for name in "${REALS[@]}"; do
        expect_eq "$what by $name for both families" "$(both "$name")" 10
        expect_between "$what by $name for IPv4" "$(share "$served4" "$name")" 3 4
    done
}
datagrams() { at vt-client python3 "$here/traffic/udp_client.py" "$VIP" 9000 "$1" 5; }

make_topology
count_mss
SERVED=("${VIPS[@]}")
ADDRESS[real2]=${REAL_ADDRESSES[real2/6]}
start_web "${REALS[@]}"
DIRECTOR=${DIRECTORS[4]} start_real real1 real3
DIRECTOR=${DIRECTORS[6]} start_real real2
start_echo "${REALS[@]}"
start_director rr 1 1 1

shared "requests served" fetch
for inner in 4 6; do
    served=served$inner
    for name in real2:6 real1:4; do # the family of each one's tunnel
        expected=$(share "${!served}" "${name%:*}")
        [[ $name == *:6 ]] || expected=$((expected + $(share "${!served}" real3)))
        # Some may be repeated on a busy machine.
        expect_between "SYN-ACKs with MSS $(mss $inner "${name#*:}") to IPv$inner clients" \
            "$(counter vt-router "v${inner}in${name#*:}" mss)" "$expected" $((expected + 5))
    done
done
shared "flows answered" datagrams
for name in "${REALS[@]}"; do
    expect_eq "connections of $name in vstun list" "$(real_field "$name" connections)" 20
done

# Each real server advertises an MSS that fits its own tunnel, so no client gets an ICMP error,
# although the TUN's MTU exceeds the tunnels over IPv6.
head -c 1000000 /dev/urandom >"$WORK/files/random"
for VIP in "${VIPS[@]}"; do
    for _ in "${REALS[@]}"; do
        at vt-client curl -sSf --max-time 60 -T "$WORK/files/random" "$(url /upload/up)" \
            -o /dev/null
    done
    for name in "${REALS[@]}"; do
        cmp "$WORK/files/random" "$WORK/$name/upload/up" ||
            fail "the upload to $name at $VIP differs"
        rm "$WORK/$name/upload/up"
    done
done
expect_eq "the TUN's MTU" "$(at vt-director ip -j link show vstun0 | jq '.[0].mtu')" 1480
expect_eq "too big by ICMP at the client" "$(counter vt-client too_big)" 0
expect_accounted
stop director

# Connections of both families count as active for lc.
start_director lc 1 1 1
VIP=${VIPS[4]} hold held4 4
VIP=${VIPS[6]} hold held6 8
for name in "${REALS[@]}"; do
    expect_eq "open at $name" "$(real_field "$name" active)" 4
done
release held4 4
release held6 8
expect_direct_replies 500
expect_accounted
