//! The paper book: reconciled first, previewed, confirmed by typed words, sent once, reported every day.
//!
//! No live endpoint can be reached from here: a live broker needs a consent that this program's wizards cannot make.

use crate::kit::{Gate, Outcome, Run, Scope, Step, Verb, Wizard};
use crate::steps::keys;
use crate::steps::paper::{self, Desk, Moment};
use data_layer::error::Result;
use engine::pipelines::paper_day::AccountCheck;

const BROKER: Step =
    Step::ask("broker-kind", Scope::Drive, "Broker", "A simulated book needs nobody; a paper account proves the order path.", paper::broker_question);
const BROKER_KEYS: Step = Step::secrets("broker-keys", "Broker keys", "Paper keys only; they stay on this machine.", paper::BROKER_KEYS);
const CTRADER_KEYS: Step = Step::secrets("ctrader-keys", "cTrader application", "Who asks to be let in; they stay on this machine.", paper::CTRADER_KEYS);
const MAX_ORDERS: Step = Step::ask("limits-max-orders", Scope::Drive, "Most orders a day", "A ceiling that no model can raise.", paper::max_orders_question);
const NEXT: Step = Step::ask(
    "orders-next-session",
    Scope::Drive,
    "Orders for the next session",
    "A day can be settled and reported without new orders.",
    paper::next_session_question,
);
const GRANT: Step = Step::new("ctrader-grant", Verb::Check, Scope::Host, "Let in by the owner", "cTrader's owner of the account allows it once, in a browser.");
const ACCOUNT: Step =
    Step::new("account", Verb::Act, Scope::Account, "Account and endpoint", "The account's own number is shown before anything is sent to it.");
const RECONCILE: Step = Step::new("reconcile", Verb::Act, Scope::Account, "Reconciled", "What the broker holds decides; a difference stops increases.");
const WAITING: Step =
    Step::new("waiting", Verb::Act, Scope::Account, "Waiting orders sent", "Purchases that had to wait for the sales that fund them, once those have filled.");
const REPORT: Step = Step::new("daily-report", Verb::Act, Scope::Drive, "Daily report", "One JSON a day, and views that add nothing to it.");
const CHAMPION: Step = Step::new("champion", Verb::Check, Scope::Drive, "Champion and limits", "Only the champion trades, named with its verdict and its age.");
const GREEN: Step = Step::new("green", Verb::Check, Scope::Drive, "Data of the day", "Stale or unchecked prices never make an order.");
const PLAN: Step = Step::new("plan", Verb::Act, Scope::Account, "Order set pinned", "Computed once, written ahead, never recomputed.");
const CONFIRM: Step = Step::gate("confirm", "Typed confirmation", "Naming the account and the day is the only way through.", "PAPER <account> <trading day>");
const SUBMIT: Step =
    Step::new("submit", Verb::Send, Scope::Account, "Orders sent", "An intent is on the drive before its order is on the wire; an id is sent once.");

pub const WIZARD: Wizard = Wizard {
    name: "paper-trade",
    purpose: "open and run the paper book, behind confirmation gates",
    steps: &[BROKER, BROKER_KEYS, CTRADER_KEYS, MAX_ORDERS, NEXT, GRANT, ACCOUNT, RECONCILE, WAITING, REPORT, CHAMPION, GREEN, PLAN, CONFIRM, SUBMIT],
    usually: &[],
};

/// The runbook.
pub fn run(run: &mut Run<'_>) -> Result<Outcome> {
    let broker: String = run.ask(&BROKER)?;
    match broker.as_str() {
        "alpaca" => keys::ask(run, &BROKER_KEYS)?,
        "ctrader" => keys::ask(run, &CTRADER_KEYS)?,
        _ => {}
    }
    let max_orders: i64 = run.ask(&MAX_ORDERS)?;
    let next_session: bool = run.ask(&NEXT)?;
    if broker == "ctrader" {
        run.check(&GRANT, |act| paper::granted(act.host))?;
    }
    let desk = Desk::open(run.host(), run.root(), &broker, max_orders)?;

    // What was looked at on other prices, or in another session, is looked at again.
    let seen = desk.moment(run.host())?;
    let account = run.act(&ACCOUNT, &(&broker, &seen), |act| desk.account_of_the_day(act))?;
    let outcome = evening(run, &desk, &account, &seen, max_orders, next_session)?;
    Ok(paper::with_stops(outcome, &desk.stops(&account.account)))
}

/// What is done with the account, once it is known.
fn evening(run: &mut Run<'_>, desk: &Desk, account: &AccountCheck, seen: &Moment, max_orders: i64, next_session: bool) -> Result<Outcome> {
    run.act(&RECONCILE, &(&account.account, seen), |act| desk.reconcile(act, account))?;
    if account.market_open {
        let sent = run.act(&WAITING, &account.trading_day, |act| desk.send_waiting(act, account))?;
        return Ok(paper::during_the_session(account, &sent));
    }
    let report = run.act(&REPORT, &(&account.account, seen), |act| desk.daily_report(act, account))?;
    run.check(&CHAMPION, |act| desk.champion(act))?;
    if !next_session {
        return Ok(paper::settled(&report));
    }
    run.check(&GREEN, |act| desk.data_is_fresh(act))?;
    let plan = run.act(&PLAN, &(&account.account, max_orders, seen), |act| desk.plan(act, account))?;
    if plan.sent_before {
        return Ok(paper::sent_before(&plan, &report));
    }
    if plan.orders == 0 {
        // A gate before nothing would teach people to type the words without reading.
        run.report().note(plan.preview.trim_end());
        run.pass_by(&CONFIRM, "the plan has no orders: there is nothing to confirm")?;
        run.pass_by(&SUBMIT, "nothing to send")?;
        return Ok(paper::nothing_to_send(&plan, &report));
    }
    for stop in desk.stops(&account.account) {
        run.report().note(&text!("  note: {}", stop.text));
    }
    let day = plan.trading_day.to_string();
    run.gate(&CONFIRM, &Gate { account: &account.account, trading_day: &day, shown: &plan.preview, token: &plan.token })?;
    let sent = run.send(&SUBMIT, &plan.run_key, |act| desk.find(act, &plan), |act| desk.submit(act, &plan))?;
    Ok(paper::outcome(&plan, &sent, &report))
}
