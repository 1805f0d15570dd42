//! The fault plan: which calls go wrong, and how. Parsing and selection only; [`super::inject`] carries it out.

use super::limits::Enforce;
use super::wire::Call;
use crate::error::{Error, Result, code};
use crate::time::{TradingDay, UtcTime, new_york};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::Path;

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Do {
    /// Answer with `status` (and `retry_after`, and `text` or `fixture`).
    Status,
    /// Close the connection without an answer; the request is not carried out.
    Reset,
    /// Answer after `seconds` of real time.
    Slow,
    /// Send about half of the answer, then close the connection.
    Truncate,
    /// HTTP 200 with a web page.
    Html,
    /// `status` (200) with the body of `fixture` or `text`.
    Body,
    /// Every last bar of a symbol (or last element of a list) twice.
    DuplicateRows,
    /// Leave out the bars of `session` (without it: the newest).
    DropSession,
    /// Refuse as outside the plan.
    Entitlement,
    /// Pages of at most `rows` (1) rows, with a token.
    PageShort,
    /// Carry the request out, then close the connection without an answer.
    LostAck,
    /// Carry the request out, then answer 500.
    ErrorAfter,
    /// Answer 500 and carry nothing out.
    ErrorBefore,
    /// Rows or orders of another symbol (`as_symbol`) than was asked for.
    WrongSymbol,
    /// Send the answer a few bytes at a time, over `seconds` (5) of real time.
    Drip,
    /// A small compressed answer that unpacks to `mib` (1,024) MiB.
    GzipBomb,
    /// Bars of the last `seconds` (7,200) of world time after a close are not there yet.
    LateBars,
    /// Prices of `session` (without it: the newest) times `factor` (1.01), as if corrected since.
    Revise,
    /// All prices times `factor` (100).
    Scale,
    /// Clocks in answers are `seconds` (300) ahead.
    ClockSkew,
    /// The page after this one is this one again.
    CursorLoop,
    /// An order's execution at the open is known only `seconds` (1800) later.
    LateFill,
    /// Half of an order fills at the open, the rest `seconds` later, or never where none are given.
    PartialFill,
    /// An order executes `rows` (1) shares more than it asked for.
    Overfill,
    /// An event of the order stream is sent twice.
    DuplicateEvent,
    /// An event of the order stream is held back until after the next.
    ReorderEvents,
    /// The order stream breaks off before the event.
    DropStream,
    /// The account's amounts come with the exponent `rows` (2) in place of their own.
    WrongMoneyDigits,
    /// A list of orders has one of somebody else in `as_symbol` (AAPL), of a kind that a small client does not read: a trailing stop
    /// over dollars, good for the close.
    ForeignOrder,
    /// The list of symbols has `as_symbol` a second time, as `NAME.US`.
    TwinSymbol,
    /// The list of symbols has `as_symbol` in another currency.
    ForeignSymbol,
}

impl Do {
    /// Something that happens to an order in the market, not to a call.
    pub(super) fn is_of_the_market(self) -> bool {
        matches!(self, Self::LateFill | Self::PartialFill | Self::Overfill)
    }
    /// Something that happens to an event of the order stream.
    pub(super) fn is_of_the_stream(self) -> bool {
        matches!(self, Self::DuplicateEvent | Self::ReorderEvents | Self::DropStream)
    }
}

