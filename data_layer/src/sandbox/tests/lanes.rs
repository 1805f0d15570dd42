//! Lanes beside the prices over days of a world: what is asked when, what is not asked twice, and what a shut lane does to the rest.

use super::super::client;
use super::dialects::range;
use super::ingest::{Bench, bench, bench_with, day, faults};
use super::*;
use crate::audit::AuditScope;
use crate::ledger;
use crate::node::Node;
use crate::queue::{Kind, SeedReport};
use crate::root::DataPath;
use crate::scheduler::{self, DrainUntil, Quiet};
use crate::schema::{dataset, table, timeframe};
use crate::stage;
use crate::store;
use std::collections::BTreeMap;

/// Two companies with filings, a yield curve, a chain on one of them, and a name that has left.
fn world() -> Bench {
    let (dir, cfg) = super::companies::world();
    let data = dir.path().join("world");
    let curve: String = ["2017-11-21", "2017-11-22", "2017-11-24", "2017-11-27", "2017-11-28"].map(|d| format!("BC_10YEAR,{d},2.3,{d},\n")).concat();
    std::fs::write(data.join("macros.csv"), format!("series_id,observation_date,value,realtime_start,realtime_end\n{curve}")).unwrap();
    let chain = "underlying,date,expiration,right,strike,bid,ask,last\nA,2017-11-22,2017-12-15,C,90,12,12.5,12.2\nA,2017-11-24,2017-12-15,C,95,9,9.5,9.1\n";
    std::fs::write(data.join("option_chains.csv"), chain).unwrap();
    let names = "symbol,name,exchange,assetType,ipoDate,delistingDate,status\nA,A,NYSE,Stock,2017-11-21,null,Active\nB,B,NYSE,Stock,2017-11-21,null,Active\n\
        C,C,NYSE,Stock,2017-11-21,2017-11-27,Delisted\nOLD,Old,NYSE,Stock,2010-01-04,2017-11-22,Delisted\n";
    std::fs::write(data.join("listings.csv"), names).unwrap();
    bench_with(dir, cfg, "2017-11-24T23:20:00Z", true)
}

fn wish(b: &Bench, datasets: &str) {
    let path = DataPath::new("control/configs/backfill.yml").unwrap();
    store::write_atomic(&b.ctx.root, &path, format!("version: 1\ndatasets: {datasets}\n").as_bytes()).unwrap();
}

/// What is said of each lane.
fn said(node: &Node) -> BTreeMap<String, String> {
    node.lanes().unwrap().into_iter().map(|lane| (lane.dataset.clone(), lane.sentence())).collect()
}

/// Rows of the queue: dataset, symbol, kind and window.
fn queued(node: &Node, name: &str) -> Vec<String> {
    let conn = node.db().lock().unwrap();
    let mut st =
        conn.prepare("SELECT kind || ' ' || symbol || ' ' || start_date || ' ' || end_date FROM backfill_queue WHERE dataset = ?1 ORDER BY id").unwrap();
    st.query_map([name], |r| r.get(0)).unwrap().map(Result::unwrap).collect()
}

/// Day and code of a table's rows.
fn codes(node: &Node, table: &str) -> Vec<(String, String)> {
    let rows = ledger::all_rows(node.db()).unwrap().into_iter().filter(|r| r.key.table_name == table);
    rows.map(|r| (r.key.dt.to_string()[5..].to_string(), r.verdict.qc_code)).collect()
}

/// A night and a planner's round, as the service has them.
fn evening(b: &Bench, node: &Node, now: &str) {
    if b.host.now() < t(now) {
        b.host.block_on(client::advance(&b.host, &b.sandbox.base(), t(now))).unwrap().unwrap();
    }
    node.seed_forward().unwrap();
    node.work(DrainUntil::Empty, &Quiet).unwrap();
    node.heal(node.window().unwrap(), AuditScope::Incremental, &Quiet).unwrap();
}

