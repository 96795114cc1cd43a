//! Columns to datums: the arrays are looked up by their types once for each batch, then row by row.

use std::collections::{HashMap, HashSet};

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType,
};
use arrow_array::{Array, BinaryViewArray, BooleanArray, StringViewArray};
use arrow_buffer::NullBuffer;

use crate::plan::{Logical, Shape};

/// Why a row cannot be written, as a sentence about the value.
pub type Fault = String;

/// One column as its rows are written.
pub struct Writer<'a> {
    pub nulls: Option<&'a NullBuffer>,
    null_branch: Option<usize>,
    pub values: Values<'a>,
}

pub enum Values<'a> {
    Boolean(&'a BooleanArray),
    Int(&'a [i32]),
    Long(&'a [i64]),
    Float(&'a [f32]),
    Double(&'a [f64]),
    Bytes(&'a BinaryViewArray),
    Text(&'a StringViewArray),
    Fixed(usize, &'a BinaryViewArray),
    Decimal(u8, &'a [i128]),
    Enum(HashMap<&'a str, i64>, &'a StringViewArray),
    List(&'a [i64], Box<Writer<'a>>),
    Map(&'a [i64], &'a StringViewArray, Box<Writer<'a>>),
    Struct(Vec<Writer<'a>>),
}

fn wrong(array: &dyn Array, wanted: &str) -> Fault {
    format!("a column of {} cannot be written as {wanted}", array.data_type())
}

impl<'a> Writer<'a> {
    /// Find the arrays of a shape.
    pub fn new(shape: &'a Shape, array: &'a dyn Array) -> Result<Self, Fault> {
        if let Shape::Nullable(null_branch, inner) = shape {
            return Ok(Self { null_branch: Some(*null_branch), ..Writer::new(inner, array)? });
        }
        Ok(Self { nulls: array.nulls(), null_branch: None, values: Values::new(shape, array)? })
    }

    /// Append the datum of one row.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        let is_null = self.nulls.is_some_and(|nulls| nulls.is_null(row));
        match self.null_branch {
            Some(branch) if is_null => {
                long(branch as i64, out);
                return Ok(());
            }
            Some(branch) => long(1 - branch as i64, out),
            None if is_null => {
                return Err("null stands where the schema has none".into());
            }
            None => (),
        }
        match &self.values {
            Values::Boolean(values) => out.push(values.value(row).into()),
            Values::Int(values) => long(values[row].into(), out),
            Values::Long(values) => long(values[row], out),
            Values::Float(values) => out.extend_from_slice(&values[row].to_le_bytes()),
            Values::Double(values) => out.extend_from_slice(&values[row].to_le_bytes()),
            Values::Bytes(values) => blob(values.value(row), out),
            Values::Text(values) => blob(values.value(row).as_bytes(), out),
            Values::Fixed(size, values) => {
                let value = values.value(row);
                if value.len() != *size {
                    return Err(format!("{} bytes stand where the schema has {size}", value.len()));
                }
                out.extend_from_slice(value);
            }
            Values::Decimal(precision, values) => decimal(values[row], *precision, out)?,
            Values::Enum(symbols, values) => {
                let symbol = values.value(row);
                let index = symbols.get(symbol).ok_or_else(|| format!("{symbol:?} is no symbol of the schema"))?;
                long(*index, out);
            }
            Values::List(offsets, item) => block(offsets, row, out, |at, out| item.write(at, out))?,
            Values::Map(offsets, keys, entry) => {
                let mut seen = HashSet::new();
                let twice = |at: &usize| !seen.insert(keys.value(*at));
                if let Some(at) = (offsets[row] as usize..offsets[row + 1] as usize).find(twice) {
                    return Err(format!("a map has the key {:?} twice", keys.value(at)));
                }
                block(offsets, row, out, |at, out| entry.write(at, out))?;
            }
            Values::Struct(fields) => {
                for field in fields {
                    field.write(row, out)?;
                }
            }
        }
        Ok(())
    }
}

impl<'a> Values<'a> {
    fn new(shape: &'a Shape, array: &'a dyn Array) -> Result<Self, Fault> {
        let found = match shape {
            Shape::Boolean => array.as_boolean_opt().map(Values::Boolean),
            Shape::Int(Logical::Date) => array.as_primitive_opt::<Date32Type>().map(|a| Values::Int(a.values())),
            Shape::Int(_) => array.as_primitive_opt::<Int32Type>().map(|a| Values::Int(a.values())),
            Shape::Long(Logical::Millis(_)) => {
                array.as_primitive_opt::<TimestampMillisecondType>().map(|a| Values::Long(a.values()))
            }
            Shape::Long(Logical::Micros(_)) => {
                array.as_primitive_opt::<TimestampMicrosecondType>().map(|a| Values::Long(a.values()))
            }
            Shape::Long(Logical::Nanos(_)) => {
                array.as_primitive_opt::<TimestampNanosecondType>().map(|a| Values::Long(a.values()))
            }
            Shape::Long(_) => array.as_primitive_opt::<Int64Type>().map(|a| Values::Long(a.values())),
            Shape::Float => array.as_primitive_opt::<Float32Type>().map(|a| Values::Float(a.values())),
            Shape::Double => array.as_primitive_opt::<Float64Type>().map(|a| Values::Double(a.values())),
            Shape::Bytes => array.as_binary_view_opt().map(Values::Bytes),
            Shape::Text => array.as_string_view_opt().map(Values::Text),
            Shape::Fixed(size) => array.as_binary_view_opt().map(|a| Values::Fixed(*size, a)),
            Shape::Decimal(precision, _) => {
                array.as_primitive_opt::<Decimal128Type>().map(|a| Values::Decimal(*precision, a.values()))
            }
            Shape::Enum(symbols) => {
                let places = symbols.iter().enumerate().map(|(at, symbol)| (symbol.as_str(), at as i64)).collect();
                array.as_string_view_opt().map(|a| Values::Enum(places, a))
            }
            Shape::List(item) => match array.as_list_opt::<i64>() {
                Some(list) => Some(Values::List(list.value_offsets(), Box::new(Writer::new(item, list.values())?))),
                None => None,
            },
            Shape::Map(value) => match array.as_list_opt::<i64>() {
                Some(list) => Some(entries(value, list.value_offsets(), list.values())?),
                None => None,
            },
            Shape::Struct(_, shapes) => match array.as_struct_opt() {
                Some(record) if record.num_columns() == shapes.len() => {
                    let fields = shapes.iter().zip(record.columns()).map(|(shape, column)| Writer::new(shape, column));
                    Some(Values::Struct(fields.collect::<Result<_, _>>()?))
                }
                _ => None,
            },
            Shape::Nullable(..) => None,
        };
        found.ok_or_else(|| wrong(array, "its schema has it"))
    }
}

/// The pairs of a map.
fn entries<'a>(value: &'a Shape, offsets: &'a [i64], array: &'a dyn Array) -> Result<Values<'a>, Fault> {
    let pairs = array.as_struct_opt().filter(|pairs| pairs.num_columns() == 2).ok_or_else(|| wrong(array, "a map"))?;
    let keys = pairs.column(0).as_string_view_opt().ok_or_else(|| wrong(pairs.column(0), "the keys of a map"))?;
    let fields = vec![Writer::new(&Shape::Text, pairs.column(0))?, Writer::new(value, pairs.column(1))?];
    let entry = Writer { nulls: pairs.nulls(), null_branch: None, values: Values::Struct(fields) };
    Ok(Values::Map(offsets, keys, Box::new(entry)))
}

fn long(value: i64, out: &mut Vec<u8>) {
    let mut left = ((value << 1) ^ (value >> 63)) as u64;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

fn blob(value: &[u8], out: &mut Vec<u8>) {
    long(value.len() as i64, out);
    out.extend_from_slice(value);
}

/// All items in one block, as fastavro writes them.
fn block(
    offsets: &[i64],
    row: usize,
    out: &mut Vec<u8>,
    item: impl Fn(usize, &mut Vec<u8>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let (begin, end) = (offsets[row], offsets[row + 1]);
    if begin < end {
        long(end - begin, out);
        for at in begin..end {
            item(at as usize, out)?;
        }
    }
    long(0, out);
    Ok(())
}

/// Two's complement in as few bytes as hold it.
fn decimal(value: i128, precision: u8, out: &mut Vec<u8>) -> Result<(), Fault> {
    if value.unsigned_abs() >= 10u128.pow(precision.into()) {
        return Err(format!("a decimal has more than {precision} digits"));
    }
    let wide = value.to_be_bytes();
    let redundant = |at: usize| {
        let sign = if wide[at + 1] & 0x80 == 0 { 0 } else { 0xff };
        wide[at] == sign
    };
    let begin = (0..15).take_while(|at| redundant(*at)).count();
    blob(&wide[begin..], out);
    Ok(())
}
