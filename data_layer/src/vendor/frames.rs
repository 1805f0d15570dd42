//! Decoded rows as frames with the columns of [`crate::schema::columns`], sorted, one frame per calendar year.

use super::{Action, Bar, Company, Earnings, Fact, Filing, Listing, Macro, Member, Quote, Rows, Stamp};
use crate::error::Result;
use crate::frame::Texts;
use crate::sourcing::Vendor;
use crate::time::{DateRange, TradingDay};
use polars::prelude::{Column, DataFrame, DataType, NamedFrom, Series, TimeUnit, TimeZone};
use std::collections::{BTreeMap, BTreeSet};

/// Whoever takes a year's part of the window, its frame, and the symbols in it.
pub type Take<'t> = &'t mut dyn FnMut(DateRange, DataFrame, Vec<String>) -> Result<()>;

/// Split rows by the calendar year they belong to (a bar's session, an action's process date, a listing's date). A frame is made when
/// the one before it was taken: of a large answer only one year is in memory twice.
pub(super) fn by_year(rows: &Rows, vendor: Vendor, range: DateRange, take: Take<'_>) -> Result<()> {
    match rows {
        Rows::Bars(v) => split(v, range, |b| (b.date, &b.symbol), |part| bars(part, vendor), take),
        Rows::Actions(v) => split(v, range, |a| (a.process_date.or(a.ex_date).unwrap_or(range.start), &a.symbol), |part| actions(part, vendor), take),
        Rows::Listings(v) => split(v, range, |l| (l.asof, &l.symbol), |part| listings(part, vendor), take),
        Rows::Macros(v) => split(v, range, |m| (m.observed, &m.series), |part| macros(part, vendor), take),
        Rows::Members(v) => split(v, range, |m| (m.date, &m.symbol), |part| members(part, vendor), take),
        Rows::Facts(v) => split(v, range, |f| (f.filed, &f.cik), |part| facts(part, vendor), take),
        Rows::Quotes(v) => split(v, range, |q| (q.date, &q.underlying), |part| quotes(part, vendor), take),
        Rows::Earnings(v) => split(v, range, |e| (e.date, &e.symbol), |part| earnings(part, vendor), take),
        Rows::Companies(v) => split(v, range, |c| (c.asof, &c.symbol), |part| companies(part, vendor), take),
        Rows::Filings(v) => split(v, range, |f| (f.filed, &f.cik), |part| filings(part, vendor), take),
    }
}

fn split<T>(rows: &[T], range: DateRange, key: impl Fn(&T) -> (TradingDay, &str), frame: impl Fn(&[&T]) -> Result<DataFrame>, take: Take<'_>) -> Result<()> {
    let last = range.end.plus_days(-1);
    let mut years: BTreeMap<i16, Vec<&T>> = BTreeMap::new();
    // Rows of one day, and of one symbol, mostly follow each other: years and names are looked up once for each run.
    for run in rows.chunk_by(|a, b| key(a).0 == key(b).0) {
        years.entry(key(&run[0]).0.clamp(range.start, last).year()).or_default().extend(run);
    }
    for (year, part) in years {
        let start = TradingDay::ymd(year, 1, 1).unwrap_or(range.start).max(range.start);
        let end = TradingDay::ymd(year + 1, 1, 1).unwrap_or(range.end).min(range.end);
        let symbols: BTreeSet<&str> = part.chunk_by(|a, b| key(a).1 == key(b).1).map(|run| key(run[0]).1).collect();
        take(DateRange::new(start, end)?, frame(&part)?, symbols.into_iter().map(str::to_string).collect())?;
    }
    Ok(())
}

fn dates(name: &str, days: Vec<Option<i32>>) -> Result<Column> {
    Ok(Column::from(Series::new(name.into(), days).cast(&DataType::Date)?))
}
fn texts(name: &str, values: Vec<Option<&str>>) -> Column {
    Column::from(Series::new(name.into(), values))
}
fn floats(name: &str, values: Vec<Option<f64>>) -> Column {
    Column::from(Series::new(name.into(), values))
}
fn same(n: usize, value: &str) -> Vec<Option<&str>> {
    vec![Some(value); n]
}

