//! Day bars out of raw segments: which were collected, and which one serves a day when several say something about it.

use crate::control::Db;
use crate::error::Result;
use crate::frame;
use crate::ledger::Status;
use crate::lost::{self, Lost};
use crate::qc::{Bar, QcCode, bar_code};
use crate::reference::sources;
use crate::root::{DataPath, DataRoot};
use crate::schema::{table, timeframe};
use crate::segment::{self, Manifest, Segment};
use crate::tickers::{Tickers, knows_tickers_by_day};
use crate::time::{DateRange, TradingDay, UtcTime};
use polars::prelude::DataFrame;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// The columns that a verdict and a curated row are made from.
const COLUMNS: &[&str] = &["date", "symbol", "open", "high", "low", "close", "vwap", "volume", "session_id", "feed"];

/// The manifests of one raw table and timeframe, oldest first. A manifest is known by its position.
pub struct Catalogue {
    pub manifests: Vec<(DataPath, Manifest)>,
    /// Under which ticker each symbol's company was traded.
    pub tickers: Tickers,
}

/// A complete answer about a symbol: this vendor was asked about `days` and sent all it has.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    pub days: DateRange,
    pub vendor: &'a str,
    pub at: UtcTime,
}

impl Catalogue {
    pub fn load(root: &DataRoot, table: &str, tf: &str) -> Result<Self> {
        let mut manifests = sources::manifests(root, table)?;
        manifests.retain(|(_, m)| m.tf == tf);
        Ok(Self { manifests, tickers: Tickers::load(root)? })
    }
    /// Day bars and minute bars, with one look at the manifests.
    pub fn load_both(root: &DataRoot) -> Result<(Self, Self)> {
        let (mut days, mut minutes) = (Vec::new(), Vec::new());
        for (path, m) in sources::manifests(root, table::RAW_EQUITIES_BARS)? {
            match m.tf.as_str() {
                timeframe::DAY => days.push((path, m)),
                timeframe::MINUTE => minutes.push((path, m)),
                _ => {}
            }
        }
        let tickers = Tickers::load(root)?;
        Ok((Self { manifests: days, tickers: tickers.clone() }, Self { manifests: minutes, tickers }))
    }
    /// Who has brought bars.
    pub fn vendors(&self) -> BTreeSet<&str> {
        self.manifests.iter().map(|(_, m)| m.vendor.as_str()).collect()
    }
    /// Answers of a dataset that were had and are gone, and would serve in the place of older ones.
    pub fn lost(&self, db: &Db, dataset: &str) -> Result<Vec<Damaged>> {
        let all: Vec<&Manifest> = self.manifests.iter().map(|(_, m)| m).collect();
        lost::find(db, Some(dataset), &all)?.into_iter().map(|one| Damaged::lost(self, one)).collect()
    }
    /// Complete answers by symbol, oldest first, that meet the days wanted of it.
    pub fn asks<'a>(&'a self, wanted: &BTreeMap<String, DateRange>) -> BTreeMap<&'a str, Vec<Ask<'a>>> {
        let mut out: BTreeMap<&str, Vec<Ask<'_>>> = BTreeMap::new();
        for (_, m) in self.manifests.iter().filter(|(_, m)| m.complete && m.asked.t0 < m.asked.t1) {
            let ask = Ask { days: DateRange { start: m.asked.t0, end: m.asked.t1 }, vendor: &m.vendor, at: m.ingested_at };
            for symbol in &m.asked.symbols {
                let Some(wanted) = wanted.get(symbol) else { continue };
                for days in self.answered(m, symbol).into_iter().filter(|days| wanted.intersect(days).is_some()) {
                    out.entry(symbol).or_default().push(Ask { days, ..ask });
                }
            }
        }
        out
    }
    /// The days of a symbol for which an answer is about its company: what was asked under another company's ticker says nothing
    /// about it, and has to be asked again.
    fn answered(&self, m: &Manifest, symbol: &str) -> Vec<DateRange> {
        let whole = DateRange { start: m.asked.t0, end: m.asked.t1 };
        if !knows_tickers_by_day(&m.vendor) || (self.tickers.life(symbol).is_none() && !m.asked.under.contains_key(symbol)) {
            return vec![whole];
        }
        let mut out = Vec::new();
        for (ticker, asked) in m.asked.under(symbol) {
            out.extend(self.tickers.to_ask(symbol, whole).iter().filter(|(t, _)| t == ticker).filter_map(|(_, days)| days.intersect(&asked)));
        }
        out
    }
    /// Symbols that were not always their own tickers, or were asked for as if they had not been.
    pub(crate) fn renamed(&self) -> BTreeSet<&str> {
        let asked = self.manifests.iter().flat_map(|(_, m)| m.asked.under.keys().map(String::as_str));
        self.tickers.symbols().chain(asked).collect()
    }
    /// Whether a bar that an answer holds under a symbol is another company's.
    pub(crate) fn is_of_another(&self, manifest: usize, symbol: &str, day: TradingDay) -> bool {
        let Some((_, m)) = self.manifests.get(manifest) else { return false };
        if !knows_tickers_by_day(&m.vendor) || (self.tickers.life(symbol).is_none() && !m.asked.under.contains_key(symbol)) {
            return false;
        }
        let asked = m.asked.under(symbol);
        // What came along in a question about others was asked for under its own name.
        let under = asked.iter().find(|(_, days)| days.contains(day)).map_or(symbol, |(ticker, _)| ticker);
        self.tickers.on(symbol, day) != Some(under)
    }
}

