//! Option chains: quotes that cannot all be true at once, and those that are no quotes.

use super::{Classes, Section};
use crate::error::Result;
use crate::frame;
use crate::reference::sources;
use crate::root::DataRoot;
use crate::schema::table;
use crate::time::TradingDay;
use std::collections::{BTreeMap, BTreeSet};

/// A chain's side: underlying, day, expiry, right; strikes in thousandths with bid and ask.
type Sides = BTreeMap<(String, TradingDay, TradingDay, String), BTreeMap<i64, (f64, f64)>>;

pub(super) fn section(root: &DataRoot) -> Result<Option<Section>> {
    let mut sides = Sides::new();
    for (_, manifest) in sources::manifests(root, table::RAW_OPTIONS)? {
        for segment in &manifest.segments {
            let Ok(rows) = sources::read(root, segment)? else { continue };
            let (underlying, right) = (frame::texts(&rows, "underlying")?, frame::texts(&rows, "right")?);
            let (day, expiry) = (frame::days(&rows, "date")?, frame::days(&rows, "expiry")?);
            let (strike, bid, ask) = (frame::floats(&rows, "strike")?, frame::floats(&rows, "bid")?, frame::floats(&rows, "ask")?);
            for i in 0..rows.height() {
                let (Some(u), Some(r), Some(d), Some(e), Some(k)) = (underlying[i], right[i], day[i], expiry[i], strike[i]) else { continue };
                let side = sides.entry((u.to_string(), d, e, r.to_string())).or_default();
                side.insert((k * 1_000.0).round() as i64, (bid[i].unwrap_or(f64::NAN), ask[i].unwrap_or(f64::NAN)));
            }
        }
    }
    if sides.is_empty() {
        return Ok(None);
    }
    let mut out = Section { dataset: "options_chains".into(), ..Section::default() };
    let mut classes = Classes::default();
    for (key, strikes) in &sides {
        judge(key, strikes, &mut classes);
    }
    let underlyings: BTreeSet<&String> = sides.keys().map(|k| &k.0).collect();
    let expiries: BTreeSet<_> = sides.keys().map(|k| (&k.0, k.1, k.2)).collect();
    out.counts = BTreeMap::from([
        ("underlyings".into(), underlyings.len() as u64),
        ("expiries of a day".into(), expiries.len() as u64),
        ("quotes".into(), sides.values().map(|s| s.len() as u64).sum()),
    ]);
    out.anomalies = classes.explained(why);
    Ok(Some(out))
}

fn judge((underlying, day, expiry, right): &(String, TradingDay, TradingDay, String), strikes: &BTreeMap<i64, (f64, f64)>, classes: &mut Classes) {
    let name = |k: i64| format!("{underlying} {day} {expiry} {right} {}", k as f64 / 1_000.0);
    if expiry < day {
        classes.add("a contract that had expired", || text!("{underlying} {day}: {expiry}"));
    }
    // In the order in which worse strikes come: a call's bid never exceeds a lower strike's ask, a put's a higher one's.
    let ordered: Vec<(i64, (f64, f64))> = strikes.iter().map(|(k, q)| (*k, *q)).collect();
    let ordered: Vec<_> = if right == "C" { ordered } else { ordered.into_iter().rev().collect() };
    let mut cheapest = f64::INFINITY;
    for (k, (bid, ask)) in ordered {
        if bid.is_nan() || ask.is_nan() {
            classes.add("a side without a quote", || name(k));
        } else if bid > ask && ask > 0.0 {
            classes.add("the bid above the ask", || text!("{}: {bid} to {ask}", name(k)));
        } else if ask <= 0.0 {
            classes.add("no ask", || text!("{}: {bid} to {ask}", name(k)));
        } else if bid <= 0.0 {
            classes.add("no bid", || text!("{}: {bid} to {ask}", name(k)));
        }
        if bid > cheapest {
            classes.add("a worse strike bid above a better one's ask", || text!("{}: bid {bid}, a better strike at {cheapest}", name(k)));
        }
        if ask > 0.0 {
            cheapest = cheapest.min(ask);
        }
    }
}

fn why(class: &str) -> &'static str {
    match class {
        "no bid" => "Nobody pays for a contract this far from the money, or this near its end: the ask alone is no price, and a surface leaves it out.",
        "no ask" => "A zero ask is a missing quote, not a gift: left out of a surface.",
        "a side without a quote" => "The snapshot has no quote of this contract.",
        "the bid above the ask" => "A crossed quote: two sides of different moments, or modified by the feed. Left out of a surface.",
        "a worse strike bid above a better one's ask" => {
            "Quotes of one chain are not of one moment: deep in the money, where nobody trades, they lag the underlying. Both cannot be true; neither is used."
        }
        "a contract that had expired" => "The chain still lists it after its last day.",
        _ => "",
    }
}
