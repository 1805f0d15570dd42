//! Points, with the diagonal that they should lie on when both axes have one unit.

use super::axis::{range, ticks, vertical};
use super::{Format, Frame, empty, open, text};
use std::fmt::Write;

/// Pairs `(x, y)`; pairs with a number missing are left out.
pub fn scatter(f: &Frame<'_>, points: &[(f64, f64)], x_format: Format, y_format: Format) -> String {
    let points: Vec<(f64, f64)> = points.iter().copied().filter(|p| p.0.is_finite() && p.1.is_finite()).collect();
    let (Some(xs), Some(ys)) = (range(points.iter().map(|p| p.0), None), range(points.iter().map(|p| p.1), None)) else {
        return empty(f, "there are no values");
    };
    let mut out = String::new();
    open(f, &mut out);
    let plot = vertical(f, ys, y_format, &mut out);
    let marks = ticks(xs.0, xs.1, 5);
    let (low, high) = (marks[0], marks[marks.len() - 1]);
    let x = |v: f64| plot.x0 + (v - low) / (high - low) * (plot.x1 - plot.x0);
    for v in &marks {
        text(&mut out, "m", x(*v), plot.y1 + 17.0, &x_format.write(*v));
    }
    let (from, to) = (low.max(plot.low), high.min(plot.high));
    if from < to {
        let _ = write!(out, r#"<line class="z dash" x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}"/>"#, x(from), plot.y(from), x(to), plot.y(to));
    }
    for (px, py) in &points {
        let _ = write!(out, r#"<circle class="pos" cx="{:.1}" cy="{:.1}" r="3"/>"#, x(*px), plot.y(*py));
    }
    out.push_str("</svg>");
    out
}
