//! From the SEC's list of tickers to counts of shares and days of reports, over the vendors' dialects and day after day.

use super::dialects::{range, stored};
use super::ingest::{Bench, bench_with, day};
use super::*;
use crate::audit::AuditScope;
use crate::node::Node;
use crate::reference::{self, load_companies, load_earnings, load_shares};
use crate::scheduler::{DrainUntil, Quiet};
use crate::schema::dataset;
use crate::stage::{self, Lane, LaneState, Stage, Universe};
use crate::time::TradingDay;
use std::collections::BTreeMap;

/// A folder with two companies, their cover pages, and a report that was moved by two days.
pub(super) fn world() -> (TempDir, SandboxConfig) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("world");
    std::fs::create_dir_all(data.join("companyfacts")).unwrap();
    write_world(&data);
    let facts = |cik: u32, counts: &[(&str, &str, u64)]| {
        let rows: Vec<String> = counts
            .iter()
            .map(|(end, filed, n)| format!(r#"{{"end":"{end}","val":{n},"accn":"{cik}-{filed}","fy":2017,"fp":"Q1","form":"10-Q","filed":"{filed}"}}"#))
            .collect();
        let assets = r#""us-gaap":{"Assets":{"label":"A","description":"","units":{"USD":[{"end":"2017-09-30","val":5,"accn":"x","form":"10-Q","filed":"2017-11-01"}]}}}"#;
        format!(
            r#"{{"cik":{cik},"entityName":"Company {cik}","facts":{{"dei":{{"EntityCommonStockSharesOutstanding":{{"label":"S","description":"","units":{{"shares":[{}]}}}}}},{assets}}}}}"#,
            rows.join(",")
        )
    };
    std::fs::write(
        data.join("companyfacts/CIK0000000011.json"),
        facts(11, &[("2017-10-20", "2017-11-01", 1_000_000), ("2017-11-20", "2017-11-28", 1_100_000)]),
    )
    .unwrap();
    std::fs::write(data.join("companyfacts/CIK0000000012.json"), facts(12, &[("2017-10-20", "2017-11-02", 7_000_000)])).unwrap();
    std::fs::write(data.join("companyfacts/tickers.csv"), "cik,ticker\n0000000011,A\n0000000012,B\n").unwrap();
    let reports = "symbol,report_date,hour,announced,withdrawn\nA,2017-11-28,amc,2017-11-01,\nB,2017-12-12,bmo,2017-11-02,2017-11-28\nB,2017-12-14,bmo,2017-11-28,\nA,2017-11-24,bmo,2017-11-01,\n";
    std::fs::write(data.join("earnings.csv"), reports).unwrap();
    let cfg = SandboxConfig { data_dir: Some(data), ..SandboxConfig::replay(dir.path().join("state")) };
    (dir, cfg)
}

pub(super) fn staged(b: &Bench) {
    let active = |name: &str| (name.to_string(), Lane::Plain(LaneState::Active));
    let lanes = BTreeMap::from([active(dataset::COMPANIES), active(dataset::EARNINGS_CALENDAR)]);
    stage::write(&b.ctx.root, &Stage::initial(day("2017-11-24"), Universe::new("test", vec!["A".into(), "B".into()]), lanes)).unwrap();
}

/// What the last calendar and the filings tell, and the counts of shares by company.
fn known(b: &Bench) -> (Vec<(String, TradingDay, TradingDay, Option<TradingDay>, String)>, BTreeMap<String, Vec<f64>>) {
    reference::refresh_reference(&b.ctx.root, &b.ctx.db).unwrap();
    let dates = load_earnings(&b.ctx.root).unwrap().into_iter().map(|e| (e.symbol, e.report_date, e.announced, e.withdrawn, e.source_name));
    let counts = load_shares(&b.ctx.root).unwrap().into_iter().map(|(cik, list)| (cik, list.iter().map(|c| c.shares).collect()));
    (dates.collect(), counts.collect())
}

#[test]
fn a_node_learns_who_is_who_then_asks_for_their_shares_and_again_only_when_a_report_was_filed() {
    let (dir, cfg) = world();
    let b = bench_with(dir, cfg, "2017-11-24T23:20:00Z", true);
    staged(&b);
    let node = Node::new(b.ctx.clone());
    let stage = stage::load(&b.ctx.root).unwrap();
    let window = range("2017-11-21", "2017-11-25");
    node.seed(&node.bootstrap(&stage, window, None).unwrap()).unwrap();
    node.work(DrainUntil::Empty, &Quiet).unwrap();
    node.heal(window, AuditScope::Incremental, &Quiet).unwrap();
    let tenures = load_companies(&b.ctx.root).unwrap();
    assert_eq!(
        tenures.iter().map(|t| (t.symbol.as_str(), t.cik.as_str(), t.evidence.as_str())).collect::<Vec<_>>(),
        [("A", "0000000011", "listing"), ("B", "0000000012", "listing")]
    );
    let (dates, counts) = known(&b);
    assert_eq!(counts, BTreeMap::from([("0000000011".into(), vec![1e6]), ("0000000012".into(), vec![7e6])]));
    assert!(stored(&b, "sec_edgar", dataset::SHARES).iter().all(|f| f.column("concept").unwrap().str().unwrap().iter().flatten().all(|c| c != "Assets")));
    // Seen on Friday evening: known at Monday's close. The report of that Friday is told by its filing.
    let (monday, fh) = (day("2017-11-27"), "finnhub".to_string());
    let said = [("A".to_string(), day("2017-11-28"), monday, None, fh.clone()), ("B".into(), day("2017-12-12"), monday, None, fh)];
    let filed: Vec<_> = dates.iter().filter(|e| e.4 == "sec_edgar").map(|e| (e.1, e.2)).collect();
    assert_eq!((filed, &dates[dates.len() - 2..]), (vec![(monday, monday)], &said[..]), "accepted at 16:30: Monday's news");
    assert_eq!(node.seed_companies().unwrap().inserted, 0, "nothing is asked twice");

    b.host.block_on(super::super::client::advance(&b.host, &b.sandbox.base(), t("2017-11-28T23:20:00Z"))).unwrap().unwrap();
    node.seed_forward().unwrap();
    node.work(DrainUntil::Empty, &Quiet).unwrap();
    for _ in 0..2 {
        node.audit(range("2017-11-21", "2017-11-29"), AuditScope::Incremental).unwrap();
        node.seed_companies().unwrap();
        node.work(DrainUntil::Empty, &Quiet).unwrap();
    }
    let (later, counts) = known(&b);
    assert_eq!(counts, BTreeMap::from([("0000000011".into(), vec![1e6, 1.1e6]), ("0000000012".into(), vec![7e6])]));
    let asked = stored(&b, "sec_edgar", dataset::SHARES).len();
    assert_eq!(asked, 2, "the first answer about both companies, and the one about the company that filed");
    let b_dates: Vec<_> = later.iter().filter(|e| e.0 == "B").map(|e| (e.1, e.2, e.3)).collect();
    let wednesday = day("2017-11-29");
    assert_eq!(b_dates, [(day("2017-12-12"), monday, Some(wednesday)), (day("2017-12-14"), wednesday, None)]);
    // What was known before is known still.
    let until = |all: &[(String, TradingDay, TradingDay, Option<TradingDay>, String)]| -> Vec<_> {
        all.iter().filter(|e| e.2 <= monday).map(|e| (e.0.clone(), e.1, e.2, e.3.filter(|w| *w <= monday))).collect()
    };
    assert_eq!(until(&later), until(&dates));
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

#[test]
fn three_calendars_bring_the_same_dates() {
    let (dir, cfg) = world();
    let b = bench_with(dir, cfg, "2017-11-24T23:20:00Z", true);
    let ahead = range("2017-11-24", "2017-12-31");
    for vendor in ["finnhub", "fmp", "alpha_vantage"] {
        let report = super::dialects::ask(&b, vendor, dataset::EARNINGS_CALENDAR, &[""], ahead);
        assert_eq!((report.failed, report.notices.len()), (0, 0), "{vendor}");
        let rows = stored(&b, vendor, dataset::EARNINGS_CALENDAR);
        let symbols: Vec<String> = rows[0].column("symbol").unwrap().str().unwrap().iter().flatten().map(str::to_string).collect();
        assert_eq!(symbols, ["A", "A", "B"], "{vendor}");
    }
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}
