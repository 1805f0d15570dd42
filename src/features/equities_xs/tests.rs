use super::*;
use crate::features::fixture::{cell, golden, near, panel_of, random_panel, sessions, table};
use crate::types::{Announcement, PointInTime};
use data_layer::time::TradingDay;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn golden_sources() -> PointInTime {
    let g = golden(include_str!("../../../tests/golden/features_equities/equity_features_v1.json"));
    let day = |v: &serde_json::Value| v.as_str().unwrap().parse::<TradingDay>().unwrap();
    let one = |v: &serde_json::Value| Announcement { announced: day(&v["announced"]), date: day(&v["date"]), withdrawn: None };
    let shares = g["inputs"]["shares_outstanding"].as_object().unwrap();
    let earnings = g["inputs"]["earnings"].as_object().unwrap();
    PointInTime {
        shares: shares.iter().map(|(s, n)| (s.clone(), vec![(TradingDay(0), n.as_f64().unwrap())])).collect(),
        earnings: earnings.iter().map(|(s, list)| (s.clone(), list.as_array().unwrap().iter().map(one).collect())).collect(),
        ..PointInTime::default()
    }
}

#[test]
fn golden_equity_features_v1() {
    let rows = table(include_str!("../../../tests/golden/features_equities/panel.csv"));
    let panel = Panel { known: golden_sources(), ..panel_of(sessions(&rows[0]["date"], "2002-01-08"), &rows) };
    let block = build_raw(&panel).unwrap();
    let want = table(include_str!("../../../tests/golden/features_equities/expected_features.csv"));
    assert_eq!(want.len(), 366);
    assert_eq!(block.names.len() + 2, want[0].len(), "every column of the vectors is computed");
    for row in &want {
        let (s, t) = (panel.symbol_index(&row["symbol"]).unwrap(), panel.day_index(row["date"].parse().unwrap()).unwrap());
        for (name, m) in block.names.iter().zip(&block.columns) {
            let (abs, rel) = match name.as_str() {
                "adv_20" => (1e-6, 1e-9),
                "amihud_20" => (1e-15, 1e-9),
                _ => (1e-10, 1e-9),
            };
            let (got, want) = (m.at(s, t), cell(row, name));
            assert!(near(got, want, abs, rel), "{} {} {name}: {got} is not {want}", row["date"], row["symbol"]);
        }
    }
}

#[test]
fn a_flat_price_has_no_volatility_and_a_missing_close_no_features() {
    let rows = table(include_str!("../../../tests/golden/features_equities/panel.csv"));
    let panel = panel_of(sessions(&rows[0]["date"], "2002-01-08"), &rows);
    let block = build_raw(&panel).unwrap();
    let (flat, last) = (panel.symbol_index("FLAT").unwrap(), panel.n_days() - 1);
    assert!(["rv_20", "rv_60", "dvol_20", "dvol_60", "amihud_20"].iter().all(|f| block.column(f).unwrap().at(flat, last) == 0.0));
    let (s, t) = (panel.symbol_index("GAPPY").unwrap(), panel.day_index("2001-10-10".parse().unwrap()).unwrap());
    assert!(block.vector(s, t).iter().all(|v| v.is_nan()));
}

#[test]
fn what_has_no_point_in_time_source_is_excluded_by_name_with_a_reason() {
    let names = |block: &FeatureBlock| block.excluded.iter().map(|e| e.name.clone()).collect::<Vec<_>>();
    let panel = random_panel(1, 3, 30, 0.0);
    assert_eq!(names(&build(&panel).unwrap()), ["turnover_20", "log_mktcap", "sessions_to_earnings", "sector"]);
    assert_eq!(names(&build(&Panel { known: golden_sources(), ..panel.clone() }).unwrap()), ["sector"]);
    assert!(build(&panel).unwrap().excluded.iter().all(|e| e.reason.starts_with("needs ")));
    assert_eq!(warm_up_sessions(), 126);
}

