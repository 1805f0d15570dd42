//! Parquet files of a few hundred rows, made from columns as they come.
//!
//! For so few rows the frame library spends far more on a compressor and an estimate of distinct values for each column, and on
//! copies of the schema, than on the numbers. Here numbers that differ from row to row stand as they are, what repeats is a
//! dictionary, days and words that begin alike are told by their differences, and nothing is compressed: adjusted prices hardly
//! give way to a compressor. Equal columns give equal bytes.

use super::thrift::{Of, Thrift, varint, zigzag};
use crate::time::TradingDay;

const MAGIC: &[u8] = b"PAR1";

/// Parquet's numbers for what is stored.
#[derive(Clone, Copy, PartialEq)]
enum Physical {
    Int32 = 1,
    Double = 5,
    Bytes = 6,
}

/// Parquet's numbers for how.
#[derive(Clone, Copy, PartialEq)]
enum Encoding {
    Plain = 0,
    Rle = 3,
    Deltas = 5,
    DeltaBytes = 7,
    Dictionary = 8,
}

/// A column that is written, for the footer.
struct Chunk {
    name: &'static str,
    physical: Physical,
    encoding: Encoding,
    /// Where the dictionary begins, where there is one, and where the values do.
    dictionary: Option<usize>,
    data: usize,
    end: usize,
    nulls: usize,
    /// Least and greatest value, as they are stored.
    range: Option<(Vec<u8>, Vec<u8>)>,
}

/// A file of `rows` rows while it is written, column by column.
pub struct File {
    rows: usize,
    bytes: Vec<u8>,
    chunks: Vec<Chunk>,
    /// The page that is being made, reused for each column.
    page: Vec<u8>,
}

impl File {
    pub fn new(rows: usize) -> Self {
        let mut bytes = Vec::with_capacity(4_096 + rows * 80);
        bytes.extend_from_slice(MAGIC);
        Self { rows, bytes, chunks: Vec::with_capacity(16), page: Vec::with_capacity(rows * 8 + 64) }
    }

    /// A column of days without gaps.
    pub fn days(&mut self, name: &'static str, days: impl Iterator<Item = TradingDay>) {
        let days: Vec<i64> = days.map(|d| i64::from(d.0)).collect();
        let of = |d: i64| (d as i32).to_le_bytes().to_vec();
        let range = days.iter().min().zip(days.iter().max()).map(|(low, high)| (of(*low), of(*high)));
        self.begin(&mut std::iter::repeat_n(true, days.len()));
        deltas(&mut self.page, &days);
        self.end(name, (Physical::Int32, Encoding::Deltas), None, 0, range);
    }

    /// A column of numbers that differ from row to row.
    pub fn floats(&mut self, name: &'static str, cells: impl Iterator<Item = Option<f64>> + Clone) {
        let (nulls, range) = self.begin_floats(cells.clone());
        cells.flatten().for_each(|v| self.page.extend_from_slice(&v.to_le_bytes()));
        self.end(name, (Physical::Double, Encoding::Plain), None, nulls, range);
    }

    /// A column of numbers that stay the same for many rows.
    pub fn float_runs(&mut self, name: &'static str, cells: impl Iterator<Item = Option<f64>> + Clone) {
        let (mut known, mut runs): (Vec<u64>, Runs) = (Vec::new(), Runs::default());
        for v in cells.clone().flatten().map(f64::to_bits) {
            runs.push(place_of(&mut known, v));
        }
        let words: Vec<u8> = known.iter().flat_map(|v| v.to_le_bytes()).collect();
        let dictionary = self.dictionary(known.len(), &words);
        let (nulls, range) = self.begin_floats(cells);
        runs.write(&mut self.page, known.len());
        self.end(name, (Physical::Double, Encoding::Dictionary), Some(dictionary), nulls, range);
    }

