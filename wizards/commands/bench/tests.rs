//! The benchmarks compute what they say, on small inputs made here; nothing is timed.

use super::measure::{checksum, significant};
use super::*;
use data_layer::host::FakeHost;
use data_layer::time::DateRange;
use serde_json::Value;

/// A `.npy` file of doubles.
fn npy(rows: usize, cols: usize, values: &[f64]) -> Vec<u8> {
    let header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({rows}, {cols}), }}\n");
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    out
}

/// Lines of a topic run on the files of a folder.
fn lines(topic: &str, files: &[(&str, Vec<u8>)]) -> Result<Vec<Value>> {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    let host = Host::fake(FakeHost::default());
    let inputs = Inputs::at(&Some(dir.path().to_path_buf()), Scale::S);
    let work = dir.path().join("work");
    let mut bench = Bench { host: &host, scale: Scale::S, inputs, work, clock: Clock::new(Scale::S), lines: Vec::new() };
    let topic = TOPICS.iter().find(|t| t.name == topic).unwrap();
    (topic.run)(&mut bench)?;
    Ok(bench.lines.iter().map(|l| l.json(Scale::S)).collect())
}

fn wave(n: usize) -> Vec<f64> {
    (0..n).map(|i| 0.001 + 0.01 * ((i * i) as f64 * 0.7).sin()).collect()
}

#[test]
fn a_line_has_every_field_that_a_comparison_reads() {
    let out = lines("dsr", &[("returns.npy", npy(64, 3, &wave(192)))]).unwrap();
    let fields =
        ["topic", "peer", "version", "scale", "seconds_median", "min", "max", "cpu_seconds_median", "threads", "peak_rss_mb", "checksum_of_result", "work"];
    assert!(fields.iter().all(|f| out[0].get(f).is_some()), "{}", out[0]);
    assert_eq!(out[0]["checksum_of_result"]["n"], 3);
    assert_eq!(out[0]["work"], 192);
}

#[test]
fn the_queue_is_seeded_and_drained_completely() {
    let task = |i: usize| {
        format!(
            "{{\"dataset\":\"equities_eod\",\"symbol\":\"S{i:04}\",\"start_date\":\"2020-01-02\",\"end_date\":\"2020-01-03\",\"kind\":\"GAP\",\"priority\":1}}\n"
        )
    };
    let text: String = (0..100).map(task).collect();
    let out = lines("queue", &[("queue.jsonl", text.into_bytes())]).unwrap();
    let done: Vec<&Value> = out.iter().map(|l| &l["checksum_of_result"]).collect();
    assert_eq!(done, [100, 100, 100]);
    assert_eq!(out[2]["batch"], 64);
}

#[test]
fn a_missing_input_is_named_with_the_way_to_make_it() {
    let error = lines("cscv_pbo", &[]).unwrap_err();
    assert_eq!(error.code().exit.status(), 2);
    assert!(error.body().what.contains("returns.npy"), "{error}");
    let mut fewer = npy(64, 3, &wave(192));
    fewer.truncate(fewer.len() - 8);
    assert!(lines("dsr", &[("returns.npy", fewer)]).unwrap_err().body().what.contains("another shape"));
}

#[test]
fn checksums_round_to_six_digits_and_count_what_is_missing() {
    let sums = checksum(&[1.0, f64::NAN, -2.5]);
    assert_eq!(sums, serde_json::json!({"n": 3, "nan": 1, "sum": -1.5, "abs": 3.5, "wsum": -6.5}));
    assert_eq!(significant(123_456_789.0, 6), 123_457_000.0);
}

#[test]
fn pages_become_the_files_that_were_asked_for_and_every_bar_is_in_them() {
    let minute = |symbol: &str, day: &str, i: usize| {
        format!(
            "{{\"t\":\"{day}T14:{:02}:00Z\",\"o\":1.5,\"h\":2.0,\"l\":1.0,\"c\":1.5,\"v\":10,\"n\":1,\"vw\":1.5}}{}",
            30 + i,
            if symbol.is_empty() { "" } else { "," }
        )
    };
    let list = |n: usize| {
        let text: String = ["2017-11-29", "2017-11-30"].iter().flat_map(|d| (0..n).map(|i| minute("x", d, i))).collect();
        text.trim_end_matches(',').to_string()
    };
    let page = format!("{{\"bars\":{{\"A\":[{}],\"B\":[{}]}},\"next_page_token\":null}}", list(3), list(2));
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("json")).unwrap();
    std::fs::write(dir.path().join("json/page_00000.json"), &page).unwrap();
    let host = Host::fake(FakeHost::default());
    let inputs = Inputs::at(&Some(dir.path().to_path_buf()), Scale::S);
    let mut bench = Bench { host: &host, scale: Scale::S, inputs, work: dir.path().join("work"), clock: Clock::new(Scale::S), lines: Vec::new() };
    super::ingest::ingest(&mut bench).unwrap();
    let found: Vec<Value> = bench.lines.iter().map(|l| l.json(Scale::S)["checksum_of_result"].clone()).collect();
    assert_eq!(found.iter().map(|f| f["files"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 1, 4, 4]);
    assert!(found.iter().all(|f| f["rows"] == 10 && f["close_sum"] == 15.0 && f["volume_sum"] == 100), "{found:?}");
}

