//! Tripwires: pure decisions about losses, drawdown, stale data and broker errors, and their journal.
//!
//! A trip stops increases until a person resets it. Automatic risk actions are targets that are stored once per trip and
//! moved towards; they are side-aware, so that a reduction never enlarges a short.

use crate::backtest::metric::{var_es, volatility};
use crate::execution::risk::Limits;
use crate::execution::switches::{self, TripReason};
use data_layer::control::Db;
use data_layer::error::Result;
use data_layer::store::canonical_json;
use data_layer::time::UtcTime;
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is measured. `None` = could not be measured, which trips.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measures {
    pub equity: Option<f64>,
    pub peak_equity: Option<f64>,
    /// Equity at the last session's close.
    pub day_start_equity: Option<f64>,
    /// Seconds of open market since the newest data that is traded on.
    pub data_age_s: Option<f64>,
    pub broker_errors_in_row: u32,
    /// Mean cost of own orders against the open in each of the newest sessions, in basis points.
    pub slippage_bps: Vec<f64>,
    pub portfolio: Portfolio,
}

/// The book as a whole, on daily marks. A number that is none trips.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Portfolio {
    /// Returns of single sessions.
    pub returns: Vec<f64>,
    /// Dollars of each symbol at its own price, signed.
    pub positions_usd: BTreeMap<String, f64>,
}

/// Fewer returns than this make no volatility and no value at risk.
const MIN_RETURNS: usize = 20;

impl Portfolio {
    /// The wires over the book, each with its text.
    fn judge(&self, equity: Option<f64>, limits: &Limits) -> Vec<(TripReason, String)> {
        let mut out = Vec::new();
        if let Some((symbol, _)) = self.positions_usd.iter().find(|(_, usd)| !usd.is_finite()) {
            out.push((TripReason::Concentration, text!("the share of {symbol} cannot be computed: it has no price")));
        }
        let largest = self.positions_usd.iter().filter(|(_, usd)| usd.is_finite()).max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
        if let Some(((symbol, usd), equity)) = largest.zip(equity).filter(|((_, usd), equity)| usd.abs() > limits.concentration * equity) {
            let (share, allowed) = (100.0 * usd.abs() / equity, 100.0 * limits.concentration);
            out.push((TripReason::Concentration, text!("{symbol} is {share:.0} % of equity, {allowed:.0} % are tolerated")));
        }
        if self.returns.iter().any(|r| !r.is_finite()) {
            out.push((TripReason::Volatility, "the volatility cannot be computed: a return is no number".into()));
        } else if self.returns.len() >= MIN_RETURNS {
            let measured = [
                (TripReason::Volatility, "annual volatility", volatility::annualised(&self.returns), limits.annual_volatility),
                (TripReason::ValueAtRisk, "value at risk", var_es::historical(&self.returns, 0.95).map(|t| t.var), limits.var_95),
            ];
            for (reason, name, value, allowed) in measured {
                match value {
                    Ok(value) if value <= allowed => {}
                    Ok(value) => out.push((reason, text!("the {name} is {:.1} %, {:.1} % are tolerated", 100.0 * value, 100.0 * allowed))),
                    Err(e) => out.push((reason, text!("the {name} cannot be computed: {e}"))),
                }
            }
        }
        out
    }
}

/// Fewer sessions than this say nothing about slippage.
const MIN_SESSIONS: usize = 10;
/// One-sided 99 % of Student's t with nine degrees of freedom: with more it is the cautious side.
const T_99: f64 = 2.821;

/// The lower end of the mean cost, in basis points; `None` with too few sessions or one that is not a number.
fn slippage_at_least(costs: &[f64]) -> Option<f64> {
    let n = costs.len() as f64;
    let mean = costs.iter().sum::<f64>() / n;
    let sd = (costs.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    (costs.len() >= MIN_SESSIONS).then(|| mean - T_99 * sd / n.sqrt()).filter(|v| v.is_finite())
}

/// How far a wire goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Said, nothing stopped.
    Warn,
    /// Increases stop.
    Trip,
    /// Increases stop and a plan to flatten is printed.
    FlattenPlan,
}

/// A wire that was touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touched {
    pub reason: TripReason,
    pub action: Action,
    pub text: String,
}

