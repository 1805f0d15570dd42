//! Checks on one symbol's day bars.

use super::{QcCode, QcConfig};
use crate::calendar::Calendar;
use crate::time::TradingDay;
use std::sync::Arc;

/// How far back a bar's verdict looks, but for the bar before it, however long ago that was. A fixed reach makes an incremental audit
/// equal to a full one.
pub const LOOKBACK_SESSIONS: i32 = 10;

/// Prices are compared with this relative slack: a vendor's decimal text and its float differ in the last place.
const ROUNDING: f64 = 1e-9;

/// One day's bar as a vendor served it. `None` is a missing cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    pub day: TradingDay,
    pub open: Option<f64>,
    pub high: Option<f64>,
    pub low: Option<f64>,
    pub close: Option<f64>,
    pub vwap: Option<f64>,
    pub volume: Option<f64>,
    pub session_id: Option<Arc<str>>,
    pub feed: Option<Arc<str>>,
}

/// A corporate action that explains a price move. `factor` is new/old shares (1.0 = none), `cash` is dollars a share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Action {
    pub ex_date: TradingDay,
    pub factor: f64,
    pub cash: f64,
    /// The dollars came as shares of another company.
    pub in_kind: bool,
}

impl Action {
    pub fn split(ex_date: TradingDay, factor: f64) -> Self {
        Self { ex_date, factor, cash: 0.0, in_kind: false }
    }
    pub fn dividend(ex_date: TradingDay, cash: f64) -> Self {
        Self { ex_date, factor: 1.0, cash, in_kind: false }
    }
}

/// The verdict on a bar by itself: prices positive and ordered, no cell missing.
pub fn bar_code(bar: &Bar) -> QcCode {
    prices_code([bar.open, bar.high, bar.low, bar.close], bar.volume)
}

/// The same of any bar: open, high, low, close, and the volume.
pub fn prices_code(prices: [Option<f64>; 4], volume: Option<f64>) -> QcCode {
    if prices.iter().flatten().any(|p| !p.is_finite() || *p <= 0.0) || volume.is_some_and(|v| !v.is_finite() || v < 0.0) {
        return QcCode::Ohlc;
    }
    let [open, high, low, close] = prices;
    let body = [open, close].into_iter().flatten();
    let top = body.clone().chain(low).fold(f64::MIN, f64::max);
    let bottom = body.chain(high).fold(f64::MAX, f64::min);
    if high.is_some_and(|h| h * (1.0 + ROUNDING) < top) || low.is_some_and(|l| l > bottom * (1.0 + ROUNDING)) {
        return QcCode::Ohlc;
    }
    if prices.contains(&None) || volume.is_none() { QcCode::NullCells } else { QcCode::Ok }
}

/// Verdicts for bars in order of the day, one per bar. `actions` are the symbol's, in any order.
/// Out-of-order or repeated days are `DUPLICATES`.
pub fn judge(bars: &[Bar], actions: &[Action], config: &QcConfig) -> Vec<QcCode> {
    let mut same = 1usize;
    let mut out = Vec::with_capacity(bars.len());
    for (i, bar) in bars.iter().enumerate() {
        let before = i.checked_sub(1).map(|j| &bars[j]);
        let near = before.filter(|b| within_reach(b.day, bar.day));
        same = if near.is_some_and(|b| bar.close.is_some() && b.close == bar.close && b.volume == bar.volume) { same + 1 } else { 1 };
        let own = bar_code(bar);
        let code = if before.is_some_and(|b| b.day >= bar.day) {
            QcCode::Duplicates
        } else if own != QcCode::Ok {
            own
        } else if near.is_some_and(|b| unapplied(b, bar, actions)) {
            QcCode::ActionUnapplied
        } else if near.is_some_and(|b| unexplained(b, bar, actions, config)) {
            QcCode::MoveUnexplained
        } else if near.is_none() && before.is_some_and(|b| unexplained(b, bar, actions, config)) {
            QcCode::BreakAcrossGap
        } else if same >= config.stale_bars {
            QcCode::StaleRepeat
        } else if near.is_some_and(|b| b.feed.is_some() && bar.feed.is_some() && b.feed != bar.feed) {
            QcCode::FeedChanged
        } else {
            QcCode::Ok
        };
        out.push(code);
    }
    out
}

fn within_reach(earlier: TradingDay, later: TradingDay) -> bool {
    let calendar = Calendar::xnys();
    match (calendar.index(earlier), calendar.index(later)) {
        (Some(a), Some(b)) => b.abs_diff(a) <= LOOKBACK_SESSIONS as usize,
        _ => later.0.abs_diff(earlier.0) <= LOOKBACK_SESSIONS as u32,
    }
}

/// Whether more is paid between two bars than the share was worth at the first: no price before it can be adjusted for that.
fn unapplied(before: &Bar, bar: &Bar, actions: &[Action]) -> bool {
    let due = || actions.iter().filter(|a| before.day < a.ex_date && a.ex_date <= bar.day);
    let factor: f64 = due().map(|a| a.factor).product();
    before.close.is_some_and(|close| due().any(|a| a.cash > 0.0 && a.cash >= close / factor))
}

