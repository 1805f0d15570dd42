//! What `paper-trade` asks and says: questions, the confirmation screen, the last words.

use super::{PlannedSet, Reported};
use crate::kit::{Choice, Outcome, Question, SecretSpec};
use data_layer::control::Db;
use data_layer::error::Result;
use data_layer::root::{DataPath, DataRoot};
use data_layer::store;
use data_layer::time::TradingDay;
use engine::execution::calibration::fit::{Estimate, Fit, Outcome as Fitting};
use engine::execution::calibration::{Basis, Change, ENOUGH_FILLS, ENOUGH_SESSIONS, Evidence, SideCost, acceptance};
use engine::execution::cost::{Coefficients, Tier};
use engine::execution::risk::Limits;
use engine::execution::switches::{self, Switch, SwitchState};
use engine::pipelines::paper_day::AccountCheck;
use engine::pipelines::paper_day::plan::{ExpectedCost, Preview, reason_word};
use engine::pipelines::paper_day::send::SubmitReport;
use serde_json::Value;

pub fn broker_question() -> Question {
    let choices = vec![
        Choice::new("simulated", "simulated: a book on this drive, filled at the next open"),
        Choice::new("alpaca", "Alpaca paper account (on a practice drive: the sandbox's)"),
        Choice::new("ctrader", "cTrader demo account (on a practice drive: the sandbox's)"),
    ];
    Question::select("broker.kind", "Which broker?", choices).default("simulated", "needs no account and no key").help(
        "Every book follows the champion. The simulated one lives on the drive; a paper or demo account proves that orders really travel. No real money in any.",
    )
}

pub fn max_orders_question() -> Question {
    Question::number("limits.max_orders", "How many orders may one day send at most?", 1, 500)
        .default(60, "a full rotation of the largest portfolio rule is 40")
        .help("A plan with more orders is refused as a whole, before anything is sent. Cancelling and closing are never limited by it.")
}

pub fn next_session_question() -> Question {
    Question::confirm("orders.next_session", "Plan orders for the next session?")
        .default(true, "without it the day is only settled and reported")
        .help("With yes, targets are computed and shown, and nothing is sent before the typed confirmation. With no, nothing is planned.")
}

/// The paper account's keys, from this machine only.
pub const BROKER_KEYS: &[SecretSpec] = &[
    SecretSpec { var: "ALPACA_API_KEY", label: "Alpaca paper key id", without: "no paper account", required: true },
    SecretSpec { var: "ALPACA_API_SECRET", label: "Alpaca paper secret", without: "no paper account", required: true },
];

/// The application that cTrader's owner of the account lets in; its tokens come from `trademl paper authorize`.
pub const CTRADER_KEYS: &[SecretSpec] = &[
    SecretSpec { var: "CTRADER_CLIENT_ID", label: "cTrader Open API client id", without: "no demo account", required: true },
    SecretSpec { var: "CTRADER_CLIENT_SECRET", label: "cTrader Open API client secret", without: "no demo account", required: true },
];

fn opening(p: &Preview) -> String {
    text!(
        "This will send {} PAPER orders to account {} for the session {}.\nNo real money is involved. Notional {:.0} USD of equity {:.0}; gross after {:.0} %, net {:.0} %.\n",
        p.orders,
        p.account,
        p.trading_day,
        p.notional_usd,
        p.equity,
        whole_percent(p.gross_after),
        whole_percent(p.net_after)
    )
}

/// Whole percent of a share; never -0.
fn whole_percent(share: f64) -> f64 {
    (share * 100.0).round() + 0.0
}

/// The confirmation screen, 78 columns wide; of a plan without orders, what there is to know about it.
pub fn screen(p: &Preview, limits: &Limits) -> String {
    let mut out = if p.orders == 0 {
        text!(
            "Nothing to send to account {} for the session {}.\nEquity {:.0} USD; gross {:.0} %, net {:.0} %.\n",
            p.account,
            p.trading_day,
            p.equity,
            whole_percent(p.gross_after),
            whole_percent(p.net_after)
        )
    } else {
        opening(p)
    };
    for line in &p.lines {
        out.push_str(&text!(
            "  {:<4} {:>6} {:<6} at about {:>9.2}   {:>9.0} USD  now {:>6}  {}{}\n",
            line.side.as_str(),
            line.qty,
            line.symbol,
            line.reference_price,
            line.notional_usd,
            line.held_before,
            reason_word(line.reason),
            if line.slices > 0 { text!(", {} slices", line.slices) } else { String::new() }
                + &line.cost_bps.map_or_else(String::new, |c| text!(", cost {c:.1} bps"))
        ));
    }
    for s in &p.skipped {
        out.push_str(&text!("  skip {:<6} {}\n", s.symbol, s.reason));
    }
    if let Some(cost) = p.cost.as_ref().filter(|_| p.orders > 0) {
        out.push_str(&expected(cost));
    }
    for note in &p.notes {
        out.push_str(&text!("  note: {note}\n"));
    }
    out.push_str(&text!(
        "Tripwires: daily loss {:.0} USD, drawdown {:.0} %. Stop at any time: create control/STOP on the drive.\n",
        limits.daily_loss_usd,
        limits.drawdown_trip * 100.0
    ));
    if p.orders > 0 {
        // Said again last: on a small screen the heading has scrolled away when the words are asked for.
        let usd: f64 = p.lines.iter().map(|line| line.notional_usd.abs()).sum();
        out.push_str(&text!("In short: {} orders, {usd:.0} USD, PAPER account {}, session {}.\n", p.orders, p.account, p.trading_day));
    }
    out
}

