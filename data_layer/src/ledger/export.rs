//! `qc/partition_status.parquet`: the ledger as a table, sorted by its unique key.

use super::{Key, Row, Status, Verdict};
use crate::control::Db;
use crate::error::{Error, Result, code};
use crate::frame;
use crate::root::{DataPath, DataRoot};
use crate::store::{self, FileInfo};
use crate::time::{TradingDay, UtcTime};
use crate::vouch;
use polars::prelude::{DataFrame, ParquetCompression, ParquetWriter};

/// The export of the ledger.
pub const EXPORT: &str = "qc/partition_status.parquet";
/// Rows in memory at once, and in a row group.
const ROWS_AT_ONCE: usize = 131_072;
const ALL: &str = "SELECT id, source_name, table_name, symbol, dt, partition_key, status, qc_score, row_count, expected_rows, qc_code, first_observed_at,
    last_observed_at FROM partition_status ORDER BY source_name, table_name, symbol, dt, partition_key";

/// Columns of the rows read so far. A ledger of millions of rows passes through in pieces: a Pi has little memory.
#[derive(Default)]
struct Piece {
    texts: [Vec<Option<String>>; 9],
    days: Vec<Option<TradingDay>>,
    score: Vec<Option<f64>>,
    counts: [Vec<Option<i64>>; 2],
}

/// Positions of the text columns in [`ALL`].
const TEXTS: [usize; 9] = [0, 1, 2, 3, 5, 6, 10, 11, 12];

impl Piece {
    fn add(&mut self, r: &rusqlite::Row<'_>) -> Result<()> {
        for (column, at) in self.texts.iter_mut().zip(TEXTS) {
            column.push(r.get(at)?);
        }
        self.days.push(Some(r.get_ref(4)?.as_str().map_err(|_| Error::new(code::SSD_DAMAGED, "a ledger date is not text"))?.parse()?));
        self.score.push(r.get(7)?);
        self.counts[0].push(r.get(8)?);
        self.counts[1].push(r.get(9)?);
        Ok(())
    }
    fn frame(&self) -> Result<DataFrame> {
        let [id, source, table, symbol, key, status, qc_code, first, last] = &self.texts;
        frame::assemble(vec![
            frame::text_column("id", id),
            frame::text_column("source_name", source),
            frame::text_column("table_name", table),
            frame::text_column("symbol", symbol),
            frame::day_column("dt", &self.days)?,
            frame::text_column("partition_key", key),
            frame::text_column("status", status),
            frame::float_column("qc_score", &self.score),
            frame::int_column("row_count", &self.counts[0]),
            frame::int_column("expected_rows", &self.counts[1]),
            frame::text_column("qc_code", qc_code),
            frame::text_column("first_observed_at", first),
            frame::text_column("last_observed_at", last),
        ])
    }
}

/// Write the export. Unchanged contents are not written again.
pub fn export(root: &DataRoot, db: &Db) -> Result<FileInfo> {
    let mut bytes = Vec::new();
    let schema = Piece::default().frame()?.schema().clone();
    let writer = ParquetWriter::new(&mut bytes).with_compression(ParquetCompression::Zstd(None)).set_parallel(false);
    let mut writer = writer.with_row_group_size(Some(ROWS_AT_ONCE)).batched(&schema)?;
    {
        let conn = db.lock()?;
        let mut statement = conn.prepare(ALL)?;
        let mut rows = statement.query([])?;
        let mut piece = Piece::default();
        while let Some(r) = rows.next()? {
            piece.add(r)?;
            if piece.days.len() == ROWS_AT_ONCE {
                writer.write_batch(&std::mem::take(&mut piece).frame()?)?;
            }
        }
        if !piece.days.is_empty() {
            writer.write_batch(&piece.frame()?)?;
        }
    }
    writer.finish()?;
    drop(writer);
    vouch::write(root, &DataPath::new(EXPORT)?, bytes).map(|(info, _)| info)
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
