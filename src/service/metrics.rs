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

    /// Prometheus' text exposition format 0.0.4 (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
    pub fn text(&self) -> String {
        let get = |a: &AtomicU64| a.load(Ordering::Relaxed);
        let (ok, client, server) = (get(&self.ok), get(&self.client_errors), get(&self.server_errors));
        let mut out = String::new();
        family(&mut out, "trademl_requests_total", "counter", "Requests answered, by class of status.");
        for (class, n) in [("ok", ok), ("client_error", client), ("server_error", server)] {
            let _ = writeln!(out, "trademl_requests_total{{class=\"{class}\"}} {n}");
        }
        family(&mut out, "trademl_model_reloads_total", "counter", "Models taken into service while it ran.");
        let _ = writeln!(out, "trademl_model_reloads_total {}", get(&self.reloads));
        family(&mut out, "trademl_model_rollbacks_total", "counter", "Models that could not be loaded; the one before stayed.");
        let _ = writeln!(out, "trademl_model_rollbacks_total {}", get(&self.rollbacks));
        family(&mut out, "trademl_request_seconds", "histogram", "How long an answer took.");
        let mut below = 0;
        for (bound, count) in BUCKETS_MS.iter().zip(&self.latency) {
            below += get(count);
            let _ = writeln!(out, "trademl_request_seconds_bucket{{le=\"{}\"}} {below}", *bound as f64 / 1e3);
        }
        let all = ok + client + server;
        let _ = writeln!(out, "trademl_request_seconds_bucket{{le=\"+Inf\"}} {all}");
        let _ = writeln!(out, "trademl_request_seconds_sum {}", get(&self.latency_ms_sum) as f64 / 1e3);
        let _ = writeln!(out, "trademl_request_seconds_count {all}");
        out
    }
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Samples by name and labels; panics on a line that the format does not allow or on a sample without its family.
    fn parsed(text: &str) -> BTreeMap<String, f64> {
        let mut family = String::new();
        let mut out = BTreeMap::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().unwrap().to_string();
            } else if !line.starts_with("# HELP ") {
                let (sample, value) = line.rsplit_once(' ').unwrap();
                assert!(sample.starts_with(&family), "{line}");
                assert!(out.insert(sample.to_string(), value.parse().unwrap()).is_none(), "{line} twice");
            }
        }
        out
    }

    #[test]
    fn every_answer_is_in_one_class_and_in_every_bucket_above_it() {
        let metrics = Metrics::default();
        for (status, millis) in [(200, 3), (200, 70), (404, 2), (500, 60_000)] {
            metrics.answered(status, millis);
        }
        let all = parsed(&metrics.text());
        assert_eq!((all["trademl_requests_total{class=\"ok\"}"], all["trademl_requests_total{class=\"server_error\"}"]), (2.0, 1.0));
        let bucket = |le: &str| all[&format!("trademl_request_seconds_bucket{{le=\"{le}\"}}")];
        assert_eq!([bucket("0.01"), bucket("0.1"), bucket("10"), bucket("+Inf")], [2.0, 3.0, 3.0, 4.0]);
        assert_eq!((all["trademl_request_seconds_count"], all["trademl_request_seconds_sum"]), (4.0, 60.075));
    }
}
