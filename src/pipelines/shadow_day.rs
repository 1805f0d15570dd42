//! The shadow book: what every registered model would have held and earned, session by session, without an order.
//!
//! The book is the backtest's own simulation from the day of registration on, with the model's own rule, capital and
//! cost: whatever is decided at a close trades at the next open. Rows are recomputed from the model's first day, so that a
//! run that was cut off or repeated ends the same; a stored row that differs is refused.

use crate::backtest::{self, BacktestResult, Before};
use crate::execution::cost::CostModel;
use crate::pipelines::route::RoutedRange;
use crate::portfolio::RuleConfig;
use crate::types::Panel;
use data_layer::calendar::Calendar;
use data_layer::control::Db;
use data_layer::error::{Error, Result, code};
use data_layer::store::{canonical_json, sha256_hex};
use data_layer::time::{TradingDay, UtcTime};
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub mod seen;
use seen::Seen;

/// A model in the shadow book.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowModel {
    pub strategy: String,
    pub version: String,
    pub sha256: String,
    pub stage: String,
    pub created_at: UtcTime,
    pub config: serde_json::Value,
}

/// A loaded model: its signal (known at each close) and the portfolio rule it was made for.
pub struct Shadowed {
    pub signal: RoutedRange,
    pub rule: RuleConfig,
}

impl ShadowModel {
    /// Whether its book is kept up to date.
    pub fn is_shadowed(&self) -> bool {
        matches!(self.stage.as_str(), "champion" | "challenger" | "shadow")
    }
}

/// Loads a model of the registry.
pub type LoadModel<'a> = dyn Fn(&ShadowModel) -> Result<Shadowed> + 'a;

/// What the shadow book is computed from.
pub struct ShadowInput<'a> {
    pub panel: &'a Panel,
    pub asof: TradingDay,
    pub load: &'a LoadModel<'a>,
}

/// A model's book, computed.
#[derive(Clone, Debug, PartialEq)]
pub struct Book {
    /// Day of the panel on which the first decision falls: the last close before the registration.
    pub first: usize,
    /// One row for each session after it.
    pub rows: Vec<ShadowRow>,
    /// Shares of equity at the close of each of these sessions.
    pub weights: Vec<BTreeMap<String, f64>>,
    /// Account currency, at the same closes.
    pub equity: Vec<f64>,
    /// For each session, the digests of everything that the book had seen by then.
    pub inputs: Vec<Seen>,
    /// What is wanted for the session after the last.
    pub next_weights: BTreeMap<String, f64>,
}

/// One row of `shadow_days`. Returns and turnover are decimals of equity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowRow {
    pub session: TradingDay,
    pub weights_sha256: String,
    pub gross_return: f64,
    pub net_return: f64,
    pub turnover: f64,
}

/// What a run did for one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowReport {
    pub strategy: String,
    pub version: String,
    pub stage: String,
    pub added: usize,
    pub kept: usize,
    /// Net return since the first row, compounded.
    pub net_total: f64,
    pub last: Option<ShadowRow>,
    /// The weights decided at the close of `asof`, for the next session.
    pub next_weights: BTreeMap<String, f64>,
}

/// Models in the stages champion, challenger and shadow, by strategy and version.
pub fn shadow_models(registry: &Db) -> Result<Vec<ShadowModel>> {
    Ok(all_models(registry)?.into_iter().filter(ShadowModel::is_shadowed).collect())
}

/// Every model of the registry, in whatever stage.
pub fn all_models(registry: &Db) -> Result<Vec<ShadowModel>> {
    let conn = registry.lock()?;
    let mut q = conn.prepare("SELECT strategy, version, sha256, stage, created_at, config_json FROM models ORDER BY strategy, version")?;
    let mut rows = q.query([])?;
    let mut out = Vec::new();
    while let Some(r) = rows.next()? {
        out.push(ShadowModel {
            strategy: r.get(0)?,
            version: r.get(1)?,
            sha256: r.get(2)?,
            stage: r.get(3)?,
            created_at: UtcTime::parse(&r.get::<_, String>(4)?)?,
            config: serde_json::from_str(&r.get::<_, String>(5)?)?,
        });
    }
    Ok(out)
}

