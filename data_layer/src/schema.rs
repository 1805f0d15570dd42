//! Table names, columns and versions: the one place where a column name is spelled.

/// Schema versions of the three databases (`user_version`). A newer drive is refused, an older one migrated.
pub struct Versions {
    pub node: u32,
    pub journal: u32,
    pub registry: u32,
}

pub const VERSIONS: Versions = Versions { node: 6, journal: 2, registry: 3 };

/// Version of the columns of the Parquet tables; part of every snapshot's identity.
pub const TABLES_VERSION: u32 = 1;

/// SQLite's `application_id` of our databases ("TrML").
pub const APPLICATION_ID: i32 = 0x5472_4D4C;

/// Logical datasets: what the queue asks for.
pub mod dataset {
    pub const EQUITIES_EOD: &str = "equities_eod";
    pub const EQUITIES_MINUTE: &str = "equities_minute";
    pub const CORP_ACTIONS: &str = "corp_actions";
    pub const LISTINGS: &str = "listings";
    pub const MACROS_FRED: &str = "macros_fred";
    pub const TREASURY: &str = "treasury";
    pub const INDEX_MEMBERSHIP: &str = "index_membership";
    pub const DELISTINGS: &str = "delistings";
    pub const FUNDAMENTALS: &str = "fundamentals";
    pub const EARNINGS_CALENDAR: &str = "earnings_calendar";
    /// Which company has which ticker.
    pub const COMPANIES: &str = "companies";
    /// What a company has filed, and when.
    pub const FILINGS: &str = "filings";
    /// Of a company's reported numbers, those that count its shares.
    pub const SHARES: &str = "shares_outstanding";
    pub const OPTIONS_CHAINS: &str = "options_chains";
}

/// Physical tables: what the ledger and the files are named after.
pub mod table {
    pub const RAW_EQUITIES_BARS: &str = "raw/equities_bars";
    pub const RAW_LISTINGS: &str = "raw/listings";
    pub const RAW_CORP_ACTIONS: &str = "raw/corp_actions";
    pub const RAW_MACROS: &str = "raw/macros_fred";
    pub const RAW_INDEX_MEMBERSHIP: &str = "raw/index_membership";
    pub const RAW_FUNDAMENTALS: &str = "raw/fundamentals";
    pub const RAW_EARNINGS: &str = "raw/earnings_calendar";
    pub const RAW_COMPANIES: &str = "raw/companies";
    pub const RAW_FILINGS: &str = "raw/filings";
    pub const RAW_OPTIONS: &str = "raw/options_chains";
    pub const CURATED_EQUITIES: &str = "curated/equities_ohlcv_adj";
    pub const CURATED_MINUTES: &str = "curated/equities_minute_adj";
    pub const REF_CORP_ACTIONS: &str = "reference/corp_actions";
    pub const REF_ACTION_DOUBTS: &str = "reference/corp_action_doubts";
    pub const REF_DELISTINGS: &str = "reference/delistings";
    pub const REF_UNIVERSE: &str = "reference/universe";
    pub const REF_INDEX_MEMBERSHIP: &str = "reference/index_membership";
    pub const REF_MACROS: &str = "reference/macros";
    pub const REF_TICKER_CHANGES: &str = "reference/ticker_changes";
    pub const REF_TICKERS: &str = "reference/tickers";
    pub const REF_FUNDAMENTALS: &str = "reference/fundamentals";
    pub const REF_COMPANIES: &str = "reference/companies";
    pub const REF_SHARES: &str = "reference/shares_outstanding";
    pub const REF_LIQUID: &str = "reference/universe_liquid";
    pub const REF_EARNINGS: &str = "reference/earnings";
}

/// `partition_key` values of `raw/equities_bars`.
pub mod timeframe {
    pub const DAY: &str = "1d";
    pub const MINUTE: &str = "1m";
}

/// Column names of the tables, in file order.
pub mod columns {
    pub const RAW_BARS: &[&str] = &[
        "date",
        "ts",
        "symbol",
        "open",
        "high",
        "low",
        "close",
        "vwap",
        "volume",
        "nbbo_spread",
        "trades",
        "session_id",
        "source_name",
        "source_uri",
        "vendor_ts",
        "api_version",
        "feed",
        "asked_symbol",
    ];
    pub const CURATED_EQUITIES: &[&str] = &[
        "date",
        "symbol",
        "open",
        "high",
        "low",
        "close",
        "vwap",
        "volume",
        "price_factor",
        "split_factor",
        "div_cash",
        "close_raw",
        "session_id",
        "source_name",
    ];
    pub const CURATED_MINUTES: &[&str] =
        &["date", "ts", "symbol", "open", "high", "low", "close", "vwap", "volume", "price_factor", "split_factor", "session_id", "source_name"];
    pub const CORP_ACTIONS: &[&str] = &["symbol", "event_type", "ex_date", "record_date", "pay_date", "ratio", "cash", "source_priority", "new_symbol"];
    pub const LISTINGS: &[&str] = &["symbol", "name", "exchange", "asset_type", "ipo_date", "delisting_date", "status", "asof"];
    pub const PARTITION_STATUS: &[&str] = &[
        "id",
        "source_name",
        "table_name",
        "symbol",
        "dt",
        "partition_key",
        "status",
        "qc_score",
        "row_count",
        "expected_rows",
        "qc_code",
        "first_observed_at",
        "last_observed_at",
    ];
}
