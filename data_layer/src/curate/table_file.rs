//! The Parquet file of one symbol's year.

use super::adjust::Adjusted;
use crate::error::Result;
use crate::frame;
use crate::store;

/// The file's bytes, or `None` when the year has no rows. Equal series give equal bytes.
pub fn bytes(symbol: &str, year: i16, series: &Adjusted<'_>) -> Result<Option<Vec<u8>>> {
    let rows = series.rows_of(year);
    let raw = &series.raw[rows.clone()];
    if raw.is_empty() {
        return Ok(None);
    }
    let price = |name: &str, which: usize| frame::float_column(name, &rows.clone().map(|i| series.price(i, which)).collect::<Vec<_>>());
    let number = |name: &str, of: &dyn Fn(usize) -> Option<f64>| frame::float_column(name, &rows.clone().map(of).collect::<Vec<_>>());
    let mut table = frame::assemble(vec![
        frame::day_column("date", &raw.iter().map(|r| Some(r.day)).collect::<Vec<_>>())?,
        frame::text_column("symbol", &vec![Some(symbol); raw.len()]),
        price("open", 0),
        price("high", 1),
        price("low", 2),
        price("close", 3),
        price("vwap", 4),
        number("volume", &|i| series.volume(i)),
        number("price_factor", &|i| Some(series.factors[i].0)),
        number("split_factor", &|i| Some(series.factors[i].1)),
        number("div_cash", &|i| Some(series.div_cash[i])),
        number("close_raw", &|i| series.raw[i].close()),
        frame::text_column("session_id", &raw.iter().map(|r| r.session_id).collect::<Vec<_>>()),
        frame::text_column("source_name", &raw.iter().map(|r| Some(r.vendor)).collect::<Vec<_>>()),
    ])?;
    store::parquet_bytes(&mut table).map(Some)
}