    /// A column of words that stay the same for many rows.
    pub fn text_runs<'a>(&mut self, name: &'static str, cells: impl Iterator<Item = Option<&'a str>> + Clone) {
        let (mut known, mut runs): (Vec<&str>, Runs) = (Vec::new(), Runs::default());
        for v in cells.clone().flatten() {
            runs.push(place_of(&mut known, v));
        }
        let mut words = Vec::new();
        for word in &known {
            words.extend_from_slice(&(word.len() as u32).to_le_bytes());
            words.extend_from_slice(word.as_bytes());
        }
        let dictionary = self.dictionary(known.len(), &words);
        let nulls = self.begin(&mut cells.map(|v| v.is_some()));
        runs.write(&mut self.page, known.len());
        self.end(name, (Physical::Bytes, Encoding::Dictionary), Some(dictionary), nulls, ends(known.into_iter()));
    }

    /// A column of words that differ from row to row and begin alike.
    pub fn texts<'a>(&mut self, name: &'static str, cells: impl Iterator<Item = Option<&'a str>> + Clone) {
        let nulls = self.begin(&mut cells.clone().map(|v| v.is_some()));
        let (mut prefixes, mut lengths, mut tails) = (Vec::with_capacity(self.rows), Vec::with_capacity(self.rows), Vec::new());
        let mut before: &[u8] = &[];
        for text in cells.clone().flatten().map(str::as_bytes) {
            let same = before.iter().zip(text).take_while(|(a, b)| a == b).count();
            prefixes.push(same as i64);
            lengths.push((text.len() - same) as i64);
            tails.extend_from_slice(&text[same..]);
            before = text;
        }
        deltas(&mut self.page, &prefixes);
        deltas(&mut self.page, &lengths);
        self.page.extend_from_slice(&tails);
        self.end(name, (Physical::Bytes, Encoding::DeltaBytes), None, nulls, ends(cells.flatten()));
    }

    /// The whole file. `words` are key and value pairs about the table as a whole.
    pub fn finish(mut self, words: &[(String, String)]) -> Vec<u8> {
        let at = self.bytes.len();
        let mut footer = Thrift::after(std::mem::take(&mut self.bytes));
        footer.record(None, |t| self.describe(t, words));
        let mut bytes = footer.bytes;
        let length = (bytes.len() - at) as u32;
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(MAGIC);
        bytes
    }

    /// Begin a page with which rows have a value; how many have none.
    fn begin(&mut self, present: &mut dyn Iterator<Item = bool>) -> usize {
        let mut runs = Runs::default();
        present.for_each(|is| runs.push(usize::from(is)));
        self.page.clear();
        self.page.extend_from_slice(&[0; 4]);
        runs.words(&mut self.page, 1);
        let length = (self.page.len() - 4) as u32;
        self.page[..4].copy_from_slice(&length.to_le_bytes());
        runs.0.iter().filter(|(value, _)| *value == 0).map(|(_, n)| n).sum()
    }

    /// [`Self::begin`] of numbers, and the least and greatest of them; none where one of them is no number.
    fn begin_floats(&mut self, cells: impl Iterator<Item = Option<f64>> + Clone) -> (usize, Option<(Vec<u8>, Vec<u8>)>) {
        let nulls = self.begin(&mut cells.clone().map(|v| v.is_some()));
        let fold = |(low, high, sound): (f64, f64, bool), v: f64| (low.min(v), high.max(v), sound && !v.is_nan());
        let (low, high, sound) = cells.flatten().fold((f64::INFINITY, f64::NEG_INFINITY, nulls < self.rows), fold);
        // Of the two zeros readers take the wider one.
        let (low, high) = (if low == 0.0 { -0.0 } else { low }, if high == 0.0 { 0.0 } else { high });
        (nulls, sound.then(|| (low.to_le_bytes().to_vec(), high.to_le_bytes().to_vec())))
    }

    /// Write a dictionary; where it begins.
    fn dictionary(&mut self, n: usize, words: &[u8]) -> usize {
        let at = self.bytes.len();
        self.header(2, words.len(), |t| {
            t.record(Some(7), |t| {
                t.int(1, n as i32);
                t.int(2, Encoding::Plain as i32);
            });
        });
        self.bytes.extend_from_slice(words);
        at
    }

    /// Write the page, which ends the column.
    fn end(
        &mut self,
        name: &'static str,
        (physical, encoding): (Physical, Encoding),
        dictionary: Option<usize>,
        nulls: usize,
        range: Option<(Vec<u8>, Vec<u8>)>,
    ) {
        let (data, rows) = (self.bytes.len(), self.rows as i32);
        self.header(0, self.page.len(), |t| {
            t.record(Some(5), |t| {
                t.int(1, rows);
                t.int(2, encoding as i32);
                t.int(3, Encoding::Rle as i32);
                t.int(4, Encoding::Rle as i32);
            });
        });
        self.bytes.extend_from_slice(&self.page);
        self.chunks.push(Chunk { name, physical, encoding, dictionary, data, end: self.bytes.len(), nulls, range });
    }

    /// The header of a page of a kind and length in bytes, with what is particular to the kind.
    fn header(&mut self, kind: i32, length: usize, particular: impl FnOnce(&mut Thrift)) {
        let mut head = Thrift::after(std::mem::take(&mut self.bytes));
        head.record(None, |t| {
            t.int(1, kind);
            t.int(2, length as i32);
            t.int(3, length as i32);
            particular(t);
        });
        self.bytes = head.bytes;
    }

    /// The footer: what each column is, and where.
    fn describe(&self, t: &mut Thrift, words: &[(String, String)]) {
        t.int(1, 1);
        t.list(2, Of::Struct, self.chunks.len() + 1);
        t.record(None, |t| {
            t.blob(4, b"root");
            t.int(5, self.chunks.len() as i32);
        });
        self.chunks.iter().for_each(|chunk| chunk.schema(t));
        t.long(3, self.rows);
        t.list(4, Of::Struct, 1);
        t.record(None, |t| {
            t.list(1, Of::Struct, self.chunks.len());
            self.chunks.iter().for_each(|chunk| chunk.place(t, self.rows));
            t.long(2, self.chunks.iter().map(Chunk::length).sum());
            t.long(3, self.rows);
        });
        t.list(5, Of::Struct, words.len());
        for (key, value) in words {
            t.record(None, |t| {
                t.blob(1, key.as_bytes());
                t.blob(2, value.as_bytes());
            });
        }
        t.blob(6, b"trademl");
        // Least and greatest are meant in the order of the type.
        t.list(7, Of::Struct, self.chunks.len());
        self.chunks.iter().for_each(|_| t.record(None, |t| t.record(Some(1), |_| {})));
    }
}

