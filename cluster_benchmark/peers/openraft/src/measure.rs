//! One measurement: open, warm up, measure, drain, settle, close, check, and the result line.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until, timeout};

use crate::cluster::{CONFIGURATION, Cluster};
use crate::load::{Client, Run};
use crate::recorder::{self, encode};
use crate::request::{Request, TARGET};
use crate::safety::{self, Verdict};
use crate::system::{self, Machine, cores, cpu_seconds};

/// Bounds of what happens around the measured time, each.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a line of progress is written.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// What a measurement gave.
pub struct Outcome {
    /// The result line; none when there was nothing to tell.
    pub line: Option<Value>,
    /// Why the figures can't be used.
    pub problem: Option<String>,
    pub interrupted: bool,
}

/// What is read at the start and at the end of the measured time.
struct Reading {
    at: u64,
    cpu: f64,
    batches: u64,
    puts: u64,
}

fn read(run: &Run, cluster: &Cluster) -> Reading {
    let (batches, puts) = cluster.counts();
    Reading { at: run.now(), cpu: cpu_seconds(), batches, puts }
}

fn runtime(name: &str, workers: usize) -> Result<Runtime, String> {
    Builder::new_multi_thread().worker_threads(workers).thread_name(name).enable_all().build().map_err(|e| e.to_string())
}

/// Measures. Nodes and clients each have a runtime, as in openraft's own benchmark, and this thread another, so that what is read
/// at the ends of the measured time is read in time. The error is why there is no result.
pub fn measure(q: &Request) -> Result<Outcome, String> {
    let (nodes, clients) = (runtime("nodes", cores())?, runtime("clients", cores())?);
    let control = Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let outcome = control.block_on(run(q, &nodes, &clients));
    nodes.shutdown_background();
    clients.shutdown_background();
    outcome
}

async fn run(q: &Request, nodes: &Runtime, clients: &Runtime) -> Result<Outcome, String> {
    let s = q.scenario.clone();
    eprintln!("> {}  starting", label(q));
    let interrupt = interrupted()?;
    let opening = nodes.spawn(async move { Cluster::open(&s, PATIENCE).await });
    let cluster = Arc::new(opening.await.map_err(|e| e.to_string())??);

    let run = Arc::new(Run::new(q));
    let s = &q.scenario;
    let mut tasks = Vec::new();
    for number in 0..s.clients {
        let client = Client::new(run.clone(), cluster.clone(), number, s.payload_bytes);
        tasks.push(clients.spawn(client.drive(s.inflight, s.batch)));
    }
    let progress = tokio::spawn(tell(q.warmup(), label(q), run.clone()));
    let watched = run.clone();
    let stop = tokio::spawn(async move {
        interrupt.await;
        watched.stop();
    });
    until(&run, || run.warm_end.min(run.end())).await;
    let before = read(&run, &cluster);
    until(&run, || run.end()).await;
    let after = read(&run, &cluster);
    progress.abort();
    let interrupted = stop.is_finished();
    stop.abort();
    eprintln!("> {}  checking", label(q));
    let (done, unfinished) = finish(tasks, cluster.clone(), nodes).await?;
    let outcome = report(q, &run, &cluster, done, [before, after], unfinished, interrupted);
    Ok(outcome)
}

/// A future that ends at SIGINT or SIGTERM. The signals are caught from now on.
fn interrupted() -> Result<impl Future<Output = ()> + Send, String> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| e.to_string())?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    Ok(async move {
        let (interrupt, terminate) = (Box::pin(interrupt.recv()), Box::pin(terminate.recv()));
        futures_util::future::select(interrupt, terminate).await;
    })
}

/// Waits for a time that may be brought forward.
async fn until(run: &Run, at: impl Fn() -> u64) {
    while run.now() < at() {
        let soon = run.now() + TELL_EVERY.as_nanos() as u64 / 10;
        sleep_until(run.instant(at().min(soon)).into()).await;
    }
}

fn label(q: &Request) -> String {
    let mut text = format!("{TARGET}  {} clients", q.scenario.clients);
    if q.scenario.inflight > 1 {
        text += &format!(" x {}", q.scenario.inflight);
    }
    if q.round > 1 {
        text += &format!("  round {}", q.round);
    }
    text
}

/// Says where the measurement stands.
async fn tell(warmup: Duration, label: String, run: Arc<Run>) {
    let mut before = 0;
    loop {
        sleep(TELL_EVERY).await;
        let (now, answered) = (run.now(), run.answered());
        let rate = (answered - before) as f64 / TELL_EVERY.as_secs_f64();
        before = answered;
        let seconds = |t: u64| t as f64 / 1e9;
        if now < run.warm_end {
            eprintln!("> {label}  warm-up  {:.1} of {:.1} s  {rate:.0} put/s", seconds(now), warmup.as_secs_f64());
        } else {
            let (at, of) = (seconds(now - run.warm_end), seconds(run.end().saturating_sub(run.warm_end)));
            eprintln!("> {label}  measure  {at:.1} of {of:.1} s  {rate:.0} put/s");
        }
    }
}

