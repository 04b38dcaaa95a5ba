//! The tables of nftables around marked packets, as commands of nft(8).

use super::frame::{Mark, MarkedPacket};
use crate::doctor::firewall::Hook;
use crate::wire::protocol::{TCP, UDP};

/// Before and after all other chains of a hook; connection tracking confirms a flow after that.
const FIRST: i32 = -2_000_000_000;
const LAST: i32 = 2_000_000_000;

/// The chain that ends packets which leave by other interfaces than the watched ones.
pub(super) const UNWATCHED: &str = "postrouting_last";

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
    /// What the packets have in common, behind their addresses and ports.
    pub mark: Mark,
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
        // Where they leave by an interface that is not watched.
        let watched: Vec<String> =
            self.exits.iter().map(|exit| format!("\"{}\"", exit.name)).collect();
        let elsewhere = format!("oifname != {{ {} }}", watched.join(", "));
        let last = format!("inet {name} {UNWATCHED}");
        all.extend(self.marks().map(|mark| format!("add rule {last} {elsewhere} {mark} drop")));
        for Interface { index, name: device } in &self.entries {
            let chain = format!("netdev {name} from_{index}");
            let kind = format!("type filter hook ingress device \"{device}\" priority {FIRST}");
            all.push(format!("add chain {chain} {{ {kind}; }}"));
            all.push(format!("add rule {chain} ether saddr {macs} meta nftrace set 1"));
        }
        all
    }

    /// The conditions that a marked packet without its frame's header meets, whatever its addresses
    /// and ports have become.
    fn marks(&self) -> impl Iterator<Item = String> {
        let (first, second) = (MarkedPacket::First, MarkedPacket::Second);
        // In bits from the start of the transport header.
        [(TCP, 32, first), (TCP, 32, second), (UDP, 64, first)]
            .map(|(protocol, start, kind)| {
                let value = u64::from_be_bytes(self.mark.bytes(kind));
                format!("meta l4proto {protocol} @th,{start},64 {value:#018x}")
            })
            .into_iter()
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
    fn each_interface_has_a_chain_and_marks_depend_on_no_address() {
        let one = |index, name: &str| Interface { index, name: name.to_owned() };
        let tables = TraceTables {
            name: "vstun_doctor_7".to_owned(),
            mac: [2, 0xaa, 0xbb, 0xcc],
            mark: Mark(0x0a0b_0c0d),
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
            "add rule netdev vstun_doctor_7 to_5 meta l4proto 6 @th,32,64 0x0a0b0c0df5f4f3f2 drop",
            "add rule netdev vstun_doctor_7 to_5 meta l4proto 6 @th,32,64 0x0a0b0c0ef5f4f3f2 drop",
            "add rule netdev vstun_doctor_7 to_2 meta l4proto 17 @th,64,64 0x0a0b0c0df5f4f3f2 \
             drop",
            "add rule inet vstun_doctor_7 postrouting_last oifname != { \"eth0\", \"vstun0\" } \
             meta l4proto 17 @th,64,64 0x0a0b0c0df5f4f3f2 drop",
        ] {
            assert!(all.contains(line), "{line}\n{all}");
        }
        assert_eq!(all.matches("add chain netdev").count(), tables.devices());
        assert_eq!(tables.source(0x0102), [2, 0xaa, 0xbb, 0xcc, 1, 2]);
    }
}
