//! What each vendor's free plan allows, counted on the server's side: the other half of a client's budget ledger.
//!
//! Off unless the fault plan says `limits: long` (windows of an hour and more) or `limits: all`. The world clock moves only
//! when told and knows nothing of a client's own short waits, so seconds and minutes are for clients that move it.

use super::wire::{Call, Reply};
use super::{finnhub, fmp, massive, sec, tiingo};
use crate::time::{TradingDay, UtcTime, new_york};
use serde::Deserialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Which windows are enforced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Enforce {
    #[default]
    Off,
    Long,
    All,
}

/// A window of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    Second,
    Minute,
    /// From one full hour to the next.
    Hour,
    /// The last 24 hours: the vendor does not say when its day begins.
    Day,
    /// From midnight in New York.
    EasternDay,
    /// Distinct symbols of a calendar month.
    SymbolsOfMonth,
}

/// The free plans; the SEC counts over both of its hosts.
pub const PLANS: &[(&str, &[(Window, usize)])] = &[
    ("alpaca_data", &[(Window::Minute, 200)]),
    ("alpha_vantage", &[(Window::Second, 1), (Window::Day, 25)]),
    ("finnhub", &[(Window::Second, 30), (Window::Minute, 60)]),
    ("fmp", &[(Window::Second, 5), (Window::Day, 250)]),
    ("fred", &[(Window::Second, 2)]),
    ("massive", &[(Window::Minute, 5)]),
    ("sec", &[(Window::Second, 10)]),
    ("tiingo", &[(Window::Hour, 50), (Window::EasternDay, 1_000), (Window::SymbolsOfMonth, 500)]),
];

/// Silence after too many calls to the SEC; asking meanwhile begins it anew.
const SEC_SILENCE_SECONDS: i64 = 600;
/// How far back Massive's free plan reaches.
const MASSIVE_DEPTH_DAYS: i32 = 731;

/// Calls that were let through.
#[derive(Debug, Default)]
pub struct Meter {
    calls: BTreeMap<&'static str, VecDeque<UtcTime>>,
    symbols: BTreeSet<(i16, String, String)>,
    silent_until: Option<UtcTime>,
}

impl Meter {
    /// The refusal that a call earns at `now`; without one it is counted.
    pub fn refuse(&mut self, call: &Call, now: UtcTime, enforce: Enforce) -> Option<Reply> {
        let service = if call.vendor.starts_with("sec_") { "sec" } else { call.vendor.as_str() };
        let (service, plan) = PLANS.iter().find(|(name, _)| *name == service).filter(|_| enforce > Enforce::Off)?;
        if *service == "sec" && self.silent_until.is_some_and(|t| now < t) {
            self.silent_until = Some(now.plus_seconds(SEC_SILENCE_SECONDS));
            return Some(sec::blocked("Request Rate Threshold Exceeded"));
        }
        if *service == "massive" && beyond_depth(call, now) {
            return Some(massive::not_authorized("Your plan doesn't include this data timeframe."));
        }
        for (window, most) in plan.iter().filter(|(w, _)| enforce == Enforce::All || !matches!(w, Window::Second | Window::Minute)) {
            let spent = match window {
                Window::SymbolsOfMonth => self.distinct(call, now),
                window => self.calls.get(service).map_or(0, |c| c.iter().rev().take_while(|t| within(*window, **t, now)).count()),
            };
            if spent >= *most {
                self.silent_until = (*service == "sec").then(|| now.plus_seconds(SEC_SILENCE_SECONDS)).or(self.silent_until);
                return Some(refusal(service, *window, now));
            }
        }
        let log = self.calls.entry(service).or_default();
        log.push_back(now);
        while log.front().is_some_and(|t| now.seconds_since(*t) > 25.0 * 3_600.0) {
            log.pop_front();
        }
        if let Some(symbol) = symbol_of(call) {
            self.symbols.insert(month_of(service, symbol, now));
        }
        None
    }

