//! From a vendor's pages to files: decoded, encoded, written. The pages are `json/*.json`, in the shape of many symbols' bars.

use super::Bench;
use super::inputs::Page;
use super::measure::{Job, significant};
use data_layer::error::{Error, Result};
use data_layer::frame::{self, DataFrame};
use data_layer::root::{DataPath, DataRoot};
use data_layer::schema::dataset;
use data_layer::sourcing::{Base, Vendor};
use data_layer::store;
use data_layer::time::{DateRange, TradingDay};
use data_layer::vendor::{Auth, Batch, Request, Under, connector};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What becomes of a page.
#[derive(Clone, Copy, PartialEq)]
enum Files {
    /// One file.
    Bulk,
    /// One file for each date and symbol.
    Partitioned,
}

/// Both kinds of files, written and renamed; then on the drive before the next page begins.
pub fn ingest(bench: &mut Bench<'_>) -> Result<()> {
    let pages = bench.inputs.pages(bench.scale)?;
    let bytes = pages.iter().map(|p| p.body.len()).sum();
    for (topic, files, durable) in [
        ("ingest_bulk", Files::Bulk, false),
        ("ingest_bulk_fsync", Files::Bulk, true),
        ("ingest_partitioned", Files::Partitioned, false),
        ("ingest_partitioned_fsync", Files::Partitioned, true),
    ] {
        let job = Job::new(topic, bytes, "json_bytes").repeats(3);
        let line = bench.clock.measure(job, || bench.fresh_root("ingest"), |root| run(&root, &pages, files, durable).map(|()| root), |root| outcome(&root))?;
        bench.lines.push(line);
    }
    Ok(())
}

/// Pages are shared out over the processors, as the node's runners share vendors and batches.
fn run(root: &DataRoot, pages: &[Page], files: Files, durable: bool) -> Result<()> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let share = pages.len().div_ceil(workers).max(1);
    let work = |part: &[Page]| part.iter().try_for_each(|page| one(root, page, files, durable));
    let done: Vec<Result<()>> = std::thread::scope(|scope| {
        let threads: Vec<_> = pages.chunks(share).map(|part| scope.spawn(move || work(part))).collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err(Error::bug("a worker of the benchmark died")))).collect()
    });
    done.into_iter().collect()
}

fn one(root: &DataRoot, page: &Page, files: Files, durable: bool) -> Result<()> {
    let range = DateRange::new(TradingDay(0), TradingDay(40_000))?;
    let batch = Batch { dataset: dataset::EQUITIES_MINUTE.into(), symbols: page.symbols.clone(), range, page_rows: 10_000, under: Under::new() };
    let request = Request {
        vendor: Vendor::Alpaca,
        base: Base::AlpacaData,
        path: format!("/{}", page.name),
        query: vec![("feed".into(), "sip".into())],
        auth: Auth::None,
        api_version: "v2",
        weight: 1,
        unique: None,
    };
    let mut rows = connector(Vendor::Alpaca).decode(&batch, &request, &page.body).map_err(Error::bug)?.rows;
    rows.settle().map_err(Error::bug)?;
    let mut out: Vec<(DataPath, Vec<u8>)> = Vec::new();
    for (years, mut table, _) in rows.frames(Vendor::Alpaca, range)? {
        match files {
            Files::Bulk => out.push((DataPath::new(format!("raw/{}-{}.parquet", page.name, years.start.year()))?, store::parquet_bytes(&mut table)?)),
            Files::Partitioned => partitions(&table, &mut out)?,
        }
    }
    if durable {
        let borrowed: Vec<(&DataPath, &[u8])> = out.iter().map(|(p, b)| (p, b.as_slice())).collect();
        return store::write_all(root, &borrowed);
    }
    out.iter().try_for_each(|(path, bytes)| put(&root.locate(path), bytes))
}

/// A file for each run of one date and symbol.
fn partitions(table: &DataFrame, out: &mut Vec<(DataPath, Vec<u8>)>) -> Result<()> {
    let (symbols, days) = (frame::texts(table, "symbol")?, frame::days(table, "date")?);
    let mut from = 0;
    for i in 1..=symbols.len() {
        if i < symbols.len() && symbols[i] == symbols[from] && days[i] == days[from] {
            continue;
        }
        let (symbol, day) = (symbols[from].unwrap_or_default(), days[from].ok_or_else(|| Error::bug("a bar without a date"))?);
        let bytes = store::parquet_bytes(&mut table.slice(i64::try_from(from).unwrap_or(0), i - from))?;
        out.push((DataPath::new(format!("raw/date={day}/symbol={symbol}/part-0.parquet"))?, bytes));
        from = i;
    }
    Ok(())
}

/// Under its final name when it is whole, but not waited for: what the other programs' lines without `fsync` do.
#[allow(clippy::disallowed_methods)]
fn put(place: &Path, bytes: &[u8]) -> Result<()> {
    let temp: PathBuf = place.with_extension("tmp");
    if let Some(folder) = place.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&temp, bytes)?;
    Ok(std::fs::rename(&temp, place)?)
}

/// Read back: files, rows, sums of close and volume, bytes.
fn outcome(root: &DataRoot) -> Result<Value> {
    let (mut rows, mut close, mut volume, mut bytes) = (0, 0.0, 0.0, 0);
    let files = store::list(root, &DataPath::new("raw")?)?;
    for path in &files {
        let read = store::read(root, path)?.unwrap_or_default();
        bytes += read.len();
        let table = store::parquet_columns(read, &["close", "volume"])?;
        rows += table.height();
        close += frame::floats(&table, "close")?.into_iter().flatten().sum::<f64>();
        volume += frame::floats(&table, "volume")?.into_iter().flatten().sum::<f64>();
    }
    Ok(json!({"files": files.len(), "rows": rows, "close_sum": significant(close, 9), "volume_sum": volume as u64, "bytes_out": bytes}))
}
