//! `vstun demo`: the whole system on one machine, in private namespaces.
//!
//! 1. says what is missing on this machine, and what to do;
//! 2. runs itself again inside new namespaces, so that nothing on the host changes and everything goes with it;
//! 3. lays the cables, starts web servers, real servers and the director;
//! 4. sends requests and a large download, counting on the way;
//! 5. prints what it saw, or fails with the reason.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

mod cables;
mod cast;
mod namespaces;
mod needs;
mod process;
mod traffic;

/// How many requests are sent.
const REQUESTS: usize = 1_000;

/// Runs the demonstration; with `keep` it then opens a shell among its namespaces.
///
/// # Errors
/// What is missing on this machine, or what went wrong; by then every process of the demonstration has ended.
pub(super) fn run(keep: bool) -> Result<()> {
    if namespaces::are_private() {
        perform(keep)
    } else {
        needs::check()?;
        namespaces::enter(keep)
    }
}

fn perform(keep: bool) -> Result<()> {
    namespaces::prepare()?;
    step("laying cables between a client, a director and three real servers");
    cables::lay()?;
    let mut cast = cast::Cast::default();
    step("starting three web servers and, in front of each, vstun-realserver");
    cast.start_real_servers()?;
    step("starting vstun-director, scheduler wrr, weights 1, 1 and 2");
    cast.start_director()?;
    show_traffic()?;
    if keep {
        open_shell()?;
    }
    step("stopping");
    cast.stop()
}

fn show_traffic() -> Result<()> {
    step(&format!("sending {REQUESTS} requests to http://{}/", cables::VIP));
    let served = traffic::requests(REQUESTS)?;
    step(&format!("downloading {} MB", traffic::DOWNLOAD_BYTES / 1_000_000));
    let speed = traffic::download()?;
    let replies = traffic::replies()?;
    println!();
    for (name, count) in &served {
        println!("{name} served {count} requests");
    }
    println!(
        "{} reply packets reached the client, {} of them through the director",
        replies.direct, replies.through_director
    );
    println!("download: {:.0} MB/s ({:.2} Gbit/s)", speed / 1e6, speed * 8.0 / 1e9);
    println!("\n{}", traffic::list()?);
    ensure!(served.values().sum::<usize>() == REQUESTS, "not every request was answered");
    ensure!(served.len() == cables::REALS.len(), "not every real server was used");
    ensure!(replies.direct > 0, "no reply was counted on its way to the client");
    ensure!(replies.through_director == 0, "replies came through the director");
    Ok(())
}

fn open_shell() -> Result<()> {
    println!(
        "A shell in the client's namespace; `exit` ends the demonstration. Try:\n\
         \n    curl http://{vip}/                      one of the three answers\
         \n    vstun list                              the director's table\
         \n    vstun connections                       and its connections\
         \n    vstun stats; vstun drops                what became of the packets\
         \n    ip netns exec director ip route         the VIP is routed to the TUN, and is no local address\
         \n    ip netns exec real1 ip address          there it is one, on the TUN\
         \n    ip netns exec real1 tcpdump -ni eth0    requests come tunnelled, replies leave as they are\
         \n    ls {logs}                         logs and configuration\n",
        vip = cables::VIP,
        logs = namespaces::FOLDER,
    );
    // The shell's own exit code says nothing about the demonstration.
    cables::at("client", "bash")
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

/// Runs the command to its end and returns what it printed; its complaints become the error.
fn output(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}").replace('"', "");
    let output = command.output().with_context(|| format!("cannot run {shown}"))?;
    ensure!(
        output.status.success(),
        "{shown} failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
