//! Windows of one symbol in one call: what becomes of each when they do not all fare alike.

use super::*;
use std::sync::OnceLock;

fn year(vendor: &str, name: &str, year: i16) -> queue::NewTask {
    let first = |year| TradingDay::ymd(year, 1, 1).unwrap();
    window_of(vendor, name, DateRange::new(first(year), first(year + 1)).unwrap())
}

fn window_of(vendor: &str, name: &str, range: DateRange) -> queue::NewTask {
    let (kind, priority) = (Kind::Gap, Kind::Gap.priority());
    queue::NewTask { dataset: name.into(), symbol: "AAA".into(), range, kind, priority, vendor: vendor.into(), not_before: None, run_id: None }
}

/// Tiingo's answer: a bar for each session of the window.
fn prices(call: &Call) -> std::result::Result<Raw, Broken> {
    let arg = |k: &str| day(&call.query.iter().find(|(n, _)| n == k).unwrap().1);
    let range = DateRange::new(arg("startDate"), arg("endDate").plus_days(1)).unwrap();
    let row = |d: &TradingDay| format!(r#"{{"date":"{d}T00:00:00.000Z","open":5,"high":6,"low":4,"close":{},"volume":1,"divCash":0,"splitFactor":1}}"#, d.0);
    let rows: Vec<String> = crate::calendar::Calendar::xnys().sessions(range).iter().map(row).collect();
    raw(200, format!("[{}]", rows.join(",")))
}

fn by_year(ctx: &IngestContext, column: &str) -> Vec<(String, String)> {
    let conn = ctx.db.lock().unwrap();
    let mut st = conn.prepare(&format!("SELECT substr(start_date, 1, 4), {column} FROM backfill_queue ORDER BY 1")).unwrap();
    st.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap().map(std::result::Result::unwrap).collect()
}

fn told(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect()
}

#[tokio::test]
async fn what_lies_between_two_windows_is_dropped_and_what_is_not_due_is_not_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let vendor = FakeVendor::new(100, Box::new(|_, call| Some(prices(call))));
    let ctx = keyed_context(dir.path(), vendor.clone(), &["TIINGO"]);
    let today = DateRange::new(day("2018-01-10"), day("2018-01-11")).unwrap();
    let tasks = [year("tiingo", "equities_eod", 2015), year("tiingo", "equities_eod", 2017), window_of("tiingo", "equities_eod", today)];
    ctx.db.write(|tx| seed(tx, ctx.host().now(), &tasks)).unwrap();
    let report = drain(&ctx, DrainUntil::Empty, &Quiet).await.unwrap();
    assert_eq!((vendor.calls(), report.tasks_done), (1, 2));
    assert_eq!(by_year(&ctx, "status"), told(&[("2015", "DONE"), ("2017", "DONE"), ("2018", "PENDING")]));
    assert!(vendor.asked.lock().unwrap()[0].contains(r#"("startDate", "2015-01-01"), ("endDate", "2017-12-31")"#));
    let years: BTreeSet<i16> = bars_on_drive(&ctx).keys().map(|(_, d)| TradingDay(*d).year()).collect();
    assert_eq!(years, BTreeSet::from([2015, 2017]), "nobody asked for 2016");
    let sessions = |y| crate::calendar::Calendar::xnys().sessions(year("tiingo", "equities_eod", y).range).len() as u64;
    assert_eq!(report.rows, sessions(2015) + sessions(2017));
    assert!(all_manifests(&ctx.root).unwrap().iter().all(|(_, m)| m.asked.t0.year() + 1 == m.asked.t1.year()));
}

/// Takes the lease of one window away while its answer is under way, the first time.
struct Robber {
    vendor: Arc<FakeVendor>,
    db: OnceLock<Arc<Db>>,
}

impl Transport for Robber {
    fn send<'a>(&'a self, call: &'a Call) -> Sending<'a> {
        Box::pin(async move {
            if self.vendor.calls() == 0 {
                let theirs = "UPDATE backfill_queue SET lease_token = lease_token + 1 WHERE start_date = '2014-01-01'";
                self.db.get().unwrap().write(|tx| Ok(tx.execute(theirs, [])?)).unwrap();
            }
            Ok(self.vendor.answer(call))
        })
    }
}

#[tokio::test]
async fn a_window_whose_lease_is_lost_is_withdrawn_and_the_others_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let vendor = FakeVendor::new(100, Box::new(|_, call| Some(prices(call))));
    let robber = Arc::new(Robber { vendor: vendor.clone(), db: OnceLock::new() });
    let ctx = keyed_context(dir.path(), robber.clone(), &["TIINGO"]);
    assert!(robber.db.set(ctx.db.clone()).is_ok());
    ctx.db.write(|tx| seed(tx, ctx.host().now(), &[2013, 2014, 2015].map(|y| year("tiingo", "equities_eod", y)))).unwrap();
    let report = drain(&ctx, DrainUntil::Empty, &Quiet).await.unwrap();
    assert_eq!((vendor.calls(), report.tasks_done, status(&ctx)), (2, 3, BTreeMap::from([("DONE".to_string(), 3)])));
    let bars: Vec<(i16, String)> = crate::segment::manifests_for(&ctx.root, "raw/equities_bars")
        .unwrap()
        .into_iter()
        .map(|(_, m)| (m.asked.t0.year(), m.requests[0].source_uri.split(['=', '&']).nth(1).unwrap_or_default().to_string()))
        .collect();
    assert_eq!(bars, [(2013, "2013-01-01".into()), (2015, "2013-01-01".into()), (2014, "2014-01-01".into())], "the lost one is the second call's alone");
    let actions = crate::segment::manifests_for(&ctx.root, "raw/corp_actions").unwrap();
    assert_eq!(actions.len(), 3, "what came beside it is withdrawn with it");
}

#[tokio::test]
async fn a_window_that_the_plan_does_not_reach_takes_none_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let script: Script = Box::new(|_, call| {
        let from = call.query.iter().find(|(k, _)| k.ends_with("date.gte")).map(|(_, v)| v.clone()).unwrap_or_default();
        let refused = r#"{"status":"NOT_AUTHORIZED","message":"Your plan doesn't include this data timeframe."}"#;
        Some(if from.as_str() < "2014" { raw(403, refused.into()) } else { raw(200, r#"{"status":"OK","results":[]}"#.into()) })
    });
    let vendor = FakeVendor::new(100, script);
    let ctx = keyed_context(dir.path(), vendor.clone(), &["MASSIVE"]);
    ctx.db.write(|tx| seed(tx, ctx.host().now(), &[2013, 2014, 2015].map(|y| year("massive", "corp_actions", y)))).unwrap();
    let report = drain(&ctx, DrainUntil::Empty, &Quiet).await.unwrap();
    assert_eq!(by_year(&ctx, "outcome"), told(&[("2013", "BEFORE_DEPTH"), ("2014", "OK"), ("2015", "OK")]));
    assert_eq!((report.tasks_done, vendor.calls()), (3, 1 + 1 + 2 + 2));
}
