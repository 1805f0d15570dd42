//! A week of one account, folded from its daily reports: what came of it, and which sessions have no report.

use crate::reports::daily::{DailyReport, OrderCounts};
use crate::reports::svg::Format;
use crate::reports::view::MISSING;
use crate::reports::view::switch_words;
use data_layer::calendar::Calendar;
use data_layer::error::{Error, Result, code};
use data_layer::time::{DateRange, TradingDay};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The keys of `reports/weekly/<last session>/<account>.json`. Amounts in account currency, returns as decimals.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct WeeklyReport {
    pub v: u32,
    pub first: TradingDay,
    pub last: TradingDay,
    pub account: String,
    pub dataset: String,
    /// `simulated`, `shadow` or `paper`.
    pub mode: String,
    /// Sessions with a report.
    pub sessions: usize,
    /// Sessions of the week without one.
    pub without_report: Vec<TradingDay>,
    pub equity_before: Option<f64>,
    pub equity: Option<f64>,
    pub pnl: Option<f64>,
    pub return_of_week: Option<f64>,
    pub best_day: Option<(TradingDay, f64)>,
    pub worst_day: Option<(TradingDay, f64)>,
    pub turnover: Option<f64>,
    pub orders: OrderCounts,
    /// Money by which the account and its simulation differ without a cause, summed over the sessions.
    pub unexplained: Option<f64>,
    pub positions: usize,
    pub switches: BTreeMap<String, String>,
    pub champion: Option<String>,
    pub inputs: BTreeMap<TradingDay, String>,
}

/// The sessions of the calendar week of `last`, up to it.
pub fn sessions_of_week(last: TradingDay) -> Result<Vec<TradingDay>> {
    let monday = last.plus_days(-i32::from(last.weekday()));
    Ok(Calendar::xnys().sessions(DateRange::new(monday, last.plus_days(1))?).to_vec())
}

/// Whether no session of the same calendar week follows.
pub fn ends_week(session: TradingDay) -> Result<bool> {
    Ok(Calendar::xnys().next(session)? > session.plus_days(6 - i32::from(session.weekday())))
}

/// Fold the daily reports of one account; a week without any is an error.
pub fn weekly(days: &[DailyReport], last: TradingDay) -> Result<WeeklyReport> {
    let sessions = sessions_of_week(last)?;
    let mut days: Vec<&DailyReport> = days.iter().filter(|d| sessions.contains(&d.asof)).collect();
    days.sort_by_key(|d| d.asof);
    let (Some(opening), Some(closing)) = (days.first(), days.last()) else {
        return Err(Error::new(code::DATA_MISSING, format!("there is no daily report in the week of {last}")).fix("trademl paper-trade"));
    };
    // A sum with a missing part is missing: a week is not better for a day that nobody measured.
    let sum = |of: fn(&DailyReport) -> Option<f64>| days.iter().map(|d| of(d)).sum::<Option<f64>>();
    let gains: Vec<(TradingDay, f64)> = days.iter().filter_map(|d| Some((d.asof, d.pnl?))).collect();
    let pnl = sum(|d| d.pnl);
    let equity_before = opening.equity.zip(opening.pnl).map(|(e, p)| e - p);
    let count = |of: fn(&OrderCounts) -> u64| days.iter().map(|d| of(&d.orders)).sum();
    Ok(WeeklyReport {
        v: 1,
        first: sessions.first().copied().unwrap_or(last),
        last,
        account: closing.account.clone(),
        dataset: closing.dataset.clone(),
        mode: crate::execution::order::word(closing.mode)?,
        sessions: days.len(),
        without_report: sessions.iter().copied().filter(|s| days.iter().all(|d| d.asof != *s)).collect(),
        equity_before,
        equity: closing.equity,
        pnl,
        return_of_week: equity_before.zip(pnl).filter(|(e, _)| *e > 0.0).map(|(e, p)| p / e),
        best_day: gains.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)),
        worst_day: gains.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1)),
        turnover: sum(|d| d.turnover),
        orders: OrderCounts {
            planned: count(|o| o.planned),
            sent: count(|o| o.sent),
            filled: count(|o| o.filled),
            refused: count(|o| o.refused),
            unknown: count(|o| o.unknown),
        },
        unexplained: sum(|d| d.parity.unexplained),
        positions: closing.positions.len(),
        switches: closing.switches.clone(),
        champion: closing.champion.as_ref().map(|c| format!("{} {}", c.strategy, c.version)),
        inputs: days.iter().map(|d| (d.asof, d.inputs_sha256.clone())).collect(),
    })
}

