//! The gates' limits as caps of a plan: what is planned under them passes the gates.

use crate::execution::risk::Limits;
use crate::portfolio::{Ceiling, Limits as Caps};

/// Share of a dollar limit that a plan may use, so that an opening gap does not break it.
const HEADROOM: f64 = 0.97;

/// Every limit of the gates that a book can break, as shares of `equity_usd` with headroom: dollars per side, dollars and shares of a name. A
/// name that a gate would refuse on its own would leave the other side of the book standing alone.
pub fn ceiling_of(limits: &Limits, equity_usd: f64) -> Ceiling {
    let share = |usd: f64| usd / equity_usd * HEADROOM;
    let gross = share(limits.gross_usd);
    let name = (limits.symbol_equity_share * HEADROOM).min(gross);
    let caps = Caps { max_weight_per_name: name, max_long: share(limits.long_usd), max_short: share(limits.short_usd), max_gross: gross, max_net: gross };
    Ceiling { caps, shares_per_name: limits.symbol_shares }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::{Before, decide};
    use crate::execution::order::Reference;
    use crate::execution::order::tests::intent;
    use crate::execution::risk;
    use crate::execution::sizing::{SizeInput, delta};
    use crate::pipelines::config::{MODELS, TrainingConfig};
    use crate::types::{Matrix, Panel, PointInTime};
    use data_layer::calendar::Calendar;
    use data_layer::time::UtcTime;
    use std::collections::BTreeMap;

    const EQUITY: f64 = 100_000.0;

    /// Names from a dollar to two thousand, each at one price for ever.
    fn panel() -> Panel {
        let closes = [1.2, 3.0, 7.5, 14.0, 22.0, 40.0, 95.0, 180.0, 420.0, 2_000.0];
        let first = "2017-11-30".parse().unwrap();
        let days = [first, Calendar::xnys().next(first).unwrap()];
        let close = Matrix::from_vec(closes.len(), 2, closes.iter().flat_map(|p| [*p; 2]).collect()).unwrap();
        let of = |v: f64| Matrix::from_vec(closes.len(), 2, vec![v; 2 * closes.len()]).unwrap();
        Panel {
            days: days.to_vec(),
            symbols: (0..closes.len()).map(|i| format!("N{i}")).collect(),
            open: close.clone(),
            high: close.clone(),
            low: close.clone(),
            vwap: close.clone(),
            close_raw: close.clone(),
            close,
            volume: of(1e7),
            volume_raw: of(1e7),
            member: of(1.0),
            delisted: vec![None; closes.len()],
            known: PointInTime::default(),
        }
    }

    /// The symbols of a plan that gate 12 refuses, when every line of it is sent one after the other.
    fn refused(rule: &crate::portfolio::RuleConfig, ceiling: Ceiling, scores: &[f64]) -> Vec<String> {
        let (panel, limits) = (panel(), Limits::default());
        let scores = Matrix::from_vec(scores.len(), 2, scores.iter().flat_map(|s| [*s; 2]).collect()).unwrap();
        let before = Before { held: BTreeMap::new(), equity_usd: EQUITY, ceiling: Some(ceiling) };
        let weights = decide(&panel, &scores, rule, 1, &before).unwrap().weights;
        let targets = weights.into_iter().map(|(s, w)| (panel.symbols[s].clone(), w)).collect();
        let at = UtcTime::from_micros(0);
        let price = |s: usize| Reference { price: panel.close_raw.at(s, 1), at, adv_shares: Some(1e7), sigma_daily: None, tradable: true };
        let prices: BTreeMap<String, Reference> = panel.symbols.iter().enumerate().map(|(i, s)| (s.clone(), price(i))).collect();
        let none = BTreeMap::new();
        let sized = delta(&SizeInput { targets: &targets, positions: &none, open_remaining: &none, prices: &prices, equity: EQUITY });
        assert_eq!(sized.lines.len(), targets.len(), "{:?}", sized.skipped);
        let usd = prices.iter().map(|(s, r)| (s.clone(), r.price)).collect();
        let mut open = BTreeMap::new();
        let mut out = Vec::new();
        for line in &sized.lines {
            let mut order = intent(&line.symbol, line.side, line.qty);
            order.reference_price = prices[&line.symbol].price;
            if risk::breach(&order, &open, &usd, EQUITY, &limits).unwrap().is_some() {
                out.push(line.symbol.clone());
                continue;
            }
            open = risk::with(&open, &order);
        }
        out
    }

    #[test]
    fn every_line_of_a_plan_of_each_shipped_configuration_passes_the_limits_gate() {
        let up: Vec<f64> = (0..10).map(f64::from).collect();
        let down: Vec<f64> = up.iter().map(|s| -s).collect();
        for (name, text) in MODELS {
            let rule = serde_yaml::from_str::<TrainingConfig>(text).unwrap().portfolio;
            for scores in [&up, &down] {
                assert!(refused(&rule, ceiling_of(&Limits::default(), EQUITY), scores).is_empty(), "{name}");
            }
            // With the dollars of the sides alone, all longs and two of the shorts would be refused.
            let mut loose = ceiling_of(&Limits::default(), EQUITY);
            (loose.caps.max_weight_per_name, loose.shares_per_name) = (1.0, f64::MAX);
            assert_eq!(refused(&rule, loose, &up).len(), 5, "{name}");
        }
    }
}
