//! What a sample makes of the kernel's sockets and of pressure files.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::app::latest::Published;

#[test]
fn a_pressure_file_reads_as_its_total_and_its_average() {
    let text = "some avg10=13.68 avg60=23.03 avg300=28.30 total=9213900065\n\
                full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
    let expected = Stalled { total: 9_213_900_065, average: 136 };
    assert_eq!(Stalled::parse(text), Some(expected));
    for bad in ["", "some", "some avg10=1 total=1", "full avg10=0.00 total=1"] {
        assert_eq!(Stalled::parse(bad), None, "{bad}");
    }
}

fn established(address: &str, port: u16) -> TcpSocket {
    TcpSocket::Established { address: address.parse().unwrap(), port }
}

fn listens(address: &str, port: u16, queued: u32) -> TcpSocket {
    TcpSocket::Listen { address: address.parse().unwrap(), port, queued, v6_only: false }
}

fn v6_only(port: u16, queued: u32) -> TcpSocket {
    TcpSocket::Listen { address: "::".parse().unwrap(), port, queued, v6_only: true }
}

const V4: &str = "192.0.2.10";
const V6: &str = "2001:db8::10";

fn connected(sockets: &[TcpSocket]) -> Connected {
    let vips = [V4, V6].map(|text| text.parse().unwrap());
    let mut tally = SocketTally::new(&vips);
    sockets.iter().for_each(|socket| tally.take(*socket));
    tally.connected()
}

/// `ADDRESS PORT ESTABLISHED QUEUED` of each entry.
fn shown(connected: &Connected) -> Vec<String> {
    let one = |one: &ListenQueue| {
        format!("{} {} {} {}", one.address, one.port, one.established, one.queued)
    };
    connected.listening.iter().map(one).collect()
}

#[test]
fn connections_and_queues_are_those_of_the_virtual_ips_by_port() {
    let found = connected(&[
        established(V4, 80),
        established(V4, 80),
        established(V4, 443),
        established(V6, 443),
        established("10.0.0.11", 80),
        listens(V4, 80, 1),
        listens(V4, 443, 2),
        // As many processes have each their own.
        listens(V4, 443, 3),
        listens("10.0.0.11", 80, 7),
        listens(V6, 8080, 0),
    ]);
    assert_eq!((found.established, found.queued), (4, 6));
    let expected = [
        "192.0.2.10 80 2 1",
        "192.0.2.10 443 1 5",
        "2001:db8::10 443 1 0",
        "2001:db8::10 8080 0 0",
    ];
    assert_eq!(shown(&found), expected);
}

#[test]
fn the_queue_of_a_listener_on_all_addresses_is_that_of_each_address_that_it_serves() {
    let (one, other) = (established(V4, 80), established(V6, 80));
    for (what, listeners, v4, v6, queued) in [
        ("IPv4", vec![listens("0.0.0.0", 80, 3)], 3, 0, 3),
        ("both families", vec![listens("::", 80, 3)], 3, 3, 3),
        ("IPv6 alone", vec![v6_only(80, 3)], 0, 3, 3),
        // As nginx listens.
        ("one for each family", vec![listens("0.0.0.0", 80, 3), v6_only(80, 4)], 3, 4, 7),
        ("another port", vec![listens("::", 81, 3)], 0, 0, 0),
        // The kernel gives connections to the listener that has their address.
        ("one has its own", vec![listens("::", 80, 3), listens(V4, 80, 1)], 1, 3, 4),
        ("with an empty queue", vec![listens("::", 80, 3), listens(V4, 80, 0)], 0, 3, 3),
    ] {
        let found = connected(&[vec![one, other], listeners].concat());
        let expected = [format!("{V4} 80 1 {v4}"), format!("{V6} 80 1 {v6}")];
        assert_eq!((shown(&found), found.queued), (expected.to_vec(), queued), "{what}");
    }
}

