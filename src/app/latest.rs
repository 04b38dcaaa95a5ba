//! Values that one task replaces and others read: the configuration in force, the host's status.
//!
//! A reader that holds the lock of such a value and takes it again waits for ever if the writer
//! waits between the two: the lock lets no reader in before the writer. So the lock never leaves
//! this file. Readers get a copy, or what a function without captures makes of the value: such a
//! function has no lock to take. `tests/layering.rs` keeps these locks out of other files.

use tokio::sync::watch;

/// The writer's end.
#[derive(Debug)]
pub(super) struct Published<T>(watch::Sender<T>);

/// A reader's end.
#[derive(Debug)]
pub struct Latest<T>(watch::Receiver<T>);

impl<T> Clone for Published<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Clone for Latest<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Default> Default for Published<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Published<T> {
    pub(super) fn new(value: T) -> Self {
        Self(watch::Sender::new(value))
    }

    /// A reader's end of it.
    pub(super) fn latest(&self) -> Latest<T> {
        Latest(self.0.subscribe())
    }

    /// Replaces the value, and returns the former one.
    pub(super) fn replace(&self, value: T) -> T {
        self.0.send_replace(value)
    }

    /// A copy of the value.
    pub(super) fn get(&self) -> T
    where
        T: Clone,
    {
        self.0.borrow().clone()
    }

    /// A part of the value.
    pub(super) fn part<R>(&self, part: fn(&T) -> R) -> R {
        part(&self.0.borrow())
    }
}

impl<T> Latest<T> {
    /// A copy of the value.
    pub fn get(&self) -> T
    where
        T: Clone,
    {
        self.0.borrow().clone()
    }

    /// A part of the value.
    pub fn part<R>(&self, part: fn(&T) -> R) -> R {
        part(&self.0.borrow())
    }

    /// Waits until the value is like that, or will not be replaced any more.
    pub(super) async fn until(&mut self, like_that: fn(&T) -> bool) {
        // The result has the lock.
        drop(self.0.wait_for(like_that).await);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_reader_that_reads_twice_does_not_wait_for_a_writer_in_between() {
        let published = Published::new(vec![1]);
        let latest = published.latest();
        let writer = thread::spawn(move || {
            for number in 0..20_000 {
                published.replace(vec![number]);
            }
        });
        let mut last = Vec::new();
        while !writer.is_finished() {
            // As a statement that builds one answer from both.
            let both = (latest.get(), latest.part(Vec::len), latest.get());
            assert_eq!(both.1, 1);
            last = both.2;
        }
        writer.join().expect("the writer ends");
        assert!(latest.get() >= last);
    }
}
