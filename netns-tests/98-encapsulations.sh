# GUE and GRE: web and UDP through each beside IP in IP, a change by reload, which `vstun plan`
# names and which ends no connection, and a real server's counters.
# usual: 6in4 4in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

TUNNELLED+=("udp dport 6080" "meta l4proto 47")
REAL_KEYS='encap = "gue"' # what the MSS has room for
JOINED=1

encapsulated() { # ENCAP...: of each real server in order, instead of what the file says
    local index=0 encap
    sed -i '/^encap/d' "$WORK/director.toml"
    for encap in "$@"; do
        sed -i "s|^address = \"${ADDRESS[${REALS[$index]}]}\"|&\nencap = \"$encap\"|" \
            "$WORK/director.toml"
        index=$((index + 1))
    done
}

upload_random() { # BYTES: received by any real server
    local sum
    head -c "$1" /dev/urandom >"$WORK/upload"
    at vt-client curl -sSf --max-time 60 -T "$WORK/upload" "$(url /upload/up)" -o /dev/null
    sum=$(sha256sum <"$WORK/upload")
    for name in "${REALS[@]}"; do
        [[ ! -e $WORK/$name/upload/up ]] || [[ $(sha256sum <"$WORK/$name/upload/up") != "$sum" ]] ||
            stat -c %s "$WORK/$name/upload/up"
        rm -f "$WORK/$name/upload/up"
    done
}

# The datagrams that a real server has taken out of that encapsulation.
taken() { number "$1" stats ".$2"; } # NAME ENCAP

make_topology
start_web "${REALS[@]}"
start_real "${REALS[@]}"
start_echo "${REALS[@]}"
SERVICE_KEYS='encap = "gue"'
start_director rr 1 1 1
expect_eq "the TUN's MTU" "$(at vt-director cat /sys/class/net/vstun0/mtu)" $((TUN_MTU - 12))

served=$(fetch 30)
for name in "${REALS[@]}"; do
    expect_eq "GUE, requests to $name" "$(share "$served" "$name")" 10
    expect_eq "encap of $name in vstun list" "$(real_field "$name" encap)" gue
    expect_between "GUE, datagrams taken by $name" "$(taken "$name" gue)" 40 1000
done
expect_eq "dropped by real1" "$(number real1 stats '[.dropped[].count] | add')" 0
answers=$(at vt-client python3 "$here/traffic/udp_client.py" "$VIP" 9000 6 5)
for name in "${REALS[@]}"; do
    expect_eq "GUE, flows answered by $name" "$(share "$answers" "$name")" 2
done

say "an upload, in super-frames and full segments"
expect_eq "bytes received" "$(upload_random 3000000)" 3000000

say "each real server its own, by a reload"
hold kept 6
encapsulated gre ipip gue
# It exits 3 for any change.
ask director plan "$WORK/director.toml" --json >"$WORK/plan.json" || true
expect_eq "the plan" "$(jq -c '[.changes[] | [.what, .address, .before, .after]] | sort' \
    "$WORK/plan.json")" "[[\"encap\",\"${ADDRESS[real1]}\",\"gue\",\"gre\"],$(
    )[\"encap\",\"${ADDRESS[real2]}\",\"gue\",\"ipip\"]]"
kill -HUP "${PID[director]}"
wait_for "the reload" log_has director 'reloaded'
gre_before=$(taken real1 gre) ipip_before=$(taken real2 ipip) gue_before=$(taken real3 gue)
release kept 6
for way in "real1 gre $gre_before" "real2 ipip $ipip_before" "real3 gue $gue_before"; do
    read -r name encap before <<<"$way"
    expect_between "$name, datagrams of open connections in $encap" \
        $(($(taken "$name" "$encap") - before)) 4 100
done
expect_eq "the TUN's MTU" "$(at vt-director cat /sys/class/net/vstun0/mtu)" "$TUN_MTU"
before=$(taken real1 gue)
served=$(fetch 30)
for name in "${REALS[@]}"; do
    expect_eq "mixed, requests to $name" "$(share "$served" "$name")" 10
done
expect_between "GRE, datagrams taken by real1" "$(taken real1 gre)" 40 1000
expect_eq "GUE, no more at real1" "$(taken real1 gue)" "$before"
expect_eq "bytes received" "$(upload_random 1000000)" 1000000
expect_accounted

say "what is not GUE is counted"
tunnel_payload() { # HEX
    at vt-director python3 -c 'import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
end = socket.socket(family, socket.SOCK_DGRAM)
end.sendto(bytes.fromhex(sys.argv[2]), (sys.argv[1], 6080))' "${ADDRESS[real1]}" "$1"
}
tunnel_payload 20040000
tunnel_payload 00110000
is_counted() { [[ $(refused real1 tunnel_header) == 1 && $(refused real1 unsupported) == 1 ]]; }
wait_for "both drops" is_counted
