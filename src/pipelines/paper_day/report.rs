//! The figures of a day's report: a function of the journal and of what the caller knows about data and model.

use super::PaperDay;
use crate::execution::order::OrderSet;
use crate::execution::positions::{self, Book, EXTERNAL};
use crate::execution::state::{is_unknown, name};
use crate::execution::switches::{self, Switch};
use data_layer::error::{Error, Result, code};
use data_layer::store::digest_of;
use data_layer::time::TradingDay;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Fewer sessions than this make no volatility, VaR or Sharpe ratio.
const MIN_SESSIONS: usize = 20;

/// What the journal does not know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportInput {
    pub asof: TradingDay,
    /// `simulated`, `shadow` or `paper`.
    pub mode: String,
    /// Closes of `asof`, in account currency, for every held name.
    pub closes: BTreeMap<String, f64>,
    pub data_health: Value,
    pub known_bias: Value,
    pub links: Value,
    pub trials: Option<u64>,
    /// Cost that the model assumed, one way, in basis points.
    pub modelled_bps: Option<f64>,
}

/// A figure, or null with a reason.
struct Sheet {
    undefined: BTreeMap<String, String>,
}

impl Sheet {
    fn put(&mut self, key: &str, value: Result<f64, &str>) -> Value {
        match value {
            Ok(v) if v.is_finite() => json!(v),
            Ok(_) => self.null(key, "the value is not a number"),
            Err(why) => self.null(key, why),
        }
    }
    fn null(&mut self, key: &str, why: &str) -> Value {
        self.undefined.insert(key.to_string(), why.to_string());
        Value::Null
    }
}

