//! Gradient-boosted trees: LightGBM learns, our own evaluator ([`trees`]) serves.
//!
//! Features are rounded to float32 before training and before prediction, everywhere: the ONNX runtime compares float32,
//! and a float64 value within one float32 step above a threshold would take the other branch there.

mod ffi;
mod lanes;
pub mod target;
pub mod trees;

use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Row-major features (`rows x cols`, float32; `NaN` = missing) with one label and one weight per row.
pub struct Rows<'a> {
    pub features: &'a [f32],
    pub labels: &'a [f32],
    pub weights: &'a [f32],
    pub names: &'a [String],
    /// The day of each row, ascending: what a ranking ranks within. Other objectives need none.
    pub days: &'a [u32],
}

/// What LightGBM is told. `extra` holds any further parameter by its LightGBM name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Params {
    pub objective: String,
    pub rounds: usize,
    pub learning_rate: f64,
    pub num_leaves: u32,
    pub min_data_in_leaf: u32,
    pub max_bin: u32,
    pub seed: u64,
    /// Features whose values are categories: whole numbers from 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categorical: Vec<String>,
    /// Features that may only raise (1) or only lower (-1) the score.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub monotone: BTreeMap<String, i8>,
    #[serde(default)]
    pub extra: BTreeMap<String, String>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            objective: "regression".into(),
            rounds: 100,
            learning_rate: 0.05,
            num_leaves: 31,
            min_data_in_leaf: 100,
            max_bin: 255,
            seed: 1,
            categorical: Vec::new(),
            monotone: BTreeMap::new(),
            extra: BTreeMap::new(),
        }
    }
}

/// Parameters that make two fits of the same rows equal byte for byte, whatever the machine's number of cores.
const PINNED: &str = "deterministic=true force_row_wise=true num_threads=1 verbosity=-1";

impl Params {
    /// What decides the binning; the same for every cell of a search. `feature_pre_filter` would drop features by one
    /// cell's `min_data_in_leaf`, so it is off.
    fn for_table(&self, names: &[String]) -> Result<String> {
        let mut out = text!("{PINNED} max_bin={} feature_pre_filter=false data_random_seed={}", self.max_bin, self.seed);
        if !self.categorical.is_empty() {
            let places = self.categorical.iter().map(|name| Ok(place(names, name)?.to_string())).collect::<Result<Vec<_>>>()?;
            out.push_str(&format!(" categorical_feature={}", places.join(",")));
        }
        Ok(out)
    }

    fn for_learner(&self, names: &[String]) -> Result<String> {
        let metric = match self.objective.as_str() {
            "binary" => "binary_logloss",
            "lambdarank" => "ndcg",
            _ => "l2",
        };
        let mut out = text!(
            "{PINNED} objective={} metric={metric} learning_rate={} num_leaves={} min_data_in_leaf={} max_bin={} feature_pre_filter=false seed={}",
            self.objective,
            self.learning_rate,
            self.num_leaves,
            self.min_data_in_leaf,
            self.max_bin,
            self.seed
        );
        if !self.monotone.is_empty() {
            let mut signs = vec![0_i8; names.len()];
            for (name, sign) in &self.monotone {
                signs[place(names, name)?] = sign.signum();
            }
            let signs: Vec<String> = signs.iter().map(ToString::to_string).collect();
            out.push_str(&format!(" monotone_constraints={}", signs.join(",")));
        }
        if self.ranks() {
            let gains: Vec<String> = (0..target::GRADES).map(|g| g.to_string()).collect();
            out.push_str(&text!(" label_gain={} eval_at=10", gains.join(",")));
        }
        for (name, value) in &self.extra {
            out.push_str(&format!(" {name}={value}"));
        }
        Ok(out)
    }
}

impl Params {
    fn ranks(&self) -> bool {
        self.objective == "lambdarank"
    }
}

/// Column of a feature that a parameter names.
fn place(names: &[String], name: &str) -> Result<usize> {
    names
        .iter()
        .position(|n| n == name)
        .ok_or_else(|| Error::new(code::CFG_VALUE, text!("a parameter of the learner names the feature '{name}', which is not there")).found(names.join(" ")))
}