fn expected(cost: &ExpectedCost) -> String {
    if let Some(bps) = cost.bps {
        return text!(
            "Expected cost {:.2} USD: {bps:.2} bps on average, each order by its size and its class, from {} own fills.\n",
            cost.usd,
            cost.side.fills
        );
    }
    match cost.side.basis {
        Basis::Default => text!("Expected cost {:.2} USD: {:.2} bps a side, cautious until enough own fills are measured.\n", cost.usd, cost.side.bps),
        Basis::OwnFills => text!("Expected cost {:.2} USD: {:.2} bps a side, by {} own fills.\n", cost.usd, cost.side.bps, cost.side.fills),
    }
}

/// What own fills say about the cost of trading, what is in force, and how it came to be.
pub fn costs(account: &str, now: &SideCost, e: &Evidence, past: &[Change]) -> Result<String> {
    let bps = |v: Option<f64>| v.map_or_else(|| "unknown".to_string(), |v| format!("{v:.2}"));
    let basis = if now.basis == Basis::Default { text!("the cautious default") } else { text!("by {} own fills", now.fills) };
    let mut out = text!("in force: {:.2} bps a side ({basis})\n", now.bps);
    if let Some(tiers) = &now.tiers {
        out.push_str(&text!("  that is for orders whose market is not known; by what changes hands in a name a day:\n"));
        out.extend(Tier::ALL.iter().zip(tiers).map(|(tier, c)| part(*tier, c)));
    }
    match e.fills {
        0 => out.push_str(&text!("own fills at the open: none yet, {} others\n", e.unmeasured)),
        _ => out.push_str(&text!(
            "own fills at the open: {} over {} sessions, {} others; median |slippage| + fee {} bps, mean {} bps{}\n",
            e.fills,
            e.sessions,
            e.unmeasured,
            bps(e.median_bps),
            bps(e.mean_bps),
            match (e.low_bps, e.high_bps) {
                (Some(low), Some(high)) => text!(", 95 % between {low:.2} and {high:.2}"),
                _ => ", too few for a range".to_string(),
            }
        )),
    }
    out.extend(e.fits.iter().flat_map(|f| [&f.account].into_iter().chain(&f.tiers)).filter(|f| f.fills > 0).map(fitted));
    match e.proposal() {
        None => out.push_str(&text!("proposal: none before {ENOUGH_FILLS} fills over {ENOUGH_SESSIONS} sessions\n")),
        Some(p) if (p.bps, p.tiers) == (now.bps, now.tiers) => out.push_str(&text!("proposal: what is in force\n")),
        Some(p) => {
            out.push_str(&text!("proposal: {:.2} bps a side. To accept it: trademl paper cost --confirm \"{}\"\n", p.bps, acceptance(account, &p)?));
            out.extend(p.tiers.iter().flat_map(|tiers| Tier::ALL.iter().zip(tiers)).map(|(tier, c)| part(*tier, c)));
        }
    }
    for c in past {
        out.push_str(&text!("{}: {:.2} -> {:.2} bps by {} ({} fills)\n", c.at, c.before.bps, c.after.bps, c.operator, c.evidence.fills));
    }
    Ok(out.trim_end().to_string())
}

/// The cost of a class of symbols.
fn part(tier: Tier, c: &Coefficients) -> String {
    text!(
        "  {:<7} fee {:.2} + half spread {:.2} bps + impact {:.2} x daily volatility x root of the share of the daily volume\n",
        tier.as_str(),
        c.fee_bps,
        c.half_spread_bps,
        c.y
    )
}

