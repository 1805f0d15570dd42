//! `curated/equities_minute_adj`: adjusted minutes, a file per symbol and month.
//!
//! Minutes take the factors of their session from the steps of the day bars: a dividend's factor needs the close before its
//! ex-date, and there is one such close, not two. Only sessions whose minutes are sound are kept, and of those the minutes
//! between open and close.

use super::adjust::{Step, factors};
use super::deps::Deps;
use super::price::{PriceFactor, RawPrice};
use super::{CurateReport, Depth, Planned, begin, partitions, vanished, write_all};
use crate::audit::AuditConfig;
use crate::audit::bars::Catalogue;
use crate::audit::minutes::Wanted;
use crate::audit::minutes::scan::{self, Held};
use crate::control::Db;
use crate::error::{Error, Result};
use crate::frame;
use crate::qc::Session;
use crate::root::{DataPath, DataRoot, encode_symbol};
use crate::schema::{table, timeframe};
use crate::store;
use crate::time::{DateRange, TradingDay, UtcTime};
use std::collections::{BTreeMap, BTreeSet};

/// Symbols of a month whose minutes are in memory at once.
const SYMBOLS_AT_ONCE: usize = 50;

/// First day of a month, and a symbol: months first, because a segment holds many symbols of one week.
type Key = (TradingDay, String);

/// Bring the curated minutes and their ledger rows in line with what is raw, and with `deps.steps`. Months of the doubtful symbols
/// stay as they are and are not GREEN: their factors may be wrong.
pub(super) fn curate(
    root: &DataRoot,
    db: &Db,
    catalogue: &Catalogue,
    config: &AuditConfig,
    (depth, doubtful): (Depth, &BTreeSet<String>),
    deps: &mut Deps,
    report: &mut CurateReport,
) -> Result<()> {
    let planned = plan(catalogue, deps)?;
    let (held, rest): (Vec<_>, Vec<_>) = planned.iter().partition(|((_, symbol), _)| doubtful.contains(symbol));
    let stale: BTreeMap<&Key, &Planned> = rest.into_iter().filter(|(_, p)| !deps.is_current(root, p, depth)).collect();
    report.unchanged += (planned.len() - held.len() - stale.len()) as u64;
    let mut gone = vanished(root, table::CURATED_MINUTES, planned.values(), depth, deps)?;
    let mut skipped: Skipped = held.into_iter().map(|((month, symbol), _)| (symbol.clone(), month_of(*month))).collect();
    for symbol in doubtful {
        // A month whose only manifest is lost is planned by nobody, and stays all the same.
        let folder = format!("{}/sym={}/dt=", table::CURATED_MINUTES, encode_symbol(symbol)?);
        let month = |p: &DataPath| format!("{}-01", p.as_str().strip_prefix(&folder)?.get(..7)?).parse().ok().map(month_of);
        skipped.extend(gone.iter().filter_map(month).map(|days| (symbol.clone(), days)));
        gone.retain(|p| month(p).is_none());
    }
    if !stale.is_empty() || !gone.is_empty() {
        begin(root, stale.values().copied(), &gone, deps, report)?;
        skipped.extend(rebuild(root, catalogue, config, &stale, deps, report)?);
        deps.store(root)?;
    }
    let days: Vec<(&str, DateRange)> = skipped.iter().map(|(symbol, month)| (symbol.as_str(), *month)).collect();
    report.changed += partitions::mirror(db, (table::CURATED_MINUTES, timeframe::MINUTE), &days)?;
    report.minutes_skipped = skipped;
    Ok(())
}

/// The file of a symbol's month.
pub fn path_of(symbol: &str, month: TradingDay) -> Result<DataPath> {
    DataPath::new(format!("{}/sym={}/dt={:04}-{:02}/part-0.parquet", table::CURATED_MINUTES, encode_symbol(symbol)?, month.year(), month.month()))
}

/// A minute as it traded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawMinute {
    pub start: UtcTime,
    /// Open, high, low, close.
    pub ohlc: [f64; 4],
    pub volume: f64,
}

