//! Every stored vector is recomputed: `tests/golden`, or the folder that `TRADEML_GOLDEN` names.
//!
//! A case is a JSON file with a `function`, `inputs`, `expected` values and its own `tolerance`; tables lie beside it as
//! CSV. The runner walks the folder, hands each case to the function it names, and reports every value that differs. A
//! topic that is not built stands in [`NOT_BUILT`] with the reason; any other unknown function fails, so that new vectors
//! need no code and cannot be forgotten.

mod case;
mod dates;
mod luck;
mod models;
mod money;
mod prices;
mod rules;
mod sizes;
mod vignette;

use case::{Case, Checked};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Computes what a case expects, in the shape of its `expected`.
type Runner = fn(&Case) -> Checked;

/// How a function's name begins, and what computes it; the first that fits.
const RUNNERS: &[(&str, Runner)] = &[
    ("Alpha158 (158 features) for one instrument", prices::alpha158),
    ("Alpha158 field expressions", prices::alpha158_fields),
    ("compute_equity_features", prices::equity_features),
    ("per-date cross-sectional z-score / rank transform", prices::cross_sections),
    ("forward k-session simple return labels", prices::forward_labels),
    ("sigma_t estimators used to scale barriers", prices::barrier_volatility),
    ("triple-barrier labels", prices::triple_barrier),
    ("NYSE calendar: sessions, early closes, offsets, UTC mapping", dates::calendar),
    ("exponential time-decay sample weights", dates::time_decay),
    ("CPCV splits, one symbol, constant label horizon", dates::splits_of_days),
    ("CPCV splits (hand-checkable)", dates::splits_of_days),
    ("CPCV splits, multi-symbol panel with variable label ends", dates::splits_of_rows),
    ("number of splits / paths / path ids", dates::combinatorics),
    ("Brier score, log-loss, reliability curve, ECE", luck::calibration),
    ("Diebold-Mariano test", luck::diebold_mariano),
    ("PSI / KL of current vs training distribution", luck::drift),
    ("residual diagnostics", luck::diagnostics),
    ("Sharpe moments, PSR(0), DSR, MinTRL on real daily returns", luck::sharpe_empirical),
    ("PSR(0) and DSR over a parameter grid", luck::sharpe_grid),
    ("PSR/DSR/SR0/MinTRL/MinBTL on the papers' worked examples", luck::sharpe_published),
    ("DSR of the best of N trials from the trial return matrix", luck::sharpe_trials),
    ("PBO via CSCV (input too large to ship", vignette::overfitting),
    ("PBO via CSCV", luck::overfitting),
    ("performance and tail-risk metrics", money::metrics),
    ("performance metrics, degenerate inputs", money::metrics),
    ("Sharpe / Sortino / Omega, published worked examples (un-annualised)", money::published_ratios),
    ("benchmark-relative metrics", money::relative),
    ("trade statistics; information coefficient per date", money::trades),
    ("fee + half effective spread + square-root impact", money::impact),
    ("Almgren-Chriss optimal liquidation schedule (discrete)", money::almgren_chriss),
    ("Kelly fraction for a binary bet", sizes::kelly_binary),
    ("mean-variance Kelly (single and multi-asset)", sizes::kelly_continuous),
    ("scale weights to a target annualised volatility under a gross cap", sizes::vol_targeting),
    ("scores -> weights (deterministic order of operations)", sizes::weight_pipeline),
    ("LightGBM: model-file prediction and deterministic training", models::lightgbm),
    ("ONNX export/inference parity with LightGBM", models::onnx),
];

/// Topics without a function yet, and why.
const NOT_BUILT: &[(&str, &str)] = &[
    ("delta_hedged_pnl", "no options sleeve yet"),
    ("garch", "no volatility model yet"),
    ("offline_rl", "no learned execution or allocation policy yet"),
    ("options_bs", "no options sleeve yet"),
    ("sarimax", "no time-series model yet"),
    ("ssa", "no time-series model yet"),
    ("svi", "no options sleeve yet"),
    ("ts_features", "no single-series features yet"),
];

/// Topics that must be among the repository's own vectors: an empty folder proves nothing.
const COVERED: &[&str] = &[
    "almgren_chriss",
    "alpha158",
    "calendars",
    "calibration",
    "cpcv",
    "diagnostics",
    "diebold_mariano",
    "drift",
    "dsr_psr",
    "features_equities",
    "impact_cost",
    "labels_forward",
    "labels_triple_barrier",
    "lightgbm",
    "onnx",
    "pbo",
    "risk_metrics",
    "sizing",
    "time_decay_weights",
];

fn own_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn json_files(folder: &Path) -> Vec<PathBuf> {
    let (mut out, mut stack) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(dir) = stack.pop() {
        let entries = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        for path in entries.flatten().map(|e| e.path()) {
            if path.is_dir() {
                stack.push(path);
            } else if path.extension().is_some_and(|e| e == "json") {
                out.push(path);
            }
        }
    }
    out.sort();
    out
}

/// What one file's case came to.
enum Outcome {
    Passed(String),
    NotBuilt(String, &'static str),
    Failed(Vec<String>),
}

fn judge(path: &Path) -> Outcome {
    let case = match Case::read(path) {
        Ok(case) => case,
        Err(why) => return Outcome::Failed(vec![why]),
    };
    let Some((_, runner)) = RUNNERS.iter().find(|(name, _)| case.function().starts_with(name)) else {
        return match NOT_BUILT.iter().find(|(topic, _)| *topic == case.topic()) {
            Some((topic, reason)) => Outcome::NotBuilt((*topic).to_string(), reason),
            None => Outcome::Failed(vec![format!("no function computes '{}' (topic {})", case.function(), case.topic())]),
        };
    };
    // One case that panics must not hide the others.
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runner(&case)));
    let Ok(mut checked) = checked else { return Outcome::Failed(vec!["the function panicked".into()]) };
    checked.failures.extend(rules::compare(&case.doc, &checked.got));
    if checked.failures.is_empty() { Outcome::Passed(case.topic().to_string()) } else { Outcome::Failed(checked.failures) }
}

#[test]
fn golden_vectors_of_every_topic_that_is_built() {
    let named = std::env::var_os("TRADEML_GOLDEN").map(PathBuf::from);
    let folder = named.clone().unwrap_or_else(own_folder);
    let (mut passed, mut waiting, mut failed) = (BTreeMap::<String, usize>::new(), BTreeMap::new(), Vec::new());
    for path in json_files(&folder) {
        let shown = path.strip_prefix(&folder).unwrap_or(&path).display().to_string();
        match judge(&path) {
            Outcome::Passed(topic) => *passed.entry(topic).or_default() += 1,
            Outcome::NotBuilt(topic, reason) => drop(waiting.insert(topic, reason)),
            Outcome::Failed(why) => failed.extend(why.into_iter().map(|w| format!("{shown}: {w}"))),
        }
    }
    for (topic, reason) in &waiting {
        eprintln!("not built: {topic}: {reason}");
    }
    eprintln!("passed: {passed:?}");
    let shown = failed.iter().take(60).cloned().collect::<Vec<_>>().join("\n");
    assert!(failed.is_empty(), "{} differences below {}:\n{shown}", failed.len(), folder.display());
    if named.is_none() {
        let missing: Vec<_> = COVERED.iter().filter(|t| !passed.contains_key(**t)).collect();
        assert!(missing.is_empty(), "no vectors of {missing:?} in {}", folder.display());
    }
    assert!(!passed.is_empty(), "no vectors in {}", folder.display());
}
