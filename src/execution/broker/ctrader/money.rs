//! What is held and what the account is worth. The server answers about positions, gains and balance in three answers, between which a
//! position may change: an account is believed only when the positions stood still around it.

use super::link::Link;
use super::{About, CTraderBroker, malformed};
use crate::execution::broker::{BrokerAccount, BrokerPosition};
use data_layer::control::{Db, Which};
use data_layer::ctrader::messages as m;
use data_layer::ctrader::models::{Position, Trader};
use data_layer::ctrader::words::{AccessRights, PositionStatus, TradeSide};
use data_layer::ctrader::{VOLUME_UNITS, money};
use data_layer::error::{Error, Result, code};
use rusqlite::{OptionalExtension, params};
use std::collections::BTreeMap;
use std::sync::PoisonError;

/// Times that the book is read until it stands still.
const BOOKS: usize = 3;

/// Gross and net gain of a position, in the account's whole numbers.
type Gains = BTreeMap<i64, (i64, i64)>;

/// The account at one moment.
struct Book {
    trader: Trader,
    /// Open positions, each with its gross and its net gain.
    open: Vec<(Position, i64, i64)>,
    digits: u32,
}

impl CTraderBroker {
    /// The exponent of the account's money. It never changes, and every message about the account has the same: the first that any process
    /// on this drive was told is kept in the journal.
    fn exponent(&self, link: &Link, told: Option<u32>) -> Result<u32> {
        let told = told.ok_or_else(|| malformed("account's money"))?;
        let mut known = self.digits.lock().unwrap_or_else(PoisonError::into_inner);
        let first = match *known {
            Some(first) => first,
            None => self.kept_exponent(&link.name, told)?,
        };
        *known = Some(first);
        if first == told {
            return Ok(told);
        }
        Err(Error::new(code::NET_MALFORMED, "cTrader tells the account's money with two different exponents")
            .cause("an amount read with the wrong one is wrong by powers of ten")
            .found(format!("10^{first}, 10^{told}"))
            .fix("compare the balance with the broker's own site before anything else"))
    }

    fn kept_exponent(&self, account: &str, told: u32) -> Result<u32> {
        let key = format!("ctrader_money_digits|{account}");
        let db = Db::open(&self.root, Which::Journal)?;
        let kept: Option<String> = db.lock()?.query_row("SELECT value FROM meta WHERE key = ?1", [&key], |r| r.get(0)).optional()?;
        if let Some(kept) = kept {
            return kept.parse().map_err(|_| Error::bug("a kept exponent is no number"));
        }
        db.write(|tx| Ok(tx.execute("INSERT OR IGNORE INTO meta (key, value) VALUES (?1, ?2)", params![key, told.to_string()])?))?;
        Ok(told)
    }

    fn open_positions(&self) -> Result<Vec<Position>> {
        let reconciled: m::ReconcileRes = self.ask(About::Now, |account| m::ReconcileReq { account })?;
        let mut open: Vec<Position> = reconciled.positions.into_iter().filter(|p| PositionStatus::of(p.status) == Some(PositionStatus::Open)).collect();
        open.sort_by_key(|p| p.id);
        Ok(open)
    }

    /// What open positions have gained, with the exponent of the numbers.
    fn gains(&self, link: &Link, open: &[Position]) -> Result<(Gains, u32)> {
        for position in open.iter().filter(|p| p.money_digits.is_some()) {
            self.exponent(link, position.money_digits)?;
        }
        let gains: m::PnlRes = self.ask(About::Now, |account| m::PnlReq { account })?;
        let digits = self.exponent(link, Some(gains.money_digits))?;
        Ok((gains.rows.iter().map(|g| (g.position, (g.gross, g.net))).collect(), digits))
    }

