//! The kill switch and the circuit breaker. Missing, unreadable or older than the drive's generation means stopped.

use data_layer::control::Db;
use data_layer::error::{Error, Result, code};
use data_layer::root::DataPath;
use data_layer::store;
use data_layer::time::{TradingDay, UtcTime, new_york};
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

/// A person may drop this file on the drive to stop all increases.
pub const STOP_FILE: &str = "control/STOP";
/// A switch for every account at once.
pub const ALL_ACCOUNTS: &str = "*";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    Kill,
    Breaker,
}

impl Switch {
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill_switch",
            Self::Breaker => "circuit_breaker",
        }
    }
    /// As people call it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Kill => term!("kill switch"),
            Self::Breaker => term!("circuit breaker"),
        }
    }
    fn go(self) -> &'static str {
        match self {
            Self::Kill => "ACTIVE",
            Self::Breaker => "OPEN",
        }
    }
    fn stop(self) -> &'static str {
        match self {
            Self::Kill => "ENGAGED",
            Self::Breaker => "TRIPPED",
        }
    }
}

/// Why a breaker trips.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TripReason {
    DailyLossExceeded,
    MaxDrawdown,
    DataStale,
    BrokerErrors,
    Slippage,
    ReconcileFailed,
    Volatility,
    Concentration,
    ValueAtRisk,
    Manual,
}

/// What a switch says now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchState {
    /// Increases are refused.
    pub stopped: bool,
    /// `ACTIVE`, `ENGAGED`, `OPEN` or `TRIPPED`.
    pub state: String,
    pub reason: String,
    pub operator: String,
    pub at: Option<UtcTime>,
}

impl SwitchState {
    /// What it means for orders, in words that cannot be read the other way round: `ACTIVE` and `OPEN` are stored, never shown alone.
    pub fn meaning(&self) -> String {
        if self.stopped { text!("{}: increases are STOPPED", self.state) } else { term!("increases pass").to_string() }
    }
}

/// The reason of a switch that no gate has armed yet.
const NEVER_SET: &str = "it was never set for this account";

fn stopped(switch: Switch, reason: impl Into<String>) -> SwitchState {
    SwitchState { stopped: true, state: switch.stop().into(), reason: reason.into(), operator: "-".into(), at: None }
}

/// The newest row for the account (or for all accounts) counts. Anything that cannot be read counts as stopped.
pub fn read(db: &Db, switch: Switch, account: &str) -> SwitchState {
    if switch == Switch::Kill {
        match DataPath::new(STOP_FILE).and_then(|p| store::read(db.root(), &p)) {
            Ok(None) => {}
            Ok(Some(_)) => return stopped(switch, text!("the file {STOP_FILE} is there")),
            Err(e) => return stopped(switch, text!("{STOP_FILE} cannot be looked at: {e}")),
        }
    }
    match newest(db, switch, account) {
        Ok(Some(state)) => state,
        Ok(None) => stopped(switch, NEVER_SET),
        Err(e) => stopped(switch, text!("it cannot be read: {e}")),
    }
}

fn newest(db: &Db, switch: Switch, account: &str) -> Result<Option<SwitchState>> {
    let conn = db.lock()?;
    let row = conn
        .query_row(
            "SELECT state, reason, operator, generation, at FROM switches WHERE name = ?1 AND account IN (?2, ?3) ORDER BY seq DESC LIMIT 1",
            params![switch.name(), account, ALL_ACCOUNTS],
            |r| Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?, r.get::<_, String>(2)?, r.get::<_, i64>(3)?, r.get::<_, String>(4)?)),
        )
        .optional()?;
    let Some((state, reason, operator, row_generation, at)) = row else { return Ok(None) };
    if row_generation < generation(&conn)? {
        return Ok(Some(stopped(switch, "its newest row is from before the drive was taken over")));
    }
    // Only the exact word lets anything through.
    let is_go = state == switch.go();
    let state = if is_go { state } else { switch.stop().to_string() };
    Ok(Some(SwitchState { stopped: !is_go, state, reason, operator, at: Some(UtcTime::parse(&at)?) }))
}

/// The drive's generation; 0 before the first take-over.
fn generation(conn: &rusqlite::Connection) -> Result<i64> {
    let text: Option<String> = conn.query_row("SELECT value FROM meta WHERE key = 'generation'", [], |r| r.get(0)).optional()?;
    text.map_or(Ok(0), |t| t.parse().map_err(|_| Error::new(code::SSD_DAMAGED, "the journal's generation is not a number")))
}

