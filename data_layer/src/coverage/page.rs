//! The page: what is there in one table, why the rest is not in another, a calendar for each dataset, and the days that are
//! not complete. One file, no script; it reads on a phone and follows light and dark.

use super::layout;
use super::svg::{self, escaped};
use super::{Dataset, Picture, meaning};
use crate::ledger::Coverage;
use crate::time::TradingDay;
use crate::words::thousands;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Days of one dataset that are listed; the calendar shows the others.
const LISTED: usize = 120;

const STYLE: &str = "html{color-scheme:light dark}body{margin:0 auto;padding:1rem;max-width:46rem;font:16px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.15rem;margin:2rem 0 .3rem}p{margin:.3rem 0}.faint{color:var(--faint)}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.3rem .6rem .3rem 0;border-bottom:1px solid var(--rule);vertical-align:top}th.n,td.n{text-align:right;white-space:nowrap}td.day{white-space:nowrap}td .faint{font-size:.85em}
@media(max-width:30rem){table{font-size:.8rem}th,td{padding-right:.35rem}th:last-child,td:last-child{padding-right:0}}code{font-size:.85em;white-space:nowrap}svg{display:block;width:100%;height:auto;max-width:44rem}summary{cursor:pointer;padding:.4rem 0}";

/// The page as text.
pub fn html(picture: &Picture) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>Coverage on {asof}</title>\n<style>{STYLE}\n{}</style></head><body>\n<h1>Coverage on {asof}</h1>\n<p class=\"faint\">{}</p>\n",
        svg::STYLE,
        escaped(&layout::subtitle(picture)),
        asof = picture.asof,
    );
    summary(&mut out, picture);
    reasons(&mut out, picture);
    out += &svg::element(&layout::legend(), "complete, doubtful, gaps, missing", |_| None);
    for dataset in &picture.datasets {
        let _ = writeln!(out, "<h2>{}</h2>\n<p>{}</p>", escaped(&dataset.name), layout::share(&dataset.total()));
        out += &svg::of_dataset(dataset);
        incomplete(&mut out, dataset);
    }
    out + "</body></html>\n"
}

fn summary(out: &mut String, picture: &Picture) {
    if picture.datasets.is_empty() {
        *out += "<p>Nothing has been audited yet.</p>\n";
        return;
    }
    *out += "<div class=\"wide\"><table><thead><tr><th>dataset</th><th class=\"n\">GREEN</th><th class=\"n\">expected</th><th class=\"n\">AMBER</th><th class=\"n\">RED</th></tr></thead><tbody>\n";
    for dataset in &picture.datasets {
        let c = dataset.total();
        let (first, last) = (dataset.days.keys().next(), dataset.days.keys().next_back());
        let days = first.zip(last).map_or(String::new(), |(a, b)| text!("{a} to {b}"));
        let _ = writeln!(
            out,
            "<tr><td>{}<br><span class=\"faint\">{days}</span></td><td class=\"n\">{:.2} %</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            escaped(&dataset.name),
            (c.fraction() * 1e4).floor() / 1e2,
            thousands(c.expected),
            thousands(c.amber),
            thousands(c.red)
        );
    }
    *out += "</tbody></table></div>\n";
    for (name, reason) in &picture.closed {
        let _ = writeln!(out, "<p><strong>{}</strong> is not collected: {}.</p>", escaped(name), escaped(reason));
    }
}

/// How often a dataset has a reason, and on which days.
struct Seen {
    partitions: u64,
    days: u64,
    first: TradingDay,
    last: TradingDay,
}

impl Seen {
    fn when(&self) -> String {
        match self.days {
            1 => format!("on {}", self.first),
            n => format!("{} days, {} to {}", thousands(n), self.first, self.last),
        }
    }
}

fn reasons(out: &mut String, picture: &Picture) {
    let mut seen: BTreeMap<(usize, &str), Seen> = BTreeMap::new();
    for (i, dataset) in picture.datasets.iter().enumerate() {
        for (day, c) in &dataset.days {
            for (code, n) in bad(c) {
                let entry = seen.entry((i, code)).or_insert(Seen { partitions: 0, days: 0, first: *day, last: *day });
                (entry.partitions, entry.days, entry.last) = (entry.partitions + n, entry.days + 1, *day);
            }
        }
    }
    *out += "<h2>Why the rest is not GREEN</h2>\n";
    if seen.is_empty() {
        *out += "<p>There is no rest.</p>\n";
        return;
    }
    *out += "<div class=\"wide\"><table><thead><tr><th>dataset</th><th>reason</th><th class=\"n\">partitions</th></tr></thead><tbody>\n";
    for ((i, code), s) in seen {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td><code>{code}</code><br><span class=\"faint\">{}; {}</span></td><td class=\"n\">{}</td></tr>",
            escaped(&picture.datasets[i].name),
            meaning(code),
            s.when(),
            thousands(s.partitions),
        );
    }
    *out += "</tbody></table></div>\n";
}

fn bad(c: &Coverage) -> impl Iterator<Item = (&str, u64)> {
    c.codes.iter().filter(|(code, n)| *code != "OK" && **n > 0).map(|(code, n)| (code.as_str(), *n))
}

/// The newest days of a dataset that are not complete, each with its reasons.
fn incomplete(out: &mut String, dataset: &Dataset) {
    let days: Vec<(&TradingDay, &Coverage)> = dataset.days.iter().rev().filter(|(_, c)| c.green < c.expected).collect();
    if days.is_empty() {
        return;
    }
    let more = if days.len() > LISTED { text!(", the newest {LISTED}") } else { String::new() };
    let _ = writeln!(out, "<details><summary>{} days are not complete{more}</summary><div class=\"wide\"><table><tbody>", thousands(days.len() as u64));
    for (day, c) in days.into_iter().take(LISTED) {
        let _ = writeln!(out, "<tr><td class=\"day\">{day}</td><td>{}</td></tr>", escaped(&svg::reasons(c)));
    }
    *out += "</tbody></table></div></details>\n";
}
