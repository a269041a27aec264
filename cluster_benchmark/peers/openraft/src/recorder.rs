//! Latencies: the histogram of the whole time, and the measured time in intervals.

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};

/// Bounds what a histogram can hold, in nanoseconds: an hour. A longer wait is recorded as this.
const LATENCY_MAX: u64 = 3_600_000_000_000;

/// How many intervals keep their histogram: the last ones. What comes later for an older one is only counted.
const OPEN_MAX: usize = 20;

/// The latency of some puts that were issued and answered together.
#[derive(Clone, Copy)]
pub struct Sample {
    pub nanoseconds: u64,
    pub puts: u64,
}

/// One interval. Latencies are nanoseconds.
#[derive(Clone, Default)]
pub struct Point {
    pub ops: u64,
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
    /// Encoded, where it is asked for.
    pub histogram: String,
}

/// What all clients record into.
pub struct Recorder {
    pub total: Histogram<u64>,
    points: Vec<Point>,
    /// The histograms of the last intervals.
    open: VecDeque<Histogram<u64>>,
    keep: bool,
}

fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect("BUG: the bounds of a histogram are wrong")
}

/// The length of the intervals, as the suite has it: a second, or a twentieth of a time below 20 s, but at least 100 ms; beyond
/// an hour as long as makes 3600 of them.
pub fn interval(duration: Duration) -> Duration {
    if duration < Duration::from_secs(20) {
        return (duration / 20).max(Duration::from_millis(100));
    }
    Duration::from_secs(1).max(Duration::from_nanos((duration.as_nanos() as u64).div_ceil(3600)))
}

/// A histogram as results hold it: the base64 of HdrHistogram's V2 compressed encoding.
pub fn encode(h: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(h, &mut bytes).expect("BUG: a histogram of our own can't be encoded");
    BASE64_STANDARD.encode(bytes)
}

/// The value at a quantile, by the suite's rule: that of the put whose rank is nearest to it. 0 of an empty histogram.
pub fn at(h: &Histogram<u64>, quantile: f64) -> u64 {
    if h.is_empty() {
        return 0;
    }
    let rank = (quantile * h.len() as f64).round().max(1.0);
    // The library takes the next rank above; a little below one it is that one, however the product is rounded.
    h.value_at_quantile((rank - 0.25) / h.len() as f64)
}

impl Recorder {
    /// With `keep` each interval keeps its histogram in encoded form.
    pub fn new(keep: bool) -> Self {
        Self { total: new_histogram(), points: Vec::new(), open: VecDeque::new(), keep }
    }

    /// Takes samples that were answered in one interval of the measured time, or beyond it.
    pub fn add(&mut self, interval: Option<usize>, samples: &[Sample]) {
        for sample in samples {
            let value = sample.nanoseconds.clamp(1, LATENCY_MAX);
            self.total.saturating_record_n(value, sample.puts);
            if let Some(interval) = interval {
                self.enter(interval);
                let point = &mut self.points[interval];
                point.ops += sample.puts;
                point.max = point.max.max(value);
                let first = self.points.len() - self.open.len();
                if let Some(at) = interval.checked_sub(first) {
                    self.open[at].saturating_record_n(value, sample.puts);
                }
            }
        }
    }

    /// Makes sure that there is a point for an interval.
    fn enter(&mut self, interval: usize) {
        while self.points.len() <= interval {
            if self.open.len() == OPEN_MAX {
                self.close();
            }
            self.points.push(Point::default());
            self.open.push_back(new_histogram());
        }
    }

    /// Reads the percentiles off the oldest interval that keeps its histogram.
    fn close(&mut self) {
        let oldest = self.points.len() - self.open.len();
        let Some(h) = self.open.pop_front() else { return };
        if !h.is_empty() {
            let point = &mut self.points[oldest];
            point.p50 = at(&h, 0.5);
            point.p99 = at(&h, 0.99);
            if self.keep {
                point.histogram = encode(&h);
            }
        }
    }

    /// Returns the intervals: as many as a measured time has, also those without an answer.
    pub fn finish(&mut self, intervals: usize) -> Vec<Point> {
        if intervals > 0 {
            self.enter(intervals - 1);
        }
        while !self.open.is_empty() {
            self.close();
        }
        std::mem::take(&mut self.points)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals() {
        for (seconds, want) in [(0.5, 0.1), (10.0, 0.5), (20.0, 1.0), (3600.0, 1.0), (7200.0, 2.0)] {
            assert_eq!(interval(Duration::from_secs_f64(seconds)), Duration::from_secs_f64(want), "of {seconds} s");
        }
    }

    #[test]
    fn ranks() {
        let mut h = new_histogram();
        assert_eq!(at(&h, 0.5), 0);
        (1..=100).for_each(|v| h.record(v).unwrap());
        for (quantile, want) in [(0.0, 1), (0.5, 50), (0.99, 99), (0.994, 99), (0.996, 100), (1.0, 100)] {
            assert_eq!(at(&h, quantile), want, "at {quantile}");
        }
    }

    #[test]
    fn series() {
        let mut r = Recorder::new(true);
        let one = |nanoseconds| [Sample { nanoseconds, puts: 2 }];
        r.add(Some(0), &one(1000));
        r.add(Some(30), &one(3000));
        r.add(Some(0), &one(9000)); // too late for its histogram
        r.add(Some(29), &one(u64::MAX));
        r.add(None, &one(7000));
        assert_eq!(r.total.len(), 10);
        let points = r.finish(40);
        assert_eq!(points.len(), 40);
        assert_eq!(points.iter().map(|p| p.ops).sum::<u64>(), 8);
        assert_eq!((points[0].ops, points[0].max, points[0].p50), (4, 9000, 1000));
        assert_eq!((points[30].ops, points[30].p99 / 10), (2, 300));
        assert_eq!((points[29].max, points[1].ops, points[1].histogram.as_str()), (LATENCY_MAX, 0, ""));
        assert!(points[30].histogram.starts_with("HISTFAAA"), "{}", points[30].histogram);
    }
}
