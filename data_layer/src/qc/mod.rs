//! Pure quality checks on stored bars. Nothing here reads a disk or a clock; thresholds come in through [`QcConfig`].

use crate::ledger::Status;

mod count;
mod minutes;
mod series;
pub use count::judge_count;
pub use minutes::{DayBar, Minute, Session, Summary, judge_session};
pub use series::{Action, Bar, LOOKBACK_SESSIONS, bar_code, judge, prices_code};

/// Thresholds, as in the `qc:` block of `configs/backfill.yml`.
#[derive(Clone, Debug, PartialEq)]
pub struct QcConfig {
    /// Below this share of the expected rows a partition is RED.
    pub red_below: f64,
    /// Above this share it is suspicious.
    pub suspicious_above: f64,
    /// Share of a full session's rows that an unscheduled short session may have: from (included) to (excluded).
    pub half_day: (f64, f64),
    /// Relative close-to-close move that needs a corporate action to be believed.
    pub move_without_action: f64,
    /// Disagreement between two sources' closes that is counted as a note, in basis points.
    pub close_note_bps: f64,
    /// Relative disagreement between two sources' closes that makes a partition AMBER. Honest vendors were seen 4 % apart.
    pub sources_disagree: f64,
    /// Bars with equal close and volume in a row from which on a series counts as stale.
    pub stale_bars: usize,
    /// The same for minutes of one session, with equal prices and volume.
    pub stale_minutes: usize,
    /// A name that trades fewer shares a minute than this is thin: minutes without a trade are likely.
    pub thin_volume_per_minute: f64,
    /// Share of a thin day's volume that its minutes may lack (or exceed) and still count as complete.
    pub thin_volume_missing: f64,
}

impl Default for QcConfig {
    fn default() -> Self {
        Self {
            red_below: 0.90,
            suspicious_above: 1.20,
            half_day: (0.45, 0.90),
            move_without_action: 0.30,
            close_note_bps: 20.0,
            sources_disagree: 0.10,
            stale_bars: 5,
            stale_minutes: 30,
            thin_volume_per_minute: 1_000.0,
            thin_volume_missing: 0.01,
        }
    }
}

/// Why a partition has its colour; the words of the `qc_code` column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QcCode {
    Ok,
    ShortSession,
    LongSession,
    NullCells,
    SuspiciousEmpty,
    VendorEmpty,
    BeforeFirstBar,
    StaleRepeat,
    MoveUnexplained,
    SourcesDisagree,
    FeedChanged,
    /// Two sources tell different corporate actions of that day.
    ActionsDisagree,
    /// A corporate action of that day could not be applied to the prices before it.
    ActionUnapplied,
    NotSeen,
    /// Nobody has said under which ticker the company was traded on that day; its present one was another company's.
    TickerUnknown,
    /// After sessions without a bar the price is another one, and no corporate action says why: perhaps another company's.
    BreakAcrossGap,
    Missing,
    MissingRows,
    ChecksumMismatch,
    Schema,
    Ohlc,
    Duplicates,
    Quarantined,
    NotEntitled,
}

impl QcCode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::ShortSession => "SHORT_SESSION",
            Self::LongSession => "LONG_SESSION",
            Self::NullCells => "NULL_CELLS",
            Self::SuspiciousEmpty => "SUSPICIOUS_EMPTY",
            Self::VendorEmpty => "VENDOR_EMPTY",
            Self::BeforeFirstBar => "BEFORE_FIRST_BAR",
            Self::StaleRepeat => "STALE_REPEAT",
            Self::MoveUnexplained => "MOVE_UNEXPLAINED",
            Self::SourcesDisagree => "SOURCES_DISAGREE",
            Self::FeedChanged => "FEED_CHANGED",
            Self::ActionsDisagree => "ACTIONS_DISAGREE",
            Self::ActionUnapplied => "ACTION_UNAPPLIED",
            Self::NotSeen => "NOT_SEEN",
            Self::TickerUnknown => "TICKER_UNKNOWN",
            Self::BreakAcrossGap => "BREAK_ACROSS_GAP",
            Self::Missing => "MISSING",
            Self::MissingRows => "MISSING_ROWS",
            Self::ChecksumMismatch => "CHECKSUM_MISMATCH",
            Self::Schema => "SCHEMA",
            Self::Ohlc => "OHLC",
            Self::Duplicates => "DUPLICATES",
            Self::Quarantined => "QUARANTINED",
            Self::NotEntitled => "NOT_ENTITLED",
        }
    }

    /// The colour that goes with the code.
    pub fn status(self) -> Status {
        match self {
            Self::Ok => Status::Green,
            Self::ShortSession
            | Self::LongSession
            | Self::NullCells
            | Self::SuspiciousEmpty
            | Self::VendorEmpty
            | Self::BeforeFirstBar
            | Self::StaleRepeat
            | Self::MoveUnexplained
            | Self::SourcesDisagree
            | Self::FeedChanged
            | Self::ActionsDisagree
            | Self::ActionUnapplied
            | Self::NotSeen
            | Self::TickerUnknown
            | Self::BreakAcrossGap => Status::Amber,
            Self::Missing
            | Self::MissingRows
            | Self::ChecksumMismatch
            | Self::Schema
            | Self::Ohlc
            | Self::Duplicates
            | Self::Quarantined
            | Self::NotEntitled => Status::Red,
        }
    }

    /// A score in [0, 1] for sorting and charts; gates look at the colour alone.
    pub fn score(self) -> f64 {
        match self {
            Self::Ok => 1.0,
            Self::FeedChanged | Self::SourcesDisagree | Self::ActionsDisagree | Self::ActionUnapplied | Self::MoveUnexplained | Self::BreakAcrossGap => 0.8,
            Self::StaleRepeat | Self::LongSession | Self::ShortSession => 0.7,
            Self::NullCells => 0.6,
            Self::VendorEmpty | Self::BeforeFirstBar | Self::NotSeen | Self::TickerUnknown => 0.5,
            Self::SuspiciousEmpty => 0.4,
            _ => 0.0,
        }
    }
}
