//! Counters and latencies as plain text.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of the latency buckets in milliseconds.
const BUCKETS_MS: [u64; 6] = [10, 50, 100, 500, 1_000, 10_000];

/// Counts since the start of the process.
#[derive(Default)]
pub struct Metrics {
    ok: AtomicU64,
    client_errors: AtomicU64,
    server_errors: AtomicU64,
    reloads: AtomicU64,
    rollbacks: AtomicU64,
    latency_ms_sum: AtomicU64,
    latency: [AtomicU64; BUCKETS_MS.len()],
}

impl Metrics {
    /// Count one answer and how long it took.
    pub fn answered(&self, status: u16, millis: u64) {
        let counter = match status {
            0..=399 => &self.ok,
            400..=499 => &self.client_errors,
            _ => &self.server_errors,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.latency_ms_sum.fetch_add(millis, Ordering::Relaxed);
        if let Some(i) = BUCKETS_MS.iter().position(|b| millis <= *b) {
            self.latency[i].fetch_add(1, Ordering::Relaxed);
        }
    }
    pub fn reloaded(&self) {
        self.reloads.fetch_add(1, Ordering::Relaxed);
    }
    pub fn rolled_back(&self) {
        self.rollbacks.fetch_add(1, Ordering::Relaxed);
    }

    /// The text exposition format that scrapers read.
    pub fn text(&self) -> String {
        let get = |a: &AtomicU64| a.load(Ordering::Relaxed);
        let mut out = String::new();
        let rows = [
            ("trademl_requests_total{class=\"ok\"}", get(&self.ok)),
            ("trademl_requests_total{class=\"client_error\"}", get(&self.client_errors)),
            ("trademl_requests_total{class=\"server_error\"}", get(&self.server_errors)),
            ("trademl_model_reloads_total", get(&self.reloads)),
            ("trademl_model_rollbacks_total", get(&self.rollbacks)),
            ("trademl_request_milliseconds_sum", get(&self.latency_ms_sum)),
        ];
        for (name, value) in rows {
            let _ = writeln!(out, "{name} {value}");
        }
        let mut total = 0;
        for (bound, count) in BUCKETS_MS.iter().zip(&self.latency) {
            total += get(count);
            let _ = writeln!(out, "trademl_request_milliseconds_bucket{{le=\"{bound}\"}} {total}");
        }
        out
    }
}
