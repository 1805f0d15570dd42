//! The price panel of a data snapshot: curated files, verified by digest, on the exchange's session grid.
//!
//! The symbol is read from the file, never from its path. A symbol is a member from its listing date to its delisting
//! date; where the snapshot has no listing for it, from its first to its last bar, which [`Loaded::notes`] says.

use crate::types::{Matrix, Panel};
use data_layer::calendar::Calendar;
use data_layer::error::{Error, Result, code};
use data_layer::root::{DataPath, DataRoot};
use data_layer::store;
use data_layer::time::{DateRange, TradingDay};
use polars::prelude::{DataFrame, DataType};
use std::collections::BTreeMap;

/// Files of a snapshot with their SHA-256.
pub type Files = Vec<(DataPath, String)>;

/// A panel and what must be said about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub panel: Panel,
    pub notes: Vec<String>,
}

/// The panel of a pinned snapshot.
pub fn load(root: &DataRoot, snapshot: &str, window: DateRange) -> Result<Panel> {
    Ok(load_files(root, &files(root, snapshot)?, window)?.panel)
}

/// The list of a snapshot, `manifests/snapshots/<id>.txt`: a line `<path> <sha256>` per file and one with the schema's
/// version. The id is the digest of the list.
pub fn files(root: &DataRoot, snapshot: &str) -> Result<Files> {
    let path = DataPath::new(format!("manifests/snapshots/{snapshot}.txt"))?;
    let missing = || Error::new(code::DATA_MISSING, format!("the snapshot {snapshot} is not on the drive")).fix("trademl train");
    let bytes = store::read(root, &path)?.ok_or_else(missing)?;
    let damaged = || Error::new(code::SSD_DAMAGED, format!("{path} does not match its own name")).fix("trademl fsck");
    if format!("snap-{}", &store::sha256_hex(&bytes)[..16]) != snapshot {
        return Err(damaged());
    }
    let text = String::from_utf8(bytes).map_err(|_| damaged())?;
    let lines = text.lines().filter(|l| !l.is_empty() && !l.starts_with("schema "));
    lines.map(|l| l.rsplit_once(' ').ok_or_else(damaged).and_then(|(file, digest)| Ok((DataPath::new(file)?, digest.to_string())))).collect()
}

/// `[listed, delisted)`; an open end is unknown, or has not come.
type Span = (Option<TradingDay>, Option<TradingDay>);

fn listed_on(spans: &[Span], day: TradingDay) -> bool {
    spans.iter().any(|(from, to)| from.is_none_or(|f| f <= day) && to.is_none_or(|t| day < t))
}

/// The panel of an explicit list of files, with notes. Curated files outside the window are read and left out.
pub fn load_files(root: &DataRoot, files: &Files, window: DateRange) -> Result<Loaded> {
    let days = Calendar::xnys().sessions(window).to_vec();
    let mut frames = Vec::new();
    for (path, sha256) in files {
        if path.as_str().starts_with("curated/equities_ohlcv_adj/") && may_hold(path, window) {
            frames.push(store::read_parquet_verified(root, path, sha256)?);
        }
    }
    let mut bars: BTreeMap<String, Vec<Bar>> = BTreeMap::new();
    for frame in &frames {
        collect(frame, window, &mut bars)?;
    }
    if bars.is_empty() || days.is_empty() {
        return Err(Error::new(code::DATA_MISSING, format!("the snapshot holds no curated bars in {window}")).fix("trademl pi-data-node"));
    }
    let listings = listings(root, files)?;
    let mut notes = Vec::new();
    let unlisted = bars.keys().filter(|s| !listings.contains_key(*s)).count();
    if unlisted > 0 {
        notes.push(format!("{unlisted} of {} symbols have no listing on this drive: members from their first to their last bar", bars.len()));
    }
    Ok(Loaded { panel: assemble(days, bars, &listings)?, notes })
}

/// Files of other years need not be read; the folder key is the year.
fn may_hold(path: &DataPath, window: DateRange) -> bool {
    let year = path.as_str().split('/').find_map(|p| p.strip_prefix("dt=")).and_then(|y| y.parse::<i16>().ok());
    let last = window.end.plus_days(-1).year();
    year.is_none_or(|y| window.start.year() <= y && y <= last)
}

/// The numbers of a curated bar, in the order in which [`Bar`] holds them.
const COLUMNS: [&str; 8] = ["open", "high", "low", "close", "vwap", "volume", "close_raw", "split_factor"];
const CLOSE: usize = 3;
const VOLUME: usize = 5;
const SPLIT_FACTOR: usize = 7;

/// One bar.
struct Bar {
    day: TradingDay,
    values: [f64; COLUMNS.len()],
}

