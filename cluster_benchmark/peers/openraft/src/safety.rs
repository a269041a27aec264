//! The suite's safety check: on each replica acknowledged <= applied <= acknowledged + unknown, each acknowledged put found by its
//! identity (client, serial), equal hash over (log id, payload) at equal index.

use std::collections::BTreeSet;

use xxhash_rust::xxh64::xxh64;

use crate::types::LogId;

/// The room that a put's identity takes at the start of its payload.
pub const IDENTITY_BYTES: usize = 16;

/// How many reasons are kept.
const REASONS_MAX: usize = 10;

/// Odd constants without a pattern, so that different fields do not cancel.
const ODD_TERM: u64 = 0x9fb2_1c65_1e98_df25;
const ODD_NODE: u64 = 0xd6e8_feb8_6659_fd93;
const ODD_SERIAL: u64 = 0xe703_7ed1_a0b4_28db;
const ODD_CLIENT: u64 = 0xa076_1d64_78bd_642f;

/// The finalizer of splitmix64 (Steele, Lea, Flood 2014): a bijection in which each input bit flips half of the output bits.
pub fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Joins the fields of a log id. Neighbours stay neighbours: a mix must follow.
fn flat(id: &LogId) -> u64 {
    let leader = id.leader_id;
    id.index.wrapping_add(leader.term.wrapping_mul(ODD_TERM)).wrapping_add(leader.node_id.wrapping_mul(ODD_NODE))
}

/// Binds a log id to the put that stands there.
fn mix_put(id: &LogId, client: u64, serial: u64) -> u64 {
    mix(flat(id).wrapping_add(serial.wrapping_mul(ODD_SERIAL)).wrapping_add(client.wrapping_mul(ODD_CLIENT)))
}

/// A set of serials that come nearly in order.
#[derive(Clone, Default)]
struct Serials {
    /// All below this are in the set.
    below: u64,
    beyond: BTreeSet<u64>,
}

impl Serials {
    /// Returns false for one that is in the set already.
    fn add(&mut self, serial: u64) -> bool {
        if self.has(serial) {
            return false;
        }
        self.beyond.insert(serial);
        while self.beyond.remove(&self.below) {
            self.below += 1;
        }
        true
    }

    fn has(&self, serial: u64) -> bool {
        serial < self.below || self.beyond.contains(&serial)
    }

    fn len(&self) -> u64 {
        self.below + self.beyond.len() as u64
    }
}

/// What one client knows of its puts.
pub struct Book {
    client: u64,
    identified: bool,
    issued: u64,
    sum: u64,
    /// Puts that failed: openraft does not tell those that could not happen from those that may yet be committed.
    unknown: Serials,
}

impl Book {
    pub fn new(client: usize, payload: usize) -> Self {
        Self { client: client as u64, identified: payload >= IDENTITY_BYTES, issued: 0, sum: 0, unknown: Serials::default() }
    }

    /// Gives the next put its serial and writes its identity into the payload, where there is room.
    pub fn issue(&mut self, payload: &mut [u8]) -> u64 {
        let serial = self.issued;
        self.issued += 1;
        if self.identified {
            payload[..8].copy_from_slice(&self.client.to_le_bytes());
            payload[8..IDENTITY_BYTES].copy_from_slice(&serial.to_le_bytes());
        }
        serial
    }

    pub fn acknowledge(&mut self, serial: u64, id: &LogId) {
        let mixed = if self.identified { mix_put(id, self.client, serial) } else { mix(flat(id)) };
        self.sum = self.sum.wrapping_add(mixed);
    }

    pub fn fail(&mut self, serial: u64) {
        self.unknown.add(serial);
    }
}

/// What was applied to one replica.
#[derive(Clone)]
pub struct Applied {
    identified: bool,
    clients: Vec<Serials>,
    pub count: u64,
    sum: u64,
    hash: u64,
    last: Option<u64>,
    violation: Option<String>,
}

impl Applied {
    pub fn new(clients: usize, payload: usize) -> Self {
        let identified = payload >= IDENTITY_BYTES;
        let clients = if identified { vec![Serials::default(); clients] } else { Vec::new() };
        Self { identified, clients, count: 0, sum: 0, hash: 0, last: None, violation: None }
    }

    pub fn apply(&mut self, id: &LogId, data: &[u8]) {
        if self.last.is_some_and(|last| id.index <= last) {
            self.violate(format!("entry {id} applied after index {}", self.last.unwrap_or_default()));
        }
        self.last = self.last.max(Some(id.index));
        self.count += 1;
        let mixed = if self.identified { self.identify(id, data) } else { mix(flat(id)) };
        self.sum = self.sum.wrapping_add(mixed);
        let mut content = flat(id);
        if !data.is_empty() {
            content ^= xxh64(data, 0);
        }
        self.hash = mix(self.hash.rotate_left(23).wrapping_add(content));
    }

