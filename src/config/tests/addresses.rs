//! Addresses of both families: which are accepted, which are refused with which message, and that
//! all spellings of an address are the same address.

use crate::config::{self, Director};

use super::bounds::{takes, takes_realserver, with_key};
use super::{address, lines};

/// A director with a real server at `address`.
fn real(address: &str) -> String {
    with_key("") + &format!("[[service.real]]\naddress = \"{address}\"\n")
}

/// A director that listens at each of `listens`, one per line from line 4 on.
fn listens(listens: &[&str]) -> String {
    let quoted: Vec<_> = listens.iter().map(|listen| format!("\n\"{listen}\"")).collect();
    format!("[director]\n[[service]]\nname = \"a\"\nlisten = [{}]\n", quoted.join(","))
}

fn source(source: &str) -> String {
    with_key(&format!("source = {source}"))
}

fn vip(vip: &str) -> String {
    format!("vips = [\"{vip}\"]\ndirectors = [\"10.0.0.1\"]\n")
}

fn directors(range: &str) -> String {
    format!("vips = [\"192.0.2.1\"]\ndirectors = [\"{range}\"]\n")
}

/// `address` is accepted at every key for an address, or refused with the same message.
#[track_caller]
fn everywhere(address: &str, refusal: &str) {
    let taken = refusal.is_empty();
    assert_eq!(takes(&real(address), refusal), taken, "{address}");
    assert_eq!(takes(&source(&format!("\"{address}\"")), refusal), taken, "{address}");
    assert_eq!(takes_realserver(&vip(address), refusal), taken, "{address}");
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    assert_eq!(takes(&listens(&[&format!("{host}:80/tcp")]), refusal), taken, "{address}");
}

#[test]
fn addresses_of_one_host_are_accepted() {
    for address in ["1.0.0.0", "126.255.255.255", "128.0.0.0", "223.255.255.255", "10.0.0.255"] {
        everywhere(address, "");
    }
    for address in [
        "2001:db8::10",
        "fd00::1",
        // NAT64, 6to4, and addresses next to those that are refused.
        "64:ff9b::192.0.2.1",
        "2002:c000:20a::1",
        "::1:0:0",
        "::fffe:ffff:ffff",
        "::1:0:0:0",
        "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        // Former site-local addresses, which count as global (RFC 4291 section 2.5.7); the last one
        // before multicast.
        "fec0::1",
        "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ] {
        everywhere(address, "");
    }
}

#[test]
fn addresses_of_no_host_are_refused() {
    for address in ["0.0.0.0", "0.255.255.255", "127.0.0.1", "224.0.0.0", "239.255.255.255"] {
        everywhere(address, "write the address of one host");
    }
    everywhere("255.255.255.255", "write the address of one host");
    for (address, why) in [
        ("::", "is unspecified"),
        ("::1", "a loopback address"),
        ("::2", "an IPv4-compatible address"),
        ("::10.0.0.1", "an IPv4-compatible address"),
        ("::ffff:ffff", "an IPv4-compatible address"),
        ("ff00::", "a multicast address"),
        ("ff02::1", "a multicast address"),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "a multicast address"),
    ] {
        everywhere(address, why);
        everywhere(address, "; write the address of one host");
    }
    for address in ["fe80::", "fe80::1", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"] {
        everywhere(address, "is a link-local address, which means nothing without an interface");
        everywhere(address, "; write a global or unique local address");
    }
    for (address, meant) in [
        ("::ffff:0.0.0.0", "0.0.0.0"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::FFFF:a00:1", "10.0.0.1"),
        ("::ffff:255.255.255.255", "255.255.255.255"),
    ] {
        everywhere(address, &format!("is an IPv4-mapped address; write {meant}"));
    }
}

#[test]
fn zones_are_refused_by_name_and_by_number() {
    let refusal = "has a zone; write a global or unique local address without one";
    for address in ["fe80::1%eth0", "fe80::1%2", "2001:db8::1%eth0", "2001:db8::1%0"] {
        everywhere(address, refusal);
        assert!(!takes(&real(&format!("[{address}]:80")), refusal), "{address}");
        assert!(!takes_realserver(&directors(address), refusal), "{address}");
        assert!(!takes_realserver(&directors(&format!("{address}/64")), refusal), "{address}");
    }
    assert!(!takes(&real("10.0.0.1%eth0"), "is not an IP address"));
}

#[test]
fn brackets_need_a_port() {
    assert!(!takes(&real("[2001:db8::11]"), "has brackets; write 2001:db8::11 without them"));
    assert!(!takes(&real("[10.0.0.11]"), "has brackets; write 10.0.0.11 without them"));
    assert!(!takes(&real("[2001:db8::11]:80"), "cannot change ports; write 2001:db8::11 and"));
    assert!(!takes(&real("[2001:db8::11"), "has brackets; write 2001:db8::11 without them"));
    assert!(!takes(
        &real("[]"),
        "is not an IP address; write one such as 192.0.2.10 or 2001:db8::10"
    ));
    assert!(!takes_realserver(&vip("[2001:db8::1]:80"), "has a port; write 2001:db8::1,"));
    assert!(!takes_realserver(&directors("[2001:db8::]/64"), "write 2001:db8::/64 without them"));
    assert!(!takes_realserver(&directors("[2001:db8::1]"), "write 2001:db8::1 without them"));
}

