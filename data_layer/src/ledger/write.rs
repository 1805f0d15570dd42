//! Changes of the ledger: whole series at once, as an audit finds them, or days by their keys.

use super::block::{Block, Place, Quarter, Stored, blocks_of, quarters_of};
use super::digests::{self, Line, Series};
use super::{Change, REVISION, ROWS_PER_COMMIT, Verdict, counted, sources_in};
use crate::control::Db;
use crate::error::Result;
use crate::time::{DateRange, TradingDay};
use rayon::prelude::*;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::collections::{BTreeMap, BTreeSet};

/// All that is to be said of a series in its window: lines in order of (day, source).
pub struct Sheet<'a> {
    pub series: Series,
    pub lines: Vec<Line<'a>>,
    /// Whether the digest of the lines is kept, so that they are known again; not for a series that is given up.
    pub kept: bool,
}

/// Whether rows are looked at that an audit is known to have left as they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// What a digest says stands.
    Digests,
    /// Somebody else may have changed a row.
    Nobody,
}

/// Make the ledger say what the sheets say, in one transaction, and keep their digests in the same; what it is known to say already
/// is not read, and where nothing is to change nothing is written. Returns how many days were written or removed.
pub fn bring(db: &Db, sheets: &[Sheet<'_>], trust: Trust) -> Result<u64> {
    let digests: Vec<Option<String>> = sheets.par_iter().map(|s| s.kept.then(|| digests::digest(s.lines.iter().copied()))).collect();
    let mut news: Vec<News<'_>> = Vec::new();
    for (sheet, sha256) in sheets.iter().zip(&digests) {
        let known = sha256.as_ref().map_or(Ok(true), |sha256| digests::is_settled(db, &sheet.series, sha256))?;
        if sheet.kept && known && trust == Trust::Digests {
            continue;
        }
        news.push(News { sheet, sha256: sha256.as_deref(), known });
    }
    let wanted: Vec<Wanted<'_>> = news.par_iter().map(|n| wanted(n.sheet)).collect();
    // What is known to be there mostly is: it is compared before anybody else is kept from writing.
    let mut some = Vec::new();
    for (news, wanted) in news.into_iter().zip(wanted) {
        let mut edits = Edits::new();
        if !news.known || edited_by(&*db.lock()?, &news.sheet.series, &wanted, &mut edits)? {
            some.push((news, wanted));
        }
    }
    if some.is_empty() {
        return Ok(0);
    }
    let days = some.iter().map(|(n, _)| n.sheet.lines.len()).sum();
    put(db, days, |tx| {
        let mut edits = Edits::new();
        for (news, wanted) in &some {
            if edited_by(tx, &news.sheet.series, wanted, &mut edits)? {
                let Series { table, symbol, key, .. } = &news.sheet.series;
                digests::forget(tx, table, symbol, key)?;
            }
        }
        let changed = write(tx, &edits)?;
        some.iter().try_for_each(|(news, _)| news.sha256.map_or(Ok(()), |sha256| digests::keep(tx, &news.sheet.series, sha256)))?;
        Ok(changed)
    })
}

/// A sheet, its digest, and whether the ledger is known to say it.
struct News<'a> {
    sheet: &'a Sheet<'a>,
    sha256: Option<&'a str>,
    known: bool,
}

/// The blocks of a sheet by source and quarter.
type Wanted<'a> = BTreeMap<(&'a str, Quarter), Block>;

fn wanted<'a>(sheet: &'a Sheet<'a>) -> Wanted<'a> {
    let sources: BTreeSet<&str> = sheet.lines.iter().map(|l| l.source).collect();
    let of = |source: &'a str| blocks_of(sheet.lines.iter().filter(move |l| l.source == source)).into_iter().map(move |(q, block)| ((source, q), block));
    sources.into_iter().flat_map(of).collect()
}

/// A block that is to be another one: its row and what it says, and what it is to say. An empty one is no row.
struct Edit {
    old: Option<(i64, Block)>,
    new: Block,
}

type Edits = BTreeMap<Place, Edit>;

