use super::*;
use crate::execution::order::{Pins, Reference};
use crate::pipelines::shadow_day::{self, ShadowModel};
use crate::portfolio::{Rule, RuleConfig};
use crate::types::Matrix;

const SESSIONS: [&str; 4] = ["2017-11-30", "2017-12-01", "2017-12-04", "2017-12-05"];

fn day(n: usize) -> TradingDay {
    SESSIONS[n].parse().unwrap()
}

/// AAA rises, BBB and CCC do not move. The opens are the closes before them.
fn panel() -> Panel {
    let m = |v: Vec<f64>| Matrix::from_vec(3, 4, v).unwrap();
    let close = m(vec![100.0, 110.0, 121.0, 121.0, 50.0, 50.0, 50.0, 50.0, 70.0, 70.0, 70.0, 70.0]);
    let open = m(vec![100.0, 100.0, 110.0, 121.0, 50.0, 50.0, 50.0, 50.0, 70.0, 70.0, 70.0, 70.0]);
    Panel {
        days: (0..4).map(day).collect(),
        symbols: vec!["AAA".into(), "BBB".into(), "CCC".into()],
        high: close.clone(),
        low: close.clone(),
        vwap: close.clone(),
        volume: close.clone(),
        volume_raw: close.clone(),
        close_raw: close.clone(),
        member: m(vec![1.0; 12]),
        open,
        close,
        delisted: vec![None; 3],
    }
}

fn shadowed() -> Shadowed {
    let scores = Matrix::from_vec(3, 4, [2.0, 1.0, -1.0].iter().flat_map(|s| [*s; 4]).collect()).unwrap();
    let rule = RuleConfig { rule: Rule::LongOnlyTop, top_n: 2, bottom_n: 0, rebalance_sessions: 5, capital_usd: 100_000.0, ..RuleConfig::default() };
    Shadowed { scores, rule }
}

fn model() -> ShadowModel {
    let created_at = UtcTime::parse("2017-11-30T22:00:00Z").unwrap();
    ShadowModel { strategy: "s".into(), version: "v1".into(), sha256: "aa".into(), stage: "champion".into(), created_at, config: serde_json::Value::Null }
}

fn wide() -> Caps {
    Caps { max_weight_per_name: 1.0, max_long: 1.0, max_short: 1.0, max_gross: 1.0, max_net: 1.0 }
}

/// A paper account of 50,000 that bought its targets at the first open: 250 AAA and 500 BBB, and paid nothing for it.
fn paper() -> PaperBook {
    let at = UtcTime::parse("2017-11-30T21:00:00Z").unwrap();
    let reference = |price: f64| Reference { price, at, adv_shares: Some(1e6), tradable: true };
    let pins = Pins {
        asof: Some(day(0)),
        champion: BTreeMap::from([("version".into(), "v1".into())]),
        targets: BTreeMap::from([("AAA".into(), 0.5), ("BBB".into(), 0.5)]),
        prices: BTreeMap::from([("AAA".into(), reference(100.0)), ("BBB".into(), reference(50.0))]),
        ..Pins::default()
    };
    let rebalance = OrderSet {
        run_key: "SIM1|s|2017-12-01|0".into(),
        order_set_hash: String::new(),
        account: "SIM1".into(),
        strategy: "s".into(),
        trading_day: day(1),
        rebalance_no: 0,
        equity: 50_000.0,
        pinned_at: at,
        run_id: None,
        pins,
        lines: Vec::new(),
    };
    PaperBook { rebalance, shares: BTreeMap::from([("AAA".into(), 250.0), ("BBB".into(), 500.0)]), equity: 50_000.0 + 250.0 * 21.0 }
}

