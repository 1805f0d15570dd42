//! The nightly question: does the recorded day follow from what was recorded?
//!
//! The pinned set is computed again from its pins, every order is minted again, and every fill is compared with what the
//! simulated broker does with the day's recorded prices. What differs gets a cause; what has none is counted, and the count
//! must be zero. [`books`] sets the simulated, the shadow and the paper book of the day side by side.

pub mod books;
mod executions;
pub mod paper_book;

use crate::execution::broker::simulated::PriceSource;
use crate::execution::log::{FillRow, OrderLog, OrderRow};
use crate::execution::order::OrderSet;
use crate::execution::positions::IN_KIND;
use crate::execution::sizing::{self, SizeInput, SizedLine};
use crate::execution::state::{is_closed, is_unknown};
use crate::pipelines::paper_day::plan::lines_of;
use data_layer::calendar::Calendar;
use data_layer::error::{Error, Result, code};
use data_layer::store::digest_of;
use data_layer::time::{TradingDay, UtcTime};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Relative difference of two prices that are the same number in two arithmetics.
const ROUNDING: f64 = 1e-9;

/// Why the record and the replay differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A price that sized an order has another value now.
    DataRevised,
    /// A price of the day is not on the drive (yet).
    LateBar,
    /// The broker filled otherwise than the model: at another price, or in part.
    FillModel,
    /// A gate, the broker, or a circumstance of the day kept the order back.
    Rejection,
    /// The limits of the account, or what it held, made another weight of the target.
    Limits,
    /// It happened at another time than the simulation's: the open, or the close for what was sent after the open.
    Clock,
    /// The same number up to the last bits.
    Rounding,
    /// Nothing of the above: a defect until somebody shows otherwise.
    Unexplained,
}

impl Cause {
    /// As in the report's JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DataRevised => "data_revised",
            Self::LateBar => "late_bar",
            Self::FillModel => "fill_model",
            Self::Rejection => "rejection",
            Self::Limits => "limits",
            Self::Clock => "clock",
            Self::Rounding => "rounding",
            Self::Unexplained => "unexplained",
        }
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// A symbol or an order.
    pub subject: String,
    pub cause: Cause,
    pub detail: String,
    /// What it was worth against the replay, in account currency; a cost is positive.
    pub usd: f64,
}

/// A replayed day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParityReport {
    pub v: u32,
    pub run_key: String,
    pub trading_day: TradingDay,
    pub orders: usize,
    /// Orders that the replay mints again, bit for bit.
    pub orders_reproduced: usize,
    pub fills: usize,
    /// Fills with the quantity, the price and the moment of the replay, bit for bit.
    pub fills_reproduced: usize,
    pub differences: Vec<Difference>,
    pub by_cause: BTreeMap<Cause, usize>,
    pub unexplained: usize,
    /// The three books at the day's close; none where there was no book to compare with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub books: Option<books::BooksReport>,
    /// Of the pinned set, the orders' states and the fills.
    pub inputs_sha256: String,
}

impl ParityReport {
    /// With the books beside the orders; their differences count like all others.
    pub fn with_books(mut self, books: books::BooksReport) -> Self {
        for d in &books.differences {
            *self.by_cause.entry(d.cause).or_insert(0) += 1;
        }
        self.unexplained = self.by_cause.get(&Cause::Unexplained).copied().unwrap_or(0);
        self.books = Some(books);
        self
    }
}

struct Replay<'a> {
    set: OrderSet,
    rows: Vec<OrderRow>,
    fills: Vec<FillRow>,
    prices: &'a dyn PriceSource,
    open: UtcTime,
    /// Ids of orders that were sent during the session: increases that waited for what funds them.
    sent_in_session: BTreeSet<String>,
    out: Vec<Difference>,
}

