//! Features of a whole panel.

use super::measure::{Job, checksum};
use super::{Bench, made};
use data_layer::error::{Error, Result};
use data_layer::time::TradingDay;
use engine::features::{alpha158, equities_xs};
use engine::types::{self, Matrix};
use engine::types::{Announcement, PointInTime};
use rayon::prelude::*;
use serde_json::{Map, Value};

/// Features whose values are compared.
const PROBES: [&str; 17] = [
    "KSFT2", "ROC20", "STD60", "BETA20", "RSQR10", "RESI30", "QTLU20", "RANK60", "IMAX10", "IMXD20", "CORR20", "CORD30", "CNTP10", "SUMD20", "VSTD5", "WVMA60",
    "VSUMD20",
];

/// `daily.parquet`: all 158 features of every symbol and session, as float32. Reading the file is inside the clock.
pub fn alpha158(bench: &mut Bench<'_>) -> Result<()> {
    let names: Vec<String> = alpha158::fields().into_iter().map(|f| f.0).collect();
    let probes = PROBES.iter().map(|p| names.iter().position(|n| n == p)).collect::<Option<Vec<usize>>>();
    let probes = probes.ok_or_else(|| Error::bug("a compared feature is not in the set"))?;
    let cells = Panel::read(bench)?.close.values().len();
    let line = bench.clock.measure(
        Job::new("features_alpha158", cells * names.len(), "feature_values").repeats(3),
        || Ok(()),
        |()| {
            let panel = Panel::read(bench)?;
            (0..panel.close.rows()).into_par_iter().map(|s| alpha158::compute::<f32>(&panel.bars(s))).collect::<Result<Vec<_>>>()
        },
        |symbols| {
            let column = |f: usize| symbols.iter().flat_map(|rows| rows[f].iter().map(|v| f64::from(*v))).collect::<Vec<f64>>();
            let sums: Map<String, Value> = PROBES.iter().zip(&probes).map(|(name, f)| ((*name).to_string(), checksum(&column(*f)))).collect();
            Ok(Value::Object(sums))
        },
    )?;
    bench.lines.push(line);
    Ok(())
}

/// Features of `equities_xs` whose values are compared.
const XS_PROBES: [&str; 4] = ["mom_126", "dd_60", "rv_20", "amihud_20"];
/// Before an earnings date, in days: the announcement of it.
const ANNOUNCED_DAYS: i32 = 30;

/// `daily.parquet` and `earnings.parquet`: every feature of `equities_xs` with its point-in-time sources, standardised per
/// session. Reading the files is inside the clock.
pub fn equities_xs(bench: &mut Bench<'_>) -> Result<()> {
    let cells = Daily::read(bench)?.close.values().len();
    let line = bench.clock.measure(
        Job::new("features_xs_v1", cells, "symbol_days").repeats(5),
        || Ok(()),
        |()| equities_xs::build(&cross_section(bench)?),
        |block| {
            let sum = |name: &str| block.column(name).map(|m| checksum(m.values())).ok_or_else(|| Error::bug("a compared feature is not in the set"));
            let sums = XS_PROBES.iter().map(|name| Ok(((*name).to_string(), sum(name)?))).collect::<Result<Map<String, Value>>>()?;
            Ok(Value::Object(sums))
        },
    )?;
    bench.lines.push(line);
    Ok(())
}