    fn identify(&mut self, id: &LogId, data: &[u8]) -> u64 {
        let Some((client, serial)) = identity(data) else {
            self.violate(format!("entry {id} has {} bytes, want at least the {IDENTITY_BYTES} of its identity", data.len()));
            return 0;
        };
        match self.clients.get_mut(client as usize) {
            None => self.violate(format!("entry {id} is of client {client}, want below {}", self.clients.len())),
            Some(serials) => {
                if !serials.add(serial) {
                    self.violate(format!("put {serial} of client {client} applied again, at {id}"));
                }
            }
        }
        mix_put(id, client, serial)
    }

    fn violate(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }
}

fn identity(data: &[u8]) -> Option<(u64, u64)> {
    let client = data.get(..8)?.try_into().ok()?;
    let serial = data.get(8..IDENTITY_BYTES)?.try_into().ok()?;
    Some((u64::from_le_bytes(client), u64::from_le_bytes(serial)))
}

/// The verdict on a run.
#[derive(Default)]
pub struct Verdict {
    pub acknowledged: u64,
    pub unknown: u64,
    pub applied: Vec<u64>,
    pub hashes: Vec<String>,
    pub ok: bool,
    /// What is wrong.
    pub reasons: Vec<String>,
    /// Why something could not be looked at.
    pub unproven: Vec<String>,
}

impl Verdict {
    fn fail(&mut self, what: String) {
        if self.reasons.len() < REASONS_MAX {
            self.reasons.push(what);
        }
    }
}

/// Compares what the clients know with what was applied. `unfinished` says why not every replica could apply everything.
pub fn check(books: &[Book], replicas: &[Applied], unfinished: Vec<String>) -> Verdict {
    let mut v = Verdict { unproven: unfinished, ..Default::default() };
    v.unknown = books.iter().map(|b| b.unknown.len()).sum();
    v.acknowledged = books.iter().map(|b| b.issued).sum::<u64>() - v.unknown;
    let sum = books.iter().fold(0_u64, |sum, b| sum.wrapping_add(b.sum));
    let finished = v.unproven.is_empty();
    for (i, r) in replicas.iter().enumerate() {
        let node = i + 1;
        v.applied.push(r.count);
        v.hashes.push(format!("{:016x}", r.hash));
        if let Some(violation) = &r.violation {
            v.fail(format!("node {node}: {violation}"));
        }
        if r.count > v.acknowledged + v.unknown {
            v.fail(format!(
                "node {node}: {} entries applied, but only {} acknowledged and {} unknown",
                r.count, v.acknowledged, v.unknown
            ));
        }
        if !finished {
            continue; // it may be behind
        }
        check_acknowledged(&mut v, node, r, books, sum);
        let first = &replicas[0];
        if r.last != first.last {
            v.fail(format!("node {node} applied up to index {:?}, node 1 up to {:?}", r.last, first.last));
        } else if r.hash != first.hash {
            v.fail(format!("node {node} has hash {:016x} at index {:?}, node 1 {:016x}", r.hash, r.last, first.hash));
        }
    }
    if v.acknowledged == 0 {
        v.unproven.push("no put was acknowledged: nothing is proven".into());
    }
    v.ok = v.reasons.is_empty() && v.unproven.is_empty();
    v
}

