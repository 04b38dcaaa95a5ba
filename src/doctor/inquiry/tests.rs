#![allow(clippy::unwrap_used)]

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn ports() -> impl Strategy<Value = Ports> {
    (any::<u8>(), any::<u16>(), any::<u16>()).prop_map(|(protocol, first, last)| Ports {
        protocol,
        first,
        last,
    })
}

proptest! {
    #[test]
    fn an_inquiry_reads_back(
        nonce: u64, ports in vec(ports(), 0..=MAX_PORTS), len in MIN_LEN..2_000_usize,
    ) {
        let question = Question { nonce, ports, len };
        let bytes = question.encode();
        prop_assert_eq!(bytes.len(), len);
        prop_assert_eq!(Question::parse(&bytes), Ok(question));
    }

    #[test]
    fn an_answer_is_never_longer_than_its_inquiry_and_loses_only_text(
        listening in vec(any::<u8>().prop_map(ListenerKinds), 0..=MAX_PORTS),
        program in ".{0,60}", text in ".{0,900}", tun in "[a-z0-9_.-]{0,15}",
        len in MIN_LEN..1_500_usize,
        (nonce, time, state, mss) in any::<(u64, u64, u16, u16)>(),
    ) {
        let state = EndState(state);
        let answer = InquiryAnswer { nonce, time, state, mss, listening, program, text, tun };
        let bytes = answer.encode(len);
        prop_assert!(bytes.len() <= len, "{} of {len}", bytes.len());
        let read = InquiryAnswer::parse(&bytes).unwrap();
        prop_assert_eq!(read.listening, answer.listening);
        prop_assert_eq!(read.tun, answer.tun);
        prop_assert_eq!((read.nonce, read.time, read.state, read.mss), (nonce, time, state, mss));
    }

    #[test]
    fn other_bytes_are_refused_without_panic(
        mut bytes in vec(any::<u8>(), 0..700), kind in 0..3_u8,
    ) {
        let _ = (Question::parse(&bytes), InquiryAnswer::parse(&bytes));
        for (index, byte) in MAGIC.into_iter().chain([VERSION, kind, 0]).enumerate() {
            if let Some(there) = bytes.get_mut(index) {
                *there = byte;
            }
        }
        let _ = (Question::parse(&bytes), InquiryAnswer::parse(&bytes));
    }
}

#[test]
fn bounds_hold_at_the_bound_and_one_past_it() {
    let port = Ports { protocol: 6, first: 1, last: 1 };
    let question = |ports, len| Question { nonce: 1, ports: vec![port; ports], len }.encode();
    let shortest = question(MAX_PORTS, MIN_LEN);
    assert_eq!(Question::parse(&shortest).unwrap().ports.len(), MAX_PORTS);
    assert_eq!(Question::parse(&shortest[..MIN_LEN - 1]), Err(InquiryError::Malformed));
    assert_eq!(question(MAX_PORTS + 1, MIN_LEN), shortest, "a port too many is left out");
    let mut many = shortest;
    many[7] = u8::try_from(MAX_PORTS).unwrap() + 1;
    assert_eq!(Question::parse(&many), Err(InquiryError::Malformed));
}

#[test]
fn another_version_is_named() {
    let mut bytes = Question { nonce: 1, ports: Vec::new(), len: 0 }.encode();
    bytes[4] = VERSION + 1;
    assert_eq!(Question::parse(&bytes), Err(InquiryError::Version(VERSION + 1)));
    bytes[0] = b'x';
    assert_eq!(Question::parse(&bytes), Err(InquiryError::Foreign));
}

#[test]
fn the_other_hosts_text_has_no_control_characters() {
    let answer = InquiryAnswer { text: "\x1b[2Jgone".to_owned(), ..InquiryAnswer::default() };
    assert_eq!(InquiryAnswer::parse(&answer.encode(MIN_LEN)).unwrap().text, " [2Jgone");
}

/// It is a part of commands that are printed for a shell.
#[test]
fn an_interface_s_name_that_a_shell_would_interpret_is_left_out() {
    for (name, expected) in
        [("lvs.7", "lvs.7"), ("fifteen-bytes-1", "fifteen-bytes-1"), ("$(reboot)", ""), ("a b", "")]
    {
        let answer = InquiryAnswer { tun: name.to_owned(), ..InquiryAnswer::default() };
        assert_eq!(InquiryAnswer::parse(&answer.encode(MIN_LEN)).unwrap().tun, expected);
    }
    let mut older = InquiryAnswer::default().encode(MIN_LEN);
    older.pop();
    assert_eq!(InquiryAnswer::parse(&older).unwrap().tun, "", "a program that does not say it");
}