/// Bring the shadow book of every model up to `asof`.
pub fn run(registry: &Db, input: &ShadowInput<'_>) -> Result<Vec<ShadowReport>> {
    shadow_models(registry)?
        .iter()
        .map(|m| run_model(registry, m, input).map_err(|e| e.during(&text!("shadow book of {} {}", m.strategy, m.version))))
        .collect()
}

fn run_model(registry: &Db, model: &ShadowModel, input: &ShadowInput<'_>) -> Result<ShadowReport> {
    let shadowed = (input.load)(model)?;
    let book = compute(model, &shadowed, input.panel, input.asof)?;
    let mut added = 0;
    for (row, inputs) in book.rows.iter().zip(&book.inputs) {
        added += usize::from(store_row(registry, model, row, &inputs.to_string())?);
    }
    Ok(ShadowReport {
        strategy: model.strategy.clone(),
        version: model.version.clone(),
        stage: model.stage.clone(),
        added,
        kept: book.rows.len() - added,
        net_total: book.rows.iter().map(|r| 1.0 + r.net_return).product::<f64>() - 1.0,
        last: book.rows.last().cloned(),
        next_weights: book.next_weights,
    })
}

/// The row of a session as it was recorded, and what it was computed from; none for a row of an earlier kind, which did not say so.
pub fn recorded(registry: &Db, model: &ShadowModel, session: TradingDay) -> Result<Option<(ShadowRow, Option<Seen>)>> {
    let conn = registry.lock()?;
    let sql = "SELECT weights_sha256, gross_return, net_return, turnover, inputs_sha256 FROM shadow_days WHERE strategy = ?1 AND version = ?2 AND session = ?3";
    let row = |r: &rusqlite::Row<'_>| {
        let seen = Seen::parse(&r.get::<_, String>(4)?);
        Ok((ShadowRow { session, weights_sha256: r.get(0)?, gross_return: r.get(1)?, net_return: r.get(2)?, turnover: r.get(3)? }, seen))
    };
    Ok(conn.query_row(sql, params![model.strategy, model.version, session.to_string()], row).optional()?)
}

/// Insert a row once; a row that says something else from the same inputs is a conflict.
fn store_row(registry: &Db, model: &ShadowModel, row: &ShadowRow, inputs: &str) -> Result<bool> {
    registry.write(|tx| {
        let stored: Option<(String, String)> = tx
            .query_row(
                "SELECT weights_sha256, inputs_sha256 FROM shadow_days WHERE strategy = ?1 AND version = ?2 AND session = ?3",
                params![model.strategy, model.version, row.session.to_string()],
                |r| Ok((r.get(0)?, r.get(1)?)),
            )
            .optional()?;
        match stored {
            Some((weights, old_inputs)) if old_inputs == inputs && weights != row.weights_sha256 => {
                Err(Error::new(code::DATA_CONFLICT, text!("the shadow book of {} {} has other weights for {}", model.strategy, model.version, row.session))
                    .cause("the same model on the same data decided differently"))
            }
            // A newer data snapshot does not rewrite what was recorded at the time.
            Some(_) => Ok(false),
            None => {
                tx.execute(
                    "INSERT INTO shadow_days (strategy, version, session, weights_sha256, gross_return, net_return, turnover, inputs_sha256) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    params![model.strategy, model.version, row.session.to_string(), row.weights_sha256, row.gross_return, row.net_return, row.turnover, inputs],
                )?;
                Ok(true)
            }
        }
    })
}

/// The book from the first session after registration to `asof`, and the weights for the session after it.
pub fn compute(model: &ShadowModel, shadowed: &Shadowed, panel: &Panel, asof: TradingDay) -> Result<Book> {
    let registered = Calendar::xnys().last_closed(model.created_at)?;
    let missing = |day: TradingDay| Error::new(code::DATA_MISSING, text!("the panel does not reach {day}")).fix("trademl node once");
    let last = panel.day_index(asof).ok_or_else(|| missing(asof))?;
    let first = if registered > asof { last } else { panel.day_index(registered).ok_or_else(|| missing(registered))? };
    let mut book = Book { first, rows: Vec::new(), weights: Vec::new(), equity: Vec::new(), inputs: Vec::new(), next_weights: BTreeMap::new() };
    if first < last {
        let cost = CostModel::flat(shadowed.rule.cost_bps_round_trip);
        let result = backtest::run(panel, shadowed.signal.signal(), &shadowed.rule, &cost, first..last + 1)?;
        book.weights = weights_by_session(&result, panel, first);
        for (n, weights) in book.weights.iter().enumerate() {
            book.rows.push(ShadowRow {
                session: result.days[n],
                weights_sha256: sha256_hex(canonical_json(&rounded(weights))?.as_bytes()),
                gross_return: result.gross[n],
                net_return: result.net[n],
                turnover: result.turnover[n],
            });
        }
        book.equity = result.equity;
        book.inputs = seen::inputs(model, shadowed, panel, first..last + 1, &book.weights)?;
    }
    book.next_weights = book.weights.last().cloned().unwrap_or_default();
    if (last - first).is_multiple_of(shadowed.rule.rebalance_sessions) {
        book.next_weights = book.wanted(shadowed, panel, last)?;
    }
    Ok(book)
}

