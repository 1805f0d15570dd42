use super::*;
use crate::host::{FakeHost, Host};
use crate::root::FsFacts;
use polars::prelude::{Column, NamedFrom, Series};

fn root() -> (tempfile::TempDir, DataRoot) {
    let dir = tempfile::tempdir().unwrap();
    let root = DataRoot::create(&Host::fake(FakeHost::default()), dir.path(), "real", FsFacts::default(), None).unwrap();
    (dir, root)
}
fn frame(symbol: &str, close: f64) -> DataFrame {
    DataFrame::new(1, vec![Column::from(Series::new("symbol".into(), vec![symbol])), Column::from(Series::new("close".into(), vec![close]))]).unwrap()
}
fn range() -> DateRange {
    DateRange::new("2017-01-01".parse().unwrap(), "2018-01-01".parse().unwrap()).unwrap()
}

#[test]
fn lesson_026_interleaved_writers_never_replace_each_others_rows() {
    let (_dir, root) = root();
    let mut paths = std::collections::BTreeSet::new();
    for i in 0..20 {
        for close in [1.0, 2.0] {
            let symbols = [format!("S{i:02}")];
            let place = Place { table: "raw/equities_bars", vendor: "alpaca", tf: "1d", range: range(), symbols: &symbols };
            let segment = write(&root, &place, &mut frame(&symbols[0], close)).unwrap();
            assert_eq!(write(&root, &place, &mut frame(&symbols[0], close)).unwrap(), segment, "the same rows are the same file");
            paths.insert(segment.path);
        }
    }
    assert_eq!(paths.len(), 40);
    assert_eq!(store::list(&root, &DataPath::new("raw").unwrap()).unwrap().len(), 40);
}

#[test]
fn names_hold_encoded_symbols_and_a_manifest_of_another_world_is_refused() {
    let (_dir, root) = root();
    let symbols = ["BRK/B".to_string()];
    let place = Place { table: "raw/equities_bars", vendor: "alpaca", tf: "1d", range: range(), symbols: &symbols };
    let segment = write(&root, &place, &mut frame("BRK/B", 1.0)).unwrap();
    assert!(segment.path.as_str().starts_with("raw/equities_bars/src=alpaca/tf=1d/y=2017/2017-01-01_2018-01-01_BRK~2FB_"), "{}", segment.path);
    let mut manifest = Manifest {
        v: 1,
        dataset: "equities_eod".into(),
        table: "raw/equities_bars".into(),
        tf: "1d".into(),
        vendor: "alpaca".into(),
        segments: vec![segment],
        requests: Vec::new(),
        asked: Asked { symbols: symbols.to_vec(), t0: range().start, t1: range().end, under: BTreeMap::new() },
        complete: true,
        ingested_at: UtcTime::parse("2026-11-20T10:00:00Z").unwrap(),
        node_id: "n".into(),
        code: "c".into(),
        world: "real".into(),
    };
    let path = write_manifest(&root, &manifest).unwrap();
    assert!(path.as_str().starts_with("manifests/equities_bars/alpaca/2026-11-20/000001-"), "{path}");
    assert_eq!(manifests_for(&root, "raw/equities_bars").unwrap(), [(path, manifest.clone())]);
    manifest.world = "replay@1".into();
    assert!(write_manifest(&root, &manifest).unwrap_err().is(code::CFG_DATASET_MIXED));
}