/// Replay the pinned set of `run_key` against the recorded `prices`.
pub fn replay(log: &OrderLog<'_>, run_key: &str, prices: &dyn PriceSource) -> Result<ParityReport> {
    let set = log.set(run_key)?.ok_or_else(|| Error::new(code::ORD_REFUSED, text!("there is no order set {run_key}")).fix("trademl paper-trade"))?;
    let rows = log.orders_of(run_key)?;
    let fills: Vec<FillRow> = log.fills(&set.account)?.into_iter().filter(|f| rows.iter().any(|r| r.id() == f.order_id)).collect();
    let states: Vec<_> = rows.iter().map(|r| (r.id(), &r.state, r.filled_qty)).collect();
    let inputs_sha256 = digest_of(&(&set.order_set_hash, states, &fills))?;
    let open = Calendar::xnys().open(set.trading_day);
    let mut sent_in_session = BTreeSet::new();
    for row in &rows {
        if log.intended_at(row.id())?.is_some_and(|at| at > open) {
            sent_in_session.insert(row.id().to_string());
        }
    }
    let mut r = Replay { set, rows, fills, prices, open, sent_in_session, out: Vec::new() };
    r.data();
    let orders_reproduced = r.orders()?;
    let fills_reproduced = r.executions();
    r.foreign(log)?;
    let mut by_cause = BTreeMap::new();
    r.out.iter().for_each(|d| *by_cause.entry(d.cause).or_insert(0) += 1);
    Ok(ParityReport {
        v: 2,
        run_key: run_key.to_string(),
        trading_day: r.set.trading_day,
        orders: r.rows.len(),
        orders_reproduced,
        fills: r.fills.len(),
        fills_reproduced,
        unexplained: by_cause.get(&Cause::Unexplained).copied().unwrap_or(0),
        by_cause,
        differences: r.out,
        books: None,
        inputs_sha256,
    })
}

impl Replay<'_> {
    fn differs(&mut self, subject: &str, cause: Cause, detail: String, usd: f64) {
        self.out.push(Difference { subject: subject.into(), cause, detail, usd });
    }

    /// The prices that sized the orders, read again.
    fn data(&mut self) {
        let Some(asof) = self.set.pins.asof else { return };
        for (symbol, pinned) in self.set.pins.prices.clone() {
            match self.prices.last_close(&symbol, asof) {
                Some(now) if now == pinned.price => {}
                Some(now) if same(now, pinned.price) => {
                    self.differs(&symbol, Cause::Rounding, text!("the close of {asof} is {now}, pinned was {}", pinned.price), 0.0)
                }
                Some(now) => self.differs(&symbol, Cause::DataRevised, text!("the close of {asof} is {now} now, it was {}", pinned.price), 0.0),
                None => self.differs(&symbol, Cause::LateBar, text!("the drive has no close at or before {asof}"), 0.0),
            }
        }
    }

    /// Size the pinned inputs again and mint every order again; returns how many equal their rows.
    fn orders(&mut self) -> Result<usize> {
        let (kept, lost) = sized_again(&self.set);
        let (minted, _) = lines_of(&self.set, &kept, Calendar::xnys().close(self.set.trading_day))?;
        let stored: Vec<_> = self.rows.iter().map(|r| r.intent.clone()).collect();
        let reproduced = stored.iter().filter(|i| minted.contains(i)).count();
        for intent in stored.iter().filter(|i| !minted.contains(i)) {
            self.differs(
                &intent.client_order_id,
                Cause::Unexplained,
                text!("{} {} {} does not follow from its pins", intent.side.as_str(), intent.qty, intent.symbol),
                0.0,
            );
        }
        for intent in minted.iter().filter(|i| !stored.contains(i)) {
            self.differs(
                &intent.client_order_id,
                Cause::Unexplained,
                text!("{} {} {} follows from the pins and was not ordered", intent.side.as_str(), intent.qty, intent.symbol),
                0.0,
            );
        }
        for (line, reason) in lost {
            self.differs(&line.symbol, Cause::Rejection, reason, 0.0);
        }
        Ok(reproduced)
    }

    /// Executions of the account on that day which no order of ours explains.
    fn foreign(&mut self, log: &OrderLog<'_>) -> Result<()> {
        let close = Calendar::xnys().close(self.set.trading_day);
        for f in log.fills(&self.set.account)? {
            let today = f.ts >= self.open && f.ts <= close;
            if today && f.order_id.is_empty() && !IN_KIND.contains(&f.kind.as_str()) {
                self.differs(&f.fill_id, Cause::Unexplained, text!("{} {} {} belongs to no order of ours", f.side.as_str(), f.qty, f.symbol), 0.0);
            }
        }
        Ok(())
    }
}

/// The lines that the pins make, and those of them that a circumstance of the day kept back, with the reason.
fn sized_again(set: &OrderSet) -> (Vec<SizedLine>, Vec<(SizedLine, String)>) {
    let pins = &set.pins;
    let sized = sizing::delta(&SizeInput {
        targets: &pins.targets,
        positions: &pins.positions,
        open_remaining: &pins.open_remaining,
        prices: &pins.prices,
        equity: set.equity,
    });
    let (mut kept, mut lost) = (Vec::new(), Vec::new());
    for line in sized.lines {
        // Of a flip, one leg may have been kept back and the other ordered.
        let ordered = set.lines.iter().any(|l| l.symbol == line.symbol && l.reduce_only == line.reduces);
        match pins.skipped.iter().find(|s| s.symbol == line.symbol && !ordered) {
            Some(skipped) => lost.push((line, skipped.reason.clone())),
            None => kept.push(line),
        }
    }
    (kept, lost)
}