/// A bar and the manifest that brought it.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub bar: Bar,
    pub manifest: usize,
}

/// A segment that cannot be used, and whom that concerns.
#[derive(Clone, Debug)]
pub struct Damaged {
    pub path: DataPath,
    pub code: QcCode,
    pub symbols: BTreeSet<String>,
    pub days: DateRange,
    pub vendor: String,
    /// The answer that it is a part of: the higher, the more it says.
    pub standing: Standing,
}

/// How much an answer says beside others of its vendor: a complete one more than one that was cut off, then the newer one (its
/// manifest's position) more than the older.
pub type Standing = (bool, usize);

impl Damaged {
    /// A segment of a catalogue's manifest that cannot be used.
    pub fn of(manifest: &Manifest, position: usize, segment: &Segment, code: QcCode) -> Self {
        Self {
            path: segment.path.clone(),
            code,
            symbols: segment.symbols.iter().cloned().collect(),
            days: DateRange { start: segment.t0, end: segment.t1 },
            vendor: manifest.vendor.clone(),
            standing: (manifest.complete, position),
        }
    }
    /// An answer of a catalogue that is gone altogether: what its vendor said before is not known to hold still.
    pub fn lost(catalogue: &Catalogue, lost: Lost) -> Result<Self> {
        let days = DateRange::new(lost.range.0, lost.range.1)?;
        let position = catalogue.manifests.partition_point(|(_, m)| m.ingested_at <= lost.at);
        let symbols = BTreeSet::from([lost.symbol]);
        Ok(Self { path: DataPath::new(segment::ASIDE)?, code: QcCode::Missing, symbols, days, vendor: lost.vendor, standing: (true, position) })
    }
    /// Whether it would have served this day in the place of what serves it now.
    pub fn supersedes(&self, origin: &Origin, day: TradingDay) -> bool {
        self.vendor == origin.vendor && self.days.contains(day) && self.standing > origin.standing
    }
}

/// What reading the segments gave.
#[derive(Default)]
pub struct Collected {
    pub rows: BTreeMap<String, Vec<Candidate>>,
    /// Bars that are stored under a symbol and are another company's.
    pub of_others: BTreeMap<String, Vec<Candidate>>,
    pub damaged: Vec<Damaged>,
    pub segments_read: u64,
    pub bytes_read: u64,
}

/// Read every segment that holds something wanted, verify it, and keep the rows wanted.
pub fn collect(root: &DataRoot, catalogue: &Catalogue, wanted: &BTreeMap<String, DateRange>) -> Result<Collected> {
    let mut out = Collected::default();
    if wanted.is_empty() {
        return Ok(out);
    }
    let mut names: HashMap<String, Arc<str>> = HashMap::new();
    for (index, (_, manifest)) in catalogue.manifests.iter().enumerate() {
        for segment in manifest.segments.iter().filter(|s| concerns(s, wanted)) {
            root.host().check_cancelled()?;
            out.segments_read += 1;
            out.bytes_read += segment.bytes;
            let code = match sources::read_columns(root, segment, COLUMNS)? {
                Ok(rows) => match take(&rows, segment, index, wanted, &mut names, &mut out.rows) {
                    Ok(true) => continue,
                    _ => QcCode::Schema,
                },
                Err(code) => code,
            };
            out.damaged.push(Damaged::of(manifest, index, segment, code));
        }
    }
    for symbol in catalogue.renamed() {
        let Some(rows) = out.rows.get_mut(symbol) else { continue };
        let (theirs, own): (Vec<_>, Vec<_>) = std::mem::take(rows).into_iter().partition(|c| catalogue.is_of_another(c.manifest, symbol, c.bar.day));
        *rows = own;
        if !theirs.is_empty() {
            out.of_others.insert(symbol.to_string(), theirs);
        }
    }
    Ok(out)
}

