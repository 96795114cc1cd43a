//! Rows of tables, in MessagePack as msgspec writes frozen structs: into columns and back. `schemas/packed.py` has the plans.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::column::Column;
use crate::plan::{Logical, Shape, many, part, unknown};
use crate::read::Reason;
use crate::write::{Fault, Values, Writer};

/// How a value stands in a row.
#[derive(Debug)]
pub enum Pack {
    Boolean,
    Long,
    Text,
    Bytes,
    Nullable(Box<Pack>),
    Array(Box<Pack>),
    /// A struct that is an array of its fields.
    Row(Arc<[String]>, Vec<Pack>),
    /// A struct that is a map of its fields, with its type's name in front where one is given.
    Map(Option<String>, Arc<[String]>, Vec<Pack>),
    /// Whatever it is, as its bytes.
    Raw,
}

const NIL: u8 = 0xc0;
const DEPTH_MAX: usize = 32;

impl Pack {
    pub fn from_plan(node: &Bound<PyAny>) -> PyResult<Self> {
        let kind: String = part(node, 0)?.extract()?;
        let names = |at| Ok::<_, PyErr>(part(node, at)?.extract::<Vec<String>>()?.into());
        Ok(match kind.as_str() {
            "boolean" => Pack::Boolean,
            "long" => Pack::Long,
            "string" => Pack::Text,
            "bytes" => Pack::Bytes,
            "nullable" => Pack::Nullable(Box::new(Pack::from_plan(&part(node, 1)?)?)),
            "array" => Pack::Array(Box::new(Pack::from_plan(&part(node, 1)?)?)),
            "row" => Pack::Row(names(1)?, many(&part(node, 2)?, Pack::from_plan)?),
            "map" => Pack::Map(part(node, 1)?.extract()?, names(2)?, many(&part(node, 3)?, Pack::from_plan)?),
            "raw" => Pack::Raw,
            other => return Err(unknown("part of a row", other)),
        })
    }

    /// The columns that it stands in.
    pub fn shape(&self) -> Shape {
        match self {
            Pack::Boolean => Shape::Boolean,
            Pack::Long => Shape::Long(Logical::Plain),
            Pack::Text => Shape::Text,
            Pack::Bytes | Pack::Raw => Shape::Bytes,
            Pack::Nullable(inner) => Shape::Nullable(0, Box::new(inner.shape())),
            Pack::Array(item) => Shape::List(Box::new(item.shape())),
            Pack::Row(names, fields) | Pack::Map(_, names, fields) => {
                Shape::Struct(names.clone(), fields.iter().map(Pack::shape).collect())
            }
        }
    }

    /// Read a row that takes every byte; after a refusal the columns are as before.
    pub fn read(&self, row: &[u8], column: &mut Column) -> Result<(), Reason> {
        let rows = column.rows();
        let mut cursor = Cursor(row);
        let all_used = |left: &[u8]| if left.is_empty() { Ok(()) } else { Err(Reason::TrailingBytes) };
        let outcome = self.value(&mut cursor, column).and_then(|()| all_used(cursor.0));
        outcome.inspect_err(|_| column.cut(rows))
    }

    fn value(&self, cursor: &mut Cursor, column: &mut Column) -> Result<(), Reason> {
        match (self, column) {
            (Pack::Nullable(inner), column) => {
                if cursor.0.first() == Some(&NIL) {
                    cursor.take(1)?;
                    return column.push_null();
                }
                let Column::Nullable(valid, values) = column else { return Err(Reason::Malformed) };
                valid.push(true);
                inner.value(cursor, values)?;
            }
            (Pack::Boolean, Column::Boolean(values)) => values.push(match cursor.byte()? {
                0xc2 => false,
                0xc3 => true,
                _ => return Err(Reason::Malformed),
            }),
            (Pack::Long, Column::Long(values, _)) => values.push(cursor.long()?),
            (Pack::Text, Column::Text(blobs)) => {
                let text = cursor.text()?;
                std::str::from_utf8(text).map_err(|_| Reason::InvalidUtf8)?;
                blobs.push(text);
            }
            (Pack::Bytes, Column::Bytes(blobs)) => blobs.push(cursor.bytes()?),
            (Pack::Raw, Column::Bytes(blobs)) => {
                let whole = cursor.0;
                cursor.skip(DEPTH_MAX)?;
                blobs.push(&whole[..whole.len() - cursor.0.len()]);
            }
            (Pack::Array(item), Column::List(offsets, items)) => {
                for _ in 0..cursor.items()? {
                    item.value(cursor, items)?;
                }
                offsets.push(items.rows() as i64);
            }
            (Pack::Row(_, fields), Column::Struct(rows, _, columns)) => {
                if cursor.items()? != fields.len() {
                    return Err(Reason::IncompatibleSchema); // of another version: row by row its defaults are known
                }
                for (field, column) in fields.iter().zip(columns) {
                    field.value(cursor, column)?;
                }
                *rows += 1;
            }
            _ => return Err(Reason::Malformed),
        }
        Ok(())
    }

