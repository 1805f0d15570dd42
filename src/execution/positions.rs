//! Positions as the fold of fills and cash events: average cost, flips realise the closed part and reopen at the fill
//! price, fees and dividends are rows of their own.

use super::log::{FillRow, OrderLog};
use data_layer::error::Result;
use data_layer::time::UtcTime;
use rusqlite::params;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The sub-ledger of positions that no strategy of ours opened.
pub const EXTERNAL: &str = "external";

/// One (strategy, symbol). Signed shares, average price in account currency.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Position {
    pub qty: f64,
    pub avg_price: f64,
    pub realised: f64,
}

/// A row of `cash_events`; `amount` in account currency, positive into the account. A split carries its ratio in `qty`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CashEvent {
    pub id: String,
    pub account: String,
    pub strategy: String,
    pub ts: UtcTime,
    pub kind: String,
    pub symbol: Option<String>,
    pub qty: Option<f64>,
    pub amount: f64,
    pub reason: String,
    pub operator: Option<String>,
}

/// Everything an account holds according to the journal.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Book {
    /// By (strategy, symbol).
    pub positions: BTreeMap<(String, String), Position>,
    /// Change of cash since the first row: legs, fees, dividends.
    pub cash: f64,
    pub fees: f64,
}

impl Book {
    /// Signed shares of one strategy, zero positions left out.
    pub fn of_strategy(&self, strategy: &str) -> BTreeMap<String, f64> {
        self.positions.iter().filter(|((s, _), p)| s == strategy && p.qty != 0.0).map(|((_, symbol), p)| (symbol.clone(), p.qty)).collect()
    }
    /// Signed shares per symbol over all strategies and `external`.
    pub fn per_symbol(&self) -> BTreeMap<String, f64> {
        let mut out = BTreeMap::new();
        for ((_, symbol), p) in &self.positions {
            *out.entry(symbol.clone()).or_insert(0.0) += p.qty;
        }
        out.retain(|_, q: &mut f64| q.abs() > 1e-9);
        out
    }

    /// Take in `qty` signed shares at `price`.
    pub fn trade(&mut self, strategy: &str, symbol: &str, qty: f64, price: f64, fee: f64) {
        let p = self.positions.entry((strategy.to_string(), symbol.to_string())).or_default();
        self.cash -= qty * price + fee;
        self.fees += fee;
        if p.qty == 0.0 || p.qty.signum() == qty.signum() {
            let total = p.qty + qty;
            p.avg_price = if total == 0.0 { 0.0 } else { (p.qty * p.avg_price + qty * price) / total };
            p.qty = total;
            return;
        }
        let closed = qty.abs().min(p.qty.abs()) * p.qty.signum();
        p.realised += closed * (price - p.avg_price);
        p.qty += qty;
        if p.qty.abs() <= 1e-9 {
            (p.qty, p.avg_price) = (0.0, 0.0);
        } else if p.qty.signum() == qty.signum() {
            p.avg_price = price;
        }
    }

    fn split(&mut self, symbol: &str, ratio: f64) {
        for ((_, s), p) in &mut self.positions {
            if s == symbol && ratio > 0.0 {
                p.qty *= ratio;
                p.avg_price /= ratio;
            }
        }
    }
}