/// All wires against all measures, the gravest first.
pub fn judge(m: &Measures, limits: &Limits) -> Vec<Touched> {
    let mut out = Vec::new();
    let mut add = |reason, action, text: String| out.push(Touched { reason, action, text });
    let usable = |v: Option<f64>| v.filter(|x| x.is_finite() && *x > 0.0);
    match (usable(m.equity), usable(m.peak_equity)) {
        (Some(equity), Some(peak)) => {
            let drawdown = 1.0 - equity / peak.max(equity);
            let bands = [(limits.drawdown_flatten, Action::FlattenPlan), (limits.drawdown_trip, Action::Trip), (limits.drawdown_soft, Action::Warn)];
            if let Some((band, action)) = bands.into_iter().find(|(band, _)| drawdown >= *band) {
                add(TripReason::MaxDrawdown, action, text!("the drawdown is {:.1} %, the band begins at {:.0} %", 100.0 * drawdown, 100.0 * band));
            }
        }
        _ => add(TripReason::MaxDrawdown, Action::Trip, "the drawdown cannot be computed: equity or its peak is missing".into()),
    }
    match (usable(m.equity), usable(m.day_start_equity)) {
        (Some(equity), Some(start)) => {
            let (loss, allowed) = (start - equity, limits.daily_loss_usd.min(limits.daily_loss_share * start));
            if loss >= allowed {
                add(TripReason::DailyLossExceeded, Action::Trip, text!("${loss:.0} were lost today, ${allowed:.0} are allowed"));
            }
        }
        _ => add(TripReason::DailyLossExceeded, Action::Trip, "the day's loss cannot be computed".into()),
    }
    match m.data_age_s {
        Some(age) if age.is_finite() && age <= limits.data_age_s => {}
        Some(age) => add(TripReason::DataStale, Action::Trip, text!("the data are {age:.0} s of open market old, {:.0} s are allowed", limits.data_age_s)),
        None => add(TripReason::DataStale, Action::Trip, "the age of the data is not known".into()),
    }
    if m.broker_errors_in_row >= limits.broker_errors_in_row {
        add(TripReason::BrokerErrors, Action::Trip, text!("{} broker errors in a row", m.broker_errors_in_row));
    }
    if let Some(least) = slippage_at_least(&m.slippage_bps).filter(|least| *least > limits.slippage_bps) {
        add(TripReason::Slippage, Action::Trip, text!("own fills cost at least {least:.0} bps, {:.0} are tolerated", limits.slippage_bps));
    }
    for (reason, text) in m.portfolio.judge(usable(m.equity), limits) {
        add(reason, Action::Trip, text);
    }
    out.sort_by_key(|t| std::cmp::Reverse(t.action));
    out
}

/// Trip the breaker for everything above a warning. Returns the trips that are new.
pub fn journal(db: &Db, account: &str, touched: &[Touched], now: UtcTime) -> Result<Vec<Touched>> {
    let mut out = Vec::new();
    for t in touched.iter().filter(|t| t.action > Action::Warn) {
        if switches::trip(db, account, t.reason, &t.text, now)? {
            out.push(t.clone());
        }
    }
    Ok(out)
}

/// What a risk action aims at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RiskAction {
    /// Half of every position, towards zero.
    Reduce,
    Flatten,
}

/// The target position per symbol of an action, stored once under `trip_id`; later calls return what was stored.
pub fn risk_targets(db: &Db, account: &str, trip_id: &str, action: RiskAction, positions: &BTreeMap<String, f64>) -> Result<BTreeMap<String, f64>> {
    let key = format!("risk_targets|{account}|{trip_id}");
    let json = db.write(|tx| {
        let stored: Option<String> = tx.query_row("SELECT value FROM meta WHERE key = ?1", [&key], |r| r.get(0)).optional()?;
        if let Some(json) = stored {
            return Ok(json);
        }
        let target = |q: f64| if action == RiskAction::Flatten { 0.0 } else { (q / 2.0).trunc() };
        let targets: BTreeMap<&String, f64> = positions.iter().map(|(s, q)| (s, target(*q))).collect();
        let json = canonical_json(&targets)?;
        tx.execute("INSERT INTO meta (key, value) VALUES (?1, ?2)", params![key, json])?;
        Ok(json)
    })?;
    Ok(serde_json::from_str(&json)?)
}