impl WeeklyReport {
    /// The digest as text: what a person reads on a Saturday.
    pub fn markdown(&self) -> String {
        let money = |v: Option<f64>| v.map_or_else(|| MISSING.to_string(), |v| format!("{v:.2}"));
        let share = |v: Option<f64>| v.map_or_else(|| MISSING.to_string(), |v| Format::Percent(2).write(v));
        let day = |d: Option<(TradingDay, f64)>| d.map_or_else(|| MISSING.to_string(), |(d, v)| format!("{d} ({v:+.2})"));
        let o = &self.orders;
        let switches: Vec<String> = self.switches.iter().map(|(k, v)| format!("{}: {}", k.replace('_', " "), switch_words(v))).collect();
        let mut out = format!("# {} account {}, week of {} to {}\n\n", self.mode, self.account, self.first, self.last);
        let rows = [
            ("equity", format!("{} (before: {})", money(self.equity), money(self.equity_before))),
            ("result", format!("{} ({})", money(self.pnl), share(self.return_of_week))),
            ("best and worst session", format!("{}, {}", day(self.best_day), day(self.worst_day))),
            ("turnover", share(self.turnover)),
            ("orders", format!("{} planned, {} sent, {} filled, {} refused, {} unknown", o.planned, o.sent, o.filled, o.refused, o.unknown)),
            ("not explained by the simulation", money(self.unexplained)),
            ("positions", self.positions.to_string()),
            ("champion", self.champion.clone().unwrap_or_else(|| MISSING.into())),
            ("switches", switches.join(", ")),
            ("data", self.dataset.clone()),
        ];
        rows.iter().for_each(|(name, value)| out.push_str(&format!("- {name}: {value}\n")));
        if !self.without_report.is_empty() {
            let missing: Vec<String> = self.without_report.iter().map(ToString::to_string).collect();
            out.push_str(&format!("- sessions without a report: {}\n", missing.join(", ")));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reports::daily::Mode;

    fn day(asof: &str, equity: f64, pnl: f64) -> DailyReport {
        let orders = OrderCounts { planned: 3, sent: 2, filled: 2, refused: 1, unknown: 0 };
        let report = DailyReport::empty(asof.parse().unwrap(), Mode::Paper, "replay@1", "SIM1");
        DailyReport { equity: Some(equity), pnl: Some(pnl), turnover: Some(0.1), orders, ..report }
    }

    #[test]
    fn a_week_is_the_sum_of_its_days_and_names_those_that_are_missing() {
        // Thanksgiving: the 23rd has no session.
        let days = [day("2017-11-20", 101.0, 1.0), day("2017-11-21", 99.0, -2.0), day("2017-11-24", 102.0, 3.0), day("2017-11-17", 0.0, 50.0)];
        let w = weekly(&days, "2017-11-24".parse().unwrap()).unwrap();
        assert_eq!((w.sessions, w.without_report.len(), w.equity_before, w.equity, w.pnl), (3, 1, Some(100.0), Some(102.0), Some(2.0)));
        assert_eq!((w.best_day.unwrap().1, w.worst_day.unwrap().1, w.orders.planned, w.return_of_week), (3.0, -2.0, 9, Some(0.02)));
        let text = w.markdown();
        assert!(text.contains("paper account SIM1, week of 2017-11-20 to 2017-11-24") && text.contains("without a report: 2017-11-22"), "{text}");
        assert!(w.unexplained.is_none(), "no day measured it, so the week did not");
        assert!(weekly(&days, "2017-12-01".parse().unwrap()).unwrap_err().is(code::DATA_MISSING));
    }

    #[test]
    fn the_last_session_of_a_week_is_known_whatever_the_holidays() {
        let ends = |d: &str| ends_week(d.parse().unwrap()).unwrap();
        assert!(ends("2017-11-24") && ends("2017-04-13") && ends("2017-12-01"), "a Friday, and the Thursday before Good Friday");
        assert!(!ends("2017-11-22") && !ends("2017-11-27"));
    }
}