#[test]
fn a_misspelt_listen_gets_the_intended_one() {
    for (text, message) in [
        ("2001:db8::10:80/tcp", "an IPv6 address without brackets; write [2001:db8::10]:80/tcp"),
        ("2001:db8::1:*/udp", "an IPv6 address without brackets; write [2001:db8::1]:*/udp"),
        ("2001:db8::1:5-9/udp", "an IPv6 address without brackets; write [2001:db8::1]:5-9/udp"),
        (
            "1:2:3:4:5:6:7:8:80/tcp",
            "an IPv6 address without brackets; write [1:2:3:4:5:6:7:8]:80/tcp",
        ),
        // Without a port the whole text is an address.
        ("1:2:3:4:5:6:7:8/tcp", "an IPv6 address without brackets; write [1:2:3:4:5:6:7:8]:80/tcp"),
        ("2001:db8::ff/tcp", "an IPv6 address without brackets; write [2001:db8::ff]:80/tcp"),
        ("2001:db8::1:65536/tcp", "an IPv6 address without brackets; write [2001:db8::1]:80/tcp"),
        ("[2001:db8::10]/tcp", "has no port; write [2001:db8::10]:80/tcp"),
        ("[2001:db8::10]:0/tcp", "has no valid port; write a port from 1 to 65535"),
        ("[2001:db8::10]:80", "neither /tcp nor /udp; write [2001:db8::10]:80/tcp"),
        ("2001:db8::10:80", "neither /tcp nor /udp; write [2001:db8::10]:80/tcp"),
        ("192.0.2.11:81", "neither /tcp nor /udp; write 192.0.2.11:81/tcp"),
        ("192.0.2.11:81/sctp", "neither /tcp nor /udp; write 192.0.2.10:80/tcp"),
        ("[192.0.2.10]:80/tcp", "has no IP address; write 192.0.2.10:80/tcp or [2001:db8::10]"),
        ("2001:db8::g:80/tcp", "has no IP address; write 192.0.2.10:80/tcp or [2001:db8::10]"),
        ("2001:db8::1:\\u001b/tcp", "without brackets; write [2001:db8::1]:80/tcp"),
    ] {
        assert!(!takes(&listens(&[text]), message), "{text}");
    }
}

#[test]
fn ranges_of_both_families() {
    for range in ["128.0.0.0/1", "10.0.0.1", "2000::/3", "fc00::/7", "2001:db8::/32", "fec0::/10"] {
        assert!(takes_realserver(&directors(range), ""), "{range}");
    }
    for (range, message) in [
        ("0.0.0.0/0", "lets every host"),
        ("::/0", "::/0 lets every host send packets into the virtual IPs"),
        (
            "10.0.0.0/33",
            "is not an address range; write one such as 10.0.0.1/32 or 2001:db8::1/128",
        ),
        ("2001:db8::/129", "is not an address range"),
        ("2001:db8::1/64", "has bits beyond its prefix; write 2001:db8::/64 or 2001:db8::1/128"),
        ("fe80::/10", "fe80:: is a link-local address"),
        ("fe80::1", "fe80::1 is a link-local address"),
        ("ff00::/8", "ff00:: is a multicast address"),
        ("::1/128", "::1 is a loopback address"),
        ("::/128", ":: is unspecified"),
        ("::10.0.0.0/104", "is an IPv4-compatible address"),
    ] {
        assert!(!takes_realserver(&directors(range), message), "{range}");
    }
}

#[test]
fn ranges_of_mapped_addresses() {
    for (range, message) in [
        (
            "::ffff:10.0.0.1",
            "::ffff:10.0.0.1/128 is a range of IPv4-mapped addresses; write 10.0.0.1/32",
        ),
        ("::ffff:10.0.0.0/120", "is a range of IPv4-mapped addresses; write 10.0.0.0/24"),
        ("::ffff:10.0.0.1/120", "is a range of IPv4-mapped addresses; write 10.0.0.0/24"),
        ("::ffff:128.0.0.0/97", "is a range of IPv4-mapped addresses; write 128.0.0.0/1"),
        (
            "::ffff:0:0/96",
            "is a range of IPv4-mapped addresses; write the directors' IPv4 addresses",
        ),
        (
            "::fffe:0:0/95",
            "holds the IPv4-mapped addresses (::ffff:0:0/96); write a narrower range",
        ),
        ("::ffff:10.0.0.1/95", "holds the IPv4-mapped addresses"),
        ("::/64", "::/64 holds the IPv4-mapped addresses"),
        ("::/1", "::/1 holds the IPv4-mapped addresses"),
    ] {
        assert!(!takes_realserver(&directors(range), message), "{range}");
    }
    assert!(takes_realserver(&directors("::fffe:0:0/96"), ""));
    assert!(takes_realserver(&directors("::1:0:0:0/80"), ""));
}

