//! Columns of a data frame as plain Rust values, and back. The only place that knows the frame library's types.

use crate::error::{Error, Result, code};
use crate::time::{TradingDay, UtcTime};
pub use polars::prelude::DataFrame;
use polars::prelude::{Column, DataType, IntoColumn, IntoSeries, NamedFrom, Series, TimeUnit, TimeZone};

fn column<'a>(frame: &'a DataFrame, name: &str) -> Result<&'a Column> {
    frame.column(name).map_err(|_| Error::new(code::SSD_DAMAGED, text!("a table lacks its column '{name}'")))
}

fn wrong(name: &str, have: &DataType, want: &str) -> Error {
    Error::new(code::SSD_DAMAGED, text!("column '{name}' is {have}, not {want}"))
}

/// A text column; null stays `None`. A column of nothing but nulls may have any type.
pub fn texts<'a>(frame: &'a DataFrame, name: &str) -> Result<Vec<Option<&'a str>>> {
    let column = column(frame, name)?;
    if column.null_count() == column.len() {
        return Ok(vec![None; column.len()]);
    }
    let values = column.str().map_err(|_| wrong(name, column.dtype(), "text"))?;
    Ok(values.iter().collect())
}

/// A numeric column as `f64`.
pub fn floats(frame: &DataFrame, name: &str) -> Result<Vec<Option<f64>>> {
    let column = column(frame, name)?;
    if column.null_count() == column.len() {
        return Ok(vec![None; column.len()]);
    }
    if let Ok(values) = column.f64() {
        return Ok(values.iter().collect());
    }
    if !column.dtype().is_primitive_numeric() {
        return Err(wrong(name, column.dtype(), "a number"));
    }
    let cast = column.cast(&DataType::Float64)?;
    Ok(cast.f64()?.iter().collect())
}

/// A numeric column as `f64`; null is NaN.
pub fn numbers(frame: &DataFrame, name: &str) -> Result<Vec<f64>> {
    let column = column(frame, name)?;
    if column.null_count() == column.len() {
        return Ok(vec![f64::NAN; column.len()]);
    }
    if !column.dtype().is_primitive_numeric() {
        return Err(wrong(name, column.dtype(), "a number"));
    }
    let cast = column.cast(&DataType::Float64)?;
    let values = cast.f64()?;
    Ok(values.cont_slice().map_or_else(|_| values.iter().map(|v| v.unwrap_or(f64::NAN)).collect(), <[f64]>::to_vec))
}

/// A numeric column as it stands, without a copy where it is one of `f64` in one piece without gaps.
pub enum Floats<'a> {
    Missing,
    Whole(&'a [f64]),
    /// The same of numbers of another type.
    Made(Vec<f64>),
    Gaps(Vec<Option<f64>>),
}

impl<'a> Floats<'a> {
    pub fn of(frame: &'a DataFrame, name: &str) -> Result<Self> {
        let column = column(frame, name)?;
        if column.null_count() == column.len() {
            return Ok(Self::Missing);
        }
        match column.f64().ok().and_then(|values| values.cont_slice().ok()) {
            Some(values) => Ok(Self::Whole(values)),
            None if column.null_count() == 0 => numbers(frame, name).map(Self::Made),
            None => floats(frame, name).map(Self::Gaps),
        }
    }
    pub fn get(&self, row: usize) -> Option<f64> {
        match self {
            Self::Missing => None,
            Self::Whole(values) => values.get(row).copied(),
            Self::Made(values) => values.get(row).copied(),
            Self::Gaps(values) => values.get(row).copied().flatten(),
        }
    }
}

/// A date column; text of the form `YYYY-MM-DD` is accepted too.
pub fn days(frame: &DataFrame, name: &str) -> Result<Vec<Option<TradingDay>>> {
    let column = column(frame, name)?;
    if column.null_count() == column.len() {
        return Ok(vec![None; column.len()]);
    }
    match column.dtype() {
        DataType::Date => Ok(column.date()?.physical().iter().map(|v| v.map(TradingDay)).collect()),
        DataType::String => column.str()?.iter().map(|v| v.filter(|t| !t.is_empty()).map(str::parse).transpose()).collect(),
        other => Err(wrong(name, other, "a date")),
    }
}

/// A column of moments: UTC in microseconds, or the bare count of them.
pub fn stamps(frame: &DataFrame, name: &str) -> Result<Vec<Option<UtcTime>>> {
    let column = column(frame, name)?;
    if !matches!(column.dtype(), DataType::Datetime(TimeUnit::Microseconds, _) | DataType::Int64) {
        return Err(wrong(name, column.dtype(), "a moment in microseconds"));
    }
    let micros = column.cast(&DataType::Int64)?;
    Ok(micros.i64()?.iter().map(|v| v.map(UtcTime::from_micros)).collect())
}

/// A text or categorical column without nulls.
pub fn labels(frame: &DataFrame, name: &str) -> Result<Vec<String>> {
    let cast = column(frame, name)?.cast(&DataType::String)?;
    cast.str()?.iter().map(|v| v.map(str::to_string).ok_or_else(|| Error::new(code::SSD_DAMAGED, text!("column '{name}' has a null")))).collect()
}

