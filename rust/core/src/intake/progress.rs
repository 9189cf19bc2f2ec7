//! Which rounds are durable.

use std::collections::VecDeque;

use crate::mqtt::broker::Refusal;

struct Round {
    /// The broker's number.
    number: u64,
    /// Pieces that are not mapped yet, and records that are not durable yet.
    open: usize,
    result: Result<(), Refusal>,
}

/// Rounds in the order of their submission. They have numbers of our own here, from 1 on without gaps.
#[derive(Default)]
pub(super) struct Progress {
    /// Rounds that have been told.
    told: u64,
    rounds: VecDeque<Round>,
}

impl Progress {
    /// A round of so many pieces; our number of it.
    pub fn begin(&mut self, number: u64, pieces: usize) -> u64 {
        self.rounds.push_back(Round {
            number,
            open: pieces,
            result: Ok(()),
        });
        self.told + self.rounds.len() as u64
    }

    fn round(&mut self, own: u64) -> Option<&mut Round> {
        let at = own.checked_sub(self.told + 1)?;
        self.rounds.get_mut(at as usize)
    }

    /// A piece has become so many records, which end one by one.
    pub fn mapped(&mut self, own: u64, records: usize) {
        if let Some(round) = self.round(own) {
            round.open += records;
        }
    }

    /// A piece or a record has ended.
    pub fn end(&mut self, own: u64, result: Result<(), Refusal>) {
        if let Some(round) = self.round(own) {
            round.open = round.open.saturating_sub(1);
            if result.is_err() {
                round.result = result;
            }
        }
    }

    /// Whether `take` has news.
    pub fn has_news(&self) -> bool {
        self.rounds.front().is_some_and(|round| round.open == 0)
    }

    /// The highest round up to which all have ended in the same way.
    pub fn take(&mut self) -> Option<(u64, Result<(), Refusal>)> {
        let result = self.rounds.front().filter(|round| round.open == 0)?.result;
        let mut last = None;
        while let Some(round) = self.rounds.front()
            && round.open == 0
            && round.result == result
        {
            last = Some((round.number, result));
            self.rounds.pop_front();
            self.told += 1;
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_told_in_order_and_refusals_by_themselves() {
        let mut progress = Progress::default();
        let own: Vec<u64> = [10, 11, 15, 16].map(|n| progress.begin(n, 1)).to_vec();
        progress.mapped(own[0], 2);
        for at in [1, 2, 3] {
            let result = if at == 2 { Err(Refusal::Full) } else { Ok(()) };
            progress.end(own[at], result);
        }
        assert_eq!(progress.take(), None);
        for _ in 0..2 {
            progress.end(own[0], Ok(()));
            assert!(!progress.has_news());
        }
        progress.end(own[0], Ok(()));
        assert_eq!(progress.take(), Some((11, Ok(()))));
        assert_eq!(progress.take(), Some((15, Err(Refusal::Full))));
        assert_eq!(progress.take(), Some((16, Ok(()))));
        assert_eq!(progress.take(), None);
        assert_eq!(progress.begin(17, 1), 5);
    }
}
