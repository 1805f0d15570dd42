//! Cross-sectional scaling, per date, over the members of the universe only.

use super::{FeatureBlock, STANDARD_UNIT, Scaling};
use crate::types::{Matrix, Panel};
use crate::wide::wide;
use rayon::prelude::*;

/// z = (x - mean) / sd with ddof = 1 over the values present. One name, or no spread at all, gives 0 for every value
/// present; a missing value stays missing.
pub fn zscore(values: &[f64]) -> Vec<f64> {
    let mut cells: Vec<[f64; 1]> = values.iter().map(|v| [*v]).collect();
    zscores(&mut cells);
    cells.into_iter().flatten().collect()
}

/// [`zscore`] of `L` sections side by side, one in each place of the cells. Each keeps its own sums in its own order, so that its
/// neighbours change no bit of it.
#[inline(always)]
fn zscores<const L: usize>(cells: &mut [[f64; L]]) {
    let (mut n, mut sum, mut lo, mut hi) = ([0.0; L], [0.0; L], [f64::INFINITY; L], [f64::NEG_INFINITY; L]);
    for v in cells.iter() {
        for l in 0..L {
            let missing = v[l].is_nan();
            n[l] += f64::from(!missing);
            sum[l] += if missing { 0.0 } else { v[l] };
            lo[l] = if v[l] < lo[l] { v[l] } else { lo[l] };
            hi[l] = if v[l] > hi[l] { v[l] } else { hi[l] };
        }
    }
    let (mut mean, mut ss) = (sum, [0.0; L]);
    for l in 0..L {
        mean[l] /= n[l];
    }
    for v in cells.iter() {
        for l in 0..L {
            ss[l] += if v[l].is_nan() { 0.0 } else { (v[l] - mean[l]) * (v[l] - mean[l]) };
        }
    }
    let (mut sd, mut flat) = (ss, [false; L]);
    for l in 0..L {
        sd[l] = (ss[l] / (n[l] - 1.0)).sqrt();
        // A spread too small to square would divide by zero: it is no spread.
        flat[l] = (n[l] < 2.0) | (lo[l] == hi[l]) | (sd[l] == 0.0);
    }
    for v in cells.iter_mut() {
        for l in 0..L {
            let z = (v[l] - mean[l]) / sd[l];
            v[l] = if flat[l] & !v[l].is_nan() { 0.0 } else { z };
        }
    }
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
    let members = members(panel);
    block.columns.par_iter_mut().zip(scalings).for_each(|(m, scaling)| scale_column(m, &members, *scaling));
    for (unit, scaling) in block.units.iter_mut().zip(scalings) {
        if *scaling == Scaling::CrossSection {
            *unit = STANDARD_UNIT;
        }
    }
    block
}

/// Days that are read from every symbol's row at once: two cache lines of them.
const TILE: usize = 16;

/// A bit for each day of a tile on which a symbol is a member: `TILE` days of all symbols, then the next.
fn members(panel: &Panel) -> Vec<u16> {
    let (rows, cols) = (panel.member.rows(), panel.member.cols());
    let mut out = vec![0; rows * cols.div_ceil(TILE)];
    for s in 0..rows {
        for (tile, days) in panel.member.row(s).chunks(TILE).enumerate() {
            out[tile * rows + s] = days.iter().rev().fold(0, |bits, member| bits << 1 | u16::from(*member > 0.0));
        }
    }
    out
}

wide! {
    fn scale_column(m: &mut Matrix, members: &[u16], scaling: Scaling) {
        let (rows, cols) = (m.rows(), m.cols());
        let mut cells = vec![[f64::NAN; TILE]; rows];
        for (first, members) in (0..cols).step_by(TILE).zip(members.chunks_exact(rows.max(1))) {
            let days = first..(first + TILE).min(cols);
            if scaling == Scaling::AsIs && members.iter().all(|bits| bits.count_ones() as usize == days.len()) {
                continue;
            }
            let at = |s: usize| s * cols + first..s * cols + days.end;
            for (s, (cell, bits)) in cells.iter_mut().zip(members).enumerate() {
                let values = &m.values()[at(s)];
                match values.as_array::<TILE>() {
                    Some(whole) => *cell = *whole,
                    None => cell[..values.len()].copy_from_slice(values),
                }
                if *bits != u16::MAX {
                    for (l, v) in cell.iter_mut().enumerate() {
                        *v = if bits >> l & 1 == 1 { *v } else { f64::NAN };
                    }
                }
            }
            if scaling == Scaling::CrossSection {
                zscores(&mut cells);
            }
            for (s, cell) in cells.iter().enumerate() {
                let values = &mut m.values_mut()[at(s)];
                match values.as_mut_array::<TILE>() {
                    Some(whole) => *whole = *cell,
                    None => values.copy_from_slice(&cell[..days.len()]),
                }
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
        assert_eq!(zscore(&[0.1]), [0.0]);
        let two = [0.25, f64::NAN, 0.75];
        let mut cells = two.map(|v| [0.1, v, f64::NAN]);
        zscores(&mut cells);
        assert_eq!(cells.map(|c| c[0]), [0.0; 3]);
        assert_eq!(cells.map(|c| c[1].to_bits()).to_vec(), zscore(&two).iter().map(|z| z.to_bits()).collect::<Vec<_>>());
        assert!(cells.iter().all(|c| c[2].is_nan()));
    }

    #[test]
    fn a_clip_cuts_both_tails() {
        let mut x = vec![0.0; 30];
        (x[0], x[1]) = (1e6, -1e6);
        let z = zscore_clipped(&x, 3.0);
        assert_eq!((z[0], z[1]), (3.0, -3.0));
    }
}
