//! Pictures of completeness: what the drive should have, has, and why the rest is missing, day by day.
//!
//! One look at the ledger makes three files of a day below `reports/coverage/`: a page (dataset x date x reason, one file,
//! no script, nothing fetched), and its heat map alone as SVG and as PNG. Equal ledgers give equal bytes.

use crate::control::Db;
use crate::error::Result;
use crate::ledger::{self, Coverage};
use crate::root::{DataPath, DataRoot};
use crate::schema::{table, timeframe};
use crate::stage::{self, Lane, LaneState};
use crate::store;
use crate::time::TradingDay;
use std::collections::BTreeMap;

mod font;
mod layout;
mod page;
mod png;
mod svg;

/// Where the pictures are.
pub const FOLDER: &str = "reports/coverage";
/// Days whose pictures are kept; older ones go. The ledger has the history, a picture is a view of it.
const DAYS_KEPT: usize = 30;

/// How a day of a dataset stands. The words are those of the legend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every expected partition is GREEN.
    Complete,
    /// Some are AMBER, none is RED.
    Doubtful,
    /// At least 98 % are GREEN, some are RED.
    Gaps,
    /// More than 2 % are not GREEN, and some are RED.
    Missing,
}

impl Level {
    pub const ALL: [Self; 4] = [Self::Complete, Self::Doubtful, Self::Gaps, Self::Missing];

    pub fn of(day: &Coverage) -> Option<Self> {
        match day {
            c if c.expected == 0 => None,
            c if c.green == c.expected => Some(Self::Complete),
            c if c.red == 0 => Some(Self::Doubtful),
            c if c.fraction() >= 0.98 => Some(Self::Gaps),
            _ => Some(Self::Missing),
        }
    }
    pub fn word(self) -> &'static str {
        ["complete", "doubtful", "gaps", "missing"][self as usize]
    }
}

/// One table and partition key of the ledger.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// In words, such as `daily bars, raw`.
    pub name: String,
    pub days: BTreeMap<TradingDay, Coverage>,
}

impl Dataset {
    /// All days together.
    pub fn total(&self) -> Coverage {
        let mut out = Coverage::default();
        self.days.values().for_each(|day| out.join(day));
        out
    }
}

/// What is drawn.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The drive's market: `real`, or a world.
    pub market: String,
    pub stage: Option<u8>,
    pub asof: TradingDay,
    pub datasets: Vec<Dataset>,
    /// Datasets that are not collected, and why.
    pub closed: Vec<(String, String)>,
}

/// Known tables in the order of the picture; others follow by name.
const NAMES: &[(&str, &str, &str)] = &[
    (table::RAW_EQUITIES_BARS, timeframe::DAY, "daily bars, raw"),
    (table::CURATED_EQUITIES, timeframe::DAY, "daily bars, curated"),
    (table::RAW_EQUITIES_BARS, timeframe::MINUTE, "minute bars, raw"),
    (table::CURATED_MINUTES, timeframe::MINUTE, "minute bars, curated"),
    (table::REF_CORP_ACTIONS, "", "corporate actions"),
    ("reference/listings", "", "listings"),
    (table::REF_DELISTINGS, "", "delistings"),
    (table::REF_UNIVERSE, "", "universe"),
    (table::REF_INDEX_MEMBERSHIP, "", "index membership"),
    (table::REF_MACROS, "", "macro series"),
    (table::REF_COMPANIES, "", "companies and tickers"),
    (table::RAW_FILINGS, "", "filings"),
    (table::REF_SHARES, "", "shares outstanding"),
    (table::REF_EARNINGS, "", "earnings calendar"),
    (table::RAW_MACROS, "", "Treasury curve"),
    (table::REF_FUNDAMENTALS, "", "fundamentals"),
    (table::RAW_OPTIONS, "", "option chains"),
];

/// Look at the ledger. `asof` is the last session that is due.
pub fn look(root: &DataRoot, db: &Db, asof: TradingDay) -> Result<Picture> {
    let mut found = ledger::coverage_of_all(db)?;
    let mut datasets = Vec::new();
    for (table, key, name) in NAMES {
        if let Some(days) = found.remove(&((*table).to_string(), (*key).to_string())) {
            datasets.push(Dataset { name: (*name).to_string(), days });
        }
    }
    datasets.extend(found.into_iter().map(|((table, key), days)| Dataset { name: format!("{table} {key}").trim_end().to_string(), days }));
    let stage = stage::load_optional(root)?;
    let reason = |lane: &Lane| match lane {
        Lane::Explained(l) if l.state != LaneState::Active => Some(l.reason.clone()),
        Lane::Plain(LaneState::NotEntitled) => Some("the keys do not open it".into()),
        Lane::Plain(LaneState::Off) => Some("switched off".into()),
        _ => None,
    };
    let closed = stage.iter().flat_map(|s| &s.lanes).filter_map(|(name, lane)| Some((name.clone(), reason(lane)?))).collect();
    Ok(Picture { market: root.drive().dataset.clone(), stage: stage.map(|s| s.stage), asof, datasets, closed })
}

