use super::*;
use crate::budget::ledger;
use crate::control::Which;
use crate::host::FakeHost;
use crate::root::FsFacts;
use crate::sourcing::vendors_from;
use crate::vendor::{alpaca, alpha_vantage};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A loopback server that answers every request with the same bytes (or, without bytes, never), and counts.
async fn server(answer: Option<String>) -> (String, Arc<AtomicUsize>, Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (count, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(std::sync::Mutex::new(Vec::new())));
    let (counter, heard) = (count.clone(), seen.clone());
    tokio::spawn(async move {
        loop {
            let Ok((mut socket, _)) = listener.accept().await else { return };
            let (answer, counter, heard) = (answer.clone(), counter.clone(), heard.clone());
            tokio::spawn(async move {
                let mut buffer = vec![0u8; 8192];
                let n = socket.read(&mut buffer).await.unwrap_or(0);
                heard.lock().unwrap().push(String::from_utf8_lossy(&buffer[..n]).into_owned());
                counter.fetch_add(1, Ordering::SeqCst);
                match answer {
                    Some(text) => drop(socket.write_all(text.as_bytes()).await),
                    None => std::future::pending().await,
                }
            });
        }
    });
    (url, count, seen)
}

fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}", body.len())
}

struct Rig {
    fetcher: Fetcher,
    db: Arc<Db>,
    root: DataRoot,
    _dir: tempfile::TempDir,
}

fn rig(url: &str) -> Rig {
    let env = [
        ("ALPACA_API_KEY", "CANARYKEY-ID"),
        ("ALPACA_API_SECRET", "CANARYKEY-SECRET"),
        ("ALPHA_VANTAGE_API_KEY", "CANARYKEY-AV"),
        ("TRADEML_BASE_URL_ALPACA_TRADING", url),
        ("TRADEML_BASE_URL_ALPACA_DATA", url),
        ("TRADEML_BASE_URL_ALPHA_VANTAGE", url),
    ];
    let env: BTreeMap<String, String> = env.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect();
    let host = Host::fake(FakeHost { env, ..FakeHost::default() });
    let dir = tempfile::tempdir().unwrap();
    let root = DataRoot::create(&host, dir.path(), "replay@1", FsFacts::default(), None).unwrap();
    let db = Arc::new(Db::open(&root, Which::Node).unwrap());
    let vendors = vendors_from(&host, &root, &BTreeMap::new()).unwrap();
    let fetcher = Fetcher {
        host: host.clone(),
        db: Some(db.clone()),
        vendors: Arc::new(vendors),
        transport: Arc::new(Network::new(&host)),
        pacer: Arc::default(),
        slices: Slices::default(),
        edge: Arc::new(EdgeConfig::built_in().unwrap()),
        deadline: Duration::from_millis(80),
        calls: Arc::default(),
        clock: Arc::new(ClockWatch::new(&host)),
    };
    Rig { fetcher, db, root, _dir: dir }
}

fn sent(db: &Db) -> u64 {
    let rows = ledger(&db.lock().unwrap()).unwrap();
    rows.iter().filter(|((_, window, start), _)| window == "day" && !start.is_empty()).map(|(_, (spent, ..))| spent).sum()
}

#[tokio::test]
async fn a_good_answer_over_real_http_carries_the_keys_in_headers_only() {
    let (url, _, seen) = server(Some(http("200 OK", "", "{\"is_open\":false}"))).await;
    let r = rig(&url);
    let body = r.fetcher.get(&alpaca::clock(), Kind::Forward).await.unwrap().unwrap();
    assert_eq!((body.http, body.bytes.as_slice()), (200, b"{\"is_open\":false}".as_slice()));
    let heard = seen.lock().unwrap().concat().to_ascii_lowercase();
    assert!(heard.starts_with("get /v2/clock http") && heard.contains("apca-api-key-id: canarykey-id"), "{heard}");
}

