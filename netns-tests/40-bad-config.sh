# Configurations that are refused: exit 2, and one message for each of the file's first lines
# `# expect: LINE: TEXT`, no more and no fewer. The file's name begins with the role. Here they are
# started; tests/programs has `--check`.
#
# Nothing is sent, and the files are of either family.
# mixes: 4in4
source "$(dirname "$0")/lib.sh"

ip netns add vt-host
ip -n vt-host link set dev lo up
count=0
for file in "$here"/bad-configs/*.toml; do
    [[ -e $file ]] || fail "there are no bad-configs/*.toml"
    name=$(basename "$file" .toml)
    sed -n '/^# expect: */!q; s///p' "$file" >"$WORK/expected"
    [[ -s $WORK/expected ]] || fail "$name: its first line is no '# expect: LINE: TEXT'"
    code=0
    at vt-host timeout 60 "$VSTUN_BIN/vstun-${name%%-*}" --config "$file" >"$WORK/said" 2>&1 ||
        code=$?
    ((code == 2)) || fail "$name: exit code is $code, expected 2: $(<"$WORK/said")"
    grep -F "$file:" "$WORK/said" | sed "s|^.*$file:||" | diff "$WORK/expected" - ||
        fail "$name: says something else"
    count=$((count + 1))
done
expect_between "bad configurations" "$count" 15 1000