    /// Append one row of the columns that `writer` found.
    pub fn write(&self, writer: &Writer, row: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        let is_null = writer.nulls.is_some_and(|nulls| nulls.is_null(row));
        if let Pack::Nullable(inner) = self {
            if is_null {
                out.push(NIL);
                return Ok(());
            }
            return inner.write(writer, row, out);
        }
        if is_null {
            return Err("null stands where the row has none".into());
        }
        match (self, &writer.values) {
            (Pack::Boolean, Values::Boolean(values)) => out.push(if values.value(row) { 0xc3 } else { 0xc2 }),
            (Pack::Long, Values::Long(values)) => long(values[row], out),
            (Pack::Text, Values::Text(values)) => text(values.value(row).as_bytes(), out)?,
            (Pack::Bytes, Values::Bytes(values)) => {
                let value = values.value(row);
                sized([(0xff, 0xc4), (0xffff, 0xc5), (u32::MAX as usize, 0xc6)], value.len(), out)?;
                out.extend_from_slice(value);
            }
            (Pack::Raw, Values::Bytes(values)) => out.extend_from_slice(values.value(row)),
            (Pack::Array(item), Values::List(offsets, items)) => {
                let (begin, end) = (offsets[row] as usize, offsets[row + 1] as usize);
                array(end - begin, out)?;
                for at in begin..end {
                    item.write(items, at, out)?;
                }
            }
            (Pack::Row(_, fields), Values::Struct(writers)) => {
                array(fields.len(), out)?;
                for (field, writer) in fields.iter().zip(writers) {
                    field.write(writer, row, out)?;
                }
            }
            (Pack::Map(tag, names, fields), Values::Struct(writers)) => {
                map(fields.len() + usize::from(tag.is_some()), out)?;
                if let Some(tag) = tag {
                    text(b"type", out)?;
                    text(tag.as_bytes(), out)?;
                }
                for ((name, field), writer) in names.iter().zip(fields).zip(writers) {
                    text(name.as_bytes(), out)?;
                    field.write(writer, row, out)?;
                }
            }
            _ => return Err("the columns are not those of the row".into()),
        }
        Ok(())
    }
}

