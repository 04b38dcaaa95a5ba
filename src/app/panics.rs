//! A panic of any thread ends the program: the thread writes the message, takes the steps that were
//! added, and aborts.

use std::panic;
use std::process;
use std::sync::{Mutex, PoisonError};

/// What a panicking thread does besides.
type Step = Box<dyn Fn() + Send>;

static STEPS: Mutex<Vec<Step>> = Mutex::new(Vec::new());

/// Whether a panic would end its thread alone. It does in a development build, whose crates are
/// shared with the tests; release builds abort.
const UNWINDS: bool = cfg!(all(panic = "unwind", not(test)));

/// Installs the hook. The hook that is there already writes the message.
pub(super) fn end_program() {
    let write = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        write(panic);
        for step in &*STEPS.lock().unwrap_or_else(PoisonError::into_inner) {
            step();
        }
        if UNWINDS {
            process::abort();
        }
    }));
}

/// Adds a step of the hook.
pub(super) fn add_step(step: impl Fn() + Send + 'static) {
    STEPS.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(step));
}