#[test]
fn members_only_and_standardised_per_date() {
    let panel = random_panel(2, 10, 140, 0.02);
    let (raw, scaled) = (build_raw(&panel).unwrap(), build(&panel).unwrap());
    for (spec, m) in registry().iter().zip(&scaled.columns) {
        for t in [60, 100, 139] {
            let here: Vec<f64> = (0..10).filter(|&s| panel.member.at(s, t) > 0.0).map(|s| m.at(s, t)).filter(|v| !v.is_nan()).collect();
            assert!((0..10).all(|s| panel.member.at(s, t) > 0.0 || m.at(s, t).is_nan()), "{}", spec.name);
            if spec.scaling == Scaling::CrossSection && here.len() > 1 {
                assert!(here.iter().sum::<f64>().abs() < 1e-9, "{} on day {t}", spec.name);
            }
        }
    }
    assert_eq!(scaled.column("dow_sin").unwrap().at(0, 139), raw.column("dow_sin").unwrap().at(0, 139));
    assert_eq!(scaled.units[scaled.index("adv_20").unwrap()], crate::features::STANDARD_UNIT);
    assert_eq!(raw.units[raw.index("adv_20").unwrap()], "usd");
}

#[test]
fn lesson_044_a_split_is_no_loss() {
    let mut panel = random_panel(3, 2, 40, 0.0);
    for t in 0..40 {
        // 4:1 on day 30: the unadjusted close falls to a quarter, four times as many shares trade.
        let ratio = if t < 30 { 4.0 } else { 1.0 };
        panel.close_raw.set(0, t, panel.close.at(0, t) * ratio);
        panel.volume.set(0, t, 1e6);
        panel.volume_raw.set(0, t, 1e6 / ratio);
    }
    let block = build_raw(&panel).unwrap();
    for name in ["mom_5", "mom_20", "gap_overnight", "dd_20"] {
        assert!((30..40).all(|t| block.column(name).unwrap().at(0, t) > -0.5), "{name}");
    }
    let adv = block.column("adv_20").unwrap();
    assert!((adv.at(0, 31) / adv.at(0, 29) - 1.0).abs() < 0.2, "dollars traded do not jump with a split");
}

#[test]
fn lesson_049_no_feature_reads_a_vendors_adjusted_columns() {
    let sources = [
        include_str!("mod.rs"),
        include_str!("momentum.rs"),
        include_str!("gap.rs"),
        include_str!("volatility.rs"),
        include_str!("liquidity.rs"),
        include_str!("calendar.rs"),
        include_str!("context.rs"),
    ];
    for banned in ["adjClose", "adj_close", "adjusted_close", "adjVolume", "adj_volume"] {
        assert!(sources.iter().all(|text| !text.contains(banned)), "{banned} is as of today, not as of then");
    }
}

/// The same panel with a history of `extra` sessions before it cut away.
fn without_the_first(panel: &Panel, extra: usize) -> Panel {
    let cut = |m: &Matrix| {
        let data = (0..m.rows()).flat_map(|r| m.row(r)[extra..].to_vec()).collect();
        Matrix::from_vec(m.rows(), m.cols() - extra, data).unwrap()
    };
    Panel {
        days: panel.days[extra..].to_vec(),
        symbols: panel.symbols.clone(),
        open: cut(&panel.open),
        high: cut(&panel.high),
        low: cut(&panel.low),
        close: cut(&panel.close),
        vwap: cut(&panel.vwap),
        volume: cut(&panel.volume),
        volume_raw: cut(&panel.volume_raw),
        close_raw: cut(&panel.close_raw),
        member: cut(&panel.member),
        delisted: panel.delisted.clone(),
        known: panel.known.clone(),
    }
}

#[test]
fn the_lookback_of_the_registry_is_the_history_a_value_needs() {
    let panel = random_panel(4, 3, 200, 0.01);
    let full = build_raw(&panel).unwrap();
    for (f, spec) in registry().iter().enumerate() {
        let start = 199 - spec.lookback_sessions;
        let short = build_raw(&without_the_first(&panel, start)).unwrap();
        let last = short.columns[f].cols() - 1;
        for s in 0..3 {
            assert_eq!(short.columns[f].at(s, last).to_bits(), full.columns[f].at(s, 199).to_bits(), "{}", spec.name);
        }
    }
}

