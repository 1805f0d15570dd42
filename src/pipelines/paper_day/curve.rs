//! The account's equity from close to close, without the money that its owner put in or took out.

use super::PaperDay;
use crate::execution::broker::ActivityKind;
use crate::execution::positions::cash_events;
use data_layer::calendar::Calendar;
use data_layer::error::{Error, Result, code};
use data_layer::time::{TradingDay, UtcTime, new_york};
use rusqlite::{OptionalExtension, params};

/// The equity at a close, and what came in (or went out) since the close before it in the curve.
struct Mark {
    day: TradingDay,
    equity: f64,
    transfers: f64,
}

/// What is known of an account's equity up to a session.
pub(super) struct Curve {
    asof: TradingDay,
    /// The equity that the first orders were sized from, and their session.
    first: f64,
    first_day: TradingDay,
    marks: Vec<Mark>,
}

/// Why a number has no value.
fn undefined(why: String) -> Error {
    Error::new(code::ML_UNDEFINED, "a number of the report is undefined").cause(why)
}

impl Curve {
    /// The equity at the close of the session itself.
    pub fn equity(&self) -> Result<f64> {
        let newest = self.marks.last().filter(|m| m.day == self.asof);
        newest.map(|m| m.equity).ok_or_else(|| undefined(text!("no snapshot was taken of the session {}", self.asof)))
    }

    /// The session's gain. A gain over several sessions is nobody's day.
    pub fn pnl(&self) -> Result<f64> {
        self.equity()?;
        let n = self.marks.len() - 1;
        let mark = &self.marks[n];
        if !self.is_one_session(n) {
            return Err(undefined(text!("no snapshot was taken of the session before {}", self.asof)));
        }
        Ok(mark.equity - mark.transfers - self.before(n))
    }

    /// The gain since the first orders.
    pub fn gain(&self) -> Result<f64> {
        Ok(self.equity()? - self.first - self.marks.iter().map(|m| m.transfers).sum::<f64>())
    }

    /// Returns of single sessions; steps over sessions that were not looked at are left out.
    pub fn sessions(&self) -> Vec<f64> {
        (0..self.marks.len()).filter(|n| self.is_one_session(*n)).map(|n| self.step(n)).collect()
    }

    /// The return of every step, whatever lies between: what a drawdown is measured on.
    pub fn steps(&self) -> Vec<f64> {
        (0..self.marks.len()).map(|n| self.step(n)).collect()
    }

    fn step(&self, n: usize) -> f64 {
        (self.marks[n].equity - self.marks[n].transfers) / self.before(n) - 1.0
    }

    fn before(&self, n: usize) -> f64 {
        n.checked_sub(1).map_or(self.first, |n| self.marks[n].equity)
    }

    fn is_one_session(&self, n: usize) -> bool {
        let day = self.marks[n].day;
        match n.checked_sub(1) {
            None => day <= self.first_day,
            Some(before) => Calendar::xnys().next(self.marks[before].day).is_ok_and(|next| next == day),
        }
    }
}

impl PaperDay<'_> {
    /// The curve of an account up to the close of `asof`; none before its first orders.
    pub(super) fn curve(&self, account: &str, asof: TradingDay) -> Result<Option<Curve>> {
        let transfers = self.transfers(account)?;
        let conn = self.db.lock()?;
        let began = "SELECT equity, trading_day, pinned_at FROM order_sets WHERE account = ?1 ORDER BY trading_day, rebalance_no, run_key LIMIT 1";
        let began = conn.query_row(began, [account], |r| Ok((r.get(0)?, r.get::<_, String>(1)?, r.get::<_, String>(2)?))).optional()?;
        let Some((first, day, pinned)) = began else { return Ok(None) };
        let mut q = conn.prepare("SELECT ts, equity FROM snapshots WHERE account = ?1 AND ts <= ?2 ORDER BY ts")?;
        let until = Calendar::xnys().close(asof).to_string();
        let rows = q.query_map(params![account, until], |r| Ok((r.get::<_, String>(0)?, r.get::<_, f64>(1)?)))?.collect::<std::result::Result<Vec<_>, _>>()?;
        let mut out = Curve { asof, first, first_day: day.parse()?, marks: Vec::new() };
        let mut from = UtcTime::parse(&pinned)?;
        for (ts, equity) in rows {
            let at = UtcTime::parse(&ts)?;
            out.marks.push(Mark { day: at.day_in(&new_york()), equity, transfers: transfers.between(from, Some(at)) });
            from = from.max(at);
        }
        Ok(Some(out))
    }

    /// What the owner of an account moved, ever.
    pub(super) fn transfers(&self, account: &str) -> Result<Transfers> {
        let events = cash_events(&self.log(), account)?;
        Ok(Transfers(events.into_iter().filter(|e| e.kind == ActivityKind::Transfer.as_str()).map(|e| (e.ts, e.amount)).collect()))
    }
}

