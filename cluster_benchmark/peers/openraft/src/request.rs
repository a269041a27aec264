//! What is asked for: one JSON object on standard input, as the package peer of the suite writes it.

use std::fs;
use std::io::Read;
use std::time::Duration;

use serde::Deserialize;

/// The version of the request.
const SCHEMA: u32 = 1;

/// What this program measures.
pub const TARGET: &str = "openraft";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    schema: u32,
    pub profile: String,
    target: String,
    pub round: u32,
    pub scenario: Scenario,
    warmup_s: f64,
    duration_s: f64,
    pub dir: String,
    /// Of Go's collector, which there is none of here.
    gogc: u32,
    /// Whether each interval's histogram is asked for.
    #[serde(default)]
    pub interval_histograms: bool,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub nodes: usize,
    pub clients: usize,
    pub inflight: usize,
    pub batch: usize,
    pub payload_bytes: usize,
    #[serde(default)]
    rate: u64,
    #[serde(default)]
    arrivals: String,
    #[serde(default)]
    read_ratio: f64,
    #[serde(default)]
    read: String,
    #[serde(default)]
    event: String,
    pub store: String,
    pub net: String,
    /// Of the engine's own measurements, which there are none of here.
    #[serde(default, rename = "no_stages")]
    _no_stages: bool,
}

impl Request {
    pub fn warmup(&self) -> Duration {
        Duration::from_secs_f64(self.warmup_s)
    }

    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.duration_s)
    }

    /// Reads one request. The error says what is wrong with it, or what is not offered.
    pub fn read(mut input: impl Read) -> Result<Self, String> {
        let mut text = String::new();
        input.read_to_string(&mut text).map_err(|e| format!("request: {e}"))?;
        if text.trim().is_empty() {
            return Err("request: nothing on standard input, want one JSON object".into());
        }
        let request: Self = serde_json::from_str(&text).map_err(|e| format!("request: {e}"))?;
        request.check().map_err(|problem| format!("request: {problem}"))?;
        request.scenario.offered()?;
        Ok(request)
    }

    fn check(&self) -> Result<(), String> {
        if self.schema != SCHEMA {
            return Err(format!("schema {}, want {SCHEMA}", self.schema));
        }
        if self.target != TARGET {
            return Err(format!("target {:?}, want {TARGET}", self.target));
        }
        let s = &self.scenario;
        for (name, value, least, most) in [
            ("nodes", s.nodes, 1, 15),
            ("clients", s.clients, 1, 65_536),
            ("inflight", s.inflight, 1, 4096),
            ("batch", s.batch, 1, 4096),
            ("payload_bytes", s.payload_bytes, 0, 16 << 20),
            ("round", self.round as usize, 1, u32::MAX as usize),
            ("gogc", self.gogc as usize, 1, u32::MAX as usize),
        ] {
            if !(least..=most).contains(&value) {
                return Err(format!("{name} {value}, want {least} to {most}"));
            }
        }
        if s.inflight > 1 && s.batch > 1 {
            return Err(format!("batch {}, want 1 beside inflight {}", s.batch, s.inflight));
        }
        for (name, value, least) in [("warmup_s", self.warmup_s, 0.0), ("duration_s", self.duration_s, 0.1)] {
            if !(least..=86_400.0).contains(&value) {
                return Err(format!("{name} {value}, want {least} to 86400"));
            }
        }
        let mut entries = fs::read_dir(&self.dir).map_err(|e| format!("dir {}: {e}, want an empty directory", self.dir))?;
        match entries.next() {
            Some(_) => Err(format!("dir {}: want an empty directory", self.dir)),
            None => Ok(()),
        }
    }
}

