//! The Parquet file of one symbol's year.

use super::adjust::Adjusted;
use super::parquet::File;
use crate::error::Result;
use crate::frame;
use crate::schema::columns::CURATED_EQUITIES;
use crate::store;
use polars::prelude::Column;

/// What Arrow's readers are told of the columns beside their Parquet types: the same for every file.
pub struct Words(Vec<(String, String)>);

impl Words {
    /// As the frame library says it of such a table.
    pub fn new() -> Result<Self> {
        let empty = |name: &&str| -> Result<Column> {
            Ok(match *name {
                "date" => frame::day_column(name, &[])?,
                "symbol" | "session_id" | "source_name" => frame::text_column::<&str>(name, &[]),
                _ => frame::float_column(name, &[]),
            })
        };
        let mut table = frame::assemble(CURATED_EQUITIES.iter().map(empty).collect::<Result<_>>()?)?;
        store::parquet_words(&mut table).map(Self)
    }
}

/// The file's bytes, or `None` when the year has no rows. Equal series give equal bytes.
pub fn bytes(symbol: &str, year: i16, series: &Adjusted<'_>, words: &Words) -> Option<Vec<u8>> {
    let rows = series.rows_of(year);
    let raw = &series.raw[rows.clone()];
    if raw.is_empty() {
        return None;
    }
    let mut file = File::new(raw.len());
    file.days("date", raw.iter().map(|r| r.day));
    file.text_runs("symbol", std::iter::repeat_n(Some(symbol), raw.len()));
    for (which, name) in ["open", "high", "low", "close", "vwap"].into_iter().enumerate() {
        file.floats(name, rows.clone().map(|i| series.price(i, which)));
    }
    file.floats("volume", rows.clone().map(|i| series.volume(i)));
    file.float_runs("price_factor", series.factors[rows.clone()].iter().map(|f| Some(f.0)));
    file.float_runs("split_factor", series.factors[rows.clone()].iter().map(|f| Some(f.1)));
    file.float_runs("div_cash", series.div_cash[rows].iter().map(|cash| Some(*cash)));
    file.floats("close_raw", raw.iter().map(|r| r.close()));
    file.texts("session_id", raw.iter().map(|r| r.session_id));
    file.text_runs("source_name", raw.iter().map(|r| Some(r.vendor)));
    Some(file.finish(&words.0))
}
