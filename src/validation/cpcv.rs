//! Combinatorial purged cross-validation (Lopez de Prado, Advances in Financial Machine Learning, ch. 7 and 12).
//!
//! Days, not rows, are cut into groups, so that a date never straddles two of them. Every choice of test groups is a split;
//! neighbouring test groups join into one block, and each block is treated by itself:
//! - purge: a training row is dropped if its label's span meets the block's (both closed, ends included);
//! - embargo: so is a row that starts after the block, up to `embargo_sessions` after the block's last label ends.

#[cfg(test)]
mod tests;

use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

/// Whose label spans count in the purge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PurgeScope {
    /// Any symbol's: labels of one date share the market's return. The default.
    #[default]
    Date,
    /// The same symbol's only. Keeps more rows and lets common factors through; for comparison.
    Symbol,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpcvConfig {
    pub groups: usize,
    pub test_groups: usize,
    pub embargo_sessions: usize,
    pub scope: PurgeScope,
}

impl Default for CpcvConfig {
    fn default() -> Self {
        Self { groups: 8, test_groups: 2, embargo_sessions: 10, scope: PurgeScope::Date }
    }
}

impl CpcvConfig {
    /// Refuse what cannot be split.
    pub fn check(&self) -> Result<()> {
        if self.test_groups >= 1 && self.test_groups < self.groups && self.groups <= 32 {
            return Ok(());
        }
        let found = format!("{} groups, {} of them for testing", self.groups, self.test_groups);
        Err(Error::new(code::CFG_VALUE, "cross-validation needs 2 to 32 groups and fewer test groups than groups").found(found))
    }
    /// C(groups, test_groups).
    pub fn n_splits(&self) -> usize {
        choose(self.groups, self.test_groups)
    }
    /// C(groups - 1, test_groups - 1): how often each day is tested, and how many backtest paths there are.
    pub fn n_paths(&self) -> usize {
        choose(self.groups.saturating_sub(1), self.test_groups.saturating_sub(1))
    }
}

/// One split by days; the indexes are positions in the panel's sessions, ascending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    pub id: usize,
    pub test_groups: Vec<usize>,
    pub train_days: Vec<usize>,
    pub test_days: Vec<usize>,
}

/// A sample and the sessions its label spans, for [`row_splits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub symbol: usize,
    pub t0: usize,
    /// Last session the label uses; a row without a label is in neither train nor test.
    pub t1: Option<usize>,
}

/// One split by rows; the indexes are positions in the rows given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowSplit {
    pub id: usize,
    pub test_groups: Vec<usize>,
    pub train: Vec<usize>,
    pub test: Vec<usize>,
}

fn choose(n: usize, k: usize) -> usize {
    (0..k).fold(1, |c, i| c * n.saturating_sub(i) / (i + 1))
}

/// Contiguous groups of days; the first `n_days % groups` get one day more.
pub fn folds(n_days: usize, groups: usize) -> Vec<Range<usize>> {
    let (size, extra) = (n_days / groups, n_days % groups);
    let start = |g: usize| g * size + g.min(extra);
    (0..groups).map(|g| start(g)..start(g + 1)).collect()
}

/// All choices of `k` from `0..n`, in lexicographic order: a split's id is its position here.
fn combinations(n: usize, k: usize) -> Vec<Vec<usize>> {
    let mut out = Vec::with_capacity(choose(n, k));
    let mut pick: Vec<usize> = (0..k).collect();
    loop {
        out.push(pick.clone());
        let Some(i) = (0..k).rev().find(|&i| pick[i] < n - k + i) else { return out };
        pick[i] += 1;
        for j in i + 1..k {
            pick[j] = pick[j - 1] + 1;
        }
    }
}

/// Test groups as blocks of days: neighbours are one block.
fn blocks(folds: &[Range<usize>], test_groups: &[usize]) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    for &g in test_groups {
        match out.last_mut() {
            Some(last) if last.end == folds[g].start => last.end = folds[g].end,
            _ => out.push(folds[g].clone()),
        }
    }
    out
}

fn check_days(n_days: usize, cfg: &CpcvConfig) -> Result<()> {
    cfg.check()?;
    if n_days >= cfg.groups {
        return Ok(());
    }
    Err(Error::new(code::ML_UNDEFINED, format!("{n_days} sessions cannot be cut into {} groups", cfg.groups)).fix("choose a longer window"))
}