/// Draw the pictures of `asof` and keep the newest [`DAYS_KEPT`] days of them; the page, the SVG and the PNG.
pub fn write(root: &DataRoot, db: &Db, asof: TradingDay) -> Result<[DataPath; 3]> {
    let picture = look(root, db, asof)?;
    let path = |suffix: &str| DataPath::new(format!("{FOLDER}/{asof}.{suffix}"));
    let files = [(path("html")?, page::html(&picture).into_bytes()), (path("svg")?, svg::whole(&picture).into_bytes()), (path("png")?, png::bytes(&picture)?)];
    let mut out = Vec::new();
    for (path, bytes) in files {
        ledger::store_if_changed(root, &path, bytes)?;
        out.push(path);
    }
    let all = store::list(root, &DataPath::new(FOLDER)?)?;
    let day = |p: &DataPath| p.file_name().split('.').next().and_then(|d| d.parse::<TradingDay>().ok());
    let mut days: Vec<TradingDay> = all.iter().filter_map(day).collect();
    days.dedup();
    let oldest = days.len().checked_sub(DAYS_KEPT).and_then(|n| days.get(n)).copied();
    for path in all.iter().filter(|p| day(p).zip(oldest).is_some_and(|(d, oldest)| d < oldest)) {
        store::remove(root, path)?;
    }
    let [a, b, c] = <[DataPath; 3]>::try_from(out).map_err(|_| crate::error::Error::bug("three pictures"))?;
    Ok([a, b, c])
}

/// Why a partition is not GREEN, in words, by the ledger's code.
pub fn meaning(code: &str) -> &'static str {
    match code {
        "MISSING" => "never asked for, or the file is gone: asked again by itself",
        "MISSING_ROWS" => "fewer than 45 % of the session's minutes came, or too few for a busy name",
        "CHECKSUM_MISMATCH" => "stored bytes are not what was written: set aside and asked again",
        "SCHEMA" => "the stored file does not hold what its manifest says",
        "OHLC" => "a price of zero or below, or outside the bar's own high and low",
        "DUPLICATES" => "the same stamp twice, or stamps out of order",
        "QUARANTINED" => "the bar is of another company, which had the ticker on that day: asked again under the right one",
        "NOT_ENTITLED" => "the key's plan does not include it, in the words of every vendor that could be asked: asked again by itself when a lane opens",
        "NOT_AUDITED" => "nobody has looked at these sessions yet",
        "SHORT_SESSION" => "45 to 90 % of the session's minutes",
        "LONG_SESSION" => "more than 120 % of the minutes that the calendar expects",
        "NULL_CELLS" => "a price or a volume is empty",
        "SUSPICIOUS_EMPTY" => "the vendor answered, without a row for a listed name",
        "VENDOR_EMPTY" => "two vendors answered without a row",
        "BEFORE_FIRST_BAR" => "before the first bar of a name without a listing date",
        "STALE_REPEAT" => "the same price and volume again and again",
        "MOVE_UNEXPLAINED" => "a move of more than 30 % that no corporate action explains",
        "BREAK_ACROSS_GAP" => "after sessions without a bar the price is more than 30 % another one: perhaps another company's",
        "TICKER_UNKNOWN" => "the ticker was another company's on that day, and nobody has said under which one this company was traded",
        "SOURCES_DISAGREE" => "two sources are more than 10 % apart",
        "NOT_SEEN" => {
            "nobody asked on that day, and the vendor tells only what stands today: it cannot be made up for; of corporate actions: no answer could know of that day's yet"
        }
        "ACTIONS_DISAGREE" => "two sources tell different corporate actions of that day, or one took back what it told",
        "ACTION_UNAPPLIED" => "a corporate action of that day could not be applied: it has no usable ratio, or what it is worth is not known",
        "FEED_CHANGED" => "the vendor's feed changed within the series",
        _ => "see the ledger",
    }
}

#[cfg(test)]
mod tests;
