//! Reference tables: listings, delistings, corporate actions, the dated universe, index membership, macro vintages, companies
//! with their shares and the days on which they report.
//!
//! Each is recomputed from the raw segments and written only when its bytes change. What was expected of a symbol on a
//! day is decided here ([`ListingSpans`]), never from what arrived.

use crate::control::Db;
use crate::error::Result;
use crate::root::{DataPath, DataRoot};
use crate::schema::table;
use crate::{stage, store, vouch};
use polars::prelude::DataFrame;

mod action_partitions;
mod actions;
mod agreement;
mod fundamentals;
mod listings;
mod companies;
mod company_partitions;
mod beside_partitions;
mod shares;
mod earnings;
mod index_coverage;
mod liquid;
mod macros;
mod membership;
mod partitions;
pub(crate) mod sources;
mod spans;
mod spun;
mod statements;
mod tickers;

pub use actions::{CorpAction, TickerChange, actions_known_at, actions_of, load_actions, load_ticker_changes};
pub use agreement::{Doubt, load_doubts};
pub use companies::{Tenure, holder, load_companies, tenures_of};
pub use company_partitions::{days_asked, report_days};
pub use earnings::{EarningsDate, earnings_of, load_earnings};
pub use fundamentals::{Fundamentals, Item, Reported};
pub use index_coverage::IndexCoverage;
pub use liquid::{ADV_SESSIONS, LiquidStay, MIN_ADV_USD, decided_adv, liquid_universe, refresh_liquid};
pub use listings::{Delisting, Listed, Listing, ListingSpans, load_delistings, load_listings};
pub use macros::{Macros, Vintage};
pub use membership::{Membership, SP500, load_membership};
pub use partitions::audit_partitions;
pub use shares::{ShareCount, load_shares, of_symbol as shares_of_symbol, shares_of, splits_by_company};
pub(crate) use spans::Spans;
pub use statements::AHEAD_DAYS;

/// Table of listing intervals; its sources are the same as the delistings'.
pub const REF_LISTINGS: &str = "reference/listings";

/// What a refresh did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReferenceReport {
    pub listings: usize,
    pub delistings: usize,
    pub corp_actions: usize,
    pub universe: usize,
    pub memberships: usize,
    /// Rows of macro vintages.
    pub macros: usize,
    /// Reported numbers.
    pub fundamentals: usize,
    /// Holds of companies on tickers.
    pub companies: usize,
    /// Filings that count shares.
    pub share_counts: usize,
    /// Days on which companies report.
    pub earnings: usize,
    /// Actions about which two sources disagree: symbol, ex-date and what each says.
    pub disagreements: Vec<String>,
    /// Actions that are not certain, these included.
    pub doubts: usize,
    /// Tables whose bytes changed.
    pub rewritten: Vec<String>,
    /// Raw segments that could not be used; the sessions they vouch for are not GREEN.
    pub damaged: Vec<String>,
    /// Corporate actions without a usable ratio or amount.
    pub rejected_actions: usize,
}

/// The file of a reference table.
pub fn path_of(table: &str) -> Result<DataPath> {
    DataPath::new(format!("{table}.parquet"))
}

/// What was read of answers that are told anew every session, and would be read again each time, however many there are.
#[derive(Default)]
pub struct Memory {
    listings: listings::Lists,
    macros: sources::Merged<macros::Said>,
}

/// Recompute the reference tables from the raw answers. What no vendor was asked for has no table, except the index
/// membership, which is shipped.
pub fn refresh_reference(root: &DataRoot, _db: &Db) -> Result<ReferenceReport> {
    refresh_on(root, &mut Memory::default())
}

/// The same, reading only what came since the tables were made with this memory.
pub fn refresh_on(root: &DataRoot, memory: &mut Memory) -> Result<ReferenceReport> {
    let mut report = ReferenceReport::default();
    let stated = listings::build(root, &mut memory.listings, &mut report)?;
    let mut told = statements::read(root, None)?;
    let changes = actions::ticker_changes(&told);
    let known_tickers = tickers::of(&changes, &stated);
    told.rename(&known_tickers);
    let listings = tickers::restate(&known_tickers, &stated);
    let (actions, doubts) = actions::build(root, &told, &mut report)?;
    report.doubts = doubts.len();
    let staged = stage::load_optional(root)?.map(|s| s.universe.symbols).unwrap_or_default();
    let members = membership::build(root, &mut report)?;
    let universe = listings::universe_frame(&listings, &staged)?;
    (report.listings, report.corp_actions, report.universe, report.memberships) = (listings.len(), actions.len(), universe.height(), members.len());
    report.delistings = listings.iter().filter(|l| l.delisting_date.is_some()).count();
    let macros = macros::build(root, &mut memory.macros, &mut report)?;
    report.macros = macros.len();
    let mut tables: Vec<(&str, DataFrame)> = vec![
        (REF_LISTINGS, listings::frame(&listings)?),
        (table::REF_DELISTINGS, listings::delistings_frame(&listings, &actions)?),
        (table::REF_CORP_ACTIONS, actions::frame(&actions)?),
        (table::REF_UNIVERSE, universe),
        (table::REF_INDEX_MEMBERSHIP, membership::frame(&members)?),
    ];
    if !macros.is_empty() {
        tables.push((table::REF_MACROS, macros::frame(&macros)?));
    }
    let reported = fundamentals::build(root, &mut report)?;
    report.fundamentals = reported.len();
    if !reported.is_empty() {
        tables.push((table::REF_FUNDAMENTALS, fundamentals::frame(&reported)?));
    }
    let companies = companies::build(root, &stated, &changes, &mut report)?;
    let counts = shares::build(&reported);
    let dates = earnings::build(root, &companies, &mut report)?;
    (report.companies, report.share_counts, report.earnings) = (companies.len(), counts.len(), dates.len());
    for (name, found, rows) in [
        (table::REF_COMPANIES, companies.len(), companies::frame(&companies)?),
        (table::REF_SHARES, counts.len(), shares::frame(&counts)?),
        (table::REF_EARNINGS, dates.len(), earnings::frame(&dates)?),
    ] {
        if found > 0 {
            tables.push((name, rows));
        }
    }
    // A doubt that is gone leaves an empty table, not the one that told of it.
    if !doubts.is_empty() || store::read(root, &path_of(table::REF_ACTION_DOUBTS)?)?.is_some() {
        tables.push((table::REF_ACTION_DOUBTS, agreement::frame(&doubts)?));
    }
    if !known_tickers.is_empty() || store::read(root, &path_of(table::REF_TICKERS)?)?.is_some() {
        tables.push((table::REF_TICKERS, known_tickers.frame()?));
    }
    if !changes.is_empty() {
        tables.push((table::REF_TICKER_CHANGES, actions::changes_frame(&changes)?));
    }
    for (name, mut rows) in tables {
        let (_, written) = vouch::write(root, &path_of(name)?, store::parquet_bytes(&mut rows)?)?;
        if written {
            report.rewritten.push(name.to_string());
        }
    }
    Ok(report)
}

/// A reference table, or `None` when it was never made.
fn read_table(root: &DataRoot, table: &str) -> Result<Option<DataFrame>> {
    let path = path_of(table)?;
    store::read(root, &path)?.map(|b| store::parquet_frame(b).map_err(|e| e.during(&text!("reading {path}")))).transpose()
}

#[cfg(test)]
mod tests;
