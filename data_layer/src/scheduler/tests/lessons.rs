//! Failures of other collectors, excluded at the level of the runners.

use super::*;

#[tokio::test]
async fn lesson_019_every_kind_of_task_is_executed() {
    let dir = tempfile::tempdir().unwrap();
    let vendor = FakeVendor::new(10_000, no_script());
    let ctx = context(dir.path(), Arc::clone(&vendor), None).unwrap();
    for kind in [Kind::Bootstrap, Kind::Gap, Kind::Forward, Kind::QcProbe] {
        let planned = bootstrap_tasks(&ctx.vendors().endpoints, "equities_eod", &names(1), window(), kind, None);
        ctx.db.write(|tx| seed(tx, ctx.host().now(), &planned.tasks)).unwrap();
    }
    let report = drain(&ctx, DrainUntil::Empty, &Quiet).await.unwrap();
    assert_eq!((report.tasks_done, report.failed), (8, 0));
    assert_eq!(status(&ctx), BTreeMap::from([("DONE".to_string(), 8)]));
}

#[tokio::test]
async fn lesson_040_a_nearly_full_drive_leases_nothing_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let vendor = FakeVendor::new(10_000, no_script());
    let mut ctx = context(dir.path(), Arc::clone(&vendor), None).unwrap();
    seed_eod(&ctx, &names(2)).unwrap();
    ctx.disk.stop = 0.0;
    let report = drain(&ctx, DrainUntil::Empty, &Quiet).await.unwrap();
    assert!(report.notices[0].is(code::SSD_FULL));
    assert_eq!((vendor.calls(), status(&ctx)), (0, BTreeMap::from([("PENDING".to_string(), 4)])));
    ctx.disk.stop = 1.1;
    assert_eq!(drain(&ctx, DrainUntil::Empty, &Quiet).await.unwrap().tasks_done, 4, "room again: the work goes on");
}

/// Alpha Vantage answers only once Alpaca has answered everything: a shared lock or runner would never end.
struct Slow {
    inner: Arc<FakeVendor>,
    fast_calls: usize,
    fast: tokio::sync::watch::Sender<usize>,
}

impl Transport for Slow {
    fn send<'a>(&'a self, call: &'a Call) -> Sending<'a> {
        Box::pin(async move {
            if call.url.ends_with("/query") {
                let mut seen = self.fast.subscribe();
                drop(seen.wait_for(|n| *n >= self.fast_calls).await);
            } else {
                self.fast.send_modify(|n| *n += 1);
            }
            Ok(self.inner.answer(call))
        })
    }
}

#[tokio::test]
async fn lesson_015_a_slow_vendor_holds_up_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let inner = FakeVendor::new(10_000, no_script());
    let base = context(dir.path(), Arc::clone(&inner), None).unwrap();
    let slow = Arc::new(Slow { inner, fast_calls: 2, fast: tokio::sync::watch::Sender::new(0) });
    let mut ctx = base.clone();
    ctx.fetcher.transport = slow;
    let tasks = listing_tasks(&ctx.vendors().endpoints, &[day("2017-01-31")], Kind::Bootstrap, None).unwrap();
    ctx.db.write(|tx| seed(tx, ctx.host().now(), &tasks)).unwrap();
    seed_eod(&ctx, &names(4)).unwrap();
    let done = tokio::time::timeout(Duration::from_secs(20), drain(&ctx, DrainUntil::Empty, &Quiet)).await.expect("nobody waits for the slow one");
    assert_eq!(done.unwrap().tasks_done, 9);
}

#[tokio::test]
async fn lesson_022_a_lane_that_works_for_a_famous_name_only_is_no_lane() {
    let dir = tempfile::tempdir().unwrap();
    let script: Script = Box::new(|_, call| {
        if call.url.contains("/tiingo/daily/AAPL/") {
            return Some(raw(200, r#"[{"date":"2018-01-08T00:00:00.000Z","close":1.0}]"#.into()));
        }
        call.url.contains("/tiingo/").then(|| raw(403, r#"{"detail":"You do not have permission to access this ticker"}"#.into()))
    });
    let vendor = FakeVendor::new(10_000, script);
    let ctx = keyed_context(dir.path(), vendor, &["TIINGO"]);
    let found = probe_lanes(&ctx, &["AAPL".into(), "ADBE".into()]).await.unwrap();
    let lane = found.iter().find(|e| e.vendor == "tiingo" && e.dataset == "equities_eod").unwrap();
    assert!(lane.blocked() && lane.detail.contains("AAPL") && lane.detail.contains("ADBE"), "{}", lane.detail);
}

#[tokio::test]
async fn an_answer_about_a_symbol_that_cannot_be_one_fails_its_row_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let long = "X".repeat(10_000);
    let script = move |_: usize, call: &Call| {
        let dividend = format!(r#"{{"symbol":"{long}","ex_date":"2017-01-10","process_date":"2017-01-11","rate":0.5,"id":"1"}}"#);
        let body = format!(r#"{{"corporate_actions":{{"cash_dividends":[{dividend}]}},"next_page_token":null}}"#);
        call.url.ends_with("/v1/corporate-actions").then(|| raw(200, body))
    };
    let vendor = FakeVendor::new(10_000, Box::new(script));
    let ctx = context(dir.path(), Arc::clone(&vendor), None).unwrap();
    let planned = bootstrap_tasks(&ctx.vendors().endpoints, dataset::CORP_ACTIONS, &names(1), window(), Kind::Forward, None);
    ctx.db.write(|tx| seed(tx, ctx.host().now(), &planned.tasks)).unwrap();
    seed_eod(&ctx, &names(2)).unwrap();
    let report = drain(&ctx, DrainUntil::Empty, &Quiet).await.unwrap();
    assert_eq!((report.tasks_done, report.failed), (4, 2), "{report:?}");
    let words: String = {
        let conn = ctx.db.lock().unwrap();
        conn.query_row("SELECT last_error FROM backfill_queue WHERE status = 'FAILED'", [], |r| r.get(0)).unwrap()
    };
    assert!(words.contains("a symbol of 10000 bytes") && words.len() < 200, "{words}");
}
