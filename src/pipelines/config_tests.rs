use super::*;

#[test]
fn lesson_065_the_built_in_configuration_states_its_groups_and_searches_a_grid() {
    let c = TrainingConfig::built_in("equities_xs").unwrap();
    assert_eq!((c.cpcv.groups, c.cpcv.test_groups, c.cpcv.embargo_sessions), (8, 2, 10));
    let cells = c.cells().unwrap();
    assert_eq!(cells.len(), 4);
    assert!(cells.windows(2).all(|w| w[0].config_sha256 != w[1].config_sha256));
    assert_eq!(c.label.span(), 6);
    assert!((c.bars.dsr - 0.95).abs() < 1e-12);
}

#[test]
fn the_built_in_models_are_one_family_and_differ_only_in_what_they_are_for() {
    let [xs, rank, alpha] = MODELS.map(|(name, _)| TrainingConfig::built_in(name).unwrap());
    let learner = Learner { objective: "lambdarank".into(), ..xs.model.clone() };
    assert_eq!(rank, TrainingConfig { model: learner, ..xs.clone() });
    assert_eq!(alpha, TrainingConfig { features: alpha.features.clone(), ..xs });
    assert!(TrainingConfig::built_in("nobody").unwrap_err().is(code::CFG_VALUE));
}

#[test]
fn unknown_keys_and_senseless_values_are_refused() {
    let unknown = format!("{EQUITIES_XS}\nsurprise: 1\n");
    assert!(TrainingConfig::parse(&unknown).unwrap_err().is(code::CFG_UNKNOWN_KEY));
    let zero = EQUITIES_XS.replace("entry_lag: 1", "entry_lag: 0");
    assert!(TrainingConfig::parse(&zero).unwrap_err().is(code::CFG_VALUE));
    let unwatched = EQUITIES_XS.replace("shadow_weeks: 4", "shadow_weeks: 0");
    assert!(TrainingConfig::parse(&unwatched).unwrap_err().is(code::CFG_VALUE), "the shadow gate has no off switch");
}

#[test]
fn lesson_069_everything_that_asks_for_less_is_named() {
    let given = TrainingConfig::built_in("equities_xs").unwrap();
    assert!(given.loosened().is_empty());
    let mut loose = given.clone();
    loose.bars.sharpe = 0.1;
    loose.dependencies.remove("reference/delistings");
    loose.dependencies.insert("reference/corp_actions".into(), 0.5);
    loose.cpcv.embargo_sessions = 0;
    loose.promotion.shadow_weeks = 1;
    loose.portfolio.cost_bps_round_trip = 0.0;
    loose.holdout.months = 0;
    let named = loose.loosened().join("; ");
    for what in ["bars.sharpe", "delistings", "corp_actions", "embargo", "shadow_weeks", "cost_bps", "holdout.months"] {
        assert!(named.contains(what), "{what}: {named}");
    }
    assert_eq!(loose.loosened().len(), 7);
}

#[test]
fn lesson_061_another_window_or_holdout_is_another_configuration_in_the_trial_ledger() {
    let of = |c: &TrainingConfig| c.cells().unwrap().into_iter().map(|cell| cell.config_sha256).collect::<Vec<_>>();
    let given = TrainingConfig::built_in("equities_xs").unwrap();
    let shorter = TrainingConfig { window: Window { years: 4, ..given.window.clone() }, ..given.clone() };
    let unsealed = TrainingConfig { holdout: HoldoutConfig { months: 0 }, ..given.clone() };
    for other in [shorter, unsealed] {
        assert!(of(&other).iter().all(|sha| !of(&given).contains(sha)));
    }
}

#[test]
fn the_schema_names_every_key_of_the_configuration() {
    let schema: Value = serde_json::from_str(EQUITIES_XS_SCHEMA).unwrap();
    let config = serde_json::to_value(TrainingConfig::built_in("equities_xs").unwrap()).unwrap();
    for key in config.as_object().unwrap().keys() {
        assert!(schema["properties"].get(key).is_some(), "{key}");
    }
}

#[test]
fn who_trades_too_little_is_no_member_and_a_later_start_decides_the_same() {
    use crate::features::fixture::random_panel;
    let mut panel = random_panel(5, 6, 300, 0.0);
    // 40 dollars times at most 1.1 million shares: only the dear names clear 60 million a day.
    let before = panel.clone();
    Tradable { min_adv_usd: 6e7 }.restrict(&mut panel);
    let members = |p: &Panel, t: usize| p.member.column(t).iter().filter(|m| **m > 0.0).count();
    assert!(members(&panel, 50) == 0 && (1..members(&before, 299)).contains(&members(&panel, 299)));
    let mut early = before.truncated(200);
    Tradable { min_adv_usd: 6e7 }.restrict(&mut early);
    assert!((0..=200).all(|t| early.member.column(t) == panel.member.column(t)), "what comes later decides nothing earlier");
}