/// What is left of a row.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, size: usize) -> Result<&'a [u8], Reason> {
        let (taken, left) = self.0.split_at_checked(size).ok_or(Reason::Truncated)?;
        self.0 = left;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Reason> {
        Ok(self.take(1)?[0])
    }

    /// A number of `size` bytes, big endian.
    fn number(&mut self, size: usize) -> Result<u64, Reason> {
        Ok(self.take(size)?.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    fn long(&mut self) -> Result<i64, Reason> {
        let first = self.byte()?;
        Ok(match first {
            0x00..=0x7f => first.into(),
            0xe0..=0xff => (first as i8).into(),
            0xcc..=0xcf => {
                let value = self.number(1 << (first - 0xcc))?;
                i64::try_from(value).map_err(|_| Reason::Malformed)?
            }
            0xd0..=0xd3 => {
                let size = 1 << (first - 0xd0);
                let unused = 64 - 8 * size as u32;
                ((self.number(size)? << unused) as i64) >> unused
            }
            _ => return Err(Reason::Malformed),
        })
    }

    fn text(&mut self) -> Result<&'a [u8], Reason> {
        let size = match self.byte()? {
            first @ 0xa0..=0xbf => (first & 0x1f).into(),
            first @ 0xd9..=0xdb => self.number(1 << (first - 0xd9))?,
            _ => return Err(Reason::Malformed),
        };
        self.take(size as usize)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Reason> {
        let size = match self.byte()? {
            first @ 0xc4..=0xc6 => self.number(1 << (first - 0xc4))?,
            _ => return Err(Reason::Malformed),
        };
        self.take(size as usize)
    }

    /// How many items an array has; each takes a byte at least.
    fn items(&mut self) -> Result<usize, Reason> {
        let count = match self.byte()? {
            first @ 0x90..=0x9f => (first & 0x0f).into(),
            first @ 0xdc..=0xdd => self.number(2 << (first - 0xdc))? as usize,
            _ => return Err(Reason::Malformed),
        };
        if count > self.0.len() { Err(Reason::Truncated) } else { Ok(count) }
    }

    /// Pass over one value, whatever it is.
    fn skip(&mut self, depth: usize) -> Result<(), Reason> {
        let first = *self.0.first().ok_or(Reason::Truncated)?;
        let inside = match first {
            0x90..=0x9f | 0xdc | 0xdd => self.items()?,
            0x80..=0x8f => 2 * usize::from(self.byte()? & 0x0f),
            0xde | 0xdf => {
                self.take(1)?;
                2 * self.number(2 << (first - 0xde))? as usize
            }
            0xa0..=0xbf | 0xd9..=0xdb => {
                self.text()?;
                0
            }
            0xc4..=0xc6 => {
                self.bytes()?;
                0
            }
            0xca | 0xcb => {
                self.take(1 + (4 << (first - 0xca)))?;
                0
            }
            0xc0 | 0xc2 | 0xc3 => {
                self.take(1)?;
                0
            }
            _ => {
                self.long()?;
                0
            }
        };
        if inside > 0 && depth == 0 {
            return Err(Reason::Malformed);
        }
        (0..inside).try_for_each(|_| self.skip(depth - 1))
    }
}

fn long(value: i64, out: &mut Vec<u8>) {
    match value {
        -32..=0x7f => out.push(value as u8),
        0x80..=0xff => out.extend_from_slice(&[0xcc, value as u8]),
        0x100..=0xffff => tagged(0xcd, &(value as u16).to_be_bytes(), out),
        0x1_0000..=0xffff_ffff => tagged(0xce, &(value as u32).to_be_bytes(), out),
        0x1_0000_0000.. => tagged(0xcf, &value.to_be_bytes(), out),
        -0x80..=-33 => out.extend_from_slice(&[0xd0, value as u8]),
        -0x8000..=-0x81 => tagged(0xd1, &(value as i16).to_be_bytes(), out),
        -0x8000_0000..=-0x8001 => tagged(0xd2, &(value as i32).to_be_bytes(), out),
        _ => tagged(0xd3, &value.to_be_bytes(), out),
    }
}

fn tagged(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(bytes);
}

fn text(value: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    match value.len() {
        size @ 0..32 => out.push(0xa0 | size as u8),
        size => sized([(0xff, 0xd9), (0xffff, 0xda), (u32::MAX as usize, 0xdb)], size, out)?,
    }
    out.extend_from_slice(value);
    Ok(())
}

fn array(count: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    match count {
        0..16 => out.push(0x90 | count as u8),
        _ => sized([(0, 0), (0xffff, 0xdc), (u32::MAX as usize, 0xdd)], count, out)?,
    }
    Ok(())
}

fn map(count: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    match count {
        0..16 => out.push(0x80 | count as u8),
        _ => sized([(0, 0), (0xffff, 0xde), (u32::MAX as usize, 0xdf)], count, out)?,
    }
    Ok(())
}

/// The first tag under whose limit the size is, and the size in 1, 2 or 4 bytes.
fn sized(tags: [(usize, u8); 3], size: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    let place = tags.iter().position(|(most, _)| size <= *most).ok_or("a value is above four gigabytes")?;
    tagged(tags[place].1, &(size as u32).to_be_bytes()[4 - (1 << place)..], out);
    Ok(())
}
