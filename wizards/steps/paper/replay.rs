//! The orders of a recorded day on that day's minutes: what is on the drive, handed to `engine::pipelines::replay`.

use super::{Desk, STRATEGY};
use crate::kit::Act;
use data_layer::curate;
use data_layer::error::{Error, Result, code};
use data_layer::root::DataPath;
use data_layer::store::{self, canonical_json};
use data_layer::time::TradingDay;
use engine::execution::log::OrderLog;
use engine::pipelines::paper_day::AccountCheck;
use engine::pipelines::parity::paper_book;
use engine::pipelines::replay::{self, Replayed};
use std::collections::BTreeMap;

impl Desk {
    /// Play the set of a session (the newest that has closed, where none is named) again, and keep the result.
    pub fn replay_orders(&self, act: &Act<'_>, account: &AccountCheck, day: Option<TradingDay>, share: f64) -> Result<String> {
        let log = OrderLog::new(&self.db);
        let sets = paper_book::sets(&log, &account.account, STRATEGY, account.asof)?;
        // An evening without orders has a set too; it is found only where its day is named.
        let mut found = None;
        for (_, key) in sets.into_iter().rev().filter(|(of, _)| day.is_none_or(|d| d == *of)) {
            found = log.set(&key)?.filter(|set| day.is_some() || !set.lines.is_empty());
            if found.is_some() {
                break;
            }
        }
        let Some(set) = found else {
            let what = day.map_or_else(|| text!("no session with orders has closed yet"), |d| text!("no order was planned for the session {d}"));
            return Err(Error::new(code::USE_ARGUMENT, what).found(account.account.clone()).fix("trademl paper parity"));
        };
        let mut minutes = BTreeMap::new();
        for line in &set.lines {
            if !minutes.contains_key(&line.symbol) {
                minutes.insert(line.symbol.clone(), curate::raw_minutes(act.root, &line.symbol, set.trading_day)?);
            }
        }
        let played = replay::replay(&set, &log.fills(&account.account)?, &minutes, share)?;
        let path = DataPath::new(format!("reports/execution/{}/{}.json", set.trading_day, account.account))?;
        store::write_atomic(act.root, &path, canonical_json(&played)?.as_bytes())?;
        Ok(words(&played, &path))
    }
}

fn bps(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |v| format!("{v:.1}"))
}

fn words(r: &Replayed, path: &DataPath) -> String {
    let mut out = text!(
        "{} orders of {} on its minutes, at most {:.0} % of a minute's volume; they were sent as {}. Basis points against the open, a cost is positive\n",
        r.rows.len(),
        r.trading_day,
        100.0 * r.max_volume_share,
        r.sent_as
    );
    out.push_str(&text!("  {:<15} {:>8} {:>8} {:>8} {:>14}\n", "style", "cost", "market", "book", "left, USD"));
    for (style, t) in &r.styles {
        out.push_str(&format!("  {style:<15} {:>8} {:>8} {:>8} {:>14.2}\n", bps(t.cost_bps), bps(t.market_bps), bps(t.book_bps), t.left_usd));
    }
    out.push_str(&text!("  assumed when they were pinned {} (with fees), realised {}\n", bps(r.assumed_bps), bps(r.realised_bps)));
    if !r.without_minutes.is_empty() {
        out.push_str(&text!("  without minutes on the drive: {}\n", r.without_minutes.join(" ")));
    }
    out.push_str(&text!("  each order: {path}"));
    out
}
