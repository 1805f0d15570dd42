//! Where everything goes: a calendar of each dataset, newest year first, a column a week and a row a weekday. Units are
//! pixels of the SVG; the PNG has twice as many.

use super::{Dataset, Level, Picture};
use crate::ledger::Coverage;
use crate::time::TradingDay;
use crate::words::thousands;
use std::collections::BTreeMap;

/// Distance of two cells, and the side of one.
pub const PITCH: i32 = 7;
pub const CELL: i32 = 6;
const MARGIN: i32 = 12;
const YEAR_LABEL: i32 = 34;
/// A year may begin and end in the middle of a week.
const WEEKS: i32 = 54;
/// Of every picture: narrow enough for a phone held upright.
pub const WIDTH: i32 = MARGIN * 2 + YEAR_LABEL + WEEKS * PITCH;
const YEAR_HEIGHT: i32 = 5 * PITCH + 7;

/// How a text stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    Title,
    Plain,
    Faint,
}

/// Something to draw, with its upper left corner (a text: the left end of its base line).
#[derive(Clone, Debug)]
pub enum Mark {
    Text { x: i32, y: i32, text: String, weight: Weight },
    Cell { x: i32, y: i32, level: Level, day: Option<TradingDay> },
}

/// Marks and the height that they take.
pub struct Panel {
    pub marks: Vec<Mark>,
    pub height: i32,
}

/// The calendar of one dataset, without its name.
pub fn calendar(dataset: &Dataset) -> Panel {
    let mut marks = Vec::new();
    let mut years: BTreeMap<i16, Vec<(TradingDay, &Coverage)>> = BTreeMap::new();
    dataset.days.iter().for_each(|(day, c)| years.entry(day.year()).or_default().push((*day, c)));
    let mut y = 10;
    marks.extend(months().map(|(week, letter)| Mark::Text { x: column(week), y, text: letter.into(), weight: Weight::Faint }));
    y += 4;
    for (year, days) in years.iter().rev() {
        marks.push(Mark::Text { x: MARGIN, y: y + 21, text: year.to_string(), weight: Weight::Plain });
        for (day, c) in days {
            let (Some(level), Some(first)) = (Level::of(c), TradingDay::ymd(*year, 1, 1)) else { continue };
            let week = (day.0 - first.0 + i32::from(first.weekday())) / 7;
            let row = i32::from(day.weekday());
            marks.push(Mark::Cell { x: column(week), y: y + row * PITCH, level, day: Some(*day) });
        }
        y += YEAR_HEIGHT;
    }
    Panel { marks, height: y }
}

fn column(week: i32) -> i32 {
    MARGIN + YEAR_LABEL + week * PITCH
}

/// First weeks of the months of an ordinary year.
fn months() -> impl Iterator<Item = (i32, &'static str)> {
    ["J", "F", "M", "A", "M", "J", "J", "A", "S", "O", "N", "D"].into_iter().zip(0..).map(|(letter, month)| ((month * 61 / 2 + 3) / 7, letter))
}

/// Squares and words of the levels.
pub fn legend() -> Panel {
    let mut marks = Vec::new();
    let mut x = MARGIN;
    for level in Level::ALL {
        marks.push(Mark::Cell { x, y: 3, level, day: None });
        marks.push(Mark::Text { x: x + 11, y: 10, text: level.word().into(), weight: Weight::Plain });
        x += 20 + 7 * i32::try_from(level.word().len()).unwrap_or(8) + 10;
    }
    Panel { marks, height: 18 }
}

/// Everything in one picture: title, legend, and a calendar for each dataset.
pub fn whole(picture: &Picture) -> Panel {
    let mut out = Panel { marks: Vec::new(), height: 20 };
    let text = |y: i32, text: String, weight: Weight| Mark::Text { x: MARGIN, y, text, weight };
    out.marks.push(text(out.height, text!("Coverage on {}", picture.asof), Weight::Title));
    out.height += 14;
    out.marks.push(text(out.height, subtitle(picture), Weight::Faint));
    out.height += 8;
    out.add(legend());
    for dataset in &picture.datasets {
        out.height += 18;
        out.marks.push(text(out.height, dataset.name.clone(), Weight::Title));
        out.height += 12;
        out.marks.push(text(out.height, share(&dataset.total()), Weight::Plain));
        out.add(calendar(dataset));
    }
    for (name, reason) in &picture.closed {
        out.height += 14;
        out.marks.push(text(out.height, clipped(&text!("{name}: not collected ({reason})")), Weight::Faint));
    }
    out.height += MARGIN;
    out
}

impl Panel {
    /// Put a panel below.
    fn add(&mut self, below: Self) {
        let down = self.height;
        self.marks.extend(below.marks.into_iter().map(|mark| match mark {
            Mark::Text { x, y, text, weight } => Mark::Text { x, y: y + down, text, weight },
            Mark::Cell { x, y, level, day } => Mark::Cell { x, y: y + down, level, day },
        }));
        self.height += below.height;
    }
}

/// What the drive is.
pub fn subtitle(picture: &Picture) -> String {
    let stage = picture.stage.map_or("no stage yet".to_string(), |n| text!("stage {n}"));
    text!("market {}, {stage}", picture.market)
}

/// `99.98 % GREEN of 125,800`; never rounded up.
pub fn share(c: &Coverage) -> String {
    text!("{:.2} % GREEN of {}", (c.fraction() * 1e4).floor() / 1e2, thousands(c.expected))
}

/// Texts of a picture end at its edge.
fn clipped(text: &str) -> String {
    const LETTERS: usize = 68;
    if text.chars().count() <= LETTERS { text.to_string() } else { text.chars().take(LETTERS - 3).chain("...".chars()).collect() }
}
