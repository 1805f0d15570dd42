//! The paper book as its live screen shows it, read from the journal and the drive's prices.

use super::SIMULATED;
use crate::dashboard::{OrderRow, PaperSnapshot, PositionRow, SwitchRow};
use crate::steps::market::{self, Market};
use crate::steps::screens;
use data_layer::control::Db;
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::root::DataRoot;
use data_layer::time::TradingDay;
use engine::execution::account::Position;
use engine::execution::log::OrderLog;
use engine::execution::positions;
use engine::execution::switches::{self, Switch};
use rusqlite::OptionalExtension;

/// What is looked at: a book, and the prices that it is valued at.
pub struct Screen<'a> {
    host: &'a Host,
    root: &'a DataRoot,
    db: &'a Db,
    account: String,
    strategy: String,
    market: Option<Market>,
}

impl<'a> Screen<'a> {
    /// The book of the account that planned orders last.
    pub fn open(host: &'a Host, root: &'a DataRoot, db: &'a Db) -> Result<Self> {
        let newest = "SELECT account, strategy FROM order_sets ORDER BY trading_day DESC, pinned_at DESC LIMIT 1";
        let found: Option<(String, String)> = db.lock()?.query_row(newest, [], |r| Ok((r.get(0)?, r.get(1)?))).optional()?;
        let (account, strategy) = found
            .ok_or_else(|| Error::new(code::DATA_MISSING, "no order was ever planned on this drive: there is no book to watch").fix("trademl paper-trade"))?;
        Ok(Self { host, root, db, account, strategy, market: None })
    }

    /// The book now. Prices are read again when a newer session was curated.
    pub fn picture(&mut self) -> Result<PaperSnapshot> {
        let newest = market::newest(self.root)?;
        if self.market.as_ref().is_none_or(|m| m.asof != newest) {
            self.market = Some(Market::open(self.root)?);
        }
        let equities = self.equities()?;
        let first: f64 =
            self.db
                .lock()?
                .query_row("SELECT equity FROM order_sets WHERE account = ?1 ORDER BY trading_day, pinned_at LIMIT 1", [&self.account], |r| r.get(0))?;
        let (before, _) = equities.get(1).copied().unwrap_or((first, 0.0));
        let (equity, cash) = equities.first().copied().unwrap_or((first, first));
        let (session, champion, orders) = self.newest_set()?;
        let positions = self.positions(equity, newest)?;
        let share = |f: fn(f64) -> f64| positions.iter().map(|p| f(p.weight)).sum::<f64>();
        Ok(PaperSnapshot {
            account: self.account.clone(),
            mode: if self.account == SIMULATED.0 { "simulated".into() } else { "paper".into() },
            dataset: self.root.drive().dataset.clone(),
            now: Some(self.host.now()),
            session,
            champion,
            equity_usd: equity,
            cash_usd: cash,
            pnl_day_usd: equity - before,
            pnl_total_usd: equity - first,
            equity_path: equities.iter().rev().map(|(e, _)| *e).collect(),
            gross_exposure: share(f64::abs),
            net_exposure: share(|w| w),
            positions,
            orders,
            switches: [Switch::Kill, Switch::Breaker].into_iter().map(|s| self.switch(s)).collect(),
            events: screens::newest_events(self.root),
        })
    }

    /// Equity and cash of the newest sessions' snapshots, newest first.
    fn equities(&self) -> Result<Vec<(f64, f64)>> {
        let conn = self.db.lock()?;
        let mut newest = conn.prepare_cached("SELECT equity, cash FROM snapshots WHERE account = ?1 ORDER BY ts DESC LIMIT 250")?;
        Ok(newest.query_map([&self.account], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<rusqlite::Result<_>>()?)
    }

    /// Session, champion and orders of the newest set.
    fn newest_set(&self) -> Result<(String, String, Vec<OrderRow>)> {
        let log = OrderLog::new(self.db);
        let newest = "SELECT run_key FROM order_sets WHERE account = ?1 ORDER BY trading_day DESC, rebalance_no DESC LIMIT 1";
        let key: String = self.db.lock()?.query_row(newest, [&self.account], |r| r.get(0))?;
        let set = log.set(&key)?;
        let champion = set.as_ref().and_then(|s| s.pins.champion.get("version").cloned()).unwrap_or_default();
        let session = set.map_or(String::new(), |s| s.trading_day.to_string());
        let order = |row: engine::execution::log::OrderRow| OrderRow {
            symbol: row.intent.symbol.clone(),
            side: row.intent.side.as_str().into(),
            qty: row.intent.qty,
            reason: row.refusal_text.unwrap_or_else(|| format!("{:?}", row.intent.reason).to_lowercase()),
            state: row.state,
        };
        Ok((session, text!("{} {champion}", self.strategy), log.orders_of(&key)?.into_iter().map(order).collect()))
    }

    fn positions(&self, equity: f64, day: TradingDay) -> Result<Vec<PositionRow>> {
        let ledger = positions::ledger(&OrderLog::new(self.db), &self.account)?;
        let row = |(holding, p): (&positions::Holding, &Position)| {
            let price = self.market.as_ref().and_then(|m| m.last_close(&holding.symbol, day)).unwrap_or(p.average_price);
            let (weight, pnl_usd) = (p.qty * price / equity, p.qty * (price - p.average_price));
            PositionRow { symbol: holding.symbol.clone(), qty: p.qty, price_usd: price, weight, pnl_usd }
        };
        let mut rows: Vec<PositionRow> = ledger.positions().iter().map(row).collect();
        rows.sort_by(|a, b| b.weight.abs().total_cmp(&a.weight.abs()).then_with(|| a.symbol.cmp(&b.symbol)));
        Ok(rows)
    }

    fn switch(&self, switch: Switch) -> SwitchRow {
        let s = switches::read(self.db, switch, &self.account);
        SwitchRow { name: switch.name().into(), permits: !s.stopped, state: s.state, reason: s.reason }
    }
}
