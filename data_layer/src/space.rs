//! Room on the drive: a warning, a level at which nothing new is fetched, and a reserve that lets the databases say so.

use crate::error::{Error, Result, code};
use crate::root::{DataPath, DataRoot};
use crate::sourcing::settings::Disk;
use crate::store;
use crate::time::TradingDay;
use std::collections::BTreeMap;

/// The file that is given up when the drive is full.
pub const RESERVE: &str = "control/reserve.bin";

/// How full the file system of a drive is. Of blocks and inodes the fuller one counts: either stops every write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Room {
    /// Bytes that an ordinary user may still write.
    pub free_bytes: u64,
    /// Share in use, from 0 to 1.
    pub used: f64,
}

/// What follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Fine,
    /// Room is getting short: said, and nothing else.
    Warn,
    /// No task is leased until there is room again.
    Stop,
}

/// Look at the drive.
pub fn room(root: &DataRoot) -> Result<Room> {
    let s = rustix::fs::statvfs(root.base()).map_err(|e| Error::from(std::io::Error::from(e)).during("looking at the room on the drive"))?;
    // As `df` counts: room that is kept for the administrator is neither in use nor free.
    let share = |free: u64, left: u64, all: u64| {
        let used = all.saturating_sub(free);
        if used + left == 0 { 0.0 } else { used as f64 / (used + left) as f64 }
    };
    let used = share(s.f_bfree, s.f_bavail, s.f_blocks).max(share(s.f_ffree, s.f_favail, s.f_files));
    Ok(Room { free_bytes: s.f_bavail.saturating_mul(s.f_frsize), used })
}

impl Room {
    pub fn level(&self, limits: &Disk) -> Level {
        if self.used >= limits.stop {
            Level::Stop
        } else if self.used >= limits.warn {
            Level::Warn
        } else {
            Level::Fine
        }
    }
    /// What a person is told when collecting has stopped for want of room.
    pub fn refusal(&self, limits: &Disk) -> Error {
        Error::new(code::SSD_FULL, "the drive is nearly full: nothing new is fetched")
            .cause(text!(
                "{:.1} % of it is in use, and collecting stops at {:.0} % so that databases and reports still have room",
                self.used * 100.0,
                limits.stop * 100.0
            ))
            .found(text!("{} MB are free", self.free_bytes / 1_000_000))
            .fix("free some space on the drive, then run the same command again")
    }
}

/// Set the reserve aside, unless it is there already or there is no room for it. `true` when it stands.
pub fn keep_reserve(root: &DataRoot, limits: &Disk) -> Result<bool> {
    let path = DataPath::new(RESERVE)?;
    let bytes = limits.reserve_mib << 20;
    let place = root.locate(&path);
    if std::fs::metadata(&place).is_ok_and(|m| m.len() >= bytes) {
        return Ok(true);
    }
    if room(root)?.free_bytes < bytes.saturating_mul(2) {
        return Ok(false);
    }
    store::allocate(root, &path, bytes)?;
    Ok(true)
}

/// Give the reserve up: what must still be written has that much room.
pub fn release_reserve(root: &DataRoot) -> Result<()> {
    store::remove(root, &DataPath::new(RESERVE)?)
}

/// Where bodies are kept that could not be used, a folder a day.
const BODIES: &str = "raw/_quarantine";
/// For so many days …
const BODIES_DAYS: i32 = 90;
/// … and so many bytes, the oldest day going first.
const BODIES_BYTES: u64 = 1 << 30;

/// Forget bodies that were kept for inspection and that nobody inspected; how many files. What was set aside because a manifest
/// vouched for it lies beside these folders and stays.
pub fn tidy_bodies(root: &DataRoot, today: TradingDay) -> Result<u64> {
    tidy_bodies_to(root, today, BODIES_BYTES)
}

fn tidy_bodies_to(root: &DataRoot, today: TradingDay, most: u64) -> Result<u64> {
    let mut days: BTreeMap<TradingDay, Vec<(DataPath, u64)>> = BTreeMap::new();
    for path in store::list(root, &DataPath::new(BODIES)?)? {
        let day = path.as_str().strip_prefix(BODIES).and_then(|rest| rest.trim_start_matches('/').split_once('/')?.0.parse().ok());
        let Some(day) = day else { continue };
        let bytes = std::fs::metadata(root.locate(&path)).map_or(0, |m| m.len());
        days.entry(day).or_default().push((path, bytes));
    }
    let mut held: u64 = days.values().flatten().map(|(_, bytes)| bytes).sum();
    let mut removed = 0;
    for (day, files) in days {
        if today.0 - day.0 <= BODIES_DAYS && held <= most {
            break;
        }
        held -= files.iter().map(|(_, bytes)| bytes).sum::<u64>();
        removed += files.len() as u64;
        store::remove_folder(root, &DataPath::new(format!("{BODIES}/{day}"))?)?;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::Kit;

    #[test]
    fn bodies_that_nobody_inspected_are_forgotten_and_what_was_vouched_for_is_not() {
        let kit = Kit::new();
        let put = |path: &str| store::write_atomic(&kit.root, &DataPath::new(path).unwrap(), &[0; 100]).map(drop).unwrap();
        for path in ["2017-01-02/a.gz", "2017-01-02/a.json", "2017-06-01/b.gz", "2017-06-02/c.gz", "raw~equities_bars~x.parquet~0123"] {
            put(&format!("{BODIES}/{path}"));
        }
        let left = || store::list(&kit.root, &DataPath::new(BODIES).unwrap()).unwrap().len();
        let today: TradingDay = "2017-06-03".parse().unwrap();
        assert_eq!((tidy_bodies(&kit.root, today).unwrap(), left()), (2, 3), "older than ninety days");
        assert_eq!((tidy_bodies_to(&kit.root, today, 150).unwrap(), left()), (1, 2), "the older of two days that are too much together");
        assert_eq!((tidy_bodies_to(&kit.root, today, 0).unwrap(), left()), (1, 1));
    }

    #[test]
    fn lesson_040_levels_follow_the_share_in_use_and_the_reserve_comes_and_goes() {
        let limits = Disk { warn: 0.85, stop: 0.92, reserve_mib: 1 };
        for (used, level) in [(0.2, Level::Fine), (0.85, Level::Warn), (0.919, Level::Warn), (0.92, Level::Stop), (1.0, Level::Stop)] {
            assert_eq!(Room { free_bytes: 1, used }.level(&limits), level, "{used}");
        }
        let kit = Kit::new();
        let now = room(&kit.root).unwrap();
        assert!(now.free_bytes > 0 && (0.0..=1.0).contains(&now.used));
        assert!(keep_reserve(&kit.root, &limits).unwrap() && keep_reserve(&kit.root, &limits).unwrap());
        let place = kit.place(&DataPath::new(RESERVE).unwrap());
        assert_eq!(std::fs::metadata(&place).unwrap().len(), 1 << 20);
        release_reserve(&kit.root).unwrap();
        release_reserve(&kit.root).unwrap();
        assert!(!place.exists());
        assert!(now.refusal(&limits).body().cause.as_ref().unwrap().contains("92 %"));
    }
}
