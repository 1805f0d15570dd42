//! Limits and the projected worst case, derived from order rows: no reservation store, so nothing can leak.

use super::log::OrderRow;
use super::order::Intent;
use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Hard limits of the gateway. Every value must be a positive number: zero is a configuration error, never "off".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub symbol_shares: f64,
    pub symbol_equity_share: f64,
    pub gross_usd: f64,
    pub long_usd: f64,
    pub short_usd: f64,
    pub order_notional_usd: f64,
    pub order_qty: f64,
    pub order_adv_share: f64,
    pub limit_price_band: f64,
    /// How far the market may stand from the price that was planned on.
    pub price_gap: f64,
    pub price_age_s: f64,
    pub clock_skew_s: f64,
    /// Orders a strategy may send in a trading day outside a rebalance.
    pub single_orders_a_day: u32,
    pub broker_errors_in_row: u32,
    pub daily_loss_usd: f64,
    pub daily_loss_share: f64,
    pub drawdown_soft: f64,
    pub drawdown_trip: f64,
    pub drawdown_flatten: f64,
    pub data_age_s: f64,
    /// Mean cost of own fills against their reference prices that is tolerated, with 99 % confidence that it is higher.
    pub slippage_bps: f64,
    /// Annual volatility of the account's returns from close to close that is tolerated.
    pub annual_volatility: f64,
    /// Share of equity that one name may have grown to.
    pub concentration: f64,
    /// The loss of a session that is worse in one of twenty, as a share of equity.
    pub var_95: f64,
    pub blacklist: Vec<String>,
}

impl Default for Limits {
    /// For a paper account of $100,000.
    fn default() -> Self {
        Self {
            symbol_shares: 1_000.0,
            symbol_equity_share: 0.20,
            gross_usd: 100_000.0,
            long_usd: 80_000.0,
            short_usd: 20_000.0,
            order_notional_usd: 100_000.0,
            order_qty: 10_000.0,
            order_adv_share: 0.05,
            limit_price_band: 0.05,
            price_gap: 0.20,
            price_age_s: 30.0,
            clock_skew_s: 5.0,
            single_orders_a_day: 25,
            broker_errors_in_row: 3,
            daily_loss_usd: 5_000.0,
            daily_loss_share: 0.05,
            drawdown_soft: 0.05,
            drawdown_trip: 0.10,
            drawdown_flatten: 0.15,
            data_age_s: 1_800.0,
            slippage_bps: 50.0,
            annual_volatility: 0.40,
            concentration: 0.40,
            var_95: 0.05,
            blacklist: Vec::new(),
        }
    }
}

impl Limits {
    /// Refuse a limit that would silently switch its check off.
    pub fn check(&self) -> Result<()> {
        let numbers = [
            ("symbol_shares", self.symbol_shares),
            ("symbol_equity_share", self.symbol_equity_share),
            ("gross_usd", self.gross_usd),
            ("long_usd", self.long_usd),
            ("short_usd", self.short_usd),
            ("order_notional_usd", self.order_notional_usd),
            ("order_qty", self.order_qty),
            ("order_adv_share", self.order_adv_share),
            ("limit_price_band", self.limit_price_band),
            ("price_gap", self.price_gap),
            ("price_age_s", self.price_age_s),
            ("clock_skew_s", self.clock_skew_s),
            ("single_orders_a_day", f64::from(self.single_orders_a_day)),
            ("broker_errors_in_row", f64::from(self.broker_errors_in_row)),
            ("daily_loss_usd", self.daily_loss_usd),
            ("daily_loss_share", self.daily_loss_share),
            ("drawdown_soft", self.drawdown_soft),
            ("drawdown_trip", self.drawdown_trip),
            ("drawdown_flatten", self.drawdown_flatten),
            ("data_age_s", self.data_age_s),
            ("slippage_bps", self.slippage_bps),
            ("annual_volatility", self.annual_volatility),
            ("concentration", self.concentration),
            ("var_95", self.var_95),
        ];
        for (name, value) in numbers {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::new(code::CFG_VALUE, text!("the limit {name} must be a positive number")).found(value.to_string()));
            }
        }
        if !(self.drawdown_soft < self.drawdown_trip && self.drawdown_trip < self.drawdown_flatten) {
            return Err(Error::new(code::CFG_VALUE, "the drawdown bands must rise: soft, trip, flatten"));
        }
        Ok(())
    }
}

/// Per symbol: signed shares held, and what open orders may still add on each side.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Line {
    pub held: f64,
    pub open_buys: f64,
    pub open_sells: f64,
}

/// The worst case of an account in dollars.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Exposure {
    pub gross_usd: f64,
    pub long_usd: f64,
    pub short_usd: f64,
}

/// Positions and open orders per symbol.
pub fn lines(positions: &BTreeMap<String, f64>, orders: &[OrderRow]) -> BTreeMap<String, Line> {
    let mut out: BTreeMap<String, Line> = positions.iter().map(|(s, q)| (s.clone(), Line { held: *q, ..Line::default() })).collect();
    for o in orders {
        let remaining = o.remaining();
        if remaining > 0.0 {
            add(&mut out, &o.intent, remaining);
        }
    }
    out
}

fn add(lines: &mut BTreeMap<String, Line>, intent: &Intent, remaining: f64) {
    let line = lines.entry(intent.symbol.clone()).or_default();
    if intent.side.sign() > 0.0 { line.open_buys += remaining } else { line.open_sells += remaining }
}

/// The lines with one more order in flight.
pub fn with(lines: &BTreeMap<String, Line>, intent: &Intent) -> BTreeMap<String, Line> {
    let mut out = lines.clone();
    add(&mut out, intent, intent.qty);
    out
}

