//! `pacing`: how much of each vendor's limit a drain reaches when every answer takes 300 ms, and what a slow vendor costs the others.
//!
//! Everything runs as in the node (queue, leases, budgets in SQLite, windows in memory and on the drive, decoding, manifests); only
//! the wire is replaced by one that answers after a while. At scale S a limit of n calls a minute is taken as one of n / 10 a second,
//! which asks more of the runners and takes seconds; M is the registry as it is, in real minutes.

use super::measure::{Job, decimals};
use super::{Bench, Scale};
use data_layer::budget::{Per, WindowSpec};
use data_layer::control::{Db, Which};
use data_layer::error::{Error, Result};
use data_layer::fetch::transport::Sending;
use data_layer::fetch::{Call, Raw, Transport};
use data_layer::host::Host;
use data_layer::queue::{self, Kind, NewTask};
use data_layer::scheduler::{DrainUntil, IngestContext, Quiet, drain};
use data_layer::schema::dataset;
use data_layer::sourcing::vendors::{home, key_variables};
use data_layer::sourcing::{Endpoints, Secret, Vendor, Vendors};
use data_layer::time::{DateRange, TradingDay};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a usual answer takes.
const LATENCY: Duration = Duration::from_millis(300);
/// Vendors whose limit is one of seconds or minutes, each with a dataset of one call a task (FRED: two).
const PACED: [(Vendor, &str); 6] = [
    (Vendor::Alpaca, dataset::CORP_ACTIONS),
    (Vendor::Massive, dataset::CORP_ACTIONS),
    (Vendor::Finnhub, dataset::EARNINGS_CALENDAR),
    (Vendor::Fred, dataset::MACROS_FRED),
    (Vendor::SecEdgar, dataset::FILINGS),
    (Vendor::Treasury, dataset::TREASURY),
];
/// The one that is slow in the second run.
const SLOW: Vendor = Vendor::Finnhub;

/// Moments (microseconds) at which each vendor was asked.
type Sent = BTreeMap<Vendor, Vec<i64>>;

/// A wire that counts, and answers with nothing after a while.
struct Wire {
    host: Host,
    slow: Option<Duration>,
    sent: Mutex<Sent>,
}

impl Transport for Wire {
    fn send<'a>(&'a self, call: &'a Call) -> Sending<'a> {
        Box::pin(async move {
            let vendor = PACED.iter().map(|p| p.0).find(|v| call.url.starts_with(&address(*v))).ok_or_else(|| Error::bug("an unknown vendor was asked"))?;
            let left = self.host.steady().micros();
            self.sent.lock().unwrap_or_else(PoisonError::into_inner).entry(vendor).or_default().push(left);
            self.host.sleep(self.slow.filter(|_| vendor == SLOW).unwrap_or(LATENCY)).await;
            Ok(Ok(Raw { status: 200, headers: BTreeMap::new(), body: answer(call).into_bytes() }))
        })
    }
}

fn address(vendor: Vendor) -> String {
    format!("http://127.0.0.1:9/{vendor}")
}

/// The smallest complete answer to each question.
fn answer(call: &Call) -> String {
    let asked = |name: &str| call.query.iter().find(|(k, _)| k == name).map_or("", |(_, v)| v.as_str());
    let none: [&str; 0] = [];
    match call.url.rsplit('/').next().unwrap_or_default() {
        "corporate-actions" => json!({"corporate_actions": {}, "next_page_token": null}),
        "splits" | "dividends" => json!({"status": "OK", "results": none}),
        "earnings" => json!({"earningsCalendar": [{"symbol": "AAPL", "date": asked("from")}]}),
        "vintagedates" => json!({"count": 0, "offset": 0, "vintage_dates": none}),
        "observations" => json!({"count": 0, "offset": 0, "observations": none}),
        "xml" => return "<feed></feed>".into(),
        file => {
            let columns = json!({"accessionNumber": none, "filingDate": none, "acceptanceDateTime": none, "form": none});
            json!({"cik": file.trim_start_matches("CIK").trim_end_matches(".json"), "filings": {"recent": columns, "files": none}})
        }
    }
    .to_string()
}

/// How long one run is: before it counts, while it counts, and how long the slow vendor takes.
struct Plan {
    scale: Scale,
    before: u64,
    counted: u64,
    slow: Duration,
}

/// `pacing_alone` and `pacing_beside_a_slow_vendor`.
pub fn pacing(bench: &mut Bench<'_>) -> Result<()> {
    let plan = match bench.scale {
        Scale::S => Plan { scale: Scale::S, before: 2, counted: 8, slow: Duration::from_secs(5) },
        scale => Plan { scale, before: 60, counted: 120, slow: Duration::from_secs(20) },
    };
    let alone = plan.line(bench, "pacing_alone", None)?;
    let beside = plan.line(bench, "pacing_beside_a_slow_vendor", Some(&alone.1))?;
    bench.lines.extend([alone.0, beside.0]);
    Ok(())
}

impl Plan {
    /// One run, and what it says beside an earlier one in which nobody was slow.
    fn line(&self, bench: &Bench<'_>, topic: &'static str, undisturbed: Option<&Sent>) -> Result<(super::measure::Line, Sent)> {
        let endpoints = self.registry()?;
        let mut sent = Sent::new();
        let slow = undisturbed.map(|_| self.slow);
        let line = bench.clock.once(Job::new(topic, 0, "calls"), || {
            sent = self.run(bench, &endpoints, slow)?;
            Ok((sent.values().map(Vec::len).sum(), self.figures(&endpoints, &sent, undisturbed)))
        })?;
        Ok((line, sent))
    }

