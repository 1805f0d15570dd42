//! What a folder may hold beside its daily bars: minutes (`bars_1m.parquet`), companies' numbers (`companyfacts/`) and the days on
//! which they report (`earnings.csv`).

use super::load::{cell, floats, symbols, table};
use super::minutes::Minute;
use super::world::{Company, Contract, Report, World};
use crate::error::{Error, Result, code};
use crate::store;
use crate::time::{TradingDay, UtcTime, new_york};
use polars::prelude::DataType;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// The file of a folder's minutes; a daily reader leaves it alone.
pub const MINUTES: &str = "bars_1m.parquet";

/// The file of a folder's option chains.
const CHAINS: &str = "option_chains.csv";

/// The file of the days on which a folder's companies report.
const REPORTS: &str = "earnings.csv";

/// The same world with the folder's minutes and companies, where it has them.
pub fn add(mut world: World, folder: &Path) -> Result<World> {
    let file = folder.join(MINUTES);
    if file.exists() {
        world.minutes = minutes(std::fs::read(file)?).map_err(|e| e.during(MINUTES))?;
        world.minutes_from = world.minutes.keys().map(|(_, day)| *day).min();
    }
    let file = folder.join(CHAINS);
    if file.exists() {
        world.chains = chains(&std::fs::read(file)?).map_err(|e| e.during(CHAINS))?;
    }
    let file = folder.join(REPORTS);
    if file.exists() {
        world.reports = reports(&std::fs::read(file)?).map_err(|e| e.during(REPORTS))?;
    }
    let place = folder.join("companyfacts");
    if place.is_dir() {
        world.companies = companies(&place).map_err(|e| e.during("companyfacts"))?;
    }
    Ok(world)
}

/// `ts` (the start of the bar, UTC), `symbol`, open, high, low, close, volume.
fn minutes(bytes: Vec<u8>) -> Result<BTreeMap<(String, TradingDay), Vec<Minute>>> {
    let frame = store::parquet_frame(bytes)?;
    let stamps = frame.column("ts")?.as_materialized_series().cast(&DataType::Datetime(polars::prelude::TimeUnit::Microseconds, None))?;
    let stamps = stamps.cast(&DataType::Int64)?;
    let names = symbols(&frame)?;
    let [open, high, low, close, volume] = ["open", "high", "low", "close", "volume"].map(|name| floats(&frame, name));
    let (open, high, low, close, volume) = (open?, high?, low?, close?, volume?);
    let zone = new_york();
    let mut out: BTreeMap<(String, TradingDay), Vec<Minute>> = BTreeMap::new();
    for (i, stamp) in stamps.i64()?.iter().enumerate() {
        let start = UtcTime::from_micros(stamp.ok_or_else(|| Error::new(code::QC_FAILED, "a minute without a stamp"))?);
        let minute = Minute { start, ohlc: [open[i], high[i], low[i], close[i]], volume: volume[i] };
        out.entry((names[i].clone(), start.day_in(&zone))).or_default().push(minute);
    }
    out.values_mut().for_each(|list| list.sort_by_key(|m| m.start));
    Ok(out)
}

/// `symbol, report_date, hour, announced, withdrawn`; an empty last cell is a date that stood.
fn reports(bytes: &[u8]) -> Result<Vec<Report>> {
    let mut out = Vec::new();
    for row in table(bytes, REPORTS)? {
        let withdrawn = cell(&row, "withdrawn");
        out.push(Report {
            symbol: cell(&row, "symbol").to_string(),
            date: cell(&row, "report_date").parse()?,
            hour: cell(&row, "hour").to_string(),
            announced: cell(&row, "announced").parse()?,
            withdrawn: if withdrawn.is_empty() { None } else { Some(withdrawn.parse()?) },
        });
    }
    out.sort_by(|a, b| (a.date, &a.symbol).cmp(&(b.date, &b.symbol)));
    Ok(out)
}

/// `underlying, date, expiration, right, strike, bid, ask, last`; an empty cell is no quote.
fn chains(bytes: &[u8]) -> Result<BTreeMap<String, Vec<Contract>>> {
    let mut out: BTreeMap<String, Vec<Contract>> = BTreeMap::new();
    for row in table(bytes, CHAINS)? {
        let number = |name: &str| cell(&row, name).parse::<f64>().ok();
        let strike = number("strike").ok_or_else(|| Error::new(code::CFG_PARSE, "a contract without a strike"))?;
        let underlying = cell(&row, "underlying");
        let symbol = crate::vendor::options::contract(underlying, cell(&row, "expiration").parse()?, cell(&row, "right"), strike);
        let quote = Contract { symbol, day: cell(&row, "date").parse()?, bid: number("bid"), ask: number("ask"), last: number("last") };
        out.entry(underlying.to_string()).or_default().push(quote);
    }
    out.values_mut().for_each(|list| list.sort_by(|a, b| (&a.symbol, a.day).cmp(&(&b.symbol, b.day))));
    Ok(out)
}

/// `CIK0000320193.json` or the same compressed, and `tickers.csv` (`cik,ticker`) where it is there.
fn companies(place: &Path) -> Result<Vec<Company>> {
    let tickers: BTreeMap<String, String> = match std::fs::read(place.join("tickers.csv")) {
        Ok(bytes) => table(&bytes, "tickers.csv")?.iter().map(|row| (format!("{:0>10}", cell(row, "cik")), cell(row, "ticker").to_string())).collect(),
        Err(_) => BTreeMap::new(),
    };
    let mut out = Vec::new();
    for entry in std::fs::read_dir(place)? {
        let path = entry?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(cik) = name.strip_prefix("CIK").and_then(|n| n.trim_end_matches(".gz").strip_suffix(".json")) else { continue };
        let mut facts = std::fs::read(&path)?;
        if name.ends_with(".gz") {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(facts.as_slice()).read_to_end(&mut plain)?;
            facts = plain;
        }
        #[derive(serde::Deserialize)]
        struct Head {
            #[serde(rename = "entityName", default)]
            name: String,
        }
        let head: Head =
            serde_json::from_slice(&facts).map_err(|e| Error::new(code::CFG_PARSE, format!("{name} is no company's facts")).cause(e.to_string()))?;
        out.push(Company { cik: format!("{cik:0>10}"), name: head.name, ticker: tickers.get(cik).cloned(), facts });
    }
    out.sort_by(|a, b| a.cik.cmp(&b.cik));
    Ok(out)
}