#[tokio::test]
async fn lesson_002_every_call_that_left_is_counted_also_when_it_failed() {
    let (url, count, _) = server(Some(http("503 Service Unavailable", "", "later"))).await;
    let r = rig(&url);
    for _ in 0..3 {
        let refusal = r.fetcher.get(&alpaca::clock(), Kind::Forward).await.unwrap().unwrap_err();
        assert!(matches!(refusal, Refusal::Vendor { class: Class::Transient, http: 503, .. }));
    }
    assert_eq!(count.load(Ordering::SeqCst), 12, "three retries each");
    assert_eq!(sent(&r.db), 12);
    assert_eq!(r.fetcher.calls.load(Ordering::SeqCst), 12);
}

#[tokio::test]
async fn lesson_016_a_server_that_never_answers_meets_the_deadline() {
    let (url, count, _) = server(None).await;
    let r = rig(&url);
    let refusal = r.fetcher.get(&alpaca::clock(), Kind::Forward).await.unwrap().unwrap_err();
    assert!(matches!(&refusal, Refusal::Vendor { class: Class::Transient, words, .. } if words.contains("deadline")), "{refusal:?}");
    assert_eq!((count.load(Ordering::SeqCst) as u64, sent(&r.db)), (4, 4));
}

#[tokio::test]
async fn lesson_017_a_rate_limit_freezes_the_vendor_and_asks_nothing_meanwhile() {
    let (url, count, _) = server(Some(http("429 Too Many Requests", "retry-after: 30\r\n", "{\"message\":\"too many requests.\"}"))).await;
    let r = rig(&url);
    let now = r.fetcher.host.now();
    let refusal = r.fetcher.get(&alpaca::clock(), Kind::Forward).await.unwrap().unwrap_err();
    assert!(matches!(refusal, Refusal::Vendor { class: Class::RateLimited { .. }, until: Some(t), .. } if t == now.plus_seconds(30)));
    assert!(matches!(r.fetcher.get(&alpaca::clock(), Kind::Forward).await.unwrap(), Err(Refusal::Local { .. })));
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

/// The windows of a vendor that processes share are full for a while: another process has used them up.
async fn used_up(r: &Rig, vendor: Vendor) {
    let (other, short) = (budget::Pacer::default(), r.fetcher.short_windows(vendor).unwrap());
    let most = short.iter().map(|w| w.calls).max().unwrap();
    let ticket = other.admit(&r.fetcher.host, vendor.as_str(), &short, most).await.unwrap();
    other.leaves(&r.fetcher.host, vendor.as_str(), &short, ticket, Some(&r.root)).await.unwrap();
}

#[tokio::test]
async fn lesson_017_a_freeze_that_came_while_a_call_waited_for_others_holds_for_it() {
    let (url, count, _) = server(Some(http("200 OK", "", "{}"))).await;
    let r = rig(&url);
    used_up(&r, Vendor::Alpaca).await;
    let until = r.fetcher.host.now().plus_seconds(3_600);
    // The call is booked and waits; meanwhile the vendor refuses the other process.
    let frozen = async { r.db.write(|tx| budget::freeze(tx, r.fetcher.host.now(), Vendor::Alpaca.as_str(), until, "429")).unwrap() };
    let clock = alpaca::clock();
    let (answer, ()) = tokio::join!(r.fetcher.get(&clock, Kind::Forward), frozen);
    assert!(matches!(answer.unwrap(), Err(Refusal::Local { until: u, .. }) if u == until));
    assert_eq!(count.load(Ordering::SeqCst), 0, "nothing left");
}

#[tokio::test]
async fn lesson_002_a_call_that_waited_stays_booked_and_a_day_that_slides_holds_it() {
    let (url, _, _) = server(Some(http("200 OK", "", "{}"))).await;
    let r = rig(&url);
    // The first call is about to leave its day; this one is booked just before that, and leaves a minute later.
    r.fetcher.get(&alpaca::clock(), Kind::Forward).await.unwrap().unwrap();
    r.fetcher.host.sleep(Duration::from_secs(86_390)).await;
    used_up(&r, Vendor::Alpaca).await;
    r.fetcher.get(&alpaca::clock(), Kind::Forward).await.unwrap().unwrap();
    let rows = ledger(&r.db.lock().unwrap()).unwrap();
    let days: Vec<u64> = rows.iter().filter(|((_, window, start), _)| window == "day" && !start.is_empty()).map(|(_, (spent, ..))| *spent).collect();
    assert_eq!(days, [1, 1], "once: the day that slides holds what was booked before the wait");
}

#[tokio::test]
async fn lesson_002_a_call_that_waited_past_a_reset_is_counted_where_the_vendor_counts_it() {
    let r = rig("http://127.0.0.1:9");
    let windows = vec![budget::WindowSpec { per: budget::Per::Day, calls: 25 }];
    let limits = budget::Limits { vendor: "v".into(), windows, reset: budget::Reset::UtcMidnight, slices: budget::Slices::default() };
    let (request, host) = (alpaca::clock(), r.fetcher.host.clone());
    let midnight = UtcTime::from_micros((i64::from(host.now().utc_day().0) + 1) * 86_400_000_000);
    host.sleep(Duration::from_secs_f64(midnight.seconds_since(host.now()) - 10.0)).await;
    let booked = host.now();
    let spend = || r.db.write(|tx| budget::spend(tx, host.now(), &limits, Kind::Forward, 1)).unwrap();
    assert_eq!(spend(), Grant::Granted);
    let again = || r.fetcher.after_the_wait(&r.db, &limits, (&request, Kind::Forward), booked).unwrap();
    let days = || {
        ledger(&r.db.lock().unwrap())
            .unwrap()
            .into_iter()
            .filter(|((v, window, start), _)| v == "v" && window == "day" && !start.is_empty())
            .map(|(_, n)| n.0)
            .collect::<Vec<_>>()
    };
    assert_eq!((again(), days()), (Grant::Granted, vec![1]), "its day goes on");
    host.sleep(Duration::from_secs(20)).await;
    assert_eq!((again(), days()), (Grant::Granted, vec![1, 1]), "booked before the wait, and again in the day that has begun since");
}

#[tokio::test]
async fn lesson_021_no_key_in_a_refusal_a_quarantined_body_or_a_note() {
    let body = r#"{"Information":"We have detected your API key as CANARYKEY-AV and our standard API rate limit is 25 requests per day."}"#;
    let (url, _, seen) = server(Some(http("200 OK", "", body))).await;
    let r = rig(&url);
    let request = alpha_vantage::listing_status("2017-12-01".parse().unwrap(), "active");
    let refusal = r.fetcher.get(&request, Kind::Forward).await.unwrap().unwrap_err();
    assert!(seen.lock().unwrap().concat().contains("apikey=CANARYKEY-AV"), "the vendor takes it in the query");
    assert!(!format!("{refusal:?}").contains("CANARYKEY"), "{refusal:?}");
    r.fetcher.quarantine(&r.root, &request, 200, body.as_bytes(), body).unwrap();
    let latin = b"<p>Acc\xe8s refus\xe9: http://proxy/?apikey=CANARYKEY-AV&b=1";
    r.fetcher.quarantine(&r.root, &request, 403, latin, "a page in Latin-1").unwrap();
    for path in crate::store::list(&r.root, &DataPath::new("raw").unwrap()).unwrap() {
        let mut bytes = crate::store::read(&r.root, &path).unwrap().unwrap();
        if path.as_str().ends_with(".gz") {
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes.as_slice()), &mut text).unwrap();
            bytes = text;
        }
        assert!(!String::from_utf8_lossy(&bytes).contains("CANARYKEY"), "{path}");
    }
}