    /// The registry as this scale reads it.
    fn registry(&self) -> Result<Endpoints> {
        let mut entries = Endpoints::built_in()?.entries().to_vec();
        if self.scale == Scale::S {
            let shorter = |w: &WindowSpec| if w.per == Per::Minute { WindowSpec { per: Per::Second, calls: (w.calls / 10).max(1) } } else { *w };
            entries.iter_mut().for_each(|e| e.windows = e.windows.iter().map(shorter).collect());
            // A batch that is under way when the time is up runs to its end.
            entries.iter_mut().for_each(|e| e.batch_symbols = e.batch_symbols.min(10));
        }
        Endpoints::parse(&json!({"version": 1, "entries": entries}).to_string(), "endpoints.yml")
    }

    /// Drain queues that do not run dry, and tell when each call left.
    fn run(&self, bench: &Bench<'_>, endpoints: &Endpoints, slow: Option<Duration>) -> Result<Sent> {
        let root = bench.fresh_root("pacing")?;
        let db = Arc::new(Db::open(&root, Which::Node)?);
        let now = bench.host.now();
        let mut tasks = Vec::new();
        for (vendor, name) in PACED {
            let enough = (2.0 * rate(endpoints, vendor) * (self.before + self.counted) as f64) as usize + 40;
            tasks.extend((0..enough).map(|i| task(vendor, name, now.utc_day(), i)).collect::<Result<Vec<_>>>()?);
        }
        db.write(|tx| queue::seed(tx, now, &tasks))?;
        let keys = PACED.iter().flat_map(|(v, _)| key_variables(*v)).map(|name| ((*name).to_string(), Secret::from(format!("bench {name}")))).collect();
        let vendors = Vendors { endpoints: endpoints.clone(), keys, base_urls: PACED.iter().map(|(v, _)| (home(*v), address(*v))).collect() };
        let wire = Arc::new(Wire { host: bench.host.clone(), slow, sent: Mutex::new(Sent::new()) });
        let ctx = IngestContext::with_transport(bench.host, &root, db, vendors, "bench", Arc::clone(&wire) as Arc<dyn Transport>)?;
        let until = DrainUntil::Moment(now.plus_seconds(i64::try_from(self.before + self.counted).unwrap_or(0)));
        bench.host.block_on(drain(&ctx, until, &Quiet))??;
        Ok(std::mem::take(&mut *wire.sent.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Calls in the counted span and their share of the limit, by vendor; the most that one window held beyond its cap; what slowness cost.
    fn figures(&self, endpoints: &Endpoints, sent: &Sent, undisturbed: Option<&Sent>) -> Value {
        let mut out = serde_json::Map::new();
        for (vendor, _) in PACED {
            let calls = self.calls(sent, vendor);
            let limit = rate(endpoints, vendor) * self.counted as f64;
            let mut row = json!({"calls": calls, "limit": limit, "share": decimals(calls as f64 / limit, 3), "over_a_window": over(endpoints, vendor, sent)});
            match undisturbed {
                Some(_) if vendor == SLOW => row["slow_s"] = json!(self.slow.as_secs()),
                Some(before) => row["lost"] = json!(decimals(1.0 - calls as f64 / self.calls(before, vendor).max(1) as f64, 3)),
                None => {}
            }
            out.insert(vendor.to_string(), row);
        }
        Value::Object(out)
    }

    /// Calls that left in the counted span, which begins some time after the vendor's first call.
    fn calls(&self, sent: &Sent, vendor: Vendor) -> usize {
        let all = sent.get(&vendor).map_or(&[][..], Vec::as_slice);
        let Some(first) = all.first() else { return 0 };
        let second = |n: u64| first + i64::try_from(n * 1_000_000).unwrap_or(i64::MAX);
        all.iter().filter(|t| (second(self.before)..second(self.before + self.counted)).contains(*t)).count()
    }
}

/// Calls a second that the tightest window lets through for long.
fn rate(endpoints: &Endpoints, vendor: Vendor) -> f64 {
    endpoints.short_windows(vendor).iter().map(|w| w.calls as f64 / w.per.seconds() as f64).fold(f64::MAX, f64::min)
}

/// By how many calls the fullest span of a window's length exceeded its cap.
fn over(endpoints: &Endpoints, vendor: Vendor, sent: &Sent) -> usize {
    let all = sent.get(&vendor).map_or(&[][..], Vec::as_slice);
    let fullest = |w: &WindowSpec| {
        let within = |(i, t): (usize, &i64)| all[i..].iter().take_while(|u| **u < t + w.per.seconds() * 1_000_000).count();
        all.iter().enumerate().map(within).max().unwrap_or(0).saturating_sub(usize::try_from(w.calls).unwrap_or(usize::MAX))
    };
    endpoints.short_windows(vendor).iter().map(fullest).max().unwrap_or(0)
}

/// The i-th question to a vendor: a window of its own, so that each is a batch of its own, or a company of its own.
fn task(vendor: Vendor, name: &str, today: TradingDay, i: usize) -> Result<NewTask> {
    let n = i32::try_from(i).unwrap_or(i32::MAX);
    let (symbol, first, days) = match name {
        dataset::FILINGS => (format!("{:010}", i + 1), today.plus_days(-30), 10),
        // A calendar reaches a month back and two ahead.
        dataset::EARNINGS_CALENDAR => (String::new(), today.plus_days(n % 40 - 20), 1 + n / 40),
        _ => (format!("S{i:05}"), today.plus_days(-3_000 + n % 2_900), 1),
    };
    Ok(NewTask {
        dataset: name.into(),
        symbol: if vendor == Vendor::Treasury { String::new() } else { symbol },
        range: DateRange::new(first, first.plus_days(days))?,
        kind: Kind::Bootstrap,
        priority: Kind::Bootstrap.priority(),
        vendor: vendor.as_str().into(),
        not_before: None,
        run_id: None,
    })
}
