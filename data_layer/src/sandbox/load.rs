//! Reading a world: the embedded one, or any folder of Parquet.

use super::extras;
use super::synth;
use super::world::{About, Action, Listing, MacroValue, Series, Stay, Telling, World};
use crate::calendar::Calendar;
use crate::error::{Error, Result, code};
use crate::store;
use crate::time::TradingDay;
use polars::prelude::{DataFrame, DataType, Series as Column, TimeUnit};
use std::collections::BTreeMap;
use std::path::Path;

const REPLAY_BARS: &[u8] = include_bytes!("../../assets/replay/bars_1d.parquet");
const REPLAY_LISTINGS: &str = include_str!("../../assets/replay/listings.csv");
const REPLAY_ABOUT: &str = include_str!("../../assets/replay/world.yml");
const REPLAY_VIX: &str = include_str!("../../assets/replay/vix.csv");
const SP500_STAYS: &str = include_str!("../../assets/index_membership/sp500_ticker_start_end.csv");

/// The world that `name` and `folder` select. A folder wins over the name, which may then be anything.
pub fn load(name: &str, seed: u64, folder: Option<&Path>) -> Result<World> {
    match (folder, name) {
        (Some(folder), _) => from_folder(folder).map_err(|e| e.during(&format!("reading the world in {}", folder.display()))),
        (None, "replay") => embedded(),
        (None, "planted" | "null") => synth::world(name, seed),
        (None, other) => Err(Error::new(code::USE_ARGUMENT, format!("there is no world called '{other}' in this version"))
            .cause("the built-in worlds are 'replay', 'planted' and 'null'; any folder of Parquet is one too")
            .fix("trademl sandbox --world replay")
            .fix("trademl sandbox --data DIR")),
    }
}

/// Real daily prices of 100 names, 2013 to 2018.
pub fn embedded() -> Result<World> {
    let mut rows = Rows::default();
    rows.add(&store::parquet_frame(REPLAY_BARS.to_vec())?)?;
    let world = World::assemble(about(REPLAY_ABOUT)?, rows.finish()?, listings(REPLAY_LISTINGS.as_bytes())?, Vec::new())?;
    Ok(world.with_reference(vix(REPLAY_VIX.as_bytes())?, stays(SP500_STAYS.as_bytes())?))
}

fn from_folder(folder: &Path) -> Result<World> {
    let mut names: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let read = |name: &str| -> Result<Option<Vec<u8>>> { if names.iter().any(|n| n == name) { Ok(Some(std::fs::read(folder.join(name))?)) } else { Ok(None) } };
    let (mut rows, mut digests) = (Rows::default(), String::new());
    for name in names.iter().filter(|n| n.ends_with(".parquet") && *n != extras::MINUTES) {
        let bytes = std::fs::read(folder.join(name))?;
        digests.push_str(&format!("{name} {}\n", store::sha256_hex(&bytes)));
        rows.add(&store::parquet_frame(bytes)?).map_err(|e| e.during(name))?;
    }
    for name in ["listings.csv", "corp_actions.csv", "vix.csv", "macros.csv", "index_membership.csv"] {
        if let Some(bytes) = read(name)? {
            digests.push_str(&format!("{name} {}\n", store::sha256_hex(&bytes)));
        }
    }
    let about = match read("world.yml")? {
        Some(bytes) => about(&String::from_utf8_lossy(&bytes))?,
        None => About {
            id: format!("folder-{}", &store::sha256_hex(digests.as_bytes())[..8]),
            version: 1,
            adjusted: "raw".into(),
            known_bias: "A folder without world.yml: how its prices are adjusted and which names it leaves out is not known.".into(),
        },
    };
    let listings = read("listings.csv")?.map(|b| listings(&b)).transpose()?.unwrap_or_default();
    let actions = read("corp_actions.csv")?.map(|b| actions(&b)).transpose()?.unwrap_or_default();
    let mut values = read("macros.csv")?.map(|b| macros(&b)).transpose()?.unwrap_or_default();
    if !values.iter().any(|m| m.series == VIX) {
        values.extend(read("vix.csv")?.map(|b| vix(&b)).transpose()?.unwrap_or_default());
    }
    let members = read("index_membership.csv")?.map(|b| stays(&b)).transpose()?.unwrap_or_default();
    extras::add(World::assemble(about, rows.finish()?, listings, actions)?.with_reference(values, members), folder)
}

/// The volatility index in the words of FRED.
const VIX: &str = "VIXCLS";

/// `date, open, high, low, close`: the close is published on the morning of the next session and never revised.
fn vix(bytes: &[u8]) -> Result<Vec<MacroValue>> {
    let calendar = Calendar::xnys();
    table(bytes, "vix.csv")?
        .iter()
        .map(|row| {
            let observed: TradingDay = cell(row, "date").parse()?;
            let close = cell(row, "close");
            let value = close.parse().map_err(|_| Error::new(code::CFG_PARSE, format!("vix.csv: '{close}' is not a number")))?;
            Ok(MacroValue { series: VIX.into(), observed, value: Some(value), from: calendar.next(observed)?, until: None })
        })
        .collect()
}