fn collect(frame: &DataFrame, window: DateRange, bars: &mut BTreeMap<String, Vec<Bar>>) -> Result<()> {
    let dates = frame.column("date")?.cast(&DataType::Int32)?;
    let dates = dates.i32()?;
    let symbols = frame.column("symbol")?.str()?;
    let mut columns = Vec::with_capacity(COLUMNS.len());
    for name in COLUMNS {
        let column = frame.column(name)?.cast(&DataType::Float64)?;
        columns.push(column.f64()?.iter().map(|v| v.unwrap_or(f64::NAN)).collect::<Vec<f64>>());
    }
    for i in 0..frame.height() {
        let (Some(date), Some(symbol)) = (dates.get(i), symbols.get(i)) else {
            return Err(Error::new(code::SSD_DAMAGED, "a curated bar has no date or no symbol").fix("trademl fsck"));
        };
        let day = TradingDay(date);
        if window.contains(day) {
            let mut values = [f64::NAN; COLUMNS.len()];
            values.iter_mut().zip(&columns).for_each(|(v, c)| *v = c[i]);
            // Curated volumes are restated for later splits; the last place holds the shares that traded.
            values[SPLIT_FACTOR] = values[VOLUME] / values[SPLIT_FACTOR];
            if let Some(list) = bars.get_mut(symbol) {
                list.push(Bar { day, values });
            } else {
                bars.insert(symbol.to_string(), vec![Bar { day, values }]);
            }
        }
    }
    Ok(())
}

/// Listing spans by symbol in order of their start, from `reference/listings`; where that knows nothing of a symbol, from
/// `reference/delistings`.
fn listings(root: &DataRoot, files: &Files) -> Result<BTreeMap<String, Vec<Span>>> {
    let table = |name: &str| -> Result<Option<DataFrame>> {
        let file = files.iter().find(|(path, _)| path.as_str() == format!("reference/{name}.parquet"));
        file.map(|(path, sha256)| store::read_parquet_verified(root, path, sha256)).transpose()
    };
    let days = |frame: &DataFrame, name: &str| -> Result<Vec<Option<TradingDay>>> {
        let column = frame.column(name)?.cast(&DataType::Int32)?;
        Ok(column.i32()?.iter().map(|d| d.map(TradingDay)).collect())
    };
    let mut out: BTreeMap<String, Vec<Span>> = BTreeMap::new();
    if let Some(frame) = table("listings")? {
        let spans = days(&frame, "ipo_date")?.into_iter().zip(days(&frame, "delisting_date")?);
        for (symbol, span) in frame.column("symbol")?.str()?.iter().zip(spans) {
            out.entry(symbol.unwrap_or_default().to_string()).or_default().push(span);
        }
    }
    if let Some(frame) = table("delistings")? {
        for (symbol, day) in frame.column("symbol")?.str()?.iter().zip(days(&frame, "delist_date")?) {
            out.entry(symbol.unwrap_or_default().to_string()).or_insert_with(|| vec![(None, day)]);
        }
    }
    out.values_mut().for_each(|spans| spans.sort());
    Ok(out)
}

