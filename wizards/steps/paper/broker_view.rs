//! The broker's side of a paper account, as this program's client reads it.

use crate::steps::keys;
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::root::DataRoot;
use data_layer::time::UtcTime;
use engine::execution::broker::Broker;
use engine::execution::broker::alpaca::{AlpacaBroker, AlpacaKeys};
use engine::execution::broker::ctrader::{CTraderBroker, oauth};
use secrecy::SecretString;
use serde_json::{Value, json};

/// The client of the paper account, with this machine's keys.
pub fn alpaca(host: &Host, root: &DataRoot) -> Result<AlpacaBroker> {
    let key = |var: &str| {
        keys::stored(host, var).map(SecretString::from).ok_or_else(|| Error::new(code::KEY_MISSING, text!("{var} is not set")).fix("trademl paper-trade"))
    };
    AlpacaBroker::new(root, AlpacaKeys { key: key("ALPACA_API_KEY")?, secret: key("ALPACA_API_SECRET")? }, None)
}

/// Account, clock, every order, execution and booking, and what is held. Nothing is written.
pub fn view(host: &Host, root: &DataRoot, kind: &str) -> Result<Value> {
    let broker: Box<dyn Broker> = match kind {
        "alpaca" => Box::new(alpaca(host, root)?),
        "ctrader" => Box::new(CTraderBroker::new(root, None)?),
        other => return Err(Error::new(code::USE_ARGUMENT, text!("'{other}' is not alpaca or ctrader"))),
    };
    let ever = UtcTime::from_micros(0);
    Ok(json!({
        "v": 1, "account": broker.account()?, "clock": broker.clock()?, "orders": broker.orders_since(ever)?, "fills": broker.fills_since(None)?,
        "activities": broker.activities_since(None)?, "positions": broker.positions()?,
    }))
}

/// Whether the owner of a cTrader account has let this program in: there are tokens on this machine.
pub fn granted(host: &Host) -> Result<String> {
    oauth::Application::of(host)?;
    let tokens = oauth::Tokens::of(host)?;
    Ok(if tokens.refresh.is_some() { text!("let in; the token is renewed by itself") } else { text!("let in, until the token expires") })
}
