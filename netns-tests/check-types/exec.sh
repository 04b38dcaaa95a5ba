# A program, which tells the real server from its environment.
# shellcheck shell=bash

cat >"$WORK/program" <<'PROGRAM'
#!/bin/sh
test ! -e "${0%/*}/sick-$VSTUN_REAL" || { echo "out of order"; exit 1; }
PROGRAM
chmod +x "$WORK/program"

start_exec() { :; }
check_exec() { printf 'type = "exec"\ncommand = ["%s"]\n' "$WORK/program"; }

try_exec() {
    touch "$WORK/sick-${ADDRESS[real2]}"
    becomes real2 down "exec check failed: exit code 1: out of order"
    rm "$WORK/sick-${ADDRESS[real2]}"
    becomes real2 up "all checks pass"
}
