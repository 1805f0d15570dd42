//! What an answer means: one ordered rule for every vendor.
//!
//! Status and structured codes decide before any text does. The body of a success is a refusal only by its *structure*
//! (Alpha Vantage: an object whose only key is `Information`, `Note` or `Error Message`; Tiingo: an object with `detail`
//! where a list is due; Finnhub: a page of HTML); only then is its text read. It is never searched for words like "plan"
//! or "code": headlines and `mic_code` contain them. A text that fits two classes takes the shorter freeze.

use crate::budget::Per;
use crate::sourcing::Vendor;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// The class of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Class {
    /// A success by its structure: decode it.
    Ok,
    /// Trouble that may pass by itself.
    Transient,
    /// The key is wrong.
    BadKey,
    /// Too much was asked; `seconds` is how long to stay silent when no header says so.
    RateLimited {
        per: Option<Per>,
        seconds: Option<f64>,
    },
    /// The window reaches into data that is not served yet.
    WindowTooFresh,
    /// The window begins before the plan does.
    BeyondDepth,
    /// The window holds more than one call may carry.
    SplitWindow,
    /// The plan does not include this lane.
    NotEntitled,
    UnknownSymbol,
    /// An order id was used before: look the order up.
    Duplicate,
    /// A write was refused for its contents.
    Refused,
    /// Not the lane's format: never taken for empty.
    Malformed,
    /// Nothing there, said properly.
    ValidEmpty,
    /// Nothing there, said in a way that needs a second opinion.
    SuspiciousEmpty,
    /// A refusal that was never seen before: stop the lane, keep the body, tell the user.
    Unclassified,
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    pub vendor: Vendor,
    pub status: u16,
    /// Lower-case names.
    pub headers: &'a BTreeMap<String, String>,
    pub body: &'a [u8],
}

/// A class with the vendor's own words (not yet redacted), at most 300 characters of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub class: Class,
    pub words: String,
}

/// Apply the rule; the first test that fits wins.
pub fn classify(a: &Answer<'_>) -> Verdict {
    let good = (200..300).contains(&a.status);
    // A good body may have tens of megabytes, and only these vendors ever refuse with one.
    let may_refuse = !good || matches!(a.vendor, Vendor::AlphaVantage | Vendor::Tiingo | Vendor::Finnhub);
    let json: Option<Top> = if may_refuse { serde_json::from_slice(a.body).ok() } else { None };
    let class = if good { success(a, json.as_ref()) } else { refusal(a, json.as_ref()) };
    let words = if class == Class::Ok { String::new() } else { words_of(a.body, json.as_ref()) };
    Verdict { class, words }
}

/// The outermost object of an answer. Nothing below its own fields is kept: as a tree, a large answer takes ten times its length.
type Top = BTreeMap<String, Field>;

/// What a refusal may hold in a field; everything else is passed over.
#[derive(Debug, PartialEq)]
enum Field {
    Text(String),
    Number(i64),
    Other,
}

