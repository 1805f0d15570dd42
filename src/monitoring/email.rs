//! Messages as e-mail, over SMTP with TLS. Plain SMTP goes to loopback only.

use super::notify::{Level, Message};
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::store::sha256_hex;
use lettre::message::{Mailbox, header::ContentType};
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
        Ok(Some(Self { server: server.to_string().into(), from: address(needed("TRADEML_NOTIFY_EMAIL_FROM")?)?, to }))
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
            .timeout(Some(TIMEOUT))
            .build();
        let letter = self.letter(message)?;
        let sent = host.block_on(async { transport.send(letter).await })?;
        let said = sent.map_err(|e| failed(&e.status().map_or_else(|| "no answer".to_string(), |status| text!("status {status}"))))?;
        if said.is_positive() { Ok(()) } else { Err(failed("the letter was not taken")) }
    }
}

/// `smtps://`, or `smtp://` that insists on TLS, or loopback.
fn allowed(url: &str) -> Result<()> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (authority, query) = rest.split_once('?').map_or((rest, ""), |(a, q)| (a, q));
    let authority = authority.split(['/', '#']).next().unwrap_or("");
    let place = authority.rsplit_once('@').map_or(authority, |(_, p)| p);
    let name = place.rsplit_once(':').map_or(place, |(h, _)| h);
    let loopback = name == "localhost" || name == "127.0.0.1" || name == "[::1]";
    let insists = query.split('&').any(|q| q == "tls=required");
    if !name.is_empty() && (scheme == "smtps" || (scheme == "smtp" && (insists || loopback))) {
        return Ok(());
    }
    Err(Error::new(code::NET_FORBIDDEN_HOST, "mail leaves over TLS only")
        .cause("the server's address must be smtps://…, smtp://…?tls=required, or smtp on loopback")
        .fix("set TRADEML_NOTIFY_SMTP_URL=smtps://user:password@mail.example.org"))
}

#[cfg(test)]
mod tests {
    use super::super::notify::{Channel, Delivered, Outbox};
    use super::*;
    use crate::execution::broker::fake::{evening, scratch};
    use data_layer::control::{Db, Which};
    use data_layer::host::FakeHost;
    use data_layer::root::{DataRoot, FsFacts};
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    /// One letter as a server sees it.
    #[derive(Clone, Debug, Default, PartialEq)]
    struct Letter {
        from: String,
        to: Vec<String>,
        data: String,
    }

    /// A mail server on loopback that refuses the first `refuse` letters.
    async fn serve(listener: tokio::net::TcpListener, got: Arc<Mutex<Vec<Letter>>>, mut refuse: usize) {
        while let Ok((socket, _)) = listener.accept().await {
            let (read, mut write) = socket.into_split();
            let mut lines = BufReader::new(read).lines();
            write.write_all(b"220 test\r\n").await.unwrap();
            let mut letter = Letter::default();
            while let Ok(Some(line)) = lines.next_line().await {
                let answer = if line.starts_with("EHLO") {
                    "250 test\r\n"
                } else if let Some(from) = line.strip_prefix("MAIL FROM:") {
                    letter.from = from.to_string();
                    if refuse > 0 {
                        refuse -= 1;
                        "451 later\r\n"
                    } else {
                        "250 ok\r\n"
                    }
                } else if let Some(to) = line.strip_prefix("RCPT TO:") {
                    letter.to.push(to.to_string());
                    "250 ok\r\n"
                } else if line == "DATA" {
                    write.write_all(b"354 go on\r\n").await.unwrap();
                    while let Ok(Some(text)) = lines.next_line().await {
                        if text == "." {
                            break;
                        }
                        letter.data.push_str(&text);
                        letter.data.push('\n');
                    }
                    got.lock().unwrap().push(std::mem::take(&mut letter));
                    "250 taken\r\n"
                } else {
                    "221 bye\r\n"
                };
                write.write_all(answer.as_bytes()).await.unwrap();
                if line.starts_with("QUIT") {
                    break;
                }
            }
        }
    }