impl PaperDay<'_> {
    /// The daily report with exactly the documented keys; an undefined number is null with its reason in `undefined`.
    pub fn daily_report(&self, run_key: &str, input: &ReportInput) -> Result<Value> {
        let set = self.require_set(run_key)?;
        let book = positions::book(&self.log(), &set.account)?;
        let equities = self.equities(&set.account)?;
        let mut sheet = Sheet { undefined: BTreeMap::new() };
        let equity = equities.last().map(|(_, e)| *e).ok_or("no snapshot was taken yet");
        let (rows, gross, net) = position_rows(&book, &input.closes, equity.unwrap_or(set.equity))?;
        let first = self.first_equity(&set)?;
        let pnl = match equities.as_slice() {
            [.., (_, before), (_, now)] => Ok(now - before),
            [(_, only)] => Ok(only - first),
            [] => Err("no snapshot was taken yet"),
        };
        let series: Vec<f64> = std::iter::once(first).chain(equities.iter().map(|(_, e)| *e)).collect();
        let strategy = self.strategy_figures(&mut sheet, &set, &book, input, &series)?;
        let risk = risk_metrics(&mut sheet, &series);
        let execution = self.execution_figures(&mut sheet, &set, input.modelled_bps)?;
        let parity = parity(&mut sheet, &book, &input.closes, equity.map(|e| e - first));
        let mut report = json!({
            "v": 1, "asof": input.asof, "mode": input.mode, "dataset": self.db.root().drive().dataset, "account": set.account,
            "pnl": sheet.put("pnl", pnl), "pnl_cumulative": sheet.put("pnl_cumulative", equity.map(|e| e - first)),
            "equity": sheet.put("equity", equity), "gross_exposure": gross, "net_exposure": net, "turnover": self.filled_notional(&set)? / set.equity,
            "positions": rows, "strategies": {set.strategy.clone(): strategy}, "risk_metrics": risk, "data_health": input.data_health,
            "orders": self.order_counts(&set)?, "execution": execution, "parity": parity,
            "switches": {
                "kill_switch": switches::read(self.db, Switch::Kill, &set.account).state,
                "circuit_breaker": switches::read(self.db, Switch::Breaker, &set.account).state
            },
            "champion": set.pins.champion, "known_bias": input.known_bias, "links": input.links
        });
        let inputs = digest_of(&(&report, self.log().log_hash(&set.account)?, &set.order_set_hash))?;
        report["undefined"] = json!(sheet.undefined);
        report["inputs_sha256"] = json!(inputs);
        Ok(report)
    }

    /// Equity per snapshot, oldest first.
    fn equities(&self, account: &str) -> Result<Vec<(String, f64)>> {
        let conn = self.db.lock()?;
        let mut q = conn.prepare("SELECT ts, equity FROM snapshots WHERE account = ?1 ORDER BY ts")?;
        Ok(q.query_map([account], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<std::result::Result<_, _>>()?)
    }

    /// The equity with which this account began to trade here.
    fn first_equity(&self, set: &OrderSet) -> Result<f64> {
        let conn = self.db.lock()?;
        Ok(conn
            .query_row("SELECT equity FROM order_sets WHERE account = ?1 ORDER BY trading_day, rebalance_no, run_key LIMIT 1", [&set.account], |r| r.get(0))?)
    }

    fn order_counts(&self, set: &OrderSet) -> Result<Value> {
        let (mut sent, mut filled, mut refused, mut unknown) = (0, 0, 0, 0);
        let rows = self.log().orders_of(&set.run_key)?;
        for o in &rows {
            let s = o.state.as_str();
            unknown += u32::from(is_unknown(s));
            filled += u32::from(s == name::FILLED);
            let kept_here = matches!(s, name::PLANNED | name::DROPPED | name::DRY_RUN | name::BLOCKED_KILL_SWITCH | name::BLOCKED_CIRCUIT_BREAKER);
            refused += u32::from(s == name::REJECTED || (kept_here && s != name::PLANNED));
            sent += u32::from(!kept_here && !is_unknown(s) && s != name::REJECTED);
        }
        Ok(json!({"planned": rows.len(), "sent": sent, "filled": filled, "refused": refused, "unknown": unknown}))
    }

    fn filled_notional(&self, set: &OrderSet) -> Result<f64> {
        let ids: Vec<&str> = set.lines.iter().map(|l| l.client_order_id.as_str()).collect();
        Ok(self.log().fills(&set.account)?.iter().filter(|f| ids.contains(&f.order_id.as_str())).map(|f| f.qty.abs() * f.price).sum())
    }

    fn strategy_figures(&self, sheet: &mut Sheet, set: &OrderSet, book: &Book, input: &ReportInput, series: &[f64]) -> Result<Value> {
        let key = |k: &str| format!("strategies.{}.{k}", set.strategy);
        let mut contribution = 0.0;
        for ((_, symbol), p) in book.positions.iter().filter(|((s, _), _)| s == &set.strategy) {
            let mark = if p.qty == 0.0 { 0.0 } else { p.qty * (close_of(&input.closes, symbol)? - p.avg_price) };
            contribution += p.realised + mark;
        }
        let returns = returns(series);
        let sharpe = match spread(&returns) {
            Some((mean, sd)) if returns.len() >= MIN_SESSIONS && sd > 0.0 => Ok(mean / sd * 252f64.sqrt()),
            _ => Err("fewer than 20 sessions, or no variation"),
        };
        let closed = book.positions.values().filter(|p| p.realised != 0.0).count();
        Ok(json!({
            "sharpe": sheet.put(&key("sharpe"), sharpe),
            "turnover": self.filled_notional(set)? / set.equity,
            "contribution": contribution,
            "max_drawdown": sheet.put(&key("max_drawdown"), drawdown(series)),
            "trials": input.trials.map_or_else(|| sheet.null(&key("trials"), "the trial ledger was not given"), |t| json!(t)),
            "without_best_trade": if closed == 0 {
                sheet.null(&key("without_best_trade"), "no position was closed yet")
            } else {
                let best = book.positions.values().map(|p| p.realised).fold(f64::NEG_INFINITY, f64::max);
                json!(contribution - best.max(0.0))
            },
        }))
    }

    /// Fill prices against the reference prices that sized the orders; a cost is positive.
    fn execution_figures(&self, sheet: &mut Sheet, set: &OrderSet, modelled: Option<f64>) -> Result<Value> {
        let reference: BTreeMap<&str, f64> = set.lines.iter().map(|l| (l.client_order_id.as_str(), l.reference_price)).collect();
        let mut costs = Vec::new();
        for f in self.log().fills(&set.account)? {
            if let Some(r) = reference.get(f.order_id.as_str()).filter(|_| f.qty > 0.0) {
                costs.push(1e4 * (f.side.sign() * (f.price / r - 1.0) + f.fee.unwrap_or(0.0) / (f.qty * r)));
            }
        }
        let n = costs.len();
        let mean = if n > 0 { Ok(costs.iter().sum::<f64>() / n as f64) } else { Err("nothing was filled") };
        let half = spread(&costs).map(|(_, sd)| 1.96 * sd / (n as f64).sqrt()).ok_or("fewer than two fills");
        let bound = |sign: f64| mean.and_then(|m| half.map(|h| m + sign * h));
        Ok(json!({
            "modelled_bps": sheet.put("execution.modelled_bps", modelled.ok_or("no cost model was given")),
            "realised_bps": sheet.put("execution.realised_bps", mean),
            "low": sheet.put("execution.low", bound(-1.0)),
            "high": sheet.put("execution.high", bound(1.0)),
            "n": n
        }))
    }
}

