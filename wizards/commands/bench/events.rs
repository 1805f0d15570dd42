//! The event-driven engine on minute bars, with a record of every order and fill.

use super::measure::{Job, decimals};
use super::{Bench, made};
use data_layer::error::{Error, Result, code};
use engine::backtest::events::{Bars, Desk, Pricing, Rules, Strategy, run};
use engine::execution::cost::CostModel;
use engine::execution::order::Tif;
use engine::types::{Matrix, Side};
use serde_json::json;

const MINUTES: usize = 390;
const SHARES: f64 = 100.0;
const CAPITAL: f64 = 1e6;

/// Holds 100 shares while the mean of 20 closes is above that of 60.
struct Cross {
    sums: Vec<(f64, f64)>,
    wanted: Vec<f64>,
}

impl Strategy for Cross {
    fn on_bar(&mut self, desk: &mut Desk<'_>, symbol: usize, bar: usize) -> Result<()> {
        let close = desk.past(symbol).close;
        let (short, long) = &mut self.sums[symbol];
        *short += close[bar];
        *long += close[bar];
        if bar >= 20 {
            *short -= close[bar - 20];
        }
        if bar >= 60 {
            *long -= close[bar - 60];
        }
        if bar < 59 {
            return Ok(());
        }
        let want = if *short / 20.0 > *long / 60.0 { SHARES } else { 0.0 };
        let before = std::mem::replace(&mut self.wanted[symbol], want);
        if want != before {
            desk.submit(symbol, if want > before { Side::Buy } else { Side::Sell }, SHARES, None, Tif::Gtc)?;
        }
        Ok(())
    }
}

/// `minute.parquet`: open, high, low and close of every symbol, `symbols x minutes`.
fn minutes(bench: &Bench<'_>) -> Result<[Matrix; 4]> {
    if bench.inputs.are_made() {
        return made::minutes(bench.scale);
    }
    let mut symbols = bench.inputs.texts("minute.parquet", "symbol")?;
    let rows = symbols.len();
    symbols.dedup();
    let n = symbols.len();
    if n == 0 || !rows.is_multiple_of(n) {
        return Err(
            Error::new(code::USE_ARGUMENT, "minute.parquet is not sorted by symbol with equally many rows each").found(format!("{rows} rows, {n} symbols"))
        );
    }
    let read = |name: &str| Matrix::from_vec(n, rows / n, bench.inputs.floats("minute.parquet", name)?);
    Ok([read("open")?, read("high")?, read("low")?, read("close")?])
}

/// Orders meet the open of the next bar; no cost; a million for each symbol.
pub fn minute(bench: &mut Bench<'_>) -> Result<()> {
    let [open, high, low, close] = minutes(bench)?;
    let (symbols, n) = (close.rows(), close.cols());
    let sessions = made::sessions(n.div_ceil(MINUTES))?;
    let days: Vec<_> = (0..n).map(|i| sessions[i / MINUTES]).collect();
    let bars = Bars { open: &open, high: &high, low: &low, close: &close, volume: None, days: &days };
    let rules = Rules { capital_usd: CAPITAL * symbols as f64, cost: CostModel::free(), pricing: Pricing::Open, max_volume_share: None };
    let line = bench.clock.measure(
        Job::new("backtest_minute", symbols * n, "bars"),
        || Ok(Cross { sums: vec![(0.0, 0.0); symbols], wanted: vec![0.0; symbols] }),
        |mut cross| run(&bars, &rules, &mut cross),
        |tape| Ok(json!({"final_equity": decimals(tape.equity_usd, 2), "fills": tape.fills.len(), "orders": tape.orders.len(), "transitions": tape.transitions.len()})),
    )?;
    bench.lines.push(line);
    Ok(())
}
