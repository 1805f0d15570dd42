use super::*;
use crate::control::Which;
use crate::fetch::transport::Sending;
use crate::fetch::{Broken, Call, Raw};
use crate::host::FakeHost;
use crate::queue::{Kind, seed};
use crate::root::{DataPath, FsFacts};
use crate::schema::dataset;
use crate::segment::all_manifests;
use crate::sourcing::vendors_from;
use crate::store;
use crate::time::{DateRange, TradingDay, new_york};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

mod lessons;
mod pacing;
mod packing;

/// What the fake vendor does with its n-th call (from 1) in place of answering.
type Script = Box<dyn Fn(usize, &Call) -> Option<std::result::Result<Raw, Broken>> + Send + Sync>;

/// Alpaca and Alpha Vantage in memory: every symbol has a bar every session, over pages of at most `limit` rows.
struct FakeVendor {
    page_cap: usize,
    script: Script,
    asked: Mutex<Vec<String>>,
}

fn raw(status: u16, body: String) -> std::result::Result<Raw, Broken> {
    Ok(Raw { status, headers: BTreeMap::new(), body: body.into_bytes() })
}

impl FakeVendor {
    fn new(page_cap: usize, script: Script) -> Arc<Self> {
        Arc::new(Self { page_cap, script, asked: Mutex::new(Vec::new()) })
    }
    fn calls(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
    fn answer(&self, call: &Call) -> std::result::Result<Raw, Broken> {
        let arg = |k: &str| call.query.iter().find(|(n, _)| n == k).map(|(_, v)| v.clone()).unwrap_or_default();
        let n = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(format!("{}?{:?}", call.url, call.query));
            asked.len()
        };
        if let Some(scripted) = (self.script)(n, call) {
            return scripted;
        }
        if call.url.ends_with("/query") {
            let rows = if arg("state") == "active" {
                "AAA,Triple A,NYSE,Stock,1999-11-18,null,Active\n"
            } else {
                "OLD,Old Inc,NYSE,Stock,1999-11-18,2014-01-02,Delisted\n"
            };
            return raw(200, format!("symbol,name,exchange,assetType,ipoDate,delistingDate,status\n{rows}"));
        }
        if call.url.ends_with("/v1/corporate-actions") {
            return raw(200, r#"{"corporate_actions":{},"next_page_token":null}"#.into());
        }
        let (start, end) = (UtcTime::parse(&arg("start")).unwrap(), UtcTime::parse(&arg("end")).unwrap());
        let zone = new_york();
        let days = DateRange::new(start.day_in(&zone), end.day_in(&zone).plus_days(1)).unwrap();
        let symbols = arg("symbols");
        let mut all = Vec::new();
        for symbol in symbols.split(',').filter(|s| *s != "GONE") {
            for day in crate::calendar::Calendar::xnys().sessions(days) {
                let hour = if crate::calendar::Calendar::xnys().open(*day).to_string().contains("T13:30") { 4 } else { 5 };
                let close = f64::from(day.0 % 97) + symbol.len() as f64;
                all.push((
                    symbol.to_string(),
                    format!(r#"{{"t":"{day}T0{hour}:00:00Z","o":{close},"h":{},"l":{close},"c":{close},"v":1000,"n":5,"vw":{close}}}"#, close + 1.0),
                ));
            }
        }
        let from: usize = arg("page_token").parse().unwrap_or(0);
        let limit = arg("limit").parse::<usize>().unwrap().min(self.page_cap);
        let to = (from + limit).min(all.len());
        let mut bars: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (symbol, bar) in &all[from..to] {
            bars.entry(symbol.clone()).or_default().push(bar.clone());
        }
        let bars: Vec<String> = bars.into_iter().map(|(s, b)| format!("\"{s}\":[{}]", b.join(","))).collect();
        let next = if to < all.len() { format!("\"{to}\"") } else { "null".into() };
        raw(200, format!("{{\"bars\":{{{}}},\"next_page_token\":{next}}}", bars.join(",")))
    }
}

impl Transport for FakeVendor {
    fn send<'a>(&'a self, call: &'a Call) -> Sending<'a> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            Ok(self.answer(call))
        })
    }
}

