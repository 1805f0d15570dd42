//! A table whose cells are shaded by size and coloured by sign.

use super::{Format, Frame, empty, open, text};
use std::fmt::Write;

const CELL_HEIGHT: f64 = 26.0;
const NAMES: f64 = 52.0;
const HEAD: f64 = 48.0;

/// `values[row][column]`; the height follows from the rows.
pub fn heatmap(f: &Frame<'_>, rows: &[String], columns: &[String], values: &[Vec<Option<f64>>], format: Format) -> String {
    if rows.is_empty() || columns.is_empty() {
        return empty(f, "there are no values");
    }
    let f = f.tall(HEAD + rows.len() as f64 * CELL_HEIGHT + 4.0);
    let finite = |v: &&f64| v.is_finite();
    let largest = values.iter().flatten().flatten().filter(finite).fold(1e-12_f64, |m, v| m.max(v.abs()));
    let width = (f.width - NAMES) / columns.len() as f64;
    let mut out = String::new();
    open(&f, &mut out);
    for (c, name) in columns.iter().enumerate() {
        text(&mut out, "m", NAMES + (c as f64 + 0.5) * width, HEAD - 10.0, name);
    }
    for (r, name) in rows.iter().enumerate() {
        let y = HEAD + r as f64 * CELL_HEIGHT;
        text(&mut out, "l", 0.0, y + 17.0, name);
        for (c, value) in values.get(r).into_iter().flatten().enumerate() {
            let x = NAMES + c as f64 * width;
            let (class, strength) = match value.filter(|v| v.is_finite()) {
                Some(v) if v < 0.0 => ("neg", 0.10 + 0.62 * -v / largest),
                Some(v) => ("pos", 0.10 + 0.62 * v / largest),
                None => ("none", 1.0),
            };
            let (w, h) = (width - 2.0, CELL_HEIGHT - 2.0);
            let _ = write!(out, r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{w:.1}" height="{h:.1}" rx="2" fill-opacity="{strength:.2}"/>"#);
            if let Some(v) = value.filter(|v| v.is_finite()) {
                text(&mut out, "cell", x + w / 2.0, y + 16.5, &format.write(v).replace(" %", ""));
            }
        }
    }
    out.push_str("</svg>");
    out
}
