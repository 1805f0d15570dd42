use super::super::notify::{Channel, Delivered, Outbox};
use super::*;
use crate::execution::broker::fake::{evening, scratch};
use data_layer::control::{Db, Which};
use data_layer::host::FakeHost;
use data_layer::root::{DataRoot, FsFacts};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader as Lines, Read, Write};
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
    let message = Message { id: "trip-1".into(), level: Level::Alarm, title: "circuit\r\nbreaker".into(), text: "MAX_DRAWDOWN: 11 %".into(), at: evening() };
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
    for bad in
        ["smtp://u:secret@mail.example.org", "smtp://mail.example.org?tls=opportunistic", "smtp://127.0.0.1@mail.example.org", "http://127.0.0.1", "smtps://"]
    {
        let error = with(bad).unwrap_err();
        assert!(error.is(code::NET_FORBIDDEN_HOST) && !error.to_string().contains("secret"), "{bad}");
    }
    assert!(Mail::configured(&host(&[])).unwrap().is_none());
    let half = [("TRADEML_NOTIFY_SMTP_URL", "smtps://mail.example.org"), ("TRADEML_NOTIFY_EMAIL_FROM", "a@example.org")];
    assert!(Mail::configured(&host(&half)).unwrap_err().is(code::CFG_VALUE));
    let odd = [half[0], half[1], ("TRADEML_NOTIFY_EMAIL_TO", "nobody")];
    assert!(Mail::configured(&host(&odd)).unwrap_err().is(code::CFG_VALUE));
}

const AUTHORITY: &[u8] = include_bytes!("../../tests/golden/tls/ca.pem");

/// How the mail server below speaks.
#[derive(Clone, Copy, PartialEq)]
enum Speaks {
    /// Greets in the clear and offers STARTTLS.
    StartTls,
    /// Greets in the clear and offers nothing.
    Clear,
    /// TLS from the first byte.
    Tls,
}

fn certificate() -> rustls::ServerConfig {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = vec![CertificateDer::from_pem_slice(include_bytes!("../../tests/golden/tls/server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../../tests/golden/tls/server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap()
}

/// The dialogue after the greeting; returns the letter, or `None` when the client went away or wants to encrypt.
fn dialogue(stream: &mut (impl Read + Write), offers: bool, heard: &mut Vec<String>) -> Option<String> {
    let mut line = String::new();
    loop {
        line.clear();
        let mut byte = [0u8; 1];
        while !line.ends_with('\n') {
            if stream.read(&mut byte).unwrap_or(0) == 0 {
                return None;
            }
            line.push(char::from(byte[0]));
        }
        heard.push(line.trim_end().to_string());
        let answer: &[u8] = match line.split([' ', ':', '\r']).next().unwrap_or("") {
            "EHLO" if offers => b"250-test\r\n250 STARTTLS\r\n",
            "STARTTLS" => b"220 go on\r\n",
            "DATA" => b"354 go on\r\n",
            "QUIT" => b"221 bye\r\n",
            _ => b"250 ok\r\n",
        };
        stream.write_all(answer).ok()?;
        stream.flush().ok()?;
        if line.starts_with("STARTTLS") {
            return None;
        }
        if line.starts_with("DATA") {
            let mut letter = String::new();
            let mut lines = Lines::new(&mut *stream);
            while lines.read_line(&mut letter).ok()? > 0 && !letter.ends_with("\r\n.\r\n") {}
            drop(lines);
            stream.write_all(b"250 taken\r\n").ok()?;
            stream.flush().ok()?;
            return Some(letter);
        }
    }
}

/// A mail server on loopback for one connection: what it heard in the clear, what it heard encrypted, and the letter.
fn serve_once(speaks: Speaks) -> (String, std::thread::JoinHandle<(Vec<String>, Vec<String>, Option<String>)>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let (mut clear, mut secret, mut letter) = (Vec::new(), Vec::new(), None);
        if speaks != Speaks::Tls {
            socket.write_all(b"220 test\r\n").unwrap();
            letter = dialogue(&mut socket, speaks == Speaks::StartTls, &mut clear);
        }
        if speaks == Speaks::Tls || clear.last().is_some_and(|l| l == "STARTTLS") {
            let mut session = rustls::ServerConnection::new(Arc::new(certificate())).unwrap();
            let mut stream = rustls::Stream::new(&mut session, &mut socket);
            if speaks == Speaks::StartTls || stream.write_all(b"220 test\r\n").is_ok() {
                letter = dialogue(&mut stream, false, &mut secret);
            }
        }
        (clear, secret, letter)
    });
    (place, server)
}

/// Send one letter to a server that speaks so, under an address of this form (`HOST` is its place), with or without its authority.
fn sent(speaks: Speaks, form: &str, trusted: bool) -> (Result<()>, (Vec<String>, Vec<String>, Option<String>)) {
    let (place, server) = serve_once(speaks);
    let (dir, url) = (scratch(), form.replace("HOST", &place));
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, AUTHORITY).unwrap();
    let file = file.display().to_string();
    let mut env = vec![("TRADEML_NOTIFY_SMTP_URL", url.as_str()), ("TRADEML_NOTIFY_EMAIL_FROM", "a@example.org"), ("TRADEML_NOTIFY_EMAIL_TO", "b@example.org")];
    if trusted {
        env.push(("TRADEML_NOTIFY_SMTP_CA", &file));
    }
    let host = host(&env);
    let message = Message { id: "1".into(), level: Level::Info, title: "night".into(), text: "all done".into(), at: evening() };
    let result = Mail::configured(&host).unwrap().unwrap().send(&host, &message);
    (result, server.join().unwrap())
}

#[test]
fn a_letter_travels_encrypted_after_starttls_and_from_the_first_byte() {
    for (speaks, form) in [(Speaks::StartTls, "smtp://HOST?tls=required"), (Speaks::Tls, "smtps://HOST")] {
        let (result, (clear, secret, letter)) = sent(speaks, form, true);
        result.unwrap();
        assert!(clear.iter().all(|l| l.starts_with("EHLO") || l == "STARTTLS"), "{form}: {clear:?}");
        assert!(secret.iter().any(|l| l.starts_with("MAIL FROM:<a@example.org>")), "{form}: {secret:?}");
        assert!(letter.unwrap().contains("all done"), "{form}");
    }
}

#[test]
fn a_server_that_cannot_encrypt_or_that_nobody_vouches_for_gets_no_letter_and_no_password() {
    let tries = [
        (Speaks::Clear, "smtp://user:hunter2@HOST?tls=required", true),
        (Speaks::StartTls, "smtp://user:hunter2@HOST?tls=required", false),
        (Speaks::Tls, "smtps://user:hunter2@HOST", false),
    ];
    for (speaks, form, trusted) in tries {
        let (result, (clear, secret, letter)) = sent(speaks, form, trusted);
        let error = result.unwrap_err();
        assert!(error.is(code::NET_UNREACHABLE) && !error.to_string().contains("hunter2"), "{form}: {error}");
        assert!(letter.is_none() && clear.iter().chain(&secret).all(|l| !l.starts_with("AUTH") && !l.starts_with("MAIL")), "{form}: {clear:?} {secret:?}");
    }
}
