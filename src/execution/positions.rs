//! The account's ledger as the fold of the journal's fills and cash events.

use super::account::{Account, Event};
use super::log::{FillRow, OrderLog};
use crate::types::Side;
use data_layer::error::Result;
use data_layer::time::{TradingDay, UtcTime, new_york};
use rusqlite::params;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The sub-ledger of positions that no strategy of ours opened.
pub const EXTERNAL: &str = "external";

/// Whose shares, and of what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Holding {
    pub strategy: String,
    pub symbol: String,
}

impl Holding {
    pub fn new(strategy: &str, symbol: &str) -> Self {
        Self { strategy: strategy.into(), symbol: symbol.into() }
    }
}

/// Everything an account holds according to the journal: the one ledger, kept per strategy and symbol. It begins with no
/// cash of its own, so its cash is the change since the first row.
pub type Ledger = Account<Holding>;

impl Ledger {
    /// Signed shares of one strategy.
    pub fn of_strategy(&self, strategy: &str) -> BTreeMap<String, f64> {
        self.positions().iter().filter(|(h, _)| h.strategy == strategy).map(|(h, p)| (h.symbol.clone(), p.qty)).collect()
    }
    /// Signed shares per symbol over all strategies and `external`.
    pub fn per_symbol(&self) -> BTreeMap<String, f64> {
        let mut out = BTreeMap::new();
        for (h, p) in self.positions() {
            *out.entry(h.symbol.clone()).or_insert(0.0) += p.qty;
        }
        out.retain(|_, q: &mut f64| q.abs() > 1e-9);
        out
    }
    /// An event of a name reaches every strategy that holds it.
    fn everywhere(&mut self, day: TradingDay, symbol: &str, event: impl Fn(Holding) -> Event<Holding>) -> Result<()> {
        let held: Vec<Holding> = self.positions().keys().filter(|h| h.symbol == symbol).cloned().collect();
        held.into_iter().try_for_each(|holding| self.apply(day, event(holding)))
    }
}

/// Rows of shares that moved without a trade: what was there at the first contact, a fraction that was paid out, a person's repair.
pub const IN_KIND: [&str; 3] = ["adopted", "in_lieu", "repair"];

/// A row of `cash_events`; `amount` in account currency, positive into the account. A split carries its ratio in
/// `qty`, a removal (a merger for cash, a delisting) the dollars a share, a rename the new ticker in `reason`; they reach all who
/// hold the name.
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

/// The fills that count, each with the shares that stand of it. `filled_qty` per order decides how much of a synthetic fill still
/// stands: it fills the gap that the real executions of its order leave, whatever order they arrived in.
pub fn standing<'f>(fills: &'f [FillRow], filled_qty: &BTreeMap<String, f64>) -> Vec<(&'f FillRow, f64)> {
    let mut real: BTreeMap<&str, f64> = BTreeMap::new();
    for f in fills.iter().filter(|f| f.kind != "synthetic" && (f.qty > 0.0 || f.kind == "correct")) {
        *real.entry(f.order_id.as_str()).or_insert(0.0) += f.qty;
    }
    let mut gap: BTreeMap<&str, f64> = filled_qty.iter().map(|(id, q)| (id.as_str(), (q - real.get(id.as_str()).copied().unwrap_or(0.0)).max(0.0))).collect();
    let mut out = Vec::new();
    for f in fills {
        let mut qty = f.qty;
        if f.kind == "synthetic" {
            let left = gap.entry(f.order_id.as_str()).or_insert(0.0);
            qty = qty.min(*left);
            *left -= qty;
        }
        if qty != 0.0 {
            out.push((f, qty));
        }
    }
    out
}

