#!/usr/bin/env bash
# promtool 2.42.0 (Debian 12), `promtool test rules`: a test that expects no alert passes for an alert that no rule defines, and a
# `rule_files` pattern that matches no file is a warning with exit code 0. So a case that guards against false alarms goes on passing
# after the alert was renamed, or its file moved, and tests nothing.
#
# Seen: `alertname: ServerDonw` with `exp_alerts: []` at a time when ServerDown fires: SUCCESS, 0; `rule_files: [missing*.yml]`: a
# warning, SUCCESS, 0. The same case with the right name fails, 1.
# Expected: an error for a name that is in none of the rules, and for a pattern without a file.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; chmod 755 "$dir"; cd "$dir"
apt-get download 'prometheus=2.42.0+ds-*' >/dev/null 2>&1 || { echo "the package is gone"; exit 77; }
dpkg -x prometheus*.deb root
promtool() { root/usr/bin/promtool "$@"; }
version=$(promtool --version 2>&1) || { echo "it does not run here: $version"; exit 77; }
echo "${version%%(*}"
cat >rules.yml <<'Y'
groups:
- name: servers
  rules:
  - alert: ServerDown
    expr: up == 0
    for: 1m
Y
try() { # NAME FILES ALERT
    cat >test.yml <<Y
rule_files: [$2]
evaluation_interval: 1m
tests:
- interval: 1m
  input_series:
  - series: up{instance="a"}
    values: "1 0 0 0 0 0"
  alert_rule_test:
  - eval_time: 5m
    alertname: $3
    exp_alerts: []
Y
    local code=0
    promtool test rules test.yml >said 2>&1 || code=$?
    echo "$1: exit $code, $(grep -o -E 'SUCCESS|FAILED|WARNING' said | sort -u | paste -sd' ')"
}
{ try "right name" rules.yml ServerDown
  try "misspelt name" rules.yml ServerDonw
  try "no such file" 'missing*.yml' ServerDown; } >out
cat out
diff - out <<'X' || { echo changed; exit 1; }
right name: exit 1, FAILED
misspelt name: exit 0, SUCCESS
no such file: exit 0, SUCCESS WARNING
X
