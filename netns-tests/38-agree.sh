# Two directors with scheduler mh and one hash_seed: the router sends the VIP's traffic to one, then
# to the other, and each flow gets the same real server; the tables' checksums agree too. Their
# files list the real servers in different orders.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

FLOWS=300
make_topology
make_other

DIRECTOR_KEYS='arp = false
hash_seed = "known to both directors"'
configure_both() { # WEIGHT-OF-REAL1 OF-REAL2 OF-REAL3
    configure "$WORK/director.toml" mh "$1" "$2" "$3"
    REALS=(real3 real2 real1)
    configure "$WORK/other.toml" mh "$3" "$2" "$1"
    REALS=(real1 real2 real3)
    sed -i "s|$CONTROL/director.sock|$CONTROL/other.sock|" "$WORK/other.toml"
}
flows_by() { # DIRECTOR'S-UPLINK-ADDRESS
    ip -n vt-router route replace "$VIP" via "$1"
    at vt-client python3 "$here/traffic/from_ports.py" "$VIP" 80 20000 "$FLOWS"
}
checksum() { number "$1" list '.services[0].maglev.checksum'; } # DIRECTOR
expect_agreement() { # WHAT
    expect_eq "$1: checksum of both" "$(checksum other)" "$(checksum director)"
    flows_by "${UPLINK_DIRECTORS[$INNER]}" >"$WORK/first"
    flows_by "${UPLINK_OTHERS[$INNER]}" >"$WORK/second"
    diff "$WORK/first" "$WORK/second" || fail "$1: the directors do not agree"
    say "$1: $(cut -d ' ' -f 2 "$WORK/first" | sort | uniq -c | xargs)"
}
served() { grep -c " $1\$" "$WORK/first" || true; } # NAME
reload_both() { ask director reload && ask other reload; }

TRUSTED=("$DIRECTOR" "${LAN_OTHERS[$OUTER]}")
start_web "${REALS[@]}"
start_real "${REALS[@]}"
configure_both 1 2 3
for name in director other; do
    spawn "vt-$name" "$name" "$VSTUN_BIN/vstun-director" --config "$WORK/$name.toml"
done
for name in director other; do wait_ready "$name"; done
expect_eq "slots" "$(number director list '.services[0].maglev.slots')" 65537

expect_agreement "weights 1, 2, 3"
# A third of 300, give or take five standard deviations, and a half.
expect_between "flows of real2" "$(served real2)" 59 141
expect_between "flows of real3" "$(served real3)" 106 194
before=$(checksum director)
cp "$WORK/first" "$WORK/before"

# Weight 0 keeps the table: only real2's flows move, and to the same servers at both directors.
configure_both 1 0 3
reload_both
expect_agreement "real2 with weight 0"
expect_eq "checksum then" "$(checksum director)" "$before"
expect_eq "flows of real2 then" "$(served real2)" 0
expect_eq "other flows that moved" \
    "$(diff "$WORK/before" "$WORK/first" | grep '^<' | grep -vc real2 || true)" 0

# A different seed in one of them is visible before it affects a flow.
configure_both 1 2 3
sed -i 's/known to both directors/known to this one/' "$WORK/other.toml"
reload_both
expect_eq "checksum as at first" "$(checksum director)" "$before"
[[ $(checksum other) != "$before" ]] || fail "another seed has the same checksum"
expect_direct_replies 3000
