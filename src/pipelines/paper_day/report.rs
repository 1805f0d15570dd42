//! The figures of a day's report: a function of the journal and of what the caller knows about data and model.

use super::PaperDay;
use super::curve::Curve;
use super::plan::expected_cost;
use crate::backtest::metric::{max_drawdown, sharpe, var_es, volatility};
use crate::execution::account::Trade;
use crate::execution::broker::simulated::PriceSource;
use crate::execution::calibration::{self, Ordered};
use crate::execution::order::OrderSet;
use crate::execution::positions::{self, EXTERNAL, Holding, Ledger};
use crate::execution::state::{is_unknown, name};
use crate::execution::switches::{self, Switch};
use crate::reports::daily::{Champion, DailyReport, ExecutionCost, Health, Mode, OrderCounts, Parity, PositionRow, PositionSide, RiskMetrics, StrategyRow};
use data_layer::error::{Error, Result, code};
use data_layer::store::digest_of;
use data_layer::time::TradingDay;
use std::collections::BTreeMap;

/// Fewer sessions than this make no volatility, VaR or Sharpe ratio.
const MIN_SESSIONS: usize = 20;
/// Below this an annualised Sharpe ratio says nothing: its standard error is above 2 (the square root of 252 over the sessions).
const MIN_SHARPE_SESSIONS: usize = 60;

/// What the journal does not know.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportInput {
    pub asof: TradingDay,
    pub mode: Mode,
    /// Closes of `asof`, in account currency, for every held name.
    pub closes: BTreeMap<String, f64>,
    pub data_health: BTreeMap<String, Health>,
    pub known_bias: Option<String>,
    pub links: BTreeMap<String, String>,
    pub trials: Option<u64>,
    /// Opens as they traded, by session from the set's own on: what its fills are measured against.
    pub opens: BTreeMap<TradingDay, BTreeMap<String, f64>>,
}

/// Why a number has no value.
fn undefined(why: &str) -> Error {
    Error::new(code::ML_UNDEFINED, "a number of the report is undefined").cause(why)
}

