//! Curation: the adjustment alone, a whole table written, and a late action. `daily.parquet`, `corp_actions.parquet` and
//! `corp_actions_late.parquet`.

use super::inputs::Inputs;
use super::measure::{Job, checksum, significant};
use super::{Bench, Scale};
use data_layer::control::{Db, Which};
use data_layer::curate::{self, CurateReport, Depth, PriceFactor, RawPrice};
use data_layer::error::Result;
use data_layer::qc::{Action, Bar};
use data_layer::reference;
use data_layer::root::{DataPath, DataRoot};
use data_layer::schema::{dataset, table, timeframe};
use data_layer::segment::{self, Asked, Manifest, Place};
use data_layer::sourcing::Vendor;
use data_layer::time::{DateRange, TradingDay, UtcTime};
use data_layer::vendor::{self, Rows};
use data_layer::{frame, store};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Symbols of one raw segment, as the connector packs them.
const SYMBOLS: usize = 100;

/// `curate_compute`, then on a drive `curate_full` (durable, with its record of what was made from what) and
/// `curate_incremental`.
pub fn curate(bench: &mut Bench<'_>) -> Result<()> {
    let read = || Market::read(&bench.inputs, bench.scale);
    let market = read()?;
    let rows = market.days.values().map(Vec::len).sum();
    let compute = bench.clock.measure(Job::new("curate_compute", rows, "rows"), || Ok(()), |()| Ok(read()?.adjusted()), |closes| Ok(checksum(&closes)))?;
    let fresh = || {
        let root = bench.fresh_root("curate")?;
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

/// Day bars and actions by symbol.
struct Market {
    days: BTreeMap<String, Vec<Bar>>,
    actions: BTreeMap<String, Vec<Action>>,
    late: BTreeMap<String, Vec<Action>>,
}

impl Market {
    fn read(inputs: &Inputs, scale: Scale) -> Result<Self> {
        let (actions, late) = (inputs.events("corp_actions.parquet")?, inputs.events("corp_actions_late.parquet")?);
        Ok(Self { days: inputs.daily(scale)?, actions, late })
    }

    /// Adjusted closes, by symbol and date.
    fn adjusted(&self) -> Vec<f64> {
        let mut out = Vec::new();
        for (symbol, bars) in &self.days {
            let (steps, _) = curate::steps(bars, self.actions.get(symbol).map_or(&[][..], Vec::as_slice));
            let days: Vec<TradingDay> = bars.iter().map(|b| b.day).collect();
            for (bar, (price, split)) in bars.iter().zip(curate::factors(&days, &steps)) {
                let adjusted = [bar.open, bar.high, bar.low, bar.close, bar.vwap].map(|p| p.map(|p| RawPrice(p).adjust(PriceFactor(price)).dollars()));
                std::hint::black_box((adjusted, bar.volume.map(|v| v * split)));
                out.push(adjusted[3].unwrap_or(f64::NAN));
            }
        }
        out
    }

    /// The bars as raw segments with their manifests.
    fn store(&self, root: &DataRoot) -> Result<()> {
        let names: Vec<&String> = self.days.keys().collect();
        for group in names.chunks(SYMBOLS) {
            let bar = |symbol: &String, b: &Bar| vendor::Bar {
                date: b.day,
                ts: UtcTime::from_micros(i64::from(b.day.0) * 86_400_000_000),
                symbol: symbol.as_str().into(),
                ohlc: [b.open, b.high, b.low, b.close],
                vwap: b.vwap,
                volume: b.volume,
                trades: None,
                source_uri: "alpaca:/bars".into(),
                vendor_ts: vendor::Stamp::Words(b.day.to_string().into()),
                feed: "sip".into(),
                asked_symbol: symbol.as_str().into(),
            };
            let bars = group.iter().flat_map(|s| self.days[*s].iter().map(|b| bar(s, b))).collect();
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
