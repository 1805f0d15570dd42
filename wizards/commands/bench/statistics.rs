//! Statistics and labels: overfitting, deflated Sharpe ratios, triple barriers.

use super::Bench;
use super::made;
use super::measure::{Job, checksum, decimals, significant};
use data_layer::error::Result;
use engine::labels::triple_barrier::{Barriers, TouchPath, close_touches, daily_volatility};
use engine::types::Matrix;
use engine::validation::{dsr as deflated, pbo};
use rayon::prelude::*;
use serde_json::json;

/// The trials' returns, `trials x days`.
fn returns(bench: &Bench<'_>) -> Result<Matrix> {
    if bench.inputs.are_made() { made::returns(bench.scale).transposed() } else { bench.inputs.array("returns.npy")?.transposed() }
}

/// `returns.npy` (days x trials): PBO over 16 blocks.
pub fn cscv_pbo(bench: &mut Bench<'_>) -> Result<()> {
    let returns = returns(bench)?;
    let combinations = 12_870;
    let job = Job::new("cscv_pbo", combinations * returns.rows(), "combo_strategies");
    let line = bench.clock.measure(
        job,
        || Ok(()),
        |()| pbo::cscv(&returns, pbo::BLOCKS),
        |r| Ok(json!({"pbo": decimals(r.pbo, 6), "logit_sum": significant(r.logits.iter().sum(), 6), "combos": r.n_combinations})),
    )?;
    bench.lines.push(line);
    Ok(())
}

/// `returns.npy`: the deflated Sharpe ratio of each trial, by the number of trials and the variance of their Sharpe ratios.
pub fn dsr(bench: &mut Bench<'_>) -> Result<()> {
    let returns = returns(bench)?;
    let (trials, days) = (returns.rows(), returns.cols());
    let line = bench.clock.measure(
        Job::new("dsr", days * trials, "returns").repeats(7),
        || Ok(()),
        |()| {
            let moments = (0..trials).map(|t| deflated::moments(returns.row(t))).collect::<Result<Vec<_>>>()?;
            let sharpes: Vec<f64> = moments.iter().map(|m| m.sharpe).collect();
            let variance = deflated::trials_variance(&sharpes)?;
            moments.into_iter().map(|m| Ok(deflated::deflate(&m.into(), trials as u64, variance)?.dsr)).collect::<Result<Vec<f64>>>()
        },
        |dsr| Ok(checksum(&dsr)),
    )?;
    bench.lines.push(line);
    Ok(())
}

/// Sessions a position is held at most.
const HOLD: usize = 10;

/// `daily.parquet`: one event a symbol and session, barriers at one 20-session volatility, closes only.
pub fn triple_barrier(bench: &mut Bench<'_>) -> Result<()> {
    let close = if bench.inputs.are_made() { made::closes(bench.scale)? } else { bench.inputs.panel("daily.parquet", "close", "sectors.parquet")? };
    let (symbols, days) = (close.rows(), close.cols());
    let volatility: Vec<Vec<f64>> = (0..symbols).map(|s| daily_volatility(close.row(s), 20)).collect();
    let rule = Barriers { target_mult: 1.0, stop_mult: 1.0, max_holding_sessions: HOLD, path: TouchPath::Close };
    let labels = |s: usize| {
        let mut out: Vec<i8> = Vec::with_capacity(days);
        close_touches(close.row(s), &volatility[s][..days.saturating_sub(HOLD)], &rule, |touch| out.extend(touch.map(|t| t.label)));
        out
    };
    let line = bench.clock.measure(
        Job::new("triple_barrier", symbols * days, "events").repeats(7),
        || Ok(()),
        |()| Ok((0..symbols).into_par_iter().map(labels).collect::<Vec<_>>()),
        |all| {
            let count = |rows: &[Vec<i8>], value: i8| rows.iter().flatten().filter(|l| **l == value).count();
            let n: usize = all.iter().map(Vec::len).sum();
            let first = &all[..symbols.min(5)];
            let first5: Vec<usize> = [1, -1, 0].iter().map(|v| count(first, *v)).collect();
            Ok(json!({"n": n, "up": count(&all, 1), "down": count(&all, -1), "zero": count(&all, 0), "first5": first5}))
        },
    )?;
    bench.lines.push(line);
    Ok(())
}
