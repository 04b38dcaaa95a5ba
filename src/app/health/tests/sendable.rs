//! What the configuration accepts can be sent: a probe that fails for its own text would take down
//! every real server.

use std::str::FromStr;

use hickory_proto::rr::Name;
use tokio_rustls::rustls::pki_types::ServerName;

use super::*;
use crate::config;
use crate::health::spec::name_of_host;

/// The check with these keys, if the configuration accepts it.
fn accepted(kind: &str, key: &str, text: &str) -> Option<Probe> {
    // A literal string of TOML, which has no escapes.
    let text = format!(
        "[director]\n[[service]]\nname = \"a\"\nlisten = [\"192.0.2.1:80/tcp\"]\n\
         [[service.check]]\ntype = \"{kind}\"\nport = 80\n{key} = '{text}'\n"
    );
    Some(config::director(&text).ok()?.services[0].health.checks[0].probe.clone())
}

/// Every printable character, in these places.
fn texts(places: &[&str]) -> Vec<String> {
    let characters = (b'!'..=b'~').map(char::from).filter(|one| *one != '\'');
    characters
        .flat_map(|one| places.iter().map(move |place| place.replace('%', &one.to_string())))
        .collect()
}

#[test]
fn a_request_has_every_path_and_host_that_is_accepted() {
    let mut count = 0;
    for path in texts(&["/%", "/?%", "/a%b?c%d"]) {
        let Some(Probe::Http(http)) = accepted("http", "path", &path) else { continue };
        count += 1;
        for uri in [http.path.clone(), format!("http://www.example{}", http.path)] {
            let parsed = hyper::Uri::from_str(&uri);
            assert!(parsed.is_ok_and(|parsed| parsed.to_string().ends_with(&http.path)), "{uri}");
        }
    }
    assert!(count > 200, "{count}");
    let more = ["[2001:db8::80]", "[2001:db8::80]:8443", "192.0.2.80", "www.example:8443", "a.0b."];
    let hosts = texts(&["%", "%a", "a%", "a%b", "a.%", "%.a", "1.2.3.%"]);
    for host in hosts.into_iter().chain(more.map(str::to_owned)) {
        let Some(Probe::Http(_)) = accepted("https", "host", &host) else {
            assert!(!more.contains(&host.as_str()), "{host}");
            continue;
        };
        assert!(hyper::Uri::from_str(&format!("https://{host}/")).is_ok(), "{host}");
        assert!(ServerName::try_from(name_of_host(&host)).is_ok(), "{host}");
    }
}

#[test]
fn a_certificate_may_have_every_server_name_that_is_accepted() {
    for name in texts(&["%", "%a", "a%", "a%b", "a.%", "%.a", "1.2.3.%", "2001:db8::%"]) {
        if accepted("tls", "sni", &name).is_some() {
            assert!(ServerName::try_from(name.as_str()).is_ok(), "{name}");
        }
    }
}

#[test]
fn a_question_of_dns_has_every_name_that_is_accepted() {
    let mut count = 0;
    for name in texts(&["%", "%a", "a%", "a%b.example", "a.%", "a\\%"]) {
        let key = format!("record = \"TXT\"\nquery = '{name}'\nexpect_answer");
        if accepted("dns", &key, "any").is_some() {
            count += 1;
            assert!(Name::from_str(&name).is_ok(), "{name}");
        }
    }
    assert!(count > 200, "{count}");
}

#[test]
fn a_question_of_grpc_has_a_service_of_any_length() {
    for len in [1, 127, 128, 253] {
        let name = "x".repeat(len);
        let Some(Probe::Grpc(grpc)) = accepted("grpc", "grpc_service", &name) else {
            panic!("{len}")
        };
        assert_eq!(grpc.service, name);
        let question = probe::grpc::question(&name).unwrap();
        // The flag and four bytes of length, then field 1: its tag, its length, its bytes.
        let mut message = &question[5..];
        let prefix = [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes()].concat();
        assert_eq!(question[..5], prefix, "{len}");
        assert_eq!(message[0], 0x0a);
        let (mut value, mut shift) = (0, 0);
        loop {
            message = &message[1..];
            value |= usize::from(message[0] & 0x7f) << shift;
            shift += 7;
            if message[0] < 0x80 {
                break;
            }
        }
        assert_eq!((value, message.len() - 1), (len, len));
    }
}