/// All splits of `n_days` sessions when the label of day `t` ends at `t + span` (or with the last session). With one span
/// for all symbols both scopes agree. Errors when the configuration is impossible, or purge and embargo leave no training
/// day in some split.
pub fn splits(n_days: usize, span: usize, cfg: &CpcvConfig) -> Result<Vec<Split>> {
    check_days(n_days, cfg)?;
    let rows: Vec<Row> = (0..n_days).map(|t| Row { symbol: 0, t0: t, t1: Some((t + span).min(n_days - 1)) }).collect();
    let by_day = |s: RowSplit| Split { id: s.id, test_groups: s.test_groups, train_days: s.train, test_days: s.test };
    let out: Vec<Split> = row_splits(&rows, n_days, cfg)?.into_iter().map(by_day).collect();
    match out.iter().find(|s| s.train_days.is_empty()) {
        None => Ok(out),
        Some(s) => Err(Error::new(code::ML_UNDEFINED, format!("purge and embargo leave no training day in split {}", s.id))
            .found(format!("{n_days} sessions, labels of {span} sessions, embargo {} sessions", cfg.embargo_sessions))
            .fix("choose a longer window, or fewer groups")),
    }
}

/// All splits of a panel's rows; their labels may end on any session.
pub fn row_splits(rows: &[Row], n_days: usize, cfg: &CpcvConfig) -> Result<Vec<RowSplit>> {
    check_days(n_days, cfg)?;
    let folds = folds(n_days, cfg.groups);
    let split = |(id, test_groups): (usize, Vec<usize>)| {
        let blocks = blocks(&folds, &test_groups);
        let (train, test) = assign(rows, &blocks, cfg);
        RowSplit { id, test_groups, train, test }
    };
    Ok(combinations(cfg.groups, cfg.test_groups).into_iter().enumerate().map(split).collect())
}

/// A block of test days with the label spans of its rows.
struct Block {
    days: Range<usize>,
    /// First `t0` and last `t1` of the block's test rows: of all of them, and by symbol.
    span: Option<(usize, usize)>,
    by_symbol: BTreeMap<usize, (usize, usize)>,
}

impl Block {
    fn of(rows: &[Row], days: Range<usize>) -> Self {
        let mut block = Self { days, span: None, by_symbol: BTreeMap::new() };
        for row in rows.iter().filter(|r| block.days.contains(&r.t0)) {
            let Some(t1) = row.t1 else { continue };
            let widen = |span: (usize, usize)| (span.0.min(row.t0), span.1.max(t1));
            block.span = Some(block.span.map_or((row.t0, t1), widen));
            block.by_symbol.entry(row.symbol).and_modify(|span| *span = widen(*span)).or_insert((row.t0, t1));
        }
        block
    }

    /// Whether a row outside the block must not be trained on.
    fn bars(&self, row: &Row, t1: usize, cfg: &CpcvConfig) -> bool {
        let Some(all) = self.span else { return false };
        let purge = match cfg.scope {
            PurgeScope::Date => Some(all),
            PurgeScope::Symbol => self.by_symbol.get(&row.symbol).copied(),
        };
        let overlaps = purge.is_some_and(|(from, to)| row.t0 <= to && t1 >= from);
        overlaps || (row.t0 >= self.days.end && row.t0 <= all.1 + cfg.embargo_sessions)
    }
}

/// Train and test rows of one split.
fn assign(rows: &[Row], blocks: &[Range<usize>], cfg: &CpcvConfig) -> (Vec<usize>, Vec<usize>) {
    let blocks: Vec<Block> = blocks.iter().map(|days| Block::of(rows, days.clone())).collect();
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for (i, row) in rows.iter().enumerate() {
        let Some(t1) = row.t1 else { continue };
        if blocks.iter().any(|b| b.days.contains(&row.t0)) {
            test.push(i);
        } else if !blocks.iter().any(|b| b.bars(row, t1, cfg)) {
            train.push(i);
        }
    }
    (train, test)
}

/// The backtest paths: `paths[p]` names, group by group, the split whose predictions path `p` uses for that group. The
/// j-th split that tests a group belongs to path j.
pub fn paths(cfg: &CpcvConfig) -> Vec<Vec<(usize, usize)>> {
    let splits = combinations(cfg.groups, cfg.test_groups);
    let tested_in = |g: usize| splits.iter().enumerate().filter(move |(_, s)| s.contains(&g)).map(|(id, _)| id);
    let by_group: Vec<Vec<usize>> = (0..cfg.groups).map(|g| tested_in(g).collect()).collect();
    (0..cfg.n_paths()).map(|p| (0..cfg.groups).map(|g| (by_group[g][p], g)).collect()).collect()
}