fn append(db: &Db, switch: Switch, account: &str, state: &str, reason: &str, operator: &str, now: UtcTime) -> Result<()> {
    if operator.is_empty() || reason.is_empty() {
        return Err(Error::new(code::GATE_REFUSED, "a switch needs an operator and a reason"));
    }
    db.write(|tx| {
        let generation = generation(tx)?;
        tx.execute(
            "INSERT INTO switches (name, account, state, reason, operator, generation, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![switch.name(), account, state, reason, operator, generation, now.to_string()],
        )?;
        Ok(())
    })
}

/// Stop all increases of an account (`*` = every account). Allowed at any time.
pub fn engage(db: &Db, account: &str, reason: &str, operator: &str, now: UtcTime) -> Result<()> {
    append(db, Switch::Kill, account, Switch::Kill.stop(), reason, operator, now)
}

/// Trip the breaker once per reason: a breaker that is already tripped for this reason is left as it is.
pub fn trip(db: &Db, account: &str, reason: TripReason, detail: &str, now: UtcTime) -> Result<bool> {
    let word = super::order::word(reason)?;
    if tripped_for(db, account, &word)? {
        return Ok(false);
    }
    append(db, Switch::Breaker, account, Switch::Breaker.stop(), &format!("{word}: {detail}"), "trademl", now)?;
    Ok(true)
}

/// When the breaker was last reset by a person after it was tripped for this reason.
pub fn last_reset(db: &Db, account: &str, reason: TripReason) -> Result<Option<UtcTime>> {
    let breaker = Switch::Breaker;
    let sql = "SELECT max(o.at) FROM switches o WHERE o.name = ?1 AND o.account = ?2 AND o.state = ?4 AND EXISTS (SELECT 1 FROM switches t \
         WHERE t.name = ?1 AND t.account = ?2 AND t.state = ?3 AND t.seq < o.seq AND substr(t.reason, 1, length(?5) + 1) = ?5 || ':' \
         AND t.seq > coalesce((SELECT max(p.seq) FROM switches p WHERE p.name = ?1 AND p.account = ?2 AND p.state = ?4 AND p.seq < o.seq), 0))";
    let word = super::order::word(reason)?;
    let at: Option<String> = db.lock()?.query_row(sql, params![breaker.name(), account, breaker.stop(), breaker.go(), word], |r| r.get(0))?;
    at.map(|t| UtcTime::parse(&t)).transpose()
}

/// Whether the breaker was tripped for this reason since it last let increases through; other reasons may have come since.
fn tripped_for(db: &Db, account: &str, word: &str) -> Result<bool> {
    let since = "SELECT count(*) FROM switches WHERE name = ?1 AND account = ?2 AND state = ?3 AND substr(reason, 1, length(?4) + 1) = ?4 || ':' \
         AND generation = (SELECT coalesce(max(value + 0), 0) FROM meta WHERE key = 'generation') \
         AND seq > coalesce((SELECT max(seq) FROM switches WHERE name = ?1 AND account = ?2 AND state = ?5), 0)";
    let breaker = Switch::Breaker;
    let n: i64 = db.lock()?.query_row(since, params![breaker.name(), account, breaker.stop(), word, breaker.go()], |r| r.get(0))?;
    Ok(n > 0)
}

/// The first `ACTIVE` and `OPEN` rows of an account, written when its paper-trading gate was passed. Never resets a
/// switch that has a history.
pub fn arm(db: &Db, account: &str, operator: &str, now: UtcTime) -> Result<()> {
    for switch in [Switch::Kill, Switch::Breaker] {
        if newest(db, switch, account)?.is_none() {
            append(db, switch, account, switch.go(), "armed at the paper-trading gate", operator, now)?;
        }
    }
    Ok(())
}

/// What has to be typed to let increases through again: the account for the kill switch, the reason for the breaker.
pub fn reset_token(db: &Db, switch: Switch, account: &str) -> String {
    match switch {
        Switch::Kill => text!("RESET {account}"),
        Switch::Breaker => {
            let state = read(db, switch, account);
            text!("RESET {}", state.reason.split(':').next().unwrap_or("-"))
        }
    }
}

