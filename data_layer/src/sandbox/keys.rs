//! The practice keys, and what a wrong key earns.

use super::wire::{Call, Reply};
use crate::time::UtcTime;

/// Keys that open the sandbox and nothing else. They are public: a real vendor refuses them.
pub const ALPACA_ID: &str = "PKSANDBOX00000000001";
pub const ALPACA_SECRET: &str = "sandbox-practice-secret-opens-nothing-real";
pub const ALPHA_VANTAGE: &str = "SANDBOXPRACTICE1";
pub const FRED: &str = "5a4db0c5a4db0c5a4db0c5a4db0c5a4d";
pub const FINNHUB: &str = "sandboxpractice0finn";
pub const TIINGO: &str = "5a4db0c5a4db0c5a4db0c5a4db0c5a4db0c5a4db";
pub const MASSIVE: &str = "SandboxPracticeMassive0000000001";
pub const FMP: &str = "sandboxpractice0fmp0opens0nothing";
/// Who asks the SEC; no secret anywhere.
pub const SEC_CONTACT: &str = "Sandbox Practice practice@example.org";

pub const CTRADER_CLIENT_ID: &str = "1_sandboxpracticeclient";
pub const CTRADER_CLIENT_SECRET: &str = "sandbox-practice-client-secret";
pub const CTRADER_ACCESS: &str = "sandbox-practice-access-token";
pub const CTRADER_REFRESH: &str = "sandbox-practice-refresh-token";

/// The variables that hold a dialect's practice keys, with them.
pub fn of(dialect: &str) -> &'static [(&'static str, &'static str)] {
    match dialect {
        "alpaca_data" | "alpaca_trading" => &[("ALPACA_API_KEY", ALPACA_ID), ("ALPACA_API_SECRET", ALPACA_SECRET)],
        "alpha_vantage" => &[("ALPHA_VANTAGE_API_KEY", ALPHA_VANTAGE)],
        "ctrader_oauth" => {
            &[("CTRADER_CLIENT_ID", CTRADER_CLIENT_ID), ("CTRADER_CLIENT_SECRET", CTRADER_CLIENT_SECRET), ("CTRADER_ACCESS_TOKEN", CTRADER_ACCESS)]
        }
        "finnhub" => &[("FINNHUB_API_KEY", FINNHUB)],
        "fmp" => &[("FMP_API_KEY", FMP)],
        "fred" => &[("FRED_API_KEY", FRED)],
        "massive" => &[("MASSIVE_API_KEY", MASSIVE)],
        "sec_data" | "sec_www" => &[("SEC_CONTACT", SEC_CONTACT)],
        "tiingo" => &[("TIINGO_API_KEY", TIINGO)],
        _ => &[],
    }
}

/// Whether a call carries the practice key pair.
pub fn alpaca(call: &Call) -> bool {
    call.header("apca-api-key-id") == Some(ALPACA_ID) && call.header("apca-api-secret-key") == Some(ALPACA_SECRET)
}

/// Whether a call carries any Alpaca key at all.
pub fn alpaca_given(call: &Call) -> bool {
    call.header("apca-api-key-id").is_some_and(|k| !k.is_empty()) && call.header("apca-api-secret-key").is_some_and(|k| !k.is_empty())
}

/// The vendor's rate-limit headers. The world clock stands still between moves, so the window is always fresh.
pub fn rate_headers(reply: Reply, now: UtcTime) -> Reply {
    let reset = now.plus_seconds(60).micros().div_euclid(1_000_000);
    reply.with_header("X-RateLimit-Limit", "200").with_header("X-RateLimit-Remaining", "199").with_header("X-RateLimit-Reset", reset.to_string())
}
