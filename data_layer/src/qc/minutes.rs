//! Checks on one session of minute bars.
//!
//! A minute in which nothing trades has no bar, so a thin name is short by nature. Few bars are excused only where the day
//! bar of the same session proves it: the name is thin, and the minutes that are there hold all but a hundredth of the
//! day's volume. Everywhere else the calendar decides: 390 minutes, or 210 before an early close.

use super::{QcCode, QcConfig, judge_count, prices_code};
use crate::calendar::Calendar;
use crate::ledger::Status;
use crate::time::{TradingDay, UtcTime};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

const MINUTE: i64 = 60_000_000;

/// One minute as a vendor served it. `None` is a missing cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Minute {
    /// Start of the minute.
    pub ts: UtcTime,
    /// Open, high, low, close.
    pub ohlc: [Option<f64>; 4],
    pub vwap: Option<f64>,
    pub volume: Option<f64>,
}

/// The minutes of one symbol and session, in the order in which they are stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    pub day: TradingDay,
    pub bars: Vec<Minute>,
    pub session_id: Option<Arc<str>>,
    /// More than one feed in one session.
    pub mixed_feed: bool,
}

/// What a verdict needs of a session's minutes.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The verdict on the bars by themselves: order, prices, repeats.
    pub code: QcCode,
    /// Bars within the session's scheduled hours.
    pub rows: u64,
    /// Bars between 09:30 and 16:00, whatever the schedule says.
    pub rows_by_day: u64,
    /// Shares, of the bars within the session.
    pub volume: f64,
    pub close: Option<f64>,
    /// Of the values, to tell a revision from a repetition.
    pub digest: u64,
}

/// The stored day bar of the same session, where it is sound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DayBar {
    pub close: f64,
    pub volume: f64,
}

impl Session {
    /// The minutes of the scheduled session: `open <= ts < close`.
    pub fn regular(&self) -> impl Iterator<Item = &Minute> {
        let (open, close) = (Calendar::xnys().open(self.day), Calendar::xnys().close(self.day));
        self.bars.iter().filter(move |b| open <= b.ts && b.ts < close)
    }

    pub fn summary(&self, config: &QcConfig) -> Summary {
        let open = Calendar::xnys().open(self.day);
        let full = open.plus_seconds(390 * 60);
        let mut digest = DefaultHasher::new();
        for b in &self.bars {
            let cells = b.ohlc.iter().chain([&b.vwap, &b.volume]).map(|v| v.map(f64::to_bits));
            (b.ts.micros(), cells.collect::<Vec<_>>()).hash(&mut digest);
        }
        Summary {
            code: self.own_code(config),
            rows: self.regular().count() as u64,
            rows_by_day: self.bars.iter().filter(|b| open <= b.ts && b.ts < full).count() as u64,
            volume: self.regular().filter_map(|b| b.volume).fold(0.0, |sum, v| sum + v),
            close: self.regular().last().and_then(|b| b.ohlc[3]),
            digest: digest.finish(),
        }
    }

    fn own_code(&self, config: &QcConfig) -> QcCode {
        let bars = &self.bars;
        if bars.windows(2).any(|w| w[1].ts <= w[0].ts) {
            return QcCode::Duplicates;
        }
        if bars.iter().any(|b| b.ts.micros().rem_euclid(MINUTE) != 0) {
            return QcCode::Schema;
        }
        let worst = bars.iter().map(|b| prices_code(b.ohlc, b.volume)).max_by_key(|c| c.status()).unwrap_or(QcCode::Ok);
        if worst != QcCode::Ok {
            return worst;
        }
        // No action takes effect within a session, so nothing explains such a move.
        let moved = |a: Option<f64>, b: Option<f64>| matches!((a, b), (Some(a), Some(b)) if (b / a - 1.0).abs() > config.move_without_action);
        if bars.windows(2).any(|w| moved(w[0].ohlc[3], w[1].ohlc[3])) {
            return QcCode::MoveUnexplained;
        }
        let repeats = |w: &[Minute]| w[0].ohlc == w[1].ohlc && w[0].volume == w[1].volume;
        let longest = bars.windows(2).fold((1, 1), |(now, most), w| if repeats(w) { (now + 1, most.max(now + 1)) } else { (1, most) }).1;
        if longest >= config.stale_minutes {
            return QcCode::StaleRepeat;
        }
        if self.mixed_feed { QcCode::FeedChanged } else { QcCode::Ok }
    }
}

/// The verdict on a session that has bars, where the calendar expects `expected` minutes.
pub fn judge_session(s: &Summary, expected: u64, day: Option<DayBar>, config: &QcConfig) -> QcCode {
    if s.code.status() == Status::Red {
        return s.code;
    }
    if s.rows_by_day as f64 > expected as f64 * config.suspicious_above {
        return QcCode::LongSession;
    }
    let counted = match judge_count(s.rows, expected, config) {
        code @ (QcCode::ShortSession | QcCode::MissingRows) => excused(code, s, expected, day, config),
        code => code,
    };
    let apart = |d: &DayBar| s.close.is_some_and(|c| (c / d.close - 1.0).abs().max((d.close / c - 1.0).abs()) > config.sources_disagree);
    match (counted, s.code) {
        (QcCode::Ok, QcCode::Ok) if day.as_ref().is_some_and(apart) => QcCode::SourcesDisagree,
        (QcCode::Ok, own) => own,
        (code, _) => code,
    }
}