    /// Symbols of this month, not counting one that was asked for before.
    fn distinct(&self, call: &Call, now: UtcTime) -> usize {
        let Some(symbol) = symbol_of(call) else { return 0 };
        let key = month_of(&call.vendor, symbol, now);
        if self.symbols.contains(&key) { 0 } else { self.symbols.iter().filter(|(y, m, _)| (*y, m) == (key.0, &key.1)).count() }
    }
}

fn month_of(service: &str, symbol: &str, now: UtcTime) -> (i16, String, String) {
    let day = now.day_in(&new_york());
    (day.year(), format!("{service} {}", &day.to_string()[5..7]), symbol.to_string())
}

fn symbol_of(call: &Call) -> Option<&str> {
    match call.segments().as_slice() {
        ["tiingo", "daily", ticker, ..] => Some(ticker),
        _ => None,
    }
}

fn within(window: Window, then: UtcTime, now: UtcTime) -> bool {
    let hour = |t: UtcTime| t.micros().div_euclid(3_600_000_000);
    match window {
        Window::Second => now.seconds_since(then) < 1.0,
        Window::Minute => now.seconds_since(then) < 60.0,
        Window::Hour => hour(then) == hour(now),
        Window::Day => now.seconds_since(then) < 86_400.0,
        Window::EasternDay | Window::SymbolsOfMonth => then.day_in(&new_york()) == now.day_in(&new_york()),
    }
}

/// Whether an aggregate of Massive's begins before the plan does.
fn beyond_depth(call: &Call, now: UtcTime) -> bool {
    let first = now.day_in(&new_york()).plus_days(-MASSIVE_DEPTH_DAYS);
    let segments = call.segments();
    let from = match segments.as_slice() {
        ["v2", "aggs", "ticker", _, "range", _, _, from, _] => from,
        ["v2", "aggs", "grouped", .., day] => day,
        _ => return false,
    };
    let ms = || from.parse::<i64>().ok().map(|ms| UtcTime::from_micros(ms.saturating_mul(1_000)).day_in(&new_york()));
    from.parse::<TradingDay>().ok().or_else(ms).is_some_and(|d| d < first)
}

/// Too much, in each vendor's own words and status.
pub fn refusal(service: &str, window: Window, now: UtcTime) -> Reply {
    match service {
        "alpaca_data" => {
            let reply = Reply::message(429, "too many requests.").with_header("X-RateLimit-Limit", "200").with_header("X-RateLimit-Remaining", "0");
            reply.with_header("X-RateLimit-Reset", now.plus_seconds(60).micros().div_euclid(1_000_000).to_string())
        }
        "alpha_vantage" => {
            let name = if window == Window::Second { "errors/av_information_burst.json" } else { "errors/av_information_day.json" };
            Reply::text(200, "application/json", super::faults::fixture(name).unwrap_or_default())
        }
        "finnhub" => finnhub::error(429, "API limit reached. Please try again later. Remaining Limit: 0"),
        "fmp" => {
            fmp::error(429, "Limit Reach . Please upgrade your plan or visit our documentation for more details at https://site.financialmodelingprep.com/")
        }
        "fred" => Reply::json(429, &json!({"error_code": 429, "error_message": "Too Many Requests. Exceeded Rate Limit."})),
        "massive" => massive::error(429, "You've exceeded the maximum requests per minute, please wait or upgrade your subscription to continue."),
        "sec" => sec::blocked("Request Rate Threshold Exceeded"),
        _ => {
            let what = match window {
                Window::Hour => "hourly request allocation",
                Window::SymbolsOfMonth => "monthly unique symbol request allocation",
                _ => "daily request allocation",
            };
            tiingo::detail(
                429,
                &format!("Error: You have run over your {what}. Please upgrade at https://api.tiingo.com/pricing to have your limits increased."),
            )
        }
    }
}
