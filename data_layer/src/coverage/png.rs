//! Panels as PNG: eight bits a pixel with a palette, which a heat map needs no more of. Written from the specification (W3C
//! PNG, second edition) with the compressor that the vendors' bodies need anyway.

use super::font;
use super::layout::{self, CELL, Mark, WIDTH, Weight};
use super::{Level, Picture};
use crate::error::Result;
use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use std::io::Write as _;

/// Pixels of the PNG for one of the layout.
const SCALE: i32 = 2;
/// Paper, ink, faint ink, then the levels in their order.
const PALETTE: [[u8; 3]; 7] = [[255, 255, 255], [31, 35, 40], [101, 109, 118], [44, 138, 75], [227, 179, 65], [232, 112, 58], [179, 32, 44]];

struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    fn fill(&mut self, x: i32, y: i32, w: i32, h: i32, colour: u8) {
        for row in y..y + h {
            for column in x..x + w {
                let (Ok(row), Ok(column)) = (usize::try_from(row), usize::try_from(column)) else { continue };
                if row < self.height && column < self.width {
                    self.pixels[row * self.width + column] = colour;
                }
            }
        }
    }

    fn cell(&mut self, x: i32, y: i32, level: Level) {
        let (x, y, side, colour) = (x * SCALE, y * SCALE, CELL * SCALE, 3 + level as u8);
        self.fill(x, y, side, side, colour);
        match level {
            Level::Missing => self.fill(x + 3, y + 3, side - 6, side - 6, 0),
            Level::Gaps => (0..6).for_each(|i| self.fill(x, y + side - 6 + i, i + 1, 1, 0)),
            _ => {}
        }
    }

    fn text(&mut self, x: i32, y: i32, text: &str, weight: Weight) {
        let dot = if weight == Weight::Title { 3 } else { 2 };
        let colour = if weight == Weight::Faint { 2 } else { 1 };
        let mut left = x * SCALE;
        for letter in text.chars() {
            for (row, bits) in font::glyph(letter).into_iter().enumerate() {
                for column in (0..font::WIDTH).filter(|c| bits >> (font::WIDTH - 1 - c) & 1 == 1) {
                    let top = y * SCALE - (font::HEIGHT - row as i32) * dot;
                    self.fill(left + column * dot, top, dot, dot, colour);
                }
            }
            left += (font::WIDTH + 1) * dot;
        }
    }
}

/// The heat map of everything.
pub fn bytes(picture: &Picture) -> Result<Vec<u8>> {
    let panel = layout::whole(picture);
    let (width, height) = ((WIDTH * SCALE) as usize, (panel.height * SCALE) as usize);
    let mut canvas = Canvas { width, height, pixels: vec![0; width * height] };
    for mark in &panel.marks {
        match mark {
            Mark::Text { x, y, text, weight } => canvas.text(*x, *y, text, *weight),
            Mark::Cell { x, y, level, .. } => canvas.cell(*x, *y, *level),
        }
    }
    encode(&canvas)
}

fn encode(canvas: &Canvas) -> Result<Vec<u8>> {
    let mut header = Vec::from((canvas.width as u32).to_be_bytes());
    header.extend((canvas.height as u32).to_be_bytes());
    header.extend([8, 3, 0, 0, 0]); // depth, palette, deflate, filters, no interlace
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::new(9));
    for row in canvas.pixels.chunks(canvas.width) {
        packed.write_all(&[0])?; // no filter
        packed.write_all(row)?;
    }
    let mut out = vec![0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a];
    chunk(&mut out, b"IHDR", &header);
    chunk(&mut out, b"PLTE", &PALETTE.concat());
    chunk(&mut out, b"IDAT", &packed.finish()?);
    chunk(&mut out, b"IEND", &[]);
    Ok(out)
}

/// Length, kind, contents, and a checksum of the last two.
fn chunk(out: &mut Vec<u8>, kind: &[u8; 4], contents: &[u8]) {
    let mut crc = Crc::new();
    crc.update(kind);
    crc.update(contents);
    out.extend((contents.len() as u32).to_be_bytes());
    out.extend(kind);
    out.extend(contents);
    out.extend(crc.sum().to_be_bytes());
}
