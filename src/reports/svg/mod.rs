//! Small inline charts: a title, labelled axes, colours from the page's style (so they follow light and dark), no script.

mod axis;
mod bars;
mod heatmap;
mod lines;
mod scatter;

pub use axis::Format;
pub use bars::bars;
pub use heatmap::heatmap;
pub use lines::{Series, area, lines};
pub use scatter::scatter;

use std::fmt::Write;

/// What stands around a chart.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    pub title: &'a str,
    pub x_label: &'a str,
    pub y_label: &'a str,
    /// User units; the page scales the chart to its column.
    pub width: f64,
    pub height: f64,
}

impl<'a> Frame<'a> {
    /// A chart as wide as the page.
    pub fn wide(title: &'a str, x_label: &'a str, y_label: &'a str) -> Self {
        Self { title, x_label, y_label, width: 920.0, height: 260.0 }
    }
    /// One of two side by side.
    pub fn half(title: &'a str, x_label: &'a str, y_label: &'a str) -> Self {
        Self { title, x_label, y_label, width: 450.0, height: 250.0 }
    }
    pub fn tall(self, height: f64) -> Self {
        Self { height, ..self }
    }
}

const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 42.0;

/// The plot's rectangle and the way from data to it.
struct Plot {
    x0: f64,
    x1: f64,
    y0: f64,
    y1: f64,
    low: f64,
    high: f64,
}

impl Plot {
    fn new(f: &Frame<'_>, low: f64, high: f64) -> Self {
        Self { x0: LEFT, x1: f.width - RIGHT, y0: TOP, y1: f.height - BOTTOM, low, high }
    }
    fn y(&self, value: f64) -> f64 {
        self.y1 - (value - self.low) / (self.high - self.low) * (self.y1 - self.y0)
    }
    /// The position of point `i` of `n`, ends on the edges.
    fn x(&self, i: usize, n: usize) -> f64 {
        self.x0 + i as f64 / (n.max(2) - 1) as f64 * (self.x1 - self.x0)
    }
}

/// Text made safe for markup.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn open(f: &Frame<'_>, out: &mut String) {
    let (w, h, title) = (f.width, f.height, escape(f.title));
    let _ = write!(out, r#"<svg class="chart" viewBox="0 0 {w} {h}" role="img" aria-label="{title}"><title>{title}</title>"#);
    let _ = write!(out, r#"<text class="t" x="0" y="14">{title}</text>"#);
}

fn text(out: &mut String, class: &str, x: f64, y: f64, content: &str) {
    let _ = write!(out, r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{}</text>"#, escape(content));
}

/// A frame that says why there is no chart.
pub fn empty(f: &Frame<'_>, why: &str) -> String {
    let mut out = String::new();
    open(f, &mut out);
    text(&mut out, "m", f.width / 2.0, f.height / 2.0, why);
    out.push_str("</svg>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_layer::time::TradingDay;

    #[test]
    fn charts_are_markup_without_numbers_that_are_none() {
        let days: Vec<TradingDay> = (0..300).map(|i| TradingDay(17_000 + i)).collect();
        let curve = Series { name: "a < b", class: "c1", values: (0..300).map(|i| (i % 7 != 0).then_some(f64::from(i))).collect() };
        let f = Frame::wide("Equity & more", "session", "growth of 1");
        let charts = [
            lines(&f, &days, std::slice::from_ref(&curve), Format::Number(2)),
            area(&f, &days, &curve, Format::Percent(0)),
            bars(&f, &["1".into(), "2".into()], &[Some(0.1), None], Format::Percent(1)),
            bars(&f, &["1".into()], &[Some(0.0)], Format::Percent(1)),
            heatmap(&f, &["2017".into()], &["Jan".into(), "Feb".into()], &[vec![Some(-0.02), None]], Format::Percent(1)),
            scatter(&f, &[(0.1, 0.2), (f64::NAN, 0.1)], Format::Number(2), Format::Number(2)),
            lines(&f, &[], &[], Format::Number(2)),
            empty(&f, "no trades"),
        ];
        for c in charts {
            assert!(c.starts_with("<svg") && c.ends_with("</svg>"), "{c}");
            assert!(c.contains("<title>Equity &amp; more</title>"));
            assert!(!c.contains("NaN") && !c.contains("inf") && !c.contains("http") && !c.contains("script"), "{c}");
        }
    }
}
