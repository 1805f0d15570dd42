//! The clock against what the drive holds: judged before each round of the service, and before a command asks vendors.

use super::Node;
use super::service::beats;
use crate::clock::{self, Judgement, STEP_SECONDS};
use crate::error::{Error, Result};
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
            (Judgement::Told, _) => Belief::Sound,
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

/// Whether a stamp is of a clock that ran ahead of `now`.
fn is_ahead(stamp: UtcTime, now: UtcTime) -> bool {
    stamp > now.plus_seconds(STEP_SECONDS)
}