    fn host(env: &[(&str, &str)]) -> Host {
        let env: BTreeMap<String, String> = env.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect();
        Host::fake(FakeHost { env, now: evening(), ..FakeHost::default() })
    }

    #[test]
    fn a_letter_is_tried_again_and_arrives_once_with_its_own_id() {
        let server = Host::fake(FakeHost::default());
        let got = Arc::new(Mutex::new(Vec::new()));
        let base = server
            .block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let base = format!("smtp://{}", listener.local_addr().unwrap());
                tokio::spawn(serve(listener, Arc::clone(&got), 1));
                base
            })
            .unwrap();
        let env = [
            ("TRADEML_NOTIFY_SMTP_URL", base.as_str()),
            ("TRADEML_NOTIFY_EMAIL_FROM", "TradeML <desk@example.org>"),
            ("TRADEML_NOTIFY_EMAIL_TO", "a@example.org, b@example.org"),
        ];
        let host = host(&env);
        let dir = scratch();
        let db = Db::open(&DataRoot::create(&host, dir.path(), "replay@1", FsFacts::default(), None).unwrap(), Which::Journal).unwrap();
        let channels = Channel::configured(&host).unwrap();
        assert_eq!(channels.iter().map(Channel::name).collect::<Vec<_>>(), ["email"]);
        let outbox = Outbox::new(&db);
        let message =
            Message { id: "trip-1".into(), level: Level::Alarm, title: "circuit\r\nbreaker".into(), text: "MAX_DRAWDOWN: 11 %".into(), at: evening() };
        outbox.put(&channels, &message).unwrap();
        assert_eq!(outbox.deliver(&channels).unwrap(), Delivered { waiting: 1, ..Delivered::default() });
        host.block_on(host.sleep(Duration::from_secs(61))).unwrap();
        assert_eq!(outbox.deliver(&channels).unwrap(), Delivered { sent: 1, ..Delivered::default() });
        assert_eq!(outbox.deliver(&channels).unwrap(), Delivered::default());
        let got = got.lock().unwrap().clone();
        assert_eq!(got.len(), 1);
        assert_eq!((got[0].from.as_str(), got[0].to.len()), ("<desk@example.org>", 2));
        for part in ["Subject: [ALARM] circuit  breaker", "Date: Thu, 30 Nov 2017 21:30:00 +0000", "@trademl>", "MAX_DRAWDOWN: 11 %"] {
            assert!(got[0].data.contains(part), "{part}: {}", got[0].data);
        }
    }

    #[test]
    fn mail_leaves_over_tls_and_half_a_configuration_is_refused() {
        let with = |url: &str| {
            Mail::configured(&host(&[
                ("TRADEML_NOTIFY_SMTP_URL", url),
                ("TRADEML_NOTIFY_EMAIL_FROM", "a@example.org"),
                ("TRADEML_NOTIFY_EMAIL_TO", "b@example.org"),
            ]))
        };
        for good in ["smtps://u:p@mail.example.org", "smtp://u:p@mail.example.org:587?tls=required", "smtp://127.0.0.1:25", "smtp://localhost:2525"] {
            assert!(with(good).unwrap().is_some(), "{good}");
        }
        for bad in [
            "smtp://u:secret@mail.example.org",
            "smtp://mail.example.org?tls=opportunistic",
            "smtp://127.0.0.1@mail.example.org",
            "http://127.0.0.1",
            "smtps://",
        ] {
            let error = with(bad).unwrap_err();
            assert!(error.is(code::NET_FORBIDDEN_HOST) && !error.to_string().contains("secret"), "{bad}");
        }
        assert!(Mail::configured(&host(&[])).unwrap().is_none());
        let half = [("TRADEML_NOTIFY_SMTP_URL", "smtps://mail.example.org"), ("TRADEML_NOTIFY_EMAIL_FROM", "a@example.org")];
        assert!(Mail::configured(&host(&half)).unwrap_err().is(code::CFG_VALUE));
        let odd = [half[0], half[1], ("TRADEML_NOTIFY_EMAIL_TO", "nobody")];
        assert!(Mail::configured(&host(&odd)).unwrap_err().is(code::CFG_VALUE));
    }
}
