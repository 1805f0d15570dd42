//! Thrift's compact protocol, as far as the headers and the footer of a Parquet file need it.

/// A message while it is written.
pub struct Thrift {
    pub bytes: Vec<u8>,
    /// Identifier of the field before, of each struct that is open: fields are told by how much theirs is greater.
    fields: Vec<i16>,
}

const I32: u8 = 5;
const I64: u8 = 6;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// What the entries of a list are.
#[derive(Clone, Copy)]
pub enum Of {
    Int = I32 as isize,
    Text = BINARY as isize,
    Struct = STRUCT as isize,
}

/// Seven bits a byte, lowest first.
pub fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// [`varint`] of a number that may be negative: the small ones of either sign are short.
pub fn zigzag(out: &mut Vec<u8>, value: i64) {
    varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

impl Thrift {
    /// A message behind what was written before.
    pub fn after(bytes: Vec<u8>) -> Self {
        Self { bytes, fields: Vec::new() }
    }
    /// The fields of a struct, in order of their identifiers; `id` is its own, `None` in a list and for a whole message.
    pub fn record(&mut self, id: Option<i16>, write: impl FnOnce(&mut Self)) {
        if let Some(id) = id {
            self.field(id, STRUCT);
        }
        self.fields.push(0);
        write(self);
        self.fields.pop();
        self.bytes.push(0);
    }
    pub fn int(&mut self, id: i16, value: i32) {
        self.field(id, I32);
        zigzag(&mut self.bytes, i64::from(value));
    }
    pub fn long(&mut self, id: i16, value: usize) {
        self.field(id, I64);
        zigzag(&mut self.bytes, value as i64);
    }
    pub fn blob(&mut self, id: i16, value: &[u8]) {
        self.field(id, BINARY);
        self.entry(value);
    }
    /// The head of a list; its entries follow.
    pub fn list(&mut self, id: i16, of: Of, n: usize) {
        self.field(id, LIST);
        if n < 15 {
            self.bytes.push((n as u8) << 4 | of as u8);
        } else {
            self.bytes.push(0xf0 | of as u8);
            varint(&mut self.bytes, n as u64);
        }
    }
    /// An entry of a list of texts.
    pub fn entry(&mut self, value: &[u8]) {
        varint(&mut self.bytes, value.len() as u64);
        self.bytes.extend_from_slice(value);
    }
    /// An entry of a list of integers.
    pub fn number(&mut self, value: i32) {
        zigzag(&mut self.bytes, i64::from(value));
    }
    fn field(&mut self, id: i16, kind: u8) {
        // Every identifier of Parquet is within 15 of the one before it.
        let before = self.fields.last_mut().map_or(0, |last| std::mem::replace(last, id));
        self.bytes.push(((id - before) as u8) << 4 | kind);
    }
}
