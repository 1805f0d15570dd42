//! Panels as SVG. Cells of one level are one path, so that fifteen years stay small; every day that is not complete has a
//! cell of its own that says what is wrong with it when pointed at.

use super::layout::{self, CELL, Mark, Panel, WIDTH, Weight};
use super::{Dataset, Level, Picture};
use crate::ledger::Coverage;
use crate::time::TradingDay;
use crate::words::thousands;
use std::fmt::Write as _;

/// Colours of light and dark; levels differ in lightness and shape too, not in hue alone.
pub const STYLE: &str = ":root{--ink:#1f2328;--faint:#656d76;--paper:#ffffff;--rule:#d1d9e0;--complete:#2c8a4b;--doubtful:#e3b341;--gaps:#e8703a;--missing:#b3202c}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--faint:#9198a1;--paper:#0d1117;--rule:#3d444d;--complete:#3fb062;--doubtful:#e3c567;--gaps:#f08b50;--missing:#ff6b6b}}
.complete{fill:var(--complete)}.doubtful{fill:var(--doubtful)}.gaps{fill:var(--gaps)}.missing{fill:none;stroke:var(--missing);stroke-width:2}
text{font:11px system-ui,sans-serif;fill:var(--ink)}text.title{font-weight:600;font-size:13px}text.faint{fill:var(--faint);font-size:10px}";

/// Days that are not complete and have a cell of their own; more of them share a path.
const NAMED: usize = 1_500;

/// Text that may stand in XML.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A panel as an element that a page holds, with a name for those who cannot see it. `day` tells what a day holds.
pub fn element<'a>(panel: &Panel, name: &str, day: impl Fn(TradingDay) -> Option<&'a Coverage>) -> String {
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{}\">\n", panel.height, escaped(name));
    body(&mut out, panel, day);
    out + "</svg>\n"
}

/// The heat map of everything as a file of its own.
pub fn whole(picture: &Picture) -> String {
    let panel = layout::whole(picture);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{h}\" viewBox=\"0 0 {WIDTH} {h}\" role=\"img\" aria-label=\"Coverage on {}\">\n<style>{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" style=\"fill:var(--paper)\"/>\n",
        picture.asof,
        h = panel.height
    );
    body(&mut out, &panel, |_| None);
    out + "</svg>\n"
}

/// One dataset's calendar for the page.
pub fn of_dataset(dataset: &Dataset) -> String {
    element(&layout::calendar(dataset), &text!("{}, a calendar: {}", dataset.name, layout::share(&dataset.total())), |d| dataset.days.get(&d))
}

fn body<'a>(out: &mut String, panel: &Panel, day: impl Fn(TradingDay) -> Option<&'a Coverage>) {
    let mut named = 0;
    let mut paths: [String; 4] = Default::default();
    for mark in &panel.marks {
        match mark {
            Mark::Text { x, y, text, weight } => {
                let class = match weight {
                    Weight::Title => " class=\"title\"",
                    Weight::Plain => "",
                    Weight::Faint => " class=\"faint\"",
                };
                let _ = writeln!(out, "<text x=\"{x}\" y=\"{y}\"{class}>{}</text>", escaped(text));
            }
            Mark::Cell { x, y, level, day: on } => {
                let known = on.and_then(&day).filter(|_| *level != Level::Complete && named < NAMED);
                match (known, on) {
                    (Some(c), Some(on)) => {
                        named += 1;
                        let _ = writeln!(
                            out,
                            "<path class=\"{}\" d=\"{}\"><title>{on}: {}</title></path>",
                            level.word(),
                            square(*x, *y, *level),
                            escaped(&reasons(c))
                        );
                    }
                    _ => paths[*level as usize] += &square(*x, *y, *level),
                }
            }
        }
    }
    for level in Level::ALL {
        if !paths[level as usize].is_empty() {
            let _ = writeln!(out, "<path class=\"{}\" d=\"{}\"/>", level.word(), paths[level as usize]);
        }
    }
}

/// A missing day is hollow, the others are filled; a day with gaps has one corner cut off.
fn square(x: i32, y: i32, level: Level) -> String {
    match level {
        Level::Missing => format!("M{} {}h{s}v{s}h-{s}z", x + 1, y + 1, s = CELL - 2),
        Level::Gaps => format!("M{x} {y}h{CELL}v{CELL}h-{}l-3 -3z", CELL - 3),
        _ => format!("M{x} {y}h{CELL}v{CELL}h-{CELL}z"),
    }
}

/// `98 of 100 GREEN; 2 MISSING`.
pub fn reasons(c: &Coverage) -> String {
    let bad = c.codes.iter().filter(|(code, n)| *code != "OK" && **n > 0).map(|(code, n)| format!("{} {code}", thousands(*n)));
    std::iter::once(text!("{} of {} GREEN", thousands(c.green), thousands(c.expected))).chain(bad).collect::<Vec<_>>().join("; ")
}
