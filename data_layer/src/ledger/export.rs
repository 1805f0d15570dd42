//! `qc/partition_status.parquet`: the ledger as a table, sorted by its unique key.

use super::block::{Block, Place};
use super::{Key, REVISION, Row, Status, Verdict};
use crate::control::Db;
use crate::error::{Error, Result, code};
use crate::frame::{self, Texts};
use crate::root::{DataPath, DataRoot};
use crate::store::{self, FileInfo};
use crate::time::{TradingDay, UtcTime};
use crate::vouch;
use polars::prelude::{BatchedWriter, DataFrame, ParquetCompression, ParquetWriter, PolarsResult};
use rayon::prelude::*;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};

/// The export of the ledger.
pub const EXPORT: &str = "qc/partition_status.parquet";
/// Rows from which on a row group is full.
const ROWS_A_GROUP: usize = 32_768;
/// Row groups in memory at once, made side by side. A ledger of millions of rows passes through in pieces: a Pi has little memory.
const GROUPS_AT_ONCE: usize = 4;
const ALL: &str = "SELECT source_name, table_name, symbol, quarter, partition_key, days, verdicts, uuids FROM ledger_blocks
    ORDER BY source_name, table_name, symbol, quarter, partition_key";

/// Columns of a row group.
#[derive(Default)]
struct Piece {
    texts: [Texts; 9],
    days: Vec<Option<TradingDay>>,
    score: Vec<Option<f64>>,
    counts: [Vec<Option<i64>>; 2],
}

/// A block as it stands in the database.
struct Raw {
    place: Place,
    days: String,
    verdicts: String,
    uuids: Vec<u8>,
}

impl Raw {
    fn of(r: &rusqlite::Row<'_>) -> Result<Self> {
        let place = Place { source: r.get(0)?, table: r.get(1)?, symbol: r.get(2)?, quarter: r.get(3)?, key: r.get(4)? };
        Ok(Self { place, days: r.get(5)?, verdicts: r.get(6)?, uuids: r.get(7)? })
    }
    /// How many days it should have, by its ids.
    fn rows(&self) -> usize {
        self.uuids.len() / 16
    }
    /// Whether their days stand between each other in the export, which is sorted by the day before the key.
    fn is_beside(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.place, &other.place);
        (ours.quarter, &ours.symbol, &ours.table, &ours.source) == (theirs.quarter, &theirs.symbol, &theirs.table, &theirs.source)
    }
}

/// A block with the ids of its days, and the moments of its verdicts in words.
struct Read<'a> {
    raw: &'a Raw,
    block: Block,
    moments: Vec<[Option<String>; 2]>,
}

impl<'a> Read<'a> {
    fn of(raw: &'a Raw) -> Result<Self> {
        let text = |t: &'a str| ValueRef::Text(t.as_bytes());
        let block = Block::parse(text(&raw.days), text(&raw.verdicts))?;
        if raw.uuids.len() != 16 * block.days.len() {
            return Err(Error::new(code::SSD_DAMAGED, "a block of the ledger has not an id for each of its days").fix("trademl rebuild"));
        }
        let moments = block.verdicts.iter().map(|v| [v.first_observed_at, v.last_observed_at].map(|t| t.map(|t| t.to_string()))).collect();
        Ok(Self { raw, block, moments })
    }
}