impl Line {
    /// The largest long and the largest short that can come of it, in shares.
    pub fn worst(&self) -> (f64, f64) {
        ((self.held + self.open_buys).max(0.0), (self.open_sells - self.held).max(0.0))
    }
}

/// Dollars at the given prices; a symbol without a price is an error, never a zero.
pub fn exposure(lines: &BTreeMap<String, Line>, prices: &BTreeMap<String, f64>) -> Result<Exposure> {
    let mut out = Exposure::default();
    for (symbol, line) in lines {
        let (long, short) = line.worst();
        if long == 0.0 && short == 0.0 {
            continue;
        }
        let price = prices.get(symbol).copied().filter(|p| p.is_finite() && *p > 0.0);
        let price = price.ok_or_else(|| Error::new(code::ORD_REFUSED, text!("there is no price for {symbol}, so the exposure is not known")))?;
        out.long_usd += long * price;
        out.short_usd += short * price;
        out.gross_usd += long.max(short) * price;
    }
    Ok(out)
}

/// The dearer of what was planned on and what the market says: a price that ran away makes a position larger, not smaller.
fn market(intent: &Intent, prices: &BTreeMap<String, f64>) -> f64 {
    prices.get(&intent.symbol).copied().unwrap_or(intent.reference_price).max(intent.reference_price)
}

/// The first limit that the projected worst case would break, in words.
pub fn breach(intent: &Intent, lines: &BTreeMap<String, Line>, prices: &BTreeMap<String, f64>, equity: f64, limits: &Limits) -> Result<Option<String>> {
    let after = with(lines, intent);
    let (long, short) = after.get(&intent.symbol).map_or((0.0, 0.0), Line::worst);
    let shares = long.max(short);
    if shares > limits.symbol_shares {
        return Ok(Some(text!("{shares} shares of {} where {} are allowed", intent.symbol, limits.symbol_shares)));
    }
    let value = shares * market(intent, prices);
    if !(equity.is_finite() && equity > 0.0) || value > limits.symbol_equity_share * equity {
        return Ok(Some(text!("${value:.0} of {} would be more than {:.0} % of ${equity:.0}", intent.symbol, 100.0 * limits.symbol_equity_share)));
    }
    let e = exposure(&after, prices)?;
    for (name, value, limit) in [("gross", e.gross_usd, limits.gross_usd), ("long", e.long_usd, limits.long_usd), ("short", e.short_usd, limits.short_usd)] {
        if value > limit {
            return Ok(Some(text!("the {name} exposure could reach ${value:.0} where ${limit:.0} are allowed")));
        }
    }
    Ok(None)
}

/// Why an order may not be sent with `free_usd` left at the broker for new positions, in words. What it may add to the larger side of
/// its symbol has to be there in full, at the dearer of the reference, the limit and the market: a broker that lends lends less than it
/// says when a price runs away.
pub fn beyond_margin(intent: &Intent, lines: &BTreeMap<String, Line>, prices: &BTreeMap<String, f64>, free_usd: f64) -> Option<String> {
    let larger = |line: &Line| line.worst().0.max(line.worst().1);
    let before = lines.get(&intent.symbol).copied().unwrap_or_default();
    let mut after = BTreeMap::from([(intent.symbol.clone(), before)]);
    add(&mut after, intent, intent.qty);
    let more = (after.values().map(larger).sum::<f64>() - larger(&before)).max(0.0);
    let cost = more * market(intent, prices).max(intent.limit_price.unwrap_or(0.0));
    // Written so that a number that is none refuses.
    let paid = cost == 0.0 || cost <= free_usd;
    (!paid).then(|| text!("${cost:.0} of {} where the broker leaves ${free_usd:.0} for new positions", intent.symbol))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::order::tests::intent;
    use crate::types::Side;
    use proptest::prelude::*;

    fn row(symbol: &str, side: Side, qty: f64, state: &str, filled: f64) -> OrderRow {
        OrderRow {
            intent: intent(symbol, side, qty),
            state: state.into(),
            key: None,
            filled_qty: filled,
            broker_order_id: None,
            refusal_code: None,
            refusal_text: None,
            version: 0,
        }
    }

    #[test]
    fn lesson_098_a_limit_of_zero_or_nan_is_a_configuration_error_and_a_missing_price_refuses() {
        assert!(Limits::default().check().is_ok());
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Limits { gross_usd: bad, ..Limits::default() }.check().unwrap_err().is(code::CFG_VALUE));
            assert!(Limits { price_age_s: bad, ..Limits::default() }.check().is_err());
        }
        let held = BTreeMap::from([("AAA".to_string(), 5.0)]);
        assert!(exposure(&lines(&held, &[]), &BTreeMap::new()).is_err());
    }

    proptest! {
        #[test]
        fn lesson_092_exposure_is_a_fold_of_rows_so_nothing_leaks(
            events in prop::collection::vec((0usize..4, any::<bool>(), 1u32..20, 0usize..6, 0u32..20), 0..60),
        ) {
            let states = ["planned", "intended", "new", "canceled", "expired", "filled"];
            let rows: Vec<OrderRow> = events.iter().map(|(s, buy, q, st, f)| {
                let side = if *buy { Side::Buy } else { Side::Sell };
                row(["A", "B", "C", "D"][*s], side, f64::from(*q), states[*st], f64::from((*f).min(*q)))
            }).collect();
            let folded = lines(&BTreeMap::new(), &rows);
            let open = |o: &&OrderRow| matches!(o.state.as_str(), "intended" | "new");
            let want: f64 = rows.iter().filter(open).map(|o| o.intent.qty - o.filled_qty).sum();
            let got: f64 = folded.values().map(|l| l.open_buys + l.open_sells).sum();
            prop_assert_eq!(want, got);
        }
    }
}
