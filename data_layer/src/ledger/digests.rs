//! What the ledger said of a series when an audit last left it, as one digest: an audit that comes to the same verdicts again
//! leaves the rows alone without reading them.
//!
//! A digest is removed by the transaction that changes a row of its series, and written by the one that makes it true. `fsck`
//! holds the rows against it, so it also tells when a row was changed by nobody of ours.

use super::{Row, Status, Verdict, rows_of, sources};
use crate::control::Db;
use crate::error::Result;
use crate::time::{DateRange, TradingDay, UtcTime};
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

/// Rows of one table, symbol and key in a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    pub table: String,
    pub symbol: String,
    pub key: String,
    pub days: DateRange,
}

/// What is said of one day of a series, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    pub source: &'a str,
    pub dt: TradingDay,
    pub status: Status,
    pub qc_code: &'a str,
    pub qc_score: f64,
    pub row_count: u64,
    pub expected_rows: Option<u64>,
    pub first_observed_at: Option<UtcTime>,
    pub last_observed_at: Option<UtcTime>,
}

impl Row {
    pub fn line(&self) -> Line<'_> {
        self.verdict.line(&self.key.source_name, self.key.dt)
    }
}

impl Verdict {
    /// What this says of a source's day.
    pub fn line<'a>(&'a self, source: &'a str, dt: TradingDay) -> Line<'a> {
        Line {
            source,
            dt,
            status: self.status,
            qc_code: &self.qc_code,
            qc_score: self.qc_score,
            row_count: self.row_count,
            expected_rows: self.expected_rows,
            first_observed_at: self.first_observed_at,
            last_observed_at: self.last_observed_at,
        }
    }
}

impl Line<'_> {
    pub(super) fn verdict(&self) -> Verdict {
        Verdict {
            status: self.status,
            qc_code: self.qc_code.to_string(),
            qc_score: self.qc_score,
            row_count: self.row_count,
            expected_rows: self.expected_rows,
            first_observed_at: self.first_observed_at,
            last_observed_at: self.last_observed_at,
        }
    }
    /// Whether this is what a verdict says.
    pub(super) fn says(&self, v: &Verdict) -> bool {
        let of_line = (self.status, self.row_count, self.expected_rows, self.first_observed_at, self.last_observed_at);
        let of_verdict = (v.status, v.row_count, v.expected_rows, v.first_observed_at, v.last_observed_at);
        of_line == of_verdict && self.qc_score.to_bits() == v.qc_score.to_bits() && self.qc_code == v.qc_code
    }
}

/// The digest of lines in order of (day, source).
pub fn digest<'a>(lines: impl IntoIterator<Item = Line<'a>>) -> String {
    let (mut sha, mut record) = (Sha256::new(), Vec::with_capacity(1 << 16));
    let moment = |t: Option<UtcTime>| t.map_or(i64::MIN, UtcTime::micros).to_le_bytes();
    for line in lines {
        record.extend(line.dt.0.to_le_bytes());
        record.push(line.status as u8);
        record.extend(line.qc_score.to_bits().to_le_bytes());
        record.extend(line.row_count.to_le_bytes());
        record.extend(line.expected_rows.map_or(u64::MAX, |n| n).to_le_bytes());
        record.extend(moment(line.first_observed_at));
        record.extend(moment(line.last_observed_at));
        for text in [line.source, line.qc_code] {
            record.extend((text.len() as u64).to_le_bytes());
            record.extend(text.as_bytes());
        }
        if record.len() > (1 << 16) - 256 {
            sha.update(&record);
            record.clear();
        }
    }
    sha.update(&record);
    hex::encode(sha.finalize())
}

/// Whether the ledger holds exactly the lines of this digest for the series.
pub fn is_settled(db: &Db, series: &Series, sha256: &str) -> Result<bool> {
    let conn = db.lock()?;
    let sql = "SELECT sha256 FROM ledger_digests WHERE table_name=?1 AND symbol=?2 AND partition_key=?3 AND first=?4 AND until=?5";
    let (first, until) = (series.days.start.to_string(), series.days.end.to_string());
    let known: Option<String> = conn.prepare_cached(sql)?.query_row(params![series.table, series.symbol, series.key, first, until], |r| r.get(0)).optional()?;
    Ok(known.as_deref() == Some(sha256))
}

