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
use polars::prelude::{DataFrame, ParquetCompression, ParquetWriter};
use rusqlite::{Connection, OptionalExtension, params};

/// The export of the ledger.
pub const EXPORT: &str = "qc/partition_status.parquet";
/// Rows in memory at once, and in a row group.
const ROWS_AT_ONCE: usize = 131_072;
const ALL: &str = "SELECT source_name, table_name, symbol, quarter, partition_key, days, verdicts, uuids FROM ledger_blocks
    ORDER BY source_name, table_name, symbol, quarter, partition_key";

/// Columns of the rows read so far. A ledger of millions of rows passes through in pieces: a Pi has little memory.
#[derive(Default)]
struct Piece {
    texts: [Texts; 9],
    days: Vec<Option<TradingDay>>,
    score: Vec<Option<f64>>,
    counts: [Vec<Option<i64>>; 2],
}

/// A block with the ids of its days, and the moments of its verdicts in words.
struct Read {
    place: Place,
    block: Block,
    uuids: Vec<u8>,
    moments: Vec<[Option<String>; 2]>,
}

impl Read {
    fn of(r: &rusqlite::Row<'_>) -> Result<Self> {
        let place = Place { source: r.get(0)?, table: r.get(1)?, symbol: r.get(2)?, quarter: r.get(3)?, key: r.get(4)? };
        let block = Block::parse(r.get_ref(5)?, r.get_ref(6)?)?;
        let uuids: Vec<u8> = r.get(7)?;
        if uuids.len() != 16 * block.days.len() {
            return Err(Error::new(code::SSD_DAMAGED, "a block of the ledger has not an id for each of its days").fix("trademl rebuild"));
        }
        let moments = block.verdicts.iter().map(|v| [v.first_observed_at, v.last_observed_at].map(|t| t.map(|t| t.to_string()))).collect();
        Ok(Self { place, block, uuids, moments })
    }
    fn is_beside(&self, other: &Self) -> bool {
        let of = |p: &Place| (p.quarter, p.symbol.clone(), p.table.clone(), p.source.clone());
        of(&self.place) == of(&other.place)
    }
}

impl Piece {
    fn add(&mut self, from: &Read, i: usize) {
        let Some((day, at)) = from.block.days.get(i) else { return };
        let (Some(v), Some([first, last])) = (from.block.verdicts.get(*at as usize), from.moments.get(*at as usize)) else { return };
        let [id, source, table, symbol, key, status, qc_code, seen, seen_last] = &mut self.texts;
        let uuid = uuid::Uuid::from_slice(from.uuids.get(16 * i..16 * (i + 1)).unwrap_or(&[])).unwrap_or_default();
        id.push(Some(uuid.hyphenated().encode_lower(&mut [0; uuid::fmt::Hyphenated::LENGTH])));
        source.push(Some(&from.place.source));
        table.push(Some(&from.place.table));
        symbol.push(Some(&from.place.symbol));
        key.push(Some(&from.place.key));
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
    fn add_all(&mut self, beside: &[Read]) {
        let mut all: Vec<(TradingDay, &Read, usize)> =
            beside.iter().flat_map(|read| read.block.days.iter().enumerate().map(move |(i, (day, _))| (*day, read, i))).collect();
        if beside.len() > 1 {
            all.sort_by(|a, b| (a.0, &a.1.place.key).cmp(&(b.0, &b.1.place.key)));
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
    let writer = ParquetWriter::new(&mut bytes).with_compression(ParquetCompression::Zstd(None));
    let mut writer = writer.with_row_group_size(Some(ROWS_AT_ONCE)).batched(&schema)?;
    let mut conn = db.lock()?;
    let moment = conn.transaction()?;
    let revision = counter(&moment, REVISION)?.unwrap_or(0);
    {
        let mut statement = moment.prepare(ALL)?;
        let mut rows = statement.query([])?;
        let (mut piece, mut beside) = (Piece::default(), Vec::<Read>::new());
        while let Some(r) = rows.next()? {
            let read = Read::of(r)?;
            if beside.first().is_some_and(|b| !b.is_beside(&read)) {
                piece.add_all(&std::mem::take(&mut beside));
            }
            beside.push(read);
            if piece.days.len() >= ROWS_AT_ONCE {
                writer.write_batch(&std::mem::take(&mut piece).frame()?)?;
            }
        }
        piece.add_all(&beside);
        if !piece.days.is_empty() {
            writer.write_batch(&piece.frame()?)?;
        }
    }
    writer.finish()?;
    drop(writer);
    Ok((bytes, revision))
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