#[tokio::test]
async fn lesson_118_a_broken_connection_names_no_url() {
    let r = rig("http://127.0.0.1:9");
    let request = alpha_vantage::listing_status("2017-12-01".parse().unwrap(), "active");
    let refusal = format!("{:?}", r.fetcher.get(&request, Kind::Forward).await.unwrap().unwrap_err());
    assert!(!refusal.contains("CANARYKEY") && !refusal.contains("127.0.0.1"), "{refusal}");
}

#[tokio::test]
async fn a_simulated_world_talks_to_this_machine_only() {
    let r = rig("https://data.alpaca.markets");
    assert!(r.fetcher.get(&alpaca::clock(), Kind::Forward).await.unwrap_err().is(code::NET_FORBIDDEN_HOST));
    r.fetcher.host.set_offline(true);
    assert!(r.fetcher.get(&alpaca::clock(), Kind::Forward).await.unwrap_err().is(code::NET_UNREACHABLE));
}

#[test]
fn retry_after_in_seconds_and_as_a_date() {
    let now = UtcTime::parse("2026-11-20T10:00:00Z").unwrap();
    let raw = |v: &str| Raw { status: 429, headers: BTreeMap::from([("retry-after".to_string(), v.to_string())]), body: Vec::new() };
    assert_eq!(retry_after(&raw("30"), now), Some(Duration::from_secs(30)));
    assert_eq!(retry_after(&raw("Fri, 20 Nov 2026 10:02:00 GMT"), now), Some(Duration::from_secs(120)));
    assert_eq!(retry_after(&raw("soon"), now), None);
}

