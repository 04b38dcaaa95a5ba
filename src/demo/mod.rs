//! `vstun demo`: the whole system on one machine, in private namespaces.
//!
//! 1. reports missing requirements of this machine and their remedies;
//! 2. runs itself again inside new namespaces, so that the host does not change and the kernel
//!    removes everything at the end;
//! 3. builds the network, starts web servers, real servers and the director;
//! 4. sends requests and large downloads over both address families, counting on the way;
//! 5. prints the results, or fails with the reason.

use anyhow::{Context as _, Result, ensure};

use cables::{DemoReal, FAMILIES, REALS};
use traffic::{Replies, RequestsByReal};

use crate::netns;

mod cables;
mod interrupt;
mod namespaces;
mod needs;
mod process;
mod programs;
mod traffic;

/// How many requests are sent over each address family.
const REQUESTS: usize = 500;

/// Runs the demonstration; with `keep` it then opens a shell among its namespaces.
///
/// # Errors
/// A missing requirement or a failed step; by then every process of the demonstration has
/// ended.
pub fn run(keep: bool) -> Result<()> {
    if namespaces::are_private() {
        perform(keep)
    } else {
        needs::check()?;
        namespaces::enter(keep)
    }
}

fn perform(keep: bool) -> Result<()> {
    interrupt::end_on_signals()?;
    namespaces::prepare()?;
    step("laying cables between a client, a director and three real servers");
    cables::lay()?;
    let mut programs = programs::DemoPrograms::default();
    step("starting three web servers and, in front of each, vstun-realserver");
    programs.start_real_servers()?;
    step("starting vstun-director, scheduler wrr, weights 1, 1 and 2");
    programs.start_director()?;
    show_traffic()?;
    if keep {
        open_shell()?;
    }
    step("stopping");
    programs.stop()
}

fn show_traffic() -> Result<()> {
    let mut served = Vec::new();
    for family in &FAMILIES {
        step(&format!("sending {REQUESTS} requests to http://{}/", family.host()));
        served.push(traffic::requests(family, REQUESTS)?);
    }
    let mut speeds = Vec::new();
    for family in &FAMILIES {
        let megabytes = traffic::DOWNLOAD_BYTES / 1_000_000;
        step(&format!("downloading {megabytes} MB over {}", family.name));
        speeds.push(traffic::download(family)?);
    }
    println!();
    for real in &REALS {
        let shares = shares(real, &served);
        println!("{}, tunnelled to over {}, served {shares}", real.name, real.tunnel().name);
    }
    for (family, speed) in FAMILIES.iter().zip(speeds) {
        let Replies { direct, through_director } = traffic::replies(family)?;
        let name = family.name;
        println!(
            "{name}: {direct} reply packets reached the client, {through_director} of them through \
             the director"
        );
        println!("{name}: download at {:.0} MB/s ({:.2} Gbit/s)", speed / 1e6, speed * 8.0 / 1e9);
        ensure!(direct > 0, "no {name} reply was counted on its way to the client");
        ensure!(through_director == 0, "{name} replies came through the director");
    }
    println!("\n{}", traffic::list()?);
    check_shares(&served)
}

/// How many requests over each family the real server served.
fn shares(real: &DemoReal, served: &[RequestsByReal]) -> String {
    let shares = FAMILIES.iter().zip(served).map(|(family, served)| {
        format!("{} requests over {}", served.get(real.name).unwrap_or(&0), family.name)
    });
    shares.collect::<Vec<_>>().join(" and ")
}

/// Requests are sent one after the other, so that wrr gives exact shares.
fn check_shares(served: &[RequestsByReal]) -> Result<()> {
    let weights: usize = REALS.iter().map(|real| real.weight).sum();
    for (family, served) in FAMILIES.iter().zip(served) {
        let name = family.name;
        let answered = served.values().sum::<usize>();
        ensure!(
            answered == REQUESTS,
            "{answered} of {REQUESTS} requests over {name} were answered"
        );
        for real in &REALS {
            let (share, due) = (served.get(real.name), REQUESTS * real.weight / weights);
            ensure!(share == Some(&due), "{} should serve {due} requests over {name}", real.name);
        }
    }
    Ok(())
}

fn open_shell() -> Result<()> {
    println!(
        "A shell in the client's namespace; `exit` ends the demonstration. Try:\n\
         \n    curl http://{v4}/                 one of the three answers\
         \n    curl 'http://{v6}/'         the same over IPv6\
         \n    vstun list                              the director's table\
         \n    vstun connections                       and its connections\
         \n    vstun stats; vstun drops                what became of the packets\
         \n    ip netns exec director ip -6 route      the VIP is routed to the TUN, and is no \
         local address\
         \n    ip netns exec real1 ip address          there both VIPs are, on the TUN\
         \n    ip netns exec real1 tcpdump -ni eth0    requests come tunnelled, replies leave as \
         they are\
         \n    ls {logs}                            logs and configuration\n",
        v4 = FAMILIES[0].host(),
        v6 = FAMILIES[1].host(),
        logs = namespaces::FOLDER,
    );
    // The shell's exit code is not the demonstration's.
    netns::at("client", "bash")
        .args(["--norc", "-i"])
        .env("PS1", "[vstun demo: client] \\w\\$ ")
        .env("PATH", namespaces::search_path()?)
        .env_remove(namespaces::MARK)
        .status()
        .context("cannot start bash")?;
    Ok(())
}

fn step(text: &str) {
    println!("==> {text}");
}
