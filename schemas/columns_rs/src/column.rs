//! What is read, as Arrow columns that grow by one row with each datum and can be cut back to any row.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array, Float64Array, Int32Array,
    Int64Array, LargeBinaryArray, LargeListArray, LargeStringArray, NullArray, StructArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, Field, Fields};

use crate::plan::{Logical, Shape};
use crate::read::Reason;

/// Bytes of all rows behind each other; row i is from offsets[i] to offsets[i + 1].
#[derive(Debug)]
pub struct Blobs {
    pub offsets: Vec<i64>,
    pub data: Vec<u8>,
}

impl Blobs {
    fn new() -> Self {
        Self { offsets: vec![0], data: Vec::new() }
    }

    pub fn push(&mut self, value: &[u8]) {
        self.data.extend_from_slice(value);
        self.offsets.push(self.data.len() as i64);
    }

    fn cut(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.data.truncate(self.offsets[rows] as usize);
    }
}

/// One column, or what stands in its place where the reader's schema has no such field.
#[derive(Debug)]
pub enum Column {
    Void,
    Boolean(Vec<bool>),
    Int(Vec<i32>, Logical),
    Long(Vec<i64>, Logical),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Bytes(Blobs),
    Text(Blobs),
    Fixed(usize, usize, Vec<u8>),
    Decimal(u8, i8, Vec<i128>),
    Enum(Arc<[String]>, Blobs),
    List(Vec<i64>, Box<Column>),
    Map(Vec<i64>, Blobs, Box<Column>),
    Struct(usize, Arc<[String]>, Vec<Column>),
    Nullable(Vec<bool>, Box<Column>),
}

impl Column {
    pub fn new(shape: &Shape) -> Self {
        match shape {
            Shape::Boolean => Column::Boolean(Vec::new()),
            Shape::Int(logical) => Column::Int(Vec::new(), *logical),
            Shape::Long(logical) => Column::Long(Vec::new(), *logical),
            Shape::Float => Column::Float(Vec::new()),
            Shape::Double => Column::Double(Vec::new()),
            Shape::Bytes => Column::Bytes(Blobs::new()),
            Shape::Text => Column::Text(Blobs::new()),
            Shape::Fixed(size) => Column::Fixed(*size, 0, Vec::new()),
            Shape::Decimal(precision, scale) => Column::Decimal(*precision, *scale, Vec::new()),
            Shape::Enum(symbols) => Column::Enum(symbols.clone(), Blobs::new()),
            Shape::List(item) => Column::List(vec![0], Box::new(Column::new(item))),
            Shape::Map(value) => Column::Map(vec![0], Blobs::new(), Box::new(Column::new(value))),
            Shape::Struct(names, fields) => Column::Struct(0, names.clone(), fields.iter().map(Column::new).collect()),
            Shape::Nullable(_, inner) => Column::Nullable(Vec::new(), Box::new(Column::new(inner))),
        }
    }

    pub fn rows(&self) -> usize {
        match self {
            Column::Void => 0,
            Column::Fixed(_, rows, _) | Column::Struct(rows, _, _) => *rows,
            Column::Boolean(values) | Column::Nullable(values, _) => values.len(),
            Column::Int(values, _) => values.len(),
            Column::Long(values, _) => values.len(),
            Column::Float(values) => values.len(),
            Column::Double(values) => values.len(),
            Column::Decimal(_, _, values) => values.len(),
            Column::Bytes(blobs) | Column::Text(blobs) | Column::Enum(_, blobs) => blobs.offsets.len() - 1,
            Column::List(offsets, _) | Column::Map(offsets, _, _) => offsets.len() - 1,
        }
    }

    /// Forget every row from `rows` on, half a row included.
    pub fn cut(&mut self, rows: usize) {
        match self {
            Column::Void => (),
            Column::Boolean(values) => values.truncate(rows),
            Column::Int(values, _) => values.truncate(rows),
            Column::Long(values, _) => values.truncate(rows),
            Column::Float(values) => values.truncate(rows),
            Column::Double(values) => values.truncate(rows),
            Column::Decimal(_, _, values) => values.truncate(rows),
            Column::Bytes(blobs) | Column::Text(blobs) | Column::Enum(_, blobs) => blobs.cut(rows),
            Column::Fixed(size, count, data) => {
                *count = rows;
                data.truncate(rows * *size);
            }
            Column::List(offsets, item) => {
                offsets.truncate(rows + 1);
                item.cut(offsets[rows] as usize);
            }
            Column::Map(offsets, keys, value) => {
                offsets.truncate(rows + 1);
                keys.cut(offsets[rows] as usize);
                value.cut(offsets[rows] as usize);
            }
            Column::Struct(count, _, columns) => {
                *count = rows;
                columns.iter_mut().for_each(|column| column.cut(rows));
            }
            Column::Nullable(valid, inner) => {
                valid.truncate(rows);
                inner.cut(rows);
            }
        }
    }

    /// Take a null; only a column that may be null has one.
    pub fn push_null(&mut self) -> Result<(), Reason> {
        match self {
            Column::Void => Ok(()),
            Column::Nullable(valid, inner) => {
                valid.push(false);
                inner.push_empty();
                Ok(())
            }
            _ => Err(Reason::IncompatibleSchema),
        }
    }

