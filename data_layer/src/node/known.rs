//! What the planner found the last time, so that it does not look for it again.
//!
//! Four looks go through all that a drive holds: the audit, and those for actions that nobody was asked about, for companies, and for the
//! lanes beside the prices. What they find follows from the answers that were entered, the rows that wait, what the ledger counts, a few
//! small files and the newest session that is over. While these are as a look left them it is not made again, so that a round in which
//! nothing happened costs no more on an old drive than on a young one. All of it is in memory: a service that begins looks at everything,
//! and so does every night's planner, which is also the one that notices what nobody told the database.

use super::{Node, newest_due};
use crate::audit::{AuditReport, AuditScope};
use crate::calendar::Calendar;
use crate::error::Result;
use crate::root::DataPath;
use crate::schema::dataset;
use crate::sourcing::BESIDE;
use crate::stage;
use crate::store;
use crate::time::DateRange;
use rusqlite::types::Value;
use rusqlite::{Params, Row};
use sha2::{Digest, Sha256};

/// What the looks of a service found last; none where it is not known to stand.
#[derive(Default)]
pub(super) struct Known {
    audit: Option<(String, AuditReport)>,
    actions: Option<String>,
    companies: Option<String>,
    beside: Option<String>,
}

/// Rows that wait decide about what is asked for next: of these datasets.
const OF_ACTIONS: &[&str] = &[dataset::CORP_ACTIONS];
const OF_COMPANIES: &[&str] = &[dataset::COMPANIES, dataset::FILINGS, dataset::SHARES];

impl Known {
    /// The audit of a window; an incremental one that would judge nothing is what it was, and has judged nothing.
    pub fn audited(&mut self, node: &Node, window: DateRange, scope: AuditScope) -> Result<AuditReport> {
        let before = Basis::of(node, window, None)?;
        if let Some((_, report)) = self.audit.as_ref().filter(|(basis, _)| scope == AuditScope::Incremental && *basis == before.digest) {
            return Ok(report.clone());
        }
        self.audit = None;
        let report = node.audit(window, scope)?;
        let again = AuditReport { symbols_judged: 0, partitions_judged: 0, changed: 0, segments_read: 0, bytes_read: 0, ..report.clone() };
        self.audit = before.still(&Basis::of(node, window, None)?).map(|basis| (basis, again));
        Ok(report)
    }

    /// Ask for what is missing of actions, of companies and of the lanes beside the prices; `afresh` whatever was known.
    pub fn seed(&mut self, node: &Node, window: DateRange, afresh: bool) -> Result<()> {
        look(node, window, OF_ACTIONS, &mut self.actions, afresh, || node.seed_actions(window).map(drop))?;
        look(node, window, OF_COMPANIES, &mut self.companies, afresh, || node.seed_companies().map(drop))?;
        look(node, window, &BESIDE, &mut self.beside, afresh, || node.seed_lanes().map(drop))
    }
}

/// Make a look, unless all that it follows from is as it was when it was last over.
fn look(node: &Node, window: DateRange, lanes: &[&str], last: &mut Option<String>, afresh: bool, make: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = Basis::of(node, window, Some(lanes))?;
    if !afresh && last.as_ref() == Some(&before.digest) {
        return Ok(());
    }
    *last = None;
    make()?;
    *last = before.still(&Basis::of(node, window, Some(lanes))?);
    Ok(())
}

/// All that a look follows from.
struct Basis {
    /// Changes when another process has committed something.
    version: i64,
    digest: String,
}

/// Answers that were entered and days that were judged; which lanes are open.
pub(super) const ANSWERS: &str = "SELECT name, value FROM counters WHERE name GLOB 'manifests.*' OR name GLOB 'audit.*' ORDER BY name";
const LANES: &str = "SELECT vendor, dataset, lane, live_status, enable_status FROM entitlements ORDER BY vendor, dataset, lane";
/// What the ledger counts, but for what follows from the rest of it.
pub(super) const LEDGER: &str = "SELECT table_name, partition_key, status, qc_code, partitions FROM ledger_counts
 WHERE table_name NOT GLOB 'curated/*' AND partitions <> 0 ORDER BY 1, 2, 3, 4";
/// Rows of a dataset that wait or are being worked on, through the index over the state of rows: the plus keeps away the key of the table,
/// which holds every row that ever was.
pub(super) const OPEN: &str = "SELECT id FROM backfill_queue WHERE status IN ('PENDING', 'LEASED') AND +dataset = ?1 ORDER BY id";