impl Book {
    /// The book at the close of a day of the panel: shares of equity, and the equity itself.
    pub fn at(&self, rule: &RuleConfig, t: usize) -> (BTreeMap<String, f64>, f64) {
        match t.checked_sub(self.first + 1).filter(|n| *n < self.rows.len()) {
            Some(n) => (self.weights[n].clone(), self.equity[n]),
            None => (BTreeMap::new(), rule.capital_usd),
        }
    }

    /// What the rule wants at the close of a day of the panel, from this book.
    pub fn wanted(&self, shadowed: &Shadowed, panel: &Panel, t: usize) -> Result<BTreeMap<String, f64>> {
        let (held, equity_usd) = self.at(&shadowed.rule, t);
        let by_row = held.iter().filter_map(|(s, w)| Some((panel.symbol_index(s)?, *w))).collect();
        let wanted = backtest::decide(panel, shadowed.signal.signal(), &shadowed.rule, t, &Before { held: by_row, equity_usd, ceiling: None })?.weights;
        Ok(wanted.into_iter().map(|(s, w)| (panel.symbols[s].clone(), w)).collect())
    }
}

/// Shares of equity at each close: the fills so far at the last close of each symbol.
fn weights_by_session(result: &BacktestResult, panel: &Panel, first: usize) -> Vec<BTreeMap<String, f64>> {
    let mut shares: BTreeMap<usize, f64> = BTreeMap::new();
    let mut fills = result.fills.iter().peekable();
    let mut out = Vec::new();
    for (n, day) in result.days.iter().enumerate() {
        while let Some(fill) = fills.next_if(|f| f.day <= *day) {
            *shares.entry(fill.symbol).or_insert(0.0) += fill.side.sign() * fill.qty;
        }
        let weight = |(s, qty): (&usize, &f64)| (panel.symbols[*s].clone(), qty * last_close(panel, *s, first + 1 + n) / result.equity[n]);
        out.push(shares.iter().filter(|(_, q)| **q != 0.0).map(weight).collect());
    }
    out
}

/// Weights as text with nine decimals, so that the digest does not hang on the last bit.
fn rounded(weights: &BTreeMap<String, f64>) -> BTreeMap<&str, String> {
    weights.iter().map(|(s, w)| (s.as_str(), format!("{w:.9}"))).collect()
}

