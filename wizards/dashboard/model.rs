//! What a dashboard shows, and how events change it.

use data_layer::time::UtcTime;

/// Everything one picture is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Snapshot {
    Node(NodeSnapshot),
    Train(TrainSnapshot),
    Paper(PaperSnapshot),
}

/// A running data node.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct NodeSnapshot {
    pub node_id: String,
    /// `real`, or a world such as `replay@1`.
    pub dataset: String,
    /// The node's clock (a world's clock on a world's root).
    pub now: Option<UtcTime>,
    /// One word or short sentence: `draining`, `idle until 02:00`.
    pub state: String,
    /// Whether a node holds the drive: only then is a late heartbeat trouble.
    pub at_work: bool,
    pub heartbeat_at: Option<UtcTime>,
    pub coverage: Vec<CoverageRow>,
    pub heat: Vec<HeatRow>,
    pub loops: Vec<LoopRow>,
    pub queue: Vec<QueueRow>,
    pub vendors: Vec<VendorRow>,
    /// Seconds until everything that was asked for is there, within the vendors' limits; `None` when it cannot be told.
    pub eta_seconds: Option<f64>,
    pub stage: u8,
    /// Seconds until the next stage's data could be there.
    pub next_stage_seconds: Option<f64>,
    /// Bytes on the drive.
    pub disk_free: u64,
    pub disk_total: u64,
    /// Newest last.
    pub events: Vec<EventRow>,
}

/// Ledger counts of one table.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct CoverageRow {
    pub table: String,
    pub expected: u64,
    pub green: u64,
    pub amber: u64,
    pub red: u64,
    /// Why something is missing, or `not entitled: …`.
    pub note: String,
}

/// How GREEN a table is, month by month.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct HeatRow {
    pub table: String,
    /// `2013-02`, the month of the first cell.
    pub from: String,
    /// GREEN share of each month; `None` where nothing is expected.
    pub months: Vec<Option<f64>>,
}

/// When a loop of the service last began, and what it said.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct LoopRow {
    pub name: String,
    pub seconds_ago: f64,
    pub said: String,
}

/// Queue rows of one dataset and kind.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct QueueRow {
    pub dataset: String,
    pub kind: String,
    pub pending: u64,
    pub leased: u64,
    pub done: u64,
    pub failed: u64,
    /// How long the oldest row has waited that is due.
    pub oldest_seconds: Option<f64>,
}

/// One vendor's budget.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct VendorRow {
    pub vendor: String,
    /// `minute`, `day`, `month`
    pub window: String,
    pub spent: u64,
    /// `None` = no cap.
    pub cap: Option<u64>,
    /// `ok`, `no key`, `3 refused`
    pub state: String,
    /// Seconds until a freeze ends.
    pub frozen_seconds: Option<f64>,
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    pub at: UtcTime,
    pub severity: Severity,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Info,
    Warning,
    Error,
}

/// A training run: its splits as they come.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct TrainSnapshot {
    pub dataset: String,
    pub now: Option<UtcTime>,
    /// `equities_xs 2017-11-30 1a2b3c4d`
    pub run: String,
    /// Step of the wizard, and whether it is at work.
    pub state: String,
    /// Splits of all configurations that are done, and that there will be.
    pub done: u64,
    pub total: u64,
    pub eta_seconds: Option<f64>,
    pub configurations: Vec<ConfigurationRow>,
    pub events: Vec<EventRow>,
}

/// One configuration of a training run.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ConfigurationRow {
    pub name: String,
    /// Mean rank IC of each split's test groups, in split order: `None` = not finished, `Some(None)` = finished and undefined.
    pub rank_ic: Vec<Option<Option<f64>>>,
}

/// A paper book.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct PaperSnapshot {
    pub account: String,
    /// `simulated`, `shadow` or `paper`: never left out.
    pub mode: String,
    pub dataset: String,
    pub now: Option<UtcTime>,
    pub session: String,
    pub champion: String,
    /// Account currency.
    pub equity_usd: f64,
    pub cash_usd: f64,
    pub pnl_day_usd: f64,
    pub pnl_total_usd: f64,
    /// Equity per session, oldest first: the sparkline, and the drawdown under it.
    pub equity_path: Vec<f64>,
    /// Fractions of equity.
    pub gross_exposure: f64,
    pub net_exposure: f64,
    pub positions: Vec<PositionRow>,
    pub orders: Vec<OrderRow>,
    pub switches: Vec<SwitchRow>,
    pub events: Vec<EventRow>,
}

