//! Simple models on the same splits: what the trees must beat to be worth their trouble. They are compared, never chosen.

use crate::backtest;
use crate::backtest::metric::{ic, sharpe};
use crate::execution::cost::CostModel;
use crate::models::rank::{MIN_BREADTH, spearman};
use crate::models::ridge::Sums;
use crate::pipelines::cv::{self, or_note};
use crate::pipelines::splits::{Work, labelled_rows};
use crate::validation::cpcv::Split;
use data_layer::error::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Penalty of the ridge, in mean variances of a feature.
const LAMBDA: f64 = 1e-2;
/// Training dates on which single features are compared, evenly spaced.
const DATES: usize = 120;

/// What a simple model scored out of sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SimpleReport {
    /// `ridge`, or `best single feature`.
    pub name: String,
    pub mean_ic: Option<f64>,
    pub t: Option<f64>,
    pub sharpe_annual: Option<f64>,
}

impl SimpleReport {
    pub fn sentence(&self) -> String {
        let number = |v: Option<f64>, digits: usize| v.map_or("undefined".to_string(), |v| format!("{v:.digits$}"));
        text!("baseline: {}, mean rank IC {} (t {}), net Sharpe {}", self.name, number(self.mean_ic, 4), number(self.t, 1), number(self.sharpe_annual, 2))
    }
}

/// Ridge and the best single feature, learnt and judged on the given splits.
pub(crate) fn compare(work: &Work<'_>, on: &[Split], undefined: &mut BTreeMap<String, String>) -> Result<Vec<SimpleReport>> {
    let mut out = Vec::new();
    for (name, fit) in [("ridge", ridge as Fit), ("best single feature", best_feature as Fit)] {
        let p = work.prepared;
        let mut scores = vec![f64::NAN; p.n_rows()];
        for split in on {
            let train = labelled_rows(p, &p.labels, &split.train_days);
            let Some(score) = or_note(fit(work, &train), name, undefined)? else { continue };
            for r in split.test_days.iter().flat_map(|d| p.rows_of(*d)) {
                scores[r] = score(p.row(r));
            }
        }
        let scores = cv::to_matrix(p, &scores);
        let summary = or_note(ic::summarise(&p.panel.days, &cv::daily_ic(p, &scores)?, work.pinned.config.label.horizon), name, undefined)?;
        let rule = &work.pinned.config.portfolio;
        let run = backtest::run(&p.panel, p.admitted.through(scores).signal(), rule, &CostModel::flat(rule.cost_bps_round_trip), p.cv_days.clone());
        let sharpe_annual = or_note(run.and_then(|r| sharpe::annualised(&r.net)), name, undefined)?;
        out.push(SimpleReport { name: name.into(), mean_ic: summary.as_ref().map(|s| s.mean), t: summary.map(|s| s.t), sharpe_annual });
    }
    Ok(out)
}

type Score = Box<dyn Fn(&[f32]) -> f64>;
type Fit = fn(&Work<'_>, &[u32]) -> Result<Score>;

fn ridge(work: &Work<'_>, train: &[u32]) -> Result<Score> {
    let p = work.prepared;
    let mut sums = Sums::new(p.names.len());
    for r in train.iter().map(|r| *r as usize) {
        sums.add(p.row(r), p.labels[r], p.weights[r]);
    }
    let line = sums.solve(LAMBDA)?;
    Ok(Box::new(move |row| line.predict(row)))
}

/// The feature with the largest mean rank correlation in training, in its direction there.
fn best_feature(work: &Work<'_>, train: &[u32]) -> Result<Score> {
    let p = work.prepared;
    let mut days: Vec<u32> = train.iter().map(|r| p.day[*r as usize]).collect();
    days.dedup();
    let step = days.len().div_ceil(DATES).max(1);
    let mut total = vec![0.0; p.names.len()];
    for day in days.iter().step_by(step) {
        let rows: Vec<usize> = p.rows_of(*day as usize).filter(|r| p.labels[*r].is_finite()).collect();
        for (f, sum) in total.iter_mut().enumerate() {
            let known: Vec<usize> = rows.iter().copied().filter(|r| p.row(*r)[f].is_finite()).collect();
            let x: Vec<f64> = known.iter().map(|r| f64::from(p.row(*r)[f])).collect();
            let y: Vec<f64> = known.iter().map(|r| p.labels[*r]).collect();
            // A feature that is the same for every name orders nobody.
            *sum += spearman(&x, &y, MIN_BREADTH).unwrap_or(0.0);
        }
    }
    let best = (0..total.len()).fold(0, |best, f| if total[f].abs() > total[best].abs() { f } else { best });
    let sign = if total.get(best).copied().unwrap_or(0.0) < 0.0 { -1.0 } else { 1.0 };
    Ok(Box::new(move |row| row.get(best).filter(|v| v.is_finite()).map_or(f64::NAN, |v| sign * f64::from(*v))))
}
