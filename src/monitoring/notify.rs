//! Saying that something happened: Slack, Discord, e-mail and signed webhooks, with an outbox that survives a crash.
//!
//! A message is put into the outbox once per event and channel and delivered at least once; a receiver of the generic webhook
//! can tell a repeat by the event's id. Addresses and secrets come from the environment and are never stored.

use super::email::Mail;
use data_layer::control::Db;
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::store::{canonical_json, sha256_hex};
use data_layer::time::UtcTime;
use hmac::{Hmac, KeyInit, Mac};
use rusqlite::{OptionalExtension, params};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Sha256;
use std::time::Duration;

/// Minutes before the next try, by the number of tries so far.
const BACKOFF_MIN: [i64; 6] = [1, 2, 5, 15, 60, 240];
/// After this many tries a message is given up, and the outbox says so.
const MAX_TRIES: u32 = 12;
const TIMEOUT: Duration = Duration::from_secs(10);
/// What was sent or given up is kept this long, so that the same event is not said again.
const KEPT_S: i64 = 30 * 86_400;
/// Slack and Discord cut longer texts.
const MAX_TEXT: usize = 1_900;

/// How grave it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Info,
    Warning,
    Alarm,
}

/// Something to be said. `id` names the event: the same event is said once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub id: String,
    pub level: Level,
    pub title: String,
    pub text: String,
    pub at: UtcTime,
}

/// Where messages go.
pub enum Channel {
    Slack(SecretString),
    Discord(SecretString),
    /// Address and the secret that signs.
    Webhook(SecretString, SecretString),
    Email(Mail),
}

impl Channel {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Slack(_) => "slack",
            Self::Discord(_) => "discord",
            Self::Webhook(..) => "webhook",
            Self::Email(_) => "email",
        }
    }

    /// The channels that the environment configures. A webhook without its secret is a configuration error, not an unsigned
    /// webhook.
    pub fn configured(host: &Host) -> Result<Vec<Self>> {
        let read = |name: &str| host.env(name).filter(|v| !v.is_empty()).map(|v| SecretString::from(v.to_string()));
        let mut out = Vec::new();
        out.extend(read("TRADEML_NOTIFY_SLACK_URL").map(Self::Slack));
        out.extend(read("TRADEML_NOTIFY_DISCORD_URL").map(Self::Discord));
        match (read("TRADEML_NOTIFY_WEBHOOK_URL"), read("TRADEML_NOTIFY_WEBHOOK_SECRET")) {
            (Some(url), Some(secret)) => out.push(Self::Webhook(url, secret)),
            (None, _) => {}
            (Some(_), None) => {
                return Err(
                    Error::new(code::CFG_VALUE, "a webhook needs TRADEML_NOTIFY_WEBHOOK_SECRET").cause("messages that are not signed could be anybody's")
                );
            }
        }
        out.iter().try_for_each(|c| allowed(c.url().expose_secret()).map(drop))?;
        out.extend(Mail::configured(host)?.map(Self::Email));
        Ok(out)
    }

    fn url(&self) -> &SecretString {
        match self {
            Self::Slack(url) | Self::Discord(url) | Self::Webhook(url, _) => url,
            Self::Email(mail) => &mail.server,
        }
    }

    fn body(&self, m: &Message) -> Result<String> {
        let mark = match m.level {
            Level::Info => "",
            Level::Warning => "[warning] ",
            Level::Alarm => "[ALARM] ",
        };
        let text: String = format!("{mark}{}\n{}", m.title, m.text).chars().take(MAX_TEXT).collect();
        let value: Value = match self {
            Self::Slack(_) => json!({"text": text}),
            Self::Discord(_) => json!({"content": text, "allowed_mentions": {"parse": []}}),
            Self::Webhook(..) | Self::Email(_) => serde_json::to_value(m)?,
        };
        canonical_json(&value)
    }
}

/// Plain HTTP goes to loopback only: what is said of an account is nobody else's business.
fn allowed(url: &str) -> Result<()> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    let name = authority.rsplit_once(':').map_or(authority, |(h, _)| h);
    let loopback = name == "localhost" || name == "127.0.0.1" || name == "[::1]";
    if authority.contains('@') || authority.is_empty() || !(scheme == "https" || (scheme == "http" && loopback)) {
        return Err(Error::new(code::NET_FORBIDDEN_HOST, "a notification address must be https, or http on loopback, and carry no credentials"));
    }
    Ok(())
}

/// `t=<unix seconds>,v1=<hex>`: HMAC-SHA256 over the stamp, a dot, and the raw body.
pub fn signature(secret: &SecretString, unix_s: i64, body: &[u8]) -> Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).map_err(|e| Error::bug(e.to_string()))?;
    mac.update(format!("{unix_s}.").as_bytes());
    mac.update(body);
    Ok(format!("t={unix_s},v1={}", hex::encode(mac.finalize().into_bytes())))
}

/// Whether a signature is right for a body, compared in constant time, and not older than five minutes.
pub fn verify(secrets: &[&SecretString], header: &str, body: &[u8], now_unix_s: i64) -> bool {
    let part = |key: &str| header.split(',').find_map(|p| p.trim().strip_prefix(key));
    let (Some(stamp), Some(mac)) = (part("t=").and_then(|t| t.parse::<i64>().ok()), part("v1=").and_then(|v| hex::decode(v).ok())) else { return false };
    let fits = |secret: &&SecretString| {
        Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).is_ok_and(|mut h| {
            h.update(format!("{stamp}.").as_bytes());
            h.update(body);
            h.verify_slice(&mac).is_ok()
        })
    };
    (now_unix_s - stamp).abs() <= 300 && secrets.iter().any(fits)
}

