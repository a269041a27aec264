//! Three nodes, or however many, in this process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::{Config, EmptyNode};
use tokio::time::{Instant, sleep};

use crate::log::Log;
use crate::machine::Replica;
use crate::network::Network;
use crate::request::Scenario;
use crate::types::Raft;

/// How the nodes are configured, for the result.
pub const CONFIGURATION: &str = "as its benchmarks/minimal: log in memory, messages are calls, several leaders per term, \
     append streams, 1024 entries per append, snapshots every 5000 entries; tokio with a worker per core for nodes, and as many for clients";

/// The time between two looks at something that gives no event.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// The nodes.
pub struct Cluster {
    rafts: Vec<Raft>,
    logs: Vec<Log>,
    pub replicas: Vec<Replica>,
}

fn config() -> Result<Arc<Config>, String> {
    let config = Config {
        election_timeout_min: 200,
        election_timeout_max: 2000,
        purge_batch_size: 1024,
        max_payload_entries: 1024,
        ..Default::default()
    };
    Ok(Arc::new(config.validate().map_err(|e| e.to_string())?))
}

impl Cluster {
    /// Starts the nodes and waits for their leader. It must be called on the nodes' runtime.
    pub async fn open(s: &Scenario, patience: Duration) -> Result<Self, String> {
        let config = config()?;
        let network = Network::default();
        let mut cluster = Self { rafts: Vec::new(), logs: Vec::new(), replicas: Vec::new() };
        for id in 1..=s.nodes as u64 {
            let (log, replica) = (Log::default(), Replica::new(s.clients, s.payload_bytes));
            let raft = Raft::new(id, config.clone(), network.clone(), log.clone(), replica.clone());
            cluster.rafts.push(raft.await.map_err(|e| format!("open node {id}: {e}"))?);
            cluster.logs.push(log);
            cluster.replicas.push(replica);
        }
        network.0.get_or_init(|| cluster.rafts.clone());
        let members: BTreeMap<_, _> = (1..=s.nodes as u64).map(|id| (id, EmptyNode::new())).collect();
        cluster.rafts[0].initialize(members).await.map_err(|e| format!("initialize the cluster: {e}"))?;
        let end = Instant::now() + patience;
        while cluster.leader().is_none() {
            if Instant::now() > end {
                return Err(format!("no node leads after {} s", patience.as_secs()));
            }
            sleep(LOOK_EVERY).await;
        }
        cluster.settle(end - Instant::now()).await?;
        Ok(cluster)
    }

    /// The node that leads.
    pub fn leader(&self) -> Option<Raft> {
        self.rafts.iter().find(|r| r.is_leader()).cloned()
    }

    /// The batches and the puts that the first node applied.
    pub fn counts(&self) -> (u64, u64) {
        self.replicas[0].counts()
    }

    /// Waits until every node has applied everything that any has in its log. The error says who is behind.
    pub async fn settle(&self, patience: Duration) -> Result<(), String> {
        let end = Instant::now() + patience;
        loop {
            let want = self.logs.iter().map(Log::end).max().unwrap_or(0);
            let behind = self.replicas.iter().position(|r| r.end() < want);
            let Some(behind) = behind else { return Ok(()) };
            if Instant::now() > end {
                return Err(format!("node {} has applied {} of {want} entries", behind + 1, self.replicas[behind].end()));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Ends all nodes. Who waits is answered.
    pub async fn close(&self) -> Result<(), String> {
        let mut problems = Vec::new();
        for (i, raft) in self.rafts.iter().enumerate() {
            if let Err(e) = raft.shutdown().await {
                problems.push(format!("node {}: {e}", i + 1));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }
}