/// Add what must change so that the ledger says of a series' window what is wanted, after the edits so far: windows of one series may
/// share a block. Whether anything must.
fn edited_by(conn: &Connection, series: &Series, wanted: &Wanted<'_>, edits: &mut Edits) -> Result<bool> {
    let Series { table, symbol, key, days } = series;
    let sources: BTreeSet<String> = sources_in(conn, table)?.into_iter().chain(wanted.keys().map(|(s, _)| (*s).to_string())).collect();
    let (from, to) = quarters_of(*days);
    let mut any = false;
    let mut statement = conn.prepare_cached(
        "SELECT id, quarter, days, verdicts FROM ledger_blocks
         WHERE source_name=?1 AND table_name=?2 AND symbol=?3 AND quarter BETWEEN ?4 AND ?5 AND partition_key=?6",
    )?;
    for source in &sources {
        let mut have: BTreeMap<Quarter, (i64, Block)> = BTreeMap::new();
        let mut rows = statement.query(params![source, table, symbol, from, to, key])?;
        while let Some(r) = rows.next()? {
            have.insert(r.get(1)?, (r.get(0)?, Block::parse(r.get_ref(2)?, r.get_ref(3)?)?));
        }
        let asked: BTreeSet<Quarter> = wanted.range((source.as_str(), from)..=(source.as_str(), to)).map(|((_, q), _)| *q).collect();
        for quarter in asked.into_iter().chain(have.keys().copied()).collect::<BTreeSet<_>>() {
            let place = Place { source: source.clone(), table: table.clone(), symbol: symbol.clone(), quarter, key: key.clone() };
            let earlier = edits.remove(&place);
            let old = have.remove(&quarter);
            let now = earlier.as_ref().map(|e| &e.new).or(old.as_ref().map(|(_, block)| block));
            let new = merged(source, now, wanted.get(&(source.as_str(), quarter)), *days);
            let differs = now.map_or(!new.is_empty(), |now| now.apart(&new) > 0);
            any |= differs;
            if differs || earlier.is_some() {
                edits.insert(place, Edit { old, new });
            }
        }
    }
    Ok(any)
}

/// What is wanted of the days, and what is there of the others.
fn merged(source: &str, old: Option<&Block>, wanted: Option<&Block>, days: DateRange) -> Block {
    let Some(old) = old else { return wanted.cloned().unwrap_or_default() };
    let mut out = Block::default();
    let kept = |from: TradingDay, to: TradingDay| old.lines(source).filter(move |l| from <= l.dt && l.dt < to);
    kept(TradingDay(i32::MIN), days.start).for_each(|l| out.push(&l));
    wanted.into_iter().flat_map(|w| w.lines(source)).for_each(|l| out.push(&l));
    kept(days.end, TradingDay(i32::MAX)).for_each(|l| out.push(&l));
    out
}

/// Write blocks, and bring the counts in line. Returns how many days differ.
fn write(tx: &Connection, edits: &Edits) -> Result<u64> {
    let render = |(place, edit): (&Place, &Edit)| (!edit.new.is_empty()).then(|| edit.new.stored(place)).transpose();
    let stored: Vec<Option<Stored>> = edits.par_iter().map(render).collect::<Result<_>>()?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO ledger_blocks (source_name, table_name, symbol, quarter, partition_key, first, last, troubled, days, verdicts, uuids)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    let mut update = tx.prepare_cached("UPDATE ledger_blocks SET first=?2, last=?3, troubled=?4, days=?5, verdicts=?6, uuids=?7 WHERE id=?1")?;
    let mut delete = tx.prepare_cached("DELETE FROM ledger_blocks WHERE id=?1")?;
    let mut counts = Counts::new();
    let mut changed = 0;
    for ((p, Edit { old, new }), stored) in edits.iter().zip(stored) {
        changed += old.as_ref().map_or(new.days.len() as u64, |(_, old)| old.apart(new));
        old.iter().for_each(|(_, old)| count(&mut counts, p, old, -1));
        count(&mut counts, p, new, 1);
        match (old, stored) {
            (None, Some(s)) => {
                insert.execute(params![p.source, p.table, p.symbol, p.quarter, p.key, s.first, s.last, s.troubled, s.days, s.verdicts, s.uuids])?
            }
            (Some((id, _)), Some(s)) => update.execute(params![id, s.first, s.last, s.troubled, s.days, s.verdicts, s.uuids])?,
            (Some((id, _)), None) => delete.execute([id])?,
            (None, None) => 0,
        };
    }
    save(tx, counts)?;
    if changed > 0 {
        counted(tx, REVISION, 1)?;
    }
    Ok(changed)
}

/// By (table, key, status, code), by how much the number of days changes.
type Counts<'a> = BTreeMap<(&'a str, &'a str, &'static str, &'a str), i64>;

fn count<'a>(counts: &mut Counts<'a>, place: &'a Place, block: &'a Block, sign: i64) {
    for (v, n) in block.tally(None) {
        *counts.entry((&place.table, &place.key, v.status.as_str(), &v.qc_code)).or_default() += sign * i64::try_from(n).unwrap_or(0);
    }
}