/// What the fills of a class say.
fn fitted(f: &Fit) -> String {
    let class = f.tier.map_or("all", Tier::as_str);
    let known = |e: Option<Estimate>| e.map_or_else(|| "unknown".to_string(), |e| text!("{:.2} ({:.2} to {:.2})", e.value, e.low, e.high));
    match f.outcome {
        Fitting::TooFewFills => text!("  {class:<7} {} fills over {} sessions: too few, the dearer of all fills and the default stands\n", f.fills, f.sessions),
        Fitting::SizesTooAlike => text!(
            "  {class:<7} {} fills over {} sessions: sizes too alike to tell impact from spread; slippage {} bps, fee {} bps\n",
            f.fills,
            f.sessions,
            known(f.half_spread_bps),
            known(f.fee_bps)
        ),
        Fitting::Fitted => text!(
            "  {class:<7} {} fills over {} sessions: half spread {} bps, impact {}, fee {} bps; cheaper counts {:.0} %\n",
            f.fills,
            f.sessions,
            known(f.half_spread_bps),
            known(f.y),
            known(f.fee_bps),
            100.0 * f.weight
        ),
    }
}

/// A look during the session.
pub fn during_the_session(account: &AccountCheck, sent: &SubmitReport) -> Outcome {
    let summary = text!(
        "session {} is open: {} of {} orders filled, {} at the broker, {} waiting",
        account.trading_day,
        sent.filled,
        sent.planned,
        sent.sent - sent.filled.min(sent.sent),
        sent.waiting
    );
    let next = vec![("trademl paper-trade".to_string(), "after the close: settle, report, plan the next session".to_string())];
    Outcome { summary, next, ..Outcome::default() }
}

/// An earlier run has sent this very set.
pub fn sent_before(plan: &PlannedSet, report: &Reported) -> Outcome {
    let summary = text!("the {} orders for {} were confirmed and sent before; nothing is sent twice", plan.orders, plan.trading_day);
    Outcome { summary, links: links(report), ..Outcome::default() }
}

/// A plan without orders: what is held is what is wanted.
pub fn nothing_to_send(plan: &PlannedSet, report: &Reported) -> Outcome {
    let summary = text!("the plan for {} has no orders: there is nothing to send", plan.trading_day);
    Outcome { summary, next: vec![next_evening(plan)], links: links(report), ..Outcome::default() }
}

/// Settled and reported, nothing planned.
pub fn settled(report: &Reported) -> Outcome {
    Outcome { summary: text!("{} is settled: equity {:.2}", report.asof, report.equity), links: links(report), ..Outcome::default() }
}

fn links(report: &Reported) -> Vec<(String, String)> {
    report.path.iter().map(|p| (term!("daily report").to_string(), p.to_string())).collect()
}

/// A switch that stops increases, and the command that lets them pass again.
pub struct Stop {
    pub text: String,
    command: String,
}

impl Stop {
    pub fn new(db: &Db, switch: Switch, state: &SwitchState, account: &str) -> Self {
        Self { text: text!("{} of {account} {}: {}", switch.title(), state.meaning(), state.reason), command: switches::reset_command(db, switch, account) }
    }
}

/// However the evening went: a switch that stops the next increases is said last, where it is seen.
pub fn with_stops(mut outcome: Outcome, stops: &[Stop]) -> Outcome {
    for stop in stops {
        outcome.summary = text!("{}; {}", outcome.summary, stop.text);
        outcome.next.push((stop.command.clone(), "once the reason is understood".into()));
    }
    outcome
}

/// Sent.
pub fn outcome(plan: &PlannedSet, sent: &SubmitReport, report: &Reported) -> Outcome {
    let summary = text!(
        "{}: {} orders planned, {} sent, {} refused, {} waiting, {} unknown",
        plan.trading_day,
        sent.planned,
        sent.sent,
        sent.refused,
        sent.waiting,
        sent.unknown
    );
    Outcome { summary, next: vec![next_evening(plan)], links: links(report), ..Outcome::default() }
}

fn next_evening(plan: &PlannedSet) -> (String, String) {
    ("trademl paper-trade".to_string(), text!("after the close of {}: settle, report, plan the next session", plan.trading_day))
}

/// One line about a day of the paper book, for the demonstration.
pub fn day_line(root: &DataRoot, day: TradingDay) -> Result<String> {
    let folder = DataPath::new(format!("reports/daily/{day}"))?;
    let report = store::list(root, &folder)?.into_iter().find(|p| p.as_str().ends_with(".json"));
    let Some(path) = report else { return Ok(text!("{day}  first orders are planned")) };
    let value: Value = serde_json::from_slice(&store::read(root, &path)?.unwrap_or_default())?;
    let number = |key: &str| value[key].as_f64().unwrap_or(0.0);
    Ok(text!(
        "{day}  equity {:>10.2}  day {:>+9.2}  gross {:>4.0} %  positions {:>2}  orders {} filled {}",
        number("equity"),
        number("pnl"),
        number("gross_exposure") * 100.0,
        value["positions"].as_array().map_or(0, Vec::len),
        value["orders"]["planned"],
        value["orders"]["filled"],
    ))
}
