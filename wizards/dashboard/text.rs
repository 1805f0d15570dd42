//! Numbers and bars as short texts that fit a column.

use data_layer::words::tell;
use data_layer::words::thousands;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

/// `[######----]` of `width` cells inside the brackets. ASCII, so that every terminal and screen reader copes.
pub fn bar(fraction: f64, width: usize) -> String {
    let clamped = fraction.clamp(0.0, 1.0);
    let full = (clamped * width as f64).floor() as usize;
    // A bar is full only when everything is there.
    let full = if clamped < 1.0 { full.min(width.saturating_sub(1)) } else { width };
    format!("[{}{}]", "#".repeat(full), "-".repeat(width - full))
}

/// `97.3 %`, cut and never rounded up: 100.0 % means all.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".into();
    }
    let tenths = u128::from(part) * 1000 / u128::from(whole);
    text!("{}.{} %", tenths / 10, tenths % 10)
}

/// `-1,234.50`
pub fn money(amount: f64) -> String {
    let cents = (amount.abs() * 100.0).round() as u64;
    let sign = if amount < 0.0 && cents > 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", thousands(cents / 100), cents % 100)
}

/// The last values as one line of `width` levels, lowest `_` to highest `#`. Empty with fewer than two values.
pub fn sparkline(values: &[f64], width: usize) -> String {
    const LEVELS: [char; 8] = ['_', '.', ',', '-', '~', '=', '+', '#'];
    let shown = &values[values.len().saturating_sub(width)..];
    let (low, high) = shown.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
    if shown.len() < 2 || !(high - low).is_finite() {
        return String::new();
    }
    let level = |v: &f64| if high > low { ((v - low) / (high - low) * 7.0).round() as usize } else { 3 };
    shown.iter().map(|v| LEVELS[level(v).min(7)]).collect()
}

/// The drawdown now and the deepest one, as fractions of the highest value before; 0 when at a high.
pub fn drawdowns(values: &[f64]) -> (f64, f64) {
    let (mut peak, mut now, mut deepest) = (f64::MIN, 0.0, 0.0_f64);
    for v in values {
        peak = peak.max(*v);
        now = if peak > 0.0 { 1.0 - v / peak } else { 0.0 };
        deepest = deepest.max(now);
    }
    (now, deepest)
}

/// `2 h 05 m`
pub fn duration(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    match s {
        0..=99 => text!("{s} s"),
        100..=5_999 => text!("{} m", s / 60),
        6_000..=172_799 => text!("{} h {:02} m", s / 3_600, s % 3_600 / 60),
        _ => text!("{} d {} h", s / 86_400, s % 86_400 / 3_600),
    }
}

/// Cut to `width` characters, the last one a `~` when something is missing.
pub fn fit(text: &str, width: usize) -> String {
    let text = tell(text);
    if text.chars().count() <= width {
        return text.into_owned();
    }
    let mut out: String = text.chars().take(width.saturating_sub(1)).collect();
    if width > 0 {
        out.push('~');
    }
    out
}

/// Cut or fill to exactly `width`.
pub fn pad(text: &str, width: usize) -> String {
    format!("{:<width$}", fit(text, width))
}

fn told(text: impl Into<String>) -> String {
    tell(&text.into()).into_owned()
}

pub fn good(text: impl Into<String>) -> Span<'static> {
    Span::styled(told(text), Style::new().fg(Color::Green))
}
pub fn caution(text: impl Into<String>) -> Span<'static> {
    Span::styled(told(text), Style::new().fg(Color::Yellow))
}
pub fn bad(text: impl Into<String>) -> Span<'static> {
    Span::styled(told(text), Style::new().fg(Color::Red).add_modifier(Modifier::BOLD))
}
pub fn plain(text: impl Into<String>) -> Span<'static> {
    Span::raw(told(text))
}
pub fn heading(text: impl Into<String>) -> Line<'static> {
    Line::from(Span::styled(told(text), Style::new().add_modifier(Modifier::BOLD)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_keeps_its_shape_and_a_flat_one_stays_in_the_middle() {
        assert_eq!(sparkline(&[1.0, 2.0, 8.0], 10), "_.#");
        assert_eq!(sparkline(&[5.0, 5.0], 10), "--");
        assert_eq!(sparkline(&[9.0, 1.0, 2.0], 2), "_#");
        assert_eq!((sparkline(&[1.0], 10), sparkline(&[], 10)), (String::new(), String::new()));
    }

    #[test]
    fn drawdowns_are_measured_from_the_highest_value_so_far() {
        let (now, deepest) = drawdowns(&[100.0, 80.0, 120.0, 108.0]);
        assert!((now - 0.1).abs() < 1e-12 && (deepest - 0.2).abs() < 1e-12);
        assert_eq!(drawdowns(&[]), (0.0, 0.0));
    }
}
