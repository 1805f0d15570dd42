//! Fitting splits in parallel and keeping each one's out-of-sample scores.
//!
//! A split's scores are a checkpoint: a small Parquet file and a JSON file with its digest, written after it. A run that is
//! killed in split 17 continues with split 17; a checkpoint that does not verify is made again.

use crate::backtest::metric::ic;
use crate::models::gbdt::{Binned, Params, Rows, target};
use crate::pipelines::config::Cell;
use crate::pipelines::prepare::to_matrix;
use crate::pipelines::train::{Pinned, Prepared};
use crate::types::Progress;
use crate::validation::cpcv::Split;
use data_layer::error::{Error, Result, code};
use data_layer::root::{DataPath, DataRoot};
use data_layer::store;
use polars::prelude::{DataFrame, NamedFrom, Series};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};

/// Who works on what, and who is told.
pub(crate) struct Work<'a> {
    pub root: &'a DataRoot,
    pub pinned: &'a Pinned,
    pub prepared: &'a Prepared,
    pub progress: &'a dyn Progress,
    pub threads: usize,
}

/// Cells to be fitted on splits, with labels that may not be the real ones.
pub(crate) struct Batch<'a> {
    /// Names the checkpoints of a batch; empty for cross-validation itself. The labels are a function of the prepared rows
    /// and this name.
    pub tag: &'a str,
    /// One per row; `NaN` = none.
    pub labels: &'a [f64],
    pub cells: &'a [Cell],
    pub splits: &'a [Split],
}

/// What verifies a checkpoint.
#[derive(Serialize, Deserialize, PartialEq)]
struct Seal {
    config_sha256: String,
    inputs_sha256: String,
    split: usize,
    rows: usize,
    sha256: String,
    /// Mean rank IC over the test sessions, for whoever watches; decides nothing. `None` where it is undefined.
    #[serde(default)]
    rank_ic: Option<f64>,
}

impl Work<'_> {
    /// Fit whatever has no checkpoint yet.
    pub(crate) fn run(&self, batch: &Batch<'_>) -> Result<()> {
        let p = self.prepared;
        let mut pending = Vec::new();
        for cell in batch.cells {
            for split in batch.splits {
                if load(self.root, self.pinned, p, batch.tag, cell, split)?.is_none() {
                    pending.push((cell, split));
                }
            }
        }
        let what = if batch.tag.is_empty() { term!("cross-validation") } else { batch.tag };
        let total = (batch.cells.len() * batch.splits.len()) as u64;
        let done = AtomicU64::new(total - pending.len() as u64);
        self.progress.tick(done.load(Ordering::SeqCst), total, what);
        let Some((first, _)) = pending.first() else { return Ok(()) };
        let binned = binned(p, batch.labels, &first.params)?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads.max(1)).build().map_err(|e| Error::bug(text!("no worker threads: {e}")))?;
        pool.install(|| {
            pending.par_iter().try_for_each(|(cell, split)| {
                self.root.host().check_cancelled()?;
                self.fit(batch, &binned, cell, split)?;
                let so_far = done.fetch_add(1, Ordering::SeqCst) + 1;
                self.progress.tick(so_far, total, what);
                Ok(())
            })
        })
    }

    fn fit(&self, batch: &Batch<'_>, binned: &Binned, cell: &Cell, split: &Split) -> Result<()> {
        let (root, pinned, p) = (self.root, self.pinned, self.prepared);
        let train = labelled_rows(p, batch.labels, &split.train_days);
        let test = test_rows(p, split);
        if train.is_empty() || test.is_empty() {
            return Err(Error::new(code::DATA_MISSING, text!("split {} has no rows to train on or to test", split.id)).fix("trademl pi-data-node"));
        }
        let features: Vec<f32> = test.iter().flat_map(|r| p.row(*r as usize).iter().copied()).collect();
        let params = stopped(pinned, p, batch.labels, binned, &cell.params, &split.train_days)?;
        let fitted = binned.fit(&train, &params, &features)?;
        let rank_ic = rank_ic(p, batch.labels, split, &test, &fitted.scores)?;
        let columns = vec![Series::new("row".into(), test.clone()).into(), Series::new("score".into(), fitted.scores).into()];
        let mut frame = DataFrame::new(test.len(), columns)?;
        let info = store::write_parquet(root, &checkpoint(pinned, batch.tag, cell, split, "parquet")?, &mut frame)?;
        let seal = Seal { rank_ic, ..seal_of(p, batch.tag, cell, split, test.len(), info.sha256) };
        store::write_atomic(root, &checkpoint(pinned, batch.tag, cell, split, "json")?, store::canonical_json(&seal)?.as_bytes())?;
        root.host().failpoint("checkpoint.after")
    }
}

