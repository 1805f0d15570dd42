//! The kernels against plain windows, and the block that a model sees.

use super::*;
use crate::features::fixture::{random_panel, unit};
use proptest::prelude::*;

/// A symbol's bars with gaps, halts, zero volume and a jump.
fn bars(seed: u64, n: usize) -> [Vec<f64>; 6] {
    let mut price = 50.0;
    let mut out: [Vec<f64>; 6] = Default::default();
    for t in 0..n {
        let u = |what| unit(seed, 7, t, what);
        price *= if t == n / 2 { 10.0 } else { 1.0 + 0.04 * (u(1) - 0.5) };
        let halted = (n / 3..n / 3 + 12).contains(&t);
        let p = if halted { 20.0 } else { price };
        let (high, low) = if halted { (p, p) } else { (p * (1.0 + 0.02 * u(2)), p * (1.0 - 0.02 * u(3))) };
        let volume = if u(4) < 0.1 { 0.0 } else { (1e6 * u(5)).floor() };
        let bar = [low + (high - low) * u(6), high, low, p, volume, (high + low) / 2.0];
        let gone = u(7) < 0.08;
        out.iter_mut().zip(bar).for_each(|(column, v)| column.push(if gone { f64::NAN } else { v }));
    }
    out
}

fn compute_all([open, high, low, close, volume, vwap]: &[Vec<f64>; 6]) -> Vec<Vec<f64>> {
    compute(&Bars { open, high, low, close, volume, vwap }).unwrap()
}

/// Mean, deviation (ddof 1) and slope over time of the values of a window that are there, by two passes.
fn plain(window: &[f64]) -> (f64, f64, f64) {
    let points: Vec<(f64, f64)> = window.iter().enumerate().filter(|(_, v)| v.is_finite()).map(|(i, v)| (i as f64, *v)).collect();
    let n = points.len() as f64;
    let (mx, my) = (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let sum = |f: &dyn Fn(f64, f64) -> f64| points.iter().map(|(x, y)| f(x - mx, y - my)).sum::<f64>();
    (my, (sum(&|_, y| y * y) / (n - 1.0)).sqrt(), sum(&|x, y| x * y) / sum(&|x, _| x * x))
}

fn near(a: f64, b: f64) -> bool {
    a.is_nan() == b.is_nan() && (a.is_nan() || (a - b).abs() <= 1e-9 + 1e-8 * b.abs())
}

#[test]
fn there_are_158_distinct_names_in_the_order_of_the_columns() {
    let fields = fields();
    let names: std::collections::BTreeSet<&String> = fields.iter().map(|f| &f.0).collect();
    assert_eq!((fields.len(), names.len()), (COUNT, COUNT));
    assert_eq!((fields[VWAP].0.as_str(), fields[place(Family::Roc, 0)].0.as_str(), fields[place(Family::Vsumd, 4)].0.as_str()), ("VWAP0", "ROC5", "VSUMD60"));
    assert_eq!(fields[place(Family::Imxd, 2)].1, "(IdxMax($high, 20)-IdxMin($low, 20))/20");
}

#[test]
fn a_halt_leaves_no_trace_of_the_volatility_before_it() {
    let mut b = bars(3, 200);
    for t in 100..200 {
        (b[0][t], b[1][t], b[2][t], b[3][t], b[4][t]) = (30.0, 30.0, 30.0, 30.0, 0.0);
    }
    let rows = compute_all(&b);
    for family in [Family::Std, Family::Beta, Family::Resi, Family::Wvma, Family::Sump, Family::Vstd, Family::Vsumn] {
        assert_eq!(rows[place(family, 4)][199], 0.0);
    }
    assert!([Family::Rsqr, Family::Corr, Family::Cord].iter().all(|f| rows[place(*f, 4)][199].is_nan()));
}

#[test]
fn the_block_holds_members_only_and_leaves_out_what_has_no_source() {
    let panel = random_panel(5, 8, 90, 0.05);
    let block = build(&panel).unwrap();
    assert_eq!((block.names.len(), block.excluded.len()), (COUNT, 0));
    for m in &block.columns {
        assert!((0..8).all(|s| (0..90).all(|t| m.at(s, t).is_nan() || (panel.member.at(s, t) > 0.0 && m.at(s, t).is_finite()))));
    }
    let without = Panel { vwap: Matrix::missing(8, 90), ..panel };
    let block = build(&without).unwrap();
    assert_eq!((block.names.len(), block.excluded[0].name.as_str()), (COUNT - 1, "VWAP0"));
}

#[test]
fn single_precision_is_the_rounded_value() {
    let b = bars(9, 70);
    let [open, high, low, close, volume, vwap] = &b;
    let short = compute::<f32>(&Bars { open, high, low, close, volume, vwap }).unwrap();
    let long = compute_all(&b);
    assert!(short.iter().zip(&long).all(|(a, b)| a.iter().zip(b).all(|(a, b)| a.to_bits() == (*b as f32).to_bits() || (a.is_nan() && b.is_nan()))));
    assert!(compute::<f64>(&Bars { open: &[1.0], high: &[], low: &[], close: &[], volume: &[], vwap: &[] }).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn running_sums_equal_plain_windows(seed in 0_u64..10_000) {
        let b = bars(seed, 160);
        let rows = compute_all(&b);
        let (close, volume) = (&b[3], &b[4]);
        for (q, w) in WINDOWS.into_iter().enumerate() {
            for t in 0..160_usize {
                let window = &close[(t + 1).saturating_sub(w)..=t];
                let (mean, std, slope) = plain(window);
                for (family, want) in [(Family::Ma, mean), (Family::Std, std), (Family::Beta, slope)] {
                    let got = rows[place(family, q)][t];
                    prop_assert!(near(got, want / close[t]), "{} {w} {t}: {got} is not {}", family as usize, want / close[t]);
                }
                let (mean, std, _) = plain(&volume[(t + 1).saturating_sub(w)..=t]);
                prop_assert!(near(rows[place(Family::Vma, q)][t], mean / (volume[t] + TINY)));
                prop_assert!(near(rows[place(Family::Vstd, q)][t], std / (volume[t] + TINY)));
                let top = window.iter().zip(&b[1][(t + 1).saturating_sub(w)..=t]).map(|(_, h)| *h).filter(|h| h.is_finite()).fold(f64::NAN, f64::max);
                prop_assert!(near(rows[place(Family::Max, q)][t], top / close[t]));
            }
        }
    }

    #[test]
    fn lesson_045_alpha158_of_the_past_does_not_move_when_the_future_is_cut_off(seed in 0_u64..10_000, cut in 30_usize..110) {
        let panel = random_panel(seed, 4, 120, 0.05);
        let (full, early) = (build(&panel).unwrap(), build(&panel.truncated(cut)).unwrap());
        for (a, b) in full.columns.iter().zip(&early.columns) {
            for s in 0..4 {
                for t in 0..=cut {
                    prop_assert_eq!(a.at(s, t).to_bits(), b.at(s, t).to_bits());
                }
            }
        }
    }
}