/// Fold what stands of the fills, and the cash events.
pub fn fold(fills: &[FillRow], cash: &[CashEvent], filled_qty: &BTreeMap<String, f64>) -> Result<Ledger> {
    enum Row<'a> {
        Fill(&'a FillRow, f64),
        Cash(&'a CashEvent),
    }
    let mut rows: Vec<(UtcTime, &str, Row<'_>)> =
        standing(fills, filled_qty).into_iter().map(|(f, qty)| (f.ts, f.fill_id.as_str(), Row::Fill(f, qty))).collect();
    rows.extend(cash.iter().map(|c| (c.ts, c.id.as_str(), Row::Cash(c))));
    rows.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    let mut ledger = Ledger::default();
    for (at, _, row) in rows {
        let day = at.day_in(&new_york());
        match row {
            Row::Fill(f, qty) => take_fill(&mut ledger, day, f, qty)?,
            Row::Cash(c) => take_cash(&mut ledger, day, c)?,
        }
    }
    Ok(ledger)
}

/// `qty` is negative for an execution that was taken back: the opposite trade at the same price.
fn take_fill(ledger: &mut Ledger, day: TradingDay, f: &FillRow, qty: f64) -> Result<()> {
    let side = match f.side {
        side if qty > 0.0 => side,
        Side::Buy => Side::Sell,
        Side::Sell => Side::Buy,
    };
    let adopted = IN_KIND.contains(&f.kind.as_str());
    if adopted {
        // What was there before us, or is put right, was not traded for our cash: it comes (or goes) in kind.
        ledger.apply(day, Event::Deposit { amount: f.side.sign() * qty * f.price })?;
    }
    let fee = if adopted { 0.0 } else { f.fee.unwrap_or(0.0) };
    ledger.apply(day, Event::Fill { symbol: Holding::new(&f.strategy, &f.symbol), side, qty: qty.abs(), price: f.price, fee })
}

fn take_cash(ledger: &mut Ledger, day: TradingDay, c: &CashEvent) -> Result<()> {
    let symbol = c.symbol.as_deref().map(|s| Holding::new(&c.strategy, s));
    let amount = c.amount;
    match (c.kind.as_str(), symbol) {
        ("split", Some(h)) => ledger.everywhere(day, &h.symbol, |symbol| Event::Split { symbol, ratio: c.qty.unwrap_or(1.0) }),
        ("rename", Some(h)) => ledger.everywhere(day, &h.symbol, |symbol| Event::Rename { to: Holding::new(&symbol.strategy, &c.reason), symbol }),
        ("removal", Some(h)) => ledger.everywhere(day, &h.symbol, |symbol| Event::Removal { symbol, per_share: c.qty.unwrap_or(0.0) }),
        ("borrow", Some(symbol)) if amount <= 0.0 => ledger.apply(day, Event::Borrow { symbol, amount: -amount }),
        ("fee" | "borrow", symbol) if amount <= 0.0 => ledger.apply(day, Event::Fee { symbol, amount: -amount }),
        ("dividend" | "interest" | "fee" | "borrow", symbol) => ledger.apply(day, Event::Income { symbol, amount }),
        _ => ledger.apply(day, Event::Deposit { amount }),
    }
}

/// [`fold`] over the journal of an account.
pub fn ledger(log: &OrderLog<'_>, account: &str) -> Result<Ledger> {
    ledger_with(log, account, None)
}

/// [`ledger`], as it would be with one more event.
pub(crate) fn ledger_with(log: &OrderLog<'_>, account: &str, more: Option<&CashEvent>) -> Result<Ledger> {
    let fills = log.fills(account)?;
    let mut cash = cash_events(log, account)?;
    let more = more.filter(|e| cash.iter().all(|c| c.id != e.id)).cloned();
    cash.extend(more);
    let conn = log.db().lock()?;
    let mut q = conn.prepare("SELECT order_id, filled_qty FROM orders WHERE account = ?1")?;
    let filled = q.query_map([account], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<std::result::Result<BTreeMap<String, f64>, _>>()?;
    fold(&fills, &cash, &filled)
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
    use crate::execution::account::Position;

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
    fn at(ledger: &Ledger) -> &Position {
        &ledger.positions()[&Holding::new("s", "AAA")]
    }

    #[test]
    fn a_flip_realises_the_closed_part_and_reopens_at_the_fill_price() {
        let fills = [
            fill("1", "o1", 1, Side::Buy, 10.0, 100.0, "fill"),
            fill("2", "o2", 2, Side::Buy, 10.0, 110.0, "fill"),
            fill("3", "o3", 3, Side::Sell, 30.0, 120.0, "fill"),
        ];
        let book = fold(&fills, &[], &BTreeMap::new()).unwrap();
        assert_eq!((at(&book).qty, at(&book).average_price, book.totals().realised), (-10.0, 120.0, 300.0));
        assert!((book.cash() - (-1_000.0 - 1_100.0 + 3_600.0 - 1.5)).abs() < 1e-9);
    }

    #[test]
    fn a_synthetic_fill_gives_way_to_the_real_one_without_changing_the_quantity() {
        let filled = BTreeMap::from([("o1".to_string(), 10.0)]);
        let synthetic = fill("o1_reconcile_10_10", "o1", 5, Side::Buy, 10.0, 101.0, "synthetic");
        assert_eq!(at(&fold(std::slice::from_ref(&synthetic), &[], &filled).unwrap()).qty, 10.0);
        let partly = [synthetic.clone(), fill("x1", "o1", 4, Side::Buy, 4.0, 100.0, "fill")];
        assert_eq!(at(&fold(&partly, &[], &filled).unwrap()).qty, 10.0);
        let fully = [synthetic, fill("x1", "o1", 4, Side::Buy, 4.0, 100.0, "fill"), fill("x2", "o1", 4, Side::Buy, 6.0, 102.0, "fill")];
        let book = fold(&fully, &[], &filled).unwrap();
        assert_eq!(at(&book).qty, 10.0);
        assert!((at(&book).average_price - 101.2).abs() < 1e-12);
    }

    #[test]
    fn a_bust_takes_an_execution_back_and_an_adopted_position_costs_nothing() {
        let bust = FillRow { qty: -4.0, ..fill("9", "o1", 9, Side::Buy, 4.0, 100.0, "bust") };
        let book = fold(&[fill("1", "o1", 1, Side::Buy, 10.0, 100.0, "fill"), bust], &[], &BTreeMap::new()).unwrap();
        assert_eq!(at(&book).qty, 6.0);
        let adopted = FillRow { strategy: EXTERNAL.into(), ..fill("a", "", 1, Side::Sell, 7.0, 50.0, "adopted") };
        let book = fold(&[adopted], &[], &BTreeMap::new()).unwrap();
        assert_eq!((book.cash(), book.per_symbol()["AAA"]), (0.0, -7.0));
        assert!(book.of_strategy("s").is_empty());
    }

    #[test]
    fn splits_reach_every_strategy_and_cash_rows_keep_their_kind() {
        let other = FillRow { strategy: "t".into(), ..fill("2", "o2", 2, Side::Sell, 6.0, 100.0, "fill") };
        let event = |id: &str, kind: &str, qty: Option<f64>, amount: f64| CashEvent {
            id: id.into(),
            account: "SIM1".into(),
            strategy: "s".into(),
            ts: UtcTime::from_micros(5),
            kind: kind.into(),
            symbol: Some("AAA".into()),
            qty,
            amount,
            reason: "r".into(),
            operator: None,
        };
        let cash = [event("a", "split", Some(4.0), 0.0), event("b", "dividend", None, 3.0), event("c", "fee", None, -2.0), event("d", "deposit", None, 100.0)];
        let book = fold(&[fill("1", "o1", 1, Side::Buy, 10.0, 100.0, "fill"), other], &cash, &BTreeMap::new()).unwrap();
        assert_eq!((at(&book).qty, at(&book).average_price, book.positions()[&Holding::new("t", "AAA")].qty), (40.0, 25.0, -24.0));
        let t = book.totals();
        assert_eq!((t.dividends, t.fees, t.deposits), (3.0, 3.0, 100.0));
        assert!((book.equity() - book.explained_equity()).abs() < 1e-9);
        assert!(fold(&[fill("1", "o1", 1, Side::Buy, 10.0, f64::NAN, "fill")], &[], &BTreeMap::new()).is_err());
    }
}