fn seal_of(p: &Prepared, tag: &str, cell: &Cell, split: &Split, rows: usize, sha256: String) -> Seal {
    // Other labels, or other training days under the same number, are other inputs.
    let days = split.train_days.len() + split.train_days.first().copied().unwrap_or(0);
    let inputs_sha256 = if tag.is_empty() { p.inputs_sha256.clone() } else { format!("{} {tag} {days}", p.inputs_sha256) };
    Seal { config_sha256: cell.config_sha256.clone(), inputs_sha256, split: split.id, rows, sha256, rank_ic: None }
}

/// Mean over the split's test sessions of the rank correlation of score and label.
fn rank_ic(p: &Prepared, labels: &[f64], split: &Split, test: &[u32], scores: &[f64]) -> Result<Option<f64>> {
    let (mut score, mut label) = (vec![f64::NAN; p.n_rows()], vec![f64::NAN; p.n_rows()]);
    for (row, s) in test.iter().zip(scores) {
        (score[*row as usize], label[*row as usize]) = (*s, labels[*row as usize]);
    }
    let daily = ic::per_date(&to_matrix(p, &score), &to_matrix(p, &label))?;
    let known: Vec<f64> = split.test_days.iter().filter_map(|d| daily[*d]).collect();
    Ok((!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64))
}

/// How a split stands: not finished, or finished with its mean rank IC, which may be undefined.
pub type Standing = Option<Option<f64>>;

/// How far cross-validation has come: each configuration of the grid with every split, read from the checkpoints without
/// verifying them.
pub fn so_far(root: &DataRoot, pinned: &Pinned) -> Result<Vec<(Cell, Vec<Standing>)>> {
    let splits = pinned.config.cpcv().n_splits();
    let one = |cell: &Cell, id: usize| -> Result<Standing> {
        let path = pinned.work()?.join(&format!("cell-{}/split-{id:02}.json", &cell.config_sha256[..8]))?;
        let seal = store::read(root, &path)?.and_then(|bytes| serde_json::from_slice::<Seal>(&bytes).ok());
        Ok(seal.map(|s| s.rank_ic))
    };
    let row = |cell: Cell| Ok(((0..splits).map(|id| one(&cell, id)).collect::<Result<Vec<_>>>()?, cell));
    pinned.config.cells()?.into_iter().map(row).map(|r| r.map(|(ics, cell)| (cell, ics))).collect()
}

/// The prepared rows in bins, with what the objective asks of `labels` (one a row; `NaN` = none).
pub(crate) fn binned(p: &Prepared, labels: &[f64], params: &Params) -> Result<Binned> {
    let labels = target::targets(&params.objective, labels, &p.day)?;
    let weights: Vec<f32> = p.weights.iter().map(|w| *w as f32).collect();
    Binned::new(&Rows { features: &p.features, labels: &labels, weights: &weights, names: &p.names, days: &p.day }, params)
}

/// Rows of the given days that have a label, in order.
pub(crate) fn labelled_rows(p: &Prepared, labels: &[f64], days: &[usize]) -> Vec<u32> {
    let all = days.iter().flat_map(|d| p.rows_of(*d));
    all.filter(|r| labels[*r].is_finite()).filter_map(|r| u32::try_from(r).ok()).collect()
}

