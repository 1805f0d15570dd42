//! The price panel of a data snapshot: curated files, verified by digest, on the exchange's session grid.
//!
//! The symbol is read from the file, never from its path. A symbol is a member from its listing date to its delisting
//! date; where the snapshot has no listing for it, from its first to its last bar, which [`Loaded::notes`] says.
//!
//! A ticker may pass from a company that is gone to another one, at another price. The two have a row each, so that no
//! return, feature or position leads from one into the other.

mod known;

use crate::types::{Delisted, Matrix, Panel, PointInTime};
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
    let missing = || Error::new(code::DATA_MISSING, text!("the snapshot {snapshot} is not on the drive")).fix("trademl train");
    let bytes = store::read(root, &path)?.ok_or_else(missing)?;
    let damaged = || Error::new(code::SSD_DAMAGED, text!("{path} does not match its own name")).fix("trademl fsck");
    if format!("snap-{}", &store::sha256_hex(&bytes)[..16]) != snapshot {
        return Err(damaged());
    }
    let text = String::from_utf8(bytes).map_err(|_| damaged())?;
    let lines = text.lines().filter(|l| !l.is_empty() && !l.starts_with("schema "));
    lines.map(|l| l.rsplit_once(' ').ok_or_else(damaged).and_then(|(file, digest)| Ok((DataPath::new(file)?, digest.to_string())))).collect()
}

/// One listing of a ticker, `[from, to)`; an open end is unknown, or has not come.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) struct Span {
    pub from: Option<TradingDay>,
    pub to: Option<TradingDay>,
    /// Dollars that a share was worth after `to`, where an event says so.
    pub value: Option<f64>,
}

impl Span {
    fn contains(&self, day: TradingDay) -> bool {
        self.from.is_none_or(|f| f <= day) && self.to.is_none_or(|t| day < t)
    }
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
        return Err(Error::new(code::DATA_MISSING, text!("the snapshot holds no curated bars in {window}")).fix("trademl pi-data-node"));
    }
    let listings = listings(root, files)?;
    let mut notes = Vec::new();
    let unlisted = bars.keys().filter(|s| !listings.contains_key(*s)).count();
    if unlisted > 0 {
        notes.push(text!("{unlisted} of {} symbols have no listing on this drive: members from their first to their last bar", bars.len()));
    }
    let mut panel = assemble(days, bars, &listings)?;
    panel.known = known::load(root, files, &panel)?;
    let reused = panel.symbols.iter().filter(|s| s.contains(EARLIER)).count();
    if reused > 0 {
        notes.push(text!("{reused} tickers belonged to another company before: each company is a row of its own"));
    }
    Ok(Loaded { panel, notes })
}

/// Files of other years need not be read; the folder key is the year.
fn may_hold(path: &DataPath, window: DateRange) -> bool {
    let year = path.as_str().split('/').find_map(|p| p.strip_prefix("dt=")).and_then(|y| y.parse::<i16>().ok());
    let last = window.end.plus_days(-1).year();
    year.is_none_or(|y| window.start.year() <= y && y <= last)
}

/// The numbers of a curated bar, in the order in which [`Bar`] holds them; the last place of a [`Bar`] is the shares that
/// traded.
const COLUMNS: [&str; 8] = ["open", "high", "low", "close", "vwap", "volume", "close_raw", "split_factor"];
const CLOSE: usize = 3;
const VOLUME: usize = 5;
const CLOSE_RAW: usize = 6;
const SPLIT_FACTOR: usize = 7;

/// Stands between a ticker and the day on which an earlier holder lost it.
const EARLIER: char = '@';

/// One adjusted bar: open, high, low, close, vwap, volume, raw close, raw volume.
pub(crate) struct Bar {
    pub day: TradingDay,
    pub values: [f64; COLUMNS.len()],
}