#[test]
fn a_late_split_rewrites_the_files_of_its_symbol_alone() {
    use data_layer::{frame, store};
    let days: Vec<_> =
        data_layer::calendar::Calendar::xnys().sessions(DateRange::new("2010-12-27".parse().unwrap(), "2011-01-08".parse().unwrap()).unwrap()).to_vec();
    let n = days.len();
    let symbols: Vec<Option<&str>> = ["A", "B"].iter().flat_map(|s| vec![Some(*s); n]).collect();
    let prices: Vec<Option<f64>> = (0..2 * n).map(|i| Some(10.0 + i as f64)).collect();
    let mut columns = vec![
        frame::text_column("symbol", &symbols),
        frame::day_column("date", &[days.clone(), days.clone()].concat().into_iter().map(Some).collect::<Vec<_>>()).unwrap(),
    ];
    columns.extend(["open", "high", "low", "close", "vwap", "volume"].map(|name| frame::float_column(name, &prices)));
    let daily = store::parquet_bytes(&mut frame::assemble(columns).unwrap()).unwrap();
    let actions = |symbol: &str, ratio: f64| {
        let one = vec![
            frame::text_column("symbol", &[Some(symbol)]),
            frame::text_column("event_type", &[Some("split")]),
            frame::day_column("ex_date", &[Some(days[n - 1])]).unwrap(),
            frame::float_column("ratio", &[Some(ratio)]),
        ];
        store::parquet_bytes(&mut frame::assemble(one).unwrap()).unwrap()
    };
    let files = [("daily.parquet", daily), ("corp_actions.parquet", actions("A", 2.0)), ("corp_actions_late.parquet", actions("B", 4.0))];
    let out: Vec<Value> = lines("curate", &files).unwrap().iter().map(|l| l["checksum_of_result"].clone()).collect();
    // A is halved before its last session in both years; then B is quartered in both.
    let close = |name: usize, factor: f64| (0..n).map(|i| (10 + name * n + i) as f64 * if i + 1 < n { factor } else { 1.0 }).sum::<f64>();
    assert_eq!(out[0]["sum"], significant(close(0, 0.5) + close(1, 1.0), 6));
    assert_eq!((&out[1]["files"], &out[1]["close"]["sum"]), (&Value::from(4), &out[0]["sum"]));
    assert_eq!((&out[2]["files"], &out[2]["files_rewritten"], &out[2]["symbols_changed"]), (&Value::from(4), &Value::from(2), &Value::from(1)));
    assert_eq!(out[2]["close"]["sum"], significant(close(0, 0.5) + close(1, 0.25), 6));
}

/// The same book by a loop that knows nothing of the engine: sized and traded at the close after the score.
fn plain_book(close: &[Vec<f64>], k: usize) -> f64 {
    let (n, days) = (close.len(), close[0].len());
    let (mut cash, mut held) = (1e6, vec![0.0; n]);
    for t in 21..days {
        if (t - 21) % 5 != 0 {
            continue;
        }
        let value: f64 = cash + (0..n).map(|s| held[s] * close[s][t]).sum::<f64>();
        let mut order: Vec<usize> = (0..n).collect();
        let score = |s: usize| close[s][t - 1] / close[s][t - 21] - 1.0;
        order.sort_by(|a, b| score(*a).total_cmp(&score(*b)));
        for (rank, s) in order.iter().enumerate() {
            let weight = if rank < k {
                -0.5 / k as f64
            } else if rank >= n - k {
                0.5 / k as f64
            } else {
                0.0
            };
            let qty = weight * value / close[*s][t] - held[*s];
            cash -= qty * close[*s][t] + 5e-4 * qty.abs() * close[*s][t];
            held[*s] += qty;
        }
    }
    cash + (0..n).map(|s| held[s] * close[s][days - 1]).sum::<f64>()
}

#[test]
fn the_daily_book_earns_what_a_plain_loop_earns() {
    use data_layer::{frame, store};
    // With 62 sessions the last decision trades on the last one.
    for days in [62, 64] {
        let close: Vec<Vec<f64>> = (0..12)
            .map(|s| {
                wave(days + s)[s..]
                    .iter()
                    .scan(20.0 + s as f64, |p, r| {
                        Some({
                            *p *= 1.0 + r * (1.0 + 0.1 * s as f64);
                            *p
                        })
                    })
                    .collect()
            })
            .collect();
        let column: Vec<Option<f64>> = close.iter().flatten().map(|v| Some(*v)).collect();
        let names: Vec<String> = (0..12).map(|s| format!("S{s}")).collect();
        let mut sectors = frame::assemble(vec![frame::text_column("symbol", &names.iter().map(|s| Some(s.as_str())).collect::<Vec<_>>())]).unwrap();
        let mut table = frame::assemble(vec![frame::float_column("close", &column)]).unwrap();
        let files = [("daily.parquet", store::parquet_bytes(&mut table).unwrap()), ("sectors.parquet", store::parquet_bytes(&mut sectors).unwrap())];
        let found = lines("backtest_daily", &files).unwrap()[0]["checksum_of_result"]["final_equity"].as_f64().unwrap();
        let expected = plain_book(&close, 1);
        assert!((found - expected).abs() < 0.02, "{days} sessions: {found}, by hand {expected}");
    }
}

#[test]
fn every_order_of_the_evening_is_sent_and_timed() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::fake(FakeHost::default());
    let mut bench =
        Bench { host: &host, scale: Scale::S, inputs: Inputs::at(&None, Scale::S), work: dir.path().into(), clock: Clock::new(Scale::S), lines: Vec::new() };
    super::trading::orders(&mut bench).unwrap();
    for line in bench.lines.iter().map(|l| l.json(Scale::S)) {
        assert_eq!(line["checksum_of_result"], 50);
        assert!(line["latency_ms"]["p50"].as_f64() <= line["latency_ms"]["p99"].as_f64(), "{line}");
    }
}