/// The command that lets increases through again, words and all.
pub fn reset_command(db: &Db, switch: Switch, account: &str) -> String {
    let breaker = if switch == Switch::Breaker { " --breaker" } else { "" };
    format!("trademl paper reset --account {account}{breaker} --reason \"WHY\" --confirm \"{}\"", reset_token(db, switch, account))
}

/// Let increases through again after the typed confirmation; never by time or restart. The words are for one account: what the kill switch's
/// file stopped besides it stays stopped in the journal. The file goes last: whatever fails before that leaves everything stopped.
pub fn reset(db: &Db, switch: Switch, account: &str, typed: &str, operator: &str, reason: &str, now: UtcTime) -> Result<()> {
    if typed != reset_token(db, switch, account) {
        return Err(Error::new(code::GATE_REFUSED, text!("the {} stays {}", switch.title(), switch.stop()))
            .cause(if typed.is_empty() { "the words were not given" } else { "the words were not the ones asked for" })
            .fix(reset_command(db, switch, account)));
    }
    let file = DataPath::new(STOP_FILE)?;
    let by_file = switch == Switch::Kill && store::read(db.root(), &file)?.is_some();
    if by_file {
        append(db, switch, ALL_ACCOUNTS, switch.stop(), &text!("the file {STOP_FILE} was there when {account} was let through"), operator, now)?;
    }
    append(db, switch, account, switch.go(), reason, operator, now)?;
    if by_file {
        store::remove(db.root(), &file)?;
    }
    Ok(())
}

/// The switches that stop an account which was armed once, or that somebody stopped. One that no gate has armed yet is left out:
/// the gate itself arms it.
pub fn stops(db: &Db, account: &str) -> Vec<(Switch, SwitchState)> {
    let both = [Switch::Kill, Switch::Breaker].map(|switch| (switch, read(db, switch, account)));
    both.into_iter().filter(|(_, state)| state.stopped && state.reason != NEVER_SET).collect()
}