/// `series_id, observation_date, value, realtime_start, realtime_end`; a dot or nothing is a missing value.
fn macros(bytes: &[u8]) -> Result<Vec<MacroValue>> {
    table(bytes, "macros.csv")?
        .iter()
        .map(|row| {
            let text = cell(row, "value");
            let value = match text {
                "" | "." => None,
                number => Some(number.parse().map_err(|_| Error::new(code::CFG_PARSE, format!("macros.csv: '{number}' is not a number")))?),
            };
            let until = optional_day(cell(row, "realtime_end"))?.filter(|d| d.year() < 9999);
            let (observed, from) = (cell(row, "observation_date").parse()?, cell(row, "realtime_start").parse()?);
            Ok(MacroValue { series: cell(row, "series_id").to_string(), observed, value, from, until })
        })
        .collect()
}

/// `ticker, start_date, end_date` (or `symbol`); no end = still in.
fn stays(bytes: &[u8]) -> Result<Vec<Stay>> {
    table(bytes, "index_membership.csv")?
        .iter()
        .map(|row| {
            let symbol = if row.contains_key("symbol") { cell(row, "symbol") } else { cell(row, "ticker") };
            Ok(Stay { symbol: symbol.to_string(), from: cell(row, "start_date").parse()?, to: optional_day(cell(row, "end_date"))? })
        })
        .collect()
}

fn about(text: &str) -> Result<About> {
    let about: About = super::yaml(text).map_err(|e| e.during("world.yml"))?;
    let word = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if !word(&about.id) {
        return Err(Error::new(code::CFG_VALUE, format!("world.yml: id '{}' is not lower-case letters, digits, '-' and '_'", about.id)));
    }
    if !matches!(about.adjusted.as_str(), "raw" | "split") {
        return Err(Error::new(code::CFG_VALUE, format!("world.yml: adjusted is '{}'", about.adjusted)).fix("write: adjusted: raw, or: adjusted: split"));
    }
    Ok(about)
}

/// Bars gathered from any number of files, keyed so that order in the files does not matter.
#[derive(Default)]
struct Rows(BTreeMap<String, BTreeMap<TradingDay, [f64; 5]>>);