#[test]
fn lanes_that_are_wanted_and_answer_are_asked_as_often_as_their_data_changes_and_never_twice() {
    let b = world();
    super::companies::staged(&b);
    let node = Node::new(b.ctx.clone());
    let first = said(&node);
    assert_eq!(first[dataset::TREASURY], "treasury: off, treasury has not been tried yet: at the next maintenance, or by trademl pi-data-node");
    assert_eq!(first[dataset::FUNDAMENTALS], "fundamentals: off, as datasets.fundamentals.collect in backfill.yml says");
    assert!(first[dataset::OPTIONS_CHAINS].ends_with("off, as datasets.options_chains.collect in backfill.yml says"));
    assert_eq!(node.seed_lanes().unwrap(), SeedReport::default(), "what was never tried is never asked");

    wish(&b, "{fundamentals: {collect: true, companies_a_day: 1}, options_chains: {collect: true, symbols: [\"A\"]}}");
    let looked = b.host.block_on(scheduler::probe_again(&b.ctx, &["A".into()])).unwrap().unwrap();
    assert_eq!((looked.looked_at, looked.notices.len()), (3, 0), "the curve, the delisted companies, the chain");
    let now = said(&node);
    assert_eq!(now[dataset::TREASURY], "treasury: on, the curve of each session from treasury, one call");
    assert_eq!(now[dataset::DELISTINGS], "delistings: on, the newest pages of fmp every 7 days");
    assert_eq!(now[dataset::FUNDAMENTALS], "fundamentals: on, each company's numbers from sec_edgar after a report, at most 1 companies a day");
    assert_eq!(now[dataset::OPTIONS_CHAINS], "options_chains: on, after each session from alpaca: A");

    let stage = stage::load(&b.ctx.root).unwrap();
    node.seed(&node.bootstrap(&stage, range("2017-11-21", "2017-11-25"), None).unwrap()).unwrap();
    node.work(DrainUntil::Empty, &Quiet).unwrap();
    evening(&b, &node, "2017-11-24T23:20:00Z");
    assert_eq!(queued(&node, dataset::OPTIONS_CHAINS), ["FORWARD A 2017-11-24 2017-11-25"]);
    assert_eq!(queued(&node, dataset::FUNDAMENTALS).len(), 1, "one company a day");
    assert_eq!((queued(&node, dataset::TREASURY).len(), queued(&node, dataset::DELISTINGS).len()), (1, 1));
    assert_eq!(node.seed_lanes().unwrap().inserted, 0, "nothing is asked twice");

    // Monday is slept through: its chain is gone, its curve is not. It is asked for when Tuesday's is published, half past six in New York.
    evening(&b, &node, "2017-11-28T23:40:00Z");
    assert_eq!(queued(&node, dataset::OPTIONS_CHAINS)[1..], ["FORWARD A 2017-11-28 2017-11-29"]);
    assert_eq!(codes(&node, table::RAW_OPTIONS), [("11-24", "OK"), ("11-27", "NOT_SEEN"), ("11-28", "OK")].map(|(d, c)| (d.to_string(), c.to_string())));
    assert_eq!(queued(&node, dataset::TREASURY)[1..], ["FORWARD  2017-11-18 2017-11-29"], "a few days again");
    let curve = codes(&node, table::RAW_MACROS);
    assert!(curve.iter().all(|(_, code)| code == "OK"), "{:?}", &curve[curve.len() - 3..]);
    assert_eq!(crate::reference::Macros::load(&b.ctx.root).unwrap().usable_at_open("BC_10YEAR", day("2017-11-29")), Some((day("2017-11-28"), 2.3)));
    assert_eq!(queued(&node, dataset::DELISTINGS).len(), 1, "weekly");
    // One company more a day; then the one that has filed since it was asked about, from that day on.
    let ends = |node: &Node| codes(node, table::REF_FUNDAMENTALS).into_iter().rev().take(2).collect::<Vec<_>>();
    assert!(queued(&node, dataset::FUNDAMENTALS)[1].starts_with("BOOTSTRAP 0000000012"));
    assert_eq!(ends(&node), [("11-28", "MISSING"), ("11-27", "OK")].map(|(d, c)| (d.to_string(), c.to_string())), "its report has not been read");
    evening(&b, &node, "2017-11-29T23:40:00Z");
    assert_eq!(queued(&node, dataset::FUNDAMENTALS)[2..], ["FORWARD 0000000011 2017-11-24 2017-11-30"]);
    assert_eq!(ends(&node), [("11-29", "OK"), ("11-28", "OK")].map(|(d, c)| (d.to_string(), c.to_string())));
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

#[test]
fn a_lane_that_leaves_the_plan_is_off_in_the_vendors_words_and_harms_no_bar() {
    let b = world();
    super::companies::staged(&b);
    wish(&b, "{options_chains: {collect: true, symbols: [\"A\"]}, treasury: {collect: false}}");
    b.host.block_on(scheduler::probe_again(&b.ctx, &["A".into()])).unwrap().unwrap();
    let node = Node::new(b.ctx.clone());
    let stage = stage::load(&b.ctx.root).unwrap();
    node.seed(&node.bootstrap(&stage, range("2017-11-21", "2017-11-25"), None).unwrap()).unwrap();
    node.work(DrainUntil::Empty, &Quiet).unwrap();
    evening(&b, &node, "2017-11-24T23:20:00Z");
    let bars = || ledger::coverage_held(node.db(), table::RAW_EQUITIES_BARS, timeframe::DAY).unwrap().unwrap().1.codes;
    assert_eq!((codes(&node, table::RAW_OPTIONS).len(), bars().into_keys().collect::<Vec<_>>()), (1, vec!["OK".to_string()]));
    faults(&b, "{vendor: alpaca_data, path: '*options*', do: entitlement}");
    evening(&b, &node, "2017-11-27T23:20:00Z");
    let off = &said(&node)[dataset::OPTIONS_CHAINS];
    assert!(off.starts_with("options_chains: off, the alpaca key's plan does not include options_chains: "), "{off}");
    evening(&b, &node, "2017-11-28T23:20:00Z");
    assert_eq!(queued(&node, dataset::OPTIONS_CHAINS).len(), 2, "a lane that is shut is not asked");
    assert_eq!((codes(&node, table::RAW_OPTIONS), codes(&node, table::RAW_MACROS)), (Vec::new(), Vec::new()), "a lane that is off has no rows");
    assert_eq!(bars().into_keys().collect::<Vec<_>>(), ["OK"], "and no bar is doubted for it");
    let report = crate::findings::findings(&b.ctx.root, &b.ctx.db).unwrap().with_lanes(node.lanes().unwrap()).markdown();
    assert!(report.contains(&format!("- {off}\n")) && report.contains("- treasury: off, as datasets.treasury.collect"), "{report}");
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

#[test]
fn a_list_of_delisted_companies_moves_no_day_of_a_name_that_the_listings_know() {
    let b = world();
    super::companies::staged(&b);
    let node = Node::new(b.ctx.clone());
    b.host.block_on(client::advance(&b.host, &b.sandbox.base(), t("2017-11-28T23:20:00Z"))).unwrap().unwrap();
    let window = range("2017-11-21", "2017-11-29");
    let ask = |name: &str| {
        let mut tasks = node.wanted(name, &[], window).unwrap();
        tasks.iter_mut().for_each(|t| t.kind = Kind::Gap);
        node.seed(&tasks).unwrap();
        node.work(DrainUntil::Empty, &Quiet).unwrap();
        crate::reference::refresh_reference(&b.ctx.root, &b.ctx.db).unwrap();
        crate::reference::load_listings(&b.ctx.root).unwrap()
    };
    let second = ask(dataset::DELISTINGS);
    let gone: Vec<_> = second.iter().map(|l| (l.symbol.as_str(), l.delisting_date)).collect();
    assert_eq!(gone, [("C", Some(day("2017-11-27"))), ("OLD", Some(day("2017-11-22")))], "better than nobody's word");
    let mut tasks = scheduler::listing_tasks(&b.ctx.vendors().endpoints, &[day("2017-11-28")], Kind::Gap, None).unwrap();
    tasks.iter_mut().for_each(|t| t.not_before = None);
    node.seed(&tasks).unwrap();
    node.work(DrainUntil::Empty, &Quiet).unwrap();
    crate::reference::refresh_reference(&b.ctx.root, &b.ctx.db).unwrap();
    let all = crate::reference::load_listings(&b.ctx.root).unwrap();
    assert_eq!(all.iter().map(|l| l.symbol.as_str()).collect::<Vec<_>>(), ["A", "B", "C", "OLD"], "one listing each");
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

#[test]
fn bars_of_sessions_that_no_plan_includes_are_not_entitled_until_the_vendor_serves_again() {
    let b = bench("2017-11-30T21:20:00Z");
    let mut service = super::node::serve(&b, super::node::told(&b));
    faults(&b, "{vendor: alpaca_data, path: '*bars*', do: entitlement, from: 2017-12-04T00:00:00Z, to: 2017-12-06T23:00:00Z}");
    let codes = |node: &Node| ledger::coverage_held(node.db(), table::RAW_EQUITIES_BARS, timeframe::DAY).unwrap().unwrap().1.codes;
    super::node::live(&b, &mut service, t("2017-12-06T00:00:00Z"), |_, _| {});
    let shut = codes(service.node());
    assert_eq!((shut["NOT_ENTITLED"], shut.get("MISSING")), (8, None), "two sessions of four names: {shut:?}");
    assert!(queued(service.node(), dataset::EQUITIES_EOD).iter().all(|row| !row.starts_with("GAP")), "nobody is there to be asked");
    super::node::live(&b, &mut service, t("2017-12-09T00:00:00Z"), |_, _| {});
    let open = codes(service.node());
    assert_eq!(open.keys().map(String::as_str).collect::<Vec<_>>(), ["OK"], "{open:?}");
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}
