//! A panic of any thread ends the program. The panicking thread writes the message, takes the last
//! step if there is one, and aborts.

use std::panic;
use std::process;
use std::sync::OnceLock;

use super::log_lines;

/// What the hook does between the message and the end of the program.
type Step = Box<dyn Fn() + Send + Sync>;

static LAST_STEP: OnceLock<Step> = OnceLock::new();

/// Whether the hook has to abort. Release builds abort after it. In a unit test a panic fails its
/// test alone.
const HOOK_ABORTS: bool = cfg!(all(panic = "unwind", not(test)));

/// Installs the hook. It comes before everything else that a program does.
pub(super) fn install_hook() {
    let write = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !log_lines::write_panic(panic) {
            write(panic);
        }
        if let Some(step) = LAST_STEP.get() {
            step();
        }
        if HOOK_ABORTS {
            process::abort();
        }
    }));
    #[cfg(debug_assertions)]
    panic_on_purpose();
}

/// Sets the last step. The hook takes the first that was set.
pub(super) fn set_last_step(step: impl Fn() + Send + Sync + 'static) {
    let _ = LAST_STEP.set(Box::new(step));
}

/// A thread of a program that is built for tests panics at the start if this variable is set.
#[cfg(debug_assertions)]
fn panic_on_purpose() {
    if std::env::var_os("VSTUN_PANIC_AT_START").is_some() {
        let _ = std::thread::spawn(|| panic!("at the start: on purpose")).join();
    }
}