/// The rows of a series are in the ledger as its digest says, by the transaction that does this.
pub(super) fn keep(conn: &Connection, s: &Series, sha256: &str) -> Result<()> {
    conn.prepare_cached("INSERT OR REPLACE INTO ledger_digests VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(params![
        s.table,
        s.symbol,
        s.key,
        s.days.start.to_string(),
        s.days.end.to_string(),
        sha256
    ])?;
    Ok(())
}

/// Rows of a table, symbol and key are about to change.
pub(super) fn forget(conn: &Connection, table: &str, symbol: &str, key: &str) -> Result<()> {
    conn.prepare_cached("DELETE FROM ledger_digests WHERE table_name=?1 AND symbol=?2 AND partition_key=?3")?.execute([table, symbol, key])?;
    Ok(())
}

/// Series whose rows are not what an audit wrote. An audit may be at work meanwhile.
pub fn changed(db: &Db) -> Result<Vec<Series>> {
    unlike(db, all(db)?)
}

/// Every digest, in order.
fn all(db: &Db) -> Result<Vec<(Series, String)>> {
    let rows: Vec<[String; 6]> = {
        let conn = db.lock()?;
        let mut statement = conn.prepare("SELECT table_name, symbol, partition_key, first, until, sha256 FROM ledger_digests ORDER BY 1, 2, 3, 4, 5")?;
        let rows = statement.query_map([], |r| Ok([r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?]))?;
        rows.collect::<rusqlite::Result<_>>()?
    };
    let series = |[table, symbol, key, first, until, sha256]: [String; 6]| {
        let days = DateRange::new(first.parse()?, until.parse()?)?;
        Ok((Series { table, symbol, key, days }, sha256))
    };
    rows.into_iter().map(series).collect()
}