fn close_of(closes: &BTreeMap<String, f64>, symbol: &str) -> Result<f64> {
    closes
        .get(symbol)
        .copied()
        .filter(|p| p.is_finite() && *p > 0.0)
        .ok_or_else(|| Error::new(code::DATA_MISSING, format!("{symbol} is held and the report was given no close for it")))
}

fn position_rows(book: &Book, closes: &BTreeMap<String, f64>, equity: f64) -> Result<(Vec<Value>, f64, f64)> {
    let (mut rows, mut gross, mut net) = (Vec::new(), 0.0, 0.0);
    for ((strategy, symbol), p) in book.positions.iter().filter(|(_, p)| p.qty != 0.0) {
        let price = close_of(closes, symbol)?;
        let weight = p.qty * price / equity;
        gross += weight.abs();
        net += weight;
        let side = if p.qty > 0.0 { "LONG" } else { "SHORT" };
        rows.push(json!({"symbol": symbol, "weight": weight, "side": side, "strategy_tag": strategy, "qty": p.qty, "price": price}));
    }
    Ok((rows, gross, net))
}

fn returns(series: &[f64]) -> Vec<f64> {
    series.windows(2).map(|w| w[1] / w[0] - 1.0).collect()
}

/// Mean and sample standard deviation; `None` below two values.
fn spread(values: &[f64]) -> Option<(f64, f64)> {
    let n = values.len() as f64;
    if n < 2.0 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n;
    Some((mean, (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()))
}

fn drawdown(series: &[f64]) -> Result<f64, &'static str> {
    if series.len() < 2 {
        return Err("fewer than two values of equity");
    }
    let (mut peak, mut worst) = (f64::NEG_INFINITY, 0.0f64);
    for e in series {
        peak = peak.max(*e);
        worst = worst.max(1.0 - e / peak);
    }
    Ok(worst)
}

/// Historical figures over the snapshots; losses are positive.
fn risk_metrics(sheet: &mut Sheet, series: &[f64]) -> Value {
    let r = returns(series);
    let enough = r.len() >= MIN_SESSIONS;
    let short = "fewer than 20 sessions";
    let vol = spread(&r).filter(|_| enough).map(|(_, sd)| sd * 252f64.sqrt()).ok_or(short);
    let mut losses: Vec<f64> = r.iter().map(|v| -v).collect();
    losses.sort_by(f64::total_cmp);
    let tail = losses.len().saturating_sub((losses.len() as f64 * 0.05).ceil() as usize);
    let var = if enough { losses.get(tail).copied().ok_or(short) } else { Err(short) };
    let es = if enough { Ok(losses[tail..].iter().sum::<f64>() / (losses.len() - tail) as f64) } else { Err(short) };
    json!({
        "realized_vol": sheet.put("risk_metrics.realized_vol", vol), "max_drawdown": sheet.put("risk_metrics.max_drawdown", drawdown(series)),
        "var_95": sheet.put("risk_metrics.var_95", var), "es_95": sheet.put("risk_metrics.es_95", es), "window_sessions": r.len()
    })
}

/// The broker's change of equity against the journal's own account of it.
fn parity(sheet: &mut Sheet, book: &Book, closes: &BTreeMap<String, f64>, broker_change: Result<f64, &str>) -> Value {
    let foreign = book.positions.iter().any(|((s, _), p)| s == EXTERNAL && p.qty != 0.0);
    let why = "positions of others are in the account";
    let held: f64 = book.positions.iter().filter(|(_, p)| p.qty != 0.0).map(|((_, s), p)| p.qty * closes.get(s).copied().unwrap_or(f64::NAN)).sum();
    let ours = if foreign { Err(why) } else { Ok(book.cash + held) };
    let rest = ours.and_then(|o| broker_change.map(|b| b - o));
    json!({"explained": sheet.put("parity.explained", ours), "unexplained": sheet.put("parity.unexplained", rest)})
}