/// Counts every 30 sessions; reports every 40, announced 20 sessions before and every second one moved by a week five sessions later.
fn published(panel: &Panel) -> PointInTime {
    let counts = |s: usize| (0..panel.n_days()).step_by(30).map(|t| (panel.days[t], 1e6 * (1 + s + t) as f64)).collect();
    let reports = |(t, moved): (usize, bool)| {
        let told = Announcement { announced: panel.days[t], date: panel.days[t + 20], withdrawn: moved.then(|| panel.days[t + 5]) };
        let instead = Announcement { announced: panel.days[t + 5], date: panel.days[t + 20].plus_days(7), withdrawn: None };
        [Some(told), moved.then_some(instead)].into_iter().flatten()
    };
    let dates = || (0..panel.n_days() - 20).step_by(40).enumerate().map(|(i, t)| (t, i % 2 == 1)).flat_map(reports).collect();
    PointInTime {
        shares: panel.symbols.iter().enumerate().map(|(s, name)| (name.clone(), counts(s))).collect(),
        earnings: panel.symbols.iter().map(|name| (name.clone(), dates())).collect(),
        ..PointInTime::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn lesson_045_no_past_value_moves_when_the_future_is_cut_off_or_changed(seed in 0_u64..10_000, gaps in 0.0_f64..0.2, cut in 40_usize..138) {
        let mut panel = random_panel(seed, 5, 140, gaps);
        panel.known = published(&panel);
        let full = build(&panel).unwrap();
        let early = build(&panel.truncated(cut)).unwrap();
        let mut other = panel.clone();
        for s in 0..5 {
            for t in cut + 1..140 {
                other.close.set(s, t, 1.0 + t as f64);
                other.open.set(s, t, f64::NAN);
                other.volume_raw.set(s, t, 0.0);
                other.member.set(s, t, 1.0 - panel.member.at(s, t));
            }
        }
        let after = |day: TradingDay| day > panel.days[cut];
        other.known.shares.values_mut().flatten().filter(|(since, _)| after(*since)).for_each(|(_, n)| *n *= 7.0);
        other.known.earnings.values_mut().flatten().for_each(|a| a.withdrawn = a.withdrawn.filter(|w| !after(*w)));
        other.known.earnings.values_mut().for_each(|list| list.retain(|a| !after(a.announced)));
        let changed = build(&other).unwrap();
        for f in 0..full.columns.len() {
            for s in 0..5 {
                for t in 0..=cut {
                    let value = full.columns[f].at(s, t).to_bits();
                    prop_assert_eq!(value, early.columns[f].at(s, t).to_bits(), "{} {}", &full.names[f], t);
                    prop_assert_eq!(value, changed.columns[f].at(s, t).to_bits(), "{} {}", &full.names[f], t);
                }
            }
        }
    }

    #[test]
    fn the_order_of_the_symbols_changes_nothing(seed in 0_u64..10_000) {
        let panel = random_panel(seed, 4, 80, 0.05);
        let flip = |m: &Matrix| Matrix::from_vec(4, 80, (0..4).rev().flat_map(|r| m.row(r).to_vec()).collect()).unwrap();
        let mut other = panel.clone();
        for (a, b) in [(&mut other.open, &panel.open), (&mut other.close, &panel.close), (&mut other.close_raw, &panel.close_raw), (&mut other.volume_raw, &panel.volume_raw), (&mut other.member, &panel.member)] {
            *a = flip(b);
        }
        let (a, b) = (build_raw(&panel).unwrap(), build_raw(&other).unwrap());
        let by_name: BTreeMap<_, _> = a.names.iter().zip(&a.columns).collect();
        for (name, m) in b.names.iter().zip(&b.columns) {
            prop_assert!((0..4).all(|s| m.row(s).iter().zip(by_name[name].row(3 - s)).all(|(x, y)| x.to_bits() == y.to_bits())));
        }
    }
}
