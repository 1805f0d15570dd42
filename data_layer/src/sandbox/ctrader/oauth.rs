//! The authorisation server: a code that lives a minute and works once, an access token, a refresh token that works once.

use super::super::book::{self, Book};
use super::super::keys::{CTRADER_ACCESS, CTRADER_CLIENT_ID, CTRADER_CLIENT_SECRET, CTRADER_REFRESH};
use super::super::wire::{Call, Reply};
use crate::error::Result;
use crate::time::UtcTime;
use serde_json::json;
use sha2::{Digest, Sha256};

/// Seconds that an access token lives, and an authorisation code.
pub const LIFE_S: i64 = 2_628_000;
const CODE_LIFE_S: f64 = 60.0;

/// What a code or a refresh token is exchanged for.
pub struct Pair {
    pub access: String,
    pub refresh: String,
}

/// Answer one call of the dialect. Every answer carries the world's clock in `Date`, as a web server's does.
pub fn answer(book: &mut Book, now: UtcTime, call: &Call) -> Result<Reply> {
    let reply = match call.path.as_str() {
        "/apps/auth" => grant(book, now, call)?,
        "/apps/token" => token(book, now, call)?,
        "" | "/" => Reply::text(200, "text/html; charset=utf-8", "<!DOCTYPE html><title>practice</title>"),
        _ => Reply::text(404, "text/html; charset=utf-8", "<!DOCTYPE html><title>not found</title>"),
    };
    Ok(reply.with_header("date", http_date(now)))
}

/// `Thu, 30 Nov 2017 21:30:00 GMT`.
fn http_date(t: UtcTime) -> String {
    jiff::Timestamp::from_microsecond(t.micros()).map_or_else(|_| t.to_string(), |ts| ts.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
}

/// The page on which a person would press "allow": here everybody does.
fn grant(book: &mut Book, now: UtcTime, call: &Call) -> Result<Reply> {
    let (Some(client), Some(redirect)) = (call.arg("client_id"), call.arg("redirect_uri")) else {
        return Ok(Reply::text(400, "text/plain", "client_id and redirect_uri are needed"));
    };
    if client != CTRADER_CLIENT_ID || call.arg("scope") != Some("trading") {
        return Ok(Reply::text(403, "text/plain", "unknown application or scope"));
    }
    let code = minted(book, "code")?;
    book.write(|tx| book::set_meta(tx, "ctrader_code", &format!("{code}|{}", now.micros())))?;
    let state = call.arg("state").map_or_else(String::new, |s| format!("&state={s}"));
    Ok(Reply::text(302, "text/plain", "").with_header("location", format!("{redirect}?code={code}{state}")))
}

fn token(book: &mut Book, now: UtcTime, call: &Call) -> Result<Reply> {
    let refused = |why: &str| Ok(Reply::ok(&json!({"errorCode": "ACCESS_DENIED", "description": why})));
    if call.arg("client_id") != Some(CTRADER_CLIENT_ID) || call.arg("client_secret") != Some(CTRADER_CLIENT_SECRET) {
        return refused("the client credentials are invalid");
    }
    let pair = match call.arg("grant_type") {
        Some("authorization_code") => {
            let kept = book.meta("ctrader_code")?.unwrap_or_default();
            let (code, at) = kept.split_once('|').unwrap_or_default();
            let age = now.seconds_since(UtcTime::from_micros(at.parse().unwrap_or(i64::MIN / 2)));
            if code.is_empty() || call.arg("code") != Some(code) || age > CODE_LIFE_S {
                return refused("the authorisation code is expired or was used");
            }
            book.write(|tx| book::set_meta(tx, "ctrader_code", ""))?;
            issue(book, now)?
        }
        Some("refresh_token") => match renew(book, now, call.arg("refresh_token").unwrap_or_default())? {
            Some(pair) => pair,
            None => return refused("the refresh token is unknown or was used"),
        },
        _ => return refused("there is no such grant type"),
    };
    Ok(Reply::ok(&json!({"accessToken": pair.access, "tokenType": "bearer", "expiresIn": LIFE_S, "refreshToken": pair.refresh, "errorCode": null,
        "description": null})))
}

/// A new pair for a refresh token; `None` when it is not the current one.
pub fn renew(book: &mut Book, now: UtcTime, refresh: &str) -> Result<Option<Pair>> {
    let current = book.meta("ctrader_refresh")?.unwrap_or_else(|| CTRADER_REFRESH.to_string());
    if refresh != current {
        return Ok(None);
    }
    issue(book, now).map(Some)
}

fn issue(book: &mut Book, now: UtcTime) -> Result<Pair> {
    let pair = Pair { access: minted(book, "access")?, refresh: minted(book, "refresh")? };
    book.write(|tx| {
        book::set_meta(tx, "ctrader_access", &pair.access)?;
        book::set_meta(tx, "ctrader_refresh", &pair.refresh)?;
        book::set_meta(tx, "ctrader_issued", &now.micros().to_string())
    })?;
    Ok(pair)
}

/// Whether an access token opens the account at `now`. The practice token does not age.
pub fn valid(book: &Book, now: UtcTime, access: &str) -> Result<bool> {
    let issued = book.meta("ctrader_issued")?.and_then(|t| t.parse().ok()).map(UtcTime::from_micros);
    let fresh = issued.is_some_and(|at| now.seconds_since(at) < LIFE_S as f64);
    Ok(access == CTRADER_ACCESS || (fresh && book.meta("ctrader_access")?.as_deref() == Some(access)))
}

/// A token that no other was or will be in this book.
fn minted(book: &mut Book, what: &str) -> Result<String> {
    let n: u64 = book.meta("ctrader_minted")?.and_then(|n| n.parse().ok()).unwrap_or(0) + 1;
    book.write(|tx| book::set_meta(tx, "ctrader_minted", &n.to_string()))?;
    Ok(hex::encode(Sha256::digest(format!("sandbox {what} {n}")))[..40].to_string())
}