/// One line of the plan: selectors (all must hold), then what to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// `*` stands for any characters, `?` for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The request names this symbol (in `symbols`, `symbol` or its JSON body).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// The request's `start` to `end` holds this session; without a window: the world's date is it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<TradingDay>,
    /// World time, included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<UtcTime>,
    /// World time, excluded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<UtcTime>,
    /// From the n-th matching request on, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nth: Option<u64>,
    /// This many matching requests; 1 when only `nth` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// Probability, drawn from the seed and the request's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
    #[serde(rename = "do")]
    pub action: Do,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Seconds, for the header `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// A built-in body (`errors/av_information_day.json`, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixture: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_symbol: Option<String>,
    /// What prices are multiplied by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// Size of a bomb, unpacked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mib: Option<u32>,
    /// Matching requests seen so far.
    #[serde(skip)]
    seen: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    limits: Enforce,
    #[serde(default)]
    faults: Vec<Fault>,
}

/// A plan and how far it has got.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    seed: u64,
    /// Which windows of the vendors' plans are enforced.
    pub(super) limits: Enforce,
    faults: Vec<Fault>,
}

/// Bodies that a plan may name.
const FIXTURES: &[(&str, &str)] = &[
    ("errors/av_information_day.json", include_str!("../../assets/sandbox/errors/av_information_day.json")),
    ("errors/av_information_burst.json", include_str!("../../assets/sandbox/errors/av_information_burst.json")),
    ("errors/av_premium.json", include_str!("../../assets/sandbox/errors/av_premium.json")),
    ("errors/av_invalid_call.json", include_str!("../../assets/sandbox/errors/av_invalid_call.json")),
    ("errors/alpaca_recent_sip.json", include_str!("../../assets/sandbox/errors/alpaca_recent_sip.json")),
];

/// The text of a built-in body.
pub fn fixture(name: &str) -> Option<&'static str> {
    FIXTURES.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
}

impl Plan {
    pub fn parse(text: &str) -> Result<Self> {
        let file: File = super::yaml(text).map_err(|e| e.during("the fault plan"))?;
        if file.version != 1 {
            return Err(Error::new(code::CFG_VALUE, format!("the fault plan is version {}, this program reads version 1", file.version)));
        }
        for (i, fault) in file.faults.iter().enumerate() {
            check(fault).map_err(|e| e.during(&format!("fault {}", i + 1)))?;
        }
        Ok(Self { seed: file.seed, limits: file.limits, faults: file.faults })
    }

    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&std::fs::read_to_string(path).map_err(|e| Error::from(e).during(&format!("reading {}", path.display())))?)
    }

    pub fn len(&self) -> usize {
        self.faults.len()
    }

    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// The first fault that this call meets; every selector's counter moves on. `number` is the vendor's running number.
    pub fn pick(&mut self, call: &Call, now: UtcTime, number: u64) -> Option<Fault> {
        let seed = self.seed;
        self.faults.iter_mut().enumerate().find_map(|(i, fault)| {
            if fault.action.is_of_the_market() || fault.action.is_of_the_stream() || !fault.selects(call, now) {
                return None;
            }
            fault.seen += 1;
            let first = fault.nth.unwrap_or(1);
            let times = fault.times.or(fault.nth.map(|_| 1)).unwrap_or(u64::MAX);
            let due = fault.seen >= first && fault.seen - first < times;
            (due && fault.p.is_none_or(|p| draw(seed, i, number) < p)).then(|| fault.clone())
        })
    }

    /// The first fault that befalls an order (or an event) named `id` in `symbol`: drawn from the seed and the id alone, so
    /// that a sandbox which is started again does the same.
    pub(super) fn befalls(&self, kind: fn(Do) -> bool, symbol: &str, id: &str, now: UtcTime) -> Option<&Fault> {
        self.faults.iter().enumerate().find_map(|(i, fault)| {
            let meant = kind(fault.action) && fault.symbol.as_ref().is_none_or(|s| s == symbol);
            let then = fault.from.is_none_or(|t| t <= now) && fault.to.is_none_or(|t| now < t);
            (meant && then && fault.p.is_none_or(|p| draw_of(&format!("{}|{i}|{id}", self.seed)) < p)).then_some(fault)
        })
    }
}

fn check(fault: &Fault) -> Result<()> {
    let bad = |what: String| Err(Error::new(code::CFG_VALUE, what));
    let counts = fault.nth.is_some() || fault.times.is_some();
    let calls = fault.vendor.is_some() || fault.path.is_some() || fault.method.is_some() || fault.session.is_some();
    if (fault.action.is_of_the_market() || fault.action.is_of_the_stream()) && (counts || calls) {
        return bad(format!("{:?} happens to orders: it takes symbol, from, to and p only", fault.action));
    }
    if fault.factor.is_some_and(|f| !f.is_finite() || f <= 0.0) || fault.seconds.is_some_and(|s| !s.is_finite()) {
        return bad("factor must be above 0 and seconds a number".into());
    }
    if fault.mib.is_some_and(|n| n == 0 || n > 4_096) {
        return bad("mib must lie between 1 and 4096".into());
    }
    if fault.p.is_some_and(|p| !(0.0..=1.0).contains(&p)) {
        return bad("p must lie between 0 and 1".into());
    }
    if fault.nth == Some(0) {
        return bad("nth counts from 1".into());
    }
    if fault.status.is_some_and(|s| !(200..=599).contains(&s)) {
        return bad("status must lie between 200 and 599".into());
    }
    if fault.action == Do::Status && fault.status.is_none() {
        return bad("'do: status' needs a status".into());
    }
    if fault.action == Do::Body && fault.fixture.is_none() && fault.text.is_none() {
        return bad("'do: body' needs a fixture or a text".into());
    }
    if let Some(name) = &fault.fixture
        && fixture(name).is_none()
    {
        let known: Vec<&str> = FIXTURES.iter().map(|(n, _)| *n).collect();
        return Err(Error::new(code::CFG_VALUE, format!("there is no fixture '{name}'")).fix(format!("use one of: {}", known.join(", "))));
    }
    Ok(())
}

impl Fault {
    fn selects(&self, call: &Call, now: UtcTime) -> bool {
        self.vendor.as_ref().is_none_or(|v| *v == call.vendor)
            && self.method.as_ref().is_none_or(|m| m.eq_ignore_ascii_case(&call.method))
            && self.path.as_ref().is_none_or(|p| glob(p.as_bytes(), call.path.as_bytes()))
            && self.from.is_none_or(|t| t <= now)
            && self.to.is_none_or(|t| now < t)
            && self.symbol.as_ref().is_none_or(|s| names_symbol(call, s))
            && self.session.is_none_or(|day| covers(call, now, day))
    }
}

fn names_symbol(call: &Call, symbol: &str) -> bool {
    ["symbols", "symbol", "ticker"].iter().flat_map(|name| call.list(name)).any(|s| s == symbol)
        || call.segments().contains(&symbol)
        || call.json().get("symbol").and_then(|s| s.as_str()) == Some(symbol)
}

fn covers(call: &Call, now: UtcTime, day: TradingDay) -> bool {
    let edge = |names: &[&str]| names.iter().find_map(|n| call.arg(n)).and_then(|t| t.get(..10)).and_then(|t| t.parse::<TradingDay>().ok());
    match (edge(&["start", "startDate", "from"]), edge(&["end", "endDate", "to"]), edge(&["date"])) {
        (None, None, None) => now.day_in(&new_york()) == day,
        (_, _, Some(date)) => date == day,
        (start, end, None) => start.is_none_or(|s| s <= day) && end.is_none_or(|e| day <= e),
    }
}

/// A number in `[0, 1)` that depends only on the seed, the fault's place and the request's number.
fn draw(seed: u64, place: usize, number: u64) -> f64 {
    draw_of(&format!("{seed}|{place}|{number}"))
}

fn draw_of(text: &str) -> f64 {
    let digest = Sha256::digest(text.as_bytes());
    let head = digest.iter().take(6).fold(0u64, |acc, b| acc << 8 | u64::from(*b));
    head as f64 / (1u64 << 48) as f64
}

/// `*` and `?` against bytes.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.first(), text.first()) {
        (None, None) => true,
        (Some(b'*'), _) => glob(&pattern[1..], text) || (!text.is_empty() && glob(pattern, &text[1..])),
        (Some(b'?'), Some(_)) => glob(&pattern[1..], &text[1..]),
        (Some(p), Some(t)) if p == t => glob(&pattern[1..], &text[1..]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(vendor: &str, method: &str, path: &str, query: &[(&str, &str)]) -> Call {
        let query = query.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Call { vendor: vendor.into(), method: method.into(), path: path.into(), query, ..Call::default() }
    }

    fn at(s: &str) -> UtcTime {
        UtcTime::parse(s).unwrap()
    }

    #[test]
    fn selectors_choose_by_vendor_path_time_symbol_and_session() {
        let text = "version: 1\nseed: 7\nfaults:\n  - {vendor: alpaca_data, path: '/v2/stocks/bars*', symbol: AAPL, session: '2017-12-04', from: '2017-12-04T14:30:00Z', to: '2017-12-05T15:00:00Z', do: status, status: 429, retry_after: 30}\n";
        let mut plan = Plan::parse(text).unwrap();
        let good = call("alpaca_data", "GET", "/v2/stocks/bars", &[("symbols", "A,AAPL"), ("start", "2017-12-01"), ("end", "2017-12-04T21:00:00Z")]);
        let now = at("2017-12-04T21:30:00Z");
        assert_eq!(plan.pick(&good, now, 1).unwrap().retry_after, Some(30));
        assert!(plan.pick(&good, at("2017-12-05T15:00:00Z"), 2).is_none());
        assert!(plan.pick(&call("alpaca_trading", "GET", "/v2/stocks/bars", &[("symbols", "AAPL")]), now, 3).is_none());
        assert!(plan.pick(&call("alpaca_data", "GET", "/v1/corporate-actions", &[("symbols", "AAPL")]), now, 4).is_none());
        assert!(plan.pick(&call("alpaca_data", "GET", "/v2/stocks/bars", &[("symbols", "A,C")]), now, 5).is_none());
        let other_days = call("alpaca_data", "GET", "/v2/stocks/bars", &[("symbols", "AAPL"), ("start", "2017-11-01"), ("end", "2017-11-30")]);
        assert!(plan.pick(&other_days, now, 6).is_none());
    }

    #[test]
    fn nth_times_and_p_count_matching_requests() {
        let mut plan =
            Plan::parse("version: 1\nfaults: [{vendor: alpha_vantage, nth: 3, times: 2, do: body, fixture: errors/av_information_day.json}]").unwrap();
        let av = call("alpha_vantage", "GET", "/query", &[]);
        let hits: Vec<bool> = (1..=6).map(|n| plan.pick(&av, at("2017-01-03T00:00:00Z"), n).is_some()).collect();
        assert_eq!(hits, [false, false, true, true, false, false]);
        let mut plan = Plan::parse("version: 1\nseed: 7\nfaults: [{p: 0.3, do: reset}]").unwrap();
        let n = (0..1000).filter(|n| plan.pick(&av, at("2017-01-03T00:00:00Z"), *n).is_some()).count();
        assert!((250..350).contains(&n), "{n}");
    }

    #[test]
    fn plans_that_cannot_be_carried_out_are_refused() {
        for bad in [
            "{do: scale, factor: 0}",
            "{do: gzip_bomb, mib: 0}",
            "{do: nonsense}",
            "{do: status}",
            "{do: body}",
            "{do: reset, p: 2}",
            "{do: body, fixture: errors/no.json}",
            "{do: reset, when: now}",
        ] {
            assert!(Plan::parse(&format!("version: 1\nfaults: [{bad}]")).is_err(), "{bad}");
        }
        assert!(Plan::parse("version: 2\nfaults: []").is_err());
        assert!(Plan::parse("version: 1\nfaults: [{do: late_fill, nth: 2}]").is_err());
        assert!(Plan::parse("version: 1\nfaults: [{do: late_fill, symbol: AAPL, p: 0.5}]").is_ok());
    }
}
