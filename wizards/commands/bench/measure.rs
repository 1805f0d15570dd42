//! The stopwatch: repeats, medians, processor time, peak memory, and checksums that other programs' lines can be held against.

use super::Scale;
use data_layer::error::Result;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What a measurement is called and how much work one repeat does.
pub struct Job {
    pub topic: &'static str,
    /// Units of work of one repeat, such as rows or tasks.
    pub work: usize,
    pub unit: &'static str,
    pub repeats: usize,
    /// Tells measurements of one topic apart.
    pub batch: Option<usize>,
}

impl Job {
    pub fn new(topic: &'static str, work: usize, unit: &'static str) -> Self {
        Self { topic, work, unit, repeats: 5, batch: None }
    }
    pub fn repeats(self, repeats: usize) -> Self {
        Self { repeats, ..self }
    }
    pub fn batch(self, batch: usize) -> Self {
        Self { batch: Some(batch), ..self }
    }
}

/// One finished measurement.
pub struct Line {
    job: Job,
    seconds: Vec<f64>,
    cpu: Vec<f64>,
    checksum: Value,
    /// Seconds of each single piece of work of the last repeat, where they were taken.
    latencies: Vec<f64>,
}

/// Measures until the repeats or the time are used up.
pub struct Clock {
    budget: Duration,
}

impl Clock {
    pub fn new(scale: Scale) -> Self {
        Self { budget: Duration::from_secs(scale.pick(12, 120, 1_200)) }
    }

    /// One warm-up, then `job.repeats` timed runs of `body`, fewer when the budget is spent. `setup` and `check` are not timed.
    pub fn measure<S, T>(
        &self,
        job: Job,
        mut setup: impl FnMut() -> Result<S>,
        mut body: impl FnMut(S) -> Result<T>,
        check: impl FnOnce(T) -> Result<Value>,
    ) -> Result<Line> {
        let begun = now();
        let mut last = body(setup()?)?;
        let (mut seconds, mut cpu) = (Vec::new(), Vec::new());
        while seconds.len() < job.repeats && (seconds.is_empty() || begun.elapsed() < self.budget) {
            let ready = setup()?;
            let (wall, processor) = (now(), processor_seconds());
            last = body(ready)?;
            seconds.push(wall.elapsed().as_secs_f64());
            cpu.push(processor_seconds() - processor);
        }
        Ok(Line { job, seconds, cpu, checksum: check(last)?, latencies: Vec::new() })
    }

    /// One run that says itself how much work it did and what came of it: where time passes by the calendar and a repeat tells nothing new.
    pub fn once(&self, job: Job, body: impl FnOnce() -> Result<(usize, Value)>) -> Result<Line> {
        let (wall, processor) = (now(), processor_seconds());
        let (work, checksum) = body()?;
        let (seconds, cpu) = (vec![wall.elapsed().as_secs_f64()], vec![processor_seconds() - processor]);
        Ok(Line { job: Job { work, ..job }, seconds, cpu, checksum, latencies: Vec::new() })
    }
}

impl Line {
    pub fn with_latencies(self, latencies: Vec<f64>) -> Self {
        Self { latencies, ..self }
    }

    /// The line that comparisons read (`docs/benchmarks.md`).
    pub fn json(&self, scale: Scale) -> Value {
        let (low, high) = self.seconds.iter().fold((f64::MAX, 0.0_f64), |(l, h), s| (l.min(*s), h.max(*s)));
        let mut out = json!({
            "topic": self.job.topic, "peer": "trademl", "version": env!("CARGO_PKG_VERSION"), "scale": scale.letter(),
            "seconds_median": micros(median(&self.seconds)), "min": micros(low), "max": micros(high), "cpu_seconds_median": micros(median(&self.cpu)),
            "repeats": self.seconds.len(), "threads": threads(), "peak_rss_mb": peak_rss_mb(), "checksum_of_result": self.checksum,
            "work": self.job.work, "unit": self.job.unit, "rate_per_s": significant(self.job.work as f64 / median(&self.seconds).max(1e-12), 5),
        });
        if let Some(batch) = self.job.batch {
            out["batch"] = json!(batch);
        }
        if !self.latencies.is_empty() {
            let ms = |share: f64| decimals(1e3 * quantile(&self.latencies, share), 3);
            out["latency_ms"] = json!({"p50": ms(0.5), "p99": ms(0.99), "max": ms(1.0)});
        }
        out
    }

    /// The same for a person.
    pub fn text(&self) -> String {
        let name = self.job.batch.map_or(self.job.topic.to_string(), |b| format!("{}/{b}", self.job.topic));
        let seconds = median(&self.seconds);
        let rate = self.job.work as f64 / seconds.max(1e-12);
        let p99 = (!self.latencies.is_empty()).then(|| format!("   p99 {:.3} ms", 1e3 * quantile(&self.latencies, 0.99)));
        format!("{name:<32} {seconds:>10.6} s   {rate:>12.0} {}/s   checksum {}{}", self.job.unit, self.checksum, p99.unwrap_or_default())
    }
}

/// Order-sensitive sums of a result, to six significant digits: equal for two correct programs where a digest of bits would not be.
pub fn checksum(values: &[f64]) -> Value {
    let finite = || values.iter().enumerate().filter(|(_, v)| v.is_finite());
    let sum: f64 = finite().map(|(_, v)| v).sum();
    let abs: f64 = finite().map(|(_, v)| v.abs()).sum();
    let weighted: f64 = finite().map(|(i, v)| v * (i % 97 + 1) as f64).sum();
    let missing = values.len() - finite().count();
    json!({"n": values.len(), "nan": missing, "sum": significant(sum, 6), "abs": significant(abs, 6), "wsum": significant(weighted, 6)})
}

/// A number to `digits` significant digits.
pub fn significant(value: f64, digits: usize) -> f64 {
    format!("{value:.*e}", digits - 1).parse().unwrap_or(value)
}

/// A number to `places` decimals.
pub fn decimals(value: f64, places: usize) -> f64 {
    format!("{value:.places$}").parse().unwrap_or(value)
}

fn micros(seconds: f64) -> f64 {
    decimals(seconds, 6)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

/// The smallest value that at least `share` of all do not exceed.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(at.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0.0)
}

#[allow(clippy::disallowed_methods)] // a benchmark measures real time
fn now() -> Instant {
    Instant::now()
}

fn processor_seconds() -> f64 {
    let t = clock_gettime(ClockId::ProcessCPUTime);
    t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
}

/// Logical processors that this process may use.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The high-water mark of resident memory, where the system tells it.
fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(decimals(kib / 1024.0, 1))
}