#[test]
fn the_longest_bodies_that_may_be_on_their_way_at_once_fit_a_small_machine() {
    let edge = EdgeConfig::built_in().unwrap();
    for vendor in Vendor::ALL {
        let at_once = max_body_bytes(*vendor) + (edge.inflight(*vendor) - 1) * transport::LARGE_BYTES;
        assert!(at_once <= 72 << 20, "{vendor}: {} MiB", at_once >> 20);
    }
}

#[test]
fn a_compressed_bomb_is_cut_off_at_the_cap_while_it_arrives() {
    let r = rig("http://127.0.0.1:9");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gz.write_all(&vec![b'0'; 4 << 20]).unwrap();
    let packed = gz.finish().unwrap();
    assert!(packed.len() < 8_192, "{}", packed.len());
    let host = r.fetcher.host.clone();
    let sent = host
        .block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/", listener.local_addr().unwrap());
            tokio::spawn(async move {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut asked = vec![0u8; 4_096];
                drop(socket.read(&mut asked).await);
                let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", packed.len());
                drop(socket.write_all(head.as_bytes()).await);
                drop(socket.write_all(&packed).await);
            });
            let call = Call {
                url,
                query: Vec::new(),
                secret_query: Vec::new(),
                headers: Vec::new(),
                timeout: Duration::from_secs(20),
                max_bytes: 1 << 20,
                room: Room::default(),
            };
            r.fetcher.transport.send(&call).await.unwrap()
        })
        .unwrap();
    assert!(matches!(sent, Err(Broken::TooLong)), "4 MiB out of {} bytes under a cap of one", 8_192);
}

#[test]
fn of_large_bodies_one_is_in_memory_at_a_time_and_small_ones_wait_for_none() {
    let r = rig("http://127.0.0.1:9");
    let host = r.fetcher.host.clone();
    host.block_on(async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut asked = vec![0u8; 4_096];
                    let n = socket.read(&mut asked).await.unwrap_or(0);
                    let length = if asked[..n].starts_with(b"GET /large") { transport::LARGE_BYTES + 1 } else { 1_000 };
                    drop(socket.write_all(format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n").as_bytes()).await);
                    drop(socket.write_all(&vec![b'0'; length]).await);
                });
            }
        });
        let shared = r.fetcher.pacer.large("alpaca");
        let call = |what: &str| Call {
            url: format!("http://{address}/{what}"),
            query: Vec::new(),
            secret_query: Vec::new(),
            headers: Vec::new(),
            timeout: Duration::from_secs(60),
            max_bytes: 8 << 20,
            room: Room::of(Arc::clone(&shared)),
        };
        let (first, second, small) = (call("large"), call("large"), call("small"));
        let send = async |call: &Call| r.fetcher.transport.send(call).await.unwrap().unwrap().body.len();
        assert_eq!(send(&first).await, transport::LARGE_BYTES + 1);
        assert!(shared.try_lock().is_err(), "held until it was decoded");
        assert_eq!(send(&small).await, 1_000);
        let (length, ()) = tokio::join!(send(&second), async {
            tokio::task::yield_now().await;
            drop(first);
        });
        assert_eq!(length, transport::LARGE_BYTES + 1);
        assert!(shared.try_lock().is_err());
        drop(second);
        assert!(shared.try_lock().is_ok());
    })
    .unwrap();
}