/// A binned table that serves every split and every cell of a search.
pub struct Binned {
    table: ffi::Table,
    names: Vec<String>,
    days: Vec<u32>,
}

/// The outcome of a fit: the model's text and the raw scores asked for.
pub struct Fitted {
    pub text: String,
    pub scores: Vec<f64>,
}

impl Binned {
    /// Bin the rows once. Labels and weights must be finite (an unlabelled row may hold 0 if no fit will use it).
    pub fn new(rows: &Rows<'_>, params: &Params) -> Result<Self> {
        if rows.labels.iter().chain(rows.weights).any(|v| !v.is_finite()) {
            return Err(Error::new(code::ML_UNDEFINED, "a label or a weight offered to the learner is not a number"));
        }
        let table = ffi::Table::from_rows(rows.features, rows.names.len(), rows.labels, rows.weights, rows.names, &params.for_table(rows.names)?)?;
        Ok(Self { table, names: rows.names.to_vec(), days: rows.days.to_vec() })
    }

    /// The given rows; for a ranking with what belongs together.
    fn subset(&self, rows: &[u32], params: &Params) -> Result<ffi::Table> {
        let subset = self.table.subset(rows)?;
        if params.ranks() {
            subset.set_groups(&target::groups(rows, &self.days)?)?;
        }
        Ok(subset)
    }

    /// Learn from `train` (ascending row numbers) and score `score` (row-major features).
    pub fn fit(&self, train: &[u32], params: &Params, score: &[f32]) -> Result<Fitted> {
        let subset = self.subset(train, params)?;
        let learner = ffi::Learner::train(&subset, &params.for_learner(&self.names)?, params.rounds, None)?;
        Ok(Fitted { text: learner.model_text()?, scores: learner.predict(score)? })
    }

    /// How many rounds are best on the rows of `valid` (ascending, disjoint from `train`): learning stops when `patience`
    /// rounds brought nothing. At least 1.
    pub fn best_rounds(&self, train: &[u32], valid: &[u32], patience: usize, params: &Params) -> Result<usize> {
        let (subset, held_out) = (self.subset(train, params)?, self.subset(valid, params)?);
        // Of a ranking's metric more is better, of the others less.
        let stop = ffi::Stop { held_out: &held_out, patience, sign: if params.ranks() { -1.0 } else { 1.0 } };
        let learner = ffi::Learner::train(&subset, &params.for_learner(&self.names)?, params.rounds, Some(stop))?;
        Ok(trees::Forest::parse(&learner.model_text()?)?.len().max(1))
    }
}

/// LightGBM's own raw scores of a saved model, for the parity check with our evaluator.
pub fn lightgbm_scores(model_text: &str, features: &[f32], cols: usize) -> Result<Vec<f64>> {
    ffi::Learner::from_text(model_text, cols)?.predict(features)
}

