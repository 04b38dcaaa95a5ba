# The firewall commands that the documentation prints run as they are printed, with the table and
# chains that it names there.
# mixes: 4in4
source "$(dirname "$0")/lib.sh"

ip netns add vt-director
at vt-director nft -f - <<-NFT
	table inet filter {
	    chain input { type filter hook input priority 0; }
	    chain forward { type filter hook forward priority 0; }
	    chain output { type filter hook output priority 0; }
	}
NFT
pages=("$here"/../docs/*.md "$here/../README.md")
{
    # A command that ends with a backslash goes on in the next line.
    sed -E -e ':next' -e '/\\$/ { N; s/\\\n */ /; b next' -e '}' "${pages[@]}" |
        sed -nE 's/^ +# (nft .*)/\1/p'
    grep -ohE '`nft (insert|add) [^`]*`' "${pages[@]}" | tr -d '`'
} >"$WORK/commands"
expect_between "commands" "$(wc -l <"$WORK/commands")" 15 100
while read -r command; do
    at vt-director bash -c "$command" || fail "$command"
done <"$WORK/commands"
say "rules: $(at vt-director nft list ruleset | grep -c 'accept$\|drop$\|notrack$\|saddr set')"