impl Scenario {
    /// Refuses what openraft, or this program, does not have.
    fn offered(&self) -> Result<(), String> {
        let refused = |what: String| Err(format!("{TARGET}: not supported: {what}"));
        if self.store != "memory" {
            return refused(format!("store {}: openraft has no log in files; only store memory is measured", self.store));
        }
        if self.net != "inproc" {
            return refused(format!("net {}: openraft has no transport; only net inproc is measured", self.net));
        }
        if self.rate > 0 || !self.arrivals.is_empty() {
            return refused(format!("rate {}: this program has a closed loop only", self.rate));
        }
        if self.read_ratio > 0.0 || !self.read.is_empty() {
            return refused(format!("{} % {} reads: this program puts alone", 100.0 * self.read_ratio, self.read));
        }
        if !self.event.is_empty() {
            return refused(format!("event {}: nothing happens to this program's nodes", self.event));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A good request with one text exchanged for another.
    fn read(from: &str, to: &str) -> Result<Request, String> {
        let dir =
            std::env::temp_dir().join(format!("openraft-peer-{}-{:?}", std::process::id(), std::thread::current().id()));
        fs::create_dir_all(&dir).unwrap();
        let good = format!(
            r#"{{"schema":1,"profile":"quick","target":"openraft","round":2,"scenario":{{"nodes":3,"clients":4,"inflight":1,"batch":1,"payload_bytes":16,"store":"memory","net":"inproc"}},"warmup_s":0.5,"duration_s":1.5,"dir":{dir:?},"gogc":400}}"#
        );
        assert!(from.is_empty() || good.contains(from), "no {from} in the request");
        let result = Request::read(good.replacen(from, to, 1).as_bytes());
        fs::remove_dir(&dir).unwrap();
        result
    }

    #[test]
    fn good() {
        let q = read("", "").unwrap();
        assert_eq!(
            (q.round, q.scenario.clients, q.duration(), q.interval_histograms),
            (2, 4, Duration::from_millis(1500), false)
        );
        assert!(read(r#""gogc":400"#, r#""gogc":400,"interval_histograms":true"#).unwrap().interval_histograms);
        assert!(read(r#""nodes":3"#, r#""nodes":3,"no_stages":true"#).is_ok());
    }

    #[test]
    fn bad() {
        for (from, to, want) in [
            ("\"schema\":1", "\"schema\":2", "schema 2, want 1"),
            ("\"target\":\"openraft\"", "\"target\":\"etcd\"", "target \"etcd\", want openraft"),
            ("\"clients\":4", "\"clients\":0", "clients 0, want 1 to 65536"),
            ("\"nodes\":3", "\"nodes\":3,\"groups\":2", "unknown field `groups`"),
            ("\"round\":2", "\"round\":2,\"colour\":1", "unknown field `colour`"),
            ("\"batch\":1", "\"batch\":0", "batch 0, want 1 to 4096"),
            ("\"duration_s\":1.5", "\"duration_s\":0.01", "duration_s 0.01, want 0.1 to 86400"),
            ("\"inflight\":1,\"batch\":1", "\"inflight\":2,\"batch\":2", "batch 2, want 1 beside inflight 2"),
            ("\"dir\":\"", "\"dir\":\"/nowhere", "want an empty directory"),
            ("\"memory\"", "\"wal\"", "openraft: not supported: store wal"),
            ("\"inproc\"", "\"tcp\"", "openraft: not supported: net tcp"),
            ("\"store\"", "\"rate\":1000,\"arrivals\":\"poisson\",\"store\"", "openraft: not supported: rate 1000"),
            ("\"store\"", "\"read_ratio\":0.5,\"read\":\"lease\",\"store\"", "openraft: not supported: 50 % lease reads"),
            ("\"store\"", "\"event\":\"leader-kill\",\"store\"", "openraft: not supported: event leader-kill"),
        ] {
            let problem = read(from, to).err().unwrap_or_default();
            assert!(problem.contains(want), "{to}: {problem:?}, want {want:?}");
        }
        assert!(Request::read("".as_bytes()).is_err_and(|e| e.contains("nothing on standard input")));
    }
}