/// The owner's own money, by time.
pub(super) struct Transfers(Vec<(UtcTime, f64)>);

impl Transfers {
    /// What came in after `from` (and up to `until`), less what went out.
    pub fn between(&self, from: UtcTime, until: Option<UtcTime>) -> f64 {
        self.0.iter().filter(|(at, _)| *at > from && until.is_none_or(|t| *at <= t)).map(|(_, amount)| amount).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::broker::fake::{FakeBroker, evening, scratch};
    use crate::execution::positions::{CashEvent, EXTERNAL, insert_cash_event};
    use crate::pipelines::paper_day::default_sizer;
    use crate::pipelines::paper_day::tests::{MORNING, config, evening_steps, open};

    #[test]
    fn a_missed_evening_has_no_number_and_a_deposit_is_no_gain() {
        let (dir, broker) = (scratch(), FakeBroker::new(evening()));
        let (key, _) = evening_steps(&open(dir.path(), None, evening()).unwrap(), &broker).unwrap();
        broker.fill_all(UtcTime::parse("2017-12-01T14:30:00Z").unwrap());
        // A look in the running session leaves no snapshot: the equity of now is not that of the close before.
        let noon = UtcTime::parse("2017-12-01T17:00:00Z").unwrap();
        broker.set_now(noon);
        let db = open(dir.path(), None, noon).unwrap();
        let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
        assert!(!day.settle(&key).unwrap().snapshot);
        drop(db);
        let asof = |date: &str| date.parse::<TradingDay>().unwrap();
        let db = open(dir.path(), None, UtcTime::parse(MORNING).unwrap()).unwrap();
        broker.set_now(UtcTime::parse(MORNING).unwrap());
        let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
        assert!(day.settle(&key).unwrap().snapshot);
        let insert = |date: &str, equity: f64| {
            let ts = Calendar::xnys().close(asof(date)).to_string();
            let sql =
                "INSERT INTO snapshots (account, ts, equity, cash, positions_json, open_orders_json, log_hash) VALUES ('SIM1', ?1, ?2, 0, '{}', '[]', '')";
            db.lock().unwrap().execute(sql, params![ts, equity]).unwrap();
        };
        // Nobody looked on the 4th; 5,000 were paid in on the 6th.
        insert("2017-12-05", 100_400.0);
        insert("2017-12-06", 105_500.0);
        let deposit = CashEvent {
            id: "d".into(),
            account: "SIM1".into(),
            strategy: EXTERNAL.into(),
            ts: UtcTime::midnight_in(&new_york(), asof("2017-12-06")),
            kind: "transfer".into(),
            symbol: None,
            qty: None,
            amount: 5_000.0,
            reason: "as the broker booked it".into(),
            operator: None,
        };
        assert!(insert_cash_event(&day.log(), &deposit).unwrap());
        let on = |date: &str| day.curve("SIM1", asof(date)).unwrap().unwrap();
        let why = |r: Result<f64>| r.unwrap_err().body().cause.clone().unwrap();
        assert!(why(on("2017-12-04").equity()).contains("2017-12-04"));
        assert!(why(on("2017-12-05").pnl()).contains("before 2017-12-05") && on("2017-12-05").gain().is_ok());
        let last = on("2017-12-06");
        assert!((last.pnl().unwrap() - 100.0).abs() < 1e-9 && (last.gain().unwrap() - 500.0).abs() < 1e-6, "{:?}", last.gain());
        assert_eq!((last.sessions().len(), last.steps().len()), (2, 3), "the step over the 4th is no session");
        assert!((last.steps()[2] - 100.0 / 100_400.0).abs() < 1e-12);
        // A withdrawal is no drawdown and no loss of the day.
        let out = CashEvent { id: "w".into(), ts: UtcTime::midnight_in(&new_york(), asof("2017-12-07")), amount: -30_000.0, ..deposit };
        assert!(insert_cash_event(&day.log(), &out).unwrap());
        let later = UtcTime::parse("2017-12-07T15:00:00Z").unwrap();
        broker.set_now(later);
        let db = open(dir.path(), None, later).unwrap();
        let day = PaperDay::new(&db, &broker, config(), &default_sizer).unwrap();
        let account = crate::pipelines::paper_day::AccountCheck { equity: 75_400.0, ..day.account_check().unwrap() };
        assert!(day.guard(&account, later).unwrap().touched.is_empty(), "100 were lost, not 30,100");
        let account = crate::pipelines::paper_day::AccountCheck { equity: 70_000.0, ..account };
        assert!(!day.guard(&account, later).unwrap().touched.is_empty());
    }
}