#[derive(Clone, Debug, PartialEq, Default)]
pub struct PositionRow {
    pub symbol: String,
    /// Negative = short.
    pub qty: f64,
    pub price_usd: f64,
    /// Fraction of equity, signed.
    pub weight: f64,
    pub pnl_usd: f64,
}

#[derive(Clone, Debug, PartialEq, Default)]
pub struct OrderRow {
    pub symbol: String,
    /// `BUY` or `SELL`
    pub side: String,
    pub qty: f64,
    pub state: String,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Default)]
pub struct SwitchRow {
    pub name: String,
    /// `ACTIVE`, `ENGAGED`, `OPEN`, `TRIPPED`
    pub state: String,
    /// Orders may be sent as far as this switch goes.
    pub permits: bool,
    pub reason: String,
}

/// How a dashboard is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// `q`: only the view ends.
    Quit,
    /// What was watched has ended.
    Over,
    /// Ctrl-C: the program was asked to stop.
    Interrupted,
}

/// A key of the keyboard; what it means depends on what is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Char(char),
    Enter,
    Backspace,
    Esc,
    Up,
    Down,
    Interrupt,
    Other,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Fresh(Box<Snapshot>),
    Key(Key),
    Resize,
}

/// What has to be typed before the kill switch is engaged.
pub const STOP_WORD: &str = "STOP";

/// The kill switch on the paper book's screen: nothing happens before the whole word is typed.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Panic {
    #[default]
    Idle,
    Typing(String),
    /// The word was typed: the loop around the view engages the switch.
    Asked,
    /// What came of it.
    Said(String),
}

/// The dashboard's whole state.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    pub snapshot: Snapshot,
    /// How many of the newest event lines are scrolled away.
    pub scrolled: usize,
    /// Events below this severity are not shown.
    pub filter: Severity,
    pub help: bool,
    pub panic: Panic,
    /// Set when the user asked to leave.
    pub leaving: Option<Leave>,
}

impl Model {
    pub fn new(snapshot: Snapshot) -> Self {
        Self { snapshot, scrolled: 0, filter: Severity::Info, help: false, panic: Panic::Idle, leaving: None }
    }

    /// The events that the filter lets through, oldest first.
    pub(super) fn events(&self) -> Vec<&EventRow> {
        let all = match &self.snapshot {
            Snapshot::Node(node) => &node.events,
            Snapshot::Train(train) => &train.events,
            Snapshot::Paper(paper) => &paper.events,
        };
        all.iter().filter(|e| e.severity >= self.filter).collect()
    }
}

/// The model after one event.
#[must_use]
pub fn update(mut model: Model, event: Event) -> Model {
    match event {
        Event::Fresh(snapshot) => model.snapshot = *snapshot,
        Event::Key(Key::Interrupt) => model.leaving = Some(Leave::Interrupted),
        Event::Key(key) if matches!(model.panic, Panic::Typing(_)) => model.panic = typed(model.panic, key),
        Event::Key(key) => pressed(&mut model, key),
        Event::Resize => {}
    }
    model.scrolled = model.scrolled.min(model.events().len().saturating_sub(1));
    model
}

fn pressed(model: &mut Model, key: Key) {
    match key {
        Key::Char('q' | 'Q') | Key::Esc => model.leaving = Some(Leave::Quit),
        Key::Up | Key::Char('k') => model.scrolled += 1,
        Key::Down | Key::Char('j') => model.scrolled = model.scrolled.saturating_sub(1),
        Key::Char('?' | 'h') => model.help = !model.help,
        Key::Char('f') => {
            model.filter = match model.filter {
                Severity::Info => Severity::Warning,
                Severity::Warning => Severity::Error,
                Severity::Error => Severity::Info,
            };
        }
        Key::Char('!') if matches!(model.snapshot, Snapshot::Paper(_)) => model.panic = Panic::Typing(String::new()),
        _ => model.help = false,
    }
}

/// A key while the word is being typed.
fn typed(panic: Panic, key: Key) -> Panic {
    let Panic::Typing(mut word) = panic else { return panic };
    match key {
        Key::Esc => return Panic::Idle,
        Key::Enter if word == STOP_WORD => return Panic::Asked,
        Key::Enter => return Panic::Said(text!("'{word}' is not {STOP_WORD}: nothing was stopped")),
        Key::Backspace => drop(word.pop()),
        Key::Char(c) if word.len() < 2 * STOP_WORD.len() => word.push(c),
        _ => {}
    }
    Panic::Typing(word)
}
