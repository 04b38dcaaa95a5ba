//! IPsec policies that discard packets.

use super::*;
use crate::host::PolicyDirection::{Forward, In, Out};
use crate::host::ipsec::{arrive_plain, at_director, at_realserver};
use PolicyAction::{Allow, Block, Transform};

fn policy(direction: PolicyDirection, from: &str, to: &str, action: PolicyAction) -> IpsecPolicy {
    let (source, destination) = (from.parse().unwrap(), to.parse().unwrap());
    IpsecPolicy { direction, source, destination, partial: false, priority: 0, action }
}

/// What is said: the kinds and subjects of problems, and `may` for warnings.
fn said(suspicions: Vec<SelectiveRule>) -> Vec<String> {
    let text = |one: SelectiveRule| match one {
        SelectiveRule::Leads(problem) => {
            let part = if problem.text.contains("a part of") { "part " } else { "" };
            format!("{part}{} {}", problem.kind.name(), problem.subject)
        }
        SelectiveRule::May(_) => "may".to_owned(),
    };
    suspicions.into_iter().map(text).collect()
}

#[test]
fn a_policy_that_discards_a_directors_packets_is_named() {
    let (vip, real, all) = ("10.1.0.10/32", "10.2.0.2/32", "0.0.0.0/0");
    let first = IpsecPolicy { priority: 0, ..policy(Forward, all, all, Allow) };
    let later = |one: IpsecPolicy| IpsecPolicy { priority: 5, ..one };
    let rows: Vec<(Vec<IpsecPolicy>, &[&str])> = vec![
        (vec![], &[]),
        (
            vec![policy(Forward, all, vip, Block)],
            &["capture 10.1.0.10 ipsec dir fwd src 0.0.0.0/0 dst 10.1.0.10/32"],
        ),
        (
            vec![policy(Out, all, "10.1.0.0/24", Block)],
            &["capture 10.1.0.10 ipsec dir out src 0.0.0.0/0 dst 10.1.0.0/24"],
        ),
        (
            vec![policy(Out, all, real, Block)],
            &["real_server 10.2.0.2 ipsec dir out src 0.0.0.0/0 dst 10.2.0.2/32"],
        ),
        (
            vec![policy(Forward, "198.51.100.0/24", vip, Block)],
            &["part capture 10.1.0.10 ipsec dir fwd src 198.51.100.0/24 dst 10.1.0.10/32"],
        ),
        (
            vec![IpsecPolicy { partial: true, ..policy(Out, all, real, Block) }],
            &["part real_server 10.2.0.2 ipsec dir out src 0.0.0.0/0 dst 10.2.0.2/32"],
        ),
        // Another one comes first, and lets all pass.
        (vec![later(policy(Forward, all, vip, Block)), first], &[]),
        // Clients' packets have to be encrypted; tunnels may be.
        (vec![policy(Forward, all, vip, Transform)], &["may"]),
        (vec![policy(Out, all, real, Transform)], &[]),
        // For other packets.
        (vec![policy(In, all, vip, Block)], &[]),
        (vec![policy(Forward, all, "10.1.0.11/32", Block)], &[]),
        (vec![policy(Out, "10.9.0.1/32", real, Block)], &[]),
        (vec![policy(Forward, "::/0", "::/0", Block)], &[]),
    ];
    for (policies, expected) in rows {
        let facts = Facts { policies, ..facts() };
        let desired = desired_director();
        let plan = crate::host::director::plan_items(&desired, &facts).unwrap();
        assert_eq!(said(at_director(&desired, &plan, &facts)), expected, "{:?}", facts.policies);
    }
}

