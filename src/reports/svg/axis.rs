//! Ticks, grids and labels.

use super::{Frame, Plot, text};
use data_layer::time::TradingDay;
use std::fmt::Write;

/// How a value is written.
#[derive(Clone, Copy, Debug)]
pub enum Format {
    /// With that many decimals.
    Number(usize),
    /// Times 100, with a sign for per cent.
    Percent(usize),
}

impl Format {
    pub fn write(self, v: f64) -> String {
        // No "-0".
        let zero = |v: f64, d: usize| if v.abs() < 0.5 * 10f64.powi(-(d as i32)) { 0.0 } else { v };
        match self {
            Self::Number(d) => format!("{:.d$}", zero(v, d)),
            Self::Percent(d) => format!("{:.d$} %", zero(100.0 * v, d)),
        }
    }
}

/// Round numbers that span the data, about `count` of them; at least two.
pub(super) fn ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let span = if high > low { high - low } else { low.abs().max(1.0) * 0.1 };
    let raw = span / count as f64;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].iter().map(|m| m * power).find(|s| *s >= raw * 0.999).unwrap_or(power);
    let (first, last) = ((low / step).floor() as i64, (high / step).ceil() as i64);
    (first..=last.max(first + 1)).map(|i| i as f64 * step).collect()
}

/// The range of values that are numbers, widened to `include`.
pub(super) fn range(values: impl Iterator<Item = f64>, include: Option<f64>) -> Option<(f64, f64)> {
    let seed = include.map(|v| (v, v));
    values.filter(|v| v.is_finite()).fold(seed, |r, v| Some(r.map_or((v, v), |(l, h)| (l.min(v), h.max(v)))))
}

/// A plot whose vertical axis ends on ticks, with its grid and labels written.
pub(super) fn vertical(f: &Frame<'_>, (low, high): (f64, f64), format: Format, out: &mut String) -> Plot {
    let marks = ticks(low, high, 4);
    let plot = Plot::new(f, marks[0], marks[marks.len() - 1]);
    for v in &marks {
        let y = plot.y(*v);
        let class = if *v == 0.0 { "z" } else { "g" };
        let _ = write!(out, r#"<line class="{class}" x1="{:.1}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}"/>"#, plot.x0, plot.x1);
        text(out, "e", plot.x0 - 7.0, y + 3.5, &format.write(*v));
    }
    text(out, "l", 0.0, super::TOP - 8.0, f.y_label);
    text(out, "r", plot.x1, f.height - 4.0, f.x_label);
    plot
}

/// Sessions along the horizontal axis: years, or months when there are few.
pub(super) fn sessions(plot: &Plot, days: &[TradingDay], out: &mut String) {
    let starts = |key: &dyn Fn(TradingDay) -> i32| (1..days.len()).filter(|i| key(days[*i]) != key(days[i - 1])).collect::<Vec<_>>();
    let years = starts(&|d| i32::from(d.year()));
    let monthly = years.len() < 3;
    let marks = if monthly { starts(&|d| i32::from(d.year()) * 12 + i32::from(d.month())) } else { years };
    let every = marks.len().div_ceil(((plot.x1 - plot.x0) / 62.0) as usize).max(1);
    for i in marks.into_iter().step_by(every) {
        let (x, day) = (plot.x(i, days.len()), days[i]);
        let _ = write!(out, r#"<line class="g" x1="{x:.1}" x2="{x:.1}" y1="{:.1}" y2="{:.1}"/>"#, plot.y1, plot.y1 + 4.0);
        let label = if monthly { format!("{}-{:02}", day.year(), day.month()) } else { day.year().to_string() };
        text(out, "m", x, plot.y1 + 17.0, &label);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_span_the_data() {
        assert_eq!(ticks(0.93, 1.87, 4), [0.75, 1.0, 1.25, 1.5, 1.75, 2.0]);
        assert_eq!(ticks(0.0, 0.0, 4).first(), Some(&0.0));
        let t = ticks(-0.183, 0.0, 4);
        assert!(t[0] <= -0.183 && t[t.len() - 1] >= 0.0);
    }

    #[test]
    fn zero_has_no_sign() {
        assert_eq!(Format::Percent(1).write(-0.0001), "0.0 %");
        assert_eq!(Format::Number(2).write(-1.234), "-1.23");
    }
}
