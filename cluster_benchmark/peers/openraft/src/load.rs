//! The clients: closed loops, each a task that puts and waits, as the suite's clients are.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt, TryFutureExt};

use crate::cluster::Cluster;
use crate::recorder::{Recorder, Sample, interval};
use crate::request::Request;
use crate::safety::{Book, mix};
use crate::types::{LogId, Put, Raft};

/// How many calls a client measures between two visits to the recorder.
const SAMPLES_MAX: usize = 32;

/// How long a client waits after a failed put before it asks where to put the next one.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// Load being made. Times are nanoseconds since `base`.
pub struct Run {
    base: Instant,
    pub warm_end: u64,
    end: AtomicU64,
    interval: u64,
    /// Puts answered since the start.
    answered: AtomicU64,
    pub recorder: Mutex<Recorder>,
}

impl Run {
    pub fn new(q: &Request) -> Self {
        let warm_end = q.warmup().as_nanos() as u64;
        Self {
            base: Instant::now(),
            warm_end,
            end: AtomicU64::new(warm_end + q.duration().as_nanos() as u64),
            interval: interval(q.duration()).as_nanos() as u64,
            answered: AtomicU64::new(0),
            recorder: Mutex::new(Recorder::new(q.interval_histograms)),
        }
    }

    pub fn now(&self) -> u64 {
        self.base.elapsed().as_nanos() as u64
    }

    /// When the measured time ends.
    pub fn end(&self) -> u64 {
        self.end.load(Relaxed)
    }

    /// The same on the system's clock.
    pub fn instant(&self, at: u64) -> Instant {
        self.base + Duration::from_nanos(at)
    }

    pub fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }

    /// Ends the measured time now, if it is not over.
    pub fn stop(&self) {
        self.end.fetch_min(self.now(), Relaxed);
    }

    /// The measured time in nanoseconds, and the ends of its intervals in seconds.
    pub fn measured(&self) -> (u64, Vec<f64>) {
        let measured = self.end().saturating_sub(self.warm_end);
        let count = measured.div_ceil(self.interval);
        (measured, (1..=count).map(|i| (i * self.interval).min(measured) as f64 / 1e9).collect())
    }
}

/// One client.
///
/// Owner: its task, until it has ended.
pub struct Client {
    run: Arc<Run>,
    cluster: Arc<Cluster>,
    payload: Vec<u8>,
    pub book: Book,
    pub ops: u64,
    pub errors: u64,
    pub first_error: Option<String>,
    samples: Vec<Sample>,
    /// In which the samples were answered; none beyond the measured time.
    interval: Option<usize>,
}

impl Client {
    pub fn new(run: Arc<Run>, cluster: Arc<Cluster>, number: usize, payload: usize) -> Self {
        let random = |i: usize| mix(((number as u64) << 32) + i as u64) as u8;
        let (payload, book) = ((0..payload).map(random).collect(), Book::new(number, payload));
        let samples = Vec::with_capacity(SAMPLES_MAX);
        Self { run, cluster, payload, book, ops: 0, errors: 0, first_error: None, samples, interval: None }
    }

    /// Makes load until the end, with that many puts in flight, or in a call.
    pub async fn drive(mut self, inflight: usize, batch: usize) -> Self {
        while let Some(leader) = self.find().await {
            let mut issued = self.run.now();
            while issued < self.run.end() {
                let answered = if batch > 1 {
                    self.call(&leader, batch).await
                } else if inflight > 1 {
                    self.window(&leader, inflight).await
                } else {
                    self.single(&leader).await
                };
                let complete = answered == inflight.max(batch) as u64;
                issued = self.note(issued, answered);
                if !complete {
                    tokio::time::sleep(RETRY_PAUSE).await;
                    break;
                }
            }
        }
        self.record();
        self
    }

    /// Asks who leads until somebody does, or the time is over.
    async fn find(&mut self) -> Option<Raft> {
        while self.run.now() < self.run.end() {
            if let Some(leader) = self.cluster.leader() {
                return Some(leader);
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        None
    }

    fn issue(&mut self) -> (u64, Put) {
        let serial = self.book.issue(&mut self.payload);
        (serial, Put(Bytes::copy_from_slice(&self.payload)))
    }

    /// Puts one and waits. Like the others it returns how many were acknowledged.
    async fn single(&mut self, leader: &Raft) -> u64 {
        let (serial, put) = self.issue();
        let answer = leader.client_write(put).await;
        self.learn(serial, answer.map(|a| a.log_id).map_err(|e| e.to_string()))
    }

    /// Puts several, each for itself, then awaits them all.
    async fn window(&mut self, leader: &Raft, size: usize) -> u64 {
        let puts: Vec<_> = (0..size).map(|_| self.issue()).collect();
        let calls = puts.into_iter().map(|(serial, put)| {
            let answer = leader.client_write(put).map_ok(|a| a.log_id).map_err(|e| e.to_string());
            async move { (serial, answer.await) }
        });
        let answers = join_all(calls).await;
        answers.into_iter().map(|(serial, answer)| self.learn(serial, answer)).sum()
    }

    /// Puts several in one call.
    async fn call(&mut self, leader: &Raft, size: usize) -> u64 {
        let (serials, puts): (Vec<_>, Vec<_>) = (0..size).map(|_| self.issue()).unzip();
        let mut left = serials.into_iter();
        let mut acknowledged = 0;
        let mut problem = "no answer".to_string();
        match leader.client_write_many(puts).await {
            Ok(mut answers) => {
                while let Some(answer) = answers.next().await {
                    let answer = match answer {
                        Ok(one) => one.map(|a| a.log_id).map_err(|e| e.to_string()),
                        Err(e) => Err(e.to_string()),
                    };
                    let Some(serial) = left.next() else { break };
                    acknowledged += self.learn(serial, answer);
                }
            }
            Err(e) => problem = e.to_string(),
        }
        for serial in left {
            self.learn(serial, Err(problem.clone()));
        }
        acknowledged
    }

    /// Notes what became of a put, and returns 1 if it was acknowledged.
    fn learn(&mut self, serial: u64, answer: Result<LogId, String>) -> u64 {
        match answer {
            Ok(id) => {
                self.book.acknowledge(serial, &id);
                1
            }
            Err(e) => {
                self.book.fail(serial);
                self.errors += 1;
                self.first_error.get_or_insert(e);
                0
            }
        }
    }

    /// Notes puts that were issued together and are now answered, and returns the time.
    fn note(&mut self, issued: u64, puts: u64) -> u64 {
        let now = self.run.now();
        if now >= self.run.warm_end && puts > 0 {
            let mut interval = None;
            if now < self.run.end() {
                self.ops += puts;
                interval = Some(((now - self.run.warm_end) / self.run.interval) as usize);
            }
            if interval != self.interval {
                self.record();
                self.interval = interval;
            }
            self.samples.push(Sample { nanoseconds: now - issued, puts });
            if self.samples.len() == SAMPLES_MAX {
                self.record();
            }
        }
        self.run.answered.fetch_add(puts, Relaxed);
        now
    }

    /// Takes the samples to the recorder.
    fn record(&mut self) {
        if !self.samples.is_empty() {
            self.run.recorder.lock().expect("BUG: a panic in the recorder").add(self.interval, &self.samples);
            self.samples.clear();
        }
    }
}
