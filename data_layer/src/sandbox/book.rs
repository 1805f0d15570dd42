//! The simulated broker's book and the world clock, in one SQLite file of the state folder.
//!
//! `synchronous=FULL` and one transaction per change: what was answered is still there after a kill. The file is locked for
//! as long as the sandbox runs, so that two of them never share a book. Client order ids stay taken for ever.

use crate::error::{Error, Result, code};
use crate::time::UtcTime;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Which way an order goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Buy,
    Sell,
}

impl Side {
    pub fn word(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        }
    }
    /// +1 or -1.
    pub fn sign(self) -> f64 {
        match self {
            Self::Buy => 1.0,
            Self::Sell => -1.0,
        }
    }
    fn from_word(word: &str) -> Self {
        if word == "sell" { Self::Sell } else { Self::Buy }
    }
}

/// One order as the broker holds it. Quantities in shares, prices in dollars.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    pub id: String,
    pub client_order_id: String,
    pub symbol: String,
    pub side: Side,
    pub qty: f64,
    /// `None`: a market order.
    pub limit_price: Option<f64>,
    /// `day`, `gtc`, `opg`, or `moo` for a market order that waits for an opening however long.
    pub tif: String,
    /// `accepted`, `partially_filled`, `filled`, `canceled`, `expired` or `replaced`.
    pub status: String,
    pub submitted_at: UtcTime,
    pub updated_at: UtcTime,
    pub filled_qty: f64,
    pub filled_avg_price: Option<f64>,
    /// The order in whose place this one stands.
    pub replaces: Option<String>,
    pub replaced_by: Option<String>,
}

impl Order {
    pub fn is_open(&self) -> bool {
        matches!(self.status.as_str(), "accepted" | "partially_filled")
    }
    /// Signed shares still to come.
    pub fn remaining(&self) -> f64 {
        if self.is_open() { self.side.sign() * (self.qty - self.filled_qty) } else { 0.0 }
    }
}

/// One execution.
#[derive(Clone, Debug, PartialEq)]
pub struct Fill {
    pub id: String,
    pub order_id: String,
    pub symbol: String,
    pub side: Side,
    pub qty: f64,
    pub price: f64,
    pub at: UtcTime,
    /// Whether it opened or enlarged a short position.
    pub short: bool,
}

/// Which orders a listing asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Open,
    Closed,
    All,
}

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS orders(seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, client_order_id TEXT NOT NULL UNIQUE, symbol TEXT NOT NULL,
  side TEXT NOT NULL, qty REAL NOT NULL, limit_price REAL, tif TEXT NOT NULL, status TEXT NOT NULL, submitted_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
  filled_qty REAL NOT NULL DEFAULT 0, filled_avg_price REAL);