/// The minutes of a session as they traded, in order, read back from the adjusted ones; none where the drive holds none, or none that are sound.
pub fn session(root: &DataRoot, symbol: &str, day: TradingDay) -> Result<Vec<RawMinute>> {
    let path = path_of(symbol, first_of(day))?;
    if !root.locate(&path).exists() {
        return Ok(Vec::new());
    }
    let file = store::read_parquet(root, &path)?;
    let (days, ts) = (frame::days(&file, "date")?, frame::stamps(&file, "ts")?);
    let names = ["open", "high", "low", "close", "volume", "price_factor", "split_factor"];
    let columns = names.iter().map(|name| frame::floats(&file, name)).collect::<Result<Vec<_>>>()?;
    let mut out = Vec::new();
    for i in (0..days.len()).filter(|i| days[*i] == Some(day)) {
        let row: Option<Vec<f64>> = columns.iter().map(|c| c[i]).collect();
        let (Some(start), Some([open, high, low, close, volume, price, split])) = (ts[i], row.as_deref()) else { continue };
        out.push(RawMinute { start, ohlc: [open / price, high / price, low / price, close / price], volume: volume / split });
    }
    Ok(out)
}

/// The month that begins on `first`.
fn month_of(first: TradingDay) -> DateRange {
    DateRange { start: first, end: first_of(first.plus_days(31)) }
}

fn first_of(day: TradingDay) -> TradingDay {
    day.plus_days(1 - i32::from(day.day_of_month()))
}

fn plan(catalogue: &Catalogue, deps: &Deps) -> Result<BTreeMap<Key, Planned>> {
    let mut sources: BTreeMap<Key, Vec<String>> = BTreeMap::new();
    for (_, manifest) in &catalogue.manifests {
        for segment in manifest.segments.iter().filter(|s| s.t0 < s.t1) {
            let line = format!("{} {} {}", segment.sha256, manifest.vendor, manifest.complete);
            let mut month = first_of(segment.t0);
            while month < segment.t1 {
                for symbol in &segment.symbols {
                    sources.entry((month, symbol.clone())).or_default().push(line.clone());
                }
                month = month_of(month).end;
            }
        }
    }
    let mut out = BTreeMap::new();
    for ((month, symbol), own) in sources {
        let due: Vec<&Step> = deps.steps.get(&symbol).into_iter().flatten().filter(|s| s.ex_date > month).collect();
        let inputs = match catalogue.tickers.words(&symbol) {
            words if words.is_empty() => store::digest_of(&("equities_minute_adj 1", own, due))?,
            words => store::digest_of(&("equities_minute_adj 1", own, due, words))?,
        };
        let path = path_of(&symbol, month)?;
        out.insert((month, symbol), Planned { path, inputs });
    }
    Ok(out)
}

type Skipped = Vec<(String, DateRange)>;