fn assemble(days: Vec<TradingDay>, bars: BTreeMap<String, Vec<Bar>>, listings: &BTreeMap<String, Vec<Span>>) -> Result<Panel> {
    let (n, d) = (bars.len(), days.len());
    let mut matrices: [Matrix; COLUMNS.len()] = std::array::from_fn(|_| Matrix::missing(n, d));
    let mut member = Matrix::from_vec(n, d, vec![0.0; n * d])?;
    let mut delisted = vec![None; n];
    for (s, (symbol, list)) in bars.iter().enumerate() {
        let mut seen: Option<(TradingDay, TradingDay)> = None;
        for bar in list {
            let Ok(at) = days.binary_search(&bar.day) else {
                return Err(Error::new(code::QC_FAILED, format!("{symbol} has a curated bar on {}, which is no session", bar.day)).fix("trademl node audit"));
            };
            if matrices[CLOSE].at(s, at).is_finite() {
                return Err(Error::new(code::DATA_CONFLICT, format!("{symbol} has two curated bars on {}", bar.day)).fix("trademl fsck"));
            }
            for (m, v) in matrices.iter_mut().zip(bar.values) {
                m.set(s, at, v);
            }
            seen = Some(seen.map_or((bar.day, bar.day), |(a, b)| (a.min(bar.day), b.max(bar.day))));
        }
        let Some((first, last)) = seen else { continue };
        let spans = listings.get(symbol).cloned().unwrap_or_else(|| vec![(Some(first), Some(last.plus_days(1)))]);
        for (at, _) in days.iter().enumerate().filter(|(_, day)| listed_on(&spans, **day)) {
            member.set(s, at, 1.0);
        }
        // A delisting after the panel's end is not known at it; one that was followed by a new listing is not the end.
        let ended = listings.get(symbol).and_then(|known| known.last()).and_then(|span| span.1);
        delisted[s] = ended.filter(|e| days.last().is_some_and(|end| e <= end)).map(|e| list.iter().map(|b| b.day).filter(|day| *day < e).max().unwrap_or(e));
    }
    let [open, high, low, close, vwap, volume, close_raw, volume_raw] = matrices;
    Ok(Panel { days, symbols: bars.into_keys().collect(), open, high, low, close, vwap, volume, volume_raw, close_raw, member, delisted })
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_layer::host::{FakeHost, Host};
    use data_layer::root::FsFacts;
    use polars::prelude::{Column, NamedFrom, Series};

    fn curated(symbol: &str, days: &[TradingDay], close: &[f64]) -> DataFrame {
        let date = Series::new("date".into(), days.iter().map(|d| d.0).collect::<Vec<i32>>()).cast(&DataType::Date).unwrap();
        let mut columns: Vec<Column> = vec![date.into(), Series::new("symbol".into(), vec![symbol; days.len()]).into()];
        for name in COLUMNS {
            columns.push(Series::new(name.into(), close.to_vec()).into());
        }
        DataFrame::new(days.len(), columns).unwrap()
    }

    #[test]
    fn lesson_044_dollars_traded_do_not_change_when_a_later_split_restates_the_volume() {
        let dir = tempfile::tempdir().unwrap();
        let root = DataRoot::create(&Host::fake(FakeHost::default()), dir.path(), "real", FsFacts::default(), None).unwrap();
        let window = DateRange::new("2020-08-24".parse().unwrap(), "2020-09-05".parse().unwrap()).unwrap();
        let days = Calendar::xnys().sessions(window).to_vec();
        // 4:1 from the sixth session on: 100 dollars and 1,000 shares a day before it, 25 dollars and 4,000 shares after.
        let before = |t: usize| t < 5;
        let each = |name: &str| -> Vec<f64> {
            let of = |t: usize| match name {
                "volume" => 4_000.0,
                "close_raw" if before(t) => 100.0,
                "split_factor" if before(t) => 4.0,
                "split_factor" => 1.0,
                _ => 25.0,
            };
            (0..days.len()).map(of).collect()
        };
        let date = Series::new("date".into(), days.iter().map(|d| d.0).collect::<Vec<i32>>()).cast(&DataType::Date).unwrap();
        let mut columns: Vec<Column> = vec![date.into(), Series::new("symbol".into(), vec!["S"; days.len()]).into()];
        COLUMNS.iter().for_each(|name| columns.push(Series::new((*name).into(), each(name)).into()));
        let frame = DataFrame::new(days.len(), columns).unwrap();
        let file = put(&root, "curated/equities_ohlcv_adj/sym=S/dt=2020/part-0.parquet", frame);
        let panel = load_files(&root, &vec![file], window).unwrap().panel;
        for t in 0..days.len() {
            assert_eq!(panel.close_raw.at(0, t) * panel.volume_raw.at(0, t), 100_000.0, "{}", panel.days[t]);
        }
    }

    fn put(root: &DataRoot, path: &str, mut frame: DataFrame) -> (DataPath, String) {
        let info = store::write_parquet(root, &DataPath::new(path).unwrap(), &mut frame).unwrap();
        (info.path, info.sha256)
    }

    #[test]
    fn the_panel_reads_symbols_from_files_and_refuses_a_changed_byte() {
        let dir = tempfile::tempdir().unwrap();
        let root = DataRoot::create(&Host::fake(FakeHost::default()), dir.path(), "real", FsFacts::default(), None).unwrap();
        let window = DateRange::new("2020-01-02".parse().unwrap(), "2020-01-10".parse().unwrap()).unwrap();
        let days = Calendar::xnys().sessions(window).to_vec();
        let a = put(&root, "curated/equities_ohlcv_adj/sym=XX/dt=2020/part-0.parquet", curated("ON", &days, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        let b = put(&root, "curated/equities_ohlcv_adj/sym=B/dt=2020/part-0.parquet", curated("B", &days[1..3], &[7.0, 8.0]));
        let mut gone = curated("B", &days[3..4], &[0.0]).select(["symbol", "date"]).unwrap();
        gone.rename("date", "delist_date".into()).unwrap();
        let c = put(&root, "reference/delistings.parquet", gone);
        let loaded = load_files(&root, &vec![a.clone(), b, c], window).unwrap();
        let p = &loaded.panel;
        assert_eq!((p.symbols.clone(), p.days.len()), (vec!["B".to_string(), "ON".to_string()], 6));
        assert!(p.close.at(0, 0).is_nan() && p.close.at(0, 2) == 8.0 && p.close.at(1, 5) == 6.0);
        assert_eq!((p.member.row(0), p.delisted[0]), ([1.0, 1.0, 1.0, 0.0, 0.0, 0.0].as_slice(), Some(days[2])));
        assert_eq!(loaded.notes.len(), 1, "ON has no listing");
        std::fs::write(root.locate(&a.0), b"changed").unwrap();
        assert!(load_files(&root, &vec![a], window).unwrap_err().is(code::SSD_DAMAGED));
    }
}