/// One row of the panel: a company under a ticker.
struct Life {
    span: Span,
    bars: Vec<Bar>,
    /// Whether a listing says so, or only the bars.
    listed: bool,
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
/// `reference/delistings`, which also says what shares were worth in the end.
fn listings(root: &DataRoot, files: &Files) -> Result<BTreeMap<String, Vec<Span>>> {
    let table = |name: &str| -> Result<Option<DataFrame>> {
        let file = files.iter().find(|(path, _)| path.as_str() == format!("reference/{name}.parquet"));
        file.map(|(path, sha256)| store::read_parquet_verified(root, path, sha256)).transpose()
    };
    let days = |frame: &DataFrame, name: &str| -> Result<Vec<Option<TradingDay>>> {
        let column = frame.column(name)?.cast(&DataType::Int32)?;
        Ok(column.i32()?.iter().map(|d| d.map(TradingDay)).collect())
    };
    let mut ends: BTreeMap<String, Vec<(Option<TradingDay>, Option<f64>)>> = BTreeMap::new();
    if let Some(frame) = table("delistings")? {
        // Drives of earlier versions have no such column.
        let values = frame.column("terminal_value").ok().map(|c| c.cast(&DataType::Float64)).transpose()?;
        let values = values.as_ref().map(|c| c.f64()).transpose()?;
        for (i, (symbol, day)) in frame.column("symbol")?.str()?.iter().zip(days(&frame, "delist_date")?).enumerate() {
            ends.entry(symbol.unwrap_or_default().to_string()).or_default().push((day, values.and_then(|v| v.get(i))));
        }
    }
    let mut out: BTreeMap<String, Vec<Span>> = BTreeMap::new();
    if let Some(frame) = table("listings")? {
        let spans = days(&frame, "ipo_date")?.into_iter().zip(days(&frame, "delisting_date")?);
        for (symbol, (from, to)) in frame.column("symbol")?.str()?.iter().zip(spans) {
            let symbol = symbol.unwrap_or_default().to_string();
            let value = to.and_then(|_| ends.get(&symbol)?.iter().find(|e| e.0 == to)?.1);
            out.entry(symbol).or_default().push(Span { from, to, value });
        }
    }
    for (symbol, known) in ends {
        let spans = || known.iter().map(|(to, value)| Span { from: None, to: *to, value: *value }).collect();
        out.entry(symbol).or_insert_with(spans);
    }
    out.values_mut().for_each(|spans| spans.sort_by_key(|s| (s.from, s.to)));
    Ok(out)
}

/// The panel of bars by ticker under the listings known; bars of one ticker may come in any order.
pub(crate) fn assemble(days: Vec<TradingDay>, bars: BTreeMap<String, Vec<Bar>>, listings: &BTreeMap<String, Vec<Span>>) -> Result<Panel> {
    let mut lives: BTreeMap<String, Life> = BTreeMap::new();
    for (ticker, list) in bars {
        lives.extend(companies(&ticker, list, listings.get(&ticker).map_or(&[][..], Vec::as_slice)));
    }
    let (n, d) = (lives.len(), days.len());
    let mut matrices: [Matrix; COLUMNS.len()] = std::array::from_fn(|_| Matrix::missing(n, d));
    let mut member = Matrix::from_vec(n, d, vec![0.0; n * d])?;
    let mut delisted = vec![None; n];
    for (s, (symbol, life)) in lives.iter().enumerate() {
        for bar in &life.bars {
            let Ok(at) = days.binary_search(&bar.day) else {
                return Err(Error::new(code::QC_FAILED, text!("{symbol} has a curated bar on {}, which is no session", bar.day)).fix("trademl node audit"));
            };
            if matrices[CLOSE].at(s, at).is_finite() {
                return Err(Error::new(code::DATA_CONFLICT, text!("{symbol} has two curated bars on {}", bar.day)).fix("trademl fsck"));
            }
            for (m, v) in matrices.iter_mut().zip(bar.values) {
                m.set(s, at, v);
            }
        }
        for (at, _) in days.iter().enumerate().filter(|(_, day)| life.span.contains(**day)) {
            member.set(s, at, 1.0);
        }
        delisted[s] = life.end(days.last().copied());
    }
    let [open, high, low, close, vwap, volume, close_raw, volume_raw] = matrices;
    Ok(Panel {
        days,
        symbols: lives.into_keys().collect(),
        open,
        high,
        low,
        close,
        vwap,
        volume,
        volume_raw,
        close_raw,
        member,
        delisted,
        known: PointInTime::default(),
    })
}

/// The companies behind one ticker, each with its own bars. The newest that has any keeps the ticker's name.
fn companies(ticker: &str, bars: Vec<Bar>, known: &[Span]) -> Vec<(String, Life)> {
    let listed = !known.is_empty();
    let bounds = |bars: &[Bar]| Some((bars.iter().map(|b| b.day).min()?, bars.iter().map(|b| b.day).max()?));
    let spans = match bounds(&bars) {
        Some((first, last)) if !listed => vec![Span { from: Some(first), to: Some(last.plus_days(1)), value: None }],
        _ => joined(known),
    };
    let mut lives: Vec<Life> = spans.into_iter().map(|span| Life { span, bars: Vec::new(), listed }).collect();
    for bar in bars {
        // A bar outside every listing belongs to the company that was listed last before it.
        let at = lives.iter().rposition(|l| l.span.from.is_none_or(|from| from <= bar.day)).unwrap_or(0);
        if let Some(life) = lives.get_mut(at) {
            life.bars.push(bar);
        }
    }
    lives.retain(|l| !l.bars.is_empty());
    let newest = lives.len().saturating_sub(1);
    let name = |(i, life): (usize, Life)| match life.span.to {
        Some(to) if i < newest => (format!("{ticker}{EARLIER}{to}"), life),
        _ => (ticker.to_string(), life),
    };
    lives.into_iter().enumerate().map(name).collect()
}

/// Listings without a session between them are one: the company went on, on another exchange or under another paper.
fn joined(spans: &[Span]) -> Vec<Span> {
    let mut out: Vec<Span> = Vec::new();
    for span in spans {
        let apart = |before: &Span| match (before.to, span.from) {
            (Some(to), Some(from)) => to < from && DateRange::new(to, from).is_ok_and(|gap| !Calendar::xnys().sessions(gap).is_empty()),
            _ => false,
        };
        match out.last_mut() {
            Some(before) if !apart(before) => {
                let later = before.to.is_some() && span.to.is_none_or(|to| before.to.is_some_and(|b| b < to));
                (before.to, before.value) = if later { (span.to, span.value) } else { (before.to, before.value) };
            }
            _ => out.push(*span),
        }
    }
    out
}

impl Life {
    /// How the listing ended, as far as it is known at the panel's end; a value is restated in the dollars of the last close.
    fn end(&self, known: Option<TradingDay>) -> Option<Delisted> {
        let to = self.span.to.filter(|to| self.listed && known.is_some_and(|end| *to <= end))?;
        let bar = self.bars.iter().filter(|b| b.day <= to).max_by_key(|b| b.day);
        let restated = |value: f64| bar.map(|b| value * b.values[CLOSE] / b.values[CLOSE_RAW]).filter(|v| v.is_finite());
        Some(Delisted { last: bar.map_or(to, |b| b.day), value: self.span.value.and_then(restated) })
    }
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
        assert_eq!((p.member.row(0), p.delisted[0]), ([1.0, 1.0, 1.0, 0.0, 0.0, 0.0].as_slice(), Some(Delisted::on(days[2]))));
        assert_eq!(loaded.notes.len(), 1, "ON has no listing");
        std::fs::write(root.locate(&a.0), b"changed").unwrap();
        assert!(load_files(&root, &vec![a], window).unwrap_err().is(code::SSD_DAMAGED));
    }