/// Lets everything outstanding be answered and applied, and closes the cluster. It returns the clients and what did not finish.
async fn finish(
    tasks: Vec<JoinHandle<Client>>,
    cluster: Arc<Cluster>,
    nodes: &Runtime,
) -> Result<(Vec<Client>, Vec<String>), String> {
    let mut unfinished = Vec::new();
    let mut all = tokio::spawn(futures_util::future::join_all(tasks));
    let mut ended = timeout(PATIENCE, &mut all).await.ok();
    if ended.is_some() {
        let settling = cluster.clone();
        let settled = nodes.spawn(async move { settling.settle(PATIENCE).await });
        unfinished.extend(settled.await.map_err(|e| e.to_string())?.err());
    } else {
        unfinished.push(format!("puts were not answered within {} s after the end", PATIENCE.as_secs()));
    }
    let closing = cluster.clone();
    let closed = nodes.spawn(async move { closing.close().await });
    unfinished.extend(closed.await.map_err(|e| e.to_string())?.err());
    if ended.is_none() {
        ended = timeout(PATIENCE, &mut all).await.ok();
    }
    let ended = ended.ok_or("closing the cluster did not answer the puts")?.map_err(|e| e.to_string())?;
    let clients = ended.into_iter().collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
    Ok((clients, unfinished))
}

/// Makes the result line.
fn report(
    q: &Request,
    run: &Run,
    cluster: &Cluster,
    clients: Vec<Client>,
    [before, after]: [Reading; 2],
    unfinished: Vec<String>,
    interrupted: bool,
) -> Outcome {
    let ops: u64 = clients.iter().map(|c| c.ops).sum();
    let errors: u64 = clients.iter().map(|c| c.errors).sum();
    let first_error = clients.iter().find_map(|c| c.first_error.clone()).unwrap_or_default();
    let books: Vec<_> = clients.into_iter().map(|c| c.book).collect();
    let replicas: Vec<_> = cluster.replicas.iter().map(|r| r.applied()).collect();
    let unfinished = unfinished.into_iter().map(|why| format!("did not finish: {why}")).collect();
    let verdict = safety::check(&books, &replicas, unfinished);
    if interrupted && ops == 0 && verdict.reasons.is_empty() {
        return Outcome { line: None, problem: None, interrupted };
    }
    let invalid = if ops == 0 { "no put was answered in the measured time" } else { "" };
    let (measured, ends) = run.measured();
    let seconds = measured as f64 / 1e9;
    let (batches, puts) = (after.batches - before.batches, after.puts - before.puts);
    let s = &q.scenario;
    let mut recorder = run.recorder.lock().expect("BUG: a panic in the recorder");
    let points = recorder.finish(ends.len());
    let us = |nanoseconds: u64| nanoseconds as f64 / 1e3;
    let at = |quantile: f64| us(recorder::at(&recorder.total, quantile));
    let series = ends.iter().zip(&points).map(|(end, p)| {
        let mut point = json!({"t_s": end, "ops": p.ops, "p50": us(p.p50), "p99": us(p.p99), "max": us(p.max)});
        if !p.histogram.is_empty() {
            point["histogram"] = json!(p.histogram);
        }
        point
    });
    let series = series.collect();
    let machine = Machine::this(&q.dir);
    let cores = machine.cores;
    let line = json!({
        "schema": 1, "profile": q.profile, "target": TARGET, "round": q.round,
        "version": env!("CARGO_PKG_VERSION"), "commit": "unknown", "dirty": false, "go": "",
        "machine": machine, "started": chrono::Utc::now().to_rfc3339(),
        "nodes": s.nodes, "groups": 1, "clients": s.clients, "inflight": s.inflight, "batch": s.batch,
        "payload_bytes": s.payload_bytes, "rate": 0, "store": s.store, "wal_backend": "", "net": s.net, "processes": false,
        "read_ratio": 0, "gogc": 0, "gomaxprocs": cores, "library": library(), "configuration": CONFIGURATION,
        "duration_s": seconds, "ops": ops, "put_per_s": if seconds > 0.0 { ops as f64 / seconds } else { 0.0 },
        "errors": errors, "first_error": first_error,
        "latency_us": {
            "mean": recorder.total.mean() / 1e3, "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p99_9": at(0.999), "p99_99": at(0.9999),
            "max": us(recorder.total.max()),
        },
        "counted_s": (after.at - before.at) as f64 / 1e9, "cpu_s": after.cpu - before.cpu,
        "max_rss_bytes": system::peak_memory(), "alloc_bytes_per_op": 0, "wal_bytes": 0, "wal_syncs": 0,
        "frames": batches, "entries_per_frame": if batches > 0 { puts as f64 / batches as f64 } else { 0.0 },
        "safety": {
            "acknowledged": verdict.acknowledged, "unknown": verdict.unknown, "applied": verdict.applied, "state_hash": verdict.hashes,
            "ok": verdict.ok, "reasons": verdict.reasons, "unproven": verdict.unproven,
        },
        "invalid": invalid, "interrupted": interrupted, "series": Value::Array(series), "histogram": encode(&recorder.total),
    });
    Outcome { line: Some(line), problem: problem(&verdict, invalid), interrupted }
}

fn problem(v: &Verdict, invalid: &str) -> Option<String> {
    let words = v.reasons.first().or(v.unproven.first()).cloned();
    words.or((!invalid.is_empty()).then(|| invalid.to_string()))
}

/// The crates that were measured with the versions that this program was built with.
fn library() -> String {
    let version = |name: &str| {
        let mut lines = include_str!("../Cargo.lock").lines().skip_while(|line| *line != format!("name = {name:?}"));
        let line = lines.nth(1).unwrap_or_default();
        format!("{name} {}", line.trim_start_matches("version = ").trim_matches('"'))
    };
    format!("{}, {}", version("openraft"), version("tokio"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn library() {
        let text = super::library();
        assert!(text.starts_with("openraft 0.") && text.contains(", tokio 1."), "{text}");
    }
}
