//! A panic of any thread ends the program, not that thread alone. Programs that
//! are not built for tests cannot be made to panic.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

#[test]
fn a_panic_of_another_thread_aborts_each_program_with_its_message() {
    for program in [
        env!("CARGO_BIN_EXE_vstun"),
        env!("CARGO_BIN_EXE_vstun-director"),
        env!("CARGO_BIN_EXE_vstun-realserver"),
    ] {
        let mut started = Command::new(program);
        started.arg("--version").env("VSTUN_PANIC_AT_START", "1");
        let ended = started.output().unwrap();
        assert_eq!(ended.status.signal(), Some(libc::SIGABRT), "{program}: {ended:?}");
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(said.contains("at the start: on purpose"), "{program}: {said}");
    }
}