#[test]
fn a_policy_that_discards_a_real_servers_packets_is_named() {
    let desired = DesiredRealServer {
        vips: vec![ip("10.1.0.10")],
        directors: vec!["10.2.0.0/24".parse().unwrap()],
        ..desired_server()
    };
    let all = "0.0.0.0/0";
    let rows: [(IpsecPolicy, &[&str]); 6] = [
        (
            policy(In, "10.2.0.1/32", all, Block),
            &["part capture 10.2.0.0 ipsec dir in src 10.2.0.1/32 dst 0.0.0.0/0"],
        ),
        (
            policy(In, "10.0.0.0/8", "10.2.0.0/16", Block),
            &["part capture 10.2.0.0 ipsec dir in src 10.0.0.0/8 dst 10.2.0.0/16"],
        ),
        (
            policy(In, all, "10.1.0.10/32", Block),
            &["capture 10.1.0.10 ipsec dir in src 0.0.0.0/0 dst 10.1.0.10/32"],
        ),
        (
            policy(Out, "10.1.0.10/32", all, Block),
            &["vip 10.1.0.10 ipsec dir out src 10.1.0.10/32 dst 0.0.0.0/0"],
        ),
        (policy(Out, "10.1.0.11/32", all, Block), &[]),
        (policy(Forward, all, all, Block), &[]),
    ];
    for (one, expected) in rows {
        let facts = Facts { policies: vec![one], ..facts() };
        assert_eq!(said(at_realserver(&desired, &facts)), expected, "{:?}", facts.policies);
    }
}

/// The fast path would send them without encryption.
#[test]
fn no_interface_is_known_towards_real_servers_under_a_policy() {
    let (real, all) = ("10.2.0.2/32", "0.0.0.0/0");
    let later = |one: IpsecPolicy| IpsecPolicy { priority: 5, ..one };
    let part = |one: IpsecPolicy| IpsecPolicy { partial: true, ..one };
    let rows = [
        (vec![], true),
        (vec![policy(Out, all, real, Transform)], false),
        (vec![policy(Out, all, real, Block)], false),
        (vec![part(policy(Out, all, "10.0.0.0/8", Transform))], false),
        (vec![policy(Out, all, all, Allow), later(policy(Out, all, real, Transform))], true),
        (vec![part(policy(Out, all, all, Allow)), later(policy(Out, all, real, Block))], false),
        // For other packets.
        (vec![policy(In, all, real, Transform), policy(Forward, all, real, Block)], true),
        (vec![policy(Out, all, "10.2.0.3/32", Transform)], true),
        (vec![policy(Out, "10.9.0.1/32", real, Transform)], true),
    ];
    for (policies, expected) in rows {
        let facts = Facts { policies, ..facts() };
        let tunnel_routes = crate::host::director::tunnel_routes(&desired_director(), &facts);
        let known = tunnel_routes.interfaces.contains_key(&ip("10.2.0.2"));
        assert_eq!(known, expected, "{:?}", facts.policies);
    }
}

/// The fast path would take plain packets out of the tunnel.
#[test]
fn directors_under_a_policy_are_told_from_others() {
    let directors: Vec<IpNet> =
        ["10.2.0.0/24", "10.3.0.1/32"].map(|net| net.parse().unwrap()).to_vec();
    let all = "0.0.0.0/0";
    let rows = [
        (vec![], vec![0, 1]),
        (vec![policy(In, all, all, Transform)], vec![]),
        (vec![policy(In, "10.2.0.1/32", "10.5.0.1/32", Transform)], vec![1]),
        (vec![policy(In, "10.3.0.0/16", all, Block)], vec![0]),
        (vec![policy(In, all, all, Allow), policy(In, all, all, Transform)], vec![0, 1]),
        (vec![policy(In, all, "10.5.0.2/32", Transform)], vec![0, 1]),
        (vec![policy(Out, all, all, Transform), policy(Forward, all, all, Block)], vec![0, 1]),
    ];
    for (policies, expected) in rows {
        let plain = arrive_plain(&directors, &[ip("10.5.0.1")], &policies);
        let expected: Vec<IpNet> = expected.into_iter().map(|at: usize| directors[at]).collect();
        assert_eq!(plain, expected, "{policies:?}");
    }
}
