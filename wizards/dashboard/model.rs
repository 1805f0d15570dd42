//! What a dashboard shows, and how events change it.

use data_layer::time::UtcTime;

/// Everything one picture is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Snapshot {
    Node(NodeSnapshot),
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
    pub heartbeat_at: Option<UtcTime>,
    pub coverage: Vec<CoverageRow>,
    pub queue: Vec<QueueRow>,
    pub vendors: Vec<VendorRow>,
    /// Seconds until the queue is drained at the present rate; `None` when it cannot be told.
    pub eta_seconds: Option<f64>,
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

/// Queue rows of one dataset and kind.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct QueueRow {
    pub dataset: String,
    pub kind: String,
    pub pending: u64,
    pub leased: u64,
    pub done: u64,
    pub failed: u64,
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
    /// `ok`, `frozen 40 s: 429`, `no key`
    pub state: String,
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    pub at: UtcTime,
    pub severity: Severity,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Info,
    Warning,
    Error,
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

/// What the keyboard can say to a dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Quit,
    Interrupt,
    Up,
    Down,
    Help,
    Other,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Fresh(Box<Snapshot>),
    Key(Key),
    Resize,
}

/// The dashboard's whole state.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    pub snapshot: Snapshot,
    /// How many of the newest event lines are scrolled away.
    pub scrolled: usize,
    pub help: bool,
    /// Set when the user asked to leave.
    pub leaving: Option<Key>,
}

impl Model {
    pub fn new(snapshot: Snapshot) -> Self {
        Self { snapshot, scrolled: 0, help: false, leaving: None }
    }

    pub(super) fn events(&self) -> &[EventRow] {
        match &self.snapshot {
            Snapshot::Node(node) => &node.events,
            Snapshot::Paper(paper) => &paper.events,
        }
    }
}

/// The model after one event.
#[must_use]
pub fn update(mut model: Model, event: Event) -> Model {
    match event {
        Event::Fresh(snapshot) => model.snapshot = *snapshot,
        Event::Key(key @ (Key::Quit | Key::Interrupt)) => model.leaving = Some(key),
        Event::Key(Key::Up) => model.scrolled += 1,
        Event::Key(Key::Down) => model.scrolled = model.scrolled.saturating_sub(1),
        Event::Key(Key::Help) => model.help = !model.help,
        Event::Key(Key::Other) => model.help = false,
        Event::Resize => {}
    }
    model.scrolled = model.scrolled.min(model.events().len().saturating_sub(1));
    model
}
