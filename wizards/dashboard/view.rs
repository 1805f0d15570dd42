//! Drawing: the frame that both screens share, and how height is shared out.

use super::model::{EventRow, Model, Panic, STOP_WORD, Severity, Snapshot};
use super::text::{bad, caution, fit, heading, pad, plain};
use super::{node_view, paper_view, train_view};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

/// A titled list of lines, and how important its lines are when there is too little room (1 = first to stay).
pub(super) struct Section {
    pub lines: Vec<Line<'static>>,
    pub priority: u8,
}

/// What a screen wants drawn: one block on top, then sections in one column or two.
pub(super) struct Page {
    pub title: String,
    pub head: Vec<Line<'static>>,
    pub left: Vec<Section>,
    pub right: Vec<Section>,
}

/// From this width on, sections stand in two columns.
const TWO_COLUMNS: u16 = 110;

/// Draw the model. Works from 60 columns and 20 rows up; smaller terminals get what fits.
pub fn view(frame: &mut Frame<'_>, model: &Model) {
    let area = frame.area();
    let two = area.width >= TWO_COLUMNS;
    let column = if two { (area.width - 2) / 2 } else { area.width };
    let page = match &model.snapshot {
        Snapshot::Node(node) => node_view::page(node, usize::from(area.width), usize::from(column)),
        Snapshot::Train(train) => train_view::page(train, usize::from(area.width), usize::from(column)),
        Snapshot::Paper(paper) => paper_view::page(paper, usize::from(area.width), usize::from(column)),
    };
    let mut y = 0;
    draw(frame, vec![heading(fit(&page.title, usize::from(area.width)))], area, &mut y);
    draw(frame, page.head, area, &mut y);
    if model.help {
        draw(frame, help(model), area, &mut y);
        return;
    }
    y = sections(frame, page.left, page.right, two, column, y);
    events(frame, model, y);
    let place = Rect { y: area.height.saturating_sub(1), height: 1.min(area.height), ..area };
    frame.render_widget(Paragraph::new(foot(model, usize::from(area.width))), place);
}

/// The last row: the keys, or what is being typed.
fn foot(model: &Model, width: usize) -> Line<'static> {
    let paper = matches!(model.snapshot, Snapshot::Paper(_));
    match &model.panic {
        Panic::Typing(word) => return Line::from(bad(fit(&text!("Type {STOP_WORD} and Enter to stop all increases, Esc to leave it: {word}_"), width))),
        Panic::Asked => return Line::from(bad(fit("stopping ...", width))),
        Panic::Said(text) => return Line::from(caution(fit(text, width))),
        Panic::Idle => {}
    }
    let keys = match (width >= 90, paper) {
        (true, true) => "q leaves this view   ! stops all increases   up/down scrolls the events   f filters them   ? help   Ctrl-C stops",
        (true, false) => "q leaves this view (a service goes on)   up/down scrolls the events   f filters them   ? help   Ctrl-C stops",
        (false, true) => "q leave  ! STOP  up/down scroll  f filter  ? help",
        (false, false) => "q leave  up/down scroll  f filter  ? help  Ctrl-C stop",
    };
    Line::from(fit(keys, width))
}

fn help(model: &Model) -> Vec<Line<'static>> {
    let (stop, also) = if matches!(model.snapshot, Snapshot::Paper(_)) {
        ("!         engage the kill switch, after a typed word: reductions still pass", "The day's numbers are also in:  trademl report open daily")
    } else {
        ("", "Every number is also in:  trademl status --json")
    };
    [
        "",
        "G green   read back, complete and plausible",
        "A amber   usable with a reservation; its code says which",
        "R red     missing or wrong; a task to heal it is queued",
        "",
        "q, Esc    leave this view",
        "Ctrl-C    stop the program at the next safe point; it can be resumed",
        "up, down  scroll the events (also k and j)",
        "f         all events, warnings and errors, errors only",
        stop,
        "",
        also,
    ]
    .into_iter()
    .map(|line| Line::from(plain(line)))
    .collect()
}