fn save(tx: &Connection, counts: Counts<'_>) -> Result<()> {
    let mut put = tx.prepare_cached("INSERT INTO ledger_counts VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET partitions = partitions + ?5")?;
    for ((table, key, status, code), n) in counts.into_iter().filter(|(_, n)| *n != 0) {
        put.execute(params![table, key, status, code, n])?;
    }
    Ok(())
}

/// Days of a block that are put or, without a verdict, removed.
type Days<'a> = BTreeMap<TradingDay, Option<&'a Verdict>>;

/// Apply differences, [`ROWS_PER_COMMIT`] to a transaction. Applying the same changes twice is harmless.
pub fn apply(db: &Db, changes: &[Change]) -> Result<()> {
    for chunk in changes.chunks(ROWS_PER_COMMIT) {
        let mut by_block: BTreeMap<Place, Days<'_>> = BTreeMap::new();
        for change in chunk {
            let verdict = match change {
                Change::Put(row) => Some(&row.verdict),
                Change::Remove(_) => None,
            };
            by_block.entry(Place::of(change.key())).or_default().insert(change.key().dt, verdict);
        }
        put(db, chunk.len(), |tx| {
            let series: BTreeSet<_> = chunk.iter().map(|c| c.key().series()).collect();
            series.iter().try_for_each(|(table, symbol, key)| digests::forget(tx, table, symbol, key))?;
            let edits = by_block.into_iter().map(|(place, days)| edited(tx, place, days)).collect::<Result<Edits>>()?;
            write(tx, &edits).map(drop)
        })?;
    }
    Ok(())
}

fn edited(tx: &Connection, place: Place, days: Days<'_>) -> Result<(Place, Edit)> {
    let mut statement = tx.prepare_cached(
        "SELECT id, days, verdicts FROM ledger_blocks WHERE source_name=?1 AND table_name=?2 AND symbol=?3 AND quarter=?4 AND partition_key=?5",
    )?;
    let found = statement
        .query_row(params![place.source, place.table, place.symbol, place.quarter, place.key], |r| Ok((r.get(0)?, Block::parse(r.get_ref(1)?, r.get_ref(2)?))));
    let old = match found.optional()? {
        Some((id, block)) => Some((id, block?)),
        None => None,
    };
    let mut all: Days<'_> = old.iter().flat_map(|(_, b): &(i64, Block)| b.iter()).map(|(day, v)| (day, Some(v))).collect();
    all.extend(days);
    let mut new = Block::default();
    for (day, verdict) in &all {
        verdict.iter().for_each(|v| new.push(&v.line(&place.source, *day)));
    }
    drop(all);
    Ok((place, Edit { old, new }))
}

/// From how many days on a change is a bulk load.
const MANY_DAYS: usize = 10_000;

