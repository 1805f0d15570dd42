//! A symbol's raw rows, one a day, out of verified segments.

use crate::audit::bars::{self, Candidate, Catalogue, Series};
use crate::audit::sheets::Sheet;
use crate::error::Result;
use crate::frame::{self, DataFrame, Floats};
use crate::ledger::Status;
use crate::qc::{bar_code, prices_code};
use crate::time::{DateRange, TradingDay};
use std::collections::HashMap;

/// A day as it traded, and who said so.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    pub day: TradingDay,
    /// Open, high, low, close, vwap, in dollars.
    pub prices: [Option<f64>; 5],
    pub volume: Option<f64>,
    pub session_id: Option<&'a str>,
    pub vendor: &'a str,
}

impl Row<'_> {
    pub fn close(&self) -> Option<f64> {
        self.prices[3]
    }
    /// Whether it passes its own check: the ledger calls one that does not RED.
    fn is_sound(&self) -> bool {
        let [open, high, low, close, _] = self.prices;
        prices_code([open, high, low, close], self.volume).status() != Status::Red
    }
}

/// Rows of one symbol that follow each other in a segment, of which those on `days` are wanted.
#[derive(Clone, Copy)]
pub struct Piece<'a> {
    pub sheet: &'a Sheet,
    pub from: usize,
    pub to: usize,
    pub days: DateRange,
}

impl Piece<'_> {
    fn days(&self) -> impl Iterator<Item = TradingDay> {
        self.sheet.days(self.from, self.to)
    }
    /// Whether some row of the symbol's own company is on a day before this one, and wanted.
    pub fn has_before(&self, first: TradingDay, symbol: &str, catalogue: &Catalogue) -> bool {
        self.days().any(|day| day < first && self.days.contains(day) && !catalogue.is_of_another(self.sheet.manifest, symbol, day))
    }
}

/// The columns of a piece.
pub struct Columns<'a> {
    prices: [Floats<'a>; 5],
    volume: Floats<'a>,
    sessions: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    /// `table` holds the rows of the piece alone.
    pub fn of(table: &'a DataFrame) -> Result<Self> {
        let column = |name| Floats::of(table, name);
        let prices = [column("open")?, column("high")?, column("low")?, column("close")?, column("vwap")?];
        Ok(Self { prices, volume: column("volume")?, sessions: frame::texts(table, "session_id")? })
    }
}

/// The sound rows of a symbol whose days are told once each, as nearly always; `None` where one is told twice, so that somebody has to
/// choose ([`chosen`]).
pub fn plain<'a>(pieces: &[(Piece<'_>, Columns<'a>)], catalogue: &'a Catalogue) -> Option<Vec<Row<'a>>> {
    let mut order: Vec<&(Piece<'_>, Columns<'a>)> = pieces.iter().collect();
    order.sort_by_key(|(piece, _)| piece.days().next());
    let mut out: Vec<Row<'a>> = Vec::with_capacity(order.iter().map(|(p, _)| p.to - p.from).sum());
    let mut last = None;
    for (piece, columns) in order {
        let vendor = catalogue.manifests.get(piece.sheet.manifest)?.1.vendor.as_str();
        for (i, day) in piece.days().enumerate() {
            if !piece.days.contains(day) {
                continue;
            }
            if last.replace(day) >= Some(day) {
                return None;
            }
            let prices = [0, 1, 2, 3, 4].map(|c: usize| columns.prices[c].get(i));
            let session_id = columns.sessions.get(i).copied().flatten();
            out.push(Row { day, prices, volume: columns.volume.get(i), session_id, vendor });
        }
    }
    out.retain(Row::is_sound);
    Some(out)
}

/// One bar a day out of several that say something about it, without those that are another company's.
pub fn chosen(symbol: &str, pieces: &[Piece<'_>], catalogue: &Catalogue, order: &[String]) -> Result<Series> {
    let (mut all, mut names): (Vec<Candidate>, _) = (Vec::new(), HashMap::new());
    for piece in pieces {
        all.extend(piece.sheet.candidates((symbol, piece.from, piece.to, piece.days), &mut names)?);
    }
    all.retain(|c| !catalogue.is_of_another(c.manifest, symbol, c.bar.day));
    Ok(bars::resolve(all, catalogue, order))
}

/// The rows of a series. Bars that failed their own check, or came twice, are left out: the ledger calls them RED.
pub fn of_series(series: &Series) -> Vec<Row<'_>> {
    let sound = series.bars.iter().zip(&series.origins).filter(|(bar, origin)| origin.rows == 1 && bar_code(bar).status() != Status::Red);
    sound
        .map(|(bar, origin)| Row {
            day: bar.day,
            prices: [bar.open, bar.high, bar.low, bar.close, bar.vwap],
            volume: bar.volume,
            session_id: bar.session_id.as_deref(),
            vendor: &origin.vendor,
        })
        .collect()
}