fn rebuild(
    root: &DataRoot,
    catalogue: &Catalogue,
    config: &AuditConfig,
    stale: &BTreeMap<&Key, &Planned>,
    deps: &mut Deps,
    report: &mut CurateReport,
) -> Result<Skipped> {
    let mut months: BTreeMap<TradingDay, Vec<(&str, &Planned)>> = BTreeMap::new();
    stale.iter().for_each(|((month, symbol), planned)| months.entry(*month).or_default().push((symbol, planned)));
    let mut skipped = Vec::new();
    for (month, symbols) in months {
        let days = month_of(month);
        for batch in symbols.chunks(SYMBOLS_AT_ONCE) {
            root.host().check_cancelled()?;
            let wanted: Wanted = batch.iter().map(|(s, _)| ((*s).to_string(), vec![days])).collect();
            let mut held: BTreeMap<String, BTreeMap<TradingDay, Vec<Held<Session>>>> = BTreeMap::new();
            let found = scan::scan(root, catalogue, &wanted, &mut |symbol, manifest, session| {
                let summary = session.summary(&config.qc);
                held.entry(symbol.to_string()).or_default().entry(session.day).or_default().push(Held { manifest, summary, kept: session });
            })?;
            report.segments_read += found.segments_read;
            let mut jobs = Vec::new();
            for (symbol, planned) in batch {
                let hurt = found.damaged.iter().any(|d| d.symbols.contains(*symbol) && d.days.intersect(&days).is_some());
                if hurt {
                    skipped.push(((*symbol).to_string(), days));
                    continue;
                }
                let sessions = held.remove(*symbol).unwrap_or_default();
                let chosen = sessions.values().filter_map(|h| scan::choose(h, catalogue, &config.source_order));
                let sound: Vec<(Session, String)> =
                    chosen.filter(|(h, _)| crate::audit::minutes::is_sound(&h.summary)).map(|(h, origin)| (h.kept, origin.vendor)).collect();
                jobs.push((*planned, bytes(symbol, &sound, deps.steps.get(*symbol).map_or(&[][..], Vec::as_slice))?));
            }
            for (planned, output, written) in write_all(root, jobs)? {
                deps.files.insert(planned.path.clone(), output);
                *(if written { &mut report.rewritten } else { &mut report.unchanged }) += 1;
            }
        }
    }
    Ok(skipped)
}

/// The file's bytes, or `None` when no session of the month is sound.
fn bytes(symbol: &str, sessions: &[(Session, String)], steps: &[Step]) -> Result<Option<Vec<u8>>> {
    let days: Vec<TradingDay> = sessions.iter().map(|(s, _)| s.day).collect();
    let factors = factors(&days, steps);
    let mut c = Columns::default();
    for ((session, vendor), (price, split)) in sessions.iter().zip(factors) {
        let before = c.ts.len();
        for m in session.regular() {
            c.ts.push(m.ts);
            for (column, raw) in c.prices.iter_mut().zip([m.ohlc[0], m.ohlc[1], m.ohlc[2], m.ohlc[3], m.vwap]) {
                column.push(raw.map(|p| RawPrice(p).adjust(PriceFactor(price)).dollars()));
            }
            c.volume.push(m.volume.map(|v| v * split));
        }
        let n = c.ts.len() - before;
        c.day.extend(std::iter::repeat_n(Some(session.day), n));
        c.factors[0].extend(std::iter::repeat_n(Some(price), n));
        c.factors[1].extend(std::iter::repeat_n(Some(split), n));
        c.session.extend(std::iter::repeat_n(session.session_id.as_deref(), n));
        c.vendor.extend(std::iter::repeat_n(Some(vendor.as_str()), n));
    }
    if c.ts.is_empty() {
        return Ok(None);
    }
    let [open, high, low, close, vwap] = &c.prices;
    let mut table = frame::assemble(vec![
        frame::day_column("date", &c.day)?,
        frame::stamp_column("ts", &c.ts)?,
        frame::text_column("symbol", &vec![Some(symbol); c.ts.len()]),
        frame::float_column("open", open),
        frame::float_column("high", high),
        frame::float_column("low", low),
        frame::float_column("close", close),
        frame::float_column("vwap", vwap),
        frame::float_column("volume", &c.volume),
        frame::float_column("price_factor", &c.factors[0]),
        frame::float_column("split_factor", &c.factors[1]),
        frame::text_column("session_id", &c.session),
        frame::text_column("source_name", &c.vendor),
    ])
    .map_err(|e: Error| e.during(&text!("the minutes of {symbol}")))?;
    store::parquet_bytes(&mut table).map(Some)
}

/// The columns of a file while it is made.
#[derive(Default)]
struct Columns<'a> {
    day: Vec<Option<TradingDay>>,
    ts: Vec<UtcTime>,
    /// Open, high, low, close, vwap.
    prices: [Vec<Option<f64>>; 5],
    volume: Vec<Option<f64>>,
    factors: [Vec<Option<f64>>; 2],
    session: Vec<Option<&'a str>>,
    vendor: Vec<Option<&'a str>>,
}
