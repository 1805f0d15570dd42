//! The shadow book: what every registered model would have held and earned, session by session, without an order.
//!
//! Row of session s: weights decided at the close of the session before, traded at the open of s. The old weights earn
//! the night, the new ones the day; half the round-trip cost is paid on what is traded. Rows are recomputed from the
//! model's first day, so that a run that was cut off or repeated ends the same; a stored row that differs is refused.

use crate::types::Panel;
use data_layer::calendar::Calendar;
use data_layer::control::Db;
use data_layer::error::{Error, Result, code};
use data_layer::store::{canonical_json, digest_of, sha256_hex};
use data_layer::time::{TradingDay, UtcTime};
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

/// Scores of the whole universe at the close of a day, from data up to that day.
pub trait Scorer {
    fn score(&self, day: TradingDay) -> Result<Vec<(String, f64)>>;
}

/// Loads the scorer of a model.
pub type LoadScorer<'a> = dyn Fn(&ShadowModel) -> Result<Box<dyn Scorer + 'a>> + 'a;
/// Scores to weights (shares of equity, negative = short), by the model's own rule.
pub type TargetRule<'a> = dyn Fn(&ShadowModel, &[(String, f64)]) -> Result<BTreeMap<String, f64>> + 'a;

/// What the shadow book is computed from.
pub struct ShadowInput<'a> {
    pub panel: &'a Panel,
    pub asof: TradingDay,
    pub load: &'a LoadScorer<'a>,
    pub targets: &'a TargetRule<'a>,
    /// Sessions between rebalances, counted from the model's first session.
    pub rebalance_sessions: usize,
    pub cost_bps_round_trip: f64,
    /// Identifies the data: goes into `inputs_sha256`.
    pub data_snapshot: &'a str,
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
    let conn = registry.lock()?;
    let mut q = conn.prepare(
        "SELECT strategy, version, sha256, stage, created_at, config_json FROM models WHERE stage IN ('champion', 'challenger', 'shadow') ORDER BY strategy, version",
    )?;
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
        .map(|m| run_model(registry, m, input).map_err(|e| e.during(&format!("shadow book of {} {}", m.strategy, m.version))))
        .collect()
}