/// Compare the books at the close of the third session, after `change` has been at the inputs.
fn compared(change: impl FnOnce(&mut BooksInput<'_>)) -> BooksReport {
    let (panel, shadowed) = (panel(), shadowed());
    let simulated = shadow_day::compute(&model(), &shadowed, &panel, day(3)).unwrap();
    let recorded = Some((simulated.rows[1].clone(), simulated.inputs[1].clone()));
    let mut input = BooksInput {
        panel: &panel,
        session: day(2),
        shadowed: &shadowed,
        simulated: &simulated,
        recorded,
        row_is_due: true,
        paper: paper(),
        ceiling: wide(),
        kept_back: BTreeMap::new(),
    };
    change(&mut input);
    compare(&input).unwrap()
}

fn causes(report: &BooksReport) -> Vec<(&str, Cause)> {
    report.differences.iter().map(|d| (d.subject.as_str(), d.cause)).collect()
}

#[test]
fn books_of_one_rule_differ_by_whole_shares_alone() {
    let report = compared(|_| {});
    assert_eq!((report.shadow_reproduced, report.names), (Some(true), 2));
    // The simulated book paid for its trades: both names are a rounding apart, and nothing else.
    assert!(report.differences.iter().all(|d| d.cause == Cause::Rounding), "{report:?}");
}

#[test]
fn every_difference_between_the_books_is_accounted_for_by_its_cause() {
    let kept = compared(|i| {
        i.paper.shares.insert("BBB".into(), 100.0);
        i.kept_back.insert("BBB".into(), (Cause::FillModel, "400 of 500 shares were not filled".into()));
    });
    assert!(causes(&kept).contains(&("BBB", Cause::FillModel)), "{kept:?}");
    let other_day = compared(|i| i.paper.rebalance.pins.asof = Some(day(1)));
    assert!(other_day.names_equal < 2 && causes(&other_day).iter().filter(|(s, _)| *s == "AAA").any(|(_, c)| *c == Cause::Clock), "{other_day:?}");
    let capped = compared(|i| {
        i.ceiling = Caps { max_long: 0.5, ..wide() };
        i.paper.rebalance.pins.targets = BTreeMap::from([("AAA".into(), 0.25), ("BBB".into(), 0.25)]);
        i.paper.shares = BTreeMap::from([("AAA".into(), 125.0), ("BBB".into(), 250.0)]);
    });
    assert_eq!(causes(&capped), [("AAA", Cause::Rejection), ("BBB", Cause::Rejection)], "{capped:?}");
}

#[test]
fn what_no_cause_accounts_for_is_unexplained() {
    // Shares that nobody ordered, a target that does not follow, a row that says something else of the same data.
    let bought = compared(|i| {
        i.paper.shares.insert("CCC".into(), 40.0);
    });
    assert!(causes(&bought).contains(&("CCC", Cause::Unexplained)), "{bought:?}");
    let two_more = compared(|i| {
        i.paper.shares.insert("BBB".into(), 503.0);
    });
    assert!(causes(&two_more).contains(&("BBB", Cause::Unexplained)), "three shares are more than rounding: {two_more:?}");
    let target = compared(|i| {
        i.paper.rebalance.pins.targets.insert("AAA".into(), 0.4);
    });
    assert!(causes(&target).contains(&("AAA", Cause::Unexplained)), "{target:?}");
    // A limit explains what it left, and no share besides.
    let besides = compared(|i| {
        i.ceiling = Caps { max_long: 0.5, ..wide() };
        i.paper.rebalance.pins.targets = BTreeMap::from([("AAA".into(), 0.25), ("BBB".into(), 0.25)]);
        i.paper.shares = BTreeMap::from([("AAA".into(), 100.0), ("BBB".into(), 250.0)]);
    });
    assert_eq!(causes(&besides), [("AAA", Cause::Unexplained), ("BBB", Cause::Rejection)], "{besides:?}");
    let row = compared(|i| i.recorded.as_mut().unwrap().0.net_return += 1e-4);
    assert_eq!((row.shadow_reproduced, causes(&row)[0]), (Some(false), ("shadow", Cause::Unexplained)));
}

#[test]
fn a_recorded_row_of_other_data_was_revised_and_a_missing_one_is_late() {
    let revised = compared(|i| {
        let (row, seen) = i.recorded.as_mut().unwrap();
        row.net_return += 1e-4;
        *seen = "another digest".into();
    });
    assert_eq!(causes(&revised)[0], ("shadow", Cause::DataRevised));
    let prices = compared(|i| {
        i.paper.rebalance.pins.targets.insert("AAA".into(), 0.4);
        i.paper.rebalance.pins.prices.get_mut("AAA").unwrap().price = 99.0;
    });
    assert!(causes(&prices).contains(&("AAA", Cause::DataRevised)), "{prices:?}");
    let late = compared(|i| i.recorded = None);
    assert_eq!((late.shadow_reproduced, causes(&late)[0]), (None, ("shadow", Cause::Clock)));
    let retired = compared(|i| (i.recorded, i.row_is_due) = (None, false));
    assert!(causes(&retired).iter().all(|(s, _)| *s != "shadow"));
}
