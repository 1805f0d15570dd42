//! The liquid universe: US common stocks that trade enough money, by date, those that are gone included.
//!
//! Who belongs is decided at the first session of a month from the sessions before it, and holds until the next decision: nobody
//! enters on the strength of a day that had not come. Dollars are unadjusted closes times shares as traded.

use super::{load_listings, path_of, sources};
use crate::calendar::Calendar;
use crate::error::Result;
use crate::frame;
use crate::qc::QcCode;
use crate::root::DataRoot;
use crate::schema::{dataset, table};
use crate::store;
use crate::time::TradingDay;
use crate::vouch;
use polars::prelude::DataFrame;
use std::collections::BTreeMap;

/// Sessions of the mean.
pub const ADV_SESSIONS: usize = 60;
/// Dollars a day that a stock must trade on average, unless the configuration says otherwise.
pub const MIN_ADV_USD: f64 = 1_000_000.0;

/// A stock's stay, `[from, to)`.
#[derive(Clone, Debug, PartialEq)]
pub struct LiquidStay {
    pub symbol: String,
    pub from: TradingDay,
    /// `None` = it still belongs.
    pub to: Option<TradingDay>,
    /// Average dollars a day at the decision that let it in.
    pub adv_60_usd: f64,
    /// The bar that it cleared.
    pub min_adv_usd: f64,
}

/// Per session, the average that the decision in force was made from; NaN where there were too few sessions. `days` are sessions
/// without gaps, `dollars` what traded on each: a session without a bar is one without trade, and counts as nothing.
pub fn decided_adv(days: &[TradingDay], dollars: &[f64]) -> Vec<f64> {
    let mut out = vec![f64::NAN; days.len()];
    let mut standing = f64::NAN;
    for t in 0..days.len() {
        let new_month = t == 0 || (days[t].month(), days[t].year()) != (days[t - 1].month(), days[t - 1].year());
        if new_month {
            let window = t.checked_sub(ADV_SESSIONS).map(|from| &dollars[from..t]);
            standing = window.map_or(f64::NAN, |w| w.iter().filter(|d| d.is_finite()).sum::<f64>() / ADV_SESSIONS as f64);
        }
        out[t] = standing;
    }
    out
}

/// Dollars by symbol and session, from every day bar on the drive. Where vendors disagree the first of the order of sources speaks.
fn traded(root: &DataRoot) -> Result<BTreeMap<String, BTreeMap<TradingDay, f64>>> {
    let rank = |vendor: &str| ["alpaca", "tiingo", "massive"].iter().position(|v| *v == vendor).unwrap_or(usize::MAX);
    let mut out: BTreeMap<String, BTreeMap<TradingDay, (usize, f64)>> = BTreeMap::new();
    for (_, manifest) in sources::manifests(root, table::RAW_EQUITIES_BARS)?.into_iter().filter(|(_, m)| m.dataset == dataset::EQUITIES_EOD) {
        let rank = rank(&manifest.vendor);
        for segment in &manifest.segments {
            let rows: std::result::Result<DataFrame, QcCode> = sources::read_columns(root, segment, &["symbol", "date", "close", "volume"])?;
            // What cannot be read is the audit's to say; it has no dollars.
            let Ok(rows) = rows else { continue };
            let (symbol, date) = (frame::texts(&rows, "symbol")?, frame::days(&rows, "date")?);
            let (close, volume) = (frame::floats(&rows, "close")?, frame::floats(&rows, "volume")?);
            for i in 0..rows.height() {
                let (Some(symbol), Some(day), Some(close), Some(volume)) = (symbol[i], date[i], close[i], volume[i]) else { continue };
                let usd = close * volume;
                if !(usd.is_finite() && close > 0.0 && volume >= 0.0) {
                    continue;
                }
                if !out.contains_key(symbol) {
                    out.insert(symbol.to_string(), BTreeMap::new());
                }
                let Some(days) = out.get_mut(symbol) else { continue };
                // Of one vendor the newest answer counts.
                if days.get(&day).is_none_or(|(known, _)| rank <= *known) {
                    days.insert(day, (rank, usd));
                }
            }
        }
    }
    Ok(out.into_iter().map(|(s, days)| (s, days.into_iter().map(|(d, (_, usd))| (d, usd)).collect())).collect())
}

/// Every stay of every common stock whose bars are on the drive.
pub fn liquid_universe(root: &DataRoot, min_adv_usd: f64) -> Result<Vec<LiquidStay>> {
    let mut listed: BTreeMap<String, Vec<(Option<TradingDay>, Option<TradingDay>, bool)>> = BTreeMap::new();
    for l in load_listings(root)? {
        listed.entry(l.symbol.clone()).or_default().push((l.ipo_date, l.delisting_date, l.is_common_stock()));
    }
    let mut out = Vec::new();
    for (symbol, days) in traded(root)? {
        let spans = listed.get(&symbol).map_or(&[][..], Vec::as_slice);
        let is_common = |day: TradingDay| {
            let carries = |s: &&(Option<TradingDay>, Option<TradingDay>, bool)| s.0.is_none_or(|d| d <= day) && s.1.is_none_or(|d| day < d);
            spans.is_empty() || spans.iter().find(carries).is_some_and(|s| s.2)
        };
        out.extend(stays(&symbol, &days, min_adv_usd, &is_common));
    }
    Ok(out)
}

