//! Where calls leave a drive: second and minute windows that several processes on it share.
//!
//! `control/locks/calls-<vendor>` holds moment and weight of every call of the last minute, 16 bytes each, under an OS lock. It
//! is not waited for on its way to the drive: a minute after it was written it is void, and a machine that lost its power has
//! been silent for longer than that. What cannot be read in it is forgotten.

use super::WindowSpec;
use super::pacer::{is_live, room};
use crate::error::{Error, Result};
use crate::root::{DataPath, DataRoot};
use crate::time::UtcTime;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

/// A moment and a weight.
const BYTES: usize = 16;

/// Count a call of this weight, which leaves now, or say how long it has to wait.
pub(super) fn pass(root: &DataRoot, vendor: &str, specs: &[WindowSpec], weight: u64) -> Result<Option<Duration>> {
    if specs.is_empty() {
        return Ok(None);
    }
    let path = DataPath::new(format!("control/locks/calls-{vendor}"))?;
    let place = root.locate(&path);
    if let Some(folder) = place.parent().filter(|f| !f.exists()) {
        crate::store::create_folder(folder)?;
    }
    through(root, &place, specs, weight).map_err(|e| Error::from(e).during(path.as_str()))
}

fn through(root: &DataRoot, place: &Path, specs: &[WindowSpec], weight: u64) -> std::io::Result<Option<Duration>> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(place)?;
    file.lock()?;
    let passed = under_lock(root, &mut file, specs, weight);
    file.unlock()?;
    passed
}

fn under_lock(root: &DataRoot, file: &mut File, specs: &[WindowSpec], weight: u64) -> std::io::Result<Option<Duration>> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    // Read after the lock was taken: nobody who had it before can have written a later moment.
    let now = root.host().now();
    let mut calls: Vec<(UtcTime, u64)> = bytes.chunks_exact(BYTES).map(call).filter(|(at, _)| is_live(*at, now, specs)).collect();
    calls.sort_unstable();
    let wait = |spec: &WindowSpec| {
        let length = spec.per.seconds();
        let inside = calls.iter().filter(|(at, _)| now.seconds_since(*at) < length as f64);
        room(inside.map(|(at, n)| (at.plus_seconds(length), *n)), now, spec.calls.max(weight) - weight)
    };
    if let Some(wait) = specs.iter().filter_map(wait).max() {
        return Ok(Some(wait));
    }
    calls.push((now, weight));
    let bytes: Vec<u8> = calls.iter().flat_map(|(at, n)| [at.micros().to_le_bytes(), n.to_le_bytes()].concat()).collect();
    file.rewind()?;
    file.write_all(&bytes)?;
    file.set_len(bytes.len() as u64)?;
    Ok(None)
}

fn call(record: &[u8]) -> (UtcTime, u64) {
    let number = |at: usize| record.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
    (UtcTime::from_micros(number(0).cast_signed()), number(8).min(1 << 32))
}