#[test]
fn a_source_for_each_family() {
    let read = |text: &str| config::director(&source(text)).unwrap().sources;
    let (v4, v6) = (address("10.0.0.1"), address("2001:db8::1"));
    assert_eq!(read("\"10.0.0.1\""), [v4]);
    assert_eq!(read("\"2001:db8::1\""), [v6]);
    assert_eq!(read("[\"2001:db8::1\"]"), [v6]);
    assert_eq!(read("[\"10.0.0.1\", \"2001:db8::1\"]"), [v4, v6]);
    assert_eq!(read("[\"2001:DB8:0::1\", \"10.0.0.1\"]"), [v4, v6], "in whichever order");

    for (text, message) in [
        ("[]", "director.source: the list is empty; leave the key out"),
        (r#"["10.0.0.1", "10.0.0.2"]"#, "10.0.0.2 is of the same family as 10.0.0.1; keep one"),
        (r#"["10.0.0.1", "10.0.0.1"]"#, "10.0.0.1 is of the same family as 10.0.0.1; keep one"),
        (r#"["2001:db8::1", "2001:db8::2"]"#, "2001:db8::2 is of the same family as 2001:db8::1"),
        (r#"["10.0.0.1", "2001:db8::1", "10.0.0.2"]"#, "3 elements; write at most one address of"),
        (r#"["10.0.0.1", 7]"#, "is of type integer; write a text in quotes"),
        ("7", "is of type integer; write a text in quotes, or a list of them in square brackets"),
    ] {
        assert!(!takes(&source(text), message), "{text}");
    }
    let faults = config::director(&source("[\n\"10.0.0.1\",\n\"fe80::1\"\n]")).unwrap_err();
    assert!(faults.len() == 1 && faults[0].line == 4, "{faults:?}");
}

#[test]
fn a_source_is_neither_a_virtual_ip_nor_a_real_server() {
    let text = r#"
        [director]
        source = ["192.0.2.10", "2001:DB8:1::0:11"]
        [[service]]
        name = "a"
        listen = ["192.0.2.10:80/tcp", "[2001:db8::10]:80/tcp"]
        real = [{ address = "2001:db8:1::11" }]
    "#;
    let expected = [
        "3: director.source: 192.0.2.10 is a virtual IP; write an address of the director itself",
        "3: director.source: 2001:db8:1::11 is the director's own address, which is a real server \
         at line 7; write another",
    ];
    assert_eq!(lines(&config::director(text).unwrap_err()), expected);
}

#[test]
fn a_service_mixes_families() {
    let text = r#"
        [director]
        [[service]]
        name = "web"
        listen = ["192.0.2.10:80/tcp", "[2001:db8::10]:80/tcp"]
        real = [{ address = "10.0.0.11" }, { address = "2001:db8:1::12" }]
    "#;
    let director: Director = config::director(text).unwrap();
    assert_eq!(director.vips(), [address("192.0.2.10"), address("2001:db8::10")]);
    assert_eq!(director.reals(), [address("10.0.0.11"), address("2001:db8:1::12")]);
    assert_eq!(director.services[0].spec.listens[1].to_string(), "[2001:db8::10]:80/tcp");
}

#[test]
fn all_spellings_of_an_address_are_the_same() {
    let text = r#"
        [director]
        [[service]]
        name = "a"
        listen = ["[2001:db8::10]:80/tcp", "[2001:DB8:0::10]:*/tcp", "[2001:db8::11]:80/tcp"]
        real = [
            { address = "2001:db8:1::11" },
            { address = "2001:DB8:1:0:0:0:0:11" },
            { address = "2001:0db8::0010" },
        ]
    "#;
    let expected = [
        "5: service.listen: [2001:db8::10]:*/tcp overlaps [2001:db8::10]:80/tcp of service a at \
         line 5; give each port to one service only",
        "8: service.real.address: 2001:db8:1::11 is in this service already, at line 7; keep one",
        "9: service.real.address: 2001:db8::10 is a virtual IP, at line 5; write the real server's \
         own address",
    ];
    assert_eq!(lines(&config::director(text).unwrap_err()), expected);

    let text = r#"[realserver]
        vips = ["2001:db8::10", "2001:DB8::10"]
        directors = ["2001:db8:1::/64", "2001:DB8:1:0::/64", "2001:DB8:0::10"]
    "#;
    let expected = [
        "2: realserver.vips: 2001:db8::10 is listed twice, first at line 2",
        "3: realserver.directors: 2001:db8:1::/64 is listed twice, first at line 3",
        "3: realserver.directors: 2001:db8::10/128 is the virtual IP 2001:db8::10; write the \
         director's own address",
    ];
    assert_eq!(lines(&config::realserver(text).unwrap_err()), expected);
}
