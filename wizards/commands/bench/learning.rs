//! Learning and scoring: cross-validated boosting over one binned table, and inference.

use super::Bench;
use super::inputs::Array;
use super::made;
use super::measure::{Job, checksum, decimals, significant};
use data_layer::error::Result;
use engine::models::gbdt::trees::Forest;
use engine::models::gbdt::{Binned, Params, Rows, round_features};
use rayon::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;

/// Groups of days, of which two are held out at a time.
const GROUPS: usize = 8;

fn params(rounds: usize) -> Params {
    let extra = BTreeMap::from([("feature_fraction".to_string(), "0.8".to_string())]);
    Params {
        objective: "regression".into(),
        rounds,
        learning_rate: 0.05,
        num_leaves: 31,
        min_data_in_leaf: 100,
        max_bin: 255,
        seed: 7,
        extra,
        ..Params::default()
    }
}

/// The table `train_X.npy`, `train_y.npy`, `train_day.npy`.
struct Table {
    features: Vec<f32>,
    cols: usize,
    labels: Vec<f32>,
    weights: Vec<f32>,
    names: Vec<String>,
    days: Vec<f64>,
}

impl Table {
    fn read(bench: &Bench<'_>) -> Result<Self> {
        let [features, labels, days] = if bench.inputs.are_made() {
            made::table(bench.scale)
        } else {
            [bench.inputs.array("train_X.npy")?, bench.inputs.array("train_y.npy")?, bench.inputs.array("train_day.npy")?]
        };
        let Array { rows, cols, values } = features;
        let names = (0..cols).map(|c| format!("f{c}")).collect();
        let labels = round_features(&labels.values);
        Ok(Self { features: round_features(&values), cols, labels, weights: vec![1.0; rows], names, days: days.values })
    }
    fn rows(&self) -> Rows<'_> {
        Rows { features: &self.features, labels: &self.labels, weights: &self.weights, names: &self.names, days: &[] }
    }
    /// The features of some rows, row-major.
    fn of(&self, rows: &[u32]) -> Vec<f32> {
        rows.iter().flat_map(|r| &self.features[*r as usize * self.cols..][..self.cols]).copied().collect()
    }
}

/// Row numbers to learn from and to score.
struct Fold {
    train: Vec<u32>,
    test: Vec<u32>,
}

/// All 28 splits: rows within the label horizon before, or the embargo after, a held-out group are not learnt from.
fn folds(days: &[f64]) -> Vec<Fold> {
    let last = days.last().copied().unwrap_or(0.0) + 1.0;
    let edges: Vec<f64> = (0..=GROUPS).map(|g| (last * g as f64 / GROUPS as f64).floor()).collect();
    let quarter = ((edges[1] - edges[0]) / 4.0).floor().max(1.0);
    let (embargo, horizon) = (10.0_f64.min(quarter), 5.0_f64.min(quarter));
    let pick = |keep: &dyn Fn(f64) -> bool| (0..days.len()).filter(|r| keep(days[*r])).map(|r| r as u32).collect::<Vec<u32>>();
    let pairs = (0..GROUPS).flat_map(|a| (a + 1..GROUPS).map(move |b| [a, b]));
    pairs
        .map(|held| {
            let inside = |d: f64| held.iter().any(|g| d >= edges[*g] && d < edges[g + 1]);
            let near = |d: f64| held.iter().any(|g| d >= edges[*g] - horizon && d < edges[g + 1] + embargo);
            Fold { train: pick(&|d| !near(d)), test: pick(&inside) }
        })
        .collect()
}

/// 28 fits and their out-of-fold scores. The table is binned once, inside the clock.
pub fn cpcv_train(bench: &mut Bench<'_>) -> Result<()> {
    let table = Table::read(bench)?;
    let folds = folds(&table.days);
    let rounds = bench.scale.pick(20, 50, 100);
    let params = params(rounds);
    let job = Job::new("cpcv_train", folds.len() * rounds, "trees").repeats(2);
    let line = bench.clock.measure(
        job,
        || Ok(()),
        |()| {
            let binned = Binned::new(&table.rows(), &params)?;
            let fit = |fold: &Fold| {
                let scores = binned.fit(&fold.train, &params, &table.of(&fold.test))?.scores;
                let truth: Vec<f64> = fold.test.iter().map(|r| f64::from(table.labels[*r as usize])).collect();
                Ok((correlation(&scores, &truth), scores.iter().map(|s| s.abs()).sum::<f64>()))
            };
            folds.par_iter().map(fit).collect::<Result<Vec<_>>>()
        },
        |scored: Vec<(f64, f64)>| {
            let mean = scored.iter().map(|s| s.0).sum::<f64>() / scored.len() as f64;
            Ok(json!({"splits": scored.len(), "mean_ic": decimals(mean, 4), "abs_pred": significant(scored.iter().map(|s| s.1).sum(), 5)}))
        },
    )?;
    bench.lines.push(line);
    Ok(())
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let (ma, mb) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let (mut cov, mut va, mut vb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        cov += (x - ma) * (y - mb);
        va += (x - ma).powi(2);
        vb += (y - mb).powi(2);
    }
    cov / (va * vb).sqrt()
}

/// Scores of a model of 100, 200 or 500 trees, learnt on the table's first 200,000 rows.
pub fn infer(bench: &mut Bench<'_>) -> Result<()> {
    let table = Table::read(bench)?;
    let all: Vec<u32> = (0..table.labels.len().min(200_000) as u32).collect();
    let params = params(bench.scale.pick(100, 200, 500));
    let forest = Forest::parse(&Binned::new(&table.rows(), &params)?.fit(&all, &params, &[])?.text)?;
    for rows in [5, 500, 20_000] {
        let rows = rows.min(table.labels.len());
        let block = &table.features[..rows * table.cols];
        let again = (20_000 / rows / 4).max(1);
        let line = bench.clock.measure(
            Job::new("gbdt_infer", again * rows, "rows").batch(rows),
            || Ok(()),
            |()| {
                let mut scores = Vec::new();
                for _ in 0..again {
                    scores = forest.predict_rows(block);
                }
                Ok(scores)
            },
            |scores| Ok(checksum(&scores)),
        )?;
        bench.lines.push(line);
    }
    Ok(())
}