pub(super) fn concerns(segment: &Segment, wanted: &BTreeMap<String, DateRange>) -> bool {
    let days = DateRange { start: segment.t0, end: segment.t1 };
    segment.symbols.iter().any(|s| wanted.get(s).is_some_and(|w| w.intersect(&days).is_some()))
}

/// The symbols of a segment's rows, each with its first row and the one after its last; `None`: they are not what the manifest
/// describes. First the whole segment is checked, then rows are taken: a bad segment contributes nothing.
pub(super) fn runs<'a>(rows: &'a DataFrame, day: &[Option<TradingDay>], segment: &Segment) -> Result<Option<Vec<(&'a str, usize, usize)>>> {
    let symbol = frame::texts(rows, "symbol")?;
    let declared: BTreeSet<&str> = segment.symbols.iter().map(String::as_str).collect();
    let mut runs: Vec<(&str, usize, usize)> = Vec::new();
    for (i, (s, d)) in symbol.iter().zip(day).enumerate() {
        let (Some(s), Some(d)) = (s, d) else { return Ok(None) };
        let same = runs.last_mut().filter(|(last, ..)| last == s);
        if *d < segment.t0 || *d >= segment.t1 || (same.is_none() && !declared.contains(s)) {
            return Ok(None);
        }
        match same {
            Some((.., end)) => *end = i + 1,
            None => runs.push((s, i, i + 1)),
        }
    }
    Ok(Some(runs))
}

/// Add a segment's rows. `Ok(false)`, or an error: the contents are not what the manifest describes.
fn take(
    rows: &DataFrame,
    segment: &Segment,
    manifest: usize,
    wanted: &BTreeMap<String, DateRange>,
    names: &mut HashMap<String, Arc<str>>,
    out: &mut BTreeMap<String, Vec<Candidate>>,
) -> Result<bool> {
    let day = frame::days(rows, "date")?;
    let Some(runs) = runs(rows, &day, segment)? else { return Ok(false) };
    frame::require(rows, COLUMNS)?;
    let wanted = runs.into_iter().filter_map(|(s, from, to)| Some((s, from, to, *wanted.get(s)?)));
    // Runs that follow each other are one piece of the table; of what is not wanted nothing is made.
    let mut pieces: Vec<Vec<Run<'_>>> = Vec::new();
    for run in wanted {
        match pieces.last_mut().filter(|p| p.last().is_some_and(|(_, _, end, _)| *end == run.1)) {
            Some(piece) => piece.push(run),
            None => pieces.push(vec![run]),
        }
    }
    pieces.iter().try_for_each(|piece| take_piece(rows, piece, &day, manifest, names, out))?;
    Ok(true)
}

/// A symbol, its first row, the one after its last, and the days wanted of it.
pub type Run<'a> = (&'a str, usize, usize, DateRange);

pub(super) fn take_piece(
    rows: &DataFrame,
    piece: &[Run<'_>],
    day: &[Option<TradingDay>],
    manifest: usize,
    names: &mut HashMap<String, Arc<str>>,
    out: &mut BTreeMap<String, Vec<Candidate>>,
) -> Result<()> {
    let (Some((_, start, ..)), Some((_, _, end, _))) = (piece.first(), piece.last()) else { return Ok(()) };
    let rows = frame::rows(rows, *start, end - start);
    let (open, high) = (frame::floats(&rows, "open")?, frame::floats(&rows, "high")?);
    let (low, close) = (frame::floats(&rows, "low")?, frame::floats(&rows, "close")?);
    let (vwap, volume) = (frame::floats(&rows, "vwap")?, frame::floats(&rows, "volume")?);
    let (session, feed) = (frame::texts(&rows, "session_id")?, frame::texts(&rows, "feed")?);
    let mut intern = |text: Option<&str>| {
        text.map(|t| match names.get(t) {
            Some(known) => known.clone(),
            None => names.entry(t.to_string()).or_insert_with(|| t.into()).clone(),
        })
    };
    for (symbol, from, to, days) in piece {
        let mut of = Vec::new();
        for i in *from..*to {
            let Some(d) = day[i].filter(|d| days.contains(*d)) else { continue };
            let i = i - start;
            let (session_id, feed) = (intern(session[i]), intern(feed[i]));
            let bar = Bar { day: d, open: open[i], high: high[i], low: low[i], close: close[i], vwap: vwap[i], volume: volume[i], session_id, feed };
            of.push(Candidate { bar, manifest });
        }
        if !of.is_empty() {
            out.entry((*symbol).to_string()).or_default().append(&mut of);
        }
    }
    Ok(())
}

/// Where the bar that serves a day came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    pub vendor: String,
    /// The answer that serves.
    pub standing: Standing,
    /// First and newest ingest of the serving vendor's bar of that day.
    pub first: UtcTime,
    pub last: UtcTime,
    /// Rows of that day in the serving answer; more than one is an error.
    pub rows: u64,
    /// An older answer of the same vendor had other values.
    pub revised: bool,
    /// The close of the next best vendor, where there is one.
    pub other_close: Option<f64>,
}

