//! The interfaces of base chains at the hooks ingress and egress, from the output of
//! `nft list chains`: some versions of nft leave them out of their JSON.

use std::collections::HashMap;

/// The interfaces by family, table and chain.
pub(super) fn of_chains(listing: &str) -> HashMap<(&str, &str, &str), Vec<String>> {
    let mut found = HashMap::new();
    let (mut family, mut table, mut chain) = ("", "", "");
    for line in listing.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match &words[..] {
            ["table", of, name, "{"] => (family, table) = (of, name),
            ["chain", name, "{"] => chain = name,
            ["type", _, "hook", _, "device", name, ..] => {
                found.insert((family, table, chain), vec![bare(name)]);
            }
            ["type", _, "hook", _, "devices", "=", "{", names @ ..] => {
                let names = names.iter().take_while(|name| **name != "}");
                found.insert((family, table, chain), names.map(|name| bare(name)).collect());
            }
            _ => {}
        }
    }
    found
}

fn bare(name: &str) -> String {
    name.trim_end_matches(',').trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_of_one_and_of_several_interfaces_are_read() {
        let listing = "table netdev p {\n\tchain in {\n\t\ttype filter hook ingress devices = \
                       { e0, \"e1\" } priority filter; policy accept;\n\t}\n\tchain out {\n\t\t\
                       type filter hook egress device \"e0.7\" priority filter; policy drop;\n\t\
                       }\n}\ntable inet q {\n\tchain x {\n\t}\n\tchain fore {\n\t\ttype filter \
                       hook forward priority filter; policy accept;\n\t}\n}\n";
        let found = of_chains(listing);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[&("netdev", "p", "in")], ["e0", "e1"]);
        assert_eq!(found[&("netdev", "p", "out")], ["e0.7"]);
        assert!(of_chains("type filter hook ingress device").is_empty());
    }
}
