//! Where calls leave a drive: second and minute windows that several processes on it share.
//!
//! `control/locks/calls-<vendor>` holds moment and weight of every call of the last minute, 16 bytes each, under an OS lock. The
//! moments count from the machine's start ([`Host::steady`]), so that setting its clock neither empties a window nor fills one.
//! After a start of the machine an old moment looks later than now, and counts as now, or earlier, by less than has really gone
//! by: too much is counted for at most a minute, never too little. So does what cannot be read.
//!
//! The file is not waited for on its way to the drive: when the power fails, the calls of the last moments may be forgotten, and
//! a machine that is up again within the minute may then send that many too many. The vendor's refusal ends it.

use super::WindowSpec;
use super::pacer::{held_until, is_live, room};
use crate::error::{Error, Result, code};
use crate::host::Host;
use crate::root::{DataPath, DataRoot};
use crate::time::UtcTime;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

/// How soon one looks again at a file that another process holds.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How long a file that is held for a moment only is waited for: whoever holds it longer was stopped, and may never go on.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A moment and a weight.
const BYTES: usize = 16;

/// What became of an attempt to leave.
enum Pass {
    /// The call leaves now, and is counted.
    Through,
    /// The windows are full for so long.
    Wait(Duration),
    /// Another process holds the file.
    Held,
}

/// Count a call of this weight, which leaves now, once the windows have room for it. Whether it waited.
pub(super) async fn pass(host: &Host, drive: &DataRoot, vendor: &str, specs: &[WindowSpec], weight: u64, patience: Duration) -> Result<bool> {
    if specs.is_empty() {
        return Ok(false);
    }
    let path = path_of(vendor)?;
    let place = drive.locate(&path);
    if let Some(folder) = place.parent().filter(|f| !f.exists()) {
        crate::store::create_folder(folder)?;
    }
    let (mut held, mut waited) = (Duration::ZERO, false);
    loop {
        match attempt(host, &place, specs, weight).map_err(|e| Error::from(e).during(path.as_str()))? {
            Pass::Through => return Ok(waited),
            Pass::Wait(wait) => {
                waited = true;
                host.check_cancelled()?;
                host.sleep(wait).await;
                held = Duration::ZERO;
            }
            Pass::Held if held >= patience => {
                return Err(Error::new(code::SSD_HELD, text!("another process holds {path}"))
                    .cause(text!("it has been locked for {} seconds, and is needed for a moment only", patience.as_secs()))
                    .fix("trademl status (who is at work; one that was stopped must go on or end)"));
            }
            Pass::Held => {
                waited = true;
                host.check_cancelled()?;
                host.wait_for_others(LOOK_AGAIN).await;
                held += LOOK_AGAIN;
            }
        }
    }
}

fn path_of(vendor: &str) -> Result<DataPath> {
    DataPath::new(format!("control/locks/calls-{vendor}"))
}

/// What the file holds at this moment, for somebody who only looks: nobody is held up, and what another process is writing just then
/// may be seen half.
pub(super) fn stored(drive: &DataRoot, vendor: &str) -> Vec<(UtcTime, u64)> {
    let bytes = path_of(vendor).ok().and_then(|path| std::fs::read(drive.locate(&path)).ok()).unwrap_or_default();
    bytes.chunks_exact(BYTES).map(call).collect()
}

fn attempt(host: &Host, place: &Path, specs: &[WindowSpec], weight: u64) -> std::io::Result<Pass> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(place)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Pass::Held),
        Err(TryLockError::Error(e)) => return Err(e),
    }
    let passed = under_lock(host, &mut file, specs, weight);
    file.unlock()?;
    passed
}

fn under_lock(host: &Host, file: &mut File, specs: &[WindowSpec], weight: u64) -> std::io::Result<Pass> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    // Read after the lock was taken: nobody who had it before can have written a later moment of this start of the machine.
    let now = host.steady();
    let stored: Vec<(UtcTime, u64)> = bytes.chunks_exact(BYTES).map(call).collect();
    let from_elsewhere = stored.iter().any(|(at, _)| *at > now);
    let mut calls: Vec<(UtcTime, u64)> = stored.into_iter().map(|(at, n)| (at.min(now), n)).filter(|(at, _)| is_live(*at, now, specs)).collect();
    calls.sort_unstable();
    let wait = |spec: &WindowSpec| {
        let inside = calls.iter().map(|(at, n)| (held_until(*at, spec.per), *n)).filter(|(until, _)| now < *until);
        room(inside, now, spec.calls.max(weight) - weight)
    };
    let wait = specs.iter().filter_map(wait).max();
    if wait.is_none() {
        calls.push((now, weight));
    }
    // A moment that counts as now must be that moment the next time too, or it would never pass.
    if wait.is_none() || from_elsewhere {
        let bytes: Vec<u8> = calls.iter().flat_map(|(at, n)| [at.micros().to_le_bytes(), n.to_le_bytes()].concat()).collect();
        file.rewind()?;
        file.write_all(&bytes)?;
        file.set_len(bytes.len() as u64)?;
    }
    Ok(wait.map_or(Pass::Through, Pass::Wait))
}

fn call(record: &[u8]) -> (UtcTime, u64) {
    let number = |at: usize| record.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
    (UtcTime::from_micros(number(0).cast_signed()), number(8).min(1 << 32))
}