    /// 21 sessions: a company until the 8th, which ends worthless; nothing; another company from the 14th on.
    fn reused(ends: &[(&str, TradingDay, Option<f64>)]) -> (Vec<TradingDay>, Panel) {
        let window = DateRange::new("2020-01-02".parse().unwrap(), "2020-02-01".parse().unwrap()).unwrap();
        let days = Calendar::xnys().sessions(window).to_vec();
        let bar = |t: usize| Bar { day: days[t], values: [if t < 8 { 2.0 } else { 80.0 }; COLUMNS.len()] };
        let bars = BTreeMap::from([("T".to_string(), (0..8).chain(14..20).map(bar).collect())]);
        let mut spans: Vec<Span> = ends.iter().map(|(_, to, value)| Span { from: None, to: Some(*to), value: *value }).collect();
        spans.push(Span { from: Some(days[14]), to: None, value: None });
        (days.clone(), assemble(days, bars, &BTreeMap::from([("T".to_string(), spans)])).unwrap())
    }

    #[test]
    fn lesson_048_a_ticker_that_another_company_took_over_is_two_rows() {
        let window: Vec<TradingDay> = reused(&[]).0;
        let (days, p) = reused(&[("T", window[8], Some(0.0))]);
        let old = format!("T@{}", days[8]);
        assert_eq!(p.symbols, ["T".to_string(), old.clone()]);
        assert_eq!(p.delisted, [None, Some(Delisted { last: days[7], value: Some(0.0) })]);
        assert!(p.close.at(0, 7).is_nan() && p.close.at(0, 14) == 80.0 && p.close.at(1, 7) == 2.0 && p.close.at(1, 14).is_nan());
        assert_eq!((p.member.row(0).iter().sum::<f64>(), p.member.row(1).iter().sum::<f64>()), (7.0, 8.0));
        // A position in the first company ends with it, whatever the ticker costs later.
        let labels = crate::labels::horizon::forward(&p, 5, 1, true).unwrap();
        assert_eq!((labels.at(1, 4), labels.at(0, 4).is_nan()), (-1.0, true));
    }

    #[test]
    fn a_listing_that_goes_on_without_a_session_between_is_one_company() {
        let window: Vec<TradingDay> = reused(&[]).0;
        let (_, p) = reused(&[("T", window[14], None)]);
        assert_eq!((p.symbols.len(), p.delisted[0]), (1, None));
    }
}
