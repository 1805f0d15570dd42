//! Raw segments and manifests for tests: a small drive with exactly the contents a test wants.

use crate::calendar::Calendar;
use crate::control::{Db, Which};
use crate::frame;
use crate::host::{FakeHost, Host};
use crate::root::{DataPath, DataRoot, FsFacts};
use crate::segment::{self, Asked, Manifest, Place, RequestRecord, Segment};
use crate::sourcing::Vendor;
use crate::stage::{self, Stage, Universe};
use crate::store;
use crate::time::{DateRange, TradingDay, UtcTime};
use crate::vendor::Rows;
use polars::prelude::DataFrame;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

/// A fresh root in a temporary folder, with its database.
pub struct Kit {
    pub root: DataRoot,
    pub db: Db,
    dir: tempfile::TempDir,
    seq: Cell<i64>,
}

/// One raw day bar.
#[derive(Clone, Debug)]
pub struct RawBar {
    pub symbol: String,
    pub day: TradingDay,
    pub ohlcv: [Option<f64>; 5],
    pub feed: &'static str,
}

pub fn day(text: &str) -> TradingDay {
    text.parse().unwrap()
}
pub fn range(from: &str, to: &str) -> DateRange {
    DateRange::new(day(from), day(to)).unwrap()
}

/// A bar that passes every check; the close wanders with the day so that nothing looks stale.
pub fn good_bar(symbol: &str, day: TradingDay) -> RawBar {
    let close = 100.0 + f64::from(day.0.rem_euclid(7)) + f64::from(symbol.bytes().map(u32::from).sum::<u32>() % 50);
    bar_at(symbol, day, close)
}
pub fn bar_at(symbol: &str, day: TradingDay, close: f64) -> RawBar {
    let volume = 1_000.0 + f64::from(day.0);
    RawBar { symbol: symbol.into(), day, ohlcv: [Some(close), Some(close * 1.01), Some(close * 0.99), Some(close), Some(volume)], feed: "sip" }
}

/// Good bars of every session of the window, sorted by (symbol, day).
pub fn good_bars(symbols: &[&str], window: DateRange) -> Vec<RawBar> {
    symbols.iter().flat_map(|s| Calendar::xnys().sessions(window).iter().map(move |d| good_bar(s, *d))).collect()
}

/// One raw minute bar: the day bar's fields, and its start.
#[derive(Clone, Debug)]
pub struct RawMinute {
    pub ts: UtcTime,
    pub bar: RawBar,
}

/// Every minute of a session, with the close of [`good_bar`] at the end and its volume in sum.
pub fn good_minutes(symbol: &str, day: TradingDay) -> Vec<RawMinute> {
    let (whole, n) = (good_bar(symbol, day), i64::from(Calendar::xnys().minutes(day)));
    let [_, _, _, close, volume] = whole.ohlcv.map(|v| v.unwrap_or(0.0));
    let minute = |i: i64| {
        let p = close * (1.0 + 0.0001 * ((n - 1 - i) % 7) as f64);
        let ohlcv = [Some(p), Some(p * 1.0002), Some(p * 0.9998), Some(p), Some(volume / n as f64)];
        RawMinute { ts: Calendar::xnys().open(day).plus_seconds(60 * i), bar: RawBar { ohlcv, ..whole.clone() } }
    };
    (0..n).map(minute).collect()
}

