//! From a stream to an account that may trade: introduce the application, list the accounts, open the demo account, learn its symbols.

use super::oauth::{Application, Tokens};
use super::session::{Failure, HEARTBEAT, Session};
use super::symbols::Symbols;
use super::{CTraderBroker, failed};
use data_layer::ctrader::dialect::Dialect;
use data_layer::ctrader::messages as m;
use data_layer::ctrader::models::{CtidAccount, Trader};
use data_layer::ctrader::words::{AccountType, Scope};
use data_layer::ctrader::{Wire, frame, json, moment, tls};
use data_layer::env_file;
use data_layer::error::{Error, Result, code};
use data_layer::time::UtcTime;
use secrecy::ExposeSecret;
use std::time::Duration;

/// Real time for the connection and its handshake.
const CONNECT: Duration = Duration::from_secs(15);
/// Real time for one answer.
pub(super) const ANSWER: Duration = Duration::from_secs(20);
/// Bytes of a root certificate's file.
const MAX_ROOT_BYTES: u64 = 1 << 20;

/// An open account on a live connection.
pub(super) struct Link {
    pub session: Session,
    pub account: i64,
    /// As people and order ids name it.
    pub name: String,
    pub currency: String,
    pub registered: UtcTime,
    pub symbols: Symbols,
}

/// Whether a refusal means that the access token no longer opens anything.
pub(super) fn token_is_dead(code: &str) -> bool {
    matches!(code, "CH_ACCESS_TOKEN_INVALID" | "OA_AUTH_TOKEN_EXPIRED")
}

/// Connect and log in; with an expired token, renew it once.
pub(super) fn open(broker: &CTraderBroker) -> Result<Link> {
    let host = &broker.host;
    if host.is_offline() {
        return Err(failed(Failure::Transport(text!("this run is offline"))));
    }
    let session = connect(broker)?;
    let application = Application::of(host)?;
    let who = m::ApplicationAuthReq { client_id: application.id, client_secret: application.secret.expose_secret().to_string() };
    ask::<m::ApplicationAuthRes>(broker, &session, &who).map_err(failed)?;
    let mut tokens = Tokens::of(host)?;
    let listed = match list(broker, &session, &tokens) {
        Err(Failure::Refused { code, .. }) if token_is_dead(&code) => {
            tokens = renewed(broker, &session, &tokens)?;
            list(broker, &session, &tokens)
        }
        other => other,
    };
    let listed = listed.map_err(failed)?;
    if listed.scope.is_some_and(|s| Scope::of(s) != Some(Scope::Trade)) {
        return Err(Error::new(code::KEY_REJECTED, "the access token may look, not trade").fix(text!("allow trading this time: trademl paper authorize")));
    }
    let chosen = choose(broker, &listed.accounts)?;
    let account = i64::try_from(chosen.id).map_err(|_| malformed("account list"))?;
    let opened = ask::<m::AccountAuthRes>(broker, &session, &m::AccountAuthReq { account, access_token: tokens.access.expose_secret().to_string() });
    if opened.map_err(failed)?.account != account {
        return Err(malformed("account"));
    }
    let trader = ask::<m::TraderRes>(broker, &session, &m::TraderReq { account }).map_err(failed)?.trader;
    refuse_hedged(&trader)?;
    let assets = ask::<m::AssetListRes>(broker, &session, &m::AssetListReq { account }).map_err(failed)?.assets;
    let currency = assets.iter().find(|a| a.id == trader.deposit_asset).map(|a| a.name.clone()).ok_or_else(|| malformed("asset list"))?;
    let list = ask::<m::SymbolsListRes>(broker, &session, &m::SymbolsListReq { account }).map_err(failed)?.symbols;
    let practice = broker.address.loopback && chosen.broker.as_deref() == Some("SIM");
    let name = format!("{}{account}", if practice { "SIM" } else { "CT" });
    // An account that was opened after now by our clock says so by a clock of its own: there would be no past to look into.
    let registered = trader.registered_ms.and_then(moment).filter(|t| *t < host.now()).unwrap_or_else(|| host.now().plus_seconds(-35 * 86_400));
    Ok(Link { session, account, name, currency, registered, symbols: Symbols::new(&list, trader.deposit_asset) })
}

fn connect(broker: &CTraderBroker) -> Result<Session> {
    let (host, address) = (&broker.host, &broker.address);
    // A root of one's own is for the sandbox: it is trusted on loopback, alone, and nowhere else.
    let root = match host.env("TRADEML_CTRADER_ROOT").filter(|_| address.loopback) {
        None => None,
        Some(path) => {
            let mut pem = Vec::new();
            let file = std::fs::File::open(path).map_err(|e| Error::from(e).during("reading TRADEML_CTRADER_ROOT"))?;
            std::io::Read::read_to_end(&mut std::io::Read::take(file, MAX_ROOT_BYTES), &mut pem)?;
            Some(pem)
        }
    };
    let connector = tls::Connector::new(&address.host, root.as_deref())?;
    let started = async {
        let stream = connector.connect(&address.host, address.port).await?;
        Ok::<_, std::io::Error>(match address.dialect {
            Dialect::Protobuf => {
                let (from, to) = tokio::io::split(stream);
                Session::start((frame::Reader(from), frame::Writer(to)), HEARTBEAT)
            }
            Dialect::Json => Session::start(json::connect(&address.host, address.port, stream).await?, HEARTBEAT),
        })
    };
    host.block_on(async {
        match tokio::time::timeout(CONNECT, started).await {
            Ok(Ok(session)) => Ok(session),
            Ok(Err(e)) => Err(failed(Failure::Transport(e.to_string()))),
            Err(_) => Err(failed(Failure::Transport(text!("the connection took too long")))),
        }
    })?
}