impl Chunk {
    fn begin(&self) -> usize {
        self.dictionary.unwrap_or(self.data)
    }
    /// Bytes, page headers included.
    fn length(&self) -> usize {
        self.end - self.begin()
    }

    /// What it holds: `SchemaElement`. A value may be missing in every column.
    fn schema(&self, t: &mut Thrift) {
        t.record(None, |t| {
            t.int(1, self.physical as i32);
            t.int(3, 1);
            t.blob(4, self.name.as_bytes());
            // Converted and logical type: a text, or a date.
            let meaning = match self.physical {
                Physical::Bytes => Some((0, 1)),
                Physical::Int32 => Some((6, 6)),
                Physical::Double => None,
            };
            if let Some((converted, logical)) = meaning {
                t.int(6, converted);
                t.record(Some(10), |t| t.record(Some(logical), |_| {}));
            }
        });
    }

    /// Where it is: `ColumnChunk`.
    fn place(&self, t: &mut Thrift, rows: usize) {
        let dictionary = self.dictionary.map(|_| Encoding::Plain);
        let encodings = || dictionary.into_iter().chain([Encoding::Rle, self.encoding]);
        t.record(None, |t| {
            t.long(2, 0);
            t.record(Some(3), |t| {
                t.int(1, self.physical as i32);
                t.list(2, Of::Int, encodings().count());
                encodings().for_each(|e| t.number(e as i32));
                t.list(3, Of::Text, 1);
                t.entry(self.name.as_bytes());
                t.int(4, 0);
                t.long(5, rows);
                t.long(6, self.length());
                t.long(7, self.length());
                t.long(9, self.data);
                if let Some(at) = self.dictionary {
                    t.long(11, at);
                }
                t.record(Some(12), |t| {
                    t.long(3, self.nulls);
                    if let Some((low, high)) = &self.range {
                        t.blob(5, high);
                        t.blob(6, low);
                    }
                });
            });
        });
    }
}

/// The position of a value among those known; it joins them where it is new. Looked for from the end: neighbours are alike.
fn place_of<T: PartialEq + Copy>(known: &mut Vec<T>, value: T) -> usize {
    known.iter().rposition(|k| *k == value).unwrap_or_else(|| {
        known.push(value);
        known.len() - 1
    })
}

fn ends<'a>(words: impl Iterator<Item = &'a str> + Clone) -> Option<(Vec<u8>, Vec<u8>)> {
    words.clone().min().zip(words.max()).map(|(low, high)| (low.as_bytes().to_vec(), high.as_bytes().to_vec()))
}

/// Small numbers, and how often each comes in a row.
#[derive(Default)]
struct Runs(Vec<(usize, usize)>);

impl Runs {
    fn push(&mut self, value: usize) {
        match self.0.last_mut() {
            Some((last, n)) if *last == value => *n += 1,
            _ => self.0.push((value, 1)),
        }
    }
    /// Positions in a dictionary of `known` values, with the bits that one takes.
    fn write(&self, out: &mut Vec<u8>, known: usize) {
        let bits = bits_of(known.saturating_sub(1) as u64).max(1);
        out.push(bits);
        self.words(out, usize::from(bits.div_ceil(8)));
    }
    /// Each run as its length and its value in so many bytes.
    fn words(&self, out: &mut Vec<u8>, bytes: usize) {
        for (value, n) in &self.0 {
            varint(out, (*n as u64) << 1);
            out.extend_from_slice(&value.to_le_bytes()[..bytes]);
        }
    }
}

fn bits_of(value: u64) -> u8 {
    (64 - value.leading_zeros()) as u8
}

/// Differences of a block, and of each part of it that has a width of its own.
const BLOCK: usize = 128;
const PART: usize = 32;

