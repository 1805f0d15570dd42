//! The SEC's dialect on its two hosts: companies' numbers by filing (`data.sec.gov`) and the list of tickers (`www.sec.gov`).
//!
//! Whoever does not say who is asking, with an address, is an undeclared tool: 403 with a page of HTML. Facts appear on the
//! day on which they were filed and never before.

use super::wire::{Call, Reply};
use super::world::{Company, World};
use crate::time::{TradingDay, UtcTime, new_york};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Answer one call at `now`.
pub fn answer(world: &World, now: UtcTime, call: &Call) -> Reply {
    if !call.header("user-agent").is_some_and(|agent| agent.contains('@')) {
        return blocked("Undeclared Automated Tool");
    }
    let today = now.day_in(&new_york());
    let reply = match (call.vendor.as_str(), call.segments().as_slice()) {
        ("sec_data", ["api", "xbrl", "companyfacts", file]) => company(world, file).map(|c| facts(c, today)),
        ("sec_data", ["submissions", file]) => company(world, file).map(|c| submissions(world, c, today)),
        ("sec_www", ["files", "company_tickers.json"]) => Some(tickers(world)),
        _ => None,
    };
    reply.unwrap_or_else(missing)
}

/// What is answered to a tool that is not welcome, or too fast.
pub fn blocked(reason: &str) -> Reply {
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><title>SEC.gov | {reason}</title></head><body><h1>Your Request Originates from an {reason}</h1>\
         <p>To allow for equitable access to all users, SEC reserves the right to limit requests originating from undeclared automated tools.</p></body></html>\n"
    );
    Reply::text(403, "text/html", page)
}

/// A file that is not there, in the words of the store behind the host.
fn missing() -> Reply {
    Reply::text(
        404,
        "application/xml",
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>",
    )
}

fn company<'w>(world: &'w World, file: &str) -> Option<&'w Company> {
    let cik = file.strip_prefix("CIK")?.strip_suffix(".json")?;
    world.companies.iter().find(|c| c.cik == cik)
}

/// The company's file without what was filed after `today`. A concept that is not reported yet is not there.
fn facts(company: &Company, today: TradingDay) -> Reply {
    let Ok(mut body) = serde_json::from_slice::<Value>(&company.facts) else { return missing() };
    let known = |fact: &Value| filed(fact).is_some_and(|d| d <= today);
    for concepts in body.get_mut("facts").and_then(Value::as_object_mut).into_iter().flat_map(|t| t.values_mut()).filter_map(Value::as_object_mut) {
        for units in concepts.values_mut().filter_map(|c| c.get_mut("units").and_then(Value::as_object_mut)) {
            units.values_mut().filter_map(Value::as_array_mut).for_each(|list| list.retain(known));
            units.retain(|_, list| list.as_array().is_some_and(|l| !l.is_empty()));
        }
        concepts.retain(|_, c| c["units"].as_object().is_some_and(|u| !u.is_empty()));
    }
    Reply::ok(&body)
}

fn filed(fact: &Value) -> Option<TradingDay> {
    fact.get("filed")?.as_str()?.parse().ok()
}

/// The company's filings as columns, newest first, as far as its facts tell them, and an 8-K on every day on which it reported.
fn submissions(world: &World, company: &Company, today: TradingDay) -> Reply {
    let Ok(body) = serde_json::from_slice::<Value>(&company.facts) else { return missing() };
    let mut filings: BTreeMap<(TradingDay, String), (String, String)> = BTreeMap::new();
    for r in world.reports.iter().filter(|r| Some(&r.symbol) == company.ticker.as_ref() && r.withdrawn.is_none() && r.date <= today) {
        filings.insert((r.date, format!("{}-8K-{}", company.cik, r.date)), ("8-K".into(), r.date.to_string()));
    }
    let taxonomies = body["facts"].as_object().into_iter().flat_map(Map::values).filter_map(Value::as_object);
    let units = taxonomies.flat_map(Map::values).filter_map(|c| c["units"].as_object()).flat_map(Map::values).filter_map(Value::as_array);
    let text = |fact: &Value, name: &str| fact[name].as_str().unwrap_or_default().to_string();
    for fact in units.flatten() {
        if let Some(day) = filed(fact).filter(|d| *d <= today) {
            let report = filings.entry((day, text(fact, "accn"))).or_insert_with(|| (text(fact, "form"), String::new()));
            report.1 = report.1.clone().max(text(fact, "end"));
        }
    }
    let rows: Vec<_> = filings.iter().rev().collect();
    let column = |get: &dyn Fn(&(&(TradingDay, String), &(String, String))) -> Value| Value::Array(rows.iter().map(get).collect());
    let recent = json!({"accessionNumber": column(&|r| json!(r.0.1)), "filingDate": column(&|r| json!(r.0.0)), "reportDate": column(&|r| json!(r.1.1)),
        "acceptanceDateTime": column(&|r| json!(format!("{}T16:30:00.000Z", r.0.0))), "form": column(&|r| json!(r.1.0)),
        "items": column(&|r| json!(if r.1.0 == "8-K" { "2.02,9.01" } else { "" }))});
    let tickers: Vec<&String> = company.ticker.iter().collect();
    Reply::ok(&json!({"cik": company.cik, "entityType": "operating", "name": company.name, "tickers": tickers, "exchanges": [], "formerNames": [],
        "filings": {"recent": recent, "files": []}}))
}

fn tickers(world: &World) -> Reply {
    let known = world.companies.iter().filter_map(|c| Some((c, c.ticker.as_ref()?)));
    let row = |(i, (c, ticker)): (usize, (&Company, &String))| {
        (i.to_string(), json!({"cik_str": c.cik.trim_start_matches('0').parse::<u64>().unwrap_or(0), "ticker": ticker, "title": c.name}))
    };
    Reply::ok(&Value::Object(known.enumerate().map(row).collect()))
}
