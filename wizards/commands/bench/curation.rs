//! Curation: the adjustment alone, a whole table written, and a late action. `daily.parquet`, `corp_actions.parquet` and
//! `corp_actions_late.parquet`.

use super::inputs::{Daily, Inputs};
use super::measure::{Job, checksum, significant};
use super::{Bench, Scale};
use data_layer::control::{Db, Which};
use data_layer::curate::{self, CurateReport, Depth, PriceFactor, RawPrice};
use data_layer::error::Result;
use data_layer::qc::Action;
use data_layer::reference;
use data_layer::root::{DataPath, DataRoot};
use data_layer::schema::{dataset, table, timeframe};
use data_layer::segment::{self, Asked, Manifest, Place};
use data_layer::sourcing::Vendor;
use data_layer::time::{DateRange, TradingDay, UtcTime};
use data_layer::vendor::{self, Rows};
use data_layer::{frame, store};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;

/// Symbols of one raw segment, as the connector packs them.
const SYMBOLS: usize = 100;

/// `curate_compute`, then on a drive `curate_full` (durable, with its record of what was made from what) and
/// `curate_incremental`.
pub fn curate(bench: &mut Bench<'_>) -> Result<()> {
    let read = || Market::read(&bench.inputs, bench.scale);
    let market = read()?;
    let rows = market.daily.days.len();
    let compute = bench.clock.measure(Job::new("curate_compute", rows, "rows"), || Ok(()), |()| read()?.adjusted(), |closes| Ok(checksum(&closes)))?;
    // Every repeat has a root of its own, and all go in the end: a file system that has just lost thousands of files is slow to make
    // new ones, for reasons that are not ours.
    let made = Cell::new(0);
    let fresh = || {
        made.set(made.get() + 1);
        let root = bench.fresh_root(&format!("curate.{}", made.get()))?;
        let db = Db::open(&root, Which::Node)?;
        market.store(&root)?;
        market.announce(&root, &db, &market.actions, 1)?;
        Ok((root, db))
    };
    let whole = |(root, db): (DataRoot, Db)| curate::curate(&root, &db, Depth::Incremental).map(|report| (root, report));
    let full = bench.clock.measure(Job::new("curate_full", rows, "rows").repeats(3), fresh, whole, |(root, _)| outcome(&root))?;
    let begun = || {
        let (root, db) = fresh()?;
        curate::curate(&root, &db, Depth::Incremental)?;
        market.announce(&root, &db, &market.late, 2)?;
        Ok((root, db))
    };
    let changed = |(root, report): (DataRoot, CurateReport)| {
        let mut out = outcome(&root)?;
        out["files_rewritten"] = json!(report.rewritten);
        out["symbols_changed"] = json!(market.late.keys().count());
        Ok(out)
    };
    let incremental = bench.clock.measure(Job::new("curate_incremental", rows, "rows_total").repeats(3), begun, whole, changed)?;
    bench.lines.extend([compute, full, incremental]);
    Ok(())
}

/// Day bars, and actions by symbol.
struct Market {
    daily: Daily,
    actions: BTreeMap<String, Vec<Action>>,
    late: BTreeMap<String, Vec<Action>>,
}

impl Market {
    fn read(inputs: &Inputs, scale: Scale) -> Result<Self> {
        let (actions, late) = (inputs.events("corp_actions.parquet")?, inputs.events("corp_actions_late.parquet")?);
        Ok(Self { daily: inputs.daily(scale)?, actions, late })
    }

    /// Adjusted closes, by symbol and date; the other columns are made as well.
    fn adjusted(&self) -> Result<Vec<f64>> {
        let columns = self.daily.columns()?;
        let one = |(symbol, rows): &(String, Range<usize>)| {
            let days = &self.daily.days[rows.clone()];
            let close = |i: usize| columns[3].get(rows.start + i).filter(|c| c.is_finite());
            let (steps, _) = curate::steps(days, close, self.actions.get(symbol).map_or(&[][..], Vec::as_slice));
            let factors = curate::factors(days, &steps);
            let column = |c: usize, of: &dyn Fn(f64, (f64, f64)) -> f64| -> Vec<f64> {
                rows.clone().zip(&factors).map(|(row, factor)| columns[c].get(row).map_or(f64::NAN, |v| of(v, *factor))).collect()
            };
            let mut prices = [0, 1, 2, 3, 4].map(|c| column(c, &|v, (price, _)| RawPrice(v).adjust(PriceFactor(price)).dollars()));
            std::hint::black_box((&prices, column(5, &|v, (_, split)| v * split)));
            std::mem::take(&mut prices[3])
        };
        Ok(self.daily.symbols.par_iter().map(one).collect::<Vec<_>>().concat())
    }