fn run_model(registry: &Db, model: &ShadowModel, input: &ShadowInput<'_>) -> Result<ShadowReport> {
    let (rows, next_weights) = compute(model, input)?;
    let inputs = digest_of(&(&model.sha256, input.data_snapshot, input.cost_bps_round_trip.to_string(), input.rebalance_sessions))?;
    let mut added = 0;
    for row in &rows {
        added += usize::from(store_row(registry, model, row, &inputs)?);
    }
    Ok(ShadowReport {
        strategy: model.strategy.clone(),
        version: model.version.clone(),
        stage: model.stage.clone(),
        added,
        kept: rows.len() - added,
        net_total: rows.iter().map(|r| 1.0 + r.net_return).product::<f64>() - 1.0,
        last: rows.last().cloned(),
        next_weights,
    })
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
                Err(Error::new(code::DATA_CONFLICT, format!("the shadow book of {} {} has other weights for {}", model.strategy, model.version, row.session))
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

/// Rows from the first session after registration to `asof`, and the weights for the session after it.
fn compute(model: &ShadowModel, input: &ShadowInput<'_>) -> Result<(Vec<ShadowRow>, BTreeMap<String, f64>)> {
    let registered = Calendar::xnys().last_closed(model.created_at)?;
    let missing = |day: TradingDay| Error::new(code::DATA_MISSING, format!("the panel does not reach {day}")).fix("trademl catch-up");
    let last = input.panel.day_index(input.asof).ok_or_else(|| missing(input.asof))?;
    let first = if registered > input.asof { last } else { input.panel.day_index(registered).ok_or_else(|| missing(registered))? };
    let scorer = (input.load)(model)?;
    let mut book = Weights { held: BTreeMap::new(), panel: input.panel };
    let mut rows = Vec::new();
    let mut decided = decide(model, input, scorer.as_ref(), first)?;
    for d in first + 1..=last {
        let night = book.earn(|m, s| (m.open.at(s, d), last_close(input.panel, s, d - 1)));
        // A name without an opening price cannot be traded: it keeps what it has.
        let traded = if (d - 1 - first).is_multiple_of(input.rebalance_sessions.max(1)) { book.trade(&decided, d) } else { 0.0 };
        let held = book.held.clone();
        let day = book.earn(|m, s| (m.close.at(s, d), m.open.at(s, d)));
        let gross = (1.0 + night) * (1.0 + day) - 1.0;
        let cost = traded * input.cost_bps_round_trip / 2.0 / 1e4;
        rows.push(ShadowRow {
            session: input.panel.days[d],
            weights_sha256: sha256_hex(canonical_json(&rounded(&held))?.as_bytes()),
            gross_return: gross,
            net_return: gross - cost,
            turnover: traded,
        });
        decided = decide(model, input, scorer.as_ref(), d)?;
    }
    Ok((rows, decided))
}

fn decide(model: &ShadowModel, input: &ShadowInput<'_>, scorer: &dyn Scorer, day: usize) -> Result<BTreeMap<String, f64>> {
    let scores = scorer.score(input.panel.days[day])?;
    (input.targets)(model, &scores)
}

/// Weights as text with nine decimals, so that the digest does not hang on the last bit.
fn rounded(weights: &BTreeMap<String, f64>) -> BTreeMap<&str, String> {
    weights.iter().filter(|(_, w)| **w != 0.0).map(|(s, w)| (s.as_str(), format!("{w:.9}"))).collect()
}

/// The last close at or before a day index; `NaN` when there is none.
fn last_close(panel: &Panel, symbol: usize, day: usize) -> f64 {
    panel.close.row(symbol)[..=day].iter().rev().copied().find(|c| c.is_finite()).unwrap_or(f64::NAN)
}

struct Weights<'a> {
    held: BTreeMap<String, f64>,
    panel: &'a Panel,
}

impl Weights<'_> {
    /// Let every position move from the second price to the first; returns the book's return. A missing price moves nothing.
    fn earn(&mut self, prices: impl Fn(&Panel, usize) -> (f64, f64)) -> f64 {
        let mut total = 0.0;
        let mut moves = BTreeMap::new();
        for (symbol, weight) in &self.held {
            let Some(s) = self.panel.symbol_index(symbol) else { continue };
            let (to, from) = prices(self.panel, s);
            let r = to / from - 1.0;
            if r.is_finite() {
                total += weight * r;
                moves.insert(symbol.clone(), r);
            }
        }
        for (symbol, r) in moves {
            if let Some(w) = self.held.get_mut(&symbol) {
                *w *= 1.0 + r;
            }
        }
        for w in self.held.values_mut() {
            *w /= 1.0 + total;
        }
        total
    }

    /// Move to the targets where there is an opening price; returns the traded share of equity (one way).
    fn trade(&mut self, targets: &BTreeMap<String, f64>, day: usize) -> f64 {
        let mut traded = 0.0;
        let names: Vec<String> = self.held.keys().chain(targets.keys()).cloned().collect::<std::collections::BTreeSet<_>>().into_iter().collect();
        for name in names {
            let open = self.panel.symbol_index(&name).map_or(f64::NAN, |s| self.panel.open.at(s, day));
            if !(open.is_finite() && open > 0.0) {
                continue;
            }
            let (old, new) = (self.held.get(&name).copied().unwrap_or(0.0), targets.get(&name).copied().unwrap_or(0.0));
            traded += (new - old).abs();
            self.held.insert(name, new);
        }
        self.held.retain(|_, w| *w != 0.0);
        traded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::broker::fake::{evening, host_at};
    use crate::types::Matrix;
    use data_layer::control::Which;
    use data_layer::root::{DataRoot, FsFacts};

    struct Fixed;
    impl Scorer for Fixed {
        fn score(&self, _day: TradingDay) -> Result<Vec<(String, f64)>> {
            Ok(vec![("AAA".into(), 1.0), ("BBB".into(), -1.0)])
        }
    }

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

    fn run_to(db: &Db, asof: &str, cost: f64) -> Result<Vec<ShadowReport>> {
        let panel = panel();
        run(
            db,
            &ShadowInput {
                panel: &panel,
                asof: asof.parse().unwrap(),
                load: &|_| Ok(Box::new(Fixed)),
                targets: &|_, scores| Ok(scores.iter().map(|(s, v)| (s.clone(), 0.5 * v)).collect()),
                rebalance_sessions: 1,
                cost_bps_round_trip: cost,
                data_snapshot: "d",
            },
        )
    }

    #[test]
    fn lesson_053_the_close_that_decides_earns_nothing_and_the_next_open_trades() {
        let (_dir, db) = registry();
        let report = run_to(&db, "2017-12-04", 20.0).unwrap().remove(0);
        assert_eq!((report.added, report.kept), (2, 0));
        let rows: Vec<(f64, f64, f64)> = db
            .lock()
            .unwrap()
            .prepare("SELECT gross_return, net_return, turnover FROM shadow_days ORDER BY session")
            .unwrap()
            .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
            .unwrap()
            .map(std::result::Result::unwrap)
            .collect();
        assert!((rows[0].0 - 0.05).abs() < 1e-12, "half a book long, open 100 to close 110");
        assert!((rows[0].2 - 1.0).abs() < 1e-12 && (rows[0].1 - (0.05 - 1.0 * 10.0 / 1e4)).abs() < 1e-12);
        assert!((rows[1].0 - 0.05).abs() < 1e-12, "nothing overnight, then open 110 to close 121");
    }

    #[test]
    fn a_second_run_adds_only_what_is_new_and_changes_nothing() {
        let (_dir, db) = registry();
        assert_eq!(run_to(&db, "2017-12-01", 12.0).unwrap()[0].added, 1);
        assert_eq!(run_to(&db, "2017-12-01", 12.0).unwrap()[0].added, 0);
        let report = run_to(&db, "2017-12-04", 12.0).unwrap().remove(0);
        assert_eq!((report.added, report.kept), (1, 1));
        assert_eq!(report.next_weights["AAA"], 0.5);
    }
}