/// The vendor's stamps. Those that say what the bar's start says are written from it, the date once a day.
fn stamps(rows: &[&Bar]) -> Texts {
    let mut out = Texts::default();
    let (mut day, mut date) = (None, String::new());
    for b in rows {
        if let Stamp::Words(words) = &b.vendor_ts {
            out.push(Some(words));
            continue;
        }
        if day != Some(b.ts.utc_day()) {
            day = Some(b.ts.utc_day());
            date = b.ts.utc_day().to_string();
        }
        let seconds = b.ts.micros().rem_euclid(86_400_000_000) / 1_000_000;
        let digit = |n: i64| char::from(b'0' + u8::try_from(n).unwrap_or(0));
        out.write(|text| {
            text.push_str(&date);
            for (mark, number) in [('T', seconds / 3_600), (':', seconds / 60 % 60), (':', seconds % 60)] {
                text.extend([mark, digit(number / 10), digit(number % 10)]);
            }
            text.push('Z');
        });
    }
    out
}

/// Columns of `raw/equities_bars`.
fn bars(rows: &[&Bar], vendor: Vendor) -> Result<DataFrame> {
    let n = rows.len();
    let sessions: Vec<(String, usize)> = rows.chunk_by(|a, b| a.date == b.date).map(|run| (format!("XNYS-{}", run[0].date), run.len())).collect();
    let session_ids = sessions.iter().flat_map(|(id, n)| std::iter::repeat_n(Some(id.as_str()), *n)).collect();
    let price = |i: usize| rows.iter().map(|b| b.ohlc[i]).collect::<Vec<_>>();
    let micros: Vec<i64> = rows.iter().map(|b| b.ts.micros()).collect();
    let ts = Series::new("ts".into(), micros).cast(&DataType::Datetime(TimeUnit::Microseconds, Some(TimeZone::UTC)))?;
    let trades: Vec<Option<i64>> = rows.iter().map(|b| b.trades).collect();
    let frame = DataFrame::new(
        n,
        vec![
            dates("date", rows.iter().map(|b| Some(b.date.0)).collect())?,
            Column::from(ts),
            texts("symbol", rows.iter().map(|b| Some(&*b.symbol)).collect()),
            floats("open", price(0)),
            floats("high", price(1)),
            floats("low", price(2)),
            floats("close", price(3)),
            floats("vwap", rows.iter().map(|b| b.vwap).collect()),
            floats("volume", rows.iter().map(|b| b.volume).collect()),
            floats("nbbo_spread", vec![None; n]),
            Column::from(Series::new("trades".into(), trades)),
            texts("session_id", session_ids),
            texts("source_name", same(n, vendor.as_str())),
            texts("source_uri", rows.iter().map(|b| Some(&*b.source_uri)).collect()),
            stamps(rows).column("vendor_ts"),
            texts("api_version", same(n, if vendor == Vendor::Tiingo { "daily" } else { super::alpaca::DATA_VERSION })),
            texts("feed", rows.iter().map(|b| Some(&*b.feed)).collect()),
            texts("asked_symbol", rows.iter().map(|b| Some(&*b.asked_symbol)).collect()),
        ],
    )?;
    Ok(frame)
}

/// Whose word on a corporate action counts first; 1 = the preferred source.
fn action_priority(vendor: Vendor) -> i64 {
    match vendor {
        Vendor::Alpaca => 1,
        Vendor::Tiingo => 2,
        Vendor::Massive => 3,
        _ => 4,
    }
}

/// Columns of `raw/corp_actions`: the reference table's, then what the vendor said beyond them.
fn actions(rows: &[&Action], vendor: Vendor) -> Result<DataFrame> {
    let n = rows.len();
    let day = |get: fn(&Action) -> Option<TradingDay>| rows.iter().map(|a| get(a).map(|d| d.0)).collect::<Vec<_>>();
    Ok(DataFrame::new(
        n,
        vec![
            texts("symbol", rows.iter().map(|a| Some(a.symbol.as_str())).collect()),
            texts("event_type", rows.iter().map(|a| Some(a.event_type.as_str())).collect()),
            dates("ex_date", day(|a| a.ex_date))?,
            dates("record_date", day(|a| a.record_date))?,
            dates("pay_date", day(|a| a.pay_date))?,
            floats("ratio", rows.iter().map(|a| a.ratio).collect()),
            floats("cash", rows.iter().map(|a| a.cash).collect()),
            Column::from(Series::new("source_priority".into(), vec![action_priority(vendor); n])),
            dates("process_date", day(|a| a.process_date))?,
            texts("new_symbol", rows.iter().map(|a| a.new_symbol.as_deref()).collect()),
            texts("vendor_id", rows.iter().map(|a| Some(a.vendor_id.as_str())).collect()),
            texts("source_name", same(n, vendor.as_str())),
            texts("source_uri", rows.iter().map(|a| Some(a.source_uri.as_str())).collect()),
            texts("body", rows.iter().map(|a| Some(a.body.as_str())).collect()),
        ],
    )?)
}