    fn book(&self, link: &Link) -> Result<Book> {
        for _ in 0..BOOKS {
            let open = self.open_positions()?;
            // An account without a position has gained nothing: there is no question to put.
            let gains = if open.is_empty() { Gains::new() } else { self.gains(link, &open)?.0 };
            let trader = self.ask::<m::TraderRes, _>(About::Now, |account| m::TraderReq { account })?.trader;
            let digits = self.exponent(link, trader.money_digits)?;
            let whole: Option<Vec<_>> = open.iter().map(|p| gains.get(&p.id).map(|(gross, net)| (p.clone(), *gross, *net))).collect();
            let Some(whole) = whole else { continue };
            if open.is_empty() || same(&open, &self.open_positions()?) {
                return Ok(Book { trader, open: whole, digits });
            }
        }
        Err(malformed("gains of its positions"))
    }

    /// Contracts for difference cost no cash: what is reported as cash is what would be left of the equity without the positions, as in
    /// an account that had paid for them. Buying power is the free margin, not multiplied by any leverage.
    pub(super) fn whole_account(&self) -> Result<BrokerAccount> {
        let link = self.link()?;
        let Book { trader, open, digits } = self.book(&link)?;
        let usd = |v: i64| money(v, digits).ok_or_else(|| malformed("account's money"));
        let mut equity = usd(trader.balance)?;
        let (mut worth, mut margin) = (0.0, 0.0);
        for (p, gross, net) in &open {
            if !link.symbols.is_home(p.trade.symbol) {
                return Err(Error::new(code::ORD_REFUSED, "the account holds something that is not quoted in its own currency")
                    .cause("what it is worth cannot be added to the rest")
                    .found(text!("{}, the account is kept in {}", link.symbols.called(p.trade.symbol), link.currency))
                    .fix("close it at the broker's own site, or name another account: CTRADER_ACCOUNT"));
            }
            let entry = p.price.filter(|e| e.is_finite() && *e > 0.0).ok_or_else(|| malformed("position"))?;
            equity += usd(*net)?;
            worth += signed(p).ok_or_else(|| malformed("position"))? * entry + usd(*gross)?;
            margin += usd(i64::try_from(p.used_margin.unwrap_or(0)).unwrap_or(i64::MAX))?;
        }
        let rights = trader.access_rights.map_or(Some(AccessRights::FullAccess), AccessRights::of);
        Ok(BrokerAccount {
            account: link.name.clone(),
            equity,
            cash: equity - worth,
            buying_power: (equity - margin).max(0.0),
            currency: link.currency.clone(),
            status: rights.map_or("UNKNOWN", AccessRights::as_str).to_string(),
            blocked: rights != Some(AccessRights::FullAccess),
        })
    }

    pub(super) fn held(&self) -> Result<Vec<BrokerPosition>> {
        let link = self.link()?;
        let open = self.open_positions()?;
        let (gains, digits) = if open.is_empty() { (Gains::new(), 0) } else { self.gains(&link, &open)? };
        let one = |p: &Position| {
            let (qty, avg_price) = (signed(p).filter(|q| *q != 0.0)?, p.price.filter(|e| e.is_finite() && *e > 0.0)?);
            let price = gains.get(&p.id).and_then(|(gross, _)| money(*gross, digits)).map(|gross| avg_price + gross / qty);
            Some(BrokerPosition { symbol: link.symbols.name(p.trade.symbol), qty, avg_price, price })
        };
        open.iter().map(|p| one(p).ok_or_else(|| malformed("position"))).collect()
    }
}

/// Whether the same is held.
fn same(a: &[Position], b: &[Position]) -> bool {
    let key = |p: &Position| (p.id, p.trade.volume, p.trade.side, p.price.map(f64::to_bits));
    a.iter().map(key).eq(b.iter().map(key))
}

/// Signed shares of a position.
fn signed(p: &Position) -> Option<f64> {
    let sign = if TradeSide::of(p.trade.side)? == TradeSide::Buy { 1.0 } else { -1.0 };
    Some(sign * p.trade.volume as f64 / VOLUME_UNITS)
}
