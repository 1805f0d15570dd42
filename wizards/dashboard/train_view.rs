//! A training run's screen: every split of every configuration, and what it scored out of sample.

use super::model::{ConfigurationRow, TrainSnapshot};
use super::text::{bad, bar, duration, fit, good, heading, pad, percent, plain};
use super::view::{Page, Section};
use data_layer::words::thousands;
use ratatui::text::{Line, Span};

/// `width` = the whole screen, `column` = one column of sections.
pub fn page(train: &TrainSnapshot, width: usize, column: usize) -> Page {
    let title = text!("TradeML train {}  dataset {}", train.run, train.dataset);
    let mut splits = vec![heading("Splits (+ positive rank IC out of sample, - not, . not fitted yet)")];
    splits.extend(train.configurations.iter().map(|c| configuration(c, column)));
    if train.configurations.is_empty() {
        splits.push(Line::from(plain("  nothing is being fitted")));
    }
    Page { title, head: head(train, width), left: vec![Section { lines: splits, priority: 1 }], right: Vec::new() }
}

fn head(train: &TrainSnapshot, width: usize) -> Vec<Line<'static>> {
    let left = train.eta_seconds.map_or(String::new(), |s| text!("   about {} left", duration(s)));
    let share = if train.total > 0 { train.done as f64 / train.total as f64 } else { 0.0 };
    let count = text!("{} of {} fits ({}){left}", thousands(train.done), thousands(train.total), percent(train.done, train.total));
    vec![Line::from(fit(&train.state, width)), Line::from(fit(&text!("{} {count}", bar(share, if width >= 90 { 30 } else { 12 })), width))]
}

fn configuration(row: &ConfigurationRow, width: usize) -> Line<'static> {
    let known: Vec<f64> = row.rank_ic.iter().flatten().flatten().copied().collect();
    let mean = if known.is_empty() { "     -  ".to_string() } else { format!("{:+.4} ", known.iter().sum::<f64>() / known.len() as f64) };
    let name = if width >= 80 { 24 } else { 16 };
    let mut spans = vec![plain(format!("  {} ", pad(&row.name, name))), plain(text!("rank IC {mean}"))];
    let room = width.saturating_sub(spans.iter().map(Span::width).sum::<usize>());
    spans.extend(row.rank_ic.iter().take(room).map(|split| match split {
        None => plain("."),
        Some(None) => plain("?"),
        Some(Some(ic)) if *ic > 0.0 => good("+"),
        Some(Some(_)) => bad("-"),
    }));
    Line::from(spans)
}