/// A message on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    channel: String,
    message: Message,
    tries: u32,
    next_at: UtcTime,
    /// `waiting`, `sent` or `given_up`.
    state: String,
    last_error: Option<String>,
}

/// What a delivery round did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Delivered {
    pub sent: usize,
    pub waiting: usize,
    pub given_up: usize,
}

/// Messages that survive a crash, in the journal.
pub struct Outbox<'a> {
    db: &'a Db,
}

impl<'a> Outbox<'a> {
    pub fn new(db: &'a Db) -> Self {
        Self { db }
    }

    /// Put a message into every channel's queue, once per event. Returns how many queues it is new to.
    pub fn put(&self, channels: &[Channel], message: &Message) -> Result<usize> {
        self.db.write(|tx| {
            let mut new = 0;
            for channel in channels {
                let entry = Entry {
                    channel: channel.name().into(),
                    message: message.clone(),
                    tries: 0,
                    next_at: message.at,
                    state: "waiting".into(),
                    last_error: None,
                };
                let key = key(channel.name(), &message.id);
                let known = tx.query_row("SELECT 1 FROM meta WHERE key = ?1", [&key], |_| Ok(())).optional()?;
                if known.is_none() {
                    tx.execute("INSERT INTO meta (key, value) VALUES (?1, ?2)", params![key, canonical_json(&entry)?])?;
                    new += 1;
                }
            }
            Ok(new)
        })
    }

    /// Messages on their way.
    fn waiting(&self) -> Result<Vec<(String, Entry)>> {
        let conn = self.db.lock()?;
        let sql = "SELECT key, value FROM meta WHERE key >= 'notify|' AND key < 'notify}' AND json_extract(value, '$.state') = 'waiting' ORDER BY key";
        let mut q = conn.prepare(sql)?;
        let rows = q.query_map([], |r| Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?)))?.collect::<std::result::Result<Vec<_>, _>>()?;
        rows.into_iter().map(|(k, v)| Ok((k, serde_json::from_str(&v)?))).collect()
    }

    /// Forget what was said long ago.
    fn prune(&self, now: UtcTime) -> Result<()> {
        let sql = "DELETE FROM meta WHERE key >= 'notify|' AND key < 'notify}' AND json_extract(value, '$.state') != 'waiting' \
             AND json_extract(value, '$.message.at') < ?1";
        self.db.write(|tx| Ok(tx.execute(sql, [now.plus_seconds(-KEPT_S).to_string()])?)).map(drop)
    }

    /// Deliver what is due. A failure waits and is tried again; nothing here fails the caller's own work. What waits for a channel that nobody
    /// configures any more waits for nobody.
    pub fn deliver(&self, channels: &[Channel]) -> Result<Delivered> {
        let host = self.db.root().host().clone();
        let mut out = Delivered::default();
        self.prune(host.now())?;
        let mut due = self.waiting()?;
        due.sort_by(|a, b| (a.1.message.at, &a.0).cmp(&(b.1.message.at, &b.0)));
        for (key, mut entry) in due {
            let Some(channel) = channels.iter().find(|c| c.name() == entry.channel) else { continue };
            if entry.next_at > host.now() {
                out.waiting += 1;
                continue;
            }
            entry.tries += 1;
            match post(&host, channel, &entry.message) {
                Ok(()) => {
                    (entry.state, entry.last_error) = ("sent".into(), None);
                    out.sent += 1;
                }
                Err(e) => {
                    entry.last_error = Some(e.body().what.clone());
                    let wait = BACKOFF_MIN[(entry.tries as usize - 1).min(BACKOFF_MIN.len() - 1)];
                    entry.next_at = host.now().plus_seconds(60 * wait);
                    let over = entry.tries >= MAX_TRIES;
                    if over {
                        entry.state = "given_up".into();
                    }
                    *(if over { &mut out.given_up } else { &mut out.waiting }) += 1;
                }
            }
            let json = canonical_json(&entry)?;
            self.db.write(|tx| Ok(tx.execute("UPDATE meta SET value = ?1 WHERE key = ?2", params![json, key])?))?;
        }
        Ok(out)
    }
}

fn key(channel: &str, id: &str) -> String {
    format!("notify|{channel}|{}", sha256_hex(id.as_bytes()))
}

/// One POST. Its error never carries the address: the address is a secret.
fn post(host: &Host, channel: &Channel, message: &Message) -> Result<()> {
    if host.is_offline() {
        return Err(Error::new(code::NET_UNREACHABLE, "this run is offline"));
    }
    if let Channel::Email(mail) = channel {
        return mail.send(host, message);
    }
    let body = channel.body(message)?;
    let mut request = host.http().post(channel.url().expose_secret()).timeout(TIMEOUT).header("content-type", "application/json");
    if let Channel::Webhook(_, secret) = channel {
        let unix_s = host.now().micros().div_euclid(1_000_000);
        request = request.header("X-TradeML-Signature", signature(secret, unix_s, body.as_bytes())?).header("X-TradeML-Event", message.id.clone());
    }
    let failed = |what: String| Error::new(code::NET_UNREACHABLE, format!("{}: {what}", channel.name()));
    let sending = async { request.body(body).send().await.map(|r| r.status().as_u16()).map_err(|_| failed("no answer".into())) };
    match host.block_on(sending)?? {
        200..=299 => Ok(()),
        status => Err(failed(text!("status {status}"))),
    }
}

#[cfg(test)]
#[path = "notify_tests.rs"]
pub(super) mod tests;