/// Few minutes, weighed against the day bar. All of a thin day's volume: nothing is missing. Nearly all: doubtful.
fn excused(code: QcCode, s: &Summary, expected: u64, day: Option<DayBar>, config: &QcConfig) -> QcCode {
    let Some(day) = day.filter(|d| d.volume > 0.0 && d.volume < config.thin_volume_per_minute * expected as f64) else { return code };
    let share = s.volume / day.volume;
    if (share - 1.0).abs() <= config.thin_volume_missing {
        QcCode::Ok
    } else if share >= config.red_below {
        QcCode::ShortSession
    } else {
        code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(n: usize, volume: f64) -> Session {
        let day = "2017-11-22".parse().unwrap();
        let open = Calendar::xnys().open(day);
        let bar = |i: usize| {
            let p = 100.0 + (i % 7) as f64 * 0.01;
            Minute { ts: open.plus_seconds(60 * i as i64), ohlc: [Some(p), Some(p + 0.02), Some(p - 0.02), Some(p)], vwap: None, volume: Some(volume) }
        };
        Session { day, bars: (0..n).map(bar).collect(), session_id: None, mixed_feed: false }
    }
    fn judge(s: &Session, day: Option<DayBar>) -> QcCode {
        let config = QcConfig::default();
        judge_session(&s.summary(&config), u64::from(Calendar::xnys().minutes(s.day)), day, &config)
    }

    #[test]
    fn lesson_027_minutes_are_counted_against_the_session_and_only_a_thin_day_is_excused() {
        assert_eq!(judge(&session(390, 5_000.0), None), QcCode::Ok);
        assert_eq!(judge(&session(351, 5_000.0), None), QcCode::Ok);
        assert_eq!(judge(&session(300, 5_000.0), None), QcCode::ShortSession);
        assert_eq!(judge(&session(60, 5_000.0), None), QcCode::MissingRows);
        let day = |volume| Some(DayBar { close: 100.0, volume });
        // A busy name is never excused, however much of its volume is there.
        assert_eq!(judge(&session(60, 20_000.0), day(1_200_000.0)), QcCode::MissingRows);
        // A thin one is, when the minutes hold what the day says; nearly all is doubtful; less is missing.
        assert_eq!(judge(&session(60, 100.0), day(6_000.0)), QcCode::Ok);
        assert_eq!(judge(&session(60, 100.0), day(6_500.0)), QcCode::ShortSession);
        assert_eq!(judge(&session(60, 100.0), day(9_000.0)), QcCode::MissingRows);
        // An early close expects 210 minutes, and more than a fifth above that is suspicious.
        let mut half = session(390, 5_000.0);
        half.day = "2017-11-24".parse().unwrap();
        let shift = Calendar::xnys().open(half.day).micros() - half.bars[0].ts.micros();
        half.bars.iter_mut().for_each(|b| b.ts = UtcTime::from_micros(b.ts.micros() + shift));
        assert_eq!(judge(&half, None), QcCode::LongSession);
        half.bars.truncate(210);
        assert_eq!(judge(&half, None), QcCode::Ok);
    }

    #[test]
    fn order_prices_repeats_and_moves_within_a_session() {
        let bent = |f: &dyn Fn(&mut Session)| {
            let mut s = session(390, 5_000.0);
            f(&mut s);
            judge(&s, None)
        };
        assert_eq!(bent(&|s| s.bars.swap(3, 4)), QcCode::Duplicates);
        assert_eq!(bent(&|s| s.bars[4].ts = s.bars[3].ts), QcCode::Duplicates);
        assert_eq!(bent(&|s| s.bars[4].ts = s.bars[4].ts.plus_seconds(7)), QcCode::Schema);
        assert_eq!(bent(&|s| s.bars[4].ohlc[2] = Some(0.0)), QcCode::Ohlc);
        assert_eq!(bent(&|s| s.bars[4].ohlc[2] = Some(-1.0)), QcCode::Ohlc);
        assert_eq!(bent(&|s| s.bars[4].ohlc[1] = Some(99.0)), QcCode::Ohlc);
        assert_eq!(bent(&|s| s.bars[4].volume = Some(-1.0)), QcCode::Ohlc);
        assert_eq!(bent(&|s| s.bars[4].volume = Some(f64::NAN)), QcCode::Ohlc);
        assert_eq!(bent(&|s| s.bars[4].volume = None), QcCode::NullCells);
        assert_eq!(bent(&|s| s.bars[4].ohlc = [Some(150.0); 4]), QcCode::MoveUnexplained);
        assert_eq!(bent(&|s| s.bars[40..80].iter_mut().for_each(|b| b.ohlc = [Some(100.0); 4])), QcCode::StaleRepeat);
        assert_eq!(bent(&|s| s.mixed_feed = true), QcCode::FeedChanged);
        assert_eq!(judge(&session(390, 5_000.0), Some(DayBar { close: 10.0, volume: 1e9 })), QcCode::SourcesDisagree);
    }
}