impl Rows {
    fn add(&mut self, frame: &DataFrame) -> Result<()> {
        let days = days(frame)?;
        let symbols = symbols(frame)?;
        let mut cells = Vec::with_capacity(5);
        for name in ["open", "high", "low", "close", "volume"] {
            cells.push(floats(frame, name)?);
        }
        for (row, (day, symbol)) in days.iter().zip(&symbols).enumerate() {
            let bar = [cells[0][row], cells[1][row], cells[2][row], cells[3][row], cells[4][row]];
            if !self.0.contains_key(symbol) {
                self.0.insert(symbol.clone(), BTreeMap::new());
            }
            let Some(bars) = self.0.get_mut(symbol) else { continue };
            if bars.insert(*day, bar).is_some() {
                return Err(
                    Error::new(code::DATA_CONFLICT, format!("two bars of {symbol} on {day}")).fix("keep one row per symbol and date in the world's Parquet")
                );
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<Series>> {
        let mut out = Vec::with_capacity(self.0.len());
        for (symbol, bars) in self.0 {
            let mut s = Series { symbol, ..Series::default() };
            for (day, [open, high, low, close, volume]) in bars {
                s.days.push(day);
                s.open.push(open);
                s.high.push(high);
                s.low.push(low);
                s.close.push(close);
                s.volume.push(volume);
            }
            out.push(s);
        }
        Ok(out)
    }
}

fn column(frame: &DataFrame, names: &[&str]) -> Result<Column> {
    names.iter().find_map(|n| frame.column(n).ok()).map(|c| c.as_materialized_series().clone()).ok_or_else(|| {
        Error::new(code::QC_FAILED, format!("the Parquet has no column '{}'", names.join("' or '"))).found(format!("{:?}", frame.get_column_names()))
    })
}

pub(super) fn floats(frame: &DataFrame, name: &str) -> Result<Vec<f64>> {
    let c = column(frame, &[name])?.cast(&DataType::Float64)?;
    Ok(c.f64()?.iter().map(|v| v.unwrap_or(f64::NAN)).collect())
}

pub(super) fn symbols(frame: &DataFrame) -> Result<Vec<String>> {
    let c = column(frame, &["symbol", "Name"])?.cast(&DataType::String)?;
    c.str()?.iter().map(|v| v.map(str::to_string).ok_or_else(|| Error::new(code::QC_FAILED, "a row without a symbol"))).collect()
}

/// Dates from a `Date`, a `Datetime` (its date in UTC) or text that starts with `YYYY-MM-DD`.
fn days(frame: &DataFrame) -> Result<Vec<TradingDay>> {
    let c = column(frame, &["date", "Date"])?;
    let missing = || Error::new(code::QC_FAILED, "a row without a date");
    match c.dtype().clone() {
        DataType::Date => c.cast(&DataType::Int32)?.i32()?.iter().map(|v| v.map(TradingDay).ok_or_else(missing)).collect(),
        DataType::Datetime(unit, _) => {
            let per_day = match unit {
                TimeUnit::Nanoseconds => 86_400_000_000_000,
                TimeUnit::Microseconds => 86_400_000_000,
                TimeUnit::Milliseconds => 86_400_000,
            };
            let to_day = |v: i64| TradingDay(i32::try_from(v.div_euclid(per_day)).unwrap_or(0));
            c.cast(&DataType::Int64)?.i64()?.iter().map(|v| v.map(to_day).ok_or_else(missing)).collect()
        }
        _ => c.cast(&DataType::String)?.str()?.iter().map(|v| v.ok_or_else(missing).and_then(|t| t.get(..10).unwrap_or(t).parse())).collect(),
    }
}

/// A cell that may be empty or the word `null`.
fn optional_day(text: &str) -> Result<Option<TradingDay>> {
    match text.trim() {
        "" | "null" => Ok(None),
        day => day.parse().map(Some),
    }
}

pub(super) fn table(bytes: &[u8], what: &str) -> Result<Vec<BTreeMap<String, String>>> {
    let bad = |e: csv::Error| Error::new(code::CFG_PARSE, format!("{what} is not a valid CSV")).cause(e.to_string());
    let mut reader = csv::Reader::from_reader(bytes);
    reader.deserialize().map(|row| row.map_err(bad)).collect()
}

pub(super) fn cell<'a>(row: &'a BTreeMap<String, String>, name: &str) -> &'a str {
    row.get(name).map_or("", |s| s.trim())
}

fn listings(bytes: &[u8]) -> Result<Vec<Listing>> {
    let or = |text: &str, other: &str| if text.is_empty() { other.to_string() } else { text.to_string() };
    table(bytes, "listings.csv")?
        .iter()
        .map(|row| {
            let symbol = cell(row, "symbol");
            if symbol.is_empty() {
                return Err(Error::new(code::CFG_PARSE, "listings.csv has a row without a symbol"));
            }
            Ok(Listing {
                symbol: symbol.to_string(),
                name: or(cell(row, "name"), symbol),
                exchange: or(cell(row, "exchange"), "NYSE"),
                asset_type: or(cell(row, "assetType"), "Stock"),
                ipo: optional_day(cell(row, "ipoDate"))?,
                delisted: optional_day(cell(row, "delistingDate"))?,
            })
        })
        .collect()
}

const KINDS: &[&str] = &["split", "dividend", "name_change", "cash_merger", "worthless_removal", "spin_off"];

fn actions(bytes: &[u8]) -> Result<Vec<Action>> {
    table(bytes, "corp_actions.csv")?
        .iter()
        .map(|row| {
            let number = |name: &str| cell(row, name).parse::<f64>().ok();
            let word = |name: &str| Some(cell(row, name).to_string()).filter(|s| !s.is_empty());
            let kind = cell(row, "event_type").to_string();
            if !KINDS.contains(&kind.as_str()) {
                return Err(Error::new(code::CFG_VALUE, format!("corp_actions.csv: event_type '{kind}' is none of {}", KINDS.join(", "))));
            }
            Ok(Action {
                symbol: cell(row, "symbol").to_string(),
                kind,
                ex_date: cell(row, "ex_date").parse()?,
                record_date: optional_day(cell(row, "record_date"))?,
                pay_date: optional_day(cell(row, "pay_date"))?,
                ratio: number("ratio"),
                cash: number("cash"),
                new_symbol: word("new_symbol"),
                telling: Telling {
                    id: word("id"),
                    from: optional_day(cell(row, "told_from"))?,
                    until: optional_day(cell(row, "told_until"))?,
                    by: word("told_by"),
                },
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_world_is_what_its_readme_says() {
        let world = embedded().unwrap();
        assert_eq!(world.dataset(), "replay@1");
        assert_eq!((world.first.to_string(), world.last.to_string()), ("2013-02-08".into(), "2018-02-07".into()));
        assert_eq!((world.series.len(), world.listings.len()), (100, 100));
        assert_eq!(world.series.iter().map(|s| s.days.len()).sum::<usize>(), 124_029);
        assert!(world.listings.iter().zip(&world.series).all(|(l, s)| l.symbol == s.symbol && l.ipo == s.first() && l.delisted.is_none()));
        let universe: Vec<&str> = include_str!("../../assets/universe/stage0_100.txt").lines().collect();
        assert!(universe.iter().zip(&world.series).all(|(u, s)| *u == s.symbol) && universe.len() == 100);
        let vrtx = world.series("VRTX").unwrap();
        let hole = vrtx.on("2015-05-12".parse().unwrap()).unwrap();
        assert!(vrtx.open[hole].is_nan() && vrtx.close[hole] == 124.08);
    }

    #[test]
    fn unknown_worlds_and_bad_descriptions_are_refused() {
        assert!(load("unheard-of", 0, None).is_err());
        assert!(about("id: 'a b'\nversion: 1\n").is_err());
        assert!(about("id: ok\nversion: 1\nadjusted: magic\n").is_err());
        assert!(about("id: ok\nversion: 1\nsurprise: 1\n").is_err());
    }
}