    /// A row that nobody may look at, below a null.
    fn push_empty(&mut self) {
        match self {
            Column::Void => (),
            Column::Boolean(values) => values.push(false),
            Column::Int(values, _) => values.push(0),
            Column::Long(values, _) => values.push(0),
            Column::Float(values) => values.push(0.0),
            Column::Double(values) => values.push(0.0),
            Column::Decimal(_, _, values) => values.push(0),
            Column::Bytes(blobs) | Column::Text(blobs) | Column::Enum(_, blobs) => blobs.push(b""),
            Column::Fixed(size, rows, data) => {
                *rows += 1;
                data.resize(*rows * *size, 0);
            }
            Column::List(offsets, _) | Column::Map(offsets, _, _) => offsets.push(offsets[offsets.len() - 1]),
            Column::Struct(rows, _, columns) => {
                *rows += 1;
                columns.iter_mut().for_each(Column::push_empty);
            }
            Column::Nullable(valid, inner) => {
                valid.push(false);
                inner.push_empty();
            }
        }
    }

    /// Give the column to Arrow, which checks it once more.
    pub fn finish(self) -> Result<ArrayRef, ArrowError> {
        self.with_nulls(None)
    }

    fn with_nulls(self, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Column::Void => Arc::new(NullArray::new(0)),
            Column::Boolean(values) => Arc::new(BooleanArray::new(BooleanBuffer::from(values), nulls)),
            Column::Int(values, logical) => {
                let values = ScalarBuffer::from(values);
                match logical {
                    Logical::Date => Arc::new(Date32Array::try_new(values, nulls)?),
                    _ => Arc::new(Int32Array::try_new(values, nulls)?),
                }
            }
            Column::Long(values, logical) => {
                let values = ScalarBuffer::from(values);
                let zone = if logical.is_utc() { Some("UTC") } else { None };
                match logical {
                    Logical::Millis(_) => {
                        Arc::new(TimestampMillisecondArray::try_new(values, nulls)?.with_timezone_opt(zone))
                    }
                    Logical::Micros(_) => {
                        Arc::new(TimestampMicrosecondArray::try_new(values, nulls)?.with_timezone_opt(zone))
                    }
                    Logical::Nanos(_) => {
                        Arc::new(TimestampNanosecondArray::try_new(values, nulls)?.with_timezone_opt(zone))
                    }
                    _ => Arc::new(Int64Array::try_new(values, nulls)?),
                }
            }
            Column::Float(values) => Arc::new(Float32Array::try_new(ScalarBuffer::from(values), nulls)?),
            Column::Double(values) => Arc::new(Float64Array::try_new(ScalarBuffer::from(values), nulls)?),
            Column::Decimal(precision, scale, values) => Arc::new(
                Decimal128Array::try_new(ScalarBuffer::from(values), nulls)?
                    .with_precision_and_scale(precision, scale)?,
            ),
            Column::Bytes(blobs) => {
                Arc::new(LargeBinaryArray::try_new(offsets(blobs.offsets), Buffer::from_vec(blobs.data), nulls)?)
            }
            Column::Text(blobs) | Column::Enum(_, blobs) => text(blobs, nulls)?,
            Column::Fixed(size, _, data) => {
                Arc::new(FixedSizeBinaryArray::try_new(size as i32, Buffer::from_vec(data), nulls)?)
            }
            Column::List(ends, item) => {
                let items = item.finish()?;
                let field = Arc::new(Field::new("item", items.data_type().clone(), true));
                Arc::new(LargeListArray::try_new(field, offsets(ends), items, nulls)?)
            }
            Column::Map(ends, keys, value) => {
                let (keys, values) = (text(keys, None)?, value.finish()?);
                let entries = record(keys.len(), &["key".into(), "value".into()], vec![keys, values], None)?;
                let field = Arc::new(Field::new("item", entries.data_type().clone(), true));
                Arc::new(LargeListArray::try_new(field, offsets(ends), entries, nulls)?)
            }
            Column::Struct(rows, names, columns) => {
                let columns = columns.into_iter().map(Column::finish).collect::<Result<Vec<_>, _>>()?;
                record(rows, &names, columns, nulls)?
            }
            Column::Nullable(valid, inner) => inner.with_nulls(Some(NullBuffer::from(valid)))?,
        })
    }
}

fn offsets(values: Vec<i64>) -> OffsetBuffer<i64> {
    OffsetBuffer::new(ScalarBuffer::from(values))
}

fn text(blobs: Blobs, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(LargeStringArray::try_new(offsets(blobs.offsets), Buffer::from_vec(blobs.data), nulls)?))
}

fn record(
    rows: usize,
    names: &[String],
    columns: Vec<ArrayRef>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef, ArrowError> {
    let field = |(name, column): (&String, &ArrayRef)| Field::new(name, column.data_type().clone(), true);
    let fields: Fields = names.iter().zip(&columns).map(field).collect();
    Ok(Arc::new(StructArray::try_new_with_length(fields, columns, nulls, rows)?))
}
