//! The `portfolio.schedule:` section: whether orders are sent whole for the open, or spread over the session.

use data_layer::error::{Error, Result, code};
use serde::{Deserialize, Serialize};

/// How an order is spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Whole, for the next open.
    #[default]
    None,
    /// Equal slices.
    Twap,
    /// Almgren and Chriss's trajectory: faster at first, the more the market moves and the less it takes.
    AlmgrenChriss,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "next_open",
            Self::Twap => "twap",
            Self::AlmgrenChriss => "almgren_chriss",
        }
    }
}

/// When and how large the slices are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    pub kind: Kind,
    /// The first minutes of a session are its dearest.
    pub start_after_open_min: u32,
    pub duration_min: u32,
    pub interval_s: u32,
    /// A slice's largest share of the average daily volume.
    pub max_slice_adv_share: f64,
    /// Almgren and Chriss's lambda, per dollar.
    pub risk_aversion: f64,
    /// The spread that impact is scaled from, as in their paper: one spread of temporary impact for each hundredth of the daily volume
    /// traded, one of permanent impact for each tenth.
    pub spread_bps: f64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { kind: Kind::None, start_after_open_min: 15, duration_min: 60, interval_s: 300, max_slice_adv_share: 0.01, risk_aversion: 1e-6, spread_bps: 2.0 }
    }
}

impl Schedule {
    pub fn validate(&self) -> Result<()> {
        let positive = |v: f64| v.is_finite() && v > 0.0;
        let times = (5..=330).contains(&self.duration_min) && (30..=300).contains(&self.interval_s) && self.start_after_open_min + self.duration_min <= 345;
        let sizes = positive(self.max_slice_adv_share) && self.max_slice_adv_share <= 0.05 && positive(self.spread_bps);
        if times && sizes && self.risk_aversion.is_finite() && self.risk_aversion >= 0.0 {
            return Ok(());
        }
        Err(Error::new(code::CFG_VALUE, "portfolio.schedule cannot be kept")
            .cause("it needs 5 to 330 minutes in steps of 30 to 300 seconds that end 45 minutes before a close, slices of at most 5 % of the daily volume, and numbers of at least 0")
            .found(format!("{self:?}")))
    }
    /// The schedule, unless orders go whole.
    pub fn spread(&self) -> Option<&Self> {
        (self.kind != Kind::None).then_some(self)
    }
}
