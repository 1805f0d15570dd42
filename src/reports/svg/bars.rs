//! Bars from zero, coloured by sign.

use super::axis::{range, vertical};
use super::{Format, Frame, empty, open, text};
use std::fmt::Write;

/// One bar per label; a value that is not there leaves its place empty. Labels are thinned when they would touch.
pub fn bars(f: &Frame<'_>, labels: &[String], values: &[Option<f64>], format: Format) -> String {
    if values.iter().flatten().all(|v| !v.is_finite()) {
        return empty(f, "there are no values");
    }
    let Some(span) = range(values.iter().flatten().copied(), Some(0.0)) else { return empty(f, "there are no values") };
    let mut out = String::new();
    open(f, &mut out);
    let plot = vertical(f, span, format, &mut out);
    let slot = (plot.x1 - plot.x0) / values.len() as f64;
    let width = (slot * 0.72).max(0.6);
    let widest = labels.iter().map(|l| l.chars().count()).max().unwrap_or(1) as f64 * 6.2 + 10.0;
    let every = (widest / slot).ceil().max(1.0) as usize;
    for (i, value) in values.iter().enumerate() {
        let centre = plot.x0 + (i as f64 + 0.5) * slot;
        if let Some(v) = value.filter(|v| v.is_finite()) {
            let (top, bottom) = (plot.y(v.max(0.0)), plot.y(v.min(0.0)));
            let class = if v < 0.0 { "neg" } else { "pos" };
            let (x, height) = (centre - width / 2.0, (bottom - top).max(0.5));
            let _ = write!(out, r#"<rect class="{class}" x="{x:.1}" y="{top:.1}" width="{width:.1}" height="{height:.1}" rx="1"/>"#);
        }
        if i % every == 0
            && let Some(label) = labels.get(i)
        {
            text(&mut out, "m", centre, plot.y1 + 17.0, label);
        }
    }
    out.push_str("</svg>");
    out
}
