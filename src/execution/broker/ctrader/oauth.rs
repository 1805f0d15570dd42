//! OAuth 2 with an authorisation code: a person allows the application in a browser, the code that comes back lives one minute, and
//! the tokens that it buys are kept with this machine's other secrets. A refresh token works once: its successor is on the platter
//! before anything else happens.

use crate::execution::broker::place::Place;
use data_layer::env_file;
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::time::UtcTime;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const BASE_VARIABLE: &str = "TRADEML_BASE_URL_CTRADER_OAUTH";
/// Its paper host and its live host are one: this server knows applications and people, not accounts.
const PLACE: Place = Place { variable: BASE_VARIABLE, secure: "https", plain: Some("http"), paper: "openapi.ctrader.com", live: "openapi.ctrader.com" };
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// Real time for a person to allow the application.
const BROWSER: Duration = Duration::from_secs(600);
/// Bytes of the first line of a request.
const MAX_LINE: usize = 8_192;

/// Who the application is.
pub struct Application {
    pub id: String,
    pub secret: SecretString,
}

/// What opens the accounts.
#[derive(Clone)]
pub struct Tokens {
    pub access: SecretString,
    pub refresh: Option<SecretString>,
}

/// The command that makes tokens.
const AUTHORIZE: &str = "trademl paper authorize";

impl Application {
    /// From the environment or this machine's secrets file.
    pub fn of(host: &Host) -> Result<Self> {
        let mut known = env_file::load(host)?;
        let mut key = |name: &str| {
            known.remove(name).ok_or_else(|| Error::new(code::KEY_MISSING, text!("{name} is not set")).fix("trademl paper-trade --set broker.kind=ctrader"))
        };
        Ok(Self { id: key("CTRADER_CLIENT_ID")?, secret: key("CTRADER_CLIENT_SECRET")?.into() })
    }
}

impl Tokens {
    /// From the environment or this machine's secrets file.
    pub fn of(host: &Host) -> Result<Self> {
        let mut known = env_file::load(host)?;
        let missing = || Error::new(code::KEY_MISSING, "cTrader has not been told to let this program in").found("CTRADER_ACCESS_TOKEN").fix(AUTHORIZE);
        Ok(Self { access: known.remove("CTRADER_ACCESS_TOKEN").ok_or_else(missing)?.into(), refresh: known.remove("CTRADER_REFRESH_TOKEN").map(Into::into) })
    }

    /// Whether these are the same tokens.
    pub(super) fn opens_like(&self, other: &Self) -> bool {
        self.access.expose_secret() == other.access.expose_secret()
    }

    /// Keep them, privately. Tokens of the process's own environment cannot be replaced.
    pub fn store(&self, host: &Host) -> Result<()> {
        if host.env("CTRADER_ACCESS_TOKEN").is_some() {
            return Err(Error::new(code::KEY_REJECTED, "the tokens come from the environment, and new ones cannot be kept there")
                .found("CTRADER_ACCESS_TOKEN")
                .fix(text!("unset CTRADER_ACCESS_TOKEN; {AUTHORIZE}")));
        }
        let mut file = env_file::read(host)?;
        file.set("CTRADER_ACCESS_TOKEN", self.access.expose_secret());
        match &self.refresh {
            Some(refresh) => file.set("CTRADER_REFRESH_TOKEN", refresh.expose_secret()),
            // The old one belongs to other tokens, and is spent.
            None => drop(file.remove("CTRADER_REFRESH_TOKEN")),
        }
        env_file::save(host, &file).map(drop)
    }
}

fn base(host: &Host) -> Result<String> {
    let base = host.env(BASE_VARIABLE).map_or_else(|| format!("https://{}", PLACE.paper), |b| b.trim_end_matches('/').to_string());
    PLACE.check(&base, None)?;
    Ok(base)
}