/// `DELTA_BINARY_PACKED`: the first value, then by how much each is greater than the one before it, in as few bits as they need.
fn deltas(out: &mut Vec<u8>, values: &[i64]) {
    varint(out, BLOCK as u64);
    varint(out, (BLOCK / PART) as u64);
    varint(out, values.len() as u64);
    zigzag(out, values.first().copied().unwrap_or(0));
    let steps: Vec<i64> = values.windows(2).map(|w| w[1] - w[0]).collect();
    for block in steps.chunks(BLOCK) {
        let least = block.iter().copied().min().unwrap_or(0);
        zigzag(out, least);
        let width = |part: &[i64]| bits_of(part.iter().map(|s| (s - least) as u64).max().unwrap_or(0));
        let mut widths = [0; BLOCK / PART];
        widths.iter_mut().zip(block.chunks(PART)).for_each(|(w, part)| *w = width(part));
        out.extend_from_slice(&widths);
        for (part, width) in block.chunks(PART).zip(widths) {
            pack(out, part.iter().map(|s| (s - least) as u64), width);
        }
    }
}

/// [`PART`] numbers (the last of them 0 where fewer are left) in `width` bits each, lowest bits first.
fn pack(out: &mut Vec<u8>, values: impl Iterator<Item = u64>, width: u8) {
    let (mut held, mut bits) = (0u128, 0u32);
    for value in values.chain(std::iter::repeat(0)).take(PART) {
        held |= u128::from(value) << bits;
        bits += u32::from(width);
        while bits >= 8 {
            out.push(held as u8);
            held >>= 8;
            bits -= 8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{frame, store};

    fn written(rows: usize, write: impl FnOnce(&mut File)) -> frame::DataFrame {
        let mut file = File::new(rows);
        write(&mut file);
        store::parquet_frame(file.finish(&[])).unwrap()
    }

    #[test]
    fn columns_with_and_without_gaps_are_read_back_as_they_were() {
        for n in [1, 2, 31, 33, 129, 300] {
            let days: Vec<TradingDay> = (0..n).map(|i| TradingDay(17_000 + i * i % 97 - 3 * i)).collect();
            let numbers: Vec<Option<f64>> = (0..n).map(|i| (i % 7 != 3).then_some(f64::from(i) * 0.1 - 2.0)).collect();
            let factors: Vec<Option<f64>> = (0..n).map(|i| (i % 50 != 1).then_some(f64::from(i / 20) * 0.3)).collect();
            let names: Vec<Option<String>> = (0..n).map(|i| (i % 5 != 4).then(|| format!("XNYS-{}", i * 37))).collect();
            let vendors: Vec<Option<&str>> = (0..n).map(|i| (i > 2).then_some(if i % 40 < 20 { "alpaca" } else { "é" })).collect();
            let table = written(n as usize, |file| {
                file.days("date", days.iter().copied());
                file.floats("number", numbers.iter().copied());
                file.floats("none", (0..n).map(|_| None));
                file.float_runs("factor", factors.iter().copied());
                file.texts("session_id", names.iter().map(|v| v.as_deref()));
                file.text_runs("source_name", vendors.iter().copied());
            });
            assert_eq!(frame::days(&table, "date").unwrap(), days.into_iter().map(Some).collect::<Vec<_>>());
            assert_eq!(frame::floats(&table, "number").unwrap(), numbers);
            assert_eq!(frame::floats(&table, "none").unwrap(), vec![None; n as usize]);
            assert_eq!(frame::floats(&table, "factor").unwrap(), factors);
            assert_eq!(frame::texts(&table, "session_id").unwrap(), names.iter().map(|v| v.as_deref()).collect::<Vec<_>>());
            assert_eq!(frame::texts(&table, "source_name").unwrap(), vendors);
        }
    }

    #[test]
    fn more_values_than_a_byte_can_count_and_numbers_of_every_kind_are_read_back() {
        let odd = [0.0, -0.0, f64::MIN, f64::MAX, f64::MIN_POSITIVE, f64::INFINITY, 0.1];
        let many: Vec<Option<f64>> = (0..700).map(|i| Some(f64::from(i) + 0.5)).collect();
        let table = written(700, |file| {
            file.float_runs("many", many.iter().copied());
            file.floats("odd", (0..700).map(|i| Some(odd[i % odd.len()])));
        });
        assert_eq!(frame::floats(&table, "many").unwrap(), many);
        let bits: Vec<u64> = frame::floats(&table, "odd").unwrap().into_iter().map(|v| v.unwrap().to_bits()).collect();
        assert_eq!(bits, (0..700).map(|i| odd[i % odd.len()].to_bits()).collect::<Vec<_>>());
    }
}