impl Kit {
    pub fn new() -> Self {
        Self::of("replay@1")
    }
    pub fn of(dataset: &str) -> Self {
        Self::with_host(dataset, Host::fake(FakeHost { now: UtcTime::parse("2018-03-01T12:00:00Z").unwrap(), ..FakeHost::default() }))
    }
    pub fn with_host(dataset: &str, host: Host) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = DataRoot::create(&host, dir.path(), dataset, FsFacts::default(), None).unwrap();
        let db = Db::open(&root, Which::Node).unwrap();
        Self { root, db, dir, seq: Cell::new(0) }
    }
    pub fn path(&self) -> &std::path::Path {
        self.dir.path()
    }
    /// Give the drive a stage with these symbols.
    pub fn stage(&self, symbols: &[&str]) {
        let universe = Universe::new("test", symbols.iter().map(ToString::to_string).collect());
        stage::write(&self.root, &Stage::initial(day("2018-01-02"), universe, BTreeMap::new())).unwrap();
    }
    /// Commit bars as one segment per calendar year with one manifest. Later calls are ingested an hour later.
    pub fn commit(&self, vendor: &str, asked: &[&str], window: DateRange, bars: &[RawBar]) -> Manifest {
        self.commit_as(vendor, asked, window, bars, true)
    }
    pub fn commit_as(&self, vendor: &str, asked: &[&str], window: DateRange, bars: &[RawBar], complete: bool) -> Manifest {
        let mut years: BTreeMap<i16, Vec<RawBar>> = BTreeMap::new();
        for bar in bars {
            years.entry(bar.day.year()).or_default().push(bar.clone());
        }
        let mut segments = Vec::new();
        for (year, bars) in years {
            let t0 = window.start.max(TradingDay::ymd(year, 1, 1).unwrap());
            let t1 = window.end.min(TradingDay::ymd(year + 1, 1, 1).unwrap());
            let symbols: BTreeSet<String> = bars.iter().map(|b| b.symbol.clone()).collect();
            segments.push(self.segment("equities_bars", vendor, "1d", bar_frame(vendor, &bars), symbols, t0, t1));
        }
        self.manifest("raw/equities_bars", "equities_eod", vendor, "1d", segments, asked, window, complete)
    }
    /// Give the drive a stage that expects `years` of minutes back from `since`.
    pub fn stage_with_minutes(&self, symbols: &[&str], since: &str, years: u16) {
        let universe = Universe::new("test", symbols.iter().map(ToString::to_string).collect());
        let lanes = BTreeMap::from([("equities_minute".to_string(), stage::Lane::Plain(stage::LaneState::Active))]);
        let mut stage = Stage::initial(day(since), universe, lanes);
        stage.targets.entry(0).and_modify(|t| t.minute_years = years);
        stage::write(&self.root, &stage).unwrap();
    }
    /// Commit minutes as one segment with one manifest. Later calls are ingested an hour later.
    pub fn commit_minutes(&self, vendor: &str, asked: &[&str], window: DateRange, bars: &[RawMinute]) -> Manifest {
        let flat: Vec<RawBar> = bars.iter().map(|m| m.bar.clone()).collect();
        let mut table = bar_frame(vendor, &flat);
        let stamps: Vec<UtcTime> = bars.iter().map(|m| m.ts).collect();
        table.with_column(frame::stamp_column("ts", &stamps).unwrap()).unwrap();
        let symbols: BTreeSet<String> = flat.iter().map(|b| b.symbol.clone()).collect();
        let segments = if bars.is_empty() { Vec::new() } else { vec![self.segment("equities_bars", vendor, "1m", table, symbols, window.start, window.end)] };
        self.manifest("raw/equities_bars", "equities_minute", vendor, "1m", segments, asked, window, true)
    }
    /// Commit listings: (symbol, ipo, delisting).
    pub fn listings(&self, asof: &str, rows: &[(&str, Option<&str>, Option<&str>)]) -> Manifest {
        let text = |f: &dyn Fn(usize) -> Option<String>| (0..rows.len()).map(f).collect::<Vec<_>>();
        let days = |f: &dyn Fn(usize) -> Option<TradingDay>| (0..rows.len()).map(f).collect::<Vec<_>>();
        let table = frame::assemble(vec![
            frame::text_column("symbol", &text(&|i| Some(rows[i].0.into()))),
            frame::text_column("name", &text(&|i| Some(format!("{} Inc", rows[i].0)))),
            frame::text_column("exchange", &text(&|_| Some("NYSE".into()))),
            frame::text_column("asset_type", &text(&|_| Some("Stock".into()))),
            frame::day_column("ipo_date", &days(&|i| rows[i].1.map(day))).unwrap(),
            frame::day_column("delisting_date", &days(&|i| rows[i].2.map(day))).unwrap(),
            frame::text_column("status", &text(&|i| Some(if rows[i].2.is_some() { "Delisted" } else { "Active" }.into()))),
            frame::day_column("asof", &days(&|_| Some(day(asof)))).unwrap(),
        ])
        .unwrap();
        let (t0, t1) = (day(asof), day(asof).plus_days(1));
        let symbols = rows.iter().map(|r| r.0.to_string()).collect();
        let segment = self.segment("listings", "alpha_vantage", "none", table, symbols, t0, t1);
        self.manifest("raw/listings", "listings", "alpha_vantage", "none", vec![segment], &[], DateRange { start: t0, end: t1 }, true)
    }
    /// Commit corporate actions: (symbol, type, ex-date, ratio, cash). No rows is an answer too. It is had after the days it is about.
    pub fn actions(&self, asked: &[&str], window: DateRange, rows: &[(&str, &str, &str, Option<f64>, Option<f64>)]) -> Manifest {
        self.actions_from("alpaca", 1, asked, window, rows)
    }
    /// The same from another source with its place in the order of sources.
    pub fn actions_from(
        &self,
        vendor: &str,
        priority: i64,
        asked: &[&str],
        window: DateRange,
        rows: &[(&str, &str, &str, Option<f64>, Option<f64>)],
    ) -> Manifest {
        let mut segments = Vec::new();
        if !rows.is_empty() {
            let nothing: Vec<Option<TradingDay>> = vec![None; rows.len()];
            let table = frame::assemble(vec![
                frame::text_column("symbol", &rows.iter().map(|r| Some(r.0)).collect::<Vec<_>>()),
                frame::text_column("event_type", &rows.iter().map(|r| Some(r.1)).collect::<Vec<_>>()),
                frame::day_column("ex_date", &rows.iter().map(|r| Some(day(r.2))).collect::<Vec<_>>()).unwrap(),
                frame::day_column("record_date", &nothing).unwrap(),
                frame::day_column("pay_date", &nothing).unwrap(),
                frame::float_column("ratio", &rows.iter().map(|r| r.3).collect::<Vec<_>>()),
                frame::float_column("cash", &rows.iter().map(|r| r.4).collect::<Vec<_>>()),
                frame::int_column("source_priority", &vec![Some(priority); rows.len()]),
            ])
            .unwrap();
            let symbols = rows.iter().map(|r| r.0.to_string()).collect();
            segments.push(self.segment("corp_actions", vendor, "none", table, symbols, window.start, window.end));
        }
        let told = self.unwritten("raw/corp_actions", "corp_actions", vendor, "none", segments, asked, window, true);
        let seen = if window.end.year() < 2018 {
            told.ingested_at
        } else {
            UtcTime::midnight_in(&crate::time::new_york(), window.end).plus_seconds(3600 * self.seq.get())
        };
        let told = Manifest { ingested_at: seen, ..told };
        self.put_manifest(&told, self.seq.get() - 1);
        told
    }
    /// Commit a vendor's own actions, with its numbers and the days under which it files them, had at a moment.
    pub fn stated(&self, vendor: Vendor, asked: &[&str], window: DateRange, at: &str, rows: Vec<crate::vendor::Action>) -> Manifest {
        let rows = Rows::Actions(rows);
        let mut segments = Vec::new();
        for (range, mut frame, symbols) in rows.frames(vendor, window).unwrap() {
            let place = Place { table: "raw/corp_actions", vendor: vendor.as_str(), tf: "none", range, symbols: &symbols };
            segments.push(segment::write(&self.root, &place, &mut frame).unwrap());
        }
        let told = self.unwritten("raw/corp_actions", "corp_actions", vendor.as_str(), "none", segments, asked, window, true);
        let told = Manifest { ingested_at: UtcTime::parse(at).unwrap(), ..told };
        self.put_manifest(&told, self.seq.get() - 1);
        told
    }

    #[allow(clippy::too_many_arguments)]
    fn segment(&self, table: &str, vendor: &str, tf: &str, mut rows: DataFrame, symbols: BTreeSet<String>, t0: TradingDay, t1: TradingDay) -> Segment {
        let bytes = store::parquet_bytes(&mut rows).unwrap();
        let sha256 = store::sha256_hex(&bytes);
        let path = DataPath::new(format!("raw/{table}/src={vendor}/tf={tf}/y={}/{t0}_{t1}_m{}_{}.parquet", t0.year(), symbols.len(), &sha256[..16])).unwrap();
        store::write_atomic(&self.root, &path, &bytes).unwrap();
        Segment { path, rows: rows.height() as u64, bytes: bytes.len() as u64, sha256, symbols: symbols.into_iter().collect(), t0, t1 }
    }
    #[allow(clippy::too_many_arguments)]
    fn manifest(&self, table: &str, dataset: &str, vendor: &str, tf: &str, segments: Vec<Segment>, asked: &[&str], w: DateRange, complete: bool) -> Manifest {
        let manifest = self.unwritten(table, dataset, vendor, tf, segments, asked, w, complete);
        self.put_manifest(&manifest, self.seq.get() - 1);
        manifest
    }
    #[allow(clippy::too_many_arguments)]
    fn unwritten(&self, table: &str, dataset: &str, vendor: &str, tf: &str, segments: Vec<Segment>, asked: &[&str], w: DateRange, complete: bool) -> Manifest {
        let n = self.seq.replace(self.seq.get() + 1);
        let rows = segments.iter().map(|s| s.rows).sum();
        let source_uri = format!("{vendor}:/bars?n={n}");
        Manifest {
            v: 1,
            dataset: dataset.into(),
            table: table.into(),
            tf: tf.into(),
            vendor: vendor.into(),
            segments,
            requests: vec![RequestRecord { source_uri, http: 200, pages: 1, rows, body_sha256: "00".into(), api_version: "v2".into() }],
            asked: Asked { symbols: asked.iter().map(ToString::to_string).collect(), t0: w.start, t1: w.end, under: BTreeMap::new() },
            complete,
            ingested_at: UtcTime::parse("2018-02-01T00:00:00Z").unwrap().plus_seconds(3600 * n),
            node_id: "node-1".into(),
            code: "test".into(),
            world: self.root.drive().dataset.clone(),
        }
    }
    pub fn put_manifest(&self, manifest: &Manifest, seq: i64) -> DataPath {
        let table = manifest.table.trim_start_matches("raw/");
        let text = store::canonical_json(manifest).unwrap();
        let path =
            format!("manifests/{table}/{}/{}/{seq:06}-{}.json", manifest.vendor, manifest.ingested_at.utc_day(), &store::sha256_hex(text.as_bytes())[..16]);
        let path = DataPath::new(path).unwrap();
        store::write_atomic(&self.root, &path, text.as_bytes()).unwrap();
        path
    }
    /// Commit a vendor's decoded rows as a batch does, seen at `at`.
    pub fn commit_rows(&self, vendor: Vendor, dataset: &str, asked: &[&str], window: DateRange, rows: &Rows, at: &str) -> Manifest {
        let table = match dataset {
            "companies" => "raw/companies",
            "filings" => "raw/filings",
            "earnings_calendar" => "raw/earnings_calendar",
            "delistings" => "raw/listings",
            "treasury" => "raw/macros_fred",
            "options_chains" => "raw/options_chains",
            _ => "raw/fundamentals",
        };
        let mut segments = Vec::new();
        for (range, mut frame, symbols) in rows.frames(vendor, window).unwrap() {
            let place = Place { table, vendor: vendor.as_str(), tf: "none", range, symbols: if asked.is_empty() { &[] } else { &symbols } };
            segments.push(segment::write(&self.root, &place, &mut frame).unwrap());
        }
        let seen =
            Manifest { ingested_at: UtcTime::parse(at).unwrap(), ..self.unwritten(table, dataset, vendor.as_str(), "none", segments, asked, window, true) };
        self.put_manifest(&seen, self.seq.get());
        seen
    }
    /// The absolute place of a file, for damaging it.
    pub fn place(&self, path: &DataPath) -> std::path::PathBuf {
        self.root.locate(path)
    }
}