/// Percent-encoding of a query value.
fn encoded(text: &str) -> String {
    text.bytes().map(|b| if b.is_ascii_alphanumeric() || b"-._~".contains(&b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// A question to the account's owner: the address where it is answered, and the mark that comes back with the answer.
pub struct Grant {
    pub url: String,
    state: String,
}

impl Grant {
    /// Where a person allows the application to trade. Nothing secret is in the address; its mark is drawn anew each time.
    pub fn ask(host: &Host, redirect: &str) -> Result<Self> {
        let application = Application::of(host)?;
        let state = hex::encode(host.random_bytes::<16>());
        let (id, back) = (encoded(&application.id), encoded(redirect));
        Ok(Self { url: format!("{}/apps/auth?client_id={id}&redirect_uri={back}&scope=trading&state={state}", base(host)?), state })
    }
}

/// The code in what the browser was sent back to; a bare code is one.
pub fn code_in(text: &str) -> Option<&str> {
    let text = text.trim();
    let code = match text.split_once('?') {
        Some((_, query)) => query.split('&').find_map(|pair| pair.strip_prefix("code="))?,
        None => text,
    };
    let code = code.split('#').next().unwrap_or(code);
    (!code.is_empty() && code.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))).then_some(code)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    access_token: Option<String>,
    refresh_token: Option<String>,
    error_code: Option<String>,
    description: Option<String>,
}

/// Exchange a code for tokens and keep them. No part of the address or the answer is ever shown: both hold secrets.
pub fn exchange(host: &Host, given: &str, redirect: &str) -> Result<()> {
    let application = Application::of(host)?;
    let code_text = code_in(given).ok_or_else(|| Error::new(code::USE_ARGUMENT, "there is no authorisation code in that").fix(AUTHORIZE))?;
    if host.is_offline() {
        return Err(unreachable("this run is offline"));
    }
    let query = [
        ("grant_type", "authorization_code"),
        ("code", code_text),
        ("redirect_uri", redirect),
        ("client_id", &application.id),
        ("client_secret", application.secret.expose_secret()),
    ];
    let request = host.http().get(format!("{}/apps/token", base(host)?)).query(&query).timeout(CALL_TIMEOUT);
    let body = host.block_on(async { request.send().await?.bytes().await })?.map_err(|_| unreachable("the connection failed"))?;
    let answer: Answer =
        serde_json::from_slice(&body).map_err(|_| Error::new(code::NET_MALFORMED, "cTrader's authorisation server answered something else than its format"))?;
    let Some(access) = answer.access_token.filter(|t| !t.is_empty()) else {
        return Err(Error::new(code::KEY_REJECTED, "cTrader did not exchange the code for a token")
            .cause(format!("{}: {}", answer.error_code.unwrap_or_default(), answer.description.unwrap_or_default()))
            .fix(text!("a code lives one minute and works once: {AUTHORIZE}")));
    };
    Tokens { access: access.into(), refresh: answer.refresh_token.filter(|t| !t.is_empty()).map(Into::into) }.store(host)
}

/// Wait at a redirect address on this machine for the browser that brings the code; `None` where the address is another machine's.
/// Ends with an error when the run is cancelled, and when nobody came within [`BROWSER`].
pub fn wait_for_code(host: &Host, redirect: &str, grant: &Grant) -> Result<Option<String>> {
    let authority = redirect.strip_prefix("http://").map(|rest| rest.split(['/', '?']).next().unwrap_or(rest));
    let port = authority.and_then(|a| a.strip_prefix("localhost:").or_else(|| a.strip_prefix("127.0.0.1:"))).and_then(|p| p.parse::<u16>().ok());
    let Some(port) = port else { return Ok(None) };
    let heard = host.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        tokio::select! {
            code = tokio::time::timeout(BROWSER, listened(&listener, &grant.state)) => Ok(code.ok()),
            () = host.cancelled() => Ok(None),
        }
    })?;
    match heard.map_err(|e: std::io::Error| Error::from(e).during("waiting for the browser"))? {
        Some(code) => Ok(Some(code.map_err(|e| Error::from(e).during("waiting for the browser"))?)),
        None => {
            host.check_cancelled()?;
            Err(Error::new(code::KEY_REJECTED, "no browser brought the owner's permission back within ten minutes").fix(AUTHORIZE))
        }
    }
}

/// The code of the first request that has one and our mark; browsers ask for icons too, and any page may send a browser here.
async fn listened(listener: &tokio::net::TcpListener, state: &str) -> std::io::Result<String> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        let Some(line) = first_line(&mut stream).await else { continue };
        let target = line.split(' ').nth(1).unwrap_or_default();
        let code = target.contains('?').then(|| code_in(target)).flatten().map(str::to_string);
        let (mark, hint) = (state_in(target), text!("If you have just allowed it yourself: {AUTHORIZE} --code CODE"));
        let (status, body) = match &code {
            Some(_) if mark == Some(state) => ("200 OK", "You may close this page."),
            // A server that does not give the mark back is possible; then a person says whose code it is.
            Some(_) if mark.is_none() => ("403 Forbidden", hint.as_str()),
            _ => ("404 Not Found", ""),
        };
        let page = format!("HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        drop(stream.write_all(page.as_bytes()).await);
        if let Some(code) = code.filter(|_| mark == Some(state)) {
            return Ok(code);
        }
    }
}

/// The mark that came back in an address.
fn state_in(target: &str) -> Option<&str> {
    target.split_once('?')?.1.split('&').find_map(|pair| pair.strip_prefix("state="))
}

/// A request's first line, in however many pieces it comes; `None` where it does not end.
async fn first_line(stream: &mut tokio::net::TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let whole = async {
        let mut piece = [0u8; 1_024];
        while !head.windows(2).any(|w| w == b"\r\n") && head.len() < MAX_LINE {
            match stream.read(&mut piece).await {
                Ok(n) if n > 0 => head.extend_from_slice(&piece[..n]),
                _ => return None,
            }
        }
        Some(())
    };
    tokio::time::timeout(Duration::from_secs(5), whole).await.ok().flatten()?;
    let end = head.windows(2).position(|w| w == b"\r\n")?;
    Some(String::from_utf8_lossy(&head[..end]).into_owned())
}

fn unreachable(why: &str) -> Error {
    Error::new(code::NET_UNREACHABLE, "cTrader's authorisation server cannot be reached").cause(why)
}

/// What time it is at the authorisation server, to the second: the trading connection tells no time.
pub(super) fn server_time(host: &Host) -> Result<UtcTime> {
    if host.is_offline() {
        return Err(unreachable("this run is offline"));
    }
    let request = host.http().head(format!("{}/", base(host)?)).timeout(CALL_TIMEOUT);
    let date = host.block_on(async { request.send().await.ok().and_then(|a| a.headers().get("date").and_then(|d| d.to_str().ok().map(str::to_string))) })?;
    let date = date.ok_or_else(|| unreachable("no answer with a date"))?;
    let at = jiff::fmt::rfc2822::parse(&date).map_err(|e| Error::new(code::NET_MALFORMED, "a server's Date header cannot be read").cause(e.to_string()))?;
    Ok(UtcTime::from_micros(at.timestamp().as_microsecond()))
}