/// The panel that training would build, every symbol a member throughout, with shares outstanding and earnings dates. What the set does
/// not read is left empty.
fn cross_section(bench: &Bench<'_>) -> Result<types::Panel> {
    let Daily { open, close, volume, value, days } = Daily::read(bench)?;
    let (rows, cols) = (close.rows(), close.cols());
    let made = bench.inputs.are_made();
    let symbols: Vec<String> = if made { (0..rows).map(|s| format!("S{s:04}")).collect() } else { bench.inputs.texts("sectors.parquet", "symbol")? };
    let mut sources = PointInTime::default();
    for (s, symbol) in symbols.iter().enumerate() {
        let count = value.as_ref().map_or(1e8, |v| v.at(s, 0) / close.at(s, 0));
        sources.shares.insert(symbol.clone(), vec![(days[0], count)]);
    }
    let earnings: Vec<(String, TradingDay)> = if made {
        symbols.iter().flat_map(|s| days.iter().step_by(63).map(move |d| (s.clone(), *d))).collect()
    } else {
        bench.inputs.texts("earnings.parquet", "symbol")?.into_iter().zip(bench.inputs.days("earnings.parquet", "date")?).collect()
    };
    for (symbol, date) in earnings {
        sources.earnings.entry(symbol).or_default().push(Announcement { announced: date.plus_days(-ANNOUNCED_DAYS), date, withdrawn: None });
    }
    let none = || Matrix::missing(0, 0);
    Ok(types::Panel {
        known: sources,
        member: Matrix::from_vec(rows, cols, vec![1.0; rows * cols])?,
        delisted: vec![None; rows],
        close_raw: close.clone(),
        volume_raw: volume,
        days,
        symbols,
        open,
        close,
        high: none(),
        low: none(),
        vwap: none(),
        volume: none(),
    })
}

/// What `equities_xs` reads of `daily.parquet`, `symbols x sessions`: the value is that of all shares, where the file has it.
struct Daily {
    open: Matrix,
    close: Matrix,
    volume: Matrix,
    value: Option<Matrix>,
    days: Vec<TradingDay>,
}

impl Daily {
    fn read(bench: &Bench<'_>) -> Result<Self> {
        if bench.inputs.are_made() {
            let Panel { open, close, volume, .. } = Panel::read(bench)?;
            let days = made::sessions(close.cols())?;
            return Ok(Self { open, close, volume, value: None, days });
        }
        let (read, days) = bench.inputs.dated_panels("daily.parquet", &["open", "close", "volume", "mcap"], "sectors.parquet")?;
        let [open, close, volume, value] = read.try_into().map_err(|_| Error::bug("four columns were asked for"))?;
        Ok(Self { open, close, volume, value: Some(value), days })
    }
}

/// Bars, `symbols x sessions`.
struct Panel {
    open: Matrix,
    high: Matrix,
    low: Matrix,
    close: Matrix,
    volume: Matrix,
    vwap: Matrix,
}

impl Panel {
    fn read(bench: &Bench<'_>) -> Result<Self> {
        if bench.inputs.are_made() {
            return Self::made(made::closes(bench.scale)?);
        }
        let columns = ["open", "high", "low", "close", "volume", "vwap"];
        let read = bench.inputs.panels("daily.parquet", &columns, "sectors.parquet")?;
        let [open, high, low, close, volume, vwap] = read.try_into().map_err(|_| Error::bug("six columns were asked for"))?;
        Ok(Self { open, high, low, close, volume, vwap })
    }

    /// Bars around closes: the open is the close before, the range 1 % of the price.
    fn made(close: Matrix) -> Result<Self> {
        let (rows, cols) = (close.rows(), close.cols());
        let shape = |f: &dyn Fn(usize, usize) -> f64| {
            Matrix::from_vec(rows, cols, (0..rows).flat_map(|s| (0..cols).map(move |t| (s, t))).map(|(s, t)| f(s, t)).collect())
        };
        let open = shape(&|s, t| close.at(s, t.saturating_sub(1)))?;
        let high = shape(&|s, t| open.at(s, t).max(close.at(s, t)) * 1.005)?;
        let low = shape(&|s, t| open.at(s, t).min(close.at(s, t)) * 0.995)?;
        let volume = shape(&|s, t| ((s * 7_919 + t * 104_729) % 9_973 + 1_000) as f64 * 100.0)?;
        let vwap = shape(&|s, t| (high.at(s, t) + low.at(s, t) + close.at(s, t)) / 3.0)?;
        Ok(Self { open, high, low, close, volume, vwap })
    }

    fn bars(&self, s: usize) -> alpha158::Bars<'_> {
        alpha158::Bars {
            open: self.open.row(s),
            high: self.high.row(s),
            low: self.low.row(s),
            close: self.close.row(s),
            volume: self.volume.row(s),
            vwap: self.vwap.row(s),
        }
    }
}
