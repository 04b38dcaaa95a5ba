# Configurations that are refused: exit 2, and one message for each of the file's first lines
# `# expect: LINE: TEXT`, no more and no fewer. The file's name begins with the role. Here they are
# started; tests/programs has `--check`.
#
# Nothing is sent, and the files are of either family.
# mixes: 4in4
source "$(dirname "$0")/lib.sh"

ip netns add vt-host
ip -n vt-host link set dev lo up
# Without more processes than the programs: there are a hundred files.
IFS=$'\n'
count=0
for file in "$here"/bad-configs/*.toml; do
    [[ -e $file ]] || fail "there are no bad-configs/*.toml"
    name=${file##*/} name=${name%.toml}
    expected=() said=() code=0
    while read -r line && [[ $line == "# expect: "* ]]; do
        expected+=("${line#"# expect: "}")
    done <"$file"
    ((${#expected[@]} > 0)) || fail "$name: its first line is no '# expect: LINE: TEXT'"
    at vt-host timeout 60 "$VSTUN_BIN/vstun-${name%%-*}" --config "$file" >"$WORK/said" 2>&1 ||
        code=$?
    ((code == 2)) || fail "$name: exit code is $code, expected 2: $(<"$WORK/said")"
    while read -r line; do
        [[ $line != *"$file:"* ]] || said+=("${line##*"$file:"}")
    done <"$WORK/said"
    [[ ${said[*]} == "${expected[*]}" ]] ||
        fail "$name: says"$'\n'"${said[*]}"$'\n'"expected"$'\n'"${expected[*]}"
    count=$((count + 1))
done
expect_between "bad configurations" "$count" 15 1000