/// Round to float32, the only precision in which features reach a model.
pub fn round_features(values: &[f64]) -> Vec<f32> {
    values.iter().map(|v| *v as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::trees::Forest;
    use super::*;
    use serde_json::Value;

    fn golden(name: &str) -> Value {
        let text = match name {
            "regression_l2" => include_str!("../../../tests/golden/lightgbm/regression_l2.json"),
            _ => include_str!("../../../tests/golden/lightgbm/binary.json"),
        };
        serde_json::from_str(text).unwrap()
    }

    fn numbers(v: &Value) -> Vec<f64> {
        v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap_or(f64::NAN)).collect()
    }

    fn cells(text: &str) -> Vec<f64> {
        text.lines().skip(1).flat_map(|l| l.split(',').map(|c| c.parse().unwrap_or(f64::NAN)).collect::<Vec<f64>>()).collect()
    }

    /// The first `n` training rows of the golden data set: names, features, labels, weights.
    pub(crate) fn training_rows(n: usize) -> (Vec<String>, Vec<f32>, Vec<f32>, Vec<f32>) {
        let text = include_str!("../../../tests/golden/lightgbm/dataset.csv");
        let header: Vec<&str> = text.lines().next().unwrap().split(',').collect();
        let names: Vec<String> = header[2..10].iter().map(|s| (*s).to_string()).collect();
        let (mut x, mut y, mut w) = (Vec::new(), Vec::new(), Vec::new());
        for line in text.lines().skip(1).take(n) {
            let f: Vec<f64> = line.split(',').skip(2).map(|c| c.parse().unwrap_or(f64::NAN)).collect();
            x.extend(round_features(&f[..8]));
            y.push(f[8] as f32);
            w.push(f[9] as f32);
        }
        (names, x, y, w)
    }

    fn small() -> Params {
        Params { rounds: 25, learning_rate: 0.1, num_leaves: 15, min_data_in_leaf: 20, max_bin: 63, seed: 7, ..Params::default() }
    }

    #[test]
    fn our_evaluator_reproduces_the_golden_predictions_bit_for_bit() {
        for (name, model, table) in [
            (
                "regression_l2",
                include_str!("../../../tests/golden/lightgbm/regression_l2.model.txt"),
                include_str!("../../../tests/golden/lightgbm/regression_l2_X.csv"),
            ),
            ("binary", include_str!("../../../tests/golden/lightgbm/binary.model.txt"), include_str!("../../../tests/golden/lightgbm/binary_X.csv")),
        ] {
            let forest = Forest::parse(model).unwrap();
            let expected = golden(name);
            let rows = cells(table);
            let raw: Vec<f64> = rows.chunks(8).map(|r| forest.raw(r)).collect();
            assert_eq!(raw, numbers(&expected["expected"]["raw_score"]), "{name}");
            let prediction: Vec<f64> = rows.chunks(8).map(|r| forest.predict(r)).collect();
            for (got, want) in prediction.iter().zip(numbers(&expected["expected"]["prediction"])) {
                assert!((got - want).abs() <= 1e-15, "{name}: {got} against {want}");
            }
        }
    }

    #[test]
    fn a_category_that_was_never_seen_goes_right_and_damaged_sets_are_refused() {
        let text = include_str!("../../../tests/golden/lightgbm/regression_l2_categorical.model.txt");
        let forest = Forest::parse(text).unwrap();
        let with = |dow: f64| forest.raw(&[0.0, 0.0, 0.0, 0.02, 0.0, 0.0, 0.0, dow]);
        assert_eq!(with(99.0), with(f64::NAN));
        assert_eq!(with(99.0), with(1e300));
        assert!(Forest::parse(&text.replace("cat_boundaries=0 1", "cat_boundaries=0 7")).unwrap_err().is(code::ML_ARTIFACT));
    }

    #[test]
    fn a_monotone_feature_never_lowers_the_score() {
        let (names, x, y, w) = training_rows(672);
        let rows = Rows { features: &x, labels: &y, weights: &w, names: &names, days: &[] };
        let params = Params { monotone: BTreeMap::from([("mom_5".to_string(), 1)]), ..small() };
        let all: Vec<u32> = (0..672).collect();
        let forest = Forest::parse(&Binned::new(&rows, &params).unwrap().fit(&all, &params, &x).unwrap().text).unwrap();
        let with = |v: f64| forest.raw(&[v, 0.01, 0.02, 0.02, -0.05, 0.0, 0.0, 1.0]);
        let scores: Vec<f64> = (-20..=20).map(|i| with(f64::from(i) / 100.0)).collect();
        assert!(scores.windows(2).all(|p| p[0] <= p[1]));
        let unknown = Params { categorical: vec!["nowhere".into()], ..small() };
        assert!(Binned::new(&rows, &unknown).err().unwrap().is(code::CFG_VALUE));
    }

    #[test]
    fn training_reproduces_the_golden_model_and_is_deterministic() {
        let (names, x, y, w) = training_rows(672);
        let rows = Rows { features: &x, labels: &y, weights: &w, names: &names, days: &[] };
        let all: Vec<u32> = (0..672).collect();
        let fit = || Binned::new(&rows, &small()).unwrap().fit(&all, &small(), &x).unwrap();
        let (a, b) = (fit(), fit());
        assert_eq!(a.text, b.text);
        let forest = Forest::parse(&a.text).unwrap();
        let ours: Vec<f64> = x.chunks(8).map(|r| forest.raw(r)).collect();
        assert_eq!(ours, a.scores, "our evaluator and LightGBM differ");
        assert_eq!(lightgbm_scores(&a.text, &x, 8).unwrap(), a.scores, "a saved model predicts otherwise");
        let table = cells(include_str!("../../../tests/golden/lightgbm/regression_l2_X.csv"));
        let want = numbers(&golden("regression_l2")["expected"]["raw_score"]);
        let differing = table.chunks(8).zip(&want).filter(|(r, w)| (forest.raw(&round_features(r)) - **w).abs() > 1e-9).count();
        assert!(differing <= 1, "{differing} of {} golden predictions differ after retraining", want.len());
    }

    /// Share of pairs of one day that the scores order as the labels do.
    fn ordered(scores: &[f64], y: &[f32], days: &[u32]) -> f64 {
        let (mut right, mut all) = (0.0, 0.0);
        for i in 0..y.len() {
            for j in (i + 1..y.len()).take_while(|j| days[*j] == days[i]).filter(|j| y[*j] != y[i]) {
                all += 1.0;
                right += f64::from(u8::from((scores[i] > scores[j]) == (y[i] > y[j])));
            }
        }
        right / all
    }

    #[test]
    fn a_ranking_and_a_classification_learn_the_order_within_days_deterministically() {
        let (names, x, y, w) = training_rows(672);
        let days: Vec<u32> = (0..672).map(|r| r / 24).collect();
        let labels: Vec<f64> = y.iter().map(|v| f64::from(*v)).collect();
        for objective in ["lambdarank", "binary"] {
            let params = Params { objective: objective.into(), ..small() };
            let asked = target::targets(objective, &labels, &days).unwrap();
            let rows = Rows { features: &x, labels: &asked, weights: &w, names: &names, days: &days };
            // Days with gaps, as purging and missing labels leave them.
            let train: Vec<u32> = (0..672).filter(|r| r % 7 != 3 && !(200..260).contains(r)).collect();
            let fit = || Binned::new(&rows, &params).unwrap().fit(&train, &params, &x).unwrap();
            let (a, b) = (fit(), fit());
            assert_eq!(a.text, b.text, "{objective}");
            let forest = Forest::parse(&a.text).unwrap();
            let raw: Vec<f64> = x.chunks(8).map(|r| forest.raw(r)).collect();
            assert_eq!(raw, a.scores, "{objective}");
            assert!(ordered(&raw, &y, &days) > 0.6, "{objective}: {}", ordered(&raw, &y, &days));
            let (older, newest): (Vec<u32>, Vec<u32>) = ((0..480).collect(), (480..672).collect());
            let rounds = Binned::new(&rows, &params).unwrap().best_rounds(&older, &newest, 3, &Params { rounds: 100, ..params.clone() }).unwrap();
            assert!((1..100).contains(&rounds), "{objective}: {rounds}");
        }
        let params = Params { objective: "lambdarank".into(), ..small() };
        let no_days = Rows { features: &x, labels: &y, weights: &w, names: &names, days: &[] };
        assert!(Binned::new(&no_days, &params).unwrap().fit(&[0, 1], &params, &x).is_err(), "a ranking without days");
    }

    #[test]
    fn subsets_share_one_binning_and_early_stopping_stops() {
        let (names, x, y, w) = training_rows(672);
        let rows = Rows { features: &x, labels: &y, weights: &w, names: &names, days: &[] };
        let binned = Binned::new(&rows, &small()).unwrap();
        let (train, valid): (Vec<u32>, Vec<u32>) = ((0..500).collect(), (500..672).collect());
        let rounds = binned.best_rounds(&train, &valid, 3, &Params { rounds: 200, ..small() }).unwrap();
        assert!((1..200).contains(&rounds), "{rounds}");
        // Two rounds more than the best, which is less than patience: the trees after it are no part of the model.
        let cut = binned.best_rounds(&train, &valid, 3, &Params { rounds: rounds + 2, ..small() }).unwrap();
        assert_eq!(cut, rounds, "the rounds ran out before patience did");
        assert!(binned.fit(&[3, 2], &small(), &x).is_err(), "rows out of order");
        assert!(binned.fit(&[9_999], &small(), &x).is_err(), "rows outside the table");
    }
}
