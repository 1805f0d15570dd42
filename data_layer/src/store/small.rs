//! Parquet bytes of small frames: those that polars' own writer makes of them. That writer estimates how many values of a column differ
//! with a sketch of 16,384 counters, and sets up a compressor for every page: what a file of one session's minutes holds is encoded in a
//! fraction of that time. Here the values are counted, and each thread keeps its compressor.

use crate::error::Result;
use polars::polars_utils::aliases::{InitHashMaps, PlHashMap};
use polars::prelude::{CompatLevel, DataFrame, PolarsResult, SchemaExt};
use polars_arrow::array::{Array, ArrayRef, DictionaryArray, PrimitiveArray, Utf8ViewArray};
use polars_arrow::datatypes::{ArrowDataType, ArrowSchema, IntegerType};
use polars_parquet::parquet::CowBuffer;
use polars_parquet::parquet::compression::Compression;
use polars_parquet::parquet::fallible_streaming_iterator::convert;
use polars_parquet::parquet::page::{CompressedDataPage, CompressedDictPage};
use polars_parquet::write::{
    CompressedPage, CompressionOptions, DynIter, DynStreamingIterator, Encoding, FileWriter, Page, ParquetType, StatisticsOptions, Version, WriteOptions,
    array_to_columns, get_dtype_encoding,
};
use std::cell::RefCell;
use std::hash::Hash;
use zstd::bulk::Compressor;

/// Rows up to which a frame is small: beyond them its values cost more than what each column and page costs once.
pub const MOST_ROWS: usize = 4_096;

const OPTIONS: WriteOptions = WriteOptions {
    statistics: StatisticsOptions { min_value: true, max_value: true, distinct_count: false, null_count: true, binary_statistics_truncate_length: None },
    compression: CompressionOptions::Zstd(None),
    version: Version::V1,
    data_page_size: None,
};

/// Parquet bytes of a frame of one chunk, in one row group.
pub fn encode(frame: &DataFrame) -> Result<Vec<u8>> {
    let newest = CompatLevel::newest();
    let schema: ArrowSchema = frame.schema().iter_fields().map(|f| (f.name().clone(), f.dtype().to_arrow_field(f.name().clone(), newest))).collect();
    let mut writer = FileWriter::try_new(Vec::new(), schema, OPTIONS)?;
    let fields = writer.parquet_schema().fields().to_vec();
    for batch in frame.iter_chunks(newest, false).filter(|batch| !batch.is_empty()) {
        let mut columns: Vec<Vec<CompressedPage>> = Vec::with_capacity(fields.len());
        for (array, field) in batch.columns().iter().zip(&fields) {
            for pages in encoded(array, field)? {
                columns.push(pages.map(|page| compressed(page?)).collect::<PolarsResult<_>>()?);
            }
        }
        let group = columns.iter().map(|pages| Ok(DynStreamingIterator::new(convert(pages.iter().map(PolarsResult::Ok)))));
        writer.write(batch.len() as u64, DynIter::new(group))?;
    }
    writer.end(None)?;
    Ok(writer.into_inner())
}

/// How the values of a column are written.
enum Layout {
    Dictionary(ArrayRef),
    Plain,
    /// As polars' writer decides, where that costs it nothing.
    Theirs,
}

fn encoded(array: &ArrayRef, field: &ParquetType) -> PolarsResult<Vec<DynIter<'static, PolarsResult<Page>>>> {
    match layout(&**array) {
        Layout::Dictionary(keyed) => array_to_columns(&*keyed, field.clone(), OPTIONS, &[Encoding::RleDictionary]),
        Layout::Plain => array_to_columns(&**array, field.clone(), OPTIONS, &[Encoding::Plain]),
        Layout::Theirs => array_to_columns(&**array, field.clone(), OPTIONS, &get_dtype_encoding(array.dtype())),
    }
}

fn layout(array: &dyn Array) -> Layout {
    if array.null_count() == array.len() {
        return Layout::Theirs;
    }
    let any = array.as_any();
    if let Some(texts) = any.downcast_ref::<Utf8ViewArray>() {
        return by_value(array, texts.iter(), |values| Box::new(Utf8ViewArray::from_slice_values(values)));
    }
    if any.is::<PrimitiveArray<f64>>() {
        // Their dictionaries hold no such numbers.
        return Layout::Plain;
    }
    if let Some(numbers) = any.downcast_ref::<PrimitiveArray<i64>>() {
        let (low, high) = numbers.non_null_values_iter().fold((i64::MAX, i64::MIN), |(low, high), x| (low.min(x), high.max(x)));
        if high.checked_sub(low).is_none_or(|span| span > i64::from(u16::MAX)) {
            let dtype = array.dtype().clone();
            return by_value(array, numbers.iter().map(|x| x.copied()), |values| Box::new(PrimitiveArray::new(dtype, values.into(), None)));
        }
    }
    Layout::Theirs
}