fn no_script() -> Script {
    Box::new(|_, _| None)
}

fn day(text: &str) -> TradingDay {
    text.parse().unwrap()
}
fn window() -> DateRange {
    DateRange::new(day("2016-11-28"), day("2017-02-01")).unwrap()
}

/// A context on a folder, as a process that was just started would make it.
fn context(dir: &Path, transport: Arc<FakeVendor>, crash_at: Option<u64>) -> Result<IngestContext> {
    context_with(dir, transport, crash_at, BTreeMap::new())
}

/// The same with keys of further vendors.
fn keyed_context(dir: &Path, transport: Arc<dyn Transport>, vendors: &[&str]) -> IngestContext {
    let keys = vendors.iter().map(|v| (format!("{v}_API_KEY"), format!("CANARY-{v}")));
    let addresses = vendors.iter().map(|v| (format!("TRADEML_BASE_URL_{v}"), "http://127.0.0.1:9".to_string()));
    context_with(dir, transport, None, keys.chain(addresses).collect()).unwrap()
}

fn context_with(dir: &Path, transport: Arc<dyn Transport>, crash_at: Option<u64>, mut env: BTreeMap<String, String>) -> Result<IngestContext> {
    for name in ["ALPACA_API_KEY", "ALPACA_API_SECRET", "ALPHA_VANTAGE_API_KEY"] {
        env.insert(name.to_string(), format!("CANARY-{name}"));
    }
    for name in ["ALPACA_DATA", "ALPACA_TRADING", "ALPHA_VANTAGE"] {
        env.insert(format!("TRADEML_BASE_URL_{name}"), "http://127.0.0.1:9".to_string());
    }
    let now = UtcTime::parse("2018-01-10T12:00:00Z").unwrap();
    let host = Host::fake(FakeHost { env, now, crash_at: crash_at.map(|k| (String::new(), k)), ..FakeHost::default() });
    let root = match DataRoot::open(&host, dir) {
        Ok(root) => root,
        Err(_) => DataRoot::create(&host, dir, "replay@1", FsFacts::default(), None)?,
    };
    let db = Arc::new(Db::open(&root, Which::Node)?);
    let vendors = vendors_from(&host, &root, &BTreeMap::new())?;
    IngestContext::with_transport(&host, &root, db, vendors, "node-1", transport)
}

fn names(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("S{i:02}")).collect()
}

fn seed_eod(ctx: &IngestContext, symbols: &[String]) -> Result<()> {
    let planned = bootstrap_tasks(&ctx.vendors().endpoints, "equities_eod", symbols, window(), Kind::Bootstrap, None);
    ctx.db.write(|tx| seed(tx, ctx.host().now(), &planned.tasks)).map(drop)
}

fn files(ctx: &IngestContext, folder: &str) -> Vec<(String, String)> {
    let paths = store::list(&ctx.root, &DataPath::new(folder).unwrap()).unwrap();
    paths.iter().map(|p| (p.to_string(), store::sha256_hex(&store::read(&ctx.root, p).unwrap().unwrap()))).collect()
}

/// Every (symbol, day) on the drive, with its close, as a reader of segments would see them.
fn bars_on_drive(ctx: &IngestContext) -> BTreeMap<(String, i32), f64> {
    let mut out = BTreeMap::new();
    for (_, manifest) in all_manifests(&ctx.root).unwrap() {
        for s in manifest.segments.iter().filter(|_| manifest.table == "raw/equities_bars") {
            let f = store::read_parquet_verified(&ctx.root, &s.path, &s.sha256).unwrap();
            let (symbol, date, close) = (f.column("symbol").unwrap(), f.column("date").unwrap(), f.column("close").unwrap());
            let date = date.cast(&polars::prelude::DataType::Int32).unwrap();
            for i in 0..f.height() {
                let key = (symbol.str().unwrap().get(i).unwrap().to_string(), date.i32().unwrap().get(i).unwrap());
                out.insert(key, close.f64().unwrap().get(i).unwrap());
            }
        }
    }
    out
}

