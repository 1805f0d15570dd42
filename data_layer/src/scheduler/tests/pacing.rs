//! What lets a drain reach a vendor's limit, told by the order of events: no test here measures time. `trademl bench pacing` does.

use super::*;
use crate::sourcing::Endpoints;
use tokio::sync::{Barrier, Notify};

/// How long a usual answer takes, in seconds.
const LATENCY_SECONDS: f64 = 0.3;
/// Longer than any of this takes; what is stuck ends here.
const STUCK: Duration = Duration::from_secs(60);

/// Questions to Alpaca about one symbol, each over a window of its own: each is a batch of one call.
fn single_calls(n: usize) -> Vec<queue::NewTask> {
    let first = day("2016-11-28");
    let window = |i: i32| DateRange::new(first.plus_days(i), first.plus_days(i + 1)).unwrap();
    let endpoints = Endpoints::built_in().unwrap();
    (0..i32::try_from(n).unwrap()).flat_map(|i| bootstrap_tasks(&endpoints, "corp_actions", &names(1), window(i), Kind::Bootstrap, None).tasks).collect()
}

#[test]
fn every_vendor_has_enough_calls_in_flight_for_its_limit() {
    let (endpoints, edge) = (Endpoints::built_in().unwrap(), EdgeConfig::load(&Host::fake(FakeHost::default())).unwrap());
    for vendor in Vendor::ALL {
        let windows = endpoints.short_windows(*vendor);
        let rate = windows.iter().map(|w| w.calls as f64 / w.per.seconds() as f64).fold(f64::MAX, f64::min);
        // A batch asks, then writes: twice the latency leaves as much time for the drive as for the wire.
        let reached = edge.inflight(*vendor) as f64 / (2.0 * LATENCY_SECONDS);
        assert!(windows.is_empty() || reached >= 0.9 * rate, "{vendor}: {reached} of {rate} calls a second");
    }
}

/// Answers nobody before so many calls are under way.
struct Together {
    all: Barrier,
    vendor: Arc<FakeVendor>,
}

impl Transport for Together {
    fn send<'a>(&'a self, call: &'a Call) -> Sending<'a> {
        Box::pin(async move {
            self.all.wait().await;
            Ok(self.vendor.answer(call))
        })
    }
}

#[tokio::test]
async fn as_many_calls_are_under_way_as_the_machine_is_set_to() {
    let dir = tempfile::tempdir().unwrap();
    let vendor = FakeVendor::new(10_000, no_script());
    let inflight = EdgeConfig::load(&Host::fake(FakeHost::default())).unwrap().inflight(Vendor::Alpaca);
    let ctx = keyed_context(dir.path(), Arc::new(Together { all: Barrier::new(inflight), vendor: Arc::clone(&vendor) }), &[]);
    let tasks = single_calls(3 * inflight);
    ctx.db.write(|tx| seed(tx, ctx.host().now(), &tasks)).unwrap();
    let report = tokio::time::timeout(STUCK, drain(&ctx, DrainUntil::Empty, &Quiet)).await.expect("fewer are under way").unwrap();
    assert_eq!((report.tasks_done as usize, vendor.calls()), (tasks.len(), tasks.len()));
}

/// Leaves one vendor's question unanswered until another one was asked everything.
struct OneHangs {
    vendor: Arc<FakeVendor>,
    others: usize,
    all_asked: Notify,
}

impl Transport for OneHangs {
    fn send<'a>(&'a self, call: &'a Call) -> Sending<'a> {
        Box::pin(async move {
            if call.url.ends_with("/calendar/earnings") {
                self.all_asked.notified().await;
                return Ok(raw(200, r#"{"earningsCalendar":[{"symbol":"AAA","date":"2018-01-10"}]}"#.into()));
            }
            let answer = self.vendor.answer(call);
            if self.vendor.calls() == self.others {
                self.all_asked.notify_waiters();
                self.all_asked.notify_one();
            }
            Ok(answer)
        })
    }
}

#[tokio::test]
async fn a_vendor_that_does_not_answer_holds_up_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let vendor = FakeVendor::new(10_000, no_script());
    // More than fit a minute of the quick vendor: its runner goes through a full window meanwhile.
    let tasks = single_calls(230);
    let ctx = keyed_context(dir.path(), Arc::new(OneHangs { vendor: Arc::clone(&vendor), others: tasks.len(), all_asked: Notify::new() }), &["FINNHUB"]);
    let calendar =
        market_task(&ctx.vendors().endpoints, dataset::EARNINGS_CALENDAR, DateRange::new(day("2018-01-10"), day("2018-01-11")).unwrap(), Kind::Forward, None);
    ctx.db.write(|tx| seed(tx, ctx.host().now(), &[tasks.clone(), vec![calendar.unwrap()]].concat())).unwrap();
    let report = tokio::time::timeout(STUCK, drain(&ctx, DrainUntil::Empty, &Quiet)).await.expect("one waits for the other").unwrap();
    assert_eq!((report.tasks_done as usize, vendor.calls()), (tasks.len() + 1, tasks.len()));
}
