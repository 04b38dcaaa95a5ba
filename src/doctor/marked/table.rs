//! The tables of nftables around marked packets, as commands of nft(8).

use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::doctor::firewall::Hook;

/// Before and after all other chains of a hook; connection tracking confirms a flow after that.
const FIRST: i32 = -2_000_000_000;
const LAST: i32 = 2_000_000_000;

/// The hooks that are watched.
pub(super) const HOOKS: [Hook; 4] =
    [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Postrouting];

/// An interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Interface {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
}

/// The tables: one of family `inet`, one of `netdev`. Both have this name.
#[derive(Clone, Debug)]
pub struct TraceTables {
    /// The name.
    pub name: String,
    /// The first bytes of the source address of marked frames; the last two are a packet's number.
    pub mac: [u8; 4],
    /// The sources of marked packets that leave.
    pub sources: Vec<IpAddr>,
    /// Their source ports.
    pub ports: RangeInclusive<u16>,
    /// Where they arrive.
    pub entries: Vec<Interface>,
    /// Where they might leave.
    pub exits: Vec<Interface>,
    /// The one of these where they should; `None`: they are for this host's own programs.
    pub aim: Option<u32>,
}

impl TraceTables {
    /// The source address of the frame with this number.
    #[must_use]
    pub fn source(&self, number: u16) -> [u8; 6] {
        let [one, two, three, four] = self.mac;
        let [five, six] = number.to_be_bytes();
        [one, two, three, four, five, six]
    }

    /// The commands that make the tables. The process that runs them owns these: they go with it.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        let name = &self.name;
        let macs = format!("{}-{}", text(self.source(0)), text(self.source(u16::MAX)));
        let mut all = vec![
            format!("add table inet {name} {{ flags owner; }}"),
            format!("add table netdev {name} {{ flags owner; }}"),
        ];
        for hook in HOOKS.map(Hook::name) {
            for (end, priority) in [("first", FIRST), ("last", LAST)] {
                let chain = format!("inet {name} {hook}_{end}");
                let kind = format!("type filter hook {hook} priority {priority}");
                all.push(format!("add chain {chain} {{ {kind}; }}"));
            }
        }
        all.push(format!("add rule inet {name} input_last ether saddr {macs} drop"));
        for Interface { index, name: device } in &self.exits {
            let chain = format!("netdev {name} to_{index}");
            let kind = format!("type filter hook egress device \"{device}\" priority {LAST}");
            all.push(format!("add chain {chain} {{ {kind}; }}"));
            all.extend(self.marks().map(|mark| format!("add rule {chain} {mark} drop")));
        }
        for Interface { index, name: device } in &self.entries {
            let chain = format!("netdev {name} from_{index}");
            let kind = format!("type filter hook ingress device \"{device}\" priority {FIRST}");
            all.push(format!("add chain {chain} {{ {kind}; }}"));
            all.push(format!("add rule {chain} ether saddr {macs} meta nftrace set 1"));
        }
        all
    }

    /// The conditions that a marked packet without its frame's header meets, one for each family.
    fn marks(&self) -> impl Iterator<Item = String> {
        let (first, last) = (self.ports.start(), self.ports.end());
        [("ip", true), ("ip6", false)].into_iter().filter_map(move |(family, four)| {
            let sources = self.sources.iter().filter(|source| source.is_ipv4() == four);
            let sources: Vec<String> = sources.map(ToString::to_string).collect();
            let sources = (!sources.is_empty()).then(|| sources.join(", "))?;
            Some(format!("{family} saddr {{ {sources} }} th sport {first}-{last}"))
        })
    }

    /// How many chains the table of family `netdev` has.
    #[must_use]
    pub fn devices(&self) -> usize {
        self.exits.len() + self.entries.len()
    }
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_interface_has_a_chain_and_each_family_a_condition() {
        let one = |index, name: &str| Interface { index, name: name.to_owned() };
        let tables = TraceTables {
            name: "vstun_doctor_7".to_owned(),
            mac: [2, 0xaa, 0xbb, 0xcc],
            sources: ["198.51.100.7", "2001:db8::7"].map(|one| one.parse().expect("one")).to_vec(),
            ports: 50_000..=50_009,
            entries: vec![one(2, "eth0")],
            exits: vec![one(2, "eth0"), one(5, "vstun0")],
            aim: Some(5),
        };
        let all = tables.commands().join("\n");
        for line in [
            "add chain netdev vstun_doctor_7 from_2 { type filter hook ingress device \"eth0\" \
             priority -2000000000; }",
            "add rule netdev vstun_doctor_7 from_2 ether saddr \
             02:aa:bb:cc:00:00-02:aa:bb:cc:ff:ff meta nftrace set 1",
            "add rule netdev vstun_doctor_7 to_5 ip saddr { 198.51.100.7 } th sport 50000-50009 \
             drop",
            "add rule netdev vstun_doctor_7 to_5 ip6 saddr { 2001:db8::7 } th sport 50000-50009 \
             drop",
        ] {
            assert!(all.contains(line), "{line}\n{all}");
        }
        assert_eq!(all.matches("add chain netdev").count(), tables.devices());
        assert_eq!(tables.source(0x0102), [2, 0xaa, 0xbb, 0xcc, 1, 2]);
    }
}
