#!/usr/bin/env bash
# keepalived 2.2.7 (Debian 12), `keepalived -t -f FILE`, the configuration test of init scripts and CI: a file that does not exist
# passes with exit code 0, as does a file whose notify program does not exist. A path with a typing error in a unit's ExecStartPre
# or in a CI job therefore tests nothing, for ever.
#
# Seen: missing file 0; a good file 0; notify_up that names a program that is not there 0; an unknown keyword 5.
# Expected: a file that cannot be read is the worst fault of all, and not zero.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; chmod 755 "$dir"; cd "$dir"
apt-get download 'keepalived=1:2.2.7-*' libnl-3-200 libnl-genl-3-200 libsnmp40 libpci3 libsensors5 libwrap0 libnfnetlink0 libmnl0 libnftnl11 >/dev/null 2>&1 ||
    { echo "the packages are gone"; exit 77; }
for package in *.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH; LD_LIBRARY_PATH=$(find "$dir/root" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd:)
keepalived() { root/usr/sbin/keepalived "$@"; }
version=$(keepalived --version 2>&1) || { echo "it does not run here: $version"; exit 77; }
echo "${version%%$'\n'*}"
server() { # LINE-OF-REAL-SERVER
    printf 'global_defs {\n enable_script_security\n script_user root\n}\nvirtual_server 192.0.2.10 80 {\n lvs_sched rr\n lvs_method TUN\n protocol TCP\n real_server 10.0.0.11 80 {\n  weight 1\n  %s\n  TCP_CHECK {\n   connect_timeout 1\n  }\n }\n}\n' "$1"
}
server '' >good.conf
server 'notify_up /nonexistent/program' >no-script.conf
server 'no_such_keyword 1' >unknown.conf
for file in good missing no-script unknown; do
    code=0; keepalived -t -f "$dir/$file.conf" >"$file.log" 2>&1 || code=$?
    echo "$file: $code"
done | tee out
diff - out <<'X' || { echo changed; cat ./*.log; exit 1; }
good: 0
missing: 0
no-script: 0
unknown: 5
X
