//! Curves over sessions.

use super::axis::{range, sessions, vertical};
use super::{Format, Frame, Plot, empty, open, text};
use data_layer::time::TradingDay;
use std::fmt::Write;

/// A named curve; `class` names its colour in the style (`c1`, `c2`, `neg`).
#[derive(Clone, Debug)]
pub struct Series<'a> {
    pub name: &'a str,
    pub class: &'a str,
    pub values: Vec<Option<f64>>,
}

/// Stretches of points without a gap, as path data.
fn path(plot: &Plot, values: &[Option<f64>]) -> String {
    let (mut d, mut drawing) = (String::new(), false);
    for (i, v) in values.iter().enumerate() {
        let Some(v) = v.filter(|v| v.is_finite()) else {
            drawing = false;
            continue;
        };
        let _ = write!(d, "{}{:.1} {:.1}", if drawing { "L" } else { "M" }, plot.x(i, values.len()), plot.y(v));
        drawing = true;
    }
    d
}

/// One curve or more, each named at the top right.
pub fn lines(f: &Frame<'_>, days: &[TradingDay], series: &[Series<'_>], format: Format) -> String {
    let all = series.iter().flat_map(|s| s.values.iter().flatten().copied());
    let Some(span) = range(all, None) else { return empty(f, "there are no values") };
    let mut out = String::new();
    open(f, &mut out);
    let plot = vertical(f, span, format, &mut out);
    sessions(&plot, days, &mut out);
    let mut x = plot.x1;
    for s in series.iter().rev() {
        let _ = write!(out, r#"<path class="line {}" d="{}"/>"#, s.class, path(&plot, &s.values));
        text(&mut out, &format!("r n-{}", s.class), x, 14.0, s.name);
        // An estimate of the text's width is enough to keep names apart.
        x -= s.name.len() as f64 * 6.6 + 18.0;
    }
    out.push_str("</svg>");
    out
}

/// A curve filled down (or up) to zero.
pub fn area(f: &Frame<'_>, days: &[TradingDay], series: &Series<'_>, format: Format) -> String {
    let Some(span) = range(series.values.iter().flatten().copied(), Some(0.0)) else { return empty(f, "there are no values") };
    if series.values.is_empty() {
        return empty(f, "there are no values");
    }
    let mut out = String::new();
    open(f, &mut out);
    let plot = vertical(f, span, format, &mut out);
    sessions(&plot, days, &mut out);
    let filled: Vec<Option<f64>> = series.values.iter().map(|v| Some(v.unwrap_or(0.0))).collect();
    let (zero, d) = (plot.y(0.0), path(&plot, &filled));
    let _ = write!(out, r#"<path class="fill {}" d="{d}L{:.1} {zero:.1}L{:.1} {zero:.1}Z"/>"#, series.class, plot.x1, plot.x0);
    let _ = write!(out, r#"<path class="line thin {}" d="{}"/>"#, series.class, path(&plot, &series.values));
    out.push_str("</svg>");
    out
}