impl Basis {
    /// Of the audit; of a look for what is missing in `lanes`.
    fn of(node: &Node, window: DateRange, lanes: Option<&[&str]>) -> Result<Self> {
        let mut sha = Sha256::new();
        let now = node.host().now();
        sha.update(format!("{window} {} {}", newest_due(node.host())?, Calendar::xnys().last_closed(now)?));
        if lanes.is_some() {
            // Of some questions each day has its share, sessions or not.
            sha.update(format!(" {}", now.utc_day()));
        }
        let mut files = store::list(node.root(), &DataPath::new("control/configs")?)?;
        files.push(DataPath::new(stage::PATH)?);
        for path in files {
            sha.update(format!("\n{path} {}", store::read(node.root(), &path)?.map(|bytes| store::sha256_hex(&bytes)).unwrap_or_default()));
        }
        let conn = node.db().lock()?;
        let version = conn.query_row("PRAGMA data_version", [], |r| r.get(0))?;
        say(&mut sha, &conn, ANSWERS, [])?;
        say(&mut sha, &conn, LANES, [])?;
        match lanes {
            None => say(&mut sha, &conn, LEDGER, [])?,
            Some(lanes) => {
                lanes.iter().try_for_each(|lane| say(&mut sha, &conn, OPEN, [lane]))?;
            }
        }
        Ok(Self { version, digest: hex::encode(sha.finalize()) })
    }

    /// What is known after a look that began with this: nothing where somebody else was at work meanwhile, whom it may have missed.
    fn still(&self, after: &Self) -> Option<String> {
        (after.version == self.version).then(|| after.digest.clone())
    }
}

/// Take all that a statement says.
fn say(sha: &mut Sha256, conn: &rusqlite::Connection, sql: &str, params: impl Params) -> Result<()> {
    let mut statement = conn.prepare_cached(sql)?;
    let columns = statement.column_count();
    let text = |row: &Row<'_>| (0..columns).map(|i| row.get::<_, Value>(i).map(|v| format!("{v:?}"))).collect::<rusqlite::Result<Vec<_>>>();
    sha.update(format!("\n{sql}"));
    let mut rows = statement.query(params)?;
    while let Some(row) = rows.next()? {
        sha.update(format!("\n{:?}", text(row)?));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Db, Which};
    use crate::queue::{self, Kind, NewTask};
    use crate::scheduler::IngestContext;
    use crate::sourcing::vendors_from;
    use crate::testkit::{Kit, range};
    use std::cell::Cell;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn row(symbol: &str, dataset: &str) -> NewTask {
        let (dataset, symbol, vendor) = (dataset.to_string(), symbol.to_string(), "alpaca".to_string());
        NewTask { dataset, symbol, range: range("2017-01-01", "2018-01-01"), kind: Kind::Gap, priority: 1, vendor, not_before: None, run_id: None }
    }

    #[test]
    fn a_look_is_made_again_when_what_it_follows_from_has_changed_and_only_then() {
        let kit = Kit::new();
        kit.stage(&["AAA"]);
        let (host, window) = (kit.root.host().clone(), range("2017-01-01", "2018-03-01"));
        let db = Arc::new(Db::open(&kit.root, Which::Node).unwrap());
        let vendors = vendors_from(&host, &kit.root, &BTreeMap::new()).unwrap();
        let node = Node::new(IngestContext::new(&host, &kit.root, db, vendors, "node-1").unwrap());
        let (looks, mut last) = (Cell::new(0), None);
        let mut look = |meanwhile: &dyn Fn()| {
            let before = looks.get();
            look(&node, window, OF_ACTIONS, &mut last, false, || {
                looks.set(before + 1);
                meanwhile();
                Ok(())
            })
            .unwrap();
            looks.get() > before
        };
        // This database is open twice, as in two processes.
        let other = |task: NewTask| kit.db.write(|tx| queue::seed(tx, kit.root.host().now(), &[task]).map(drop)).unwrap();
        let nothing = || {};
        assert!(look(&nothing) && !look(&nothing), "nothing has changed");
        other(row("AAA", dataset::EQUITIES_EOD));
        assert!(!look(&nothing), "bars that wait are none of its business");
        other(row("AAA", dataset::CORP_ACTIONS));
        assert!(look(&nothing) && !look(&nothing));
        kit.db.write(|tx| Ok(tx.execute("UPDATE backfill_queue SET status = 'FAILED' WHERE dataset = 'corp_actions'", [])?)).unwrap();
        assert!(look(&nothing) && !look(&nothing), "a row that waited has failed");
        kit.db.write(crate::segment::answers_changed).unwrap();
        assert!(look(&|| other(row("BBB", dataset::CORP_ACTIONS))), "an answer came");
        assert!(look(&nothing), "what another process did meanwhile may have been missed");
        kit.stage(&["AAA", "BBB"]);
        assert!(look(&nothing) && !look(&nothing));
        let endpoints = DataPath::new("control/configs/endpoints.yml").unwrap();
        store::write_atomic(&kit.root, &endpoints, b"other lanes").unwrap();
        assert!(look(&nothing) && !look(&nothing));
        host.block_on(host.sleep(std::time::Duration::from_secs(86_400))).unwrap();
        assert!(look(&nothing) && !look(&nothing), "another session is over");
    }
}