/// Why an order has not filled all of its shares.
fn unfilled(row: &OrderRow, filled: f64) -> (Cause, String) {
    let (qty, missing) = (row.intent.qty, row.intent.qty - filled);
    match row.refusal_text.clone() {
        Some(why) if filled == 0.0 => (Cause::Rejection, format!("{}: {why}", row.state)),
        _ if is_unknown(&row.state) || !is_closed(&row.state, row.intent.tif) => (Cause::Clock, text!("{missing} of {qty} shares are still {}", row.state)),
        _ => (Cause::FillModel, text!("{missing} of {qty} shares were not filled: {}", row.state)),
    }
}

fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= ROUNDING * b.abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::broker::fake::{FakeBroker, evening, scratch};
    use crate::pipelines::paper_day::tests::{MORNING, config, evening_steps, open};
    use crate::pipelines::paper_day::{PaperDay, default_sizer};
    use data_layer::control::Db;

    /// What was recorded: the opens of the day, and the closes that were pinned.
    pub(super) struct Recorded {
        pub opens: BTreeMap<String, f64>,
        pub closes: BTreeMap<String, f64>,
        pub range: Option<(f64, f64)>,
    }
    impl PriceSource for Recorded {
        fn open(&self, symbol: &str, _day: TradingDay) -> Option<f64> {
            self.opens.get(symbol).copied()
        }
        fn last_close(&self, symbol: &str, _day: TradingDay) -> Option<f64> {
            self.closes.get(symbol).copied()
        }
        fn range(&self, symbol: &str, _day: TradingDay) -> Option<(f64, f64)> {
            self.range.filter(|_| symbol == "AAPL")
        }
    }

    fn at(s: &str) -> UtcTime {
        UtcTime::parse(s).unwrap()
    }

    /// A settled paper day, filled at the open's prices at `moment`.
    fn day(moment: &str) -> (tempfile::TempDir, Db, FakeBroker, String, Recorded) {
        day_with(moment, |_| {})
    }

    /// The same, at a broker that something was done to before the evening.
    pub(super) fn day_with(moment: &str, to: impl FnOnce(&mut FakeBroker)) -> (tempfile::TempDir, Db, FakeBroker, String, Recorded) {
        let (dir, mut broker) = (scratch(), FakeBroker::new(evening()));
        to(&mut broker);
        let (key, _) = evening_steps(&open(dir.path(), None, evening()).unwrap(), &broker).unwrap();
        broker.set_now(at(MORNING));
        broker.fill_all(at(moment));
        let db = open(dir.path(), None, at(MORNING)).unwrap();
        PaperDay::new(&db, &broker, config(), &default_sizer).unwrap().settle(&key).unwrap();
        let recorded = Recorded { opens: broker.prices.clone(), closes: broker.prices.clone(), range: None };
        (dir, db, broker, key, recorded)
    }

    pub(super) const OPEN: &str = "2017-12-01T14:30:00Z";

    #[test]
    fn a_recorded_day_is_reproduced_bit_for_bit() {
        let (_dir, db, _, key, recorded) = day(OPEN);
        let report = replay(&OrderLog::new(&db), &key, &recorded).unwrap();
        assert_eq!((report.orders, report.orders_reproduced, report.fills, report.fills_reproduced), (3, 3, 3, 3));
        assert!(report.differences.is_empty() && report.unexplained == 0, "{report:?}");
        assert_eq!(report, replay(&OrderLog::new(&db), &key, &recorded).unwrap());
    }

    #[test]
    fn every_difference_has_its_cause() {
        let (_dir, db, _, key, mut recorded) = day(OPEN);
        let causes = |recorded: &Recorded| replay(&OrderLog::new(&db), &key, recorded).unwrap().by_cause.into_keys().collect::<Vec<_>>();
        recorded.opens.insert("AAPL".into(), 170.5);
        assert_eq!(causes(&recorded), [Cause::FillModel]);
        recorded.opens.insert("AAPL".into(), 170.0 * (1.0 + 1e-15));
        assert_eq!(causes(&recorded), [Cause::Rounding]);
        recorded.opens.remove("AAPL");
        assert_eq!(causes(&recorded), [Cause::LateBar]);
        recorded.opens.insert("AAPL".into(), 170.0);
        recorded.closes.insert("MSFT".into(), 84.5);
        assert_eq!(causes(&recorded), [Cause::DataRevised]);
        let (_dir, db, _, key, recorded) = day("2017-12-01T16:00:00Z");
        assert_eq!(replay(&OrderLog::new(&db), &key, &recorded).unwrap().by_cause, BTreeMap::from([(Cause::Clock, 3)]));
    }

    #[test]
    fn an_order_sent_during_the_session_is_reproduced_at_its_close() {
        let (_dir, db, _, key, mut recorded) = day(OPEN);
        // The purchase that waited: sent a minute after the open, at another price than the open's.
        recorded.opens.insert("AAPL".into(), 165.0);
        let id = OrderLog::new(&db).orders_of(&key).unwrap().into_iter().find(|r| r.intent.symbol == "AAPL").unwrap().id().to_string();
        let edit = |sql: &str, ts: &str| db.lock().unwrap().execute(sql, [ts, id.as_str()]).unwrap();
        edit("UPDATE order_reports SET received_at = ?1 WHERE order_id = ?2 AND status = 'intended'", "2017-12-01T14:31:00.000000Z");
        let filled_at = |ts: &str| {
            edit("UPDATE fills SET ts = ?1 WHERE order_id = ?2", ts);
            replay(&OrderLog::new(&db), &key, &recorded).unwrap()
        };
        let report = filled_at("2017-12-01T21:00:00.000000Z");
        assert_eq!((report.fills_reproduced, report.by_cause), (3, BTreeMap::new()), "{:?}", report.differences);
        let report = filled_at("2017-12-01T15:00:00.000000Z");
        assert_eq!((report.fills_reproduced, report.by_cause), (2, BTreeMap::from([(Cause::Clock, 1)])));
        assert!(report.differences[0].detail.contains("21600 s before its close"), "{:?}", report.differences);
    }

    #[test]
    fn a_price_that_its_session_never_saw_has_no_cause() {
        let causes = |price: f64, range: Option<(f64, f64)>| {
            let (_dir, db, _broker, key, mut recorded) = day(OPEN);
            recorded.range = range;
            let sql = "UPDATE fills SET price = ?1 WHERE symbol = 'AAPL'";
            db.lock().unwrap().execute(sql, [price]).unwrap();
            replay(&OrderLog::new(&db), &key, &recorded).unwrap().by_cause
        };
        let is = |cause| BTreeMap::from([(cause, 1)]);
        // It opened at 170.
        assert_eq!(causes(180.0, Some((168.0, 181.0))), is(Cause::FillModel));
        assert_eq!(causes(182.5, Some((168.0, 181.0))), is(Cause::FillModel), "another venue");
        assert_eq!(causes(190.0, Some((168.0, 181.0))), is(Cause::Unexplained));
        assert_eq!((causes(200.0, None), causes(340.0, None)), (is(Cause::FillModel), is(Cause::Unexplained)), "without a range, from the open");
    }

    #[test]
    fn a_refused_order_is_a_rejection_and_a_fill_of_nobody_is_unexplained() {
        let (dir, broker) = (scratch(), FakeBroker::new(evening()));
        broker.truth.lock().unwrap().faults.insert(1, crate::execution::broker::fake::Fault::Refused);
        let (key, _) = evening_steps(&open(dir.path(), None, evening()).unwrap(), &broker).unwrap();
        broker.set_now(at(MORNING));
        broker.fill_all(at(OPEN));
        let mut foreign = broker.truth.lock().unwrap().fills[0].clone();
        (foreign.id, foreign.order_id, foreign.symbol) = ("x".into(), "by-hand".into(), "BBB".into());
        let db = open(dir.path(), None, at(MORNING)).unwrap();
        let recorded = Recorded { opens: broker.prices.clone(), closes: broker.prices.clone(), range: None };
        PaperDay::new(&db, &broker, config(), &default_sizer).unwrap().settle(&key).unwrap();
        let report = replay(&OrderLog::new(&db), &key, &recorded).unwrap();
        assert_eq!((report.by_cause.clone(), report.unexplained), (BTreeMap::from([(Cause::Rejection, 1)]), 0), "{report:?}");
        broker.truth.lock().unwrap().fills.push(foreign);
        PaperDay::new(&db, &broker, config(), &default_sizer).unwrap().reconcile("SIM1").unwrap();
        let report = replay(&OrderLog::new(&db), &key, &recorded).unwrap();
        assert_eq!(report.unexplained, 1, "{report:?}");
    }
}
