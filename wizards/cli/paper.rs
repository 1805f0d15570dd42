//! `trademl paper` and its commands.

use super::complete;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `trademl paper`.
#[derive(Args, Debug, Clone)]
pub struct PaperArgs {
    #[command(subcommand)]
    pub command: PaperCommand,
    /// The data root; also TRADEML_ROOT
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

#[derive(Subcommand, Debug, Clone)]
pub enum PaperCommand {
    /// Stop every increase of every account, now; reductions and cancels pass
    Stop {
        /// Why; it is recorded
        #[arg(long, default_value = "no reason given")]
        reason: String,
    },
    /// Follow the running session: order events, reconciles, tripwires, and what had to wait
    Watch {
        /// simulated, alpaca or ctrader; that of the newest paper-trade run by default
        #[arg(long)]
        broker: Option<String>,
        /// As limits.max_orders of the wizard
        #[arg(long, default_value_t = 60)]
        max_orders: i64,
    },
    /// Switches, quarantine and open orders of an account
    Status {
        /// The account of the newest order set by default
        #[arg(long, add = complete::accounts())]
        account: Option<String>,
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// Let increases through again, after the words that `status` names
    Reset {
        /// The circuit breaker instead of the kill switch
        #[arg(long)]
        breaker: bool,
        #[arg(long)]
        account: String,
        #[arg(long)]
        confirm: Option<String>,
        #[arg(long)]
        reason: String,
    },
    /// What a tripped breaker may do without a person: off (a printed plan), reduce, flatten
    Risk {
        /// off, reduce or flatten
        action: String,
        #[arg(long)]
        confirm: Option<String>,
        /// simulated, alpaca or ctrader; that of the newest paper-trade run by default
        #[arg(long)]
        broker: Option<String>,
    },
    /// A broker's paper account (on a practice drive: the sandbox's) as this program reads it, as JSON
    Broker {
        /// alpaca or ctrader
        #[arg(long, default_value = "alpaca")]
        broker: String,
    },
    /// Let this program into a cTrader account: prints where the owner allows it, and takes the code that comes back
    Authorize {
        /// The code, or the whole address that the browser was sent back to; it lives one minute
        #[arg(long)]
        code: Option<String>,
        /// A redirect address of the application; on localhost this command listens there itself
        #[arg(long, default_value = "http://localhost:8765/")]
        redirect: String,
    },
    /// What own fills cost, what is expected, and how that came to be; with its words, a proposal is put in force
    Cost {
        #[arg(long)]
        confirm: Option<String>,
        /// simulated, alpaca or ctrader; that of the newest paper-trade run by default
        #[arg(long)]
        broker: Option<String>,
    },
    /// Play the orders of a recorded session again on its minute bars: whole at the open, in equal slices, or along Almgren and Chriss's trajectory
    Replay {
        /// The session; the newest with orders by default
        #[arg(long, value_name = "YYYY-MM-DD")]
        day: Option<data_layer::time::TradingDay>,
        /// Of a minute's volume, what an order may take at most
        #[arg(long, default_value_t = 0.1)]
        share: f64,
        /// simulated, alpaca or ctrader; that of the newest paper-trade run by default
        #[arg(long)]
        broker: Option<String>,
    },
    /// Replay recorded sessions: orders, fills, and the simulated, the shadow and the paper book; every difference gets a cause
    Parity {
        /// The first session; all by default
        #[arg(long, value_name = "YYYY-MM-DD")]
        since: Option<data_layer::time::TradingDay>,
        /// simulated, alpaca or ctrader; that of the newest paper-trade run by default
        #[arg(long)]
        broker: Option<String>,
    },
    /// Book shares that the journal has too many or too few of; the words come from the command without them
    Repair {
        #[arg(add = complete::symbols())]
        symbol: String,
        /// Signed shares to add to the journal's
        #[arg(long, allow_hyphen_values = true)]
        qty: f64,
        #[arg(long)]
        reason: String,
        #[arg(long)]
        confirm: Option<String>,
        /// simulated, alpaca or ctrader; that of the newest paper-trade run by default
        #[arg(long)]
        broker: Option<String>,
    },
    /// Put fewer shares, or another limit, in the place of an open order
    Replace {
        /// The order's own id (tm1-…), as `status` shows it
        #[arg(add = complete::open_orders())]
        order: String,
        #[arg(long)]
        qty: f64,
        #[arg(long)]
        limit: Option<f64>,
        /// alpaca or ctrader; that of the newest paper-trade run by default
        #[arg(long)]
        broker: Option<String>,
    },
    /// Take back an open order, or all of them: what was not sent never is, the broker is told of the rest
    Cancel {
        /// The order's own id (tm1-…), as `status` shows it
        #[arg(required_unless_present = "all", add = complete::open_orders())]
        order: Option<String>,
        /// Every open order of the strategy
        #[arg(long, conflicts_with = "order")]
        all: bool,
        /// alpaca or ctrader; that of the newest paper-trade run by default
        #[arg(long)]
        broker: Option<String>,
    },
    /// The week of an account from its daily reports; nightly sends it when the week is over
    Digest {
        /// The account of the newest order set by default
        #[arg(long, add = complete::accounts())]
        account: Option<String>,
        /// A session of the week; the last closed one by default
        #[arg(long, value_name = "YYYY-MM-DD")]
        until: Option<data_layer::time::TradingDay>,
    },
    /// End the quarantine of a symbol
    Release {
        #[arg(add = complete::symbols())]
        symbol: String,
        #[arg(long)]
        reason: String,
    },
    /// Allow unattended trading for at most 30 days, or end it
    Standing {
        /// The last day
        #[arg(long, value_name = "YYYY-MM-DD")]
        until: Option<data_layer::time::TradingDay>,
        #[arg(long)]
        revoke: bool,
        #[arg(long)]
        confirm: Option<String>,
        /// simulated, alpaca or ctrader; that of the newest paper-trade run by default
        #[arg(long)]
        broker: Option<String>,
        /// As limits.max_orders of the wizard
        #[arg(long, default_value_t = 60)]
        max_orders: i64,
    },
}
