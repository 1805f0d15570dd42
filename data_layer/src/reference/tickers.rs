//! Which changes of ticker the sources tell of, and what follows for listings: [`Tickers`] holds it.

use super::actions::TickerChange;
use super::listings::Listing;
use crate::tickers::{Held, Tickers};
use crate::time::TradingDay;
use std::collections::{BTreeMap, BTreeSet};

/// Changes of ticker that one company is followed through.
const LONGEST: usize = 20;
/// Days by which a listing's own dates may miss the change of ticker that they tell of.
const NEAR_DAYS: i32 = 10;

/// A company gives a ticker up, and goes on under another one if that is known.
struct Event<'a> {
    day: TradingDay,
    old: &'a str,
    new: Option<&'a str>,
}

/// What changes of ticker and listings tell.
pub(super) fn of(changes: &[TickerChange], listings: &[Listing]) -> Tickers {
    let mut events: Vec<Event<'_>> = changes.iter().map(|c| Event { day: c.date, old: &c.old_symbol, new: Some(&c.new_symbol) }).collect();
    let by_symbol = by_symbol(listings);
    for (symbol, rows) in &by_symbol {
        events.extend(handed_on(rows).map(|day| Event { day, old: symbol, new: None }));
    }
    let names: BTreeSet<&str> = events.iter().flat_map(|e| [Some(e.old), e.new]).flatten().collect();
    let rows_of = |symbol: &str| by_symbol.get(symbol).map_or(&[][..], Vec::as_slice);
    let known = names.into_iter().map(|symbol| (symbol.to_string(), life(symbol, &events, rows_of(symbol))));
    Tickers::new(known.filter(|(symbol, life)| !is_plain(symbol, life)).collect())
}

/// Listings as the companies' and not the tickers': of a symbol whose company had another ticker before, the listing begins with
/// the company, and the listings of whoever had the ticker before it are another company's.
pub(super) fn restate(tickers: &Tickers, listings: &[Listing]) -> Vec<Listing> {
    let all = by_symbol(listings);
    let mut out = Vec::with_capacity(listings.len());
    for (symbol, rows) in &all {
        let Some(life) = tickers.life(symbol) else {
            out.extend(rows.iter().map(|l| (*l).clone()));
            continue;
        };
        let own_from = life.iter().rfind(|h| h.ticker.as_deref() == Some(symbol)).and_then(|h| h.from);
        let mut own: Vec<Listing> =
            rows.iter().filter(|l| l.delisting_date.is_none_or(|to| own_from.is_none_or(|from| from < to))).map(|l| (*l).clone()).collect();
        if let Some(first) = own.iter_mut().min_by_key(|l| l.ipo_date) {
            first.ipo_date = began(life, &all, first.ipo_date);
        }
        out.extend(own);
    }
    out.sort_by(|a, b| (&a.symbol, a.ipo_date, a.delisting_date).cmp(&(&b.symbol, b.ipo_date, b.delisting_date)));
    out
}

fn by_symbol(listings: &[Listing]) -> BTreeMap<&str, Vec<&Listing>> {
    let mut out: BTreeMap<&str, Vec<&Listing>> = BTreeMap::new();
    for l in listings {
        out.entry(&l.symbol).or_default().push(l);
    }
    out
}

/// The days on which a listing of a ticker ended while another one, of another name, is said to have been there already: a listing may
/// carry the date of its company, and two companies never had one ticker together.
fn handed_on<'a>(rows: &'a [&Listing]) -> impl Iterator<Item = TradingDay> + 'a {
    let plain = |l: &Listing| l.name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect::<String>();
    rows.iter().filter_map(move |gone| {
        let end = gone.delisting_date?;
        let overlaps =
            |l: &&&Listing| l.ipo_date.is_some_and(|d| d.plus_days(NEAR_DAYS) < end) && l.delisting_date.is_none_or(|d| end.plus_days(NEAR_DAYS) < d);
        rows.iter().find(overlaps).filter(|l| plain(l) != plain(gone)).map(|_| end)
    })
}

fn is_plain(symbol: &str, life: &[Held]) -> bool {
    matches!(life, [only] if only.from.is_none() && only.to.is_none() && only.ticker.as_deref() == Some(symbol))
}

/// The stretches of one symbol, oldest first: from today back through every change that led to its ticker.
fn life(symbol: &str, events: &[Event<'_>], listings: &[&Listing]) -> Vec<Held> {
    let given_up = events.iter().filter(|e| e.old == symbol).map(|e| e.day).max();
    let again = |day: TradingDay| {
        let taken = events.iter().any(|e| e.new == Some(symbol) && day <= e.day);
        // A list that is newer than the change, and still names it, names its next holder.
        let listed = |l: &&Listing| {
            l.ipo_date.is_some_and(|d| day < d) || (day.plus_days(NEAR_DAYS) < l.asof && l.delisting_date.is_none_or(|d| day.plus_days(NEAR_DAYS) < d))
        };
        taken || listings.iter().any(listed)
    };
    let (mut out, mut ticker, mut end) = (Vec::new(), symbol.to_string(), None);
    if let Some(day) = given_up.filter(|day| !again(*day)) {
        out.push(Held { from: Some(day), to: None, ticker: None });
        end = Some(day);
    }
    for _ in 0..LONGEST {
        let before = |e: &&Event<'_>| end.is_none_or(|end| e.day < end) && (e.new == Some(ticker.as_str()) || e.old == ticker);
        // A ticker that is handed on within a day is given up first.
        let Some(last) = events.iter().filter(before).max_by_key(|e| (e.day, e.new == Some(ticker.as_str()))) else {
            out.push(Held { from: None, to: end, ticker: Some(ticker) });
            break;
        };
        out.push(Held { from: Some(last.day), to: end, ticker: Some(ticker.clone()) });
        end = Some(last.day);
        if last.new != Some(ticker.as_str()) {
            out.push(Held { from: None, to: end, ticker: None });
            break;
        }
        ticker = last.old.to_string();
    }
    out.reverse();
    out
}

/// The first day of a company: its own listing's where that is early enough, else that of the first ticker it is known to have had.
fn began(life: &[Held], listings: &BTreeMap<&str, Vec<&Listing>>, own: Option<TradingDay>) -> Option<TradingDay> {
    let first = life.iter().find(|h| h.ticker.is_some())?;
    let (ticker, end) = (first.ticker.as_deref()?, first.to);
    let carried = |l: &&&Listing| end.is_none_or(|end| l.ipo_date.is_none_or(|d| d < end) && l.delisting_date.is_none_or(|d| end <= d.plus_days(NEAR_DAYS)));
    let earlier = listings.get(ticker).and_then(|rows| rows.iter().find(carried)).map(|l| l.ipo_date);
    match (own, earlier) {
        // The listing has the date of the last change, and nobody has listed the ticker before it.
        (Some(own), None) if end.is_some_and(|end| end.plus_days(-NEAR_DAYS) <= own) => None,
        (own, None) => own,
        (own, Some(earlier)) => own.zip(earlier).map(|(a, b)| a.min(b)),
    }
}

#[cfg(test)]
#[path = "tickers_tests.rs"]
mod tests;
