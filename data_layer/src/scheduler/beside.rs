//! Corporate actions that an answer about bars holds as well: an answer of their own, made of the same bytes.

use super::IngestContext;
use crate::bookmarks::{self, Bookmark};
use crate::error::Result;
use crate::queue::{self, Lease};
use crate::root::DataPath;
use crate::schema::{dataset, table};
use crate::segment::{self, Manifest, Place};
use crate::sourcing::Vendor;
use crate::vendor::Rows;
use rusqlite::Transaction;

/// The actions of all pages so far.
pub(super) fn joined(before: Option<Rows>, more: Rows) -> Rows {
    match before {
        None => more,
        Some(mut all) => {
            // Both are actions, so they fit.
            let _ = all.append(more);
            all
        }
    }
}

/// Write the actions that came with the bars of `main`, and their manifest. No action is an answer too.
pub(super) fn write(ctx: &IngestContext, vendor: Vendor, main: &Manifest, mut actions: Rows) -> Result<(DataPath, Manifest)> {
    // Sorting actions refuses nothing.
    let _ = actions.settle();
    let asked = crate::time::DateRange { start: main.asked.t0, end: main.asked.t1 };
    let mut segments = Vec::new();
    actions.each_frame(vendor, asked, &mut |range, mut frame, symbols| {
        let place = Place { table: table::RAW_CORP_ACTIONS, vendor: vendor.as_str(), tf: "none", range, symbols: &symbols };
        let segment = segment::write(&ctx.root, &place, &mut frame)?;
        ctx.host().ack("segment", &segment.sha256);
        segments.push(segment);
        Ok(())
    })?;
    let manifest = Manifest { dataset: dataset::CORP_ACTIONS.into(), table: table::RAW_CORP_ACTIONS.into(), tf: "none".into(), segments, ..main.clone() };
    Ok((segment::write_manifest(&ctx.root, &manifest)?, manifest))
}

/// Enter what was written into the tables, in the transaction that enters the bars.
pub(super) fn enter(tx: &Transaction<'_>, written: Option<&(DataPath, Manifest)>) -> Result<()> {
    let Some((path, manifest)) = written else { return Ok(()) };
    let fresh = segment::register(tx, path, manifest)?;
    queue::count(tx, "rows.raw", fresh)
}

/// Keep in mind that these actions were had, so that their loss is noticed and they are asked for again.
pub(super) fn remember(tx: &Transaction<'_>, vendor: Vendor, lease: &Lease, main: &Manifest) -> Result<()> {
    let key = bookmarks::Key { vendor: vendor.as_str(), dataset: dataset::CORP_ACTIONS, symbol: &lease.symbol, range: lease.range };
    bookmarks::put(tx, &key, &Bookmark { cursor: None, pages: 1, rows: 0, complete: true, updated_at: main.ingested_at })
}
