//! Which configurations are cross-validated in full: all of a grid, or the survivors of successive halving.
//!
//! Halving (Jamieson and Talwalkar 2016) gives every candidate a little and only the better ones more: a rung fits its
//! candidates on walk-forward blocks, oldest first, trades each one's own scores, and keeps the best by mean rank of net
//! Sharpe over the blocks; ties go by configuration digest. Every candidate is a trial of the ledger, pruned ones too.
//!
//! Which candidates are proposed is the business of a bandit's memory on the drive: per regime, what each configuration
//! earned before. Part of the proposals ignores it, more after a search that found nothing better. The proposals are
//! written down before the first fit, so that a resumed run searches the same ones.

use crate::backtest;
use crate::execution::cost::CostModel;
use crate::models::rank::ranks;
use crate::models::registry::Registry;
use crate::models::trials::Trial;
use crate::pipelines::bandit::{self, Memory};
use crate::pipelines::config::{Cell, Halving};
use crate::pipelines::cv;
use crate::pipelines::splits::{self, Batch, Work};
use crate::pipelines::trial_stats;
use crate::validation::cpcv::Split;
use crate::validation::dsr;
use crate::validation::walk_forward::{self, WalkForward};
use data_layer::error::{Error, Result, code};
use data_layer::root::DataPath;
use data_layer::store;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Candidates of a search in the order in which they were proposed.
#[derive(Serialize, Deserialize)]
struct Proposals {
    inputs_sha256: String,
    config_sha256: Vec<String>,
}

/// The cells to cross-validate in full.
pub(crate) fn cells(work: &Work<'_>) -> Result<Vec<Cell>> {
    let grid = work.pinned.config.cells()?;
    let Some(halving) = &work.pinned.config.search.halving else { return Ok(grid) };
    let regime = bandit::regime(work.prepared);
    let mut alive = proposed(work, &grid, halving, &regime)?;
    let all = alive.clone();
    let blocks = blocks(work, halving)?;
    trial_stats::begin(work.root, work.pinned, &all)?;
    let mut sharpes: Vec<(Cell, Option<f64>)> = Vec::new();
    for (rung, used) in halving.rungs.iter().enumerate() {
        let on = &blocks[..(*used).min(blocks.len())];
        work.run(&Batch { tag: "search", labels: &work.prepared.labels, cells: &alive, splits: on })?;
        let scored: Vec<Vec<Option<f64>>> = alive.iter().map(|cell| scores(work, cell, on)).collect::<Result<_>>()?;
        let order = order(&alive, &scored);
        let keep = if rung + 1 == halving.rungs.len() { halving.finalists } else { alive.len().div_ceil(halving.eta) };
        for (place, i) in order.iter().enumerate() {
            record(work, &alive[*i], rung, mean(&scored[*i]), place < keep)?;
        }
        sharpes.retain(|(cell, _)| !alive.contains(cell));
        sharpes.extend(alive.iter().zip(&scored).map(|(cell, s)| (cell.clone(), mean(s))));
        alive = order.into_iter().take(keep.max(1)).map(|i| alive[i].clone()).collect();
    }
    let earned = all.iter().filter_map(|c| sharpes.iter().find(|(s, _)| s == c)).filter_map(|(c, s)| Some((c.config_sha256.clone(), (*s)?)));
    let mut memory = Memory::load(work.root, &work.pinned.config.family)?;
    if memory.learn(&work.pinned.version, work.pinned.asof, &regime, &earned.collect::<Vec<_>>()) {
        memory.save(work.root, &work.pinned.config.family)?;
    }
    alive.sort_by_key(|c| c.id);
    Ok(alive)
}

fn proposals_path(work: &Work<'_>) -> Result<DataPath> {
    work.pinned.work()?.join("proposals.json")
}

/// The candidates: those written down, or new ones, written down first.
fn proposed(work: &Work<'_>, grid: &[Cell], halving: &Halving, regime: &str) -> Result<Vec<Cell>> {
    let path = proposals_path(work)?;
    let known = store::read(work.root, &path)?.and_then(|bytes| serde_json::from_slice::<Proposals>(&bytes).ok());
    let found = |p: &Proposals| p.config_sha256.iter().map(|sha| grid.iter().find(|c| c.config_sha256 == *sha).cloned()).collect::<Option<Vec<Cell>>>();
    if let Some(cells) = known.filter(|p| p.inputs_sha256 == work.prepared.inputs_sha256).as_ref().and_then(found) {
        return Ok(cells);
    }
    let memory = Memory::load(work.root, &work.pinned.config.family)?;
    let ids: Vec<String> = grid.iter().map(|c| c.config_sha256.clone()).collect();
    let chosen = memory.propose(&ids, halving.candidates, regime, work.pinned.asof, work.pinned.seed);
    let proposals = Proposals { inputs_sha256: work.prepared.inputs_sha256.clone(), config_sha256: chosen.iter().map(|i| ids[*i].clone()).collect() };
    store::write_atomic(work.root, &path, store::canonical_json(&proposals)?.as_bytes())?;
    Ok(chosen.into_iter().map(|i| grid[i].clone()).collect())
}

