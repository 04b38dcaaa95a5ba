#![allow(clippy::unwrap_used)]

use mio::{Poll, Token};

use super::*;
use crate::balancer::{Balancer, Explanation, Limits, Millis};

const SERVICES: &str = "
[[service]]
name = \"web\"
listen = [\"192.0.2.10:80/tcp\", \"[2001:db8::10]:80/tcp\"]
scheduler = \"mh\"
real = [{ address = \"10.0.0.11\" }, { address = \"10.0.0.12\" }, { address = \"2001:db8:1::13\", weight = 2 }]
[[service]]
name = \"other\"
listen = [\"192.0.2.10:81/tcp\"]
scheduler = \"sh\"
real = [{ address = \"10.0.0.11\" }, { address = \"10.0.0.12\" }]
";

fn read(keys: &str, services: &str) -> config::Director {
    config::director(&format!("[director]\n{keys}{services}")).unwrap()
}

/// What runs, with a packet thread that has a balancer and no packets.
fn running(config: config::Director) -> Running {
    let poll = Poll::new().unwrap();
    let (line, inbox) = Line::new(&poll, Token(0)).unwrap();
    std::thread::spawn(move || {
        // The waker's other end lives as long as this.
        let _poll = poll;
        let limits = Limits { connections: 100, refusals_per_second: 1 };
        let mut balancer = Balancer::new(limits, Seed(3, 4));
        while let Ok(message) = inbox.recv() {
            let now = Millis(0);
            match message {
                Message::Apply { changes, answer } => {
                    let applied = changes.iter().try_for_each(|change| balancer.apply(now, change));
                    drop(answer.send(applied));
                }
                Message::Explain { flow, answer } => {
                    drop(answer.send(balancer.explain(now, &flow)));
                }
                other => panic!("nobody asks this here: {other:?}"),
            }
        }
    });
    let options = Options { config_path: PathBuf::new(), force: false };
    Running::new(config, options, line, Seed(5, 6), BTreeSet::new(), Sources::new())
}

/// Where 200 flows of each service go, those that are new and those that are adopted.
async fn placed(running: &Running) -> Vec<Explanation> {
    let mut all = Vec::new();
    for client in 0..200 {
        let flows = [
            format!("tcp 198.51.100.{client}:4000 192.0.2.10:80"),
            format!("tcp [2001:db8:c::{client}]:4000 [2001:db8::10]:80"),
            format!("tcp 198.51.100.{client}:4000 192.0.2.10:81"),
        ];
        for flow in flows {
            let flow = flow.parse().unwrap();
            all.push(running.line.ask(|answer| Message::Explain { flow, answer }).await.unwrap());
        }
    }
    all
}

/// The checksum of the table that the keeper has.
fn checksum(running: &Running) -> u64 {
    running.keeper.table("web").unwrap().checksum()
}

/// Starts with the one configuration, goes on the way to the other, up to its end or not, and back; nothing may be another
/// than before, and the way still leads there.
async fn there_and_back(old: &str, new: (&str, &str), to_the_end: bool) {
    let mut running = running(read(old, SERVICES));
    let services = running.config.services.iter().cloned().map(Change::AddService);
    let changes = running.settings().into_iter().chain(services).collect();
    running.apply(changes).await.unwrap();
    let before = (placed(&running).await, checksum(&running));
    let wanted = read(new.0, new.1);
    let changes = || config::diff(&running.config, &wanted).unwrap();
    let (mut some, all) = (changes(), changes());
    if to_the_end {
        running.lead_to(&wanted, some).await.unwrap();
        assert_ne!(placed(&running).await, before.0, "the new ones are in force");
        running.take_back(&wanted).await;
    } else {
        some.push(Change::RemoveService { service: "nobody".to_owned() });
        running.lead_to(&wanted, some).await.unwrap_err();
        running.take_back_some(&wanted).await;
    }
    assert_eq!(checksum(&running), before.1, "{new:?}");
    assert_eq!(placed(&running).await, before.0, "{new:?}");
    // Neither side remembers anything of it.
    running.lead_to(&wanted, all).await.unwrap();
    assert_ne!(placed(&running).await, before.0, "{new:?}");
}

/// The host may refuse what the balancer has taken, or the balancer refuse on the way: what runs is placed as it was, by
/// both the balancer and the keeper that makes its tables.
#[test]
fn the_way_back_leads_to_the_old_hash_seed_and_slots() {
    let fewer = SERVICES.replace("{ address = \"10.0.0.12\" }, ", "");
    let weights = SERVICES.replace("weight = 2", "weight = 5");
    let keys = "hash_seed = \"new and secret\"\nmaglev_slots = 1031\n";
    let wanted = [
        ("hash_seed = \"new and secret\"\n", SERVICES),
        ("maglev_slots = 1031\n", SERVICES),
        (keys, SERVICES),
        (keys, &fewer),
        (keys, &weights),
    ];
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
        for old in ["", "hash_seed = \"old and secret\"\nmaglev_slots = 2053\n"] {
            for new in wanted {
                for to_the_end in [true, false] {
                    there_and_back(old, new, to_the_end).await;
                }
            }
        }
    });
}
