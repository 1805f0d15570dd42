//! Room on the drive: what a stage needs, what is there, and the refusal where the one exceeds the other.

use crate::kit::Act;
use data_layer::detect::human_bytes;
use data_layer::error::{Error, Result, code};
use data_layer::sourcing::BackfillConfig;

/// Bytes a symbol's session of daily bars takes in the end: raw, curated, ledger, manifests and exports together. Measured
/// on a filled practice drive: 147 MB for 125,800 of them, half of it the ledger.
const PER_DAILY_BAR: u64 = 1_200;

/// The same for a session of minute bars: at most 390 rows of some 24 bytes after compression, raw and curated.
const PER_MINUTE_SESSION: u64 = 20_000;

/// Journal, models, reports, logs and the reserve file.
const FIXED: u64 = 200_000_000;

/// Times the configured reserve that a new stage leaves free.
const RESERVES: u64 = 8;

/// What is to be stored.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    pub symbols: u64,
    pub daily_sessions: u64,
    pub minute_sessions: u64,
}

impl Need {
    pub fn bytes(self) -> u64 {
        FIXED + self.symbols * (self.daily_sessions * PER_DAILY_BAR + self.minute_sessions * PER_MINUTE_SESSION)
    }
}

/// Compare the need with the drive that holds the root. `Ok` is a line for the review; the refusal names both numbers.
pub fn judge(act: &Act<'_>, need: Need) -> Result<String> {
    let meant = crate::steps::unfinished::meant(act.host, act.root);
    let there = meant.ancestors().find(|dir| dir.exists()).unwrap_or(&meant);
    let base = there.canonicalize().unwrap_or_else(|_| there.to_path_buf());
    let (drive, _) = data_layer::detect::drives::for_directory(act.host, &base);
    let wanted = need.bytes();
    let Some(drive) = drive.filter(|d| d.total_bytes > 0) else {
        return Ok(text!("space: about {} are needed; how much is free could not be found out", human_bytes(wanted)));
    };
    let disk = BackfillConfig::load(act.root)?.disk;
    // Practice stops only where the drive is full, as its collecting does.
    let (warn, reserve) = if act.root.is_world() { (1.0, 0) } else { (disk.warn, RESERVES * disk.reserve_mib * 1_048_576) };
    verdict(wanted, drive.total_bytes, drive.free_bytes, warn, reserve, &drive.mount_point)
}

/// Refused where it does not fit beside the reserve; `warn` is the share of the drive from which a warning is due.
fn verdict(wanted: u64, total: u64, free: u64, warn: f64, reserve: u64, place: &str) -> Result<String> {
    let usable = free.saturating_sub(reserve);
    let text = text!("space: about {} needed, {} free on {place}", human_bytes(wanted), human_bytes(free));
    if wanted > usable {
        let what = text!("the drive has no room for this: {} are needed, {} may be used", human_bytes(wanted), human_bytes(usable));
        let error = Error::new(code::SSD_FULL, what);
        let left_alone = text!("{} are left alone, so that the databases can always be written", human_bytes(reserve));
        return Err(if reserve > 0 { error.cause(left_alone) } else { error }
            .found(text!("{} free of {} on {place}", human_bytes(free), human_bytes(total)))
            .fix(text!("free {} on {place}, then run the same command; every answer is kept", human_bytes(wanted - usable)))
            .fix("or choose fewer symbols: --set universe.source=file --set universe.file=PATH"));
    }
    let after = 1.0 - (free - wanted) as f64 / total as f64;
    if after > warn {
        return Ok(text!("{text}. WARNING: the drive will then be {:.0} % full; above {:.0} % is too full for comfort", after * 100.0, warn * 100.0));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_enough_tight_or_missing() {
        const GB: u64 = 1_000_000_000;
        let need = Need { symbols: 100, daily_sessions: 1_258, minute_sessions: 0 }.bytes();
        assert!((300_000_000..500_000_000).contains(&need), "{need}");
        let roomy = verdict(need, 931 * GB, 900 * GB, 0.85, GB, "/mnt/ssd").unwrap();
        assert!(roomy.contains("351.0 MB needed, 900.0 GB free") && !roomy.contains("WARNING"), "{roomy}");
        let tight = verdict(5 * GB, 100 * GB, 15 * GB, 0.85, GB, "/mnt/ssd").unwrap();
        assert!(tight.contains("WARNING") && tight.contains("90 % full"), "{tight}");
        let error = verdict(5 * GB, 100 * GB, 3 * GB, 0.85, GB, "/mnt/ssd").unwrap_err();
        assert!(error.is(code::SSD_FULL));
        assert!(error.body().what.contains("5.0 GB are needed, 2.0 GB may be used"), "{}", error.body().what);
        assert!(error.body().fix[0].contains("free 3.0 GB"), "{:?}", error.body().fix);
    }
}
