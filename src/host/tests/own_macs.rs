//! Own addresses with another hardware address.

use super::*;
use crate::host::own_macs::OwnMacs;

#[test]
fn own_addresses_are_announced_exactly_when_their_hardware_address_has_changed() {
    let before = facts();
    let replaced = |mac: [u8; 6]| {
        let mut facts = facts();
        facts.links[1] = Link { index: 7, mac: Some(mac), ..link(2, "eth0") };
        facts.addresses[1].link = 7;
        facts
    };
    let other = replaced([2, 0, 0, 0, 0, 99]);
    let gone = Facts { addresses: vec![before.addresses[0].clone()], ..facts() };
    let mut no_carrier = other.clone();
    no_carrier.links[1].carrier = false;
    let mut twice = before.clone();
    twice.addresses.push(own(3, "10.1.0.1/24"));
    let mut own_macs = OwnMacs::default();
    let eth0 = || vec![Announcement { link: "eth0".into(), address: ip("10.1.0.1") }];
    let rows = [
        ("at the start", &before, vec![]),
        ("as before", &before, vec![]),
        ("another interface with the same one", &replaced(before.links[1].mac.unwrap()), vec![]),
        ("without an address for a moment", &gone, vec![]),
        ("without a carrier: nobody hears it", &no_carrier, vec![]),
        ("another hardware address", &other, eth0()),
        ("said once", &other, vec![]),
        ("on two interfaces", &twice, vec![]),
        ("the first one again", &before, eth0()),
    ];
    for (what, facts, expected) in rows {
        assert_eq!(own_macs.note(facts), expected, "{what}");
    }
}