impl Piece {
    /// The rows of these blocks, in their order.
    fn of(blocks: &[Raw]) -> Result<Self> {
        let mut out = Self::default();
        for beside in blocks.chunk_by(Raw::is_beside) {
            out.add_all(&beside.iter().map(Read::of).collect::<Result<Vec<_>>>()?);
        }
        Ok(out)
    }
    fn add(&mut self, from: &Read<'_>, i: usize) {
        let Some((day, at)) = from.block.days.get(i) else { return };
        let (Some(v), Some([first, last])) = (from.block.verdicts.get(*at as usize), from.moments.get(*at as usize)) else { return };
        let [id, source, table, symbol, key, status, qc_code, seen, seen_last] = &mut self.texts;
        let uuid = uuid::Uuid::from_slice(from.raw.uuids.get(16 * i..16 * (i + 1)).unwrap_or(&[])).unwrap_or_default();
        id.push(Some(uuid.hyphenated().encode_lower(&mut [0; uuid::fmt::Hyphenated::LENGTH])));
        source.push(Some(&from.raw.place.source));
        table.push(Some(&from.raw.place.table));
        symbol.push(Some(&from.raw.place.symbol));
        key.push(Some(&from.raw.place.key));
        status.push(Some(v.status.as_str()));
        qc_code.push(Some(&v.qc_code));
        seen.push(first.as_deref());
        seen_last.push(last.as_deref());
        let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.days.push(Some(*day));
        self.score.push(Some(v.qc_score));
        self.counts[0].push(Some(count(v.row_count)));
        self.counts[1].push(v.expected_rows.map(count));
    }
    /// Blocks of one source, table, symbol and quarter, by day and then by key.
    fn add_all(&mut self, beside: &[Read<'_>]) {
        let mut all: Vec<(TradingDay, &Read<'_>, usize)> =
            beside.iter().flat_map(|read| read.block.days.iter().enumerate().map(move |(i, (day, _))| (*day, read, i))).collect();
        if beside.len() > 1 {
            all.sort_by(|a, b| (a.0, &a.1.raw.place.key).cmp(&(b.0, &b.1.raw.place.key)));
        }
        all.into_iter().for_each(|(_, read, i)| self.add(read, i));
    }
    fn frame(&self) -> Result<DataFrame> {
        let [id, source, table, symbol, key, status, qc_code, first, last] = &self.texts;
        frame::assemble(vec![
            id.column("id"),
            source.column("source_name"),
            table.column("table_name"),
            symbol.column("symbol"),
            frame::day_column("dt", &self.days)?,
            key.column("partition_key"),
            status.column("status"),
            frame::float_column("qc_score", &self.score),
            frame::int_column("row_count", &self.counts[0]),
            frame::int_column("expected_rows", &self.counts[1]),
            qc_code.column("qc_code"),
            first.column("first_observed_at"),
            last.column("last_observed_at"),
        ])
    }
}

/// Of which revision of the ledger the export is, and how its digest begins.
const EXPORTED: [&str; 2] = ["ledger.exported.revision", "ledger.exported.sha256"];

/// Write the export. A ledger that was not changed since is not read again, and unchanged contents are not written again.
pub fn export(root: &DataRoot, db: &Db) -> Result<FileInfo> {
    let path = DataPath::new(EXPORT)?;
    if let Some(info) = standing(root, db, &path)? {
        return Ok(info);
    }
    let (bytes, revision) = encode(db)?;
    let info = vouch::write(root, &path, bytes)?.0;
    db.write(|tx| {
        for (name, value) in EXPORTED.into_iter().zip([revision, head(&info.sha256)]) {
            tx.execute("INSERT INTO counters (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2", params![name, value])?;
        }
        Ok(())
    })?;
    Ok(info)
}

/// The export, if it is the one that was made of the ledger as it is now.
fn standing(root: &DataRoot, db: &Db, path: &DataPath) -> Result<Option<FileInfo>> {
    let [now, of, sha] = {
        let conn = db.lock()?;
        [counter(&conn, REVISION)?, counter(&conn, EXPORTED[0])?, counter(&conn, EXPORTED[1])?]
    };
    if now.is_none() || now != of {
        return Ok(None);
    }
    let Some(bytes) = store::read(root, path)? else { return Ok(None) };
    let info = FileInfo { path: path.clone(), sha256: store::sha256_hex(&bytes), bytes: bytes.len() as u64 };
    Ok((Some(head(&info.sha256)) == sha && vouch::stands(root, path, &info.sha256)?).then_some(info))
}

/// The first 63 bits of a digest.
fn head(sha256: &str) -> i64 {
    sha256.get(..16).and_then(|t| u64::from_str_radix(t, 16).ok()).map_or(0, |n| (n >> 1).cast_signed())
}

fn counter(conn: &Connection, name: &str) -> Result<Option<i64>> {
    Ok(conn.prepare_cached("SELECT value FROM counters WHERE name = ?1")?.query_row([name], |r| r.get(0)).optional()?)
}

/// The ledger as a file, and its revision, of one moment.
fn encode(db: &Db) -> Result<(Vec<u8>, i64)> {
    let mut bytes = Vec::new();
    let schema = Piece::default().frame()?.schema().clone();
    let writer = ParquetWriter::new(&mut bytes).with_compression(ParquetCompression::Zstd(None)).batched(&schema)?;
    let mut conn = db.lock()?;
    let moment = conn.transaction()?;
    let revision = counter(&moment, REVISION)?.unwrap_or(0);
    {
        let mut statement = moment.prepare(ALL)?;
        let mut rows = statement.query([])?;
        let (mut groups, mut last, mut filled) = (Vec::new(), Vec::<Raw>::new(), 0);
        while let Some(r) = rows.next()? {
            let raw = Raw::of(r)?;
            if filled >= ROWS_A_GROUP && last.last().is_some_and(|before| !before.is_beside(&raw)) {
                groups.push(std::mem::take(&mut last));
                filled = 0;
            }
            if groups.len() == GROUPS_AT_ONCE {
                write(&writer, &std::mem::take(&mut groups))?;
            }
            filled += raw.rows();
            last.push(raw);
        }
        groups.push(last);
        write(&writer, &groups)?;
    }
    writer.finish()?;
    drop(writer);
    Ok((bytes, revision))
}

/// Make row groups side by side, and write them in their order.
fn write(writer: &BatchedWriter<&mut Vec<u8>>, groups: &[Vec<Raw>]) -> Result<()> {
    let encoded = |blocks: &Vec<Raw>| Ok(writer.encode_and_compress(&Piece::of(blocks)?.frame()?).collect::<PolarsResult<Vec<_>>>()?);
    let groups: Vec<Vec<_>> = groups.par_iter().map(encoded).collect::<Result<_>>()?;
    Ok(writer.write_row_groups(groups.into_iter().flatten().collect())?)
}

/// Read an exported ledger back, in its order.
pub fn read_export(bytes: Vec<u8>) -> Result<Vec<Row>> {
    let table = store::parquet_frame(bytes)?;
    let text = |name: &str| -> Result<Vec<String>> { Ok(frame::texts(&table, name)?.into_iter().map(|t| t.unwrap_or("").to_string()).collect()) };
    let times = |name: &str| -> Result<Vec<Option<UtcTime>>> { frame::texts(&table, name)?.into_iter().map(|t| t.map(str::parse).transpose()).collect() };
    let (source, name, symbol, key) = (text("source_name")?, text("table_name")?, text("symbol")?, text("partition_key")?);
    let (status, qc_code) = (text("status")?, text("qc_code")?);
    let (days, score) = (frame::days(&table, "dt")?, frame::floats(&table, "qc_score")?);
    let (count, expected) = (frame::floats(&table, "row_count")?, frame::floats(&table, "expected_rows")?);
    let (first, last) = (times("first_observed_at")?, times("last_observed_at")?);
    (0..table.height())
        .map(|i| {
            let dt = days[i].ok_or_else(|| Error::new(code::SSD_DAMAGED, "an exported ledger row has no date"))?;
            Ok(Row {
                key: Key { source_name: source[i].clone(), table_name: name[i].clone(), symbol: symbol[i].clone(), dt, partition_key: key[i].clone() },
                verdict: Verdict {
                    status: Status::parse(&status[i])?,
                    qc_code: qc_code[i].clone(),
                    qc_score: score[i].unwrap_or(0.0),
                    row_count: count[i].unwrap_or(0.0) as u64,
                    expected_rows: expected[i].map(|n| n as u64),
                    first_observed_at: first[i],
                    last_observed_at: last[i],
                },
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Change, all_rows, apply};
    use crate::testkit::{Kit, day};

    #[test]
    fn row_groups_made_side_by_side_are_one_table_in_order() {
        let kit = Kit::new();
        let verdict = |n: i32| {
            let status = if n % 7 == 0 { Status::Red } else { Status::Green };
            Verdict { status, qc_code: format!("{n}"), qc_score: 0.5, row_count: 3, expected_rows: None, first_observed_at: None, last_observed_at: None }
        };
        // Two keys, whose days stand between each other; more rows than are in memory at once.
        let of = |symbol: i32, n: i32, tf: &str| {
            let key = Key {
                source_name: "alpaca".into(),
                table_name: "raw/equities_bars".into(),
                symbol: format!("S{symbol:02}"),
                dt: day("2010-01-01").plus_days(n),
                partition_key: tf.into(),
            };
            Change::Put(Row { key, verdict: verdict(n % 11) })
        };
        let days = i32::try_from(ROWS_A_GROUP * (GROUPS_AT_ONCE + 1) / 20).unwrap();
        let all: Vec<Change> = (0..10).flat_map(|s| (0..days).flat_map(move |n| [of(s, n, "1d"), of(s, n, "1m")])).collect();
        apply(&kit.db, &all).unwrap();
        let info = export(&kit.root, &kit.db).unwrap();
        let rows = read_export(store::read(&kit.root, &info.path).unwrap().unwrap()).unwrap();
        assert_eq!((rows.len(), &rows), (all.len(), &all_rows(&kit.db).unwrap()));
        assert!(rows.is_sorted_by_key(|r| (r.key.symbol.clone(), r.key.dt, r.key.partition_key.clone())));
    }
}
