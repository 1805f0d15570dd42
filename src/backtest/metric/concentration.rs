//! How much of the profit hangs on a single trade.

use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};

/// More of the profit than this from one trade is flagged.
pub const FLAG_ABOVE: f64 = 0.5;

/// Profit with and without the best trade, in account currency.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
pub struct Concentration {
    pub trades: usize,
    pub pnl: f64,
    pub best_trade: f64,
    pub without_best_trade: f64,
    /// Share of the profit that the best trade is; absent when there is no profit.
    pub best_share: Option<f64>,
    pub flagged: bool,
}

/// Leave the best trade out. Undefined without a trade.
pub fn leave_best_out(pnl_of_trades: &[f64]) -> Result<Concentration> {
    if pnl_of_trades.is_empty() || pnl_of_trades.iter().any(|p| !p.is_finite()) {
        return Err(Error::new(code::ML_UNDEFINED, "the concentration of profit is undefined").cause("there is no trade with a known result"));
    }
    let pnl: f64 = pnl_of_trades.iter().sum();
    let best_trade = pnl_of_trades.iter().copied().fold(f64::MIN, f64::max);
    let best_share = (pnl > 0.0).then(|| best_trade / pnl);
    let flagged = best_share.is_some_and(|s| s > FLAG_ABOVE);
    Ok(Concentration { trades: pnl_of_trades.len(), pnl, best_trade, without_best_trade: pnl - best_trade, best_share, flagged })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lesson_085_a_single_winner_is_flagged() {
        // +567 over 42 trades, of which one trade is 420.
        let mut trades = vec![147.0 / 41.0; 41];
        trades.push(420.0);
        let c = leave_best_out(&trades).unwrap();
        assert!(c.flagged && (c.pnl - 567.0).abs() < 1e-9 && (c.without_best_trade - 147.0).abs() < 1e-9);
        assert!((c.best_share.unwrap() - 0.7407).abs() < 1e-3);
        assert!(!leave_best_out(&[10.0; 42]).unwrap().flagged);
        assert!(leave_best_out(&[-5.0, 1.0]).unwrap().best_share.is_none());
        assert!(leave_best_out(&[]).unwrap_err().is(code::ML_UNDEFINED));
    }
}
