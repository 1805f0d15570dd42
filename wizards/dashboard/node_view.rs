//! The data node's screen: coverage, queue, budgets.

use super::model::{CoverageRow, HeatRow, LoopRow, NodeSnapshot, QueueRow, VendorRow};
use super::text::{bad, bar, caution, duration, fit, good, heading, pad, percent, plain};
use super::view::{Page, Section};
use data_layer::detect::human_bytes;
use data_layer::words::thousands;
use ratatui::text::{Line, Span};

/// `width` = the whole screen, `column` = one column of sections.
pub fn page(node: &NodeSnapshot, width: usize, column: usize) -> Page {
    let title = text!("TradeML node {}  dataset {}  {}", node.node_id, node.dataset, node.state);
    let coverage = section(1, "Coverage (G green, A amber, R red)", node.coverage.iter().map(|c| coverage_line(c, column)), "nothing is expected yet");
    let queue = section(2, "Queue", node.queue.iter().map(|q| queue_line(q, column)), "no tasks");
    let vendors = section(3, "Budgets", node.vendors.iter().map(|v| vendor_line(v, column)), "no vendor is in use");
    let heat =
        section(4, "GREEN by month (# all, 9 = 90 % or more, . none expected)", node.heat.iter().map(|h| heat_line(h, column)), "nothing is expected yet");
    let loops = section(5, "Loops", node.loops.iter().map(|l| loop_line(l, column)), "no service has run on this drive");
    Page { title, head: head(node, width), left: vec![coverage, heat], right: vec![queue, vendors, loops] }
}

fn section(priority: u8, title: &str, lines: impl Iterator<Item = Line<'static>>, none: &str) -> Section {
    let mut all = vec![heading(title)];
    all.extend(lines);
    if all.len() == 1 {
        all.push(Line::from(plain(text!("  {none}"))));
    }
    Section { lines: all, priority }
}

fn head(node: &NodeSnapshot, width: usize) -> Vec<Line<'static>> {
    let clock = node.now.map_or("clock unknown".to_string(), |t| t.to_string().chars().take(19).collect::<String>() + "Z");
    let beat = match (node.now, node.heartbeat_at) {
        (Some(now), Some(at)) => {
            let age = now.seconds_since(at);
            let text = text!("heartbeat {} ago", duration(age));
            if !node.at_work {
                plain(text!("last {text}"))
            } else if age > 90.0 {
                bad(text!("{text} LATE"))
            } else {
                good(text!("{text} ok"))
            }
        }
        _ => caution("no heartbeat yet"),
    };
    let eta = match node.eta_seconds {
        Some(s) if s > 0.0 => text!("all there in about {}", duration(s)),
        Some(_) => "nothing is waiting".into(),
        None if node.queue.iter().all(|q| q.pending + q.leased == 0) => "nothing is waiting".into(),
        None => "time left unknown".into(),
    };
    let used = node.disk_total.saturating_sub(node.disk_free);
    let disk = text!("disk {} free ({} used)", human_bytes(node.disk_free), percent(used, node.disk_total));
    let first = Line::from(vec![plain(format!("{clock}   ")), beat]);
    let next = node.next_stage_seconds.map_or(String::new(), |s| text!("   stage {} could be there in {}", node.stage + 1, duration(s)));
    let second = Line::from(fit(&text!("stage {}: {eta}   {disk}{next}", node.stage), width));
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
    spans.push(good(text!("G {} ", thousands(row.green))));
    spans.push(count("A", row.amber, caution));
    spans.push(count("R", row.red, bad));
    let of = text!("of {}", thousands(row.expected));
    if spans.iter().map(Span::width).sum::<usize>() + of.len() <= width {
        spans.push(plain(of));
    }
    Line::from(spans)
}

