//! Rows present against rows expected, for partitions of many rows (minutes).

use super::{QcCode, QcConfig};

/// Judge a partition of `rows` rows where the calendar expects `expected` (already shortened on scheduled early closes).
/// A short session within the half-day band is AMBER: exchanges have closed early without a schedule.
pub fn judge_count(rows: u64, expected: u64, config: &QcConfig) -> QcCode {
    if rows == 0 {
        return QcCode::Missing;
    }
    let share = rows as f64 / expected.max(1) as f64;
    if share > config.suspicious_above {
        return QcCode::LongSession;
    }
    if share >= config.red_below {
        return QcCode::Ok;
    }
    let (low, high) = config.half_day;
    if (low..high).contains(&share) { QcCode::ShortSession } else { QcCode::MissingRows }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lesson_027_row_counts_are_judged_against_the_calendar() {
        let judge = |rows| judge_count(rows, 390, &QcConfig::default());
        assert_eq!(judge(390), QcCode::Ok);
        assert_eq!(judge(351), QcCode::Ok);
        assert_eq!(judge(350), QcCode::ShortSession);
        assert_eq!(judge(176), QcCode::ShortSession);
        assert_eq!(judge(175), QcCode::MissingRows);
        assert_eq!(judge(468), QcCode::Ok);
        assert_eq!(judge(469), QcCode::LongSession);
        assert_eq!(judge(0), QcCode::Missing);
    }
}
