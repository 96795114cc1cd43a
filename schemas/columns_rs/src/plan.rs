//! The plan that `schemas/column_plans.py` made from the schemas: what to read, into what, as nested tuples.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// What a number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logical {
    Plain,
    Date,
    /// Timestamps; true: an instant in UTC, false: a local time.
    Millis(bool),
    Micros(bool),
    Nanos(bool),
}

impl Logical {
    pub fn is_utc(self) -> bool {
        matches!(self, Logical::Millis(true) | Logical::Micros(true) | Logical::Nanos(true))
    }
}

/// The type of a column.
#[derive(Debug)]
pub enum Shape {
    Boolean,
    Int(Logical),
    Long(Logical),
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Decimal(u8, i8),
    Enum(Arc<[String]>),
    List(Box<Shape>),
    Map(Box<Shape>),
    Struct(Arc<[String]>, Vec<Shape>),
    /// With the place of null among the two branches.
    Nullable(usize, Box<Shape>),
}

/// How one value stands on the wire.
#[derive(Debug)]
pub enum Op {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Decimal(u8),
    /// For each of the writer's symbols, its place among the reader's.
    Enum(Vec<Option<usize>>),
    Array(Box<Op>),
    Map(Box<Op>),
    Record(Vec<Step>),
    Union(Vec<Op>),
    /// A branch from which the reader's schema can make nothing.
    Refused,
}

/// A field of a record: into which column it goes.
#[derive(Debug)]
pub enum Step {
    Read(usize, Op),
    Drop(Op),
    /// A field that the writer did not know, with the datum of its default.
    Default(usize, Op, Vec<u8>),
}

pub fn unknown(what: &str, name: &str) -> PyErr {
    PyValueError::new_err(format!(
        "tally_columns: {name:?} is no {what} of this version: build it anew with make setup"
    ))
}

pub fn part<'py>(node: &Bound<'py, PyAny>, at: usize) -> PyResult<Bound<'py, PyAny>> {
    node.cast::<PyTuple>()?.get_item(at)
}

pub fn many<T>(node: &Bound<PyAny>, made: impl Fn(&Bound<PyAny>) -> PyResult<T>) -> PyResult<Vec<T>> {
    node.try_iter()?.map(|child| made(&child?)).collect()
}

impl Shape {
    pub fn from_plan(node: &Bound<PyAny>) -> PyResult<Self> {
        let kind: String = part(node, 0)?.extract()?;
        Ok(match kind.as_str() {
            "boolean" => Shape::Boolean,
            "int" => Shape::Int(Logical::from_plan(&part(node, 1)?)?),
            "long" => Shape::Long(Logical::from_plan(&part(node, 1)?)?),
            "float" => Shape::Float,
            "double" => Shape::Double,
            "bytes" => Shape::Bytes,
            "string" => Shape::Text,
            "fixed" => Shape::Fixed(part(node, 1)?.extract()?),
            "decimal" => Shape::Decimal(part(node, 1)?.extract()?, part(node, 2)?.extract()?),
            "enum" => Shape::Enum(part(node, 1)?.extract::<Vec<String>>()?.into()),
            "array" => Shape::List(Box::new(Shape::from_plan(&part(node, 1)?)?)),
            "map" => Shape::Map(Box::new(Shape::from_plan(&part(node, 1)?)?)),
            "record" => {
                Shape::Struct(part(node, 1)?.extract::<Vec<String>>()?.into(), many(&part(node, 2)?, Shape::from_plan)?)
            }
            "nullable" => Shape::Nullable(part(node, 1)?.extract()?, Box::new(Shape::from_plan(&part(node, 2)?)?)),
            other => return Err(unknown("column type", other)),
        })
    }
}

impl Logical {
    fn from_plan(name: &Bound<PyAny>) -> PyResult<Self> {
        let name: String = name.extract()?;
        Ok(match name.as_str() {
            "" => Logical::Plain,
            "date" => Logical::Date,
            "timestamp-millis" => Logical::Millis(true),
            "timestamp-micros" => Logical::Micros(true),
            "timestamp-nanos" => Logical::Nanos(true),
            "local-timestamp-millis" => Logical::Millis(false),
            "local-timestamp-micros" => Logical::Micros(false),
            "local-timestamp-nanos" => Logical::Nanos(false),
            other => return Err(unknown("logical type", other)),
        })
    }
}

impl Op {
    pub fn from_plan(node: &Bound<PyAny>) -> PyResult<Self> {
        let kind: String = part(node, 0)?.extract()?;
        Ok(match kind.as_str() {
            "null" => Op::Null,
            "boolean" => Op::Boolean,
            "int" => Op::Int,
            "long" => Op::Long,
            "float" => Op::Float,
            "double" => Op::Double,
            "bytes" => Op::Bytes,
            "string" => Op::Text,
            "fixed" => Op::Fixed(part(node, 1)?.extract()?),
            "decimal" => Op::Decimal(part(node, 1)?.extract()?),
            "enum" => Op::Enum(part(node, 1)?.extract()?),
            "array" => Op::Array(Box::new(Op::from_plan(&part(node, 1)?)?)),
            "map" => Op::Map(Box::new(Op::from_plan(&part(node, 1)?)?)),
            "record" => Op::Record(many(&part(node, 1)?, Step::from_plan)?),
            "union" => Op::Union(many(&part(node, 1)?, Op::from_plan)?),
            "refused" => Op::Refused,
            other => return Err(unknown("wire type", other)),
        })
    }
}

impl Step {
    fn from_plan(node: &Bound<PyAny>) -> PyResult<Self> {
        let kind: String = part(node, 0)?.extract()?;
        let op = Op::from_plan(&part(node, 1)?)?;
        Ok(match kind.as_str() {
            "drop" => Step::Drop(op),
            "read" => Step::Read(part(node, 2)?.extract()?, op),
            "default" => Step::Default(part(node, 2)?.extract()?, op, part(node, 3)?.extract()?),
            other => return Err(unknown("step", other)),
        })
    }
}
