//! A log in memory.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard};

use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};

use crate::types::{Entry, LogId, Types, Vote};

/// The log of one node. Copies are the same log.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Content>>);

/// Invariant: entries follow each other without gaps, the first one after `purged`.
#[derive(Default)]
struct Content {
    vote: Option<Vote>,
    purged: Option<LogId>,
    entries: VecDeque<Entry>,
}

impl Content {
    /// The index of the first entry, or of the next one when there is none.
    fn first(&self) -> u64 {
        self.purged.map_or(0, |id| id.index + 1)
    }

    /// How many of the entries have an index below this.
    fn below(&self, index: u64) -> usize {
        (index.saturating_sub(self.first()) as usize).min(self.entries.len())
    }
}

impl Log {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().expect("BUG: a panic while the log was held")
    }

    /// The index after the last entry.
    pub fn end(&self) -> u64 {
        let content = self.content();
        content.first() + content.entries.len() as u64
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, io::Error> {
        let content = self.content();
        let from = match range.start_bound() {
            Bound::Included(&index) => content.below(index),
            Bound::Excluded(&index) => content.below(index + 1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(&index) => content.below(index + 1),
            Bound::Excluded(&index) => content.below(index),
            Bound::Unbounded => content.entries.len(),
        };
        Ok(content.entries.range(from..to.max(from)).cloned().collect())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.content().vote)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let content = self.content();
        let last = content.entries.back().map(|e| e.log_id());
        Ok(LogState { last_purged_log_id: content.purged, last_log_id: last.or(content.purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.content().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        self.content().entries.extend(entries);
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let mut content = self.content();
        let keep = content.below(last.map_or(0, |id| id.index + 1));
        content.entries.truncate(keep);
        Ok(())
    }

    async fn purge(&mut self, id: LogId) -> Result<(), io::Error> {
        let mut content = self.content();
        let drop = content.below(id.index + 1);
        content.entries.drain(..drop);
        content.purged = Some(id);
        Ok(())
    }
}
