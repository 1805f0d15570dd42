//! Reading the inputs: Parquet tables, NumPy arrays and JSON lines in a folder per scale.

use super::{Scale, made};
use data_layer::error::{Error, Result, code};
use data_layer::frame::Floats;
use data_layer::qc::Action;
use data_layer::time::TradingDay;
use data_layer::{frame, store};
use engine::types::Matrix;
use rayon::prelude::*;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The folder that holds the inputs; without one they are made ([`super::made`]).
pub struct Inputs {
    folder: Option<PathBuf>,
}

impl Inputs {
    /// `given` itself, or its subfolder for the scale.
    pub fn at(given: &Option<PathBuf>, scale: Scale) -> Self {
        let folder = given.as_ref().map(|d| {
            let inner = d.join(scale.letter());
            if inner.is_dir() { inner } else { d.clone() }
        });
        Self { folder }
    }

    /// Whether to make the inputs here.
    pub fn are_made(&self) -> bool {
        self.folder.is_none()
    }

    fn open<T>(&self, name: &str, open: impl FnOnce(&Path) -> std::io::Result<T>) -> Result<T> {
        let place = self.folder.clone().unwrap_or_default().join(name);
        open(&place).map_err(|e| {
            Error::new(code::USE_ARGUMENT, format!("the benchmark's input {name} cannot be read"))
                .cause(e.to_string())
                .found(place.display().to_string())
                .fix("leave --inputs out to measure on inputs made here, or see docs/benchmarks.md for what the folder must hold")
        })
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        self.open(name, |place| std::fs::read(place))
    }

    fn table(&self, file: &str, columns: &[&str]) -> Result<frame::DataFrame> {
        store::parquet_file_columns(self.open(file, |place| File::open(place))?, columns)
    }

    /// A float column as `series x sessions`, from a table sorted by series with equally many rows each.
    pub fn panel(&self, file: &str, column: &str, series_file: &str) -> Result<Matrix> {
        self.panels(file, &[column], series_file)?.pop().ok_or_else(|| Error::bug("a column was asked for and none came"))
    }

    /// Several columns as [`Self::panel`], from one reading of the file.
    pub fn panels(&self, file: &str, columns: &[&str], series_file: &str) -> Result<Vec<Matrix>> {
        self.matrices(file, &self.table(file, columns)?, columns, series_file)
    }

    /// [`Self::panels`] with the days of the first series, from column `date`.
    pub fn dated_panels(&self, file: &str, columns: &[&str], series_file: &str) -> Result<(Vec<Matrix>, Vec<TradingDay>)> {
        let table = self.table(file, &[columns, &["date"]].concat())?;
        let panels = self.matrices(file, &table, columns, series_file)?;
        let sessions = panels.first().map_or(0, Matrix::cols);
        Ok((panels, days(file, &frame::rows(&table, 0, sessions), "date")?))
    }

    fn matrices(&self, file: &str, table: &frame::DataFrame, columns: &[&str], series_file: &str) -> Result<Vec<Matrix>> {
        let (rows, series) = (table.height(), self.texts(series_file, "symbol")?.len());
        if series == 0 || rows % series != 0 {
            return Err(damaged(file, &format!("{rows} rows do not divide into {series} series")));
        }
        columns.par_iter().map(|column| Matrix::from_vec(series, rows / series, frame::numbers(table, column)?)).collect()
    }

    /// A number column; null is NaN.
    pub fn floats(&self, file: &str, column: &str) -> Result<Vec<f64>> {
        frame::numbers(&self.table(file, &[column])?, column)
    }

    /// A text column without nulls.
    pub fn texts(&self, file: &str, column: &str) -> Result<Vec<String>> {
        frame::labels(&self.table(file, &[column])?, column)
    }

    /// A date column without nulls.
    pub fn days(&self, file: &str, column: &str) -> Result<Vec<TradingDay>> {
        days(file, &self.table(file, &[column])?, column)
    }

    /// A true/false column without nulls.
    pub fn flags(&self, file: &str, column: &str) -> Result<Vec<bool>> {
        frame::flags(&self.table(file, &[column])?, column)
    }