#[test]
fn a_report_names_the_ports_with_the_most_connections_up_to_its_bound() {
    let most = u16::try_from(MAX_LISTENING).unwrap();
    for (ports, listed) in [(most, most), (most + 1, most)] {
        let busy = (1..=ports).flat_map(|port| vec![established(V4, port); port.into()]);
        let found = connected(&busy.collect::<Vec<_>>());
        assert_eq!(found.listening.len(), usize::from(listed));
        let first = found.listening.first().map(|one| (one.port, one.established));
        assert_eq!(first, Some((ports, ports.into())));
        let last = found.listening.last().map(|one| one.port);
        assert_eq!(last, Some(ports - listed + 1), "those with the fewest are left out");
        assert_eq!(found.established, u64::from(ports) * u64::from(ports + 1) / 2, "all count");
    }
}

/// A sampler with pressure files of its own.
struct PressureFiles {
    sampler: Sampler,
    folder: PathBuf,
}

impl PressureFiles {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("vstun-psi-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let agent = config::AgentSettings { listen, state: None, cgroup: Some(folder.clone()) };
        let running = Published::new(config::RealServer::default()).latest();
        Self { sampler: Sampler::new(running, agent), folder }
    }

    /// Averages of 10 % for the CPU, 20 % for memory, 30 % for IO, and these totals.
    fn write(&self, totals: [u64; 3]) {
        for ((what, average), total) in [("cpu", 10), ("memory", 20), ("io", 30)].iter().zip(totals)
        {
            let text = format!("some avg10={average}.00 avg60=0.00 avg300=0.00 total={total}\n");
            fs::write(self.folder.join(format!("{what}.pressure")), text).unwrap();
        }
    }
}

impl Drop for PressureFiles {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

const AVERAGE: Pressure = Pressure { cpu: 100, memory: 200, io: 300 };

#[test]
fn pressure_is_that_since_a_look_between_half_a_second_and_five_seconds_ago() {
    let began = Instant::now();
    for (apart, expected) in [
        (WINDOW - Duration::from_millis(1), AVERAGE),
        (WINDOW, Pressure { cpu: 200, memory: 400, io: 1_000 }),
        (OLD - Duration::from_millis(1), Pressure { cpu: 20, memory: 40, io: 200 }),
        (OLD, AVERAGE),
    ] {
        let mut files = PressureFiles::new("window");
        files.write([5_000_000; 3]);
        assert_eq!(files.sampler.pressure(began), Some(AVERAGE), "without a look before");
        // In microseconds; more than all of the time is all of it.
        files.write([5_100_000, 5_200_000, 6_000_000]);
        assert_eq!(files.sampler.pressure(began + apart), Some(expected), "{apart:?}");
    }
}

/// Several clients ask for a sample each time that one is too old to be reused.
#[test]
fn the_newest_look_that_is_old_enough_counts_and_few_are_kept() {
    let (began, mut files) = (Instant::now(), PressureFiles::new("looks"));
    for turn in 0..20_u32 {
        let passed = super::super::FRESH * turn;
        // All of the time until a second ago, and none since.
        let stalled = passed.min(Duration::from_secs(1));
        files.write([u64::try_from(stalled.as_micros()).unwrap(); 3]);
        let pressure = files.sampler.pressure(began + passed).unwrap();
        let expected = match turn {
            // No look is old enough.
            0..3 => AVERAGE,
            // Each look is 600 ms old: the third before.
            3..=5 => Pressure { cpu: 1_000, memory: 1_000, io: 1_000 },
            6 => Pressure { cpu: 666, memory: 666, io: 666 },
            7 => Pressure { cpu: 333, memory: 333, io: 333 },
            _ => Pressure::default(),
        };
        assert_eq!(pressure, expected, "{turn}");
        assert!(files.sampler.looks.len() <= LOOKS);
    }
}

#[test]
fn a_kernel_without_pressure_stall_information_reports_none() {
    let mut files = PressureFiles::new("absent");
    assert_eq!(files.sampler.pressure(Instant::now()), None);
    files.write([0; 3]);
    assert_eq!(files.sampler.pressure(Instant::now()), Some(AVERAGE));
    // IO can be missing alone, and then the rest says too little.
    fs::remove_file(files.folder.join("io.pressure")).unwrap();
    assert_eq!(files.sampler.pressure(Instant::now()), None);
}