fn check_acknowledged(v: &mut Verdict, node: usize, r: &Applied, books: &[Book], sum: u64) {
    if r.count < v.acknowledged {
        v.fail(format!("node {node}: {} entries applied, but {} acknowledged", r.count, v.acknowledged));
    }
    for (b, serials) in books.iter().zip(&r.clients) {
        if let Some(serial) = (serials.below..b.issued).find(|&s| !serials.has(s) && !b.unknown.has(s)) {
            v.fail(format!("node {node}: put {serial} of client {} was acknowledged and is not applied", b.client));
        }
        if serials.below > b.issued || serials.beyond.last().is_some_and(|&last| last >= b.issued) {
            v.fail(format!("node {node}: a put of client {} is applied and was never issued", b.client));
        }
    }
    if r.count == v.acknowledged && r.sum != sum {
        v.fail(format!("node {node}: the log ids of the {} answers are not those of the entries applied", v.acknowledged));
    } else if r.count > v.acknowledged && r.count <= v.acknowledged + v.unknown && !r.identified {
        let more = r.count - v.acknowledged;
        let text = format!(
            "node {node}: {more} puts of unknown fate were applied and can't be told from acknowledged ones in payloads below {IDENTITY_BYTES} bytes"
        );
        if v.unproven.len() < REASONS_MAX {
            v.unproven.push(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::impls::leader_id_adv::LeaderId;

    fn id(index: u64) -> LogId {
        LogId::new(LeaderId { term: 3, node_id: 2 }, index)
    }

    /// A run of two clients with 20 acknowledged puts on three replicas, and the payloads in order.
    fn run(payload: usize) -> (Vec<Book>, Vec<Applied>) {
        let mut books: Vec<_> = (0..2).map(|client| Book::new(client, payload)).collect();
        let mut replicas = vec![Applied::new(2, payload); 3];
        for i in 0..20 {
            put(&mut books[i % 2], &mut replicas, payload, Some(2 + i as u64), true);
        }
        (books, replicas)
    }

    fn put(book: &mut Book, replicas: &mut [Applied], payload: usize, at: Option<u64>, acknowledged: bool) {
        let mut data = vec![7; payload];
        let serial = book.issue(&mut data);
        if let Some(index) = at {
            replicas.iter_mut().for_each(|r| r.apply(&id(index), &data));
        }
        match at {
            Some(index) if acknowledged => book.acknowledge(serial, &id(index)),
            _ if acknowledged => book.acknowledge(serial, &id(999)),
            _ => book.fail(serial),
        }
    }

    #[test]
    fn good_runs() {
        for payload in [0, 8, 16, 128] {
            let (mut books, mut replicas) = run(payload);
            let v = check(&books, &replicas, Vec::new());
            assert!(v.ok, "{payload}: {:?} {:?}", v.reasons, v.unproven);
            assert_eq!((v.acknowledged, v.unknown, v.applied), (20, 0, vec![20, 20, 20]));
            put(&mut books[0], &mut replicas, payload, None, false);
            let v = check(&books, &replicas, Vec::new());
            assert!(v.ok && v.unknown == 1, "{payload}, with a failure: {:?}", v.reasons);
            put(&mut books[1], &mut replicas, payload, Some(30), false);
            let v = check(&books, &replicas, Vec::new());
            assert!(
                v.reasons.is_empty() && v.ok == (payload >= IDENTITY_BYTES),
                "{payload}: {:?} {:?}",
                v.reasons,
                v.unproven
            );
        }
    }

    #[test]
    fn bad_runs() {
        for payload in [0, 16] {
            let wrong = |what: &str, change: &dyn Fn(&mut Vec<Book>, &mut Vec<Applied>)| {
                let (mut books, mut replicas) = run(payload);
                change(&mut books, &mut replicas);
                let v = check(&books, &replicas, Vec::new());
                assert!(!v.ok && !v.reasons.is_empty(), "{payload} bytes: {what} is not seen");
            };
            wrong("a lost put", &|books, replicas| put(&mut books[0], replicas, payload, None, true));
            wrong("a put too many", &|_, replicas| replicas[1].apply(&id(40), &[9; 16]));
            wrong("another order", &|_, replicas| replicas[1].apply(&id(3), &[9; 16]));
            wrong("a replica behind", &|books, replicas| put(&mut books[0], &mut replicas[..2], payload, Some(50), true));
            wrong("another place", &|books, replicas| {
                let mut data = vec![7; payload];
                let serial = books[0].issue(&mut data);
                replicas.iter_mut().for_each(|r| r.apply(&id(60), &data));
                books[0].acknowledge(serial, &id(61));
            });
            wrong("another content", &|books, replicas| {
                let mut data = vec![7; payload];
                let serial = books[0].issue(&mut data);
                let (one, others) = replicas.split_at_mut(1);
                one[0].apply(&id(70), &data);
                data.push(1);
                others.iter_mut().for_each(|r| r.apply(&id(70), &data));
                books[0].acknowledge(serial, &id(70));
            });
        }
    }

    #[test]
    fn nothing_is_proven() {
        let (books, replicas) = run(16);
        let v = check(&books, &replicas, vec!["a node is behind".into()]);
        assert!(!v.ok && v.reasons.is_empty() && v.unproven.len() == 1);
        assert!(!check(&[], &[Applied::new(0, 0)], Vec::new()).ok);
    }

    #[test]
    fn serials_out_of_order() {
        let mut s = Serials::default();
        assert!(s.add(1) && s.add(0) && s.add(3) && !s.add(1) && !s.add(3));
        assert!(s.below == 2 && s.has(3) && !s.has(2) && s.len() == 3);
    }
}