fn status(ctx: &IngestContext) -> BTreeMap<String, u64> {
    let mut out = BTreeMap::new();
    for ((_, _, status), n) in queue::counts(&ctx.db).unwrap() {
        *out.entry(status).or_default() += n;
    }
    out
}

#[tokio::test]
async fn lesson_005_pages_are_followed_to_the_end_across_symbols() {
    let dir = tempfile::tempdir().unwrap();
    let vendor = FakeVendor::new(7, no_script());
    let ctx = context(dir.path(), vendor.clone(), None).unwrap();
    seed_eod(&ctx, &names(3)).unwrap();
    let report = drain(&ctx, DrainUntil::Empty, &Quiet).await.unwrap();
    let sessions = crate::calendar::Calendar::xnys().sessions(window()).len() as u64;
    assert_eq!((report.rows, report.tasks_done, report.failed), (3 * sessions, 6, 0));
    assert_eq!(bars_on_drive(&ctx).len() as u64, 3 * sessions);
    assert_eq!(report.calls as usize, vendor.calls());
    assert_eq!(store::list(&ctx.root, &DataPath::new("raw").unwrap()).unwrap().len(), 2, "one segment a year");
    assert!(vendor.asked.lock().unwrap().iter().all(|a| a.contains("(\"limit\", \"10000\")")));
}

