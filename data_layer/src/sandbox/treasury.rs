//! The Treasury's dialect: the daily par yield curve of a year (or a month) as an Atom feed. No key.
//!
//! The world's macro series whose names begin with `BC_` are the tenors. A tenor without a value on a day is an empty tag
//! with `m:null`; a world without such series answers a feed without entries.

use super::wire::{Call, Reply};
use super::world::World;
use crate::time::{TradingDay, UtcTime, new_york};
use std::collections::BTreeMap;

const PATH: &str = "/resource-center/data-chart-center/interest-rates/pages/xml";

/// Answer one call at `now`.
pub fn answer(world: &World, now: UtcTime, call: &Call) -> Reply {
    if call.path != PATH || call.arg("data") != Some("daily_treasury_yield_curve") {
        return Reply::text(404, "text/html", "<!DOCTYPE html><html><head><title>Page not found</title></head><body><h1>Page not found</h1></body></html>");
    }
    let period = call.arg("field_tdr_date_value").or(call.arg("field_tdr_date_value_month")).unwrap_or_default();
    let today = now.day_in(&new_york());
    let within = |day: TradingDay| format!("{:04}{}", day.year(), &day.to_string()[5..7]).starts_with(period);
    let mut days: BTreeMap<TradingDay, BTreeMap<&str, Option<f64>>> = BTreeMap::new();
    for m in world.macros.iter().filter(|m| m.series.starts_with("BC_") && m.from <= today && within(m.observed)) {
        // In order of publication: the last word stands.
        days.entry(m.observed).or_default().insert(&m.series, m.value);
    }
    let mut feed = String::from(
        "<?xml version=\"1.0\" encoding=\"utf-8\" standalone=\"yes\"?>\n<feed xml:base=\"http://data.treasury.gov/Feed.svc/\" \
         xmlns:d=\"http://schemas.microsoft.com/ado/2007/08/dataservices\" xmlns:m=\"http://schemas.microsoft.com/ado/2007/08/dataservices/metadata\" \
         xmlns=\"http://www.w3.org/2005/Atom\">\n<title type=\"text\">DailyTreasuryYieldCurveRateData</title>\n",
    );
    feed.push_str(&format!("<updated>{now}</updated>\n"));
    for (day, tenors) in &days {
        feed.push_str(&entry(*day, tenors));
    }
    feed.push_str("</feed>\n");
    Reply::text(200, "application/xml; charset=utf-8", feed)
}

fn entry(day: TradingDay, tenors: &BTreeMap<&str, Option<f64>>) -> String {
    let mut out = format!("<entry><content type=\"application/xml\"><m:properties><d:NEW_DATE m:type=\"Edm.DateTime\">{day}T00:00:00</d:NEW_DATE>");
    for (name, value) in tenors {
        match value {
            Some(v) => out.push_str(&format!("<d:{name} m:type=\"Edm.Double\">{v}</d:{name}>")),
            None => out.push_str(&format!("<d:{name} m:type=\"Edm.Double\" m:null=\"true\" />")),
        }
    }
    out.push_str("</m:properties></content></entry>\n");
    out
}
