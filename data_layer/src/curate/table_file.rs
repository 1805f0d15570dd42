//! The Parquet file of one symbol's year.

use super::adjust::{Adjusted, AdjustedBar};
use crate::error::Result;
use crate::frame;
use crate::store;

/// The file's bytes, or `None` when the year has no rows. Equal series give equal bytes.
pub fn bytes(symbol: &str, year: i16, series: &Adjusted) -> Result<Option<Vec<u8>>> {
    let rows: Vec<&AdjustedBar> = series.bars.iter().filter(|b| b.raw.day.year() == year).collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let number = |f: &dyn Fn(&AdjustedBar) -> Option<f64>| rows.iter().map(|b| f(b)).collect::<Vec<_>>();
    let mut table = frame::assemble(vec![
        frame::day_column("date", &rows.iter().map(|b| Some(b.raw.day)).collect::<Vec<_>>())?,
        frame::text_column("symbol", &rows.iter().map(|_| Some(symbol)).collect::<Vec<_>>()),
        frame::float_column("open", &number(&|b| b.price(b.raw.open))),
        frame::float_column("high", &number(&|b| b.price(b.raw.high))),
        frame::float_column("low", &number(&|b| b.price(b.raw.low))),
        frame::float_column("close", &number(&|b| b.price(b.raw.close))),
        frame::float_column("vwap", &number(&|b| b.price(b.raw.vwap))),
        frame::float_column("volume", &number(&AdjustedBar::volume)),
        frame::float_column("price_factor", &number(&|b| Some(b.price_factor))),
        frame::float_column("split_factor", &number(&|b| Some(b.split_factor))),
        frame::float_column("div_cash", &number(&|b| Some(b.div_cash))),
        frame::float_column("close_raw", &number(&|b| b.raw.close)),
        frame::text_column("session_id", &rows.iter().map(|b| b.raw.session_id.as_deref()).collect::<Vec<_>>()),
        frame::text_column("source_name", &rows.iter().map(|b| Some(b.vendor.as_str())).collect::<Vec<_>>()),
    ])?;
    store::parquet_bytes(&mut table).map(Some)
}
