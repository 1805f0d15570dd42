//! Cross-sectional scaling, per date, over the members of the universe only.

use super::{FeatureBlock, STANDARD_UNIT, Scaling};
use crate::types::{Matrix, Panel};
use rayon::prelude::*;

/// z = (x - mean) / sd with ddof = 1 over the values present. One name, or no spread at all, gives 0 for every value
/// present; a missing value stays missing.
pub fn zscore(values: &[f64]) -> Vec<f64> {
    let (mut n, mut sum, mut lo, mut hi) = (0_usize, 0.0, f64::INFINITY, f64::NEG_INFINITY);
    for &v in values {
        if !v.is_nan() {
            n += 1;
            sum += v;
            lo = if v < lo { v } else { lo };
            hi = if v > hi { v } else { hi };
        }
    }
    if n < 2 || lo == hi {
        return values.iter().map(|v| if v.is_nan() { f64::NAN } else { 0.0 }).collect();
    }
    let mean = sum / n as f64;
    let mut ss = 0.0;
    for &v in values {
        if !v.is_nan() {
            ss += (v - mean) * (v - mean);
        }
    }
    let sd = (ss / (n - 1) as f64).sqrt();
    // A spread too small to square would divide by zero: it is no spread.
    values.iter().map(|&v| if v.is_nan() || sd > 0.0 { (v - mean) / sd } else { 0.0 }).collect()
}

/// [`zscore`], cut off at `-limit` and `limit`.
pub fn zscore_clipped(values: &[f64], limit: f64) -> Vec<f64> {
    zscore(values).into_iter().map(|z| if z.is_nan() { z } else { z.clamp(-limit, limit) }).collect()
}

/// Average ranks counted from 1; a missing value stays missing.
pub fn average_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).filter(|&i| !values[i].is_nan()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut out = vec![f64::NAN; values.len()];
    let mut i = 0;
    while i < order.len() {
        let mut j = i;
        while j + 1 < order.len() && values[order[j + 1]] == values[order[i]] {
            j += 1;
        }
        for &k in &order[i..=j] {
            out[k] = (i + j) as f64 / 2.0 + 1.0;
        }
        i = j + 1;
    }
    out
}

/// Ranks mapped to -0.5..0.5; 0 for a single name.
pub fn rank_centred(values: &[f64]) -> Vec<f64> {
    let n = values.iter().filter(|v| !v.is_nan()).count();
    let scale = |r: f64| if n < 2 { 0.0 } else { (r - 1.0) / (n - 1) as f64 - 0.5 };
    average_ranks(values).into_iter().map(|r| if r.is_nan() { r } else { scale(r) }).collect()
}

/// What the model sees: members only, each column scaled as asked. `scalings` are in the order of the block.
pub fn standardise(panel: &Panel, mut block: FeatureBlock, scalings: &[Scaling]) -> FeatureBlock {
    block.columns.par_iter_mut().zip(scalings).for_each(|(m, scaling)| scale_column(panel, m, *scaling));
    for (unit, scaling) in block.units.iter_mut().zip(scalings) {
        if *scaling == Scaling::CrossSection {
            *unit = STANDARD_UNIT;
        }
    }
    block
}

/// Days that are read from every symbol's row at once: a cache line of them.
const TILE: usize = 8;

fn scale_column(panel: &Panel, m: &mut Matrix, scaling: Scaling) {
    let mut sections = vec![vec![f64::NAN; m.rows()]; TILE];
    for first in (0..m.cols()).step_by(TILE) {
        let days = first..(first + TILE).min(m.cols());
        for s in 0..m.rows() {
            let (values, member) = (&m.row(s)[days.clone()], &panel.member.row(s)[days.clone()]);
            for (section, (v, is)) in sections.iter_mut().zip(values.iter().zip(member)) {
                section[s] = if *is > 0.0 { *v } else { f64::NAN };
            }
        }
        if scaling == Scaling::CrossSection {
            sections.iter_mut().take(days.len()).for_each(|section| *section = zscore(section));
        }
        for s in 0..m.rows() {
            for (v, section) in m.row_mut(s)[days.clone()].iter_mut().zip(&sections) {
                *v = section[s];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::fixture::{golden, near, numbers};

    #[test]
    fn golden_cross_sections() {
        let g = golden(include_str!("../../tests/golden/features_equities/cross_sectional_standardise.json"));
        let sections = g["inputs"]["cross_sections"].as_array().unwrap();
        for (i, section) in sections.iter().enumerate() {
            let x = numbers(section);
            for (key, got) in [("z", zscore(&x)), ("z_clipped_3", zscore_clipped(&x, 3.0)), ("rank_centered", rank_centred(&x))] {
                let want = numbers(&g["expected"][key][i]);
                assert_eq!(got.len(), want.len());
                for (a, b) in got.iter().zip(&want) {
                    assert!(near(*a, *b, 1e-12, 1e-12), "{key} {i}: {a} is not {b}");
                }
            }
        }
    }

    #[test]
    fn equal_values_give_zero_even_when_their_mean_rounds() {
        assert_eq!(zscore(&[0.1, 0.1, 0.1]), [0.0; 3]);
    }

    #[test]
    fn a_clip_cuts_both_tails() {
        let mut x = vec![0.0; 30];
        (x[0], x[1]) = (1e6, -1e6);
        let z = zscore_clipped(&x, 3.0);
        assert_eq!((z[0], z[1]), (3.0, -3.0));
    }
}