fn stays(symbol: &str, traded: &BTreeMap<TradingDay, f64>, floor: f64, is_common: &dyn Fn(TradingDay) -> bool) -> Vec<LiquidStay> {
    let (Some(first), Some(last)) = (traded.keys().next(), traded.keys().next_back()) else { return Vec::new() };
    let sessions = Calendar::xnys().sessions(crate::time::DateRange { start: *first, end: last.plus_days(1) });
    let dollars: Vec<f64> = sessions.iter().map(|d| traded.get(d).copied().unwrap_or(f64::NAN)).collect();
    let mut out: Vec<LiquidStay> = Vec::new();
    let mut inside = false;
    for (day, adv) in sessions.iter().zip(decided_adv(sessions, &dollars)) {
        let belongs = adv >= floor && is_common(*day);
        match (inside, belongs) {
            (false, true) => out.push(LiquidStay { symbol: symbol.into(), from: *day, to: None, adv_60_usd: adv, min_adv_usd: floor }),
            (true, false) => out.iter_mut().last().into_iter().for_each(|stay| stay.to = Some(*day)),
            _ => {}
        }
        inside = belongs;
    }
    // A listing that ended after its last bar ends the stay.
    if inside && !is_common(last.plus_days(1)) {
        out.iter_mut().last().into_iter().for_each(|stay| stay.to = Some(last.plus_days(1)));
    }
    out
}

/// Write `reference/universe_liquid` anew; whether it changed. Nothing where no stock clears the bar.
pub fn refresh_liquid(root: &DataRoot, min_adv_usd: f64) -> Result<bool> {
    let stays = liquid_universe(root, min_adv_usd)?;
    if stays.is_empty() {
        return Ok(false);
    }
    let mut rows = frame::assemble(vec![
        frame::text_column("symbol", &stays.iter().map(|s| Some(s.symbol.as_str())).collect::<Vec<_>>()),
        frame::day_column("from", &stays.iter().map(|s| Some(s.from)).collect::<Vec<_>>())?,
        frame::day_column("to", &stays.iter().map(|s| s.to).collect::<Vec<_>>())?,
        frame::float_column("adv_60_usd", &stays.iter().map(|s| Some(s.adv_60_usd)).collect::<Vec<_>>()),
        frame::float_column("min_adv_usd", &stays.iter().map(|s| Some(s.min_adv_usd)).collect::<Vec<_>>()),
    ])?;
    Ok(vouch::write(root, &path_of(table::REF_LIQUID)?, store::parquet_bytes(&mut rows)?)?.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::refresh_reference;
    use crate::testkit::{Kit, RawBar, day, range};

    /// Bars of a window with this many shares at 10 dollars.
    fn bars(symbol: &str, from: &str, to: &str, shares: f64) -> Vec<RawBar> {
        let one =
            |d: &TradingDay| RawBar { symbol: symbol.into(), day: *d, ohlcv: [Some(10.0), Some(10.0), Some(10.0), Some(10.0), Some(shares)], feed: "sip" };
        Calendar::xnys().sessions(range(from, to)).iter().map(one).collect()
    }

    fn of(stays: &[LiquidStay], symbol: &str) -> Vec<(TradingDay, Option<TradingDay>)> {
        stays.iter().filter(|s| s.symbol == symbol).map(|s| (s.from, s.to)).collect()
    }

    #[test]
    fn who_belongs_is_decided_each_month_from_the_sessions_before_it_and_the_dead_belong_while_they_lived() {
        let kit = Kit::new();
        let (from, to) = ("2017-01-03", "2017-10-01");
        kit.listings(
            "2017-10-02",
            &[
                ("BIG", Some("2010-01-04"), None),
                ("SMALL", Some("2010-01-04"), None),
                ("GREW", Some("2010-01-04"), None),
                ("DEAD", Some("2010-01-04"), Some("2017-07-15")),
            ],
        );
        let mut all = bars("BIG", from, to, 200_000.0);
        all.extend(bars("DEAD", from, "2017-07-15", 200_000.0));
        all.extend(bars("GREW", from, "2017-05-10", 1_000.0));
        all.extend(bars("GREW", "2017-05-10", to, 200_000.0));
        all.extend(bars("SMALL", from, to, 1_000.0));
        kit.commit("alpaca", &["BIG", "DEAD", "GREW", "SMALL"], range(from, to), &all);
        refresh_reference(&kit.root, &kit.db).unwrap();
        let stays = liquid_universe(&kit.root, MIN_ADV_USD).unwrap();
        // Sixty sessions have passed on 2017-03-30: the first decision that can be made is April's.
        assert_eq!(of(&stays, "BIG"), [(day("2017-04-03"), None)]);
        assert_eq!(of(&stays, "DEAD"), [(day("2017-04-03"), Some(day("2017-07-15")))]);
        // 2 million a day from May 10 on are one million on average after thirty sessions: in June's last days, so July's decision.
        assert_eq!(of(&stays, "GREW"), [(day("2017-07-03"), None)]);
        assert!(of(&stays, "SMALL").is_empty());
        assert!(refresh_liquid(&kit.root, MIN_ADV_USD).unwrap() && !refresh_liquid(&kit.root, MIN_ADV_USD).unwrap(), "unchanged bars write nothing");
    }

    #[test]
    fn tomorrows_bars_change_no_decision_that_was_made() {
        let days = Calendar::xnys().sessions(range("2017-01-03", "2017-12-30"));
        let dollars: Vec<f64> = (0..days.len()).map(|t| if t % 7 == 3 { f64::NAN } else { 1e6 + 1e4 * (t as f64 * 1.7).sin() * t as f64 }).collect();
        let whole = decided_adv(days, &dollars);
        for n in [61, 100, 170, 250] {
            let then = decided_adv(&days[..n], &dollars[..n]);
            assert!(then.iter().zip(&whole).all(|(a, b)| a.to_bits() == b.to_bits()), "{n}");
        }
        assert!(whole[..60].iter().all(|v| v.is_nan()) && whole[100].is_finite());
    }
}
