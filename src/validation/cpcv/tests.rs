use super::*;
use crate::features::fixture::unit;
use proptest::prelude::*;

#[test]
fn lesson_065_the_default_is_8_groups_2_test_groups_28_splits_and_stands_in_the_artifact() {
    let cfg = CpcvConfig::default();
    assert_eq!((cfg.n_splits(), cfg.n_paths()), (28, 7));
    let text = serde_json::to_string(&cfg).unwrap();
    assert_eq!(text, r#"{"groups":8,"test_groups":2,"embargo_sessions":10,"scope":"date"}"#);
    assert!(serde_json::from_str::<CpcvConfig>(r#"{"groups":8,"test_groups":2,"embargo_sessions":10}"#).is_err(), "nothing is left to a default of a library");
}

#[test]
fn impossible_configurations_are_refused() {
    let cfg = |groups, test_groups| CpcvConfig { groups, test_groups, ..CpcvConfig::default() };
    assert!(splits(100, 5, &cfg(4, 4)).unwrap_err().is(code::CFG_VALUE));
    assert!(splits(100, 5, &cfg(4, 0)).unwrap_err().is(code::CFG_VALUE));
    assert!(splits(3, 1, &cfg(4, 1)).unwrap_err().is(code::ML_UNDEFINED));
    assert!(splits(40, 30, &CpcvConfig::default()).unwrap_err().is(code::ML_UNDEFINED), "nothing would be left to train on");
}

/// Two sets of names that never trade in the same group, and labels that are the market's return: a predictor that copies
/// the label of the training row whose span overlaps most. Gives the correlation of prediction and label.
fn copycat_score(scope: PurgeScope) -> f64 {
    let (n, span) = (960, 10);
    let cfg = CpcvConfig { groups: 24, test_groups: 1, embargo_sessions: 10, scope };
    let group = folds(n, 24);
    let step = |t: usize| unit(3, t, 0, 0) - 0.5;
    let label = |row: &Row| (row.t0..row.t0 + span).map(step).sum::<f64>();
    let set = |g: usize, t: usize| Row { symbol: g % 2, t0: t, t1: Some(t + span) };
    let rows: Vec<Row> = group.iter().enumerate().flat_map(|(g, days)| days.clone().map(move |t| set(g, t))).filter(|r| r.t0 + span < n).collect();
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for split in row_splits(&rows, n, &cfg).unwrap() {
        for &i in &split.test {
            let shared = |j: &&usize| (rows[**j].t0 + span + 1).min(rows[i].t0 + span + 1).saturating_sub(rows[**j].t0.max(rows[i].t0));
            let best = split.train.iter().max_by_key(shared).filter(|j| shared(j) > 0);
            let (x, y) = (best.map_or(0.0, |&j| label(&rows[j])), label(&rows[i]));
            (xy, xx, yy) = (xy + x * y, xx + x * x, yy + y * y);
        }
    }
    if xx == 0.0 { 0.0 } else { xy / (xx * yy).sqrt() }
}

#[test]
fn lesson_064_purging_by_symbol_lets_a_common_factor_through_and_purging_by_date_does_not() {
    assert!(copycat_score(PurgeScope::Symbol) > 0.1, "{}", copycat_score(PurgeScope::Symbol));
    assert_eq!(copycat_score(PurgeScope::Date), 0.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn no_training_label_meets_a_test_label(
        seed in 0_u64..10_000, groups in 3_usize..7, pick in 0_usize..6, embargo_sessions in 0_usize..6, symbols in 1_usize..4,
    ) {
        let (n, test_groups) = (60, 1 + pick % (groups - 1));
        let mix = |a: usize, b: usize| (seed.wrapping_add(a as u64 * 31 + b as u64 * 17).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) as usize;
        let one = |t: usize, s: usize| Row { symbol: s, t0: t, t1: (mix(t, s) % 11 > 0).then_some((t + mix(s, t) % 6).min(n - 1)) };
        let rows: Vec<Row> = (0..n).flat_map(|t| (0..symbols).map(move |s| (t, s))).filter(|&(t, s)| mix(t + 100, s) % 7 > 0).map(|(t, s)| one(t, s)).collect();
        let labelled = rows.iter().filter(|r| r.t1.is_some()).count();
        for scope in [PurgeScope::Date, PurgeScope::Symbol] {
            let cfg = CpcvConfig { groups, test_groups, embargo_sessions, scope };
            let mut tested = vec![0; rows.len()];
            for split in row_splits(&rows, n, &cfg).unwrap() {
                prop_assert!(split.train.len() + split.test.len() <= labelled);
                for &i in &split.test {
                    tested[i] += 1;
                    let (a, a1) = (rows[i].t0, rows[i].t1.unwrap());
                    for &j in &split.train {
                        let (b, b1) = (rows[j].t0, rows[j].t1.unwrap());
                        if scope == PurgeScope::Date || rows[i].symbol == rows[j].symbol {
                            prop_assert!(b1 < a || b > a1, "train {:?} meets test {:?}", rows[j], rows[i]);
                        }
                        prop_assert!(b < a || b > a1 + embargo_sessions, "train {:?} is inside the embargo of {:?}", rows[j], rows[i]);
                    }
                }
            }
            for (row, times) in rows.iter().zip(tested) {
                prop_assert_eq!(times, if row.t1.is_some() { cfg.n_paths() } else { 0 });
            }
        }
    }

    #[test]
    fn every_day_is_tested_equally_often_and_every_path_covers_every_group(n in 70_usize..140, groups in 3_usize..7, pick in 0_usize..6, span in 0_usize..4) {
        let cfg = CpcvConfig { groups, test_groups: 1 + pick % (groups - 1), embargo_sessions: 1, scope: PurgeScope::Date };
        let all = splits(n, span, &cfg).unwrap();
        for day in 0..n {
            prop_assert_eq!(all.iter().filter(|s| s.test_days.contains(&day)).count(), cfg.n_paths());
        }
        for path in paths(&cfg) {
            prop_assert_eq!(path.iter().map(|&(_, g)| g).collect::<Vec<_>>(), (0..groups).collect::<Vec<_>>());
            prop_assert!(path.iter().all(|&(s, g)| all[s].test_groups.contains(&g)));
        }
    }
}
