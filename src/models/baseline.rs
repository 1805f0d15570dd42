//! The honest baseline: 12-1 momentum, long only. Every strategy starts with it as champion, so that a learned model has
//! something simple to beat.
//!
//! Score of a symbol at the close of day t = log return from t - 252 to t - 21 sessions (Jegadeesh and Titman's skip of
//! the last month). Not enough history, or a missing price at either end: no score.

use crate::models::artifact::{self, FeatureList, Kind, Manifest};
use crate::models::registry::{Decision, ModelRow, Registry, Stage};
use crate::types::{Matrix, Panel};
use data_layer::error::Result;
use data_layer::root::DataRoot;
use data_layer::store;
use data_layer::time::TradingDay;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The program that wrote an artifact or a trial.
pub const CODE: &str = concat!("trademl ", env!("CARGO_PKG_VERSION"));

/// The rule, which is also the baseline's `training_cfg.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Momentum {
    pub version: u32,
    pub family: String,
    pub lookback_sessions: usize,
    pub skip_sessions: usize,
    /// The `portfolio:` section, as the portfolio rules read it.
    pub portfolio: Value,
}

impl Default for Momentum {
    fn default() -> Self {
        let portfolio = json!({"rule": "long_only_top", "top_n": 20, "bottom_n": 0, "rebalance_sessions": 21, "cost_bps_round_trip": 12.0});
        Self { version: 1, family: "momentum_12_1".into(), lookback_sessions: 252, skip_sessions: 21, portfolio }
    }
}

impl Momentum {
    /// Scores of every member on every day, `symbols x days`; missing where undefined.
    pub fn scores(&self, panel: &Panel) -> Matrix {
        let mut out = Matrix::missing(panel.n_symbols(), panel.n_days());
        for s in 0..panel.n_symbols() {
            for d in 0..panel.n_days() {
                out.set(s, d, self.score(panel, s, d));
            }
        }
        out
    }

    /// The score of one symbol at the close of one day; `NaN` = none.
    pub fn score(&self, panel: &Panel, symbol: usize, day: usize) -> f64 {
        if day < self.lookback_sessions || panel.member.at(symbol, day) != 1.0 {
            return f64::NAN;
        }
        let score = (panel.close.at(symbol, day - self.skip_sessions) / panel.close.at(symbol, day - self.lookback_sessions)).ln();
        if score.is_finite() { score } else { f64::NAN }
    }
}

/// Make sure that a strategy has a champion: the one it has, or else the momentum baseline.
pub fn ensure_baseline(root: &DataRoot, registry: &Registry, strategy: &str, rule: &Momentum, asof: TradingDay, run_id: &str) -> Result<ModelRow> {
    if let Some(champion) = registry.champion_if_any(strategy)? {
        return Ok(champion);
    }
    let config = serde_json::to_value(rule)?;
    let digest = store::digest_of(&json!({"config": config, "data_snapshot": "none", "code": CODE, "seed": 0}))?;
    let version = format!("{asof}-{}", &digest[..8]);
    let manifest = Manifest {
        v: 1,
        strategy: strategy.into(),
        version: version.clone(),
        kind: Kind::Momentum,
        dataset: root.drive().dataset.clone(),
        data_snapshot: "none".into(),
        asof,
        code: CODE.into(),
        files: BTreeMap::new(),
    };
    let features = FeatureList::new("momentum_12_1", &["mom_252_21".to_string()], &["log return".to_string()], Vec::new());
    let metrics = json!({"kind": "rule", "trained": false});
    let files: BTreeMap<String, Vec<u8>> = [
        ("feature_list.json", store::canonical_json(&features)?),
        ("training_cfg.json", store::canonical_json(&config)?),
        ("metrics.json", store::canonical_json(&metrics)?),
    ]
    .into_iter()
    .map(|(name, text)| (name.to_string(), text.into_bytes()))
    .collect();
    let sha256 = artifact::write(root, manifest, &files)?;
    let row = ModelRow {
        strategy: strategy.into(),
        version: version.clone(),
        path: artifact::folder(strategy, &version)?,
        sha256,
        stage: Stage::Candidate,
        family: rule.family.clone(),
        metrics,
        config,
        data_snapshot: "none".into(),
        run_id: run_id.into(),
        created_at: root.host().now(),
        activated_at: None,
        deactivated_at: None,
    };
    registry.register(&row, "ensure_baseline")?;
    let reason = "no champion yet: the 12-1 momentum rule is the one to beat";
    registry.set_stage(strategy, &version, Stage::Champion, &Decision { rule: "ensure_baseline", verdict: Value::Null, operator: "trademl", reason })?;
    registry.champion(strategy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn momentum_skips_the_last_month_and_has_no_score_without_history() {
        let n = 300;
        let close: Vec<f64> = (0..n).map(|d| 100.0 + d as f64).collect();
        let m = |v: Vec<f64>| Matrix::from_vec(1, n, v).unwrap();
        let days = (0..n).map(|d| TradingDay(d as i32)).collect();
        let panel = Panel {
            days,
            symbols: vec!["A".into()],
            open: m(close.clone()),
            high: m(close.clone()),
            low: m(close.clone()),
            close: m(close.clone()),
            vwap: m(close.clone()),
            volume: m(vec![1.0; n]),
            volume_raw: m(vec![1.0; n]),
            close_raw: m(close.clone()),
            member: m(vec![1.0; n]),
            delisted: vec![None],
            known: crate::types::PointInTime::default(),
        };
        let scores = Momentum::default().scores(&panel);
        assert!(scores.at(0, 251).is_nan());
        assert_eq!(scores.at(0, 260), (close[239] / close[8]).ln());
        assert_eq!(Momentum::default().scores(&panel.truncated(260)).at(0, 260), scores.at(0, 260));
    }
}
