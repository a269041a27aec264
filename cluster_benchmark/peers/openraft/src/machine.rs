//! The state machine of a node: it keeps no payload, only what the safety check needs.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::{Stream, TryStreamExt};
use openraft::EntryPayload;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};

use crate::safety::Applied;
use crate::types::{LogId, Membership, Types};

type SnapshotMeta = openraft::alias::SnapshotMetaOf<Types>;
type Snapshot = openraft::alias::SnapshotOf<Types, Box<State>>;

/// The state machine of one node. Copies are the same one.
#[derive(Clone)]
pub struct Replica(Arc<Mutex<Content>>);

struct Content {
    state: State,
    /// Batches of entries that were applied.
    batches: u64,
    snapshot: Option<(SnapshotMeta, State)>,
}

/// What a snapshot holds: all of the state.
#[derive(Clone)]
pub struct State {
    pub applied: Applied,
    last: Option<LogId>,
    membership: Membership,
}

impl Replica {
    /// For puts of that many clients with payloads of that many bytes.
    pub fn new(clients: usize, payload: usize) -> Self {
        let state = State { applied: Applied::new(clients, payload), last: None, membership: Membership::default() };
        Self(Arc::new(Mutex::new(Content { state, batches: 0, snapshot: None })))
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().expect("BUG: a panic while the state machine was held")
    }

    /// The index after the last applied entry.
    pub fn end(&self) -> u64 {
        self.content().state.last.map_or(0, |id| id.index + 1)
    }

    /// The batches and the puts that were applied.
    pub fn counts(&self) -> (u64, u64) {
        let content = self.content();
        (content.batches, content.state.applied.count)
    }

    /// What was applied.
    pub fn applied(&self) -> Applied {
        self.content().state.applied.clone()
    }
}

impl RaftStateMachine<Types> for Replica {
    type SnapshotData = Box<State>;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), io::Error> {
        let content = self.content();
        Ok((content.state.last, content.state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + Send,
    {
        self.content().batches += 1;
        while let Some((entry, responder)) = entries.try_next().await? {
            {
                let mut content = self.content();
                content.state.last = Some(entry.log_id);
                match entry.payload {
                    EntryPayload::Blank => {}
                    EntryPayload::Normal(put) => content.state.applied.apply(&entry.log_id, &put.0),
                    EntryPayload::Membership(members) => {
                        content.state.membership = Membership::new(Some(entry.log_id), members)
                    }
                }
            }
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Box<State>) -> Result<(), io::Error> {
        let mut content = self.content();
        content.state = (*snapshot).clone();
        content.snapshot = Some((meta.clone(), *snapshot));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let content = self.content();
        Ok(content.snapshot.as_ref().map(|(meta, state)| Snapshot { meta: meta.clone(), snapshot: Box::new(state.clone()) }))
    }
}

impl RaftSnapshotBuilder<Types> for Replica {
    type SnapshotData = Box<State>;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let mut content = self.content();
        let state = content.state.clone();
        let meta = SnapshotMeta { last_log_id: state.last, last_membership: state.membership.clone() };
        content.snapshot = Some((meta.clone(), state.clone()));
        Ok(Snapshot { meta, snapshot: Box::new(state) })
    }
}