/// The last close at or before a day index; `NaN` when there is none.
fn last_close(panel: &Panel, symbol: usize, day: usize) -> f64 {
    panel.close.row(symbol)[..=day].iter().rev().copied().find(|c| c.is_finite()).unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::broker::fake::{evening, host_at};
    use crate::portfolio::Rule;
    use crate::types::Matrix;
    use data_layer::control::Which;
    use data_layer::root::{DataRoot, FsFacts};

    fn panel() -> Panel {
        let days: Vec<TradingDay> = ["2017-11-30", "2017-12-01", "2017-12-04"].iter().map(|d| d.parse().unwrap()).collect();
        let m = |v: Vec<f64>| Matrix::from_vec(2, 3, v).unwrap();
        let open = m(vec![100.0, 100.0, 110.0, 50.0, 50.0, 50.0]);
        let close = m(vec![100.0, 110.0, 121.0, 50.0, 50.0, 50.0]);
        Panel {
            days,
            symbols: vec!["AAA".into(), "BBB".into()],
            high: open.clone(),
            low: open.clone(),
            vwap: open.clone(),
            volume: open.clone(),
            volume_raw: open.clone(),
            close_raw: close.clone(),
            member: m(vec![1.0; 6]),
            open,
            close,
            delisted: vec![None, None],
            known: crate::types::PointInTime::default(),
        }
    }

    fn registry() -> (tempfile::TempDir, Db) {
        let dir = tempfile::tempdir().unwrap();
        let root = DataRoot::create(&host_at(evening(), None), dir.path(), "replay@1", FsFacts::default(), None).unwrap();
        let db = Db::open(&root, Which::Registry).unwrap();
        db.lock()
            .unwrap()
            .execute(
                "INSERT INTO models (strategy, version, path, sha256, stage, family, metrics_json, config_json, data_snapshot, run_id, created_at) \
                 VALUES ('s', 'v1', 'p', 'aa', 'champion', 'f', '{}', '{}', 'd', 'r', ?1)",
                [evening().to_string()],
            )
            .unwrap();
        (dir, db)
    }

    /// Two model versions could differ in nothing but their rule.
    fn shadowed(model: &ShadowModel, cost: f64) -> Shadowed {
        let scores = Matrix::from_vec(2, 3, vec![1.0, 1.0, 1.0, -1.0, -1.0, -1.0]).unwrap();
        let rebalance_sessions = if model.version == "v1" { 1 } else { 2 };
        let rule = RuleConfig {
            rule: Rule::TopBottom,
            top_n: 1,
            bottom_n: 1,
            rebalance_sessions,
            cost_bps_round_trip: cost,
            fractional: true,
            ..RuleConfig::default()
        };
        Shadowed { signal: scores.into(), rule }
    }

    fn run_to(db: &Db, asof: &str, cost: f64) -> Result<Vec<ShadowReport>> {
        let panel = panel();
        run(db, &ShadowInput { panel: &panel, asof: asof.parse().unwrap(), load: &|m| Ok(shadowed(m, cost)) })
    }

    type Row = (f64, f64, f64);
    fn rows(db: &Db, version: &str) -> Vec<Row> {
        let conn = db.lock().unwrap();
        let mut q = conn.prepare("SELECT gross_return, net_return, turnover FROM shadow_days WHERE version = ?1 ORDER BY session").unwrap();
        q.query_map([version], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))).unwrap().map(std::result::Result::unwrap).collect()
    }

    #[test]
    fn lesson_053_the_close_that_decides_earns_nothing_and_the_next_open_trades() {
        let (_dir, db) = registry();
        let report = run_to(&db, "2017-12-04", 20.0).unwrap().remove(0);
        assert_eq!((report.added, report.kept), (2, 0));
        let rows = rows(&db, "v1");
        assert!((rows[0].0 - 0.10).abs() < 1e-12, "a whole book long, open 100 to close 110; the short stands still");
        assert!((rows[0].2 - 2.0).abs() < 1e-12 && (rows[0].1 - (0.10 - 2.0 * 10.0 / 1e4)).abs() < 1e-12, "{rows:?}");
        assert!(rows[1].0 > 0.09, "nothing overnight, then open 110 to close 121: {rows:?}");
    }

    #[test]
    fn each_model_keeps_its_own_rebalance_days() {
        let (_dir, db) = registry();
        db.lock().unwrap().execute("INSERT INTO models (strategy, version, path, sha256, stage, family, metrics_json, config_json, data_snapshot, run_id, created_at) SELECT strategy, 'v2', path, 'bb', 'shadow', family, metrics_json, config_json, data_snapshot, run_id, created_at FROM models", []).unwrap();
        let reports = run_to(&db, "2017-12-04", 20.0).unwrap();
        assert_eq!(reports.len(), 2);
        assert!(rows(&db, "v1")[1].2 > 0.0, "rebalanced every session");
        assert_eq!(rows(&db, "v2")[1].2, 0.0, "every second session");
    }

    #[test]
    fn a_second_run_adds_only_what_is_new_and_changes_nothing() {
        let (_dir, db) = registry();
        assert_eq!(run_to(&db, "2017-12-01", 12.0).unwrap()[0].added, 1);
        assert_eq!(run_to(&db, "2017-12-01", 12.0).unwrap()[0].added, 0);
        let report = run_to(&db, "2017-12-04", 12.0).unwrap().remove(0);
        assert_eq!((report.added, report.kept), (1, 1));
        assert_eq!(report.next_weights["AAA"], 1.0);
    }
}