/// Trips of an account on one trading day, by the exchange's calendar.
pub fn trips_on(db: &Db, account: &str, day: TradingDay) -> Result<u32> {
    let conn = db.lock()?;
    let mut q = conn.prepare("SELECT at FROM switches WHERE name = 'circuit_breaker' AND account = ?1 AND state = 'TRIPPED' ORDER BY seq DESC LIMIT 1000")?;
    let mut rows = q.query([account])?;
    let mut n = 0;
    while let Some(r) = rows.next()? {
        n += u32::from(UtcTime::parse(&r.get::<_, String>(0)?)?.day_in(&new_york()) == day);
    }
    Ok(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::broker::fake::journal;
    use data_layer::control::Which;

    #[test]
    fn lesson_093_missing_corrupt_or_older_state_is_stopped_and_stays_so_after_a_restart() {
        let (_dir, root, db) = journal();
        let now = root.host().now();
        for s in [Switch::Kill, Switch::Breaker] {
            assert!(read(&db, s, "SIM1").stopped);
        }
        arm(&db, "SIM1", "me", now).unwrap();
        assert!(!read(&db, Switch::Kill, "SIM1").stopped && !read(&db, Switch::Breaker, "SIM1").stopped);
        assert!(trip(&db, "SIM1", TripReason::MaxDrawdown, "11 %", now).unwrap());
        assert!(!trip(&db, "SIM1", TripReason::MaxDrawdown, "12 %", now).unwrap());
        assert!(trip(&db, "SIM1", TripReason::DataStale, "1 h", now).unwrap());
        assert!(!trip(&db, "SIM1", TripReason::MaxDrawdown, "13 %", now).unwrap(), "once, whatever came in between");
        arm(&db, "SIM1", "me", now).unwrap();
        drop(db);
        let db = Db::open(&root, Which::Journal).unwrap();
        assert!(read(&db, Switch::Breaker, "SIM1").stopped);
        assert!(reset(&db, Switch::Breaker, "SIM1", "yes", "me", "looked", now).is_err());
        reset(&db, Switch::Breaker, "SIM1", "RESET DATA_STALE", "me", "looked", now).unwrap();
        assert!(!read(&db, Switch::Breaker, "SIM1").stopped);
        db.lock().unwrap().execute("UPDATE switches SET state = 'active ' WHERE name = 'kill_switch'", []).unwrap();
        assert!(read(&db, Switch::Kill, "SIM1").stopped);
        db.lock().unwrap().execute("INSERT INTO meta VALUES ('generation', '3')", []).unwrap();
        assert!(read(&db, Switch::Breaker, "SIM1").stopped);
    }

    #[test]
    fn the_stop_file_and_a_stop_for_all_accounts_hold_everyone() {
        let (_dir, root, db) = journal();
        let now = root.host().now();
        arm(&db, "SIM1", "me", now).unwrap();
        store::write_atomic(&root, &DataPath::new(STOP_FILE).unwrap(), b"stop").unwrap();
        assert!(read(&db, Switch::Kill, "SIM1").stopped);
        store::remove(&root, &DataPath::new(STOP_FILE).unwrap()).unwrap();
        assert!(!read(&db, Switch::Kill, "SIM1").stopped);
        engage(&db, ALL_ACCOUNTS, "holiday", "me", now).unwrap();
        assert!(read(&db, Switch::Kill, "SIM1").stopped);
    }

    #[test]
    fn the_words_for_one_account_free_no_other_that_the_file_stopped() {
        let (_dir, root, db) = journal();
        let now = root.host().now();
        for account in ["SIM1", "SIM2"] {
            arm(&db, account, "me", now).unwrap();
        }
        store::write_atomic(&root, &DataPath::new(STOP_FILE).unwrap(), b"stop").unwrap();
        reset(&db, Switch::Kill, "SIM1", "RESET SIM1", "me", "looked", now).unwrap();
        assert!(!read(&db, Switch::Kill, "SIM1").stopped && read(&db, Switch::Kill, "SIM2").stopped);
        assert_eq!(stops(&db, "SIM2").len(), 1);
        reset(&db, Switch::Kill, "SIM2", "RESET SIM2", "me", "looked", now).unwrap();
        assert!(!read(&db, Switch::Kill, "SIM1").stopped && !read(&db, Switch::Kill, "SIM2").stopped);
    }

    #[test]
    fn wrong_words_leave_the_stop_file_where_it_is() {
        let (_dir, root, db) = journal();
        let (now, file) = (root.host().now(), DataPath::new(STOP_FILE).unwrap());
        arm(&db, "SIM1", "me", now).unwrap();
        store::write_atomic(&root, &file, b"stop").unwrap();
        for typed in ["", "wrong", "RESET SIM2"] {
            let refused = reset(&db, Switch::Kill, "SIM1", typed, "me", "looked", now).unwrap_err();
            assert!(refused.body().fix[0].ends_with("--confirm \"RESET SIM1\""), "{:?}", refused.body());
            assert!(store::read(&root, &file).unwrap().is_some() && read(&db, Switch::Kill, "SIM1").stopped, "{typed}");
        }
        assert!(reset(&db, Switch::Kill, "SIM1", "RESET SIM1", "me", "", now).is_err(), "a reason is needed");
        assert!(store::read(&root, &file).unwrap().is_some());
        assert_eq!(stops(&db, "SIM1").len(), 1);
        reset(&db, Switch::Kill, "SIM1", "RESET SIM1", "me", "looked", now).unwrap();
        assert!(store::read(&root, &file).unwrap().is_none() && stops(&db, "SIM1").is_empty());
    }

    #[test]
    fn what_a_switch_means_cannot_be_read_the_other_way_round() {
        let (_dir, root, db) = journal();
        let now = root.host().now();
        assert!(stops(&db, "SIM1").is_empty(), "the gate arms what was never set");
        arm(&db, "SIM1", "me", now).unwrap();
        assert_eq!(read(&db, Switch::Breaker, "SIM1").meaning(), "increases pass");
        trip(&db, "SIM1", TripReason::DataStale, "1 h", now).unwrap();
        assert_eq!(read(&db, Switch::Breaker, "SIM1").meaning(), "TRIPPED: increases are STOPPED");
        let command = "trademl paper reset --account SIM1 --breaker --reason \"WHY\" --confirm \"RESET DATA_STALE\"";
        assert_eq!(reset_command(&db, Switch::Breaker, "SIM1"), command);
    }

    #[test]
    fn trips_are_counted_by_trading_day() {
        let (_dir, root, db) = journal();
        let now = root.host().now();
        trip(&db, "SIM1", TripReason::BrokerErrors, "3", now).unwrap();
        trip(&db, "SIM1", TripReason::DataStale, "1 h", now).unwrap();
        assert_eq!(trips_on(&db, "SIM1", now.day_in(&new_york())).unwrap(), 2);
        assert_eq!(trips_on(&db, "SIM1", now.day_in(&new_york()).plus_days(1)).unwrap(), 0);
    }
}
