//! The data node's screen: coverage, queue, budgets.

use super::model::{CoverageRow, NodeSnapshot, QueueRow, VendorRow};
use super::text::{bad, bar, caution, duration, fit, good, heading, pad, percent, plain, thousands};
use super::view::{Page, Section};
use data_layer::detect::human_bytes;
use ratatui::text::{Line, Span};

/// `width` = the whole screen, `column` = one column of sections.
pub fn page(node: &NodeSnapshot, width: usize, column: usize) -> Page {
    let title = format!("TradeML node {}  dataset {}  {}", node.node_id, node.dataset, node.state);
    let coverage = section(1, "Coverage (G green, A amber, R red)", node.coverage.iter().map(|c| coverage_line(c, column)), "nothing is expected yet");
    let queue = section(2, "Queue", node.queue.iter().map(|q| queue_line(q, column)), "no tasks");
    let vendors = section(3, "Budgets", node.vendors.iter().map(|v| vendor_line(v, column)), "no vendor is in use");
    Page { title, head: head(node, width), left: vec![coverage], right: vec![queue, vendors] }
}

fn section(priority: u8, title: &str, lines: impl Iterator<Item = Line<'static>>, none: &str) -> Section {
    let mut all = vec![heading(title)];
    all.extend(lines);
    if all.len() == 1 {
        all.push(Line::from(format!("  {none}")));
    }
    Section { lines: all, priority }
}

fn head(node: &NodeSnapshot, width: usize) -> Vec<Line<'static>> {
    let clock = node.now.map_or("clock unknown".to_string(), |t| t.to_string().chars().take(19).collect::<String>() + "Z");
    let beat = match (node.now, node.heartbeat_at) {
        (Some(now), Some(at)) => {
            let age = now.seconds_since(at);
            let text = format!("heartbeat {} ago", duration(age));
            if age > 90.0 { bad(format!("{text} LATE")) } else { good(format!("{text} ok")) }
        }
        _ => caution("no heartbeat yet"),
    };
    let eta = match node.eta_seconds {
        Some(s) => format!("about {} left", duration(s)),
        None if node.queue.iter().all(|q| q.pending + q.leased == 0) => "nothing is waiting".into(),
        None => "time left unknown".into(),
    };
    let used = node.disk_total.saturating_sub(node.disk_free);
    let disk = format!("disk {} free ({} used)", human_bytes(node.disk_free), percent(used, node.disk_total));
    let first = Line::from(vec![plain(format!("{clock}   ")), beat]);
    let second = Line::from(fit(&format!("{eta}   {disk}"), width));
    vec![first, second]
}

fn coverage_line(row: &CoverageRow, width: usize) -> Line<'static> {
    let name = if width >= 100 { 32 } else { 18 };
    let bar_width = match width {
        0..=79 => 0,
        80..=99 => 12,
        _ => 24,
    };
    let mut spans = vec![plain(format!("  {} ", pad(row.table.rsplit('/').next().unwrap_or(&row.table), name)))];
    if row.expected == 0 {
        let note = if row.note.is_empty() { "pending" } else { &row.note };
        spans.push(plain(fit(note, width.saturating_sub(name + 3))));
        return Line::from(spans);
    }
    if bar_width > 0 {
        spans.push(plain(format!("{} ", bar(row.green as f64 / row.expected as f64, bar_width))));
    }
    spans.push(plain(format!("{:>7} ", percent(row.green, row.expected))));
    spans.push(good(format!("G {} ", thousands(row.green))));
    spans.push(count("A", row.amber, caution));
    spans.push(count("R", row.red, bad));
    let of = format!("of {}", thousands(row.expected));
    if spans.iter().map(Span::width).sum::<usize>() + of.len() <= width {
        spans.push(plain(of));
    }
    Line::from(spans)
}

fn count(letter: &str, n: u64, style: impl Fn(String) -> Span<'static>) -> Span<'static> {
    let text = format!("{letter} {} ", thousands(n));
    if n == 0 { plain(text) } else { style(text) }
}

fn queue_line(row: &QueueRow, width: usize) -> Line<'static> {
    let total = row.pending + row.leased + row.done + row.failed;
    let name = pad(&format!("{} {}", row.dataset, row.kind), if width >= 90 { 30 } else { 22 });
    let share = percent(row.done, total);
    let failed = if row.failed == 0 { plain("0 failed") } else { bad(format!("{} FAILED", thousands(row.failed))) };
    let running = if width >= 72 { format!("{} running, ", thousands(row.leased)) } else { String::new() };
    let left = thousands(if width >= 72 { row.pending } else { row.pending + row.leased });
    Line::from(vec![plain(format!("  {name} {share:>7} {left} left, {running}")), failed])
}

fn vendor_line(row: &VendorRow, width: usize) -> Line<'static> {
    let spent = match row.cap {
        Some(cap) => format!("{}/{} a {}", thousands(row.spent), thousands(cap), row.window),
        None => format!("{} a {}", thousands(row.spent), row.window),
    };
    let state = if row.state == "ok" { good("ok") } else { caution(fit(&row.state, width.saturating_sub(50).max(10))) };
    Line::from(vec![plain(format!("  {} {} ", pad(&row.vendor, 14), pad(&spent, 20))), state])
}
