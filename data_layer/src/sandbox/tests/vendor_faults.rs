//! Every fault of a call against every second vendor: what passes is right, what is wrong is seen, and nobody asks for ever.

use super::super::client;
use super::dialects::{ask, folder_world, keyed, market, range, stored};
use super::ingest::{Bench, bench_with, faults};
use super::*;
use crate::root::DataPath;
use crate::scheduler::{self, DrainUntil, Quiet};
use crate::time::DateRange;

/// A question whose faultless answer is known, in a market that has it.
struct Question {
    vendor: &'static str,
    dialect: &'static str,
    dataset: &'static str,
    symbol: &'static str,
    window: DateRange,
}

fn in_the_market() -> [Question; 3] {
    let question = |vendor, dataset, symbol, window| Question { vendor, dialect: vendor, dataset, symbol, window };
    [
        question("tiingo", "equities_eod", "AAPL", range("2018-01-29", "2018-02-07")),
        question("massive", "equities_eod", "AAPL", range("2018-01-29", "2018-02-07")),
        question("fmp", "delistings", "", range("2010-01-04", "2018-02-07")),
    ]
}

fn in_the_folder() -> [Question; 2] {
    [
        Question { vendor: "sec_edgar", dialect: "sec_data", dataset: "fundamentals", symbol: "0000320193", window: range("2017-01-01", "2017-11-30") },
        Question { vendor: "treasury", dialect: "treasury", dataset: "treasury", symbol: "", window: range("2017-11-01", "2017-11-30") },
    ]
}

/// How many rows the newest answer of a question left on the drive.
fn newest_rows(b: &Bench, q: &Question) -> usize {
    stored(b, q.vendor, q.dataset).last().map_or(0, polars::prelude::DataFrame::height)
}

fn quarantined(b: &Bench) -> usize {
    crate::store::list(&b.ctx.root, &DataPath::new("raw/_quarantine").unwrap()).map_or(0, |l| l.len())
}

/// Ask once per fault, each fault befalling the first call only.
fn storm(b: &Bench, q: &Question) {
    let run = |plan: &str| {
        faults(b, &format!("{{vendor: {}, times: 1, {plan}}}", q.dialect));
        let before = stored(b, q.vendor, q.dataset).len();
        let report = ask(b, q.vendor, q.dataset, &[q.symbol], q.window);
        assert_eq!((report.tasks_done, report.failed, report.notices.len()), (1, 0, 0), "{} {plan}: {report:?}", q.vendor);
        (report.calls, stored(b, q.vendor, q.dataset).len() - before)
    };
    faults(b, "");
    assert_eq!(ask(b, q.vendor, q.dataset, &[q.symbol], q.window).failed, 0);
    let rows = newest_rows(b, q);
    let kinds = stored(b, q.vendor, q.dataset);
    assert!(rows > 1, "{}", q.vendor);
    // Trouble that passes: the second attempt brings everything.
    for plan in [
        "do: status, status: 503",
        "do: reset",
        "do: lost_ack",
        "do: error_after",
        "do: error_before",
        "do: truncate",
        "do: html",
        "do: body, text: 'null'",
        "do: gzip_bomb, mib: 8",
        "do: slow, seconds: 0.02",
        "do: drip, seconds: 0.02",
        "do: duplicate_rows",
        "do: clock_skew",
        "do: page_short, rows: 3",
    ] {
        if plan.contains("page_short") && q.vendor == "fmp" {
            // Where pages are numbered, one short page among full ones is a hole that nobody can see.
            continue;
        }
        let (calls, _) = run(plan);
        assert_eq!(newest_rows(b, q), rows, "{} {plan}", q.vendor);
        assert!(calls <= 6, "{} {plan}: {calls} calls", q.vendor);
    }
    // An answer that is smaller, or other, than it was: it comes in as it was said, and the audit compares.
    for plan in ["do: drop_session", "do: late_bars, seconds: 0", "do: revise, factor: 1.5", "do: scale, factor: 100"] {
        run(plan);
        assert!(newest_rows(b, q) <= rows, "{} {plan}", q.vendor);
    }
    assert!(stored(b, q.vendor, q.dataset).len() >= kinds.len());
    // Rows of somebody else never come in under the name that was asked for, where the vendor names its rows at all.
    let before = quarantined(b);
    run("do: wrong_symbol");
    if matches!(q.vendor, "massive" | "sec_edgar" | "treasury") {
        assert!(quarantined(b) > before, "{}: another name's rows are set aside", q.vendor);
        assert_eq!(newest_rows(b, q), rows, "{}", q.vendor);
    }
    // A cursor that leads in a circle, wherever there is a cursor.
    if matches!(q.vendor, "massive" | "fmp") {
        let before = quarantined(b);
        faults(b, &format!("{{vendor: {}, times: 2, do: cursor_loop}}", q.dialect));
        let report = ask(b, q.vendor, q.dataset, &[q.symbol], q.window);
        assert!(report.failed == 0 && report.calls < 12, "{report:?}");
        assert!(quarantined(b) > before && newest_rows(b, q) == rows, "{}", q.vendor);
    }
    too_many(b, q, rows);
    entitlement(b, q);
}

