//! IPsec policies that discard packets.

use super::*;
use crate::host::PolicyDirection::{Forward, In, Out};
use crate::host::ipsec::{at_director, at_realserver};
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
