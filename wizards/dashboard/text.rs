//! Numbers and bars as short texts that fit a column.

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
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// `1,234,567`
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// `-1,234.50`
pub fn money(amount: f64) -> String {
    let cents = (amount.abs() * 100.0).round() as u64;
    let sign = if amount < 0.0 && cents > 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", thousands(cents / 100), cents % 100)
}

/// `2 h 05 m`
pub fn duration(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    match s {
        0..=99 => format!("{s} s"),
        100..=5_999 => format!("{} m", s / 60),
        6_000..=172_799 => format!("{} h {:02} m", s / 3_600, s % 3_600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3_600),
    }
}

/// Cut to `width` characters, the last one a `~` when something is missing.
pub fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
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

pub fn good(text: impl Into<String>) -> Span<'static> {
    Span::styled(text.into(), Style::new().fg(Color::Green))
}
pub fn caution(text: impl Into<String>) -> Span<'static> {
    Span::styled(text.into(), Style::new().fg(Color::Yellow))
}
pub fn bad(text: impl Into<String>) -> Span<'static> {
    Span::styled(text.into(), Style::new().fg(Color::Red).add_modifier(Modifier::BOLD))
}
pub fn plain(text: impl Into<String>) -> Span<'static> {
    Span::raw(text.into())
}
pub fn heading(text: impl Into<String>) -> Line<'static> {
    Line::from(Span::styled(text.into(), Style::new().add_modifier(Modifier::BOLD)))
}