/// Signed shares still to trade towards the stored targets; never past them, never away from zero.
pub fn steps(positions: &BTreeMap<String, f64>, targets: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let mut out = BTreeMap::new();
    for (symbol, target) in targets {
        let held = positions.get(symbol).copied().unwrap_or(0.0);
        let shrinks = held.abs() > target.abs() && (*target == 0.0 || held.signum() == target.signum());
        if shrinks {
            out.insert(symbol.clone(), target - held);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::broker::fake::journal as open_journal;

    fn calm() -> Measures {
        Measures {
            equity: Some(100.0),
            peak_equity: Some(100.0),
            day_start_equity: Some(100.0),
            data_age_s: Some(0.0),
            broker_errors_in_row: 0,
            slippage_bps: Vec::new(),
            portfolio: Portfolio::default(),
        }
    }
    fn worst(m: &Measures) -> Option<(TripReason, Action)> {
        judge(m, &Limits::default()).first().map(|t| (t.reason, t.action))
    }

    #[test]
    fn the_bands_are_soft_trip_and_flatten_and_missing_measures_trip() {
        assert_eq!(worst(&calm()), None);
        let at = |e| Measures { equity: Some(e), day_start_equity: Some(e), ..calm() };
        assert_eq!(worst(&at(94.0)), Some((TripReason::MaxDrawdown, Action::Warn)));
        assert_eq!(worst(&at(89.0)), Some((TripReason::MaxDrawdown, Action::Trip)));
        assert_eq!(worst(&at(84.0)), Some((TripReason::MaxDrawdown, Action::FlattenPlan)));
        assert_eq!(worst(&Measures { equity: Some(94.9), peak_equity: Some(96.0), ..calm() }), Some((TripReason::DailyLossExceeded, Action::Trip)));
        for broken in [Measures { equity: Some(f64::NAN), ..calm() }, Measures { data_age_s: None, ..calm() }, Measures { data_age_s: Some(1801.0), ..calm() }]
        {
            assert_eq!(worst(&broken).unwrap().1, Action::Trip);
        }
    }

    #[test]
    fn the_book_trips_on_its_volatility_its_largest_name_and_its_value_at_risk_and_on_what_is_no_number() {
        let of = |returns: Vec<f64>, held: &[(&str, f64)]| {
            let positions_usd = held.iter().map(|(s, usd)| ((*s).to_string(), *usd)).collect();
            let m = Measures { portfolio: Portfolio { returns, positions_usd }, ..calm() };
            judge(&m, &Limits::default()).into_iter().map(|t| (t.reason, t.action)).collect::<Vec<_>>()
        };
        let swings = |size: f64| (0..20).map(|n| if n % 2 == 0 { size } else { -size }).collect::<Vec<_>>();
        assert_eq!(of(swings(0.01), &[("A", 40.0), ("B", -39.0)]), [], "at the limits and below");
        assert_eq!(of(swings(0.03), &[]), [(TripReason::Volatility, Action::Trip)], "48 % a year, 3 % a day");
        assert_eq!(of(swings(0.06), &[]), [(TripReason::Volatility, Action::Trip), (TripReason::ValueAtRisk, Action::Trip)]);
        assert_eq!(of(swings(0.06)[..19].to_vec(), &[]), [], "too few");
        assert_eq!(of(vec![], &[("A", 1.0), ("B", -40.1)]), [(TripReason::Concentration, Action::Trip)], "a short as well");
        assert_eq!(of(vec![], &[("A", f64::NAN)]), [(TripReason::Concentration, Action::Trip)]);
        assert_eq!(of(vec![f64::NAN], &[]), [(TripReason::Volatility, Action::Trip)]);
    }

    #[test]
    fn slippage_trips_only_beyond_doubt() {
        let with = |costs: Vec<f64>| worst(&Measures { slippage_bps: costs, ..calm() });
        assert_eq!(with(vec![500.0; 9]), None, "too few");
        assert_eq!(with(vec![60.0; 10]), Some((TripReason::Slippage, Action::Trip)));
        let gaps: Vec<f64> = (0..40).map(|i| if i % 2 == 0 { 300.0 } else { -150.0 }).collect();
        assert_eq!(with(gaps), None, "a mean of 75 within +-225 proves nothing");
    }

    #[test]
    fn lesson_099_a_reduction_is_side_aware_stored_once_and_not_repeated() {
        let (_dir, _root, db) = open_journal();
        let held = BTreeMap::from([("LONG".to_string(), 7.0), ("ODD".to_string(), -7.0), ("ONE".to_string(), 1.0)]);
        let first = risk_targets(&db, "SIM1", "t1", RiskAction::Reduce, &held).unwrap();
        assert_eq!(first, BTreeMap::from([("LONG".to_string(), 3.0), ("ODD".to_string(), -3.0), ("ONE".to_string(), 0.0)]));
        assert_eq!(steps(&held, &first), BTreeMap::from([("LONG".to_string(), -4.0), ("ODD".to_string(), 4.0), ("ONE".to_string(), -1.0)]));
        // A second tick of the same trip aims at the same place.
        let after = BTreeMap::from([("LONG".to_string(), 3.0), ("ODD".to_string(), -3.0)]);
        assert_eq!(risk_targets(&db, "SIM1", "t1", RiskAction::Reduce, &after).unwrap(), first);
        assert!(steps(&after, &first).is_empty());
    }

    #[test]
    fn trips_are_journalled_once() {
        let (_dir, root, db) = open_journal();
        let touched = judge(&Measures { data_age_s: None, ..calm() }, &Limits::default());
        assert_eq!(journal(&db, "SIM1", &touched, root.host().now()).unwrap().len(), 1);
        assert!(journal(&db, "SIM1", &touched, root.host().now()).unwrap().is_empty());
    }
}