/// One transaction for so many days. A bulk load touches most pages: 64 MiB of cache and no log keep them from being written twice.
fn put<T>(db: &Db, days: usize, f: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
    if days < MANY_DAYS {
        return db.write(f);
    }
    db.lock()?.execute_batch("PRAGMA cache_size=-65536")?;
    db.write_much(f)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Key, Row, Status, all_rows, rows_of};
    use crate::testkit::{Kit, day};
    use crate::time::UtcTime;

    const TABLE: &str = "raw/equities_bars";

    fn row(symbol: &str, dt: TradingDay, status: Status, seen: i64) -> Row {
        let key = Key { source_name: "alpaca".into(), table_name: TABLE.into(), symbol: symbol.into(), dt, partition_key: "1Day".into() };
        let first_observed_at = Some(UtcTime::from_micros(seen));
        let qc_code = if status == Status::Green { "OK" } else { "MISSING" }.into();
        Row { key, verdict: Verdict { status, qc_code, qc_score: 1.0, row_count: 1, expected_rows: Some(1), first_observed_at, last_observed_at: None } }
    }

    fn days(from: &str, n: i32) -> impl Iterator<Item = TradingDay> {
        let from = day(from);
        (0..n).map(move |i| from.plus_days(i))
    }

    fn say(db: &Db, symbol: &str, rows: &[Row], window: DateRange) -> u64 {
        let series = Series { table: TABLE.into(), symbol: symbol.into(), key: "1Day".into(), days: window };
        bring(db, &[Sheet { series, lines: rows.iter().map(Row::line).collect(), kept: true }], Trust::Digests).unwrap()
    }

    fn window(rows: &[Row]) -> DateRange {
        DateRange { start: rows[0].key.dt, end: rows[rows.len() - 1].key.dt.plus_days(1) }
    }

    /// Rows of any table that a piece of work inserts, changes or removes.
    fn touched(db: &Db, work: impl FnOnce()) -> u64 {
        let before = db.lock().unwrap().total_changes();
        work();
        db.lock().unwrap().total_changes() - before
    }

    #[test]
    fn an_audit_writes_blocks_and_a_night_costs_one_block_however_long_the_history() {
        let costs = [250, 3_650].map(|history| {
            let kit = Kit::new();
            let rows: Vec<Row> = days("2010-01-01", history).map(|d| row("A", d, Status::Green, 0)).collect();
            let bulk = touched(&kit.db, || assert_eq!(say(&kit.db, "A", &rows, window(&rows)), rows.len() as u64));
            assert!(bulk <= rows.len() as u64 / 80 + 6, "{bulk} rows for {history} days");
            let night = [row("A", window(&rows).end, Status::Green, 0)];
            touched(&kit.db, || assert_eq!(say(&kit.db, "A", &night, window(&night)), 1))
        });
        assert_eq!(costs[0], costs[1]);
    }

    #[test]
    fn what_is_said_again_is_not_written_and_what_is_no_longer_said_goes() {
        let kit = Kit::new();
        let mut rows: Vec<Row> = days("2017-03-20", 30).map(|d| row("A", d, Status::Green, 0)).collect();
        let all = window(&rows);
        say(&kit.db, "A", &rows, all);
        assert_eq!(touched(&kit.db, || assert_eq!(say(&kit.db, "A", &rows, all), 0)), 0);
        rows[3] = row("A", rows[3].key.dt, Status::Red, 7);
        rows.truncate(25);
        assert_eq!(say(&kit.db, "A", &rows, all), 6);
        assert_eq!(all_rows(&kit.db).unwrap(), rows);
        // Days outside of the window, and other symbols, are left alone.
        let part = DateRange { start: rows[10].key.dt, end: rows[20].key.dt };
        assert_eq!((say(&kit.db, "A", &[], part), say(&kit.db, "B", &rows[..1], window(&rows[..1]))), (10, 1));
        let left = rows_of(&kit.db, "alpaca", TABLE, "A", "1Day", all.start, all.end).unwrap();
        assert_eq!(left, [&rows[..10], &rows[20..]].concat());
    }

    #[test]
    fn windows_of_one_series_may_share_a_block() {
        let kit = Kit::new();
        let rows: Vec<Row> = days("2017-04-03", 40).map(|d| row("A", d, Status::Green, 0)).collect();
        fn sheet(rows: &[Row]) -> Sheet<'_> {
            Sheet {
                series: Series { table: TABLE.into(), symbol: "A".into(), key: "1Day".into(), days: window(rows) },
                lines: rows.iter().map(Row::line).collect(),
                kept: true,
            }
        }
        let all = [sheet(&rows[..10]), sheet(&rows[10..30]), sheet(&rows[30..])];
        assert_eq!(bring(&kit.db, &all, Trust::Digests).unwrap(), 40);
        assert_eq!(all_rows(&kit.db).unwrap(), rows);
        assert_eq!(touched(&kit.db, || assert_eq!(bring(&kit.db, &all, Trust::Nobody).unwrap(), 0)), 0, "their digests are all known");
    }

    #[test]
    fn single_changes_and_whole_series_end_in_the_same_ledger() {
        let (one, other) = (Kit::new(), Kit::new());
        let status = |i: usize| if i.is_multiple_of(7) { Status::Red } else { Status::Green };
        let rows: Vec<Row> = days("2016-11-01", 200).enumerate().map(|(i, d)| row("A", d, status(i), i as i64 % 3)).collect();
        say(&one.db, "A", &rows, window(&rows));
        let mut changes: Vec<Change> = rows.iter().rev().cloned().map(Change::Put).collect();
        changes.push(Change::Put(row("A", day("2020-02-02"), Status::Green, 0)));
        apply(&other.db, &changes).unwrap();
        apply(&other.db, &[Change::Remove(row("A", day("2020-02-02"), Status::Green, 0).key)]).unwrap();
        assert_eq!((all_rows(&one.db).unwrap(), all_rows(&other.db).unwrap()), (rows.clone(), rows));
        let table = |kit: &Kit| {
            let conn = kit.db.lock().unwrap();
            let mut statement = conn.prepare("SELECT status, qc_code, partitions FROM ledger_counts WHERE partitions > 0 ORDER BY 1, 2").unwrap();
            statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))).unwrap().map(std::result::Result::unwrap).collect::<Vec<(String, String, i64)>>()
        };
        assert_eq!(table(&one), table(&other));
    }

    #[test]
    fn any_sqlite_reads_a_row_a_day_and_may_change_one() {
        let kit = Kit::new();
        let rows: Vec<Row> = days("2017-06-28", 5).map(|d| row("A", d, Status::Green, 5_000_000)).collect();
        say(&kit.db, "A", &rows, window(&rows));
        let conn = kit.db.lock().unwrap();
        let read = |sql: &str| conn.query_row(sql, [], |r| r.get::<_, String>(0)).unwrap();
        let line = "SELECT id || ' ' || symbol || ' ' || dt || ' ' || status || ' ' || qc_code || ' ' || row_count || ' ' || first_observed_at
                    FROM partition_status WHERE dt = '2017-07-01'";
        let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, b"alpaca|raw/equities_bars|A|2017-07-01|1Day");
        assert_eq!(read(line), format!("{id} A 2017-07-01 GREEN OK 1 1970-01-01T00:00:05.000000Z"));
        conn.execute("UPDATE partition_status SET status = 'RED', qc_code = 'OHLC' WHERE dt = '2017-07-01'", []).unwrap();
        assert!(read(line).contains("RED OHLC"));
        assert_eq!(read("SELECT group_concat(status || partitions) FROM ledger_counts WHERE partitions > 0"), "GREEN4,RED1");
        drop(conn);
        let red: Vec<TradingDay> = crate::ledger::troubled(&kit.db, TABLE, day("2017-01-01"), day("2018-01-01")).unwrap().iter().map(|r| r.key.dt).collect();
        assert_eq!(red, [day("2017-07-01")]);
    }

    use proptest::prelude::*;

    /// Whatever a hand may write as a code: none, signs that JSON and SQL escape, other scripts.
    fn any_code() -> impl Strategy<Value = Option<String>> {
        let odd = prop_oneof![
            Just("\"".to_string()),
            Just("\\".into()),
            Just("'".into()),
            Just("\n\t\r".into()),
            Just("\u{1}\u{1f}\u{7f}".into()),
            Just("é月😀".into()),
            Just("]},{[".into()),
            "\\PC{0,3}"
        ];
        proptest::option::of(proptest::collection::vec(odd, 0..5).prop_map(|parts| parts.concat()))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
        #[test]
        fn whatever_code_a_hand_writes_is_read_and_hides_no_other_day(codes in proptest::collection::vec((0..20usize, any_code()), 1..6)) {
            let kit = Kit::new();
            let mut rows: Vec<Row> = days("2017-06-20", 20).map(|d| row("A", d, Status::Green, 0)).collect();
            say(&kit.db, "A", &rows, window(&rows));
            for (at, code) in &codes {
                let sql = "UPDATE partition_status SET status = 'RED', qc_code = ?1 WHERE dt = ?2";
                kit.db.lock().unwrap().execute(sql, params![code, rows[*at].key.dt.to_string()]).unwrap();
                rows[*at].verdict = Verdict { status: Status::Red, qc_code: code.clone().unwrap_or_default(), ..rows[*at].verdict.clone() };
            }
            prop_assert_eq!(&all_rows(&kit.db).unwrap(), &rows);
            // And they can be told again as they stand.
            let other = Kit::new();
            say(&other.db, "A", &rows, window(&rows));
            prop_assert_eq!(all_rows(&other.db).unwrap(), rows);
        }
    }

    #[test]
    fn what_could_not_be_read_again_is_not_taken() {
        let kit = Kit::new();
        let rows: Vec<Row> = days("2017-06-28", 5).map(|d| row("A", d, Status::Green, 5_000_000)).collect();
        say(&kit.db, "A", &rows, window(&rows));
        let change = |what: &str| kit.db.lock().unwrap().execute(&format!("UPDATE partition_status SET {what} WHERE dt = '2017-07-01'"), []);
        for what in [
            "status = NULL",
            "status = 'green'",
            "qc_code = 5",
            "qc_score = 9e999",
            "qc_score = 'x'",
            "row_count = NULL",
            "row_count = -1",
            "row_count = 0.5",
            "expected_rows = -1",
            "first_observed_at = 'yesterday'",
            "last_observed_at = '2017-02-31T00:00:00Z'",
            "last_observed_at = 7",
        ] {
            assert!(change(what).is_err(), "{what}");
        }
        assert_eq!(all_rows(&kit.db).unwrap(), rows);
        for what in ["qc_score = NULL", "expected_rows = NULL", "first_observed_at = NULL", "last_observed_at = '2017-02-28T23:59:59.123456Z'", "row_count = 7"]
        {
            change(what).unwrap();
        }
        assert_eq!(all_rows(&kit.db).unwrap()[3].verdict.row_count, 7);
    }
}
