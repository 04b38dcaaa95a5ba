# Configurations that are refused: exit 2, and the message that the file's first line expects, `# expect: TEXT`. The program
# is told by the file's section. `--check` says the same as a start.
source "$(dirname "$0")/lib.sh"
source "$here/topology.sh"
source "$here/daemons.sh"

ip netns add vt-host
ip -n vt-host link set dev lo up
count=0
for file in "$here"/bad-configs/*.toml; do
    [[ -e $file ]] || skip "there are no bad-configs/*.toml"
    name=$(basename "$file" .toml)
    expected=$(sed -n '1s/^# expect: *//p' "$file")
    [[ -n $expected ]] || fail "$name: its first line is no '# expect: TEXT'"
    program=vstun-director
    ! grep -q '^\[realserver\]' "$file" || program=vstun-realserver
    for check in "" --check; do
        code=0
        # shellcheck disable=SC2086 # no argument where it is empty
        at vt-host timeout 10 "$VSTUN_BIN/$program" --config "$file" $check >"$WORK/$name.log" 2>&1 || code=$?
        expect_eq "$name ${check:-(start)}: exit code" "$code" 2
        grep -qF -- "$expected" "$WORK/$name.log" || fail "$name: did not say '$expected'"
    done
    count=$((count + 1))
done
expect_between "bad configurations" "$count" 15 1000