/// Too many calls, says the vendor: it is left alone for as long as it says, and everything comes in afterwards.
fn too_many(b: &Bench, q: &Question, rows: usize) {
    faults(b, &format!("{{vendor: {}, times: 1, do: status, status: 429, retry_after: 7}}", q.dialect));
    let mut report = ask(b, q.vendor, q.dataset, &[q.symbol], q.window);
    let mut done = report.tasks_done;
    for _ in 0..3 {
        let Some(until) = report.waiting_until else { break };
        assert!(until.seconds_since(b.host.now()) <= 26.0 * 3_600.0, "{}: {until}", q.vendor);
        b.host.block_on(client::advance(&b.host, &b.sandbox.base(), until)).unwrap().unwrap();
        report = b.host.block_on(scheduler::drain(&b.ctx, DrainUntil::Empty, &Quiet)).unwrap().unwrap();
        done += report.tasks_done;
    }
    assert_eq!((done, report.failed), (1, 0), "{}: {report:?}", q.vendor);
    assert_eq!(newest_rows(b, q), rows, "{}", q.vendor);
}

/// A plan that holds the lane no longer: one sentence, no retry loop, and nothing is asked again.
fn entitlement(b: &Bench, q: &Question) {
    let times = if q.vendor == "sec_edgar" { "times: 1, " } else { "" };
    faults(b, &format!("{{vendor: {}, {times}do: entitlement}}", q.dialect));
    let report = ask(b, q.vendor, q.dataset, &[q.symbol], q.window);
    // Public services have no plans: the SEC turns a stranger away for ten minutes, the Treasury in words for a person to read.
    if q.vendor == "sec_edgar" {
        assert_eq!((report.tasks_done, report.calls, report.failed), (1, 2, 0), "{report:?}");
        return;
    }
    if q.vendor == "treasury" {
        assert_eq!((report.tasks_done, report.calls, report.failed, report.notices.len()), (0, 1, 0, 1), "{report:?}");
        return;
    }
    assert_eq!((report.calls, report.failed, report.notices.len()), (1, 0, 1), "{}: {report:?}", q.vendor);
    let said = report.notices[0].body().what.clone();
    assert_eq!(said, format!("the {} key's plan does not include {}", q.vendor, q.dataset));
    let again = ask(b, q.vendor, q.dataset, &[q.symbol], q.window);
    assert_eq!((again.calls, again.notices.len()), (0, 0), "{}: asked again after a refusal", q.vendor);
}

#[test]
fn no_fault_of_a_market_vendor_brings_wrong_rows_or_a_loop() {
    let b = market();
    in_the_market().iter().for_each(|q| storm(&b, q));
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

#[test]
fn no_fault_of_a_public_service_brings_wrong_rows_or_a_loop() {
    let (dir, cfg) = folder_world();
    let b = bench_with(dir, cfg, "2017-11-29T23:20:00Z", true);
    in_the_folder().iter().for_each(|q| storm(&b, q));
    b.host.block_on(b.sandbox.stop()).unwrap().unwrap();
}

/// Faults on the answers themselves: the rows that each changes, in every dialect's own shape.
#[test]
fn rewritten_answers_change_what_they_say_they_change() {
    let (_dir, cfg) = folder_world();
    let state = State::open(&SandboxConfig { now: Some(t("2017-11-29T23:20:00Z")), ..cfg }).unwrap();
    let with = |plan: &str, target: &str| {
        let mut all = state.plan().unwrap();
        *all = super::super::faults::Plan::parse(&format!("version: 1\nfaults: [{plan}]")).unwrap();
        drop(all);
        String::from_utf8(state.answer(&keyed(target)).reply.body).unwrap()
    };
    let prices = "/tiingo/tiingo/daily/A/prices?startDate=2017-11-27&endDate=2017-11-29";
    let bars = "/massive/v2/aggs/ticker/A/range/1/day/2017-11-24/2017-11-28";
    let curve = "/treasury/resource-center/data-chart-center/interest-rates/pages/xml?data=daily_treasury_yield_curve&field_tdr_date_value=2017";
    let filings = "/sec_data/api/xbrl/companyfacts/CIK0000320193.json";
    let gone = "/fmp/stable/delisted-companies";
    for (target, row) in [(prices, "adjClose"), (bars, "\"t\":"), (curve, "NEW_DATE>"), (filings, "accn"), (gone, "ipoDate")] {
        let rows = |plan: &str| with(plan, target).matches(row).count();
        let all = rows("");
        assert!(rows("{do: duplicate_rows}") > all && rows("{do: drop_session}") < all, "{target}");
        for plan in ["{do: scale, factor: 10}", "{do: revise, factor: 2}"] {
            assert!(target == gone || with(plan, target) != with("", target), "{target} {plan}");
        }
    }
    assert!(with("{do: late_bars, seconds: 172800}", prices).matches("adjClose").count() < 3);
}