/// Lines from `y` on, cut at the bottom row but one.
fn draw(frame: &mut Frame<'_>, lines: Vec<Line<'static>>, area: Rect, y: &mut u16) {
    let room = area.height.saturating_sub(1).saturating_sub(*y);
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX).min(room);
    if height > 0 {
        frame.render_widget(Paragraph::new(lines), Rect { y: area.y + *y, height, ..area });
        *y += height;
    }
}

/// Draw the sections, shortening the least important ones so that three rows stay for events. The first free row is
/// returned.
fn sections(frame: &mut Frame<'_>, mut left: Vec<Section>, mut right: Vec<Section>, two: bool, column: u16, y: u16) -> u16 {
    let area = frame.area();
    let room = usize::from(area.height.saturating_sub(y).saturating_sub(5));
    if !two {
        left.append(&mut right);
    }
    let (mut y_left, mut y_right) = (y, y);
    let left_area = Rect { width: column, ..area };
    for section in shorten(left, room) {
        draw(frame, section.lines, left_area, &mut y_left);
    }
    let right_area = Rect { x: column + 2, width: area.width.saturating_sub(column + 2), ..area };
    for section in shorten(right, room) {
        draw(frame, section.lines, right_area, &mut y_right);
    }
    y_left.max(y_right)
}

/// Sections from this priority on are there when there is room for all of them.
const EXTRA: u8 = 4;

/// Take lines from the least important sections until the rest fits; a section that lost lines says how many.
fn shorten(mut all: Vec<Section>, room: usize) -> Vec<Section> {
    let total = |all: &[Section]| all.iter().map(|s| s.lines.len()).sum::<usize>();
    let before: Vec<usize> = all.iter().map(|s| s.lines.len()).collect();
    while total(&all) > room {
        // What is only nice to have goes first; then down to a heading and two lines each, then to nothing.
        let extra = (0..all.len()).filter(|i| all[*i].priority >= EXTRA && !all[*i].lines.is_empty()).max_by_key(|i| all[*i].priority);
        if let Some(i) = extra {
            all[i].lines.clear();
            continue;
        }
        let victim = (0..all.len()).filter(|i| all[*i].lines.len() > 3).max_by_key(|i| all[*i].priority);
        let Some(victim) = victim.or_else(|| (0..all.len()).filter(|i| !all[*i].lines.is_empty()).max_by_key(|i| all[*i].priority)) else { break };
        all[victim].lines.pop();
    }
    for (section, before) in all.iter_mut().zip(before) {
        let lost = before - section.lines.len();
        if lost > 0
            && let Some(last) = section.lines.last_mut()
        {
            *last = Line::from(plain(text!("  ... and {} more", lost + 1)));
        }
    }
    all
}

fn events(frame: &mut Frame<'_>, model: &Model, y: u16) {
    let area = frame.area();
    let room = usize::from(area.height.saturating_sub(y).saturating_sub(2));
    if room < 1 {
        return;
    }
    let all = model.events();
    let end = all.len().saturating_sub(model.scrolled);
    let shown = &all[end.saturating_sub(room)..end];
    let what = match model.filter {
        Severity::Info => "Events",
        Severity::Warning => "Warnings and errors",
        Severity::Error => "Errors",
    };
    let title = if model.scrolled > 0 { text!("{what} ({} newer below)", model.scrolled) } else { what.to_string() };
    let mut lines = vec![heading(title)];
    lines.extend(shown.iter().map(|e| event_line(e, usize::from(area.width))));
    let mut at = y;
    draw(frame, lines, area, &mut at);
}

fn event_line(event: &EventRow, width: usize) -> Line<'static> {
    let clock: String = event.at.to_string().chars().skip(11).take(8).collect();
    let word = match event.severity {
        Severity::Info => plain(pad("", 5)),
        Severity::Warning => caution(pad("warn", 5)),
        Severity::Error => bad(pad("ERROR", 5)),
    };
    Line::from(vec![plain(format!("{clock} ")), word, plain(format!(" {}", fit(&event.text, width.saturating_sub(15))))])
}
