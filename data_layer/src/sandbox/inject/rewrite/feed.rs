//! The same faults in an Atom feed: its entries are the rows, its tenors the prices.

use super::super::super::faults::{Do, Fault};
use super::{closed_by, late_from};
use crate::time::{TradingDay, UtcTime};

const END: &str = "</entry>";

/// A feed as the fault makes it.
pub fn changed(text: &str, now: UtcTime, fault: &Fault, action: Do) -> String {
    let Some(begin) = text.find("<entry>") else { return text.to_string() };
    let Some(end) = text.rfind(END).map(|i| i + END.len()) else { return text.to_string() };
    let mut entries: Vec<String> = text[begin..end].split_inclusive(END).map(str::to_string).collect();
    let newest = fault.session.or_else(|| entries.iter().filter_map(|e| day_of(e)).max());
    match action {
        Do::DuplicateRows => entries.extend(entries.last().cloned()),
        Do::DropSession => entries.retain(|e| day_of(e) != newest),
        Do::LateBars => entries.retain(|e| day_of(e).is_none_or(|d| closed_by(d, late_from(now, fault)))),
        Do::Scale => entries.iter_mut().for_each(|e| *e = multiplied(e, fault.factor.unwrap_or(100.0))),
        Do::Revise => entries.iter_mut().filter(|e| day_of(e) == newest).for_each(|e| *e = multiplied(e, fault.factor.unwrap_or(1.01))),
        Do::WrongSymbol => entries.iter_mut().for_each(|e| *e = e.replace("d:BC_", "d:TC_")),
        _ => {}
    }
    format!("{}{}{}", &text[..begin], entries.concat(), &text[end..])
}

fn day_of(entry: &str) -> Option<TradingDay> {
    let at = entry.find("NEW_DATE")?;
    entry[at..].split_once('>')?.1.get(..10)?.parse().ok()
}

fn multiplied(entry: &str, factor: f64) -> String {
    let mut parts = entry.split("<d:BC_");
    let mut out = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let cell = part.split_once('>').and_then(|(head, rest)| Some((head, rest.split_once('<')?)));
        match cell.and_then(|(head, (text, tail))| Some((head, text.parse::<f64>().ok()?, tail))) {
            Some((head, value, tail)) => out.push_str(&format!("<d:BC_{head}>{}<{tail}", value * factor)),
            None => out.push_str(&format!("<d:BC_{part}")),
        }
    }
    out
}