    /// The bars as raw segments with their manifests.
    fn store(&self, root: &DataRoot) -> Result<()> {
        let columns = self.daily.columns()?;
        for group in self.daily.symbols.chunks(SYMBOLS) {
            let bar = |symbol: &String, row: usize| {
                let (date, cell) = (self.daily.days[row], |c: usize| columns[c].get(row).filter(|v| v.is_finite()));
                vendor::Bar {
                    date,
                    ts: UtcTime::from_micros(i64::from(date.0) * 86_400_000_000),
                    symbol: symbol.as_str().into(),
                    ohlc: [cell(0), cell(1), cell(2), cell(3)],
                    vwap: cell(4),
                    volume: cell(5),
                    trades: None,
                    source_uri: "alpaca:/bars".into(),
                    vendor_ts: vendor::Stamp::Words(date.to_string().into()),
                    feed: "sip".into(),
                    asked_symbol: symbol.as_str().into(),
                }
            };
            let bars = group.iter().flat_map(|(symbol, rows)| rows.clone().map(move |row| bar(symbol, row))).collect();
            commit(root, (dataset::EQUITIES_EOD, table::RAW_EQUITIES_BARS, timeframe::DAY), &Rows::Bars(bars), 0)?;
        }
        Ok(())
    }

    /// Actions as a vendor's answer, merged into the reference table.
    fn announce(&self, root: &DataRoot, db: &Db, actions: &BTreeMap<String, Vec<Action>>, hour: i64) -> Result<()> {
        let one = |symbol: &String, a: &Action| vendor::Action {
            symbol: symbol.clone(),
            event_type: if a.cash > 0.0 { "cash_dividend" } else { "forward_split" }.into(),
            ex_date: Some(a.ex_date),
            process_date: Some(a.ex_date),
            ratio: (a.cash == 0.0).then_some(a.factor),
            cash: (a.cash > 0.0).then_some(a.cash),
            ..vendor::Action::default()
        };
        let rows = actions.iter().flat_map(|(s, list)| list.iter().map(move |a| one(s, a))).collect();
        commit(root, (dataset::CORP_ACTIONS, table::RAW_CORP_ACTIONS, "none"), &Rows::Actions(rows), hour)?;
        reference::refresh_reference(root, db).map(drop)
    }
}

fn commit(root: &DataRoot, (dataset, table, tf): (&str, &str, &str), rows: &Rows, hour: i64) -> Result<()> {
    let range = DateRange::new(TradingDay(0), TradingDay(40_000))?;
    let mut segments = Vec::new();
    for (range, mut frame, symbols) in rows.frames(Vendor::Alpaca, range)? {
        segments.push(segment::write(root, &Place { table, vendor: "alpaca", tf, range, symbols: &symbols }, &mut frame)?);
    }
    let manifest = Manifest {
        v: 1,
        dataset: dataset.into(),
        table: table.into(),
        tf: tf.into(),
        vendor: "alpaca".into(),
        segments,
        requests: Vec::new(),
        asked: Asked { symbols: Vec::new(), t0: range.start, t1: range.end, under: BTreeMap::new() },
        // What is late is told beside what was told before it; a complete answer would take that back.
        complete: dataset != dataset::CORP_ACTIONS,
        // After the last day of any input: what is yet to come is not applied.
        ingested_at: UtcTime::parse("2029-06-04T00:00:00Z")?.plus_seconds(3_600 * hour),
        node_id: "bench".into(),
        code: "bench".into(),
        world: root.drive().dataset.clone(),
    };
    segment::write_manifest(root, &manifest).map(drop)
}

/// Read back in the order of symbol and date.
fn outcome(root: &DataRoot) -> Result<Value> {
    let files = store::list(root, &DataPath::new(table::CURATED_EQUITIES)?)?;
    let (mut close, mut volume) = (Vec::new(), 0.0);
    for path in &files {
        let table = store::parquet_columns(store::read(root, path)?.unwrap_or_default(), &["close", "volume"])?;
        close.extend(frame::floats(&table, "close")?.into_iter().map(|v| v.unwrap_or(f64::NAN)));
        volume += frame::floats(&table, "volume")?.into_iter().flatten().sum::<f64>();
    }
    Ok(json!({"files": files.len(), "close": checksum(&close), "volume_sum": significant(volume, 9)}))
}
