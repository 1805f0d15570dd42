//! cTrader's Open API on the wire: messages, frames, texts and TLS, as the broker's client and the sandbox's server both speak them.
//!
//! Messages are protobuf (proto2). Each travels inside an envelope that names its type and repeats the asker's own id; an
//! envelope is preceded by its length, or it is a text of JSON on a websocket ([`dialect`]). Field numbers and enum values follow Spotware's `.proto` files of 2025-07; a test
//! compares every one of them with the table in `tests/golden/ctrader`.

mod macros;
pub mod words;
pub mod models;
pub mod messages;
pub mod dialect;
pub mod frame;
pub mod json;
pub mod tls;

#[cfg(test)]
mod golden_tests;

use crate::time::UtcTime;
use prost::Message;

/// Where demo accounts are served, and live ones.
pub const DEMO_HOST: &str = "demo.ctraderapi.com";
pub const LIVE_HOST: &str = "live.ctraderapi.com";
/// The longest client order id.
pub const MAX_CLIENT_ORDER_ID: usize = 50;
/// The widest span of a list of orders, deals or cash flows, in milliseconds: a week.
pub const MAX_SPAN_MS: i64 = 604_800_000;
/// Prices of quotes are whole numbers of this part of a unit.
pub const QUOTE_UNITS: f64 = 100_000.0;
/// Volumes are whole numbers of this part of a unit.
pub const VOLUME_UNITS: f64 = 100.0;

/// One field of a message: name, number, label, type; for the comparison with the official table.
pub type Field = (&'static str, u32, &'static str, &'static str);

/// A message or a part of one, under its official name.
pub trait Named {
    const NAME: &'static str;
    const FIELDS: &'static [Field];
}

/// A message that travels by itself: its number, and its name.
pub trait Wire: Message + Named + Default {
    const PAYLOAD: u32;

    /// This message in an envelope.
    fn wrapped(&self, client_msg_id: Option<String>) -> messages::Envelope {
        messages::Envelope { payload_type: Self::PAYLOAD, payload: Some(self.encode_to_vec()), client_msg_id }
    }

    /// The account that an envelope of this kind names, 0 where the number is missing; `None` for a kind that names none.
    fn account_in(envelope: &messages::Envelope) -> Option<i64> {
        let named = Self::FIELDS.iter().any(|(name, number, ..)| *name == "ctidTraderAccountId" && *number == 2);
        named.then(|| About::decode(envelope.payload.as_deref().unwrap_or_default()).map_or(0, |a| a.account))
    }

    /// The message inside an envelope; `None` when it is another one, or cannot be read.
    fn unwrapped(envelope: &messages::Envelope) -> Option<Self> {
        (envelope.payload_type == Self::PAYLOAD).then(|| Self::decode(envelope.payload.as_deref().unwrap_or_default()).ok()).flatten()
    }
}

/// What every message about an account begins with.
#[derive(Clone, PartialEq, prost::Message)]
struct About {
    #[prost(int64, required, tag = 2)]
    account: i64,
}

/// Milliseconds since 1970, as every stamp of the protocol.
pub fn millis(t: UtcTime) -> i64 {
    t.micros().div_euclid(1_000)
}

/// The moment of a stamp; `None` for one that is not positive.
pub fn moment(ms: i64) -> Option<UtcTime> {
    (ms > 0).then(|| UtcTime::from_micros(ms.saturating_mul(1_000)))
}

/// An amount of money from a whole number and its exponent; `None` for an exponent that no currency has.
pub fn money(value: i64, digits: u32) -> Option<f64> {
    (digits <= 12).then(|| value as f64 / 10f64.powi(digits as i32))
}
