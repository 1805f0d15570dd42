//! A small market on a temporary drive, for the tests of the pipelines.

use crate::pipelines::config::{EQUITIES_XS, TrainingConfig};
use crate::pipelines::train::{self, Pinned};
use crate::validation::gate::{Coverage, CoverageSource};
use data_layer::calendar::Calendar;
use data_layer::error::Result;
use data_layer::host::{FakeHost, Host};
use data_layer::root::{DataPath, DataRoot, FsFacts};
use data_layer::store;
use data_layer::time::{DateRange, TradingDay};
use polars::prelude::{Column, DataFrame, DataType, NamedFrom, Series};
use std::collections::BTreeMap;
use std::path::Path;

const SYMBOLS: usize = 14;
const SESSIONS: usize = 190;

pub(super) fn host(crash_at: Option<(&str, u64)>, env: &[(&str, &str)]) -> Host {
    let env: BTreeMap<String, String> = env.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect();
    Host::fake(FakeHost { crash_at: crash_at.map(|(n, k)| (n.to_string(), k)), env, ..FakeHost::default() })
}

pub(super) fn create(dir: &Path) -> DataRoot {
    let root = DataRoot::create(&host(None, &[]), dir, "null@2:7", FsFacts::default(), None).unwrap();
    write_market(&root);
    root
}

pub(super) fn days() -> Vec<TradingDay> {
    let window = DateRange::new("2015-01-02".parse().unwrap(), "2016-12-31".parse().unwrap()).unwrap();
    Calendar::xnys().sessions(window)[..SESSIONS].to_vec()
}

/// Random walks without any edge.
fn write_market(root: &DataRoot) {
    let days = days();
    let mut state = 88_172_645_463_325_252u64;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let mut lines = String::new();
    for s in 0..SYMBOLS {
        let mut price = 50.0 + 5.0 * s as f64;
        let (mut open, mut close, mut volume) = (Vec::new(), Vec::new(), Vec::new());
        for _ in &days {
            let noise: f64 = (0..6).map(|_| uniform() - 0.5).sum();
            open.push(price * (1.0 + 0.002 * (uniform() - 0.5)));
            price *= 1.0 + 0.02 * noise;
            close.push(price);
            volume.push(1e6 * (1.0 + uniform()));
        }
        let high: Vec<f64> = open.iter().zip(&close).map(|(a, b)| a.max(*b) * 1.001).collect();
        let low: Vec<f64> = open.iter().zip(&close).map(|(a, b)| a.min(*b) * 0.999).collect();
        let symbol = format!("S{s:02}");
        let date = Series::new("date".into(), days.iter().map(|d| d.0).collect::<Vec<i32>>()).cast(&DataType::Date).unwrap();
        let mut columns: Vec<Column> = vec![date.into(), Series::new("symbol".into(), vec![symbol.as_str(); days.len()]).into()];
        let ones = vec![1.0; days.len()];
        let values = [&open, &high, &low, &close, &close, &volume, &close, &ones];
        for (name, values) in ["open", "high", "low", "close", "vwap", "volume", "close_raw", "split_factor"].into_iter().zip(values) {
            columns.push(Series::new(name.into(), values.clone()).into());
        }
        let path = DataPath::new(format!("curated/equities_ohlcv_adj/sym={symbol}/dt=2015/part-0.parquet")).unwrap();
        let info = store::write_parquet(root, &path, &mut DataFrame::new(days.len(), columns).unwrap()).unwrap();
        lines.push_str(&format!("{path} {}\n", info.sha256));
    }
    lines.push_str("schema 1\n");
    let id = format!("snap-{}", &store::sha256_hex(lines.as_bytes())[..16]);
    store::write_atomic(root, &DataPath::new(format!("manifests/snapshots/{id}.txt")).unwrap(), lines.as_bytes()).unwrap();
}

/// The one snapshot of a drive.
pub(super) fn snapshot(root: &DataRoot) -> String {
    let lists = store::list(root, &DataPath::new("manifests/snapshots").unwrap()).unwrap();
    lists[0].file_name().trim_end_matches(".txt").to_string()
}

/// Four groups, two cells and a few rounds: enough to exercise every step.
pub(super) fn config() -> TrainingConfig {
    let yaml = EQUITIES_XS
        .replace("groups: 8, test_groups: 2, embargo_sessions: 10", "groups: 4, test_groups: 2, embargo_sessions: 2")
        .replace("num_leaves: [15, 31], min_data_in_leaf: [100, 400]", "num_leaves: [4, 7], min_data_in_leaf: [20]")
        .replace("rounds: 150", "rounds: 8")
        .replace("holdout: {months: 6}", "holdout: {months: 0}");
    TrainingConfig::parse(&yaml).unwrap()
}

pub(super) fn pinned(root: &DataRoot, config: &TrainingConfig) -> Pinned {
    let days = days();
    let held = DateRange::new(days[0], days[SESSIONS - 1].plus_days(1)).unwrap();
    train::pin(root, config, days[SESSIONS - 1], held, &snapshot(root), "01RUN").unwrap()
}

/// A ledger in which everything is GREEN.
pub(super) struct AllGreen;

impl CoverageSource for AllGreen {
    fn coverage(&self, _: &str, _: DateRange) -> Result<Coverage> {
        Ok(Coverage { expected: 10, green: 10, ..Coverage::default() })
    }
    fn no_lane(&self, _: &str) -> Result<Option<String>> {
        Ok(None)
    }
}
