//! The same data, configuration and seed give the same bytes, however many threads there are.

use crate::journey::{Machine, before, copy, fingerprint, play};
use std::collections::BTreeMap;

/// What `train` leaves behind on a copy of the journey's drive, with so many threads.
fn trained(threads: usize) -> BTreeMap<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("drive");
    copy(&before(1), &place);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| play(&place, &Machine::new("00000000000000aa"), None, 1).0).unwrap();
    fingerprint(&place)
}

#[test]
fn two_runs_of_train_with_one_and_two_threads_leave_the_same_bytes() {
    let (one, two) = (trained(1), trained(2));
    let artifacts = one.keys().filter(|k| k.starts_with("models/equities_xs/")).count();
    assert!(artifacts > 8, "model, ONNX twin, features, out-of-sample scores: {artifacts}");
    for (name, digest) in &one {
        assert_eq!(two.get(name), Some(digest), "{name}");
    }
    assert_eq!(one.len(), two.len());
}