#[tokio::test]
async fn lesson_004_a_lane_outside_the_plan_costs_one_call_and_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let script: Script = Box::new(|_, _| Some(raw(403, r#"{"message":"subscription does not permit querying 1Day bars"}"#.into())));
    let vendor = FakeVendor::new(10_000, script);
    let ctx = context(dir.path(), vendor.clone(), None).unwrap();
    seed_eod(&ctx, &names(150)).unwrap();
    // One batch in flight shows the rule exactly; with several, each batch already sent costs its one call.
    let mut one = ctx.clone();
    one.fetcher.edge = Arc::new(EdgeConfig::parse("version: 1\ninflight: {default: 1}", "edge.yml").unwrap());
    let report = drain(&one, DrainUntil::Empty, &Quiet).await.unwrap();
    assert_eq!((vendor.calls(), report.tasks_done), (1, 300));
    assert!(report.notices[0].is(code::KEY_NOT_ENTITLED) && report.notices[0].to_string().contains("1Day"));
    let lane = entitlement::all(&ctx.db.lock().unwrap()).unwrap()[&("alpaca".into(), "equities_eod".into())].clone();
    assert!(lane.blocked() && lane.detail.contains("subscription"));
    drain(&ctx, DrainUntil::Empty, &Quiet).await.unwrap();
    assert_eq!(vendor.calls(), 1);
}

#[tokio::test]
async fn lesson_009_malformed_is_kept_counted_and_never_empty() {
    let dir = tempfile::tempdir().unwrap();
    let script: Script =
        Box::new(|n, _| (n <= 2).then(|| raw(200, "<html>maintenance</html>".into())).or_else(|| (n == 3).then(|| raw(200, "{\"bars\":".into()))));
    let vendor = FakeVendor::new(10_000, script);
    let ctx = context(dir.path(), vendor, None).unwrap();
    seed_eod(&ctx, &names(1)).unwrap();
    let report = drain(&ctx, DrainUntil::Empty, &Quiet).await.unwrap();
    assert_eq!((report.tasks_done, report.failed), (2, 0), "the back-off was waited for");
    assert!(files(&ctx, "raw/_quarantine").iter().any(|(p, _)| p.ends_with(".gz")));
    assert_eq!(all_manifests(&ctx.root).unwrap().len(), 2);
}

#[tokio::test]
async fn lesson_017_hours_of_rate_limits_fail_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let script: Script = Box::new(|n, _| {
        let headers = BTreeMap::from([("retry-after".to_string(), "1100".to_string())]);
        (n <= 20).then(|| Ok(Raw { status: 429, headers, body: br#"{"message":"too many requests."}"#.to_vec() }))
    });
    let vendor = FakeVendor::new(10_000, script);
    let ctx = context(dir.path(), vendor, None).unwrap();
    seed_eod(&ctx, &names(2)).unwrap();
    let report = drain(&ctx, DrainUntil::Empty, &Quiet).await.unwrap();
    assert_eq!((report.tasks_done, report.failed), (4, 0));
    assert!(ctx.host().now().seconds_since(UtcTime::parse("2018-01-10T12:00:00Z").unwrap()) > 3.0 * 3_600.0);
}

#[tokio::test]
async fn one_unknown_symbol_does_not_spoil_its_batch() {
    let dir = tempfile::tempdir().unwrap();
    let script: Script = Box::new(|_, call| {
        let bad = call.query.iter().any(|(k, v)| k == "symbols" && v.split(',').any(|s| s == "S01"));
        bad.then(|| raw(400, r#"{"message":"invalid symbol: S01"}"#.into()))
    });
    let ctx = context(dir.path(), FakeVendor::new(10_000, script), None).unwrap();
    seed_eod(&ctx, &names(4)).unwrap();
    let report = drain(&ctx, DrainUntil::Empty, &Quiet).await.unwrap();
    assert_eq!((report.tasks_done, report.failed, status(&ctx)["DONE"]), (8, 0, 8));
    let symbols: BTreeSet<String> = bars_on_drive(&ctx).into_keys().map(|k| k.0).collect();
    assert_eq!(symbols.into_iter().collect::<Vec<_>>(), ["S00", "S02", "S03"]);
}

#[tokio::test]
async fn listings_and_empty_actions_leave_a_manifest_that_says_what_was_asked() {
    let dir = tempfile::tempdir().unwrap();
    let ctx = context(dir.path(), FakeVendor::new(10_000, no_script()), None).unwrap();
    let endpoints = &ctx.vendors().endpoints;
    let mut all = listing_tasks(endpoints, &[day("2017-12-29")], Kind::Bootstrap, None).unwrap();
    all.extend(bootstrap_tasks(endpoints, "corp_actions", &names(2), window(), Kind::Bootstrap, None).tasks);
    ctx.db.write(|tx| seed(tx, ctx.host().now(), &all)).unwrap();
    let report = drain(&ctx, DrainUntil::Empty, &Quiet).await.unwrap();
    assert_eq!((report.tasks_done, report.rows), (5, 2));
    let listings = crate::segment::manifests_for(&ctx.root, "raw/listings").unwrap();
    assert_eq!((listings.len(), listings[0].1.requests.len(), listings[0].1.segments.len()), (1, 2, 1));
    let actions = crate::segment::manifests_for(&ctx.root, "raw/corp_actions").unwrap();
    assert_eq!((actions.len(), actions[0].1.segments.len(), actions[0].1.complete), (2, 0, true));
    assert_eq!(actions[0].1.asked.symbols, names(2));
}

#[tokio::test]
async fn lesson_031_killed_anywhere_and_continued_the_drive_ends_the_same() {
    let clean = tempfile::tempdir().unwrap();
    let ctx = context(clean.path(), FakeVendor::new(40, no_script()), None).unwrap();
    seed_eod(&ctx, &names(2)).unwrap();
    drain(&ctx, DrainUntil::Empty, &Quiet).await.unwrap();
    let (want, want_raw) = (bars_on_drive(&ctx), files(&ctx, "raw"));
    let mut survived = false;
    for k in (1..200).step_by(7) {
        let dir = tempfile::tempdir().unwrap();
        let attempt = async {
            let ctx = context(dir.path(), FakeVendor::new(40, no_script()), Some(k))?;
            seed_eod(&ctx, &names(2))?;
            drain(&ctx, DrainUntil::Empty, &Quiet).await
        };
        survived = attempt.await.is_ok();
        let ctx = context(dir.path(), FakeVendor::new(40, no_script()), None).unwrap();
        bookmarks_are_backed_by_bytes(&ctx);
        seed_eod(&ctx, &names(2)).unwrap();
        drain(&ctx, DrainUntil::Empty, &Quiet).await.unwrap();
        assert_eq!(status(&ctx), BTreeMap::from([("DONE".to_string(), 4)]), "crash at {k}");
        assert_eq!(bars_on_drive(&ctx), want, "crash at {k}");
        assert_eq!(files(&ctx, "raw"), want_raw, "crash at {k}");
        if survived {
            break;
        }
    }
    assert!(survived, "the sweep must reach the end");
}

/// A bookmark is never ahead of the bytes: whatever is complete has its segment on the drive.
fn bookmarks_are_backed_by_bytes(ctx: &IngestContext) {
    let conn = ctx.db.lock().unwrap();
    let marked: i64 = conn.query_row("SELECT count(*) FROM bookmarks WHERE complete = 1", [], |r| r.get(0)).unwrap();
    let done: i64 = conn.query_row("SELECT count(*) FROM backfill_queue WHERE status = 'DONE'", [], |r| r.get(0)).unwrap();
    assert_eq!(marked, done);
    let mut st = conn.prepare("SELECT path, sha256, manifest FROM segments").unwrap();
    let rows = st.query_map([], |r| Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?, r.get::<_, String>(2)?))).unwrap();
    for (path, sha, manifest) in rows.map(std::result::Result::unwrap) {
        assert_eq!(store::sha256_hex(&store::read(&ctx.root, &DataPath::new(path).unwrap()).unwrap().unwrap()), sha);
        assert!(store::read(&ctx.root, &DataPath::new(manifest).unwrap()).unwrap().is_some());
    }
}

#[tokio::test]
async fn two_drains_on_one_root_do_everything_once() {
    let dir = tempfile::tempdir().unwrap();
    let vendor = FakeVendor::new(10_000, no_script());
    let a = context(dir.path(), vendor.clone(), None).unwrap();
    let b = context(dir.path(), vendor.clone(), None).unwrap();
    seed_eod(&a, &names(4)).unwrap();
    let (x, y) = tokio::join!(drain(&a, DrainUntil::Empty, &Quiet), drain(&b, DrainUntil::Empty, &Quiet));
    let (x, y) = (x.unwrap(), y.unwrap());
    assert_eq!(x.tasks_done + y.tasks_done, 8);
    assert_eq!(status(&a), BTreeMap::from([("DONE".to_string(), 8)]));
    let sessions = crate::calendar::Calendar::xnys().sessions(window()).len() as u64;
    assert_eq!(x.rows + y.rows, 4 * sessions);
}

#[tokio::test]
async fn lesson_007_what_is_not_due_is_neither_asked_nor_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let vendor = FakeVendor::new(10_000, no_script());
    let ctx = context(dir.path(), vendor.clone(), None).unwrap();
    let tasks = forward_tasks(&ctx.vendors().endpoints, dataset::EQUITIES_EOD, &names(3), day("2018-01-10"), None).unwrap();
    ctx.db.write(|tx| seed(tx, ctx.host().now(), &tasks)).unwrap();
    let report = drain(&ctx, DrainUntil::Empty, &Quiet).await.unwrap();
    assert_eq!((vendor.calls(), report.waiting_until), (0, Some(UtcTime::parse("2018-01-10T21:16:00Z").unwrap())));
    assert_eq!(ctx.host().now(), UtcTime::parse("2018-01-10T12:00:00Z").unwrap(), "the clock was not moved");
    ctx.host().sleep(Duration::from_secs(9 * 3_600 + 16 * 60)).await;
    let report = drain(&ctx, DrainUntil::Empty, &Quiet).await.unwrap();
    assert_eq!((vendor.calls(), report.tasks_done, report.rows), (1, 3, 3));
}

#[tokio::test]
async fn stopping_gives_the_rows_back_and_a_wrong_key_stops_the_vendor() {
    let dir = tempfile::tempdir().unwrap();
    let vendor = FakeVendor::new(10_000, Box::new(|_, _| Some(raw(403, r#"{"message":"forbidden."}"#.into()))));
    let ctx = context(dir.path(), vendor.clone(), None).unwrap();
    seed_eod(&ctx, &names(2)).unwrap();
    let report = drain(&ctx, DrainUntil::Empty, &Quiet).await.unwrap();
    assert!(report.notices[0].is(code::KEY_REJECTED));
    assert_eq!((report.tasks_done, status(&ctx)), (0, BTreeMap::from([("PENDING".to_string(), 4)])));
    ctx.host().cancel(2);
    let report = drain(&ctx, DrainUntil::Moment(ctx.host().now().plus_seconds(3_600)), &Quiet).await.unwrap();
    assert!(report.cancelled);
}

#[test]
fn a_worker_with_an_end_waits_for_what_is_due_before_it_and_leaves_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let ctx = context(dir.path(), FakeVendor::new(10_000, Box::new(|_, _| None)), None).unwrap();
    let (now, none) = (ctx.host().now(), BTreeSet::new());
    let rest_until = |end: UtcTime| rest(&ctx, Vendor::Alpaca, &none, DrainUntil::Moment(end)).unwrap();
    let hour = now.plus_seconds(3_600);
    assert!(matches!(rest_until(hour), Rest::Leave(None)), "an empty queue is no reason to wait");
    seed_eod(&ctx, &names(1)).unwrap();
    let later = now.plus_seconds(600);
    ctx.db.write(|tx| Ok(tx.execute("UPDATE backfill_queue SET next_not_before = ?1", [later.to_string()])?)).unwrap();
    assert!(matches!(rest_until(hour), Rest::Wait(_)));
    assert!(matches!(rest_until(now.plus_seconds(300)), Rest::Leave(Some(t)) if t == later));
}

#[tokio::test]
async fn probing_records_what_the_key_may_do_in_the_vendors_words() {
    let dir = tempfile::tempdir().unwrap();
    let script: Script = Box::new(|_, call| {
        let minute = call.query.iter().any(|(k, v)| k == "timeframe" && v == "1Min");
        minute.then(|| raw(403, r#"{"message":"subscription does not permit querying 1Min bars (the world replay@1 holds no minutes)"}"#.into()))
    });
    let ctx = context(dir.path(), FakeVendor::new(10_000, script), None).unwrap();
    let lanes = probe_lanes(&ctx, &names(2)).await.unwrap();
    let live: BTreeMap<&str, &str> = lanes.iter().map(|l| (l.dataset.as_str(), l.live.as_str())).collect();
    assert_eq!(live, BTreeMap::from([("corp_actions", "live_verified"), ("equities_eod", "live_verified"), ("equities_minute", "entitlement_blocked")]));
    assert!(lanes.iter().any(|l| l.blocked() && l.detail.contains("holds no minutes")));
}

#[tokio::test]
async fn work_for_a_vendor_without_a_key_is_named_and_waits() {
    let dir = tempfile::tempdir().unwrap();
    let vendor = FakeVendor::new(100, no_script());
    let ctx = context(dir.path(), Arc::clone(&vendor), None).unwrap();
    let tasks = macro_tasks(&ctx.vendors().endpoints, &["VIXCLS".into()], window(), Kind::Bootstrap, None).unwrap();
    ctx.db.write(|tx| seed(tx, ctx.host().now(), &tasks)).unwrap();
    let report = drain(&ctx, DrainUntil::Empty, &Quiet).await.unwrap();
    assert!(report.notices[0].is(code::KEY_MISSING) && report.notices[0].body().what.contains("FRED_API_KEY"));
    assert_eq!((vendor.calls(), report.tasks_done), (0, 0));
}