impl Field {
    fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
    fn as_i64(&self) -> Option<i64> {
        if let Self::Number(n) = self { Some(*n) } else { None }
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(FieldVisitor)
    }
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = Field;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_str<E>(self, text: &str) -> Result<Field, E> {
        Ok(Field::Text(text.to_string()))
    }
    fn visit_i64<E>(self, n: i64) -> Result<Field, E> {
        Ok(Field::Number(n))
    }
    fn visit_u64<E>(self, n: u64) -> Result<Field, E> {
        Ok(i64::try_from(n).map_or(Field::Other, Field::Number))
    }
    fn visit_f64<E>(self, _: f64) -> Result<Field, E> {
        Ok(Field::Other)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Field, E> {
        Ok(Field::Other)
    }
    fn visit_unit<E>(self) -> Result<Field, E> {
        Ok(Field::Other)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Field, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Field, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }
}

/// The text of a refusal: its message field if it has one, else the beginning of the body.
fn words_of(body: &[u8], json: Option<&Top>) -> String {
    let field = json.and_then(|v| {
        ["message", "error_message", "error", "detail", "Information", "Note", "Error Message"].iter().find_map(|k| v.get(*k).and_then(Field::as_str))
    });
    let text = field.map_or_else(|| String::from_utf8_lossy(&body[..body.len().min(2_000)]).into_owned(), str::to_string);
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect()
}

fn limited(per: Per) -> Class {
    Class::RateLimited { per: Some(per), seconds: None }
}

fn is_html(body: &[u8]) -> bool {
    let start: String = String::from_utf8_lossy(&body[..body.len().min(200)]).trim_start().chars().take(15).collect();
    let start = start.to_ascii_lowercase();
    start.starts_with("<!doctype") || start.starts_with("<html")
}

/// A 2xx: a refusal only by structure.
fn success(a: &Answer<'_>, json: Option<&Top>) -> Class {
    if is_html(a.body) {
        return Class::Malformed;
    }
    match (a.vendor, json) {
        (Vendor::AlphaVantage, Some(map)) => match map.iter().next() {
            None => Class::SuspiciousEmpty,
            Some((key, Field::Text(text))) if map.len() == 1 && matches!(key.as_str(), "Information" | "Note" | "Error Message") => {
                alpha_vantage_refusal(key, text)
            }
            _ => Class::Ok,
        },
        (Vendor::Tiingo, Some(map)) => match map.get("detail") {
            Some(Field::Text(text)) => tiingo_text(text).unwrap_or(Class::Unclassified),
            _ => Class::Ok,
        },
        (Vendor::Finnhub, Some(map)) if map.get("s").and_then(Field::as_str) == Some("no_data") => Class::ValidEmpty,
        _ => Class::Ok,
    }
}

/// The one vendor that refuses with HTTP 200. The burst text also names the day's limit and the premium plans, so it is
/// tested first: it asks for the shortest silence.
fn alpha_vantage_refusal(key: &str, text: &str) -> Class {
    let lower = text.to_ascii_lowercase();
    if key == "Error Message" {
        return if lower.contains("apikey is invalid") { Class::BadKey } else { Class::UnknownSymbol };
    }
    if lower.contains("per second") {
        return Class::RateLimited { per: Some(Per::Second), seconds: Some(1.5) };
    }
    if lower.contains("per minute") {
        return limited(Per::Minute);
    }
    if lower.contains("per day") {
        return limited(Per::Day);
    }
    if lower.contains("premium endpoint") {
        return Class::NotEntitled;
    }
    Class::Unclassified
}

fn tiingo_text(text: &str) -> Option<Class> {
    let lower = text.to_ascii_lowercase();
    if lower.contains("allocation") {
        let per = if lower.contains("hourly") {
            Per::Hour
        } else if lower.contains("month") {
            Per::Month
        } else {
            Per::Day
        };
        return Some(limited(per));
    }
    if lower.contains("do not have permission") {
        return Some(Class::NotEntitled);
    }
    lower.contains("not found").then_some(Class::UnknownSymbol)
}

/// Everything but a 2xx.
fn refusal(a: &Answer<'_>, json: Option<&Top>) -> Class {
    let lower = words_of(a.body, json).to_ascii_lowercase();
    if bad_key(a, &lower) {
        return Class::BadKey;
    }
    if let Some(class) = rate(a, json, &lower) {
        return class;
    }
    if let Some(class) = special(a, json, &lower) {
        return class;
    }
    match a.status {
        402 | 403 if refused_by_plan(a, json, &lower) => Class::NotEntitled,
        404 => Class::UnknownSymbol,
        500..=599 | 408 => Class::Transient,
        // Only public services refuse with a page: others' is a gateway's between us, whatever words are on it.
        _ if is_html(a.body) && !matches!(a.vendor, Vendor::SecEdgar | Vendor::Treasury) => Class::Transient,
        _ => Class::Unclassified,
    }
}

fn bad_key(a: &Answer<'_>, lower: &str) -> bool {
    let known = match a.vendor {
        // Alpaca answers a wrong key with 403 and nothing but this word.
        Vendor::Alpaca => a.status == 403 && matches!(lower.trim_end_matches('.'), "forbidden"),
        Vendor::Fred => a.status == 400 && lower.contains("api_key is not registered"),
        _ => false,
    };
    a.status == 401 || known
}

fn rate(a: &Answer<'_>, json: Option<&Top>, lower: &str) -> Option<Class> {
    let code = json.and_then(|v| v.get("code").or_else(|| v.get("error_code"))).and_then(Field::as_i64);
    let text = match a.vendor {
        Vendor::Tiingo => tiingo_text(lower).filter(|c| matches!(c, Class::RateLimited { .. })),
        Vendor::Fmp if lower.contains("limit reach") => Some(limited(Per::Day)),
        _ => None,
    };
    if text.is_some() || (a.status != 429 && code != Some(429)) {
        return text;
    }
    Some(match a.vendor {
        Vendor::SecEdgar => Class::RateLimited { per: None, seconds: Some(600.0) },
        Vendor::Fred => Class::RateLimited { per: Some(Per::Second), seconds: Some(20.0) },
        Vendor::Fmp => limited(Per::Day),
        Vendor::Alpaca | Vendor::Massive | Vendor::Finnhub => limited(Per::Minute),
        _ => Class::RateLimited { per: None, seconds: None },
    })
}

/// Refusals that hold plan words or a plain 4xx and mean something else.
fn special(a: &Answer<'_>, json: Option<&Top>, lower: &str) -> Option<Class> {
    match (a.vendor, a.status) {
        (Vendor::SecEdgar, 403) if is_html(a.body) || lower.contains("request rate threshold") || lower.contains("undeclared automated tool") => {
            Some(Class::RateLimited { per: None, seconds: Some(600.0) })
        }
        (Vendor::Massive, 403) if lower.contains("data timeframe") => Some(Class::BeyondDepth),
        (Vendor::Massive, 403) if lower.contains("before end of day") => Some(Class::WindowTooFresh),
        (Vendor::Alpaca, 403) if lower.contains("recent sip") => Some(Class::WindowTooFresh),
        (Vendor::Alpaca, 403) if json.and_then(|v| v.get("code")).and_then(Field::as_i64) == Some(40_310_000) => Some(Class::Refused),
        (Vendor::Alpaca, 422) if lower.contains("client_order_id must be unique") => Some(Class::Duplicate),
        (Vendor::Alpaca, 422) => Some(Class::Refused),
        (Vendor::Alpaca, 400) if lower.contains("invalid symbol") => Some(Class::UnknownSymbol),
        (Vendor::Fred, 400) if lower.contains("maximum number of vintage dates") => Some(Class::SplitWindow),
        (Vendor::Fred, 400) if lower.contains("does not exist") => Some(Class::UnknownSymbol),
        // An address of ours that the vendor has retired: a bug, not a plan.
        (Vendor::Fmp, 403) if lower.contains("legacy endpoint") => Some(Class::Unclassified),
        _ => None,
    }
}

/// What this vendor says, and no other, when the plan does not hold a lane. Anybody's page may say "not authorized" or "upgrade",
/// and a lane that is taken for refused stays closed for a day at least.
fn refused_by_plan(a: &Answer<'_>, json: Option<&Top>, lower: &str) -> bool {
    let says = |words: &[&str]| words.iter().any(|w| lower.contains(w));
    match a.vendor {
        Vendor::Alpaca => json.is_some() && says(&["subscription does not permit"]),
        Vendor::Tiingo => json.is_some() && says(&["do not have permission"]),
        Vendor::Massive => json.is_some_and(|v| v.get("status").and_then(Field::as_str) == Some("NOT_AUTHORIZED")) || json.is_some() && says(&["not entitled"]),
        Vendor::Finnhub => json.is_some() && says(&["don't have access to this resource"]),
        // In plain words as often as in JSON.
        Vendor::Fmp => !is_html(a.body) && says(&["premium", "special endpoint", "exclusive endpoint", "current subscription", "exclusively"]),
        Vendor::AlphaVantage => json.is_some() && says(&["premium endpoint"]),
        // Public services have no plans.
        Vendor::Fred | Vendor::SecEdgar | Vendor::Treasury => false,
    }
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