fn bar_frame(vendor: &str, bars: &[RawBar]) -> DataFrame {
    let text = |f: &dyn Fn(&RawBar) -> Option<String>| bars.iter().map(f).collect::<Vec<_>>();
    let number = |i: usize| bars.iter().map(|b| b.ohlcv[i]).collect::<Vec<_>>();
    let empty: Vec<Option<f64>> = vec![None; bars.len()];
    frame::assemble(vec![
        frame::day_column("date", &bars.iter().map(|b| Some(b.day)).collect::<Vec<_>>()).unwrap(),
        frame::int_column("ts", &bars.iter().map(|b| Some(Calendar::xnys().open(b.day).micros())).collect::<Vec<_>>()),
        frame::text_column("symbol", &text(&|b| Some(b.symbol.clone()))),
        frame::float_column("open", &number(0)),
        frame::float_column("high", &number(1)),
        frame::float_column("low", &number(2)),
        frame::float_column("close", &number(3)),
        frame::float_column("vwap", &empty),
        frame::float_column("volume", &number(4)),
        frame::float_column("nbbo_spread", &empty),
        frame::int_column("trades", &vec![Some(1); bars.len()]),
        frame::text_column("session_id", &text(&|b| Some(format!("XNYS:{}", b.day)))),
        frame::text_column("source_name", &text(&|_| Some(vendor.into()))),
        frame::text_column("source_uri", &text(&|_| Some(format!("{vendor}:/bars")))),
        frame::text_column("vendor_ts", &text(&|b| Some(b.day.to_string()))),
        frame::text_column("api_version", &text(&|_| Some("v2".into()))),
        frame::text_column("feed", &text(&|b| Some(b.feed.into()))),
        frame::text_column("asked_symbol", &text(&|b| Some(b.symbol.clone()))),
    ])
    .unwrap()
}
