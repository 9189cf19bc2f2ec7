//! The store as the event loop sees it.

use super::super::broker::{Broker, Change, Refusal};
use super::super::store::Store;

/// Keeps the changes of rounds. Its owner gives it a waker of the loop (`Prepared::waker`) to call when `completed`
/// has news.
pub trait Keep: Send {
    /// Queues the changes of a round. Rounds come in ascending order.
    fn append(&mut self, round: u64, changes: &[Change]);

    /// What became of rounds since the last call, in order, one at a time; an answer covers all rounds before it.
    fn completed(&mut self) -> Option<(u64, Result<(), Refusal>)>;

    /// A small step of housekeeping, between two rounds.
    fn tidy(&mut self, _broker: &Broker) {}

    /// The loop has ended.
    fn close(&mut self) {}
}

impl Keep for Store {
    fn append(&mut self, round: u64, changes: &[Change]) {
        Store::append(self, round, changes);
    }

    fn completed(&mut self) -> Option<(u64, Result<(), Refusal>)> {
        Store::completed(self)
    }

    fn tidy(&mut self, broker: &Broker) {
        self.clean(broker);
    }

    fn close(&mut self) {
        Store::close(self);
    }
}