/// Columns of `raw/listings`, then the source.
fn listings(rows: &[&Listing], vendor: Vendor) -> Result<DataFrame> {
    let n = rows.len();
    Ok(DataFrame::new(
        n,
        vec![
            texts("symbol", rows.iter().map(|l| Some(l.symbol.as_str())).collect()),
            texts("name", rows.iter().map(|l| Some(l.name.as_str())).collect()),
            texts("exchange", rows.iter().map(|l| Some(l.exchange.as_str())).collect()),
            texts("asset_type", rows.iter().map(|l| Some(l.asset_type.as_str())).collect()),
            dates("ipo_date", rows.iter().map(|l| l.ipo_date.map(|d| d.0)).collect())?,
            dates("delisting_date", rows.iter().map(|l| l.delisting_date.map(|d| d.0)).collect())?,
            texts("status", rows.iter().map(|l| Some(l.status.as_str())).collect()),
            dates("asof", rows.iter().map(|l| Some(l.asof.0)).collect())?,
            texts("source_name", same(n, vendor.as_str())),
            texts("source_uri", rows.iter().map(|l| Some(l.source_uri.as_str())).collect()),
        ],
    )?)
}

/// Columns of `raw/macros_fred`.
fn macros(rows: &[&Macro], vendor: Vendor) -> Result<DataFrame> {
    let n = rows.len();
    Ok(DataFrame::new(
        n,
        vec![
            texts("series_id", rows.iter().map(|m| Some(m.series.as_str())).collect()),
            dates("observation_date", rows.iter().map(|m| Some(m.observed.0)).collect())?,
            floats("value", rows.iter().map(|m| m.value).collect()),
            dates("realtime_start", rows.iter().map(|m| Some(m.realtime_start.0)).collect())?,
            dates("realtime_end", rows.iter().map(|m| m.realtime_end.map(|d| d.0)).collect())?,
            texts("source_name", same(n, vendor.as_str())),
            texts("source_uri", rows.iter().map(|m| Some(m.source_uri.as_str())).collect()),
        ],
    )?)
}

/// Columns of `raw/index_membership`.
fn members(rows: &[&Member], vendor: Vendor) -> Result<DataFrame> {
    let n = rows.len();
    Ok(DataFrame::new(
        n,
        vec![
            texts("index_name", rows.iter().map(|m| Some(m.index.as_str())).collect()),
            texts("symbol", rows.iter().map(|m| Some(m.symbol.as_str())).collect()),
            dates("date", rows.iter().map(|m| Some(m.date.0)).collect())?,
            texts("action", rows.iter().map(|m| Some(if m.joined { "add" } else { "remove" })).collect()),
            texts("source_name", same(n, vendor.as_str())),
            texts("source_uri", rows.iter().map(|m| Some(m.source_uri.as_str())).collect()),
        ],
    )?)
}

/// Columns of `raw/fundamentals`.
fn facts(rows: &[&Fact], vendor: Vendor) -> Result<DataFrame> {
    let n = rows.len();
    let text = |get: fn(&Fact) -> &str| rows.iter().map(|f| Some(get(f))).collect::<Vec<_>>();
    Ok(DataFrame::new(
        n,
        vec![
            texts("cik", text(|f| &f.cik)),
            texts("taxonomy", text(|f| &f.taxonomy)),
            texts("concept", text(|f| &f.concept)),
            texts("unit", text(|f| &f.unit)),
            dates("period_start", rows.iter().map(|f| f.start.map(|d| d.0)).collect())?,
            dates("period_end", rows.iter().map(|f| Some(f.end.0)).collect())?,
            floats("value", rows.iter().map(|f| Some(f.value)).collect()),
            texts("accession", text(|f| &f.accession)),
            texts("form", text(|f| &f.form)),
            dates("filed", rows.iter().map(|f| Some(f.filed.0)).collect())?,
            texts("source_name", same(n, vendor.as_str())),
            texts("source_uri", text(|f| &f.source_uri)),
        ],
    )?)
}