impl PaperDay<'_> {
    /// The daily report; an undefined number is null with its reason in `undefined`.
    pub fn daily_report(&self, run_key: &str, input: &ReportInput) -> Result<DailyReport> {
        let set = self.require_set(run_key)?;
        let ledger = self.marked(&set.account, input)?;
        let curve = self.curve(&set.account, input.asof)?.ok_or_else(|| Error::bug("a set without its account"))?;
        let equity = curve.equity().ok();
        let mut r = DailyReport::empty(input.asof, input.mode, &self.db.root().drive().dataset, &set.account);
        r.pnl = r.take("pnl", curve.pnl());
        r.pnl_cumulative = r.take("pnl_cumulative", curve.gain());
        r.equity = r.take("equity", curve.equity());
        let worth = equity.unwrap_or(set.equity);
        let (gross, net) = ledger.exposure();
        (r.gross_exposure, r.net_exposure) = (Some(gross / worth), Some(net / worth));
        r.turnover = Some(self.filled_notional(&set)? / set.equity);
        r.positions = position_rows(&ledger, worth);
        self.strategy_row(&mut r, &set, &ledger, input.trials, &curve)?;
        risk_metrics(&mut r, &curve);
        self.execution_cost(&mut r, &set, &input.opens)?;
        parity(&mut r, &ledger, curve.gain());
        r.orders = self.order_counts(&set)?;
        for switch in [Switch::Kill, Switch::Breaker] {
            r.switches.insert(switch.name().into(), switches::read(self.db, switch, &set.account).state);
        }
        r.champion = champion(&set);
        (r.data_health, r.known_bias, r.links) = (input.data_health.clone(), input.known_bias.clone(), input.links.clone());
        r.inputs_sha256 = digest_of(&(&r, self.log().log_hash(&set.account)?, &set.order_set_hash))?;
        Ok(r)
    }

    /// The journal's ledger, every holding at the day's close.
    fn marked(&self, account: &str, input: &ReportInput) -> Result<Ledger> {
        let mut ledger = positions::ledger(&self.log(), account)?;
        for holding in ledger.positions().keys().cloned().collect::<Vec<_>>() {
            let close = input.closes.get(&holding.symbol).copied();
            let close = close.ok_or_else(|| Error::new(code::DATA_MISSING, text!("{} is held and the report was given no close for it", holding.symbol)))?;
            let newest = ledger.mark_of(&holding).map_or(input.asof, |m| m.0.max(input.asof));
            ledger.mark(newest, &holding, close)?;
        }
        Ok(ledger)
    }

    fn order_counts(&self, set: &OrderSet) -> Result<OrderCounts> {
        let rows = self.log().orders_of(&set.run_key)?;
        let mut out = OrderCounts { planned: rows.len() as u64, ..OrderCounts::default() };
        for o in &rows {
            let s = o.state.as_str();
            let kept_here = matches!(s, name::PLANNED | name::DROPPED | name::DRY_RUN | name::BLOCKED_KILL_SWITCH | name::BLOCKED_CIRCUIT_BREAKER);
            out.unknown += u64::from(is_unknown(s));
            out.filled += u64::from(s == name::FILLED);
            out.refused += u64::from(s == name::REJECTED || (kept_here && s != name::PLANNED));
            out.sent += u64::from(!kept_here && !is_unknown(s) && s != name::REJECTED);
        }
        Ok(out)
    }

    fn filled_notional(&self, set: &OrderSet) -> Result<f64> {
        let ids: Vec<&str> = set.lines.iter().map(|l| l.client_order_id.as_str()).collect();
        Ok(self.log().fills(&set.account)?.iter().filter(|f| ids.contains(&f.order_id.as_str())).map(|f| f.qty.abs() * f.price).sum())
    }

    fn strategy_row(&self, r: &mut DailyReport, set: &OrderSet, ledger: &Ledger, trials: Option<u64>, curve: &Curve) -> Result<()> {
        let key = |k: &str| format!("strategies.{}.{k}", set.strategy);
        let trades: Vec<Trade<Holding>> = ledger.trades().into_iter().filter(|t| t.symbol.strategy == set.strategy).collect();
        let contribution: f64 = trades.iter().map(|t| t.pnl).sum();
        let best = trades.iter().filter(|t| t.closed.is_some()).map(|t| t.pnl).reduce(f64::max);
        let returns = curve.sessions();
        let sharpe_ratio = if returns.len() < MIN_SHARPE_SESSIONS { Err(too_few(MIN_SHARPE_SESSIONS)) } else { sharpe::annualised(&returns) };
        if trials.is_none() {
            r.undefined.insert(key("trials"), "the trial ledger was not given".into());
        }
        let row = StrategyRow {
            sharpe: r.take(&key("sharpe"), sharpe_ratio),
            turnover: Some(self.filled_notional(set)? / set.equity),
            contribution: Some(contribution),
            max_drawdown: r.take(&key("max_drawdown"), max_drawdown::depth(&curve.steps())),
            trials,
            without_best_trade: r
                .take(&key("without_best_trade"), best.map(|b| contribution - b.max(0.0)).ok_or_else(|| undefined("no position was closed yet"))),
        };
        r.strategies.insert(set.strategy.clone(), row);
        Ok(())
    }

    /// What the fills of the set cost against the recorded opens, and what was expected when the set was pinned; a cost is positive.
    fn execution_cost(&self, r: &mut DailyReport, set: &OrderSet, opens: &BTreeMap<TradingDay, BTreeMap<String, f64>>) -> Result<()> {
        let ordered = |id: &str| Ok(set.lines.iter().find(|l| l.client_order_id == id).map(|l| Ordered::of(set, l.clone())));
        let measured = calibration::by_order(&self.log().fills(&set.account)?, ordered, &Opens(opens))?.measured;
        let costs: Vec<f64> = measured.iter().map(|m| m.slippage_bps + m.fee_bps).collect();
        let n = costs.len() as f64;
        let mean = costs.iter().sum::<f64>() / n;
        let sd = (costs.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        let bound = |sign: f64| if n < 2.0 { Err(undefined("fewer than two fills at the open")) } else { Ok(mean + sign * 1.96 * sd / n.sqrt()) };
        let modelled = expected_cost(set)?.map(|(c, _)| c.bps.unwrap_or(c.side.bps)).ok_or_else(|| undefined("the set was pinned without an expected cost"));
        r.execution = ExecutionCost {
            modelled_bps: r.take("execution.modelled_bps", modelled),
            realised_bps: r.take("execution.realised_bps", if n > 0.0 { Ok(mean) } else { Err(undefined("nothing was filled at the open")) }),
            low: r.take("execution.low", bound(-1.0)),
            high: r.take("execution.high", bound(1.0)),
            n: costs.len() as u64,
        };
        Ok(())
    }
}

