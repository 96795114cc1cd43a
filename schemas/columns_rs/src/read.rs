//! One datum into the columns, by its plan: every byte is looked at once, and nothing is reserved by what the bytes claim.

use std::collections::HashSet;

use crate::column::Column;
use crate::plan::{Op, Step};

/// Why a datum cannot be read; the names are those of `schemas/codec.py:REASONS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Truncated,
    TrailingBytes,
    InvalidUtf8,
    Malformed,
    IncompatibleSchema,
}

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Reason::Truncated => "truncated",
            Reason::TrailingBytes => "trailing_bytes",
            Reason::InvalidUtf8 => "invalid_utf8",
            Reason::Malformed => "malformed",
            Reason::IncompatibleSchema => "incompatible_schema",
        }
    }
}

/// What is left of a datum.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, size: usize) -> Result<&'a [u8], Reason> {
        let (taken, left) = self.0.split_at_checked(size).ok_or(Reason::Truncated)?;
        self.0 = left;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        let (taken, left) = self.0.split_first_chunk().ok_or(Reason::Truncated)?;
        self.0 = left;
        Ok(*taken)
    }

    /// A varint in its one shortest form, of 64 bits at most.
    fn long(&mut self) -> Result<i64, Reason> {
        let mut value = 0u64;
        for (at, &byte) in self.0.iter().enumerate() {
            if at == 9 && byte > 1 {
                return Err(Reason::Malformed);
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                if byte == 0 && at > 0 {
                    return Err(Reason::Malformed);
                }
                self.0 = &self.0[at + 1..];
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(Reason::Truncated)
    }

    fn index(&mut self, count: usize) -> Result<usize, Reason> {
        usize::try_from(self.long()?).ok().filter(|index| *index < count).ok_or(Reason::Malformed)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Reason> {
        let size = self.long()?;
        self.take(usize::try_from(size).map_err(|_| Reason::Malformed)?)
    }

    fn text(&mut self) -> Result<&'a [u8], Reason> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| Reason::InvalidUtf8)?;
        Ok(bytes)
    }

    /// The items of the next block, 0 at the end. Each takes a byte at least (the plan saw to that), so more
    /// than there are bytes is a lie that nobody need count to the end.
    fn block(&mut self) -> Result<usize, Reason> {
        let mut count = self.long()?;
        if count < 0 {
            self.long()?; // the block's size, for who wants to skip it
            count = count.checked_neg().ok_or(Reason::Malformed)?;
        }
        match usize::try_from(count) {
            Ok(count) if count <= self.0.len() => Ok(count),
            _ => Err(Reason::Truncated),
        }
    }
}

/// Read a datum that takes every byte of `datum`; after a refusal the columns are as before.
pub fn read(op: &Op, datum: &[u8], column: &mut Column) -> Result<(), Reason> {
    let rows = column.rows();
    let mut cursor = Cursor(datum);
    let all_used = |left: &[u8]| if left.is_empty() { Ok(()) } else { Err(Reason::TrailingBytes) };
    let outcome = decode(op, &mut cursor, column).and_then(|()| all_used(cursor.0));
    outcome.inspect_err(|_| column.cut(rows))
}

fn decode(op: &Op, cursor: &mut Cursor, column: &mut Column) -> Result<(), Reason> {
    match op {
        Op::Union(branches) => {
            let branch = cursor.index(branches.len())?;
            return decode(&branches[branch], cursor, column);
        }
        Op::Null => return column.push_null(),
        Op::Refused => return Err(Reason::IncompatibleSchema),
        _ => (),
    }
    if let Column::Nullable(valid, inner) = column {
        valid.push(true);
        return decode(op, cursor, inner);
    }
    match op {
        Op::Boolean => {
            let value = match cursor.array()? {
                [0] => false,
                [1] => true,
                _ => return Err(Reason::Malformed),
            };
            match column {
                Column::Boolean(values) => values.push(value),
                other => other.must_be_void()?,
            }
        }
        Op::Int => {
            let value = i32::try_from(cursor.long()?).map_err(|_| Reason::Malformed)?;
            match column {
                Column::Int(values, _) => values.push(value),
                Column::Long(values, _) => values.push(value.into()),
                Column::Float(values) => values.push(value as f32),
                Column::Double(values) => values.push(value.into()),
                other => other.must_be_void()?,
            }
        }
        Op::Long => {
            let value = cursor.long()?;
            match column {
                Column::Long(values, _) => values.push(value),
                Column::Float(values) => values.push(value as f32),
                Column::Double(values) => values.push(value as f64),
                other => other.must_be_void()?,
            }
        }
        Op::Float => {
            let value = f32::from_le_bytes(cursor.array()?);
            match column {
                Column::Float(values) => values.push(value),
                Column::Double(values) => values.push(value.into()),
                other => other.must_be_void()?,
            }
        }
        Op::Double => {
            let value = f64::from_le_bytes(cursor.array()?);
            match column {
                Column::Double(values) => values.push(value),
                other => other.must_be_void()?,
            }
        }
        Op::Bytes => blob(cursor.bytes()?, column)?,
        Op::Text => blob(cursor.text()?, column)?,
        Op::Decimal(precision) => {
            let value = decimal(cursor.bytes()?, *precision)?;
            match column {
                Column::Decimal(_, _, values) => values.push(value),
                other => other.must_be_void()?,
            }
        }
        Op::Fixed(size) => blob(cursor.take(*size)?, column)?,
        Op::Enum(symbols) => {
            let index = cursor.index(symbols.len())?;
            match (column, symbols[index]) {
                (Column::Enum(names, blobs), Some(symbol)) => blobs.push(names[symbol].as_bytes()),
                (Column::Enum(..), None) => return Err(Reason::IncompatibleSchema),
                (other, _) => other.must_be_void()?,
            }
        }
        Op::Array(item) => {
            let mut void = Column::Void;
            let items = match column {
                Column::List(_, items) => &mut **items,
                _ => &mut void,
            };
            loop {
                let count = cursor.block()?;
                if count == 0 {
                    break;
                }
                for _ in 0..count {
                    decode(item, cursor, items)?;
                }
            }
            match column {
                Column::List(offsets, items) => offsets.push(items.rows() as i64),
                other => other.must_be_void()?,
            }
        }
        Op::Map(value) => decode_map(value, cursor, column)?,
        Op::Record(steps) => {
            for step in steps {
                match (step, &mut *column) {
                    (Step::Read(slot, op), Column::Struct(_, _, columns)) => decode(op, cursor, &mut columns[*slot])?,
                    (Step::Default(slot, op, datum), Column::Struct(_, _, columns)) => {
                        decode(op, &mut Cursor(datum), &mut columns[*slot])?
                    }
                    (Step::Drop(op) | Step::Read(_, op), _) => decode(op, cursor, &mut Column::Void)?,
                    (Step::Default(..), _) => (),
                }
            }
            match column {
                Column::Struct(rows, _, _) => *rows += 1,
                other => other.must_be_void()?,
            }
        }
        Op::Null | Op::Union(_) | Op::Refused => (),
    }
    Ok(())
}

fn decode_map(value: &Op, cursor: &mut Cursor, column: &mut Column) -> Result<(), Reason> {
    let mut seen = HashSet::new();
    loop {
        let count = cursor.block()?;
        if count == 0 {
            break;
        }
        for _ in 0..count {
            let key = cursor.text()?;
            if !seen.insert(key) {
                return Err(Reason::Malformed);
            }
            match column {
                Column::Map(_, keys, values) => {
                    keys.push(key);
                    decode(value, cursor, values)?;
                }
                _ => decode(value, cursor, &mut Column::Void)?,
            }
        }
    }
    match column {
        Column::Map(offsets, keys, _) => offsets.push(keys.offsets.len() as i64 - 1),
        other => other.must_be_void()?,
    }
    Ok(())
}

fn blob(value: &[u8], column: &mut Column) -> Result<(), Reason> {
    match column {
        Column::Bytes(blobs) | Column::Text(blobs) => blobs.push(value),
        Column::Fixed(_, rows, data) => {
            *rows += 1;
            data.extend_from_slice(value);
        }
        other => other.must_be_void()?,
    }
    Ok(())
}

/// Two's complement, big endian, of no more digits than the schema says.
fn decimal(value: &[u8], precision: u8) -> Result<i128, Reason> {
    if value.len() > 16 {
        return Err(Reason::Malformed);
    }
    let negative = value.first().is_some_and(|byte| byte & 0x80 != 0);
    let mut wide = [if negative { 0xff } else { 0 }; 16];
    wide[16 - value.len()..].copy_from_slice(value);
    let number = i128::from_be_bytes(wide);
    match number.unsigned_abs() < 10u128.pow(precision.into()) {
        true => Ok(number),
        false => Err(Reason::Malformed),
    }
}

impl Column {
    /// Every other pair of wire type and column is a plan that cannot be.
    fn must_be_void(&self) -> Result<(), Reason> {
        match self {
            Column::Void => Ok(()),
            _ => Err(Reason::IncompatibleSchema),
        }
    }
}
