//! Messages as e-mail, over SMTP with TLS. Plain SMTP goes to loopback only.

use super::notify::{Level, Message};
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::store::sha256_hex;
use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};
use std::time::{Duration, UNIX_EPOCH};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Where letters go, and through whom. The address of the server carries its password.
#[derive(Clone, Debug)]
pub struct Mail {
    pub(super) server: SecretString,
    from: Mailbox,
    to: Vec<Mailbox>,
    /// An authority of one's own, in PEM, beside those of the system.
    authority: Option<Vec<u8>>,
}

impl Mail {
    /// `TRADEML_NOTIFY_SMTP_URL` with its sender and receivers; `None` without a server. Half a configuration is an error.
    pub fn configured(host: &Host) -> Result<Option<Self>> {
        let read = |name: &str| host.env(name).filter(|v| !v.is_empty());
        let Some(server) = read("TRADEML_NOTIFY_SMTP_URL") else { return Ok(None) };
        allowed(server)?;
        let address = |text: &str| {
            text.trim().parse::<Mailbox>().map_err(|_| Error::new(code::CFG_VALUE, "a notification's sender or receiver is not an e-mail address"))
        };
        let needed = |name: &str| read(name).ok_or_else(|| Error::new(code::CFG_VALUE, text!("e-mail needs {name} beside TRADEML_NOTIFY_SMTP_URL")));
        let to = needed("TRADEML_NOTIFY_EMAIL_TO")?.split(',').map(address).collect::<Result<Vec<_>>>()?;
        let authority = read("TRADEML_NOTIFY_SMTP_CA")
            .map(|file| std::fs::read(host.cwd().join(file)).map_err(|e| Error::from(e).during("reading the mail server's authority, TRADEML_NOTIFY_SMTP_CA")));
        Ok(Some(Self { server: server.to_string().into(), from: address(needed("TRADEML_NOTIFY_EMAIL_FROM")?)?, to, authority: authority.transpose()? }))
    }

    /// How the connection is encrypted when it trusts an authority of one's own; otherwise the address says it all.
    fn tls(&self) -> Result<Option<Tls>> {
        let Some(pem) = &self.authority else { return Ok(None) };
        let (scheme, place, query) = parts(self.server.expose_secret());
        let refused =
            |_| Error::new(code::CFG_VALUE, "the mail server's authority cannot be used").fix("set TRADEML_NOTIFY_SMTP_CA to a file with a PEM certificate");
        let authority = Certificate::from_pem(pem).map_err(refused)?;
        let parameters =
            TlsParameters::builder(host_of(place).trim_matches(['[', ']']).to_string()).add_root_certificate(authority).build().map_err(refused)?;
        Ok(match scheme {
            "smtps" => Some(Tls::Wrapper(parameters)),
            _ if insists(query) => Some(Tls::Required(parameters)),
            _ => None,
        })
    }

    /// The letter of a message. The same message has the same id, so that a receiver can tell a repeat.
    fn letter(&self, m: &Message) -> Result<lettre::Message> {
        let mark = match m.level {
            Level::Info => "",
            Level::Warning => "[warning] ",
            Level::Alarm => "[ALARM] ",
        };
        let micros = u64::try_from(m.at.micros()).unwrap_or(0);
        let letter = lettre::Message::builder()
            .from(self.from.clone())
            .message_id(Some(format!("<{}@trademl>", &sha256_hex(m.id.as_bytes())[..32])))
            .date(UNIX_EPOCH + Duration::from_micros(micros))
            .subject(format!("{mark}{}", m.title.replace(['\r', '\n'], " ")))
            .header(ContentType::TEXT_PLAIN);
        let letter = self.to.iter().cloned().fold(letter, |l, to| l.to(to));
        letter.body(m.text.clone()).map_err(|e| Error::bug(text!("a letter could not be written: {e}")))
    }

    /// Hand the letter over. Its error never carries the server's address, which holds the password.
    pub(super) fn send(&self, host: &Host, message: &Message) -> Result<()> {
        let failed = |what: &str| Error::new(code::NET_UNREACHABLE, text!("email: {what}"));
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(self.server.expose_secret())
            .map_err(|_| failed("the server's address cannot be used"))?
            .hello_name(ClientId::Domain("localhost".into()))
            .timeout(Some(TIMEOUT));
        let transport = match self.tls()? {
            Some(tls) => transport.tls(tls),
            None => transport,
        }
        .build();
        let letter = self.letter(message)?;
        let sent = host.block_on(async { transport.send(letter).await })?;
        let said = sent.map_err(|e| failed(&e.status().map_or_else(|| "no answer".to_string(), |status| text!("status {status}"))))?;
        if said.is_positive() { Ok(()) } else { Err(failed("the letter was not taken")) }
    }
}

/// Scheme, `host:port` and query of a server's address, without user and password.
fn parts(url: &str) -> (&str, &str, &str) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = authority.split(['/', '#']).next().unwrap_or("");
    (scheme, authority.rsplit_once('@').map_or(authority, |(_, p)| p), query)
}

fn host_of(place: &str) -> &str {
    place.rsplit_once(':').map_or(place, |(h, _)| h)
}

fn insists(query: &str) -> bool {
    query.split('&').any(|q| q == "tls=required")
}

/// `smtps://`, or `smtp://` that insists on TLS, or loopback.
fn allowed(url: &str) -> Result<()> {
    let (scheme, place, query) = parts(url);
    let name = host_of(place);
    let loopback = name == "localhost" || name == "127.0.0.1" || name == "[::1]";
    if !name.is_empty() && (scheme == "smtps" || (scheme == "smtp" && (insists(query) || loopback))) {
        return Ok(());
    }
    Err(Error::new(code::NET_FORBIDDEN_HOST, "mail leaves over TLS only")
        .cause("the server's address must be smtps://…, smtp://…?tls=required, or smtp on loopback")
        .fix("set TRADEML_NOTIFY_SMTP_URL=smtps://user:password@mail.example.org"))
}

#[cfg(test)]
#[path = "email_tests.rs"]
mod tests;