/// Walk-forward blocks over the searchable days, oldest first.
fn blocks(work: &Work<'_>, halving: &Halving) -> Result<Vec<Split>> {
    let days = &work.prepared.cv_days;
    let most = halving.rungs.iter().copied().max().unwrap_or(1);
    let cfg = WalkForward { blocks: most, least_training_sessions: (days.len() / 3).max(1), window_sessions: None };
    let mut out = walk_forward::splits(days.len(), work.pinned.config.label.span(), &cfg)?;
    out.iter_mut().flat_map(|s| s.train_days.iter_mut().chain(&mut s.test_days)).for_each(|d| *d += days.start);
    Ok(out)
}

/// Net Sharpe ratio per session of a candidate on each block; none where it is undefined.
fn scores(work: &Work<'_>, cell: &Cell, on: &[Split]) -> Result<Vec<Option<f64>>> {
    let (p, rule) = (work.prepared, &work.pinned.config.portfolio);
    let one = |split: &Split| -> Result<Option<f64>> {
        let rows = splits::mean_scores(work.root, work.pinned, p, "search", cell, std::slice::from_ref(split))?;
        let (Some(first), Some(last)) = (split.test_days.first(), split.test_days.last()) else { return Ok(None) };
        let cost = CostModel::flat(rule.cost_bps_round_trip);
        let run = backtest::run(&p.panel, p.admitted.through(cv::to_matrix(p, &rows)).signal(), rule, &cost, *first..*last + 1);
        match run.and_then(|r| dsr::moments(&r.net)) {
            Ok(m) => Ok(Some(m.sharpe)),
            Err(e) if e.is(code::ML_UNDEFINED) => Ok(None),
            Err(e) => Err(e),
        }
    };
    on.iter().map(one).collect()
}

fn mean(scores: &[Option<f64>]) -> Option<f64> {
    let known: Vec<f64> = scores.iter().flatten().copied().collect();
    (!known.is_empty() && known.len() == scores.len()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}

/// Candidates from best to worst by mean rank over the blocks; an undefined score ranks last.
fn order(cells: &[Cell], scores: &[Vec<Option<f64>>]) -> Vec<usize> {
    let blocks = scores.first().map_or(0, Vec::len);
    let mut total = vec![0.0; cells.len()];
    for b in 0..blocks {
        let values: Vec<f64> = scores.iter().map(|s| s[b].unwrap_or(f64::MIN)).collect();
        ranks(&values).into_iter().zip(&mut total).for_each(|(rank, sum)| *sum += rank);
    }
    let mut out: Vec<usize> = (0..cells.len()).collect();
    out.sort_by(|a, b| total[*b].total_cmp(&total[*a]).then(cells[*a].config_sha256.cmp(&cells[*b].config_sha256)));
    out
}

/// Every candidate of a rung is a trial; only the last rung it reached decides its status.
fn record(work: &Work<'_>, cell: &Cell, rung: usize, sharpe: Option<f64>, survives: bool) -> Result<()> {
    let rung = u32::try_from(rung).map_err(|_| Error::bug("more rungs than can be numbered"))?;
    let trial = Trial {
        rung,
        fold: rung + 1,
        status: if survives { "done" } else { "pruned" }.into(),
        metrics: json!({"asof": work.pinned.asof, "sharpe_per_period": sharpe, "searched_on": "walk-forward blocks"}),
        ..trial_stats::begun(work.pinned, cell)?
    };
    Registry::open(work.root)?.append_trial(&trial).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::gbdt::Params;

    fn cell(id: usize) -> Cell {
        Cell { id, params: Params::default(), config: json!({}), config_sha256: format!("{id:064}") }
    }

    #[test]
    fn survivors_go_by_mean_rank_ties_by_digest_and_the_undefined_last() {
        let cells: Vec<Cell> = (0..4).map(cell).collect();
        let scores = vec![vec![Some(0.1), Some(0.3)], vec![None, Some(9.0)], vec![Some(0.2), Some(0.2)], vec![Some(-1.0), Some(-2.0)]];
        assert_eq!(order(&cells, &scores), [0, 2, 1, 3]);
        assert_eq!((mean(&scores[0]), mean(&scores[1])), (Some(0.2), None));
    }
}