/// Columns of `raw/options_chains`.
fn quotes(rows: &[&Quote], vendor: Vendor) -> Result<DataFrame> {
    let n = rows.len();
    let text = |get: fn(&Quote) -> &str| rows.iter().map(|q| Some(get(q))).collect::<Vec<_>>();
    Ok(DataFrame::new(
        n,
        vec![
            texts("underlying", text(|q| &q.underlying)),
            dates("date", rows.iter().map(|q| Some(q.date.0)).collect())?,
            texts("contract", text(|q| &q.contract)),
            dates("expiry", rows.iter().map(|q| Some(q.expiry.0)).collect())?,
            texts("right", text(|q| &q.right)),
            floats("strike", rows.iter().map(|q| Some(q.strike)).collect()),
            floats("bid", rows.iter().map(|q| q.bid).collect()),
            floats("ask", rows.iter().map(|q| q.ask).collect()),
            floats("last", rows.iter().map(|q| q.last).collect()),
            texts("quoted_at", text(|q| &q.quoted_at)),
            texts("source_name", same(n, vendor.as_str())),
            texts("source_uri", text(|q| &q.source_uri)),
        ],
    )?)
}

/// Columns of `raw/earnings_calendar`.
fn earnings(rows: &[&Earnings], vendor: Vendor) -> Result<DataFrame> {
    let n = rows.len();
    Ok(DataFrame::new(
        n,
        vec![
            texts("symbol", rows.iter().map(|e| Some(e.symbol.as_str())).collect()),
            dates("report_date", rows.iter().map(|e| Some(e.date.0)).collect())?,
            texts("hour", rows.iter().map(|e| Some(e.hour.as_str())).collect()),
            floats("eps_estimate", rows.iter().map(|e| e.eps_estimate).collect()),
            floats("eps_actual", rows.iter().map(|e| e.eps_actual).collect()),
            floats("revenue_estimate", rows.iter().map(|e| e.revenue_estimate).collect()),
            floats("revenue_actual", rows.iter().map(|e| e.revenue_actual).collect()),
            texts("source_name", same(n, vendor.as_str())),
            texts("source_uri", rows.iter().map(|e| Some(e.source_uri.as_str())).collect()),
        ],
    )?)
}

/// Columns of `raw/companies`.
fn companies(rows: &[&Company], vendor: Vendor) -> Result<DataFrame> {
    let n = rows.len();
    let text = |get: fn(&Company) -> &str| rows.iter().map(|c| Some(get(c))).collect::<Vec<_>>();
    Ok(DataFrame::new(
        n,
        vec![
            texts("cik", text(|c| &c.cik)),
            texts("symbol", text(|c| &c.symbol)),
            texts("name", text(|c| &c.name)),
            dates("asof", rows.iter().map(|c| Some(c.asof.0)).collect())?,
            texts("source_name", same(n, vendor.as_str())),
            texts("source_uri", text(|c| &c.source_uri)),
        ],
    )?)
}

/// Columns of `raw/filings`.
fn filings(rows: &[&Filing], vendor: Vendor) -> Result<DataFrame> {
    let n = rows.len();
    let text = |get: fn(&Filing) -> &str| rows.iter().map(|f| Some(get(f))).collect::<Vec<_>>();
    Ok(DataFrame::new(
        n,
        vec![
            texts("cik", text(|f| &f.cik)),
            texts("accession", text(|f| &f.accession)),
            texts("form", text(|f| &f.form)),
            dates("filed", rows.iter().map(|f| Some(f.filed.0)).collect())?,
            dates("report_date", rows.iter().map(|f| f.report_date.map(|d| d.0)).collect())?,
            texts("accepted", text(|f| &f.accepted)),
            texts("items", text(|f| &f.items)),
            texts("source_name", same(n, vendor.as_str())),
            texts("source_uri", text(|f| &f.source_uri)),
        ],
    )?)
}