/// A dictionary of the values in the order in which they appear, unless more than three quarters of them differ.
fn by_value<V: Copy + Eq + Hash>(array: &dyn Array, all: impl Iterator<Item = Option<V>>, dictionary: impl FnOnce(Vec<V>) -> ArrayRef) -> Layout {
    let n = array.len();
    let most = if n > 128 { n * 3 / 4 - usize::from(array.null_count() > 0) } else { n };
    let (mut known, mut values): (PlHashMap<V, u32>, Vec<V>) = (PlHashMap::new(), Vec::new());
    let (mut keys, mut last) = (Vec::with_capacity(n), None);
    for value in all {
        let Some(value) = value else {
            keys.push(None);
            continue;
        };
        // Equal values mostly follow each other.
        let key = match last {
            Some((same, key)) if same == value => key,
            _ => *known.entry(value).or_insert_with(|| {
                values.push(value);
                u32::try_from(values.len() - 1).unwrap_or(u32::MAX)
            }),
        };
        if values.len() > most {
            return Layout::Plain;
        }
        last = Some((value, key));
        keys.push(Some(key));
    }
    let keyed = ArrowDataType::Dictionary(IntegerType::UInt32, Box::new(array.dtype().clone()), false);
    match DictionaryArray::<u32>::try_new(keyed, PrimitiveArray::from(keys), dictionary(values)) {
        Ok(keyed) => Layout::Dictionary(Box::new(keyed)),
        Err(_) => Layout::Theirs,
    }
}

thread_local!(static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) });

/// zstd at its default level.
fn squeeze(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| match kept {
        Some(compressor) => compressor.compress(bytes),
        None => kept.insert(Compressor::new(0)?).compress(bytes),
    })
}

fn compressed(page: Page) -> PolarsResult<CompressedPage> {
    Ok(match page {
        Page::Data(page) => {
            let bytes = CowBuffer::Owned(squeeze(page.buffer())?);
            let rows = page.num_rows().unwrap_or_else(|| page.num_values());
            CompressedPage::Data(CompressedDataPage::new(page.header().clone(), bytes, Compression::Zstd, page.buffer().len(), page.descriptor, rows))
        }
        Page::Dict(page) => {
            let bytes = CowBuffer::Owned(squeeze(&page.buffer)?);
            CompressedPage::Dict(CompressedDictPage::new(bytes, Compression::Zstd, page.buffer.len(), page.num_values, page.is_sorted))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use polars::prelude::{Column, DataType, NamedFrom, Series, TimeUnit, TimeZone};

    /// Columns of every kind that is written, with few, many and only different values, with and without gaps.
    fn frame(n: usize) -> DataFrame {
        let ints = |f: &dyn Fn(i64) -> Option<i64>| (0..n as i64).map(f).collect::<Vec<_>>();
        let minutes = Series::new("ts".into(), ints(&|i| Some(1_500_000_000_000_000 + i * 60_000_000)));
        let moments = DataType::Datetime(TimeUnit::Microseconds, Some(TimeZone::UTC));
        let days =
            |name: &str, f: &dyn Fn(i32) -> Option<i32>| Series::new(name.into(), (0..n as i32).map(f).collect::<Vec<_>>()).cast(&DataType::Date).unwrap();
        let floats = |name: &str, f: &dyn Fn(i64) -> Option<f64>| Series::new(name.into(), (0..n as i64).map(f).collect::<Vec<_>>());
        let texts = |name: &str, f: &dyn Fn(i64) -> Option<String>| Series::new(name.into(), (0..n as i64).map(f).collect::<Vec<_>>());
        let all = vec![
            minutes.cast(&moments).unwrap(),
            days("date", &|_| Some(17_500)),
            days("scattered", &|i| (i % 7 > 0).then_some(i * 300)),
            Series::new("trades".into(), ints(&|i| (i % 5 > 0).then_some(i * i % 97))),
            Series::new("wide".into(), ints(&|i| (i % 3 > 0).then_some(i % 11 * 1_000_000))),
            floats("close", &|i| Some(100.0 + (i * 37 % 113) as f64 * 0.01)),
            floats("volume", &|i| Some(1e6 + i as f64)),
            floats("gaps", &|i| (i % 4 > 0).then_some(i as f64 * 0.5)),
            floats("zeros", &|i| Some(if i % 2 == 0 { -0.0 } else { 0.0 })),
            floats("none", &|_| None),
            texts("symbol", &|_| Some("AAPL".into())),
            texts("stamp", &|i| Some(format!("2017-11-30T{i:06}Z"))),
            texts("maybe", &|i| (i % 9 > 2).then(|| format!("a text that is longer than a view holds {}", i % 4))),
            Series::new("flag".into(), (0..n).map(|i| i % 3 == 0).collect::<Vec<_>>()),
            Series::new("small".into(), (0..n as i32).map(|i| i % 40).collect::<Vec<_>>()),
        ];
        DataFrame::new(n, all.into_iter().map(Column::from).collect()).unwrap()
    }

    #[test]
    fn the_bytes_are_those_of_the_general_writer() {
        for n in [1, 2, 78, 128, 129, 390, 1_000, MOST_ROWS] {
            let mut frame = frame(n);
            assert!(encode(&frame).unwrap() == super::super::large(&mut frame).unwrap(), "{n} rows");
        }
        let mut part = frame(1_000).slice(400, 390);
        assert!(encode(&part).unwrap() == super::super::large(&mut part).unwrap(), "a part of a frame");
    }
}