/// One question of the login. The pacer counts it like any other.
fn ask<A: Wire>(broker: &CTraderBroker, session: &Session, question: &impl Wire) -> Result<A, Failure> {
    broker.pace(false).map_err(|e| Failure::Transport(e.to_string()))?;
    broker.host.block_on(session.ask(question, ANSWER)).map_err(|e| Failure::Transport(e.to_string()))?
}

fn list(broker: &CTraderBroker, session: &Session, tokens: &Tokens) -> Result<m::AccountListRes, Failure> {
    ask(broker, session, &m::AccountListReq { access_token: tokens.access.expose_secret().to_string() })
}

/// New tokens for the refresh token. Another process may have been faster: then its tokens are in the file, or will be in a moment.
fn renewed(broker: &CTraderBroker, session: &Session, old: &Tokens) -> Result<Tokens> {
    let host = &broker.host;
    let now = Tokens::of(host)?;
    if !now.opens_like(old) {
        return Ok(now);
    }
    let expired = || Error::new(code::KEY_REJECTED, "cTrader's access token is expired or withdrawn").fix("trademl paper authorize");
    let refresh = now.refresh.ok_or_else(expired)?;
    if host.env("CTRADER_ACCESS_TOKEN").is_some() {
        // Asking would use the refresh token up, and there is nowhere to keep its successor.
        return Err(expired().found(text!("CTRADER_ACCESS_TOKEN comes from the environment")));
    }
    let question = m::RefreshTokenReq { refresh_token: refresh.expose_secret().to_string() };
    let answer = match ask::<m::RefreshTokenRes>(broker, session, &question) {
        Ok(answer) => answer,
        Err(Failure::Refused { code, text, .. }) => return others(broker, old)?.ok_or_else(|| expired().cause(format!("{code}: {text}"))),
        Err(other) => return Err(failed(other)),
    };
    // An answer without tokens must not overwrite tokens.
    if answer.access_token.is_empty() || answer.refresh_token.is_empty() {
        return Err(malformed("tokens"));
    }
    let tokens = Tokens { access: answer.access_token.into(), refresh: Some(answer.refresh_token.into()) };
    tokens.store(host)?;
    Ok(tokens)
}

/// The tokens that another process has stored since; it may still be about to.
pub(super) fn others(broker: &CTraderBroker, old: &Tokens) -> Result<Option<Tokens>> {
    for _ in 0..3 {
        let now = Tokens::of(&broker.host)?;
        if !now.opens_like(old) {
            return Ok(Some(now));
        }
        broker.host.block_on(broker.host.sleep(Duration::from_secs(1)))?;
    }
    Ok(None)
}

/// The demo account that `CTRADER_ACCOUNT` names (by login or id), or the only one.
fn choose<'a>(broker: &CTraderBroker, all: &'a [CtidAccount]) -> Result<&'a CtidAccount> {
    let wanted = env_file::load(&broker.host)?.remove("CTRADER_ACCOUNT");
    let named = |a: &&CtidAccount| wanted.as_ref().is_none_or(|w| *w == a.id.to_string() || a.login.is_some_and(|l| *w == l.to_string()));
    // An account that does not say that it is a demo account is none.
    let demo = |a: &&CtidAccount| a.is_live == Some(false) || broker.consent.is_some();
    let mine: Vec<&CtidAccount> = all.iter().filter(named).collect();
    match mine.iter().copied().filter(demo).collect::<Vec<_>>().as_slice() {
        [one] => Ok(one),
        [] if !mine.is_empty() => Err(Error::new(code::ORD_LIVE, "the account is not a demo account")
            .cause("this program sends orders to paper accounts only")
            .fix("open a demo account at the broker, allow it in: trademl paper authorize")),
        [] => Err(Error::new(code::KEY_REJECTED, "the access token opens no such account").fix("trademl paper authorize")),
        several => {
            let logins: Vec<String> = several.iter().map(|a| format!("{} (login {})", a.id, a.login.unwrap_or_default())).collect();
            Err(Error::new(code::CFG_VALUE, "the access token opens several demo accounts").found(logins.join(", ")).fix("set CTRADER_ACCOUNT to one of them"))
        }
    }
}

/// On a hedged account an opposite order opens a second position instead of closing the first: nothing would ever be reduced.
fn refuse_hedged(trader: &Trader) -> Result<()> {
    let kind = trader.account_type.and_then(AccountType::of).unwrap_or(AccountType::Hedged);
    if kind == AccountType::Netted {
        return Ok(());
    }
    Err(Error::new(code::ORD_REFUSED, "the account keeps opposite positions side by side")
        .cause("only in a netted account does a sale reduce what was bought")
        .found(kind.as_str())
        .fix("open a netted demo account at the broker, and set CTRADER_ACCOUNT to its login"))
}

pub(super) fn malformed(what: &str) -> Error {
    Error::new(code::NET_MALFORMED, text!("cTrader's answer about the {what} does not have the documented form"))
}
