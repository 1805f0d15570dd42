//! What changes cash and shares without an order: what the broker booked, and splits that the reference data know of.

use super::{Run, Split, TOLERANCE_SHARES};
use crate::execution::broker::{ActivityKind, BrokerActivity};
use crate::execution::log::FillRow;
use crate::execution::positions::{self, CashEvent, EXTERNAL, Ledger};
use crate::types::Side;
use data_layer::error::Result;
use data_layer::time::{UtcTime, new_york};
use rusqlite::params;
use std::collections::BTreeMap;

/// Amounts closer than this are the same.
const TOLERANCE_USD: f64 = 1e-6;

impl Run<'_> {
    /// Book what the broker booked, once, under its own id and at its own time.
    pub(super) fn take_activity(&mut self, a: &BrokerActivity) -> Result<()> {
        if self.before_us(a.at)? {
            return Ok(());
        }
        if a.kind == ActivityKind::Removal {
            return self.take_removal(a);
        }
        if self.is_booked(a)? {
            return Ok(());
        }
        for (strategy, share) in self.owners(a)? {
            let event = CashEvent {
                id: format!("{}|{}|{strategy}", a.id, self.account),
                strategy,
                amount: a.amount * share,
                qty: Some(a.qty * share).filter(|q| *q != 0.0),
                reason: text!("{} as the broker booked it", a.kind.as_str()),
                ..self.event(a)
            };
            positions::insert_cash_event(&self.log, &event)?;
        }
        Ok(())
    }

    /// Whether its owners have all of it already (their ids begin with its own and a `|`): a process may have died between them.
    fn is_booked(&self, a: &BrokerActivity) -> Result<bool> {
        let sql = "SELECT sum(amount) FROM cash_events WHERE account = ?1 AND id >= ?2 || '|' AND id < ?2 || '}'";
        let booked: Option<f64> = self.log.db().lock()?.query_row(sql, params![self.account, a.id], |r| r.get(0))?;
        Ok(booked.is_some_and(|amount| (amount - a.amount).abs() <= TOLERANCE_USD))
    }

    fn event(&self, a: &BrokerActivity) -> CashEvent {
        CashEvent {
            id: format!("{}|{}", a.id, self.account),
            account: self.account.to_string(),
            strategy: EXTERNAL.into(),
            ts: a.at,
            kind: a.kind.as_str().into(),
            symbol: a.symbol.clone(),
            qty: None,
            amount: a.amount,
            reason: String::new(),
            operator: None,
        }
    }

    /// The shares left at the price that the broker's cash says; nothing is left that could be traded.
    fn take_removal(&mut self, a: &BrokerActivity) -> Result<()> {
        let Some(symbol) = a.symbol.as_deref().filter(|_| a.qty != 0.0) else { return Ok(()) };
        let held = positions::ledger(&self.log, self.account)?.per_symbol().get(symbol).copied().unwrap_or(0.0);
        if held * a.qty >= 0.0 {
            // Shares that came in, as those of the new name in an exchange, end nothing; what they are is for a person to say.
            return Ok(());
        }
        let per_share = -a.amount / a.qty;
        let event = CashEvent { qty: Some(per_share.max(0.0)), reason: text!("all shares left the account at {per_share}"), ..self.event(a) };
        if positions::insert_cash_event(&self.log, &event)? {
            self.differs("removal", symbol, text!("{} shares left the account at {per_share} each", -a.qty));
        }
        Ok(())
    }

    /// Who held the name when the activity took effect, with their part of it; who traded it last where nobody does any more,
    /// and `external` for what was never ours.
    fn owners(&self, a: &BrokerActivity) -> Result<Vec<(String, f64)>> {
        let nobody = vec![(EXTERNAL.to_string(), 1.0)];
        let Some(symbol) = a.symbol.as_deref() else { return Ok(nobody) };
        // A dividend was earned before it was paid: the shares then are those that it was paid on, among whoever holds them since.
        let ledger = positions::ledger(&self.log, self.account)?;
        let held: Vec<(String, f64)> = ledger.positions().iter().filter(|(h, _)| h.symbol == symbol).map(|(h, p)| (h.strategy.clone(), p.qty)).collect();
        let all: f64 = held.iter().map(|(_, q)| q).sum();
        if all.abs() <= TOLERANCE_SHARES {
            let last = self.log.fills(self.account)?.into_iter().rev().find(|f| f.symbol == symbol);
            return Ok(last.map_or(nobody, |f| vec![(f.strategy, 1.0)]));
        }
        Ok(held.into_iter().map(|(strategy, q)| (strategy, q / all)).collect())
    }

    /// A rename of which the reference data know, and which makes our shares of both tickers the broker's, is booked, once: at the beginning
    /// of its day, or, where the old ticker still traded that day, now. At a broker that still shows the old one nothing is booked.
    pub(super) fn renamed(&mut self, theirs: &BTreeMap<String, f64>) -> Result<()> {
        let now = self.host.now();
        for r in self.renames.iter().filter(|r| r.date <= now.day_in(&new_york())) {
            for ts in [UtcTime::midnight_in(&new_york(), r.date), now] {
                let event = CashEvent {
                    id: format!("rename|{}|{}|{}|{}", self.account, r.symbol, r.to, r.date),
                    account: self.account.to_string(),
                    strategy: EXTERNAL.into(),
                    ts,
                    kind: "rename".into(),
                    symbol: Some(r.symbol.clone()),
                    qty: None,
                    amount: 0.0,
                    reason: r.to.clone(),
                    operator: None,
                };
                let shares = |of: &BTreeMap<String, f64>, name: &str| of.get(name).copied().unwrap_or(0.0);
                let before = positions::ledger(&self.log, self.account)?.per_symbol();
                let after = positions::ledger_with(&self.log, self.account, Some(&event))?.per_symbol();
                let fits = [&r.symbol, &r.to].iter().all(|name| (shares(&after, name) - shares(theirs, name)).abs() <= TOLERANCE_SHARES);
                if fits && before != after && positions::insert_cash_event(&self.log, &event)? {
                    self.differs("rename", &r.symbol, text!("{} shares are held as {} since {}", shares(&before, &r.symbol), r.to, r.date));
                    break;
                }
            }
        }
        Ok(())
    }

    /// A split of which the reference data know, and which turns our shares into the broker's, is booked, once: at the beginning
    /// of its ex-date, with executions since then in new shares, or, at a broker that was late with it, now.
    pub(super) fn split_explains(&mut self, symbol: &str, broker: f64) -> Result<bool> {
        let now = self.host.now();
        let due: Vec<_> = self.splits.iter().filter(|s| s.symbol == symbol && s.ex_date <= now.day_in(&new_york())).collect();
        for split in due {
            for ts in [UtcTime::midnight_in(&new_york(), split.ex_date), now] {
                let event = CashEvent {
                    id: format!("split|{}|{symbol}|{}", self.account, split.ex_date),
                    account: self.account.to_string(),
                    strategy: EXTERNAL.into(),
                    ts,
                    kind: "split".into(),
                    symbol: Some(symbol.to_string()),
                    qty: Some(split.ratio),
                    amount: 0.0,
                    reason: text!("{} for one on {}", split.ratio, split.ex_date),
                    operator: None,
                };
                let after = positions::ledger_with(&self.log, self.account, Some(&event))?;
                let shares = after.per_symbol().get(symbol).copied().unwrap_or(0.0);
                let fraction = shares - broker;
                // Where a split leaves a fraction of a share, a broker may pay it out: the whole shares are what stays.
                let paid_out = fraction.abs() < 1.0 && shares.trunc() == broker;
                if fraction.abs() > TOLERANCE_SHARES && !paid_out {
                    continue;
                }
                let owner = sole_owner(&after, symbol);
                if fraction.abs() > TOLERANCE_SHARES && owner.is_none() {
                    continue;
                }
                if positions::insert_cash_event(&self.log, &event)? {
                    if let Some((strategy, price)) = owner.filter(|_| fraction.abs() > TOLERANCE_SHARES) {
                        self.pay_out(split, symbol, fraction, &strategy, price, ts)?;
                    }
                    self.differs("split", symbol, text!("the shares became {broker}: {}", event.reason));
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The fraction of a share that a split left goes in kind: its money is booked by the broker, as it is paid.
    fn pay_out(&mut self, split: &Split, symbol: &str, fraction: f64, strategy: &str, price: f64, ts: UtcTime) -> Result<()> {
        self.log.insert_fill(&FillRow {
            // After the split's own id: rows of one moment are folded in the order of their ids.
            fill_id: format!("split|{}|{symbol}|{}|in-lieu", self.account, split.ex_date),
            order_id: String::new(),
            ts,
            symbol: symbol.to_string(),
            side: if fraction > 0.0 { Side::Sell } else { Side::Buy },
            qty: fraction.abs(),
            price,
            fee: None,
            kind: "in_lieu".into(),
            replaces: None,
            source: "reconcile".into(),
            account: self.account.to_string(),
            strategy: strategy.to_string(),
        })?;
        Ok(())
    }
}

/// The one strategy that holds a symbol, and its average price; none where several share it.
fn sole_owner(ledger: &Ledger, symbol: &str) -> Option<(String, f64)> {
    let mut of = ledger.positions().iter().filter(|(h, _)| h.symbol == symbol);
    let (holding, position) = of.next()?;
    of.next().is_none().then(|| (holding.strategy.clone(), position.average_price))
}
