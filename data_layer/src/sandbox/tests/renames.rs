//! A company that took another one's ticker: its years are asked for under the ticker it had, and whoever had its present one before it is
//! never taken for it.

use super::ingest::{Bench, bench_with, day};
use super::*;
use crate::audit::AuditScope;
use crate::curate::{self, Depth};
use crate::frame;
use crate::ledger;
use crate::node::Node;
use crate::reference::load_actions;
use crate::scheduler::{DrainUntil, Quiet};
use crate::schema::{dataset, table};
use crate::stage::{self, Lane, LaneState, Stage, Universe};
use crate::time::{DateRange, TradingDay};
use std::collections::BTreeMap;

/// The fund F has the ticker N until the end of March. The company C is O until 9 June, and N from then on.
const FUND_ENDS: &str = "2017-03-31";
const RENAMED: &str = "2017-06-09";

/// C's dividend, told of its old ticker, and a split of the fund under the ticker that C has today.
const ACTIONS: &str = "symbol,event_type,ex_date,record_date,pay_date,ratio,cash,new_symbol
O,dividend,2017-02-01,2017-02-03,2017-02-20,,2.0,
N,split,2017-03-01,,,4,,
O,name_change,2017-06-09,,,,,N
";
const LISTINGS: &str = "symbol,name,exchange,asset_type,ipo_date,delisting_date
A,Another,NYSE,Stock,2010-01-04,
N,The Company,NYSE,Stock,2012-05-18,
";

fn price(symbol: &str, on: TradingDay) -> Option<f64> {
    let wander = f64::from(on.0.rem_euclid(7));
    match symbol {
        "A" => Some(50.0 + wander / 10.0),
        "N" if on <= day(FUND_ENDS) => Some(15.0 + wander / 100.0),
        "N" => (on >= day(RENAMED)).then_some(180.0 + wander),
        _ => (on < day(RENAMED)).then_some(180.0 + wander),
    }
}

fn market(actions: &str) -> (TempDir, SandboxConfig) {
    let window = DateRange::new(day("2016-12-01"), day("2017-12-02")).unwrap();
    priced(&["A", "N", "O"], window, price, &[("corp_actions.csv", actions), ("listings.csv", LISTINGS)])
}

fn window() -> DateRange {
    DateRange::new(day("2017-01-01"), day("2017-12-01")).unwrap()
}

fn told(b: &Bench) -> Node {
    let node = Node::new(b.ctx.clone());
    let lanes = BTreeMap::from([(dataset::EQUITIES_EOD.to_string(), Lane::Plain(LaneState::Active))]);
    let first = Stage::initial(day("2017-11-30"), Universe::new("test", vec!["A".into(), "N".into()]), lanes);
    stage::write(node.root(), &first).unwrap();
    node.seed(&node.bootstrap(&first, window(), None).unwrap()).unwrap();
    node.work(DrainUntil::Empty, &Quiet).unwrap();
    node
}

/// How many sessions of N have each code, before the fund's end, until the change, and after it.
fn codes(node: &Node) -> [BTreeMap<String, usize>; 3] {
    let mut out = [BTreeMap::new(), BTreeMap::new(), BTreeMap::new()];
    for row in ledger::all_rows(node.db()).unwrap() {
        if row.key.table_name == table::RAW_EQUITIES_BARS && row.key.symbol == "N" {
            let part = usize::from(row.key.dt > day(FUND_ENDS)) + usize::from(row.key.dt >= day(RENAMED));
            *out[part].entry(row.verdict.qc_code).or_insert(0) += 1;
        }
    }
    out
}

fn only(code: &str, n: usize) -> BTreeMap<String, usize> {
    BTreeMap::from([(code.to_string(), n)])
}

/// Days and closes of the curated series.
fn curated(node: &Node) -> Vec<(TradingDay, f64)> {
    node.curate(Depth::Incremental).unwrap();
    let Ok(file) = crate::store::read_parquet(node.root(), &curate::path_of("N", 2017).unwrap()) else { return Vec::new() };
    let (days, close) = (frame::days(&file, "date").unwrap(), frame::floats(&file, "close_raw").unwrap());
    days.into_iter().zip(close).map(|(d, c)| (d.unwrap(), c.unwrap())).collect()
}

#[test]
fn lesson_048_the_years_before_a_change_of_ticker_are_the_companys_own_and_never_the_former_holders() {
    let (dir, cfg) = market(ACTIONS);
    let b = bench_with(dir, cfg, "2017-11-30T23:20:00Z", true);
    let node = told(&b);
    node.audit(window(), AuditScope::Incremental).unwrap();
    // The first answers came before anybody knew of the change.
    assert_eq!(codes(&node), [only("QUARANTINED", 62), only("MISSING", 47), only("OK", 122)]);
    assert_eq!(curated(&node).iter().map(|(d, _)| *d).min(), Some(day(RENAMED)), "nothing of the fund's is curated");

    node.heal(window(), AuditScope::Incremental, &Quiet).unwrap();
    assert_eq!(codes(&node), [only("OK", 62), only("OK", 47), only("OK", 122)]);
    let series = curated(&node);
    assert_eq!((series.len(), series.iter().filter(|(d, c)| price(if *d < day(RENAMED) { "O" } else { "N" }, *d) != Some(*c)).count()), (231, 0));
    let actions: Vec<_> = load_actions(node.root()).unwrap().remove("N").unwrap().into_iter().map(|a| (a.event_type, a.ex_date)).collect();
    assert_eq!(actions, [("cash_dividend".to_string(), day("2017-02-01"))], "the company's dividend, and not the fund's split");
    let year = crate::store::read_parquet(node.root(), &curate::path_of("N", 2017).unwrap()).unwrap();
    let factor = frame::floats(&year, "price_factor").unwrap()[0].unwrap();
    assert!((0.98..0.99).contains(&factor), "{factor}");

    // The stored bars keep the ticker that was asked for, and nothing is asked twice.
    let stored = super::dialects::stored(&b, "alpaca", dataset::EQUITIES_EOD);
    let asked: std::collections::BTreeSet<String> =
        stored.iter().flat_map(|f| frame::texts(f, "asked_symbol").unwrap().into_iter().flatten().map(str::to_string).collect::<Vec<_>>()).collect();
    assert_eq!(asked.into_iter().collect::<Vec<_>>(), ["A", "N", "O"]);
    let audited = node.audit(window(), AuditScope::Full).unwrap();
    assert_eq!((audited.changed, audited.gaps.len(), audited.elsewhere.len()), (0, 0, 0));
    assert_eq!(node.seed_actions(window()).unwrap().inserted, 0);
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

#[test]
fn a_change_that_nobody_tells_of_leaves_a_break_that_is_not_green() {
    let (dir, cfg) = market("symbol,event_type,ex_date,record_date,pay_date,ratio,cash,new_symbol\n");
    let b = bench_with(dir, cfg, "2017-11-30T23:20:00Z", true);
    let node = told(&b);
    node.heal(window(), AuditScope::Incremental, &Quiet).unwrap();
    let [_, _, after] = codes(&node);
    assert_eq!(after, BTreeMap::from([("BREAK_ACROSS_GAP".to_string(), 1), ("OK".to_string(), 121)]));
    assert_eq!(node.audit(window(), AuditScope::Full).unwrap().changed, 0);
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}