    /// Records, one JSON object a line.
    pub fn records<T: DeserializeOwned>(&self, file: &str) -> Result<Vec<T>> {
        let bytes = self.bytes(file)?;
        bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| Ok(serde_json::from_slice(l)?)).collect()
    }

    /// A vendor's pages of bars of many symbols: `json/*.json`, in order of their names.
    pub fn pages(&self, scale: Scale) -> Result<Vec<Page>> {
        let Some(folder) = &self.folder else { return made::pages(scale) };
        let entries = std::fs::read_dir(folder.join("json")).map_err(|e| Error::from(e).during("reading the benchmark's pages"))?;
        let mut names: Vec<String> = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).filter(|n| n.ends_with(".json")).collect();
        names.sort();
        names.iter().map(|n| Page::of(n.trim_end_matches(".json"), self.bytes(&format!("json/{n}"))?)).collect()
    }

    /// Day bars, sorted by symbol and day: `daily.parquet`.
    pub fn daily(&self, scale: Scale) -> Result<Daily> {
        let file = "daily.parquet";
        if self.are_made() {
            return made::daily(scale);
        }
        let table = self.table(file, &[&["symbol", "date"], &Daily::COLUMNS[..]].concat())?;
        let mut from = 0;
        let mut range = |(symbol, n): (String, usize)| {
            from += n;
            (symbol, from - n..from)
        };
        let symbols = frame::runs(&table, "symbol")?.into_iter().map(&mut range).collect();
        Ok(Daily { symbols, days: days(file, &table, "date")?, table })
    }

    /// Corporate actions by symbol: `event_type` is `split` (`ratio` new for old) or `div` (`ratio` dollars).
    pub fn events(&self, file: &str) -> Result<BTreeMap<String, Vec<Action>>> {
        if self.are_made() {
            return Ok(made::events(file.contains("late")));
        }
        let (symbols, days) = (self.texts(file, "symbol")?, self.days(file, "ex_date")?);
        let (kinds, ratios) = (self.texts(file, "event_type")?, self.floats(file, "ratio")?);
        let mut out: BTreeMap<String, Vec<Action>> = BTreeMap::new();
        for (i, symbol) in symbols.into_iter().enumerate() {
            let (factor, cash) = if kinds[i] == "split" { (ratios[i], 0.0) } else { (1.0, ratios[i]) };
            out.entry(symbol).or_default().push(Action { ex_date: days[i], factor, cash, in_kind: false });
        }
        Ok(out)
    }

    /// A NumPy array (`.npy` version 1, little-endian, C order) of at most two dimensions.
    pub fn array(&self, file: &str) -> Result<Array> {
        Array::parse(&self.bytes(file)?).ok_or_else(|| damaged(file, "it is not a little-endian .npy array of f4, f8 or i4 in C order"))
    }
}

/// A date column of a table without nulls.
fn days(file: &str, table: &frame::DataFrame, column: &str) -> Result<Vec<TradingDay>> {
    frame::days(table, column)?.into_iter().map(|d| d.ok_or_else(|| damaged(file, "a date is missing"))).collect()
}

/// One answer of a vendor, and the symbols that were asked for.
pub struct Page {
    pub name: String,
    pub symbols: Vec<String>,
    pub body: Vec<u8>,
}

impl Page {
    /// The symbols are those of the body.
    pub fn of(name: &str, body: Vec<u8>) -> Result<Self> {
        #[derive(serde::Deserialize)]
        struct Body {
            bars: BTreeMap<String, serde::de::IgnoredAny>,
        }
        let symbols = serde_json::from_slice::<Body>(&body)?.bars.into_keys().collect();
        Ok(Self { name: name.to_string(), symbols, body })
    }
}

/// Day bars in columns.
pub struct Daily {
    /// Symbols and their rows.
    pub symbols: Vec<(String, Range<usize>)>,
    /// Of every row.
    pub days: Vec<TradingDay>,
    /// [`Self::COLUMNS`].
    pub table: frame::DataFrame,
}

impl Daily {
    pub const COLUMNS: [&'static str; 6] = ["open", "high", "low", "close", "vwap", "volume"];

    /// [`Self::COLUMNS`] without a copy.
    pub fn columns(&self) -> Result<[Floats<'_>; 6]> {
        let [open, high, low, close, vwap, volume] = Self::COLUMNS.map(|name| Floats::of(&self.table, name));
        Ok([open?, high?, low?, close?, vwap?, volume?])
    }
}

fn damaged(file: &str, why: &str) -> Error {
    Error::new(code::USE_ARGUMENT, format!("the benchmark's input {file} has another shape than expected")).cause(why.to_string())
}

/// `rows x cols` numbers; a vector has one column.
pub struct Array {
    pub rows: usize,
    pub cols: usize,
    pub values: Vec<f64>,
}

impl Array {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let length = usize::from(u16::from_le_bytes(bytes.get(8..10)?.try_into().ok()?));
        let header = std::str::from_utf8(bytes.get(10..10 + length)?).ok()?;
        if !bytes.starts_with(b"\x93NUMPY\x01") || header.contains("'fortran_order': True") {
            return None;
        }
        let body = &bytes[10 + length..];
        let values: Vec<f64> = if header.contains("'<f8'") {
            body.chunks_exact(8).map(|c| f64::from_le_bytes(c.try_into().unwrap_or_default())).collect()
        } else if header.contains("'<f4'") {
            body.chunks_exact(4).map(|c| f64::from(f32::from_le_bytes(c.try_into().unwrap_or_default()))).collect()
        } else if header.contains("'<i4'") {
            body.chunks_exact(4).map(|c| f64::from(i32::from_le_bytes(c.try_into().unwrap_or_default()))).collect()
        } else {
            return None;
        };
        let shape = header.split_once("'shape': (")?.1.split_once(')')?.0;
        let sizes: Vec<usize> = shape.split(',').filter_map(|s| s.trim().parse().ok()).collect();
        let (rows, cols) = (*sizes.first()?, sizes.get(1).copied().unwrap_or(1));
        (sizes.len() <= 2 && rows * cols == values.len()).then_some(Self { rows, cols, values })
    }

    /// Columns as rows: `cols x rows`.
    pub fn transposed(&self) -> Result<Matrix> {
        let data = (0..self.cols).flat_map(|c| (0..self.rows).map(move |r| self.values[r * self.cols + c])).collect();
        Matrix::from_vec(self.cols, self.rows, data)
    }
}
