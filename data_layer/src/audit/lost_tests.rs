//! A newer answer that is gone takes its news with it: what the vendor said before is not GREEN, and the question is asked again.

use super::*;
use crate::bookmarks::{self, Bookmark, Key};
use crate::segment::Manifest;
use crate::testkit::{Kit, bar_at, day, good_bars, range};

#[test]
fn lesson_028_a_revision_that_was_set_aside_is_asked_again_and_leaves_nothing_green_meanwhile() {
    let (kit, window) = (Kit::new(), range("2017-01-03", "2017-01-06"));
    kit.stage(&["AAA"]);
    kit.listings("2018-01-02", &[("AAA", Some("2010-01-04"), None)]);
    reference::refresh_reference(&kit.root, &kit.db).unwrap();
    let revised: Vec<_> = good_bars(&["AAA"], window).iter().map(|b| bar_at("AAA", b.day, 111.0)).collect();
    let answered = |m: &Manifest| {
        let key = Key { vendor: "alpaca", dataset: dataset::EQUITIES_EOD, symbol: "AAA", range: window };
        let mark = Bookmark { cursor: None, pages: 1, rows: 3, complete: true, updated_at: m.ingested_at };
        kit.db.write(|tx| bookmarks::exact_from(tx, m.ingested_at).and_then(|()| bookmarks::put(tx, &key, &mark))).unwrap();
    };
    let codes = |depth| {
        audit_scan(&kit.root, &kit.db, &Default::default(), depth, day("2017-01-05"), window).unwrap();
        let rows = ledger::all_rows(&kit.db).unwrap().into_iter().filter(|r| r.key.table_name == table::RAW_EQUITIES_BARS);
        rows.map(|r| r.verdict.qc_code).collect::<Vec<_>>()
    };
    answered(&kit.commit("alpaca", &["AAA"], window, &good_bars(&["AAA"], window)));
    let newer = kit.commit("alpaca", &["AAA"], window, &revised);
    answered(&newer);
    assert_eq!(codes(AuditScope::Incremental), ["OK"; 3]);
    let all = segment::manifests_for(&kit.root, table::RAW_EQUITIES_BARS).unwrap();
    let path = &all.iter().find(|(_, m)| *m == newer).unwrap().0;
    segment::set_aside(&kit.root, path).unwrap();
    let held: Vec<&Manifest> = all.iter().map(|(_, m)| m).filter(|m| **m != newer).collect();
    assert_eq!(crate::lost::find(&kit.db, None, &held).unwrap().len(), 1, "the older answer is not the answer");
    // By the audit that misses the manifest, by those after it, and by one that reads everything.
    assert_eq!(codes(AuditScope::Incremental), ["MISSING"; 3]);
    kit.listings("2018-01-02", &[("AAA", Some("2010-01-05"), None)]);
    reference::refresh_reference(&kit.root, &kit.db).unwrap();
    assert_eq!(codes(AuditScope::Incremental), ["MISSING"; 3]);
    assert_eq!(codes(AuditScope::Full), ["MISSING"; 3]);
    answered(&kit.commit("alpaca", &["AAA"], window, &revised));
    assert_eq!(codes(AuditScope::Incremental), ["OK"; 3]);
}