fn count(letter: &str, n: u64, style: impl Fn(String) -> Span<'static>) -> Span<'static> {
    let text = text!("{letter} {} ", thousands(n));
    if n == 0 { plain(text) } else { style(text) }
}

fn queue_line(row: &QueueRow, width: usize) -> Line<'static> {
    let total = row.pending + row.leased + row.done + row.failed;
    let name = pad(&text!("{} {}", row.dataset, row.kind), if width >= 90 { 30 } else { 22 });
    let share = percent(row.done, total);
    let failed = if row.failed == 0 { plain("0 failed") } else { bad(text!("{} FAILED", thousands(row.failed))) };
    let running = if width >= 72 { text!("{} running, ", thousands(row.leased)) } else { String::new() };
    let left = thousands(if width >= 72 { row.pending } else { row.pending + row.leased });
    let mut spans = vec![plain(text!("  {name} {share:>7} {left} left, {running}")), failed];
    if let Some(age) = row.oldest_seconds.map(|s| text!(", waits {}", duration(s)))
        && spans.iter().map(Span::width).sum::<usize>() + age.len() <= width
    {
        spans.push(plain(age));
    }
    Line::from(spans)
}

fn vendor_line(row: &VendorRow, width: usize) -> Line<'static> {
    let spent = match row.cap {
        Some(cap) => text!("{}/{} a {}", thousands(row.spent), thousands(cap), row.window),
        None => text!("{} a {}", thousands(row.spent), row.window),
    };
    let gauge = row.cap.filter(|cap| *cap > 0 && width >= 72).map_or(String::new(), |cap| marked(row.spent as f64 / cap as f64) + " ");
    let room = width.saturating_sub(40 + gauge.len()).max(10);
    let state = match row.frozen_seconds {
        Some(s) => bad(fit(&text!("FROZEN {}: {}", duration(s), row.state), room)),
        None if row.state == "ok" => good("ok"),
        None => caution(fit(&row.state, room)),
    };
    Line::from(vec![plain(text!("  {} {} {gauge}", pad(&row.vendor, 14), pad(&spent, 20))), state])
}

/// A budget of 20 cells with its marks: `|` at 85 % (backfill ends), at 90 % (probes end); the rest is for new sessions.
fn marked(share: f64) -> String {
    const CELLS: usize = 20;
    let full = (share.clamp(0.0, 1.0) * CELLS as f64).floor() as usize;
    let cell = |i: usize| match i {
        i if i < full => '#',
        17 | 18 => '|',
        _ => '-',
    };
    format!("[{}]", (0..CELLS).map(cell).collect::<String>())
}

/// The newest months that fit.
fn heat_line(row: &HeatRow, width: usize) -> Line<'static> {
    let name = if width >= 100 { 26 } else { 16 };
    let room = width.saturating_sub(name + 4 + 9);
    let first = row.months.len().saturating_sub(room);
    let mut spans = vec![plain(text!("  {} {} ", pad(row.table.rsplit('/').next().unwrap_or(&row.table), name), month_after(&row.from, first)))];
    spans.extend(row.months[first..].iter().map(|month| match month {
        None => plain("."),
        Some(share) if *share >= 1.0 => good("#"),
        Some(share) => {
            let digit = format!("{}", (share * 10.0).floor().clamp(0.0, 9.0));
            if *share >= 0.9 { caution(digit) } else { bad(digit) }
        }
    }));
    Line::from(spans)
}

/// `2013-02` and 11 months later is `2014-01`.
fn month_after(month: &str, n: usize) -> String {
    let parts = month.split_once('-').and_then(|(y, m)| Some((y.parse::<usize>().ok()?, m.parse::<usize>().ok()?)));
    parts.map_or_else(
        || month.to_string(),
        |(y, m)| {
            let months = y * 12 + m.saturating_sub(1) + n;
            format!("{:04}-{:02}", months / 12, months % 12 + 1)
        },
    )
}

fn loop_line(row: &LoopRow, width: usize) -> Line<'static> {
    Line::from(fit(&text!("  {} {} ago   {}", pad(&row.name, 20), pad(&duration(row.seconds_ago), 9), row.said), width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_counted_over_years_and_the_marks_stand_where_the_slices_end() {
        assert_eq!((month_after("2013-02", 0).as_str(), month_after("2013-02", 11).as_str()), ("2013-02", "2014-01"));
        assert_eq!(month_after("", 3), "");
        assert_eq!(marked(0.0), "[-----------------||-]");
        assert_eq!(marked(0.5), "[##########-------||-]");
        assert_eq!(marked(1.2), "[####################]");
    }
}