/// Whether the close moved more than the limit beyond what the actions of those days account for. An action that says
/// the price should have moved, and did not, is just as unexplained.
fn unexplained(before: &Bar, bar: &Bar, actions: &[Action], config: &QcConfig) -> bool {
    let (Some(old), Some(new)) = (before.close, bar.close) else { return false };
    if old <= 0.0 || new <= 0.0 {
        return false;
    }
    let due = || actions.iter().filter(|a| before.day < a.ex_date && a.ex_date <= bar.day);
    let factor: f64 = due().map(|a| a.factor).product();
    let cash: f64 = due().map(|a| a.cash).sum();
    let ratio = (new * factor + cash) / old;
    (ratio - 1.0).abs() > config.move_without_action
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(n: i32) -> TradingDay {
        Calendar::xnys().offset("2017-01-03".parse().unwrap(), n).unwrap()
    }
    fn bar(n: i32, close: f64) -> Bar {
        let (open, high, low) = (Some(close), Some(close + 1.0), Some(close - 1.0));
        Bar { day: day(n), open, high, low, close: Some(close), vwap: None, volume: Some(1000.0 + f64::from(n)), session_id: None, feed: None }
    }

    #[test]
    fn prices_must_be_positive_ordered_and_present() {
        assert_eq!(bar_code(&bar(0, 10.0)), QcCode::Ok);
        assert_eq!(bar_code(&Bar { high: Some(9.0), ..bar(0, 10.0) }), QcCode::Ohlc);
        assert_eq!(bar_code(&Bar { low: Some(10.5), ..bar(0, 10.0) }), QcCode::Ohlc);
        assert_eq!(bar_code(&Bar { close: Some(0.0), ..bar(0, 10.0) }), QcCode::Ohlc);
        assert_eq!(bar_code(&Bar { close: Some(-1.0), ..bar(0, 10.0) }), QcCode::Ohlc);
        assert_eq!(bar_code(&Bar { volume: Some(f64::NAN), ..bar(0, 10.0) }), QcCode::Ohlc);
        assert_eq!(bar_code(&Bar { open: None, ..bar(0, 10.0) }), QcCode::NullCells);
        assert_eq!(bar_code(&Bar { volume: None, ..bar(0, 10.0) }), QcCode::NullCells);
        assert_eq!(bar_code(&Bar { open: None, close: None, high: Some(1.0), low: Some(2.0), ..bar(0, 10.0) }), QcCode::Ohlc);
    }

    #[test]
    fn lesson_050_a_move_is_judged_with_the_action_table_of_that_day() {
        let config = QcConfig::default();
        let split = [Action::split(day(1), 4.0)];
        let halved = [bar(0, 100.0), bar(1, 25.0)];
        assert_eq!(judge(&halved, &split, &config), [QcCode::Ok, QcCode::Ok]);
        assert_eq!(judge(&halved, &[], &config), [QcCode::Ok, QcCode::MoveUnexplained]);
        let unmoved = [bar(0, 100.0), bar(1, 101.0)];
        assert_eq!(judge(&unmoved, &split, &config), [QcCode::Ok, QcCode::MoveUnexplained]);
        let paid = [Action::dividend(day(1), 40.0)];
        let beyond = [Action::dividend(day(1), 100.0)];
        assert_eq!(judge(&[bar(0, 100.0), bar(1, 99.0)], &beyond, &config), [QcCode::Ok, QcCode::ActionUnapplied], "more than the share was worth");
        assert_eq!(judge(&[bar(0, 100.0), bar(1, 61.0)], &paid, &config), [QcCode::Ok, QcCode::Ok]);
        let elsewhere = [Action::split(day(2), 4.0)];
        assert_eq!(judge(&halved, &elsewhere, &config)[1], QcCode::MoveUnexplained);
    }

    #[test]
    fn repeats_gaps_and_order() {
        let config = QcConfig::default();
        let stale: Vec<Bar> = (0..7).map(|n| Bar { volume: Some(5.0), ..bar(n, 10.0) }).collect();
        let codes = judge(&stale, &[], &config);
        assert_eq!(codes.iter().filter(|c| **c == QcCode::StaleRepeat).count(), 3);
        assert_eq!(codes[4], QcCode::StaleRepeat);
        let apart = |actions: &[Action]| judge(&[bar(0, 10.0), bar(300, 20.0)], actions, &config);
        assert_eq!(apart(&[]), [QcCode::Ok, QcCode::BreakAcrossGap], "however far apart");
        assert_eq!(apart(&[Action::split(day(150), 0.5)]), [QcCode::Ok, QcCode::Ok], "an action of the days between says why");
        assert_eq!(judge(&[bar(0, 10.0), bar(300, 12.0)], &[], &config), [QcCode::Ok, QcCode::Ok]);
        assert_eq!(judge(&[bar(1, 10.0), bar(1, 10.0)], &[], &config)[1], QcCode::Duplicates);
        assert_eq!(judge(&[bar(2, 10.0), bar(1, 10.0)], &[], &config)[1], QcCode::Duplicates);
    }

    #[test]
    fn lesson_008_a_feed_change_within_a_series_is_a_finding() {
        let with = |n, feed: &str| Bar { feed: Some(feed.into()), ..bar(n, 10.0) };
        let codes = judge(&[with(0, "sip"), with(1, "sip"), with(2, "iex"), with(3, "iex")], &[], &QcConfig::default());
        assert_eq!(codes, [QcCode::Ok, QcCode::Ok, QcCode::FeedChanged, QcCode::Ok]);
    }
}
