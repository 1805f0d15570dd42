//! The sandbox from outside: by calls on its state, and over HTTP where connections matter.

mod actions;
mod broker;
mod clock;
mod companies;
mod data;
mod dialects;
mod faults;
mod http;
mod ingest;
mod lanes;
mod limits;
mod node;
mod packing;
mod renames;
mod vendor_faults;

use super::wire::{Call, Reply};
use super::{SandboxConfig, State, keys};
use crate::calendar::Calendar;
use crate::host::{FakeHost, Host};
use crate::time::{DateRange, TradingDay, UtcTime};
use polars::prelude::{Column, DataFrame};
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

fn t(s: &str) -> UtcTime {
    UtcTime::parse(s).unwrap()
}

fn host() -> Host {
    Host::fake(FakeHost::default())
}

/// `METHOD /vendor/path?a=b` with the practice keys and an optional JSON body.
fn call(method: &str, target: &str, body: &str) -> Call {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (vendor, rest) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    let query = query.split('&').filter_map(|p| p.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect();
    let headers = [("apca-api-key-id", keys::ALPACA_ID), ("apca-api-secret-key", keys::ALPACA_SECRET)].map(|(k, v)| (k.to_string(), v.to_string())).into();
    let path = if rest.is_empty() && vendor == "_world" { String::new() } else { format!("/{rest}") };
    Call { vendor: vendor.into(), method: method.into(), path, query, headers, body: body.into() }
}

impl State {
    fn get(&self, target: &str) -> Reply {
        self.answer(&call("GET", target, "")).reply
    }
    fn post(&self, target: &str, body: &str) -> Reply {
        self.answer(&call("POST", target, body)).reply
    }
    fn order(&self, id: &str) -> Value {
        self.get(&format!("/alpaca_trading/v2/orders:by_client_order_id?client_order_id={id}")).value()
    }
    fn go(&self, to: &str) {
        self.advance(t(to)).unwrap();
    }
}

/// A folder world whose names have one price a session, or none, and files beside the prices.
fn priced(names: &[&'static str], window: DateRange, price: fn(&str, TradingDay) -> Option<f64>, files: &[(&str, &str)]) -> (TempDir, SandboxConfig) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("world");
    std::fs::create_dir(&data).unwrap();
    let sessions = Calendar::xnys().sessions(window);
    let of = |s: &'static str| sessions.iter().filter_map(move |d| Some((d.to_string(), s, price(s, *d)?, 1_000_000 + i64::from(d.0))));
    let rows: Vec<(String, &str, f64, i64)> = names.iter().copied().flat_map(of).collect();
    let mut columns = vec![
        Column::new("date".into(), rows.iter().map(|r| r.0.as_str()).collect::<Vec<_>>()),
        Column::new("Name".into(), rows.iter().map(|r| r.1).collect::<Vec<_>>()),
    ];
    columns.extend(["open", "high", "low", "close"].map(|n| Column::new(n.into(), rows.iter().map(|r| r.2).collect::<Vec<_>>())));
    columns.push(Column::new("volume".into(), rows.iter().map(|r| r.3).collect::<Vec<_>>()));
    let mut prices = DataFrame::new(rows.len(), columns).unwrap();
    std::fs::write(data.join("prices.parquet"), crate::store::parquet_bytes(&mut prices).unwrap()).unwrap();
    files.iter().for_each(|(name, text)| std::fs::write(data.join(name), text).unwrap());
    let cfg = SandboxConfig { data_dir: Some(data), ..SandboxConfig::replay(dir.path().join("state")) };
    (dir, cfg)
}

/// A folder world: A and B complete, C delisted after 2017-11-27. The 24th closes early.
const DAYS: [&str; 6] = ["2017-11-21", "2017-11-22", "2017-11-24", "2017-11-27", "2017-11-28", "2017-11-29"];

fn write_world(folder: &Path) {
    let (mut date, mut name, mut open, mut high, mut low, mut close) = (vec![], vec![], vec![], vec![], vec![], vec![]);
    for (symbol, base, n) in [("A", 100.0, 6), ("B", 50.0, 6), ("C", 10.0, 4)] {
        for (i, day) in DAYS.iter().take(n).enumerate() {
            let o = base + i as f64;
            date.push(*day);
            name.push(symbol);
            open.push(o);
            high.push(o + 2.0);
            low.push(o - 2.0);
            close.push(o + 1.0);
        }
    }
    let volume: Vec<i64> = vec![1000; date.len()];
    let columns = vec![
        Column::new("date".into(), date.clone()),
        Column::new("Name".into(), name),
        Column::new("open".into(), open),
        Column::new("high".into(), high),
        Column::new("low".into(), low),
        Column::new("close".into(), close),
        Column::new("volume".into(), volume),
    ];
    let mut frame = DataFrame::new(date.len(), columns).unwrap();
    std::fs::write(folder.join("prices.parquet"), crate::store::parquet_bytes(&mut frame).unwrap()).unwrap();
}

struct Small {
    dir: TempDir,
    cfg: SandboxConfig,
}

/// The small world, its clock at the close of its first day.
fn small() -> Small {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("world");
    std::fs::create_dir(&data).unwrap();
    write_world(&data);
    let cfg = SandboxConfig { data_dir: Some(data), ..SandboxConfig::replay(dir.path().join("state")) };
    Small { dir, cfg }
}

impl Small {
    fn open(&self) -> State {
        State::open(&self.cfg).unwrap()
    }
}

fn buy(id: &str, symbol: &str, qty: u32) -> String {
    format!(r#"{{"symbol":"{symbol}","qty":"{qty}","side":"buy","type":"market","time_in_force":"day","client_order_id":"{id}"}}"#)
}