CREATE INDEX IF NOT EXISTS orders_status ON orders(status, submitted_at);
CREATE TABLE IF NOT EXISTS fills(seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, order_id TEXT NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL,
  qty REAL NOT NULL, price REAL NOT NULL, at INTEGER NOT NULL, short INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS replacements(old TEXT PRIMARY KEY, new TEXT NOT NULL UNIQUE);
";

const ORDER_COLUMNS: &str = "id, client_order_id, symbol, side, qty, limit_price, tif, status, submitted_at, updated_at, filled_qty, filled_avg_price, \
     (SELECT old FROM replacements WHERE new = orders.id), (SELECT new FROM replacements WHERE old = orders.id)";

/// An open book.
pub struct Book {
    conn: Connection,
}

impl Book {
    /// Open or create the book of `folder` for a world; a book of another world is refused.
    pub fn open(folder: &Path, dataset: &str) -> Result<Self> {
        let conn = Connection::open(folder.join("book.sqlite"))?;
        conn.busy_timeout(std::time::Duration::from_millis(1500))?;
        conn.query_row("PRAGMA locking_mode=EXCLUSIVE", [], |_| Ok(()))?;
        conn.query_row("PRAGMA journal_mode=TRUNCATE", [], |_| Ok(())).map_err(held)?;
        conn.execute_batch("PRAGMA synchronous=FULL;")?;
        conn.execute_batch(SCHEMA).map_err(held)?;
        let mut book = Self { conn };
        let known = book.meta("dataset")?;
        match known {
            None => book.write(|tx| set_meta(tx, "dataset", dataset))?,
            Some(other) if other != dataset => {
                return Err(Error::new(code::CFG_DATASET_MIXED, format!("this sandbox state belongs to the world {other}, not {dataset}"))
                    .fix("name another folder: trademl sandbox --state DIR"));
            }
            Some(_) => book.write(|tx| set_meta(tx, "dataset", dataset))?, // takes the lock
        }
        Ok(book)
    }

    /// One transaction; durable when this returns `Ok`.
    pub fn write<T>(&mut self, f: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(held)?;
        let value = f(&tx)?;
        tx.commit()?;
        Ok(value)
    }

    pub fn meta(&self, key: &str) -> Result<Option<String>> {
        Ok(self.conn.query_row("SELECT value FROM meta WHERE key = ?1", [key], |r| r.get(0)).optional()?)
    }

    pub fn by_id(&self, id: &str) -> Result<Option<Order>> {
        self.one("id", id)
    }
    pub fn by_client_id(&self, id: &str) -> Result<Option<Order>> {
        self.one("client_order_id", id)
    }
    /// The place of an order in the order of submission, from 1: the id at a broker that numbers its orders.
    pub fn number_of(&self, id: &str) -> Result<Option<i64>> {
        Ok(self.conn.query_row("SELECT seq FROM orders WHERE id = ?1", [id], |r| r.get(0)).optional()?)
    }
    pub fn by_number(&self, number: i64) -> Result<Option<Order>> {
        self.one("seq", &number.to_string())
    }
    fn one(&self, column: &str, value: &str) -> Result<Option<Order>> {
        Ok(self.conn.query_row(&format!("SELECT {ORDER_COLUMNS} FROM orders WHERE {column} = ?1"), [value], read_order).optional()?)
    }

    /// Orders in the order of their submission.
    pub fn orders(&self, which: Which) -> Result<Vec<Order>> {
        let filter = match which {
            Which::Open => "status IN ('accepted', 'partially_filled')",
            Which::Closed => "status NOT IN ('accepted', 'partially_filled')",
            Which::All => "1",
        };
        let mut statement = self.conn.prepare_cached(&format!("SELECT {ORDER_COLUMNS} FROM orders WHERE {filter} ORDER BY seq"))?;
        let rows = statement.query_map([], read_order)?;
        Ok(rows.collect::<std::result::Result<_, _>>()?)
    }

    /// The time of the newest submission.
    pub fn last_submission(&self) -> Result<Option<UtcTime>> {
        let micros: Option<i64> = self.conn.query_row("SELECT max(submitted_at) FROM orders", [], |r| r.get(0))?;
        Ok(micros.map(UtcTime::from_micros))
    }

    /// Executions, oldest first.
    pub fn fills(&self) -> Result<Vec<Fill>> {
        let mut statement = self.conn.prepare_cached("SELECT id, order_id, symbol, side, qty, price, at, short FROM fills ORDER BY seq")?;
        let rows = statement.query_map([], |r| {
            Ok(Fill {
                id: r.get(0)?,
                order_id: r.get(1)?,
                symbol: r.get(2)?,
                side: Side::from_word(&r.get::<_, String>(3)?),
                qty: r.get(4)?,
                price: r.get(5)?,
                at: UtcTime::from_micros(r.get(6)?),
                short: r.get(7)?,
            })
        })?;
        Ok(rows.collect::<std::result::Result<_, _>>()?)
    }
}

/// Set a key of the book.
pub fn set_meta(tx: &Transaction<'_>, key: &str, value: &str) -> Result<()> {
    tx.execute("INSERT INTO meta VALUES(?1, ?2) ON CONFLICT(key) DO UPDATE SET value = excluded.value", [key, value])?;
    Ok(())
}

/// Add an order. The caller has checked that its client id is new.
pub fn insert_order(tx: &Transaction<'_>, o: &Order) -> Result<()> {
    tx.execute(
        "INSERT INTO orders(id, client_order_id, symbol, side, qty, limit_price, tif, status, submitted_at, updated_at, filled_qty, filled_avg_price)
         VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            o.id,
            o.client_order_id,
            o.symbol,
            o.side.word(),
            o.qty,
            o.limit_price,
            o.tif,
            o.status,
            o.submitted_at.micros(),
            o.updated_at.micros(),
            o.filled_qty,
            o.filled_avg_price
        ],
    )?;
    Ok(())
}

/// Write back an order's state.
pub fn update_order(tx: &Transaction<'_>, o: &Order) -> Result<()> {
    tx.execute(
        "UPDATE orders SET status = ?2, updated_at = ?3, filled_qty = ?4, filled_avg_price = ?5 WHERE id = ?1",
        params![o.id, o.status, o.updated_at.micros(), o.filled_qty, o.filled_avg_price],
    )?;
    Ok(())
}

/// Put `new` in the place of an open order.
pub fn replace_order(tx: &Transaction<'_>, old: &Order, new: &Order) -> Result<()> {
    insert_order(tx, new)?;
    update_order(tx, old)?;
    tx.execute("INSERT INTO replacements(old, new) VALUES(?1, ?2)", [&old.id, &new.id])?;
    Ok(())
}

/// Add an execution.
pub fn insert_fill(tx: &Transaction<'_>, f: &Fill) -> Result<()> {
    tx.execute(
        "INSERT INTO fills(id, order_id, symbol, side, qty, price, at, short) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![f.id, f.order_id, f.symbol, f.side.word(), f.qty, f.price, f.at.micros(), f.short],
    )?;
    Ok(())
}

fn read_order(r: &Row<'_>) -> rusqlite::Result<Order> {
    Ok(Order {
        id: r.get(0)?,
        client_order_id: r.get(1)?,
        symbol: r.get(2)?,
        side: Side::from_word(&r.get::<_, String>(3)?),
        qty: r.get(4)?,
        limit_price: r.get(5)?,
        tif: r.get(6)?,
        status: r.get(7)?,
        submitted_at: UtcTime::from_micros(r.get(8)?),
        updated_at: UtcTime::from_micros(r.get(9)?),
        filled_qty: r.get(10)?,
        filled_avg_price: r.get(11)?,
        replaces: r.get(12)?,
        replaced_by: r.get(13)?,
    })
}

fn held(e: rusqlite::Error) -> Error {
    let error = Error::from(e);
    if error.is(code::SSD_HELD) {
        return Error::new(code::SSD_HELD, "another sandbox is using this state folder").fix("stop the other sandbox, or name another folder with --state DIR");
    }
    error
}
