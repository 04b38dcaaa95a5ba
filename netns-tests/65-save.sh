# `vstun save`: the file has the changes that verbs have made and keeps its comments, and a director
# started with it equals the one before.
# mixes: 4in6
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

file=$WORK/director.toml
configure_with_comments() {
    configure "$file" wrr 1 1
    sed -i '1i # who is on call: 4711' "$file"
    sed -i "/address = \"${ADDRESS[real1]}\"/s/\$/ # rack 7/" "$file"
}
reals() {
    ask director list --json |
        jq -c '[.services[].reals[] | {address, weight, wanted}] | sort_by(.address)'
}
save() { ask director save "$file" "$@"; }

make_topology
configure_with_comments
spawn vt-director director "$VSTUN_BIN/vstun-director" --config "$file"
wait_ready director
expect_eq "lines that differ before any change" \
    "$(save | diff - "$file" | grep -c '^[<>]' || true)" 0

ask director set-weight "${ADDRESS[real1]}" --weight 5 >/dev/null
ask director add-real "${ADDRESS[real3]}" --weight 2 >/dev/null
ask director drain "${ADDRESS[real2]}" --deadline 10m >/dev/null
before=$(reals)
cp "$file" "$WORK/untouched.toml"
save >"$WORK/printed.toml"
cmp "$file" "$WORK/untouched.toml" || fail "printing has written the file"
chmod 640 "$file"
rights=$(stat -c '%u %g %a' "$file")
if chown 4242:4243 "$file" 2>/dev/null; then rights="4242 4243 640"; fi
echo half >"$file.new" # left by a save that was killed
save --write >/dev/null
expect_eq "owner, group and mode of the saved file" "$(stat -c '%u %g %a' "$file")" "$rights"
cmp "$file" "$WORK/printed.toml" || fail "what is printed and what is written differ"
expect_eq "comments that are left" "$(grep -cE '# who is on call: 4711|# rack 7' "$file")" 2
ask director plan "$file" >"$WORK/plan" || fail "the plan of the saved file: $(<"$WORK/plan")"
save | cmp - "$file" || fail "a second save changes something"
ask director reload >/dev/null
expect_eq "real servers after a reload" "$(reals)" "$before"
stop director
spawn vt-director director "$VSTUN_BIN/vstun-director" --config "$file"
wait_ready director
expect_eq "real servers of a new director" "$(reals)" "$before"

ask director remove-real "${ADDRESS[real1]}" >/dev/null
save --write --json >"$WORK/saved.json"
expect_eq "what else differs after a removal" "$(jq .changes "$WORK/saved.json")" 0
expect_eq "the removed one in the file" "$(grep -c "${ADDRESS[real1]}" "$file" || true)" 0