impl Origin {
    /// Where a bar came from that is the only one of its day.
    fn of(catalogue: &Catalogue, only: &Candidate) -> Self {
        let m = &catalogue.manifests[only.manifest].1;
        let standing = (m.complete, only.manifest);
        Self { vendor: m.vendor.clone(), standing, first: m.ingested_at, last: m.ingested_at, rows: 1, revised: false, other_close: None }
    }
}

/// A symbol's bars in order of the day, one per day, with their origins.
#[derive(Clone, Debug, Default)]
pub struct Series {
    pub bars: Vec<Bar>,
    pub origins: Vec<Origin>,
}

/// Choose one bar per day: per vendor the newest complete answer, then the first vendor of `order` whose bar is sound.
pub fn resolve(mut candidates: Vec<Candidate>, catalogue: &Catalogue, order: &[String]) -> Series {
    candidates.sort_by_key(|c| (c.bar.day, c.manifest));
    let mut out = Series::default();
    let mut rest = candidates.as_slice();
    while let Some(first) = rest.first() {
        let n = rest.iter().take_while(|c| c.bar.day == first.bar.day).count();
        let (today, later) = rest.split_at(n);
        rest = later;
        if let [only] = today {
            // As nearly every day: one vendor, one answer.
            out.bars.push(only.bar.clone());
            out.origins.push(Origin::of(catalogue, only));
            continue;
        }
        let mut vendors: Vec<(Rank, &Candidate, Origin)> = by_vendor(today, catalogue, order);
        vendors.sort_by(|a, b| a.0.cmp(&b.0));
        let other_close = vendors.get(1).and_then(|v| v.1.bar.close);
        if let Some((_, chosen, origin)) = vendors.into_iter().next() {
            out.bars.push(chosen.bar.clone());
            out.origins.push(Origin { other_close, ..origin });
        }
    }
    out
}

/// Sound bars first, then the configured order, then the name.
type Rank = (bool, usize, String);

fn by_vendor<'a>(today: &'a [Candidate], catalogue: &Catalogue, order: &[String]) -> Vec<(Rank, &'a Candidate, Origin)> {
    let of = |c: &Candidate| &catalogue.manifests[c.manifest].1;
    let names: BTreeSet<&str> = today.iter().map(|c| of(c).vendor.as_str()).collect();
    let mut out = Vec::with_capacity(names.len());
    for name in names {
        let mine: Vec<&Candidate> = today.iter().filter(|c| of(c).vendor == name).collect();
        let Some(chosen) = mine.iter().copied().max_by_key(|c| (of(c).complete, c.manifest)) else { continue };
        let rows = mine.iter().filter(|c| c.manifest == chosen.manifest).count() as u64;
        let times = || mine.iter().map(|c| of(c).ingested_at);
        let origin = Origin {
            vendor: name.to_string(),
            standing: (of(chosen).complete, chosen.manifest),
            first: times().min().unwrap_or(of(chosen).ingested_at),
            last: times().max().unwrap_or(of(chosen).ingested_at),
            rows,
            revised: mine.iter().any(|c| c.manifest < chosen.manifest && values(&c.bar) != values(&chosen.bar)),
            other_close: None,
        };
        let unsound = rows > 1 || bar_code(&chosen.bar).status() == Status::Red;
        let place = order.iter().position(|o| o == name).unwrap_or(order.len());
        out.push(((unsound, place, name.to_string()), chosen, origin));
    }
    out
}

fn values(bar: &Bar) -> [Option<f64>; 6] {
    [bar.open, bar.high, bar.low, bar.close, bar.vwap, bar.volume]
}

/// The first and last day of a series.
pub fn extent(series: &Series) -> Option<(TradingDay, TradingDay)> {
    Some((series.bars.first()?.day, series.bars.last()?.day))
}
