#!/usr/bin/env bash
# nftables 1.0.6 (Debian 12): what `nft list ruleset` prints cannot be read back on a host without /etc/protocols (package netbase,
# absent from small images and containers), if a rule names a tunnel's protocol. The listing says `ipencap`, `gre` or `ipv6` where the
# rule was given a number. A few names (tcp, udp, icmp, esp) are built in and work everywhere, so a ruleset that was tried with
# those gives no hint, and `nft -f` refuses the whole file: the host comes up without any firewall.
#
# Seen: rules with the numbers 4, 41 and 47 are listed by name; with an empty /etc/protocols the same text is refused at the first
# name ("Could not resolve protocol name") and nothing is loaded; `nft -n list ruleset` keeps the numbers and is read.
# Expected: a listing that is read by the program that printed it.
# Needs user namespaces or root: works in private mount and network namespaces.
set -euo pipefail
self=$(realpath "$0")
if [[ -z ${FOLDER:-} ]]; then # packages first: the namespace has no network
    dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; chmod 755 "$dir"; cd "$dir"
    apt-get download 'nftables=1.0.6-*' 'libnftables1=1.0.6-*' libnftnl11 libmnl0 libxtables12 \
        libjansson4 libedit2 netbase=6.4 >/dev/null 2>&1 || { echo "the packages are gone"; exit 77; }
    for package in *.deb; do dpkg -x "$package" root; done
    FOLDER=$dir unshare -r -n -m bash "$self"
    exit
fi
cd "$FOLDER"
export LD_LIBRARY_PATH PATH=$FOLDER/root/usr/sbin:$FOLDER/root/usr/bin:$PATH
LD_LIBRARY_PATH=$(find "$FOLDER/root" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd:)
[[ -e /etc/protocols ]] || { echo "needs an /etc/protocols to put another one over"; exit 77; }
mount --bind root/etc/protocols /etc/protocols
nft --version
nft 'add table inet t; add chain inet t c; add rule inet t c meta l4proto { 4, 41, 47 } accept'
nft list ruleset >names; nft -n list ruleset >numbers
grep -q ipencap names || { echo "this host has no names"; exit 77; }
mount --bind /dev/null /etc/protocols
{ grep -h l4proto names numbers | sed 's/^[[:space:]]*//'
  for file in names numbers; do
      nft flush ruleset
      if nft -f $file 2>error; then echo "$file: read"
      else echo "$file: $(grep -o 'Could not resolve protocol name' error | head -n 1)"; fi
      echo "tables: $(nft list tables | wc -l)"
  done; } >out
cat out
diff - out <<'X' || { echo changed; exit 1; }
meta l4proto { ipencap, ipv6, gre } accept
meta l4proto { 4, 41, 47 } accept
names: Could not resolve protocol name
tables: 0
numbers: read
tables: 1
X