/// The parameters with the number of rounds that the newest training days ask for, where the configuration wants that. A
/// label of the older days that reaches into the newest ones is not learnt from.
pub(crate) fn stopped(pinned: &Pinned, p: &Prepared, labels: &[f64], binned: &Binned, params: &Params, train_days: &[usize]) -> Result<Params> {
    let Some(early) = pinned.config.model.early_stopping else { return Ok(params.clone()) };
    let newest = train_days.len() - ((train_days.len() as f64 * early.valid_share) as usize).clamp(1, train_days.len());
    let Some(first) = train_days.get(newest) else { return Ok(params.clone()) };
    let older: Vec<usize> = train_days[..newest].iter().copied().filter(|d| d + pinned.config.label.span() < *first).collect();
    let (train, valid) = (labelled_rows(p, labels, &older), labelled_rows(p, labels, &train_days[newest..]));
    if train.is_empty() || valid.is_empty() {
        return Err(
            Error::new(code::DATA_MISSING, "a training fold is too short to stop early on").fix("take model.early_stopping out of the training configuration")
        );
    }
    Ok(Params { rounds: binned.best_rounds(&train, &valid, early.patience, params)?, ..params.clone() })
}

fn test_rows(p: &Prepared, split: &Split) -> Vec<u32> {
    split.test_days.iter().flat_map(|d| p.rows_of(*d)).filter_map(|r| u32::try_from(r).ok()).collect()
}

fn checkpoint(pinned: &Pinned, tag: &str, cell: &Cell, split: &Split, extension: &str) -> Result<DataPath> {
    let dash = if tag.is_empty() { "" } else { "-" };
    pinned.work()?.join(&format!("cell-{}/{tag}{dash}split-{:02}.{extension}", &cell.config_sha256[..8], split.id))
}

/// Remove the scores of a run whose artifact is whole; they are half a gigabyte of 500 names and 15 years. What stays is small: each split's
/// seal, which a screen shows, and the daily returns of each configuration, which the probability of overfitting is made of as long as
/// there is a model of this snapshot.
pub fn clear(root: &DataRoot, pinned: &Pinned) -> Result<()> {
    let scores = |path: &DataPath| path.file_name().contains("split-") && path.file_name().ends_with(".parquet");
    store::list(root, &pinned.work()?)?.iter().filter(|path| scores(path)).try_for_each(|path| store::remove(root, path))
}

/// A split's scores `(row, score)`, or none when there is no checkpoint that verifies.
pub(crate) fn load(root: &DataRoot, pinned: &Pinned, p: &Prepared, tag: &str, cell: &Cell, split: &Split) -> Result<Option<Vec<(u32, f64)>>> {
    let Some(seal) = store::read(root, &checkpoint(pinned, tag, cell, split, "json")?)? else { return Ok(None) };
    let Ok(seal) = serde_json::from_slice::<Seal>(&seal) else { return Ok(None) };
    let Some(bytes) = store::read(root, &checkpoint(pinned, tag, cell, split, "parquet")?)? else { return Ok(None) };
    let expected = test_rows(p, split);
    if (Seal { rank_ic: None, ..seal }) != seal_of(p, tag, cell, split, expected.len(), store::sha256_hex(&bytes)) {
        return Ok(None);
    }
    let frame = store::parquet_frame(bytes)?;
    let rows: Vec<u32> = frame.column("row")?.u32()?.iter().flatten().collect();
    let scores: Vec<f64> = frame.column("score")?.f64()?.iter().flatten().collect();
    Ok((rows == expected && scores.len() == rows.len()).then(|| rows.into_iter().zip(scores).collect()))
}

/// Each row's mean out-of-sample score over the splits that tested it; `NaN` where none did.
pub(crate) fn mean_scores(root: &DataRoot, pinned: &Pinned, p: &Prepared, tag: &str, cell: &Cell, splits: &[Split]) -> Result<Vec<f64>> {
    let (mut sum, mut count) = (vec![0.0; p.n_rows()], vec![0u32; p.n_rows()]);
    for split in splits {
        let scores = load(root, pinned, p, tag, cell, split)?
            .ok_or_else(|| Error::new(code::SSD_DAMAGED, text!("the checkpoint of split {} is gone", split.id)).fix("trademl train"))?;
        for (row, score) in scores {
            sum[row as usize] += score;
            count[row as usize] += 1;
        }
    }
    Ok(sum.into_iter().zip(count).map(|(s, n)| if n == 0 { f64::NAN } else { s / f64::from(n) }).collect())
}
