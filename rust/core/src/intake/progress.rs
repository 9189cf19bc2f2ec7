//! Rounds on their way: which are mapped, and which are durable.

use std::collections::VecDeque;

use crate::mqtt::broker::Refusal;

struct Round<R> {
    /// The broker's number.
    number: u64,
    /// Pieces that are not mapped yet.
    pieces: usize,
    /// What the others have become.
    ready: Vec<R>,
    /// Records that are not durable yet.
    records: usize,
    result: Result<(), Refusal>,
}

impl<R> Round<R> {
    fn is_over(&self) -> bool {
        self.pieces == 0 && self.records == 0
    }
}

/// A round that may be submitted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Whole<R> {
    pub own: u64,
    pub ready: Vec<R>,
}

/// Rounds in the order of their submission. They have numbers of our own here, from 1 on without gaps.
///
/// A round goes on when all of its pieces are mapped and those before it have gone on, and only as a whole: its
/// messages are acknowledged or refused together, so that nothing of a refused one may be kept. The publisher sends it
/// again.
pub(super) struct Progress<R> {
    /// Rounds that have been told.
    told: u64,
    rounds: VecDeque<Round<R>>,
    /// Of those, how many have gone on.
    gone: usize,
}

impl<R> Default for Progress<R> {
    fn default() -> Self {
        Self {
            told: 0,
            rounds: VecDeque::new(),
            gone: 0,
        }
    }
}

impl<R> Progress<R> {
    /// A round of so many pieces; our number of it.
    pub fn begin(&mut self, number: u64, pieces: usize) -> u64 {
        self.rounds.push_back(Round {
            number,
            pieces,
            ready: Vec::new(),
            records: 0,
            result: Ok(()),
        });
        self.told + self.rounds.len() as u64
    }

    fn round(&mut self, own: u64) -> Option<&mut Round<R>> {
        let at = own.checked_sub(self.told + 1)?;
        self.rounds.get_mut(at as usize)
    }

    /// A piece is mapped, or cannot be kept.
    pub fn mapped(&mut self, own: u64, result: Result<R, Refusal>) {
        if let Some(round) = self.round(own) {
            round.pieces = round.pieces.saturating_sub(1);
            match result {
                Ok(ready) => round.ready.push(ready),
                Err(refusal) => round.result = Err(refusal),
            }
        }
    }

    /// The next round that may be submitted; `records` tells how many records it has, which end one by one.
    pub fn next_whole(&mut self, records: impl Fn(&R) -> usize) -> Option<Whole<R>> {
        while let Some(round) = self.rounds.get_mut(self.gone)
            && round.pieces == 0
        {
            self.gone += 1;
            let ready = std::mem::take(&mut round.ready);
            if round.result.is_ok() {
                round.records = ready.iter().map(records).sum();
                let own = self.told + self.gone as u64;
                return Some(Whole { own, ready });
            }
        }
        None
    }

    /// A record has ended.
    pub fn end(&mut self, own: u64, result: Result<(), Refusal>) {
        if let Some(round) = self.round(own) {
            round.records = round.records.saturating_sub(1);
            if result.is_err() {
                round.result = result;
            }
        }
    }

    /// Whether `take` has news.
    pub fn has_news(&self) -> bool {
        self.rounds.front().is_some_and(Round::is_over)
    }

    /// The highest round up to which all have ended in the same way.
    pub fn take(&mut self) -> Option<(u64, Result<(), Refusal>)> {
        let result = self.rounds.front().filter(|round| round.is_over())?.result;
        let mut last = None;
        while let Some(round) = self.rounds.front()
            && round.is_over()
            && round.result == result
        {
            last = Some((round.number, result));
            self.rounds.pop_front();
            self.told += 1;
            self.gone = self.gone.saturating_sub(1);
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces are their numbers of records here.
    fn whole(progress: &mut Progress<usize>) -> Option<(u64, Vec<usize>)> {
        let next = progress.next_whole(|records| *records);
        next.map(|whole| (whole.own, whole.ready))
    }

    #[test]
    fn rounds_are_told_in_order_and_refusals_by_themselves() {
        let mut progress = Progress::default();
        let own: Vec<u64> = [10, 11, 15, 16].map(|n| progress.begin(n, 1)).to_vec();
        for at in [1, 2, 3] {
            let refused = at == 2;
            progress.mapped(own[at], if refused { Err(Refusal::Full) } else { Ok(0) });
        }
        assert_eq!((whole(&mut progress), progress.take()), (None, None));
        progress.mapped(own[0], Ok(2));
        assert_eq!(whole(&mut progress), Some((1, vec![2])));
        assert_eq!(whole(&mut progress), Some((2, vec![0])));
        assert_eq!(whole(&mut progress), Some((4, vec![0])));
        assert_eq!(whole(&mut progress), None);
        progress.end(own[0], Ok(()));
        assert!(!progress.has_news());
        progress.end(own[0], Ok(()));
        assert_eq!(progress.take(), Some((11, Ok(()))));
        assert_eq!(progress.take(), Some((15, Err(Refusal::Full))));
        assert_eq!(progress.take(), Some((16, Ok(()))));
        assert_eq!(progress.take(), None);
        assert_eq!(progress.begin(17, 1), 5);
    }

    #[test]
    fn a_round_goes_on_as_a_whole_or_not_at_all_and_behind_those_before_it() {
        let mut progress = Progress::default();
        let (first, second) = (progress.begin(1, 2), progress.begin(2, 2));
        for piece in [3, 4] {
            progress.mapped(second, Ok(piece));
        }
        progress.mapped(first, Ok(1));
        assert_eq!(whole(&mut progress), None);
        progress.mapped(first, Err(Refusal::Full));
        assert_eq!(whole(&mut progress), Some((second, vec![3, 4])));
        assert_eq!(progress.take(), Some((1, Err(Refusal::Full))));
        // What is told of a round does not change which one goes on next.
        let third = progress.begin(3, 1);
        progress.mapped(third, Ok(0));
        assert_eq!(whole(&mut progress), Some((third, vec![0])));
        assert_eq!(progress.take(), None);
        for _ in 0..7 {
            progress.end(second, Ok(()));
        }
        assert_eq!(progress.take(), Some((3, Ok(()))));
    }
}
