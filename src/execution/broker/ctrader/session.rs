//! One connection: a task that reads, a task that writes and keeps the connection alive, and questions that wait for the answer with their id.

use data_layer::ctrader::Wire;
use data_layer::ctrader::dialect::{Hear, Say};
use data_layer::ctrader::messages::{self as m, Envelope};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;

/// A sign of life at least this often: the server wants one every ten seconds.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(8);
/// Without a byte from the server for this long, nobody is there.
const SILENCE: Duration = Duration::from_secs(90);
/// News that a slow listener may be behind before it has to ask.
const BACKLOG: usize = 1_024;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The question may or may not have arrived.
    Transport(String),
    /// The server's own words.
    Refused { code: String, text: String, retry_after_s: Option<u64> },
    /// Something else than was asked for.
    Malformed,
}

/// What is heard beside answers.
#[derive(Clone, Debug)]
pub(super) enum News {
    Message(Arc<Envelope>),
    Lost(String),
}

type Waiting = Arc<Mutex<BTreeMap<String, oneshot::Sender<Envelope>>>>;

/// A connection. It ends when it is dropped.
pub(super) struct Session {
    outgoing: mpsc::UnboundedSender<Envelope>,
    waiting: Waiting,
    news: broadcast::Sender<News>,
    alive: Arc<AtomicBool>,
    next: AtomicU64,
    tasks: [JoinHandle<()>; 2],
}

/// A question that was sent. Whoever stops waiting for its answer is no longer kept.
pub(super) struct Asked {
    id: String,
    waiting: Waiting,
    pub answer: oneshot::Receiver<Envelope>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Session {
    /// Take over the two halves of a connection, whatever its dialect. Must be called on the runtime.
    pub fn start((from, to): (impl Hear + 'static, impl Say + 'static), heartbeat: Duration) -> Self {
        let (outgoing, queue) = mpsc::unbounded_channel();
        let (news, waiting, alive) = (broadcast::channel(BACKLOG).0, Waiting::default(), Arc::new(AtomicBool::new(true)));
        let reader = tokio::spawn(read(from, Arc::clone(&waiting), news.clone(), Arc::clone(&alive)));
        let writer = tokio::spawn(write(to, queue, heartbeat, news.clone(), Arc::clone(&alive)));
        Self { outgoing, waiting, news, alive, next: AtomicU64::new(1), tasks: [reader, writer] }
    }

    pub fn is_alive(&self) -> bool {
        self.alive.load(Ordering::SeqCst)
    }

    /// Everything that is heard from now on.
    pub fn listen(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    /// Send a message; the receiver gets the envelope that answers it.
    pub fn send(&self, question: &impl Wire) -> Result<Asked, Failure> {
        let id = format!("q{}", self.next.fetch_add(1, Ordering::SeqCst));
        let (answered, answer) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), answered);
        let asked = Asked { id: id.clone(), waiting: Arc::clone(&self.waiting), answer };
        let sent = self.outgoing.send(question.wrapped(Some(id)));
        if sent.is_err() || !self.is_alive() {
            return Err(Failure::Transport(text!("the connection broke")));
        }
        Ok(asked)
    }

    /// Ask, and wait for this kind of answer, about the account that was asked about: one that is empty reads like "there is nothing".
    pub async fn ask<A: Wire, Q: Wire>(&self, question: &Q, patience: Duration) -> Result<A, Failure> {
        let mut asked = self.send(question)?;
        let envelope = match tokio::time::timeout(patience, &mut asked.answer).await {
            Err(_) => return Err(Failure::Transport(text!("no answer in time"))),
            Ok(Err(_)) => return Err(Failure::Transport(text!("the connection broke"))),
            Ok(Ok(envelope)) => envelope,
        };
        let answer = understood(&envelope)?;
        let accounts = Q::account_in(&question.wrapped(None)).zip(A::account_in(&envelope));
        if accounts.is_some_and(|(asked, answered)| asked != answered) { Err(Failure::Malformed) } else { Ok(answer) }
    }

    /// Questions that somebody still waits for.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// The answer, or what the server said instead.
fn understood<A: Wire>(envelope: &Envelope) -> Result<A, Failure> {
    refusal(envelope).map_or_else(|| A::unwrapped(envelope).ok_or(Failure::Malformed), Err)
}

/// What an envelope refuses; `None` when it refuses nothing.
pub(super) fn refusal(envelope: &Envelope) -> Option<Failure> {
    let refused = |code: String, text: Option<String>, retry_after_s| Failure::Refused { code, text: text.unwrap_or_default(), retry_after_s };
    if let Some(e) = m::ErrorRes::unwrapped(envelope) {
        return Some(refused(e.code, e.description, e.retry_after_s));
    }
    if let Some(e) = m::OrderErrorEvent::unwrapped(envelope) {
        return Some(refused(e.code, e.description, None));
    }
    m::CommonError::unwrapped(envelope).map(|e| refused(e.code, e.description, None))
}

async fn read(mut from: impl Hear, waiting: Waiting, news: broadcast::Sender<News>, alive: Arc<AtomicBool>) {
    let why = loop {
        let envelope = match tokio::time::timeout(SILENCE, from.hear()).await {
            Err(_) => break text!("the server fell silent"),
            Ok(Ok(None)) => break text!("the server closed the connection"),
            Ok(Err(e)) if e.kind() == std::io::ErrorKind::InvalidData => break text!("the server sent something that is not its protocol"),
            Ok(Err(_)) => break text!("the connection broke"),
            Ok(Ok(Some(envelope))) => envelope,
        };
        match envelope.payload_type {
            m::Heartbeat::PAYLOAD => continue,
            m::ClientDisconnectEvent::PAYLOAD | m::AccountDisconnectEvent::PAYLOAD => break text!("the server ended the session"),
            m::TokenInvalidatedEvent::PAYLOAD => break text!("the access token was withdrawn"),
            _ => {}
        }
        let asker = envelope.client_msg_id.as_ref().and_then(|id| waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(id));
        // An answer to an order is news as well: whoever follows the account hears it once more, which changes nothing. No other answer is:
        // a list of symbols has megabytes, and the backlog would keep a thousand of them.
        if matches!(envelope.payload_type, m::ExecutionEvent::PAYLOAD | m::SpotEvent::PAYLOAD) {
            drop(news.send(News::Message(Arc::new(envelope.clone()))));
        }
        if let Some(asker) = asker {
            drop(asker.send(envelope));
        }
    };
    alive.store(false, Ordering::SeqCst);
    drop(news.send(News::Lost(why)));
    // Whoever waits learns that no answer will come.
    waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

async fn write(mut to: impl Say, mut queue: mpsc::UnboundedReceiver<Envelope>, heartbeat: Duration, news: broadcast::Sender<News>, alive: Arc<AtomicBool>) {
    loop {
        let envelope = match tokio::time::timeout(heartbeat, queue.recv()).await {
            Ok(Some(envelope)) => envelope,
            Ok(None) => return,
            Err(_) => m::Heartbeat {}.wrapped(None),
        };
        if to.say(&envelope).await.is_err() {
            alive.store(false, Ordering::SeqCst);
            drop(news.send(News::Lost(text!("the connection broke"))));
            return;
        }
    }
}