/// Rows from `start` on, without a copy.
pub fn rows(frame: &DataFrame, start: usize, n: usize) -> DataFrame {
    frame.slice(i64::try_from(start).unwrap_or(i64::MAX), n)
}

/// A text or categorical column without nulls as its values in a row and how often each is repeated there.
pub fn runs(frame: &DataFrame, name: &str) -> Result<Vec<(String, usize)>> {
    let cast = column(frame, name)?.cast(&DataType::String)?;
    let mut out: Vec<(String, usize)> = Vec::new();
    for value in cast.str()?.iter() {
        let value = value.ok_or_else(|| Error::new(code::SSD_DAMAGED, text!("column '{name}' has a null")))?;
        match out.last_mut().filter(|(last, _)| last == value) {
            Some((_, n)) => *n += 1,
            None => out.push((value.to_string(), 1)),
        }
    }
    Ok(out)
}

/// A true/false column without nulls.
pub fn flags(frame: &DataFrame, name: &str) -> Result<Vec<bool>> {
    let column = column(frame, name)?;
    let values = column.bool().map_err(|_| wrong(name, column.dtype(), "true or false"))?;
    values.iter().map(|v| v.ok_or_else(|| Error::new(code::SSD_DAMAGED, text!("column '{name}' has a null")))).collect()
}

/// A text column of a new frame.
pub fn text_column<S: AsRef<str>>(name: &str, values: &[Option<S>]) -> Column {
    let borrowed: Vec<Option<&str>> = values.iter().map(|v| v.as_ref().map(AsRef::as_ref)).collect();
    Series::new(name.into(), borrowed).into_column()
}

/// The texts of a column to come, one after another in one buffer: none of them is an allocation of its own.
#[derive(Default)]
pub struct Texts {
    all: String,
    /// Where each text ends; whether it is one.
    ends: Vec<(usize, bool)>,
}

impl Texts {
    /// A text, or null.
    pub fn push(&mut self, text: Option<&str>) {
        self.all.push_str(text.unwrap_or(""));
        self.ends.push((self.all.len(), text.is_some()));
    }
    /// A text that is written in pieces.
    pub fn write(&mut self, write: impl FnOnce(&mut String)) {
        write(&mut self.all);
        self.ends.push((self.all.len(), true));
    }
    pub fn column(&self, name: &str) -> Column {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(end, _)| *end));
        let texts: Vec<Option<&str>> = starts.zip(&self.ends).map(|(from, (to, is))| self.all.get(from..*to).filter(|_| *is)).collect();
        Series::new(name.into(), texts).into_column()
    }
}

/// A float column of a new frame; `None` is null.
pub fn float_column(name: &str, values: &[Option<f64>]) -> Column {
    Series::new(name.into(), values).into_column()
}

/// A date column of a new frame.
pub fn day_column(name: &str, values: &[Option<TradingDay>]) -> Result<Column> {
    let days: Vec<Option<i32>> = values.iter().map(|d| d.map(|d| d.0)).collect();
    let series = Series::new(name.into(), days);
    Ok(series.i32()?.clone().into_date().into_series().into_column())
}

/// A column of moments of a new frame, UTC in microseconds.
pub fn stamp_column(name: &str, values: &[UtcTime]) -> Result<Column> {
    let micros: Vec<i64> = values.iter().map(|t| t.micros()).collect();
    Ok(Series::new(name.into(), micros).cast(&DataType::Datetime(TimeUnit::Microseconds, Some(TimeZone::UTC)))?.into_column())
}

/// An integer column of a new frame.
pub fn int_column(name: &str, values: &[Option<i64>]) -> Column {
    Series::new(name.into(), values).into_column()
}

/// A true/false column of a new frame.
pub fn bool_column(name: &str, values: &[bool]) -> Column {
    Series::new(name.into(), values).into_column()
}

/// A true/false column's values; null is false.
pub fn bools(frame: &DataFrame, name: &str) -> Result<Vec<bool>> {
    let column = column(frame, name)?;
    let values = column.bool().map_err(|_| wrong(name, column.dtype(), "true or false"))?;
    Ok(values.iter().map(|v| v.unwrap_or(false)).collect())
}

/// A frame of equally long columns.
pub fn assemble(columns: Vec<Column>) -> Result<DataFrame> {
    Ok(DataFrame::new_infer_height(columns)?)
}

/// Whether every named column is there; the error names the first that is not.
pub fn require(frame: &DataFrame, names: &[&str]) -> Result<()> {
    names.iter().try_for_each(|name| column(frame, name).map(|_| ()))
}

/// Whether every named column can be read as numbers ([`floats`]); the error names the first that cannot.
pub fn require_numbers(frame: &DataFrame, names: &[&str]) -> Result<()> {
    require_kind(frame, names, "a number", DataType::is_primitive_numeric)
}

/// Whether every named column can be read as texts ([`texts`]); the error names the first that cannot.
pub fn require_texts(frame: &DataFrame, names: &[&str]) -> Result<()> {
    require_kind(frame, names, "text", DataType::is_string)
}

fn require_kind(frame: &DataFrame, names: &[&str], kind: &str, is: impl Fn(&DataType) -> bool) -> Result<()> {
    for name in names {
        let column = column(frame, name)?;
        if column.null_count() < column.len() && !is(column.dtype()) {
            return Err(wrong(name, column.dtype(), kind));
        }
    }
    Ok(())
}