/// Series whose rows are not as their digests say, although these are still the ledger's: one that an audit has made void since
/// it was read says nothing of the rows of now.
fn unlike(db: &Db, known: Vec<(Series, String)>) -> Result<Vec<Series>> {
    let (mut out, mut of) = (Vec::new(), (String::new(), Vec::new()));
    for (series, sha256) in known {
        if of.0 != series.table {
            of = (series.table.clone(), sources(db, &series.table)?);
        }
        let mut rows: Vec<Row> = Vec::new();
        for source in &of.1 {
            rows.extend(rows_of(db, source, &series.table, &series.symbol, &series.key, series.days.start, series.days.end)?);
        }
        rows.sort_by(|a, b| (a.key.dt, &a.key.source_name).cmp(&(b.key.dt, &b.key.source_name)));
        if digest(rows.iter().map(Row::line)) != sha256 && is_settled(db, &series, &sha256)? {
            out.push(series);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Change, Key, apply, export, read_export};
    use crate::schema::{table, timeframe};
    use crate::testkit::{Kit, day, range};

    fn row(symbol: &str, on: &str, status: Status) -> Row {
        let key = Key {
            source_name: "alpaca".into(),
            table_name: table::RAW_EQUITIES_BARS.into(),
            symbol: symbol.into(),
            dt: day(on),
            partition_key: timeframe::DAY.into(),
        };
        let seen = Some(UtcTime::from_micros(1_500_000_000_000_000));
        let verdict = Verdict {
            status,
            qc_code: status.as_str().into(),
            qc_score: 0.5,
            row_count: 1,
            expected_rows: Some(1),
            first_observed_at: seen,
            last_observed_at: None,
        };
        Row { key, verdict }
    }

    fn settle(db: &Db, all: &[(Series, String)]) -> Result<()> {
        db.write(|tx| all.iter().try_for_each(|(series, sha256)| keep(tx, series, sha256)))
    }

    fn of(symbol: &str) -> Series {
        Series { table: table::RAW_EQUITIES_BARS.into(), symbol: symbol.into(), key: timeframe::DAY.into(), days: range("2018-01-01", "2018-02-01") }
    }

    #[test]
    fn a_row_that_changes_voids_the_digest_of_its_series_alone() {
        let kit = Kit::new();
        let rows = [row("A", "2018-01-02", Status::Green), row("A", "2018-01-03", Status::Red), row("B", "2018-01-02", Status::Green)];
        apply(&kit.db, &rows.clone().map(Change::Put)).unwrap();
        let [a, b] = [digest(rows[..2].iter().map(Row::line)), digest(rows[2..].iter().map(Row::line))];
        settle(&kit.db, &[(of("A"), a.clone()), (of("B"), b.clone())]).unwrap();
        assert!(is_settled(&kit.db, &of("A"), &a).unwrap() && !is_settled(&kit.db, &of("A"), &b).unwrap());
        assert!(changed(&kit.db).unwrap().is_empty());
        apply(&kit.db, &[Change::Put(row("A", "2018-01-03", Status::Green))]).unwrap();
        assert!(!is_settled(&kit.db, &of("A"), &a).unwrap() && is_settled(&kit.db, &of("B"), &b).unwrap());
        // Somebody else's hand.
        kit.db.lock().unwrap().execute("UPDATE partition_status SET row_count = 2 WHERE symbol = 'B'", []).unwrap();
        assert_eq!(changed(&kit.db).unwrap(), [of("B")]);
    }

    #[test]
    fn an_audit_that_writes_while_the_rows_are_looked_at_is_no_damage() {
        let kit = Kit::new();
        let first = row("A", "2018-01-02", Status::Green);
        apply(&kit.db, &[Change::Put(first.clone())]).unwrap();
        settle(&kit.db, &[(of("A"), digest([first.line()]))]).unwrap();
        let known = all(&kit.db).unwrap();
        // Between the digests and the rows an audit finds a new session, and settles what it wrote.
        let second = row("A", "2018-01-03", Status::Red);
        apply(&kit.db, &[Change::Put(second.clone())]).unwrap();
        assert!(unlike(&kit.db, known.clone()).unwrap().is_empty(), "written and not yet settled");
        settle(&kit.db, &[(of("A"), digest([first.line(), second.line()]))]).unwrap();
        assert!(unlike(&kit.db, known).unwrap().is_empty());
        assert!(changed(&kit.db).unwrap().is_empty());
    }

    #[test]
    fn the_export_follows_the_ledger_even_when_an_older_database_comes_back() {
        let kit = Kit::new();
        let counters = |set: &[(String, i64)]| {
            let conn = kit.db.lock().unwrap();
            for (name, value) in set {
                conn.execute("UPDATE counters SET value = ?2 WHERE name = ?1", params![name, value]).unwrap();
            }
            let mut statement = conn.prepare("SELECT name, value FROM counters WHERE name LIKE 'ledger.%'").unwrap();
            statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap().map(Result::unwrap).collect::<Vec<(String, i64)>>()
        };
        let read = || read_export(std::fs::read(kit.place(&crate::root::DataPath::new(crate::ledger::EXPORT).unwrap())).unwrap()).unwrap();
        apply(&kit.db, &[Change::Put(row("A", "2018-01-02", Status::Green))]).unwrap();
        let first = export(&kit.root, &kit.db).unwrap();
        assert_eq!(export(&kit.root, &kit.db).unwrap(), first);
        let old = counters(&[]);
        apply(&kit.db, &[Change::Put(row("B", "2018-01-02", Status::Red))]).unwrap();
        export(&kit.root, &kit.db).unwrap();
        assert_eq!(read().len(), 2);
        // The database of before: its rows, its counts.
        apply(&kit.db, &[Change::Remove(row("B", "2018-01-02", Status::Red).key)]).unwrap();
        counters(&old);
        assert_eq!(export(&kit.root, &kit.db).unwrap(), first);
        assert_eq!(read(), [row("A", "2018-01-02", Status::Green)]);
        // A changed file is written again.
        std::fs::write(kit.place(&first.path), b"other bytes").unwrap();
        assert_eq!(export(&kit.root, &kit.db).unwrap(), first);
        assert_eq!(read().len(), 1);
    }
}
