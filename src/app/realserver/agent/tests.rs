#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::*;

/// An agent at a free port, for these directors only, with 127.0.0.1 as virtual IP too.
struct Running {
    address: SocketAddr,
    agent_state: Arc<AgentState>,
    state: PathBuf,
}

fn with_agent<F: Future<Output = ()>>(
    name: &str,
    directors: &str,
    test: impl FnOnce(Running) -> F,
) {
    with_agent_at(Ipv4Addr::LOCALHOST.into(), name, directors, test);
}

fn with_agent_at<F: Future<Output = ()>>(
    address: IpAddr,
    name: &str,
    directors: &str,
    test: impl FnOnce(Running) -> F,
) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap().block_on(async {
        let state = std::env::temp_dir().join(format!("vstun-agent-{name}-{}", std::process::id()));
        let listen = SocketAddr::from((address, 0));
        let agent = config::AgentSettings { listen, state: Some(state.clone()), cgroup: None };
        let config = config::RealServer {
            vips: vec![Ipv4Addr::LOCALHOST.into()],
            directors: vec![directors.parse().unwrap()],
            agent: Some(agent),
            ..config::RealServer::default()
        };
        let agent_state = Arc::new(AgentState::default());
        let agent = Agent::open(Published::new(config).latest(), Arc::clone(&agent_state))
            .unwrap()
            .unwrap();
        let address = agent.listener.local_addr().unwrap();
        let running = tokio::spawn(agent.run());
        test(Running { address, agent_state, state: state.clone() }).await;
        running.abort();
        let _ = fs_remove(&state);
    });
}

fn fs_remove(path: &PathBuf) -> io::Result<()> {
    std::fs::remove_file(path)
}

async fn ask(address: SocketAddr, saying: &str) -> String {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(saying.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    answer
}

#[test]
fn a_silent_client_gets_words_and_a_greeting_gets_a_report() {
    with_agent("both", "127.0.0.1/32", |agent| async move {
        for saying in ["", "agent-send\n", "vstun"] {
            let words = ask(agent.address, saying).await;
            assert!(words.starts_with("ready up ") && words.ends_with("%\n"), "{saying}: {words}");
        }
        let answer = ask(agent.address, GREETING).await;
        let report: LoadReport = control::decode(answer.as_bytes()).unwrap();
        assert!(answer.ends_with('\n'), "{answer}");
        // The connection that asked is one of them.
        assert!(report.established.unwrap() > 0, "{answer}");
        assert!(report.established_to(|_, port| port == agent.address.port()).unwrap() > 0);
        assert_eq!(agent.agent_state.counts().asked, 4);
    });
}

#[test]
fn the_owner_takes_it_out_of_rotation_by_command_or_by_file() {
    with_agent("owner", "127.0.0.1/32", |agent| async move {
        let says = |expected: &'static str| async move {
            // A sample is reused for a while.
            tokio::time::sleep(FRESH).await;
            assert_eq!(ask(agent.address, "x").await, expected);
        };
        assert_eq!(agent.agent_state.set(Rotation::Drain), Rotation::Up);
        says("drain up\n").await;
        std::fs::write(&agent.state, "maint since Monday\n").unwrap();
        says("maint\n").await;
        agent.agent_state.set(Rotation::Up);
        says("maint\n").await;
        std::fs::write(&agent.state, "nonsense\n").unwrap();
        tokio::time::sleep(FRESH).await;
        assert!(ask(agent.address, "x").await.starts_with("ready up "));
    });
}

#[test]
fn clients_that_are_no_directors_get_no_answer() {
    with_agent("strangers", "192.0.2.0/24", |agent| async move {
        let mut client = TcpStream::connect(agent.address).await.unwrap();
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
        assert!(answer.is_empty());
        assert_eq!((agent.agent_state.counts().asked, agent.agent_state.counts().refused), (0, 1));
    });
}

#[test]
fn one_client_too_many_is_closed_and_clients_that_hang_time_out() {
    with_agent("slots", "127.0.0.1/32", |agent| async move {
        let mut hanging = Vec::new();
        for _ in 0..CLIENTS {
            hanging.push(TcpStream::connect(agent.address).await.unwrap());
        }
        while agent.agent_state.counts().asked < CLIENTS as u64 {
            tokio::task::yield_now().await;
        }
        let mut late = TcpStream::connect(agent.address).await.unwrap();
        assert_eq!(late.read(&mut [0; 8]).await.unwrap_or_default(), 0);
        assert_eq!(agent.agent_state.counts().busy, 1);
        tokio::time::sleep(LIMIT).await;
        while !ask(agent.address, "x").await.starts_with("ready") {}
    });
}

/// A director's IPv4 address is a mapped one there.
#[test]
fn an_agent_on_all_addresses_answers_directors_alone() {
    with_agent_at(Ipv6Addr::UNSPECIFIED.into(), "all", "127.0.0.1/32", |agent| async move {
        let port = agent.address.port();
        assert!(ask((Ipv4Addr::LOCALHOST, port).into(), "x").await.starts_with("ready"));
        let counts = || (agent.agent_state.counts().asked, agent.agent_state.counts().refused);
        assert_eq!(counts(), (1, 0));
        let mut stranger = TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.unwrap();
        assert_eq!(stranger.read(&mut [0; 8]).await.unwrap_or_default(), 0);
        assert_eq!(counts(), (1, 1));
    });
}

/// The owner's setting counts at once: it is no part of the sample.
#[test]
fn a_sample_is_reused_until_it_is_too_old() {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap().block_on(async {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let agent = config::AgentSettings { listen, state: None, cgroup: None };
        let running = Published::new(config::RealServer::default()).latest();
        let sampler = Sampler::new(running, agent);
        let sampled = Sampled { sampler, last: None, complaints: LogThrottle::default() };
        let answers = AgentAnswers { agent_state: Arc::default(), sampled: Mutex::new(sampled) };
        // No host has as many connections to no virtual IP.
        let marked = LoadReport { established: Some(u64::MAX), ..LoadReport::default() };
        let now = Instant::now();
        for (taken, reused) in [
            // A sample that was taken later than now is as fresh as can be.
            (now + Duration::from_secs(3_600), true),
            (now.checked_sub(FRESH).unwrap(), false),
        ] {
            answers.sampled.lock().await.last = Some((taken, marked.clone()));
            answers.agent_state.set(Rotation::Drain);
            let report = answers.report().await;
            assert_eq!(report.established == marked.established, reused, "{reused}");
            assert_eq!(report.state, Rotation::Drain);
            answers.agent_state.set(Rotation::Up);
            assert_eq!(answers.report().await.state, Rotation::Up);
        }
    });
}