/// Fold fills and cash events. `filled_qty` per order decides how much of a synthetic fill still stands: it fills the gap
/// that the real executions of its order leave, whatever order they arrived in.
pub fn fold(fills: &[FillRow], cash: &[CashEvent], filled_qty: &BTreeMap<String, f64>) -> Book {
    enum Event<'a> {
        Fill(&'a FillRow, f64),
        Cash(&'a CashEvent),
    }
    let mut real: BTreeMap<&str, f64> = BTreeMap::new();
    for f in fills.iter().filter(|f| f.kind != "synthetic") {
        *real.entry(f.order_id.as_str()).or_insert(0.0) += f.qty;
    }
    let mut gap: BTreeMap<&str, f64> = filled_qty.iter().map(|(id, q)| (id.as_str(), (q - real.get(id.as_str()).copied().unwrap_or(0.0)).max(0.0))).collect();
    let mut events: Vec<(UtcTime, &str, Event<'_>)> = Vec::new();
    for f in fills {
        let mut qty = f.qty;
        if f.kind == "synthetic" {
            let left = gap.entry(f.order_id.as_str()).or_insert(0.0);
            qty = qty.min(*left);
            *left -= qty;
        }
        if qty != 0.0 {
            events.push((f.ts, f.fill_id.as_str(), Event::Fill(f, qty)));
        }
    }
    events.extend(cash.iter().map(|c| (c.ts, c.id.as_str(), Event::Cash(c))));
    events.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    let mut book = Book::default();
    for (_, _, event) in events {
        match event {
            Event::Fill(f, qty) if f.kind == "adopted" => {
                book.trade(&f.strategy, &f.symbol, f.side.sign() * qty, f.price, 0.0);
                book.cash += f.side.sign() * qty * f.price;
            }
            Event::Fill(f, qty) => book.trade(&f.strategy, &f.symbol, f.side.sign() * qty, f.price, f.fee.unwrap_or(0.0)),
            Event::Cash(c) if c.kind == "split" => book.split(c.symbol.as_deref().unwrap_or(""), c.qty.unwrap_or(1.0)),
            Event::Cash(c) => book.cash += c.amount,
        }
    }
    book
}

/// [`fold`] over the journal of an account.
pub fn book(log: &OrderLog<'_>, account: &str) -> Result<Book> {
    let fills = log.fills(account)?;
    let cash = cash_events(log, account)?;
    let conn = log.db().lock()?;
    let mut q = conn.prepare("SELECT order_id, filled_qty FROM orders WHERE account = ?1")?;
    let filled = q.query_map([account], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<std::result::Result<BTreeMap<String, f64>, _>>()?;
    Ok(fold(&fills, &cash, &filled))
}

/// The cash events of an account by time, then id.
pub fn cash_events(log: &OrderLog<'_>, account: &str) -> Result<Vec<CashEvent>> {
    let conn = log.db().lock()?;
    let mut q =
        conn.prepare("SELECT id, account, strategy_tag, ts, kind, symbol, qty, amount, reason, operator FROM cash_events WHERE account = ?1 ORDER BY ts, id")?;
    let mut rows = q.query([account])?;
    let mut out = Vec::new();
    while let Some(r) = rows.next()? {
        out.push(CashEvent {
            id: r.get(0)?,
            account: r.get(1)?,
            strategy: r.get(2)?,
            ts: UtcTime::parse(&r.get::<_, String>(3)?)?,
            kind: r.get(4)?,
            symbol: r.get(5)?,
            qty: r.get(6)?,
            amount: r.get(7)?,
            reason: r.get(8)?,
            operator: r.get(9)?,
        });
    }
    Ok(out)
}

/// Add a cash event; `false` when its id is already there. A repair needs an operator.
pub fn insert_cash_event(log: &OrderLog<'_>, e: &CashEvent) -> Result<bool> {
    if e.kind == "repair" && (e.operator.is_none() || e.reason.is_empty()) {
        return Err(data_layer::error::Error::new(data_layer::error::code::GATE_REFUSED, "a repair needs an operator and a reason"));
    }
    log.db().write(|tx| {
        let n = tx.execute(
            "INSERT OR IGNORE INTO cash_events (id, account, strategy_tag, ts, kind, symbol, qty, amount, reason, operator) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![e.id, e.account, e.strategy, e.ts.to_string(), e.kind, e.symbol, e.qty, e.amount, e.reason, e.operator],
        )?;
        Ok(n == 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Side;
    use proptest::prelude::*;

    fn fill(id: &str, order: &str, at: i64, side: Side, qty: f64, price: f64, kind: &str) -> FillRow {
        FillRow {
            fill_id: id.into(),
            order_id: order.into(),
            ts: UtcTime::from_micros(at),
            symbol: "AAA".into(),
            side,
            qty,
            price,
            fee: Some(0.5),
            kind: kind.into(),
            replaces: None,
            source: "reconcile".into(),
            account: "SIM1".into(),
            strategy: "s".into(),
        }
    }
    fn at(book: &Book) -> Position {
        book.positions[&("s".to_string(), "AAA".to_string())]
    }

    #[test]
    fn a_flip_realises_the_closed_part_and_reopens_at_the_fill_price() {
        let fills = [
            fill("1", "o1", 1, Side::Buy, 10.0, 100.0, "fill"),
            fill("2", "o2", 2, Side::Buy, 10.0, 110.0, "fill"),
            fill("3", "o3", 3, Side::Sell, 30.0, 120.0, "fill"),
        ];
        let book = fold(&fills, &[], &BTreeMap::new());
        assert_eq!(at(&book), Position { qty: -10.0, avg_price: 120.0, realised: 300.0 });
        assert!((book.cash - (-1_000.0 - 1_100.0 + 3_600.0 - 1.5)).abs() < 1e-9);
    }

    #[test]
    fn a_synthetic_fill_gives_way_to_the_real_one_without_changing_the_quantity() {
        let filled = BTreeMap::from([("o1".to_string(), 10.0)]);
        let synthetic = fill("o1_reconcile_10_10", "o1", 5, Side::Buy, 10.0, 101.0, "synthetic");
        assert_eq!(at(&fold(std::slice::from_ref(&synthetic), &[], &filled)).qty, 10.0);
        let partly = [synthetic.clone(), fill("x1", "o1", 4, Side::Buy, 4.0, 100.0, "fill")];
        assert_eq!(at(&fold(&partly, &[], &filled)).qty, 10.0);
        let fully = [synthetic, fill("x1", "o1", 4, Side::Buy, 4.0, 100.0, "fill"), fill("x2", "o1", 4, Side::Buy, 6.0, 102.0, "fill")];
        let book = fold(&fully, &[], &filled);
        assert_eq!(at(&book).qty, 10.0);
        assert!((at(&book).avg_price - 101.2).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn equity_change_is_realised_plus_unrealised_minus_fees(trades in prop::collection::vec((any::<bool>(), 1u32..50, 50u32..150), 1..40)) {
            let fills: Vec<FillRow> = trades.iter().enumerate().map(|(i, (buy, q, p))| {
                fill(&format!("f{i:03}"), &format!("o{i}"), i as i64, if *buy { Side::Buy } else { Side::Sell }, f64::from(*q), f64::from(*p), "fill")
            }).collect();
            let book = fold(&fills, &[], &BTreeMap::new());
            let p = at(&book);
            let mark = 97.0;
            let equity = book.cash + p.qty * mark;
            let pnl = p.realised + p.qty * (mark - p.avg_price) - book.fees;
            prop_assert!((equity - pnl).abs() < 1e-6);
        }
    }
}