/// The opens that a report was given, each of its session.
struct Opens<'a>(&'a BTreeMap<TradingDay, BTreeMap<String, f64>>);

impl PriceSource for Opens<'_> {
    fn open(&self, symbol: &str, day: TradingDay) -> Option<f64> {
        self.0.get(&day)?.get(symbol).copied()
    }
    fn last_close(&self, _symbol: &str, _day: TradingDay) -> Option<f64> {
        None
    }
}

fn too_few(needed: usize) -> Error {
    undefined(&text!("fewer than {needed} sessions"))
}

fn champion(set: &OrderSet) -> Option<Champion> {
    let part = |key: &str| set.pins.champion.get(key).cloned();
    Some(Champion { strategy: part("strategy")?, version: part("version")?, sha256: part("sha256")? })
}

fn position_rows(ledger: &Ledger, equity: f64) -> Vec<PositionRow> {
    let row = |(h, p): (&Holding, &crate::execution::account::Position)| {
        let price = ledger.mark_of(h).map(|m| m.1);
        PositionRow {
            symbol: h.symbol.clone(),
            weight: price.map(|price| p.qty * price / equity),
            side: if p.qty > 0.0 { PositionSide::Long } else { PositionSide::Short },
            strategy_tag: h.strategy.clone(),
            qty: p.qty,
            price,
        }
    };
    ledger.positions().iter().map(row).collect()
}

/// Historical figures over the snapshots; losses are positive.
fn risk_metrics(r: &mut DailyReport, curve: &Curve) {
    let returns = curve.sessions();
    let enough = returns.len() >= MIN_SESSIONS;
    let vol = if enough { volatility::annualised(&returns) } else { Err(too_few(MIN_SESSIONS)) };
    let tail = || if enough { var_es::historical(&returns, 0.95) } else { Err(too_few(MIN_SESSIONS)) };
    r.risk_metrics = RiskMetrics {
        realized_vol: r.take("risk_metrics.realized_vol", vol),
        max_drawdown: r.take("risk_metrics.max_drawdown", max_drawdown::depth(&curve.steps())),
        var_95: r.take("risk_metrics.var_95", tail().map(|t| t.var)),
        es_95: r.take("risk_metrics.es_95", tail().map(|t| t.es)),
        window_sessions: returns.len() as u64,
    };
}

/// The broker's change of equity against the ledger's own account of it.
fn parity(r: &mut DailyReport, ledger: &Ledger, broker_change: Result<f64>) {
    let foreign = ledger.positions().keys().any(|h| h.strategy == EXTERNAL);
    let ours = || if foreign { Err(undefined("positions of others are in the account")) } else { Ok(ledger.equity() - ledger.totals().deposits) };
    r.parity =
        Parity { explained: r.take("parity.explained", ours()), unexplained: r.take("parity.unexplained", ours().and_then(|o| broker_change.map(|b| b - o))) };
}
