//! The clock against what the drive holds: judged before each round of the service, and before a command asks vendors.

use super::service::beats;
use super::{Node, damaged, forward, newest_due};
use crate::bookmarks;
use crate::clock::{self, Judgement, STEP_SECONDS};
use crate::error::{Error, Result};
use crate::queue;
use crate::segment;
use crate::time::UtcTime;

/// A drive that was left alone for so long says little about the present: somebody is asked.
const LEFT_ALONE_SECONDS: i64 = 86_400;

/// What is thought of the clock, with the drive in view.
#[derive(Clone, Debug)]
pub enum Belief {
    Sound,
    /// The drive was left alone for days, or is new, and nobody could be asked what time it is.
    Unsure(Error),
    Wrong(Error),
}

impl Node {
    /// Weigh the clock: by what vendors say, then by the newest stamp on the drive. Where these differ, or the drive says too little, one
    /// vendor is asked for the time. A vendor that agrees with the clock outweighs the drive, which an earlier clock that ran ahead may
    /// have stamped.
    pub fn weigh_the_clock(&self) -> Result<Belief> {
        let (host, watch) = (self.host(), &self.ctx.fetcher.clock);
        if host.clock_is_pinned() {
            return Ok(Belief::Sound);
        }
        let newest = self.newest_stamp()?;
        let mut judged = watch.judge(host);
        if !matches!(judged, Judgement::Told) {
            if let (Judgement::Untold, Some(newest)) = (&judged, newest)
                && (-STEP_SECONDS..=LEFT_ALONE_SECONDS).contains(&(host.now().seconds_since(newest) as i64))
            {
                return Ok(Belief::Sound);
            }
            host.block_on(self.ctx.fetcher.ask_the_time())??;
            judged = watch.judge(host);
        }
        Ok(match (judged, newest) {
            (Judgement::Wrong(why), _) => Belief::Wrong(why),
            (Judgement::Told, newest) => {
                if newest.is_some_and(|t| is_ahead(t, host.now())) {
                    self.take_back_the_future()?;
                }
                Belief::Sound
            }
            (Judgement::Untold, Some(newest)) if is_ahead(newest, host.now()) => {
                Belief::Wrong(clock::wrong(text!("it is before {newest}, of which the drive holds something, and no vendor says otherwise")))
            }
            (Judgement::Untold, _) => {
                Belief::Unsure(clock::wrong(text!("the drive was not written for a day or more, and no vendor could be asked what time it is")))
            }
        })
    }

    /// `Err` (`HOST_CLOCK`) where the clock is wrong; for commands, which somebody watches, nothing is said of one that nobody could confirm.
    pub fn believe_clock(&self) -> Result<()> {
        match self.weigh_the_clock()? {
            Belief::Wrong(why) => Err(why),
            Belief::Sound | Belief::Unsure(_) => Ok(()),
        }
    }

    /// The newest moment at which anything was written: answers, and where the drive is of the real market, the loops. (Loops keep the
    /// machine's time, answers that of their world.)
    fn newest_stamp(&self) -> Result<Option<UtcTime>> {
        let answered = segment::newest(self.root(), self.db())?;
        let beaten = if self.root().is_world() { None } else { beats(self.db())?.into_iter().map(|b| b.at).max() };
        Ok(answered.max(beaten))
    }
}

/// Rows about sessions to come, which are made again when these are over: `?1` is the latest moment that can be right, `?2` the newest session
/// that is over.
const OF_THE_FUTURE: [&str; 2] = [
    "DELETE FROM backfill_queue WHERE start_date > ?2 AND status <> 'LEASED' AND (created_at > ?1 OR updated_at > ?1)",
    "DELETE FROM bookmarks WHERE start_date > ?2 AND updated_at > ?1",
];
/// What was put off until then, given up, taken for out of a plan's reach, or looked at: `?2` is now.
const OUT_OF_TIME: [&str; 6] = [
    "UPDATE backfill_queue SET status = 'PENDING', attempts = 0, outcome = NULL, next_not_before = NULL, updated_at = ?2
     WHERE updated_at > ?1 AND (status = 'FAILED' OR outcome = 'BEFORE_DEPTH')",
    "UPDATE backfill_queue SET next_not_before = NULL, updated_at = ?2 WHERE status = 'PENDING' AND updated_at > ?1",
    "UPDATE backfill_queue SET updated_at = ?2 WHERE updated_at > ?1",
    "UPDATE backfill_queue SET created_at = ?2 WHERE created_at > ?1",
    "UPDATE bookmarks SET updated_at = ?2 WHERE updated_at > ?1",
    "UPDATE entitlements SET checked_at = ?2 WHERE checked_at > ?1",
];

impl Node {
    /// Take back what a clock that ran ahead of this one left on the drive, now that a vendor agrees with this one. Answers stamped in the
    /// future would go before everything that is said until then, and may be about days that nobody could know: they are set aside, and
    /// what they were about is asked again as far as it is over. What the ledger says of days to come goes with the next audit.
    fn take_back_the_future(&self) -> Result<()> {
        let (now, due) = (self.host().now(), newest_due(self.host())?);
        let latest = now.plus_seconds(STEP_SECONDS);
        self.db().write(|tx| {
            let (latest, last, now) = (latest.to_string(), due.to_string(), now.to_string());
            OF_THE_FUTURE.iter().try_for_each(|sql| tx.execute(sql, [&latest, &last]).map(drop))?;
            OUT_OF_TIME.iter().try_for_each(|sql| tx.execute(sql, [&latest, &now]).map(drop))?;
            queue::recount(tx)?;
            tx.execute("DELETE FROM budget_spend WHERE window_start > ?1", [&latest])?;
            forward::not_beyond(tx, due.plus_days(1))
        })?;
        damaged::set_aside(self.root(), self.db(), Some(latest))?;
        self.seed(&damaged::to_ask_again(self.root(), self.db())?)?;
        // Last: a crash before this finds the same stamps again.
        self.db().write(|tx| {
            bookmarks::exact_not_after(tx, latest)?;
            segment::forget_newest(tx)?;
            if !self.root().is_world() {
                tx.execute("DELETE FROM heartbeats WHERE at > ?1", [latest.to_string()])?;
            }
            Ok(())
        })
    }
}

/// Whether a stamp is of a clock that ran ahead of `now`.
fn is_ahead(stamp: UtcTime, now: UtcTime) -> bool {
    stamp > now.plus_seconds(STEP_SECONDS)
}
