//! Avro datums to Arrow columns and back. Its Python face, with what is promised, is `schemas/columns.py`.

mod column;
mod hash;
mod pack;
mod plan;
mod read;
mod write;

use arrow_array::cast::AsArray;
use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, to_ffi};
use arrow_array::ffi_stream::{FFI_ArrowArrayStream, RecordBatchStreamReader};
use arrow_array::{Array, ArrayRef, RecordBatch, StructArray};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyCapsule};

use crate::column::Column;
use crate::hash::murmur2;
use crate::pack::Pack;
use crate::plan::{Op, Shape};
use crate::read::{Reason, read};
use crate::write::Writer;

/// Columns on their way to Python, by Arrow's PyCapsule interface.
#[pyclass(frozen)]
struct Columns(ArrayRef);

#[pymethods]
impl Columns {
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
        let _ = requested_schema; // a wish, and there is but one form
        let (array, schema): (FFI_ArrowArray, FFI_ArrowSchema) = to_ffi(&self.0.to_data()).map_err(fault)?;
        Ok((
            PyCapsule::new_with_value(py, schema, c"arrow_schema")?,
            PyCapsule::new_with_value(py, array, c"arrow_array")?,
        ))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }
}

/// Reads what was written with one schema as another one says.
#[pyclass(frozen)]
struct Decoder {
    op: Op,
    shape: Shape,
}

#[pymethods]
impl Decoder {
    #[new]
    fn new(op: &Bound<PyAny>, shape: &Bound<PyAny>) -> PyResult<Self> {
        Ok(Self { op: Op::from_plan(op)?, shape: Shape::from_plan(shape)? })
    }

    /// Give the columns of all that could be read, and index and reason of all that could not.
    fn decode(
        &self,
        py: Python<'_>,
        values: Vec<PyBackedBytes>,
        begin: usize,
    ) -> PyResult<(Columns, Vec<(usize, &'static str)>)> {
        let (array, refused) = py.detach(|| {
            let mut column = Column::new(&self.shape);
            let mut refused = Vec::new();
            for (index, value) in values.iter().enumerate() {
                let outcome = value.get(begin..).ok_or(Reason::Truncated);
                if let Err(reason) = outcome.and_then(|datum| read(&self.op, datum, &mut column)) {
                    refused.push((index, reason.name()));
                }
            }
            (column.finish(), refused)
        });
        Ok((Columns(array.map_err(fault)?), refused))
    }
}

/// Writes columns with one schema.
#[pyclass(frozen)]
struct Encoder(Shape);

#[pymethods]
impl Encoder {
    #[new]
    fn new(shape: &Bound<PyAny>) -> PyResult<Self> {
        Ok(Self(Shape::from_plan(shape)?))
    }

    /// Give one value for each row of an Arrow stream: the prefix, then the datum.
    fn encode<'py>(
        &self,
        py: Python<'py>,
        stream: &Bound<'py, PyCapsule>,
        prefix: &[u8],
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        encoded(py, stream, prefix, &self.0, |writer, row, out| writer.write(row, out))
    }
}

/// Reads and writes rows of one type.
#[pyclass(frozen)]
struct Packer {
    pack: Pack,
    shape: Shape,
}

#[pymethods]
impl Packer {
    #[new]
    fn new(plan: &Bound<PyAny>) -> PyResult<Self> {
        let pack = Pack::from_plan(plan)?;
        Ok(Self { shape: pack.shape(), pack })
    }

    /// Give the columns of all rows that could be read, and the indexes of all that could not.
    fn decode(&self, py: Python<'_>, rows: Vec<PyBackedBytes>, begin: usize) -> PyResult<(Columns, Vec<usize>)> {
        let (array, refused) = py.detach(|| {
            let mut column = Column::new(&self.shape);
            let mut refused = Vec::new();
            for (index, row) in rows.iter().enumerate() {
                let outcome = row.get(begin..).ok_or(Reason::Truncated);
                if outcome.and_then(|bytes| self.pack.read(bytes, &mut column)).is_err() {
                    refused.push(index);
                }
            }
            (column.finish(), refused)
        });
        Ok((Columns(array.map_err(fault)?), refused))
    }

    /// Give the prefix and then the bytes of each row of an Arrow stream.
    fn encode<'py>(
        &self,
        py: Python<'py>,
        stream: &Bound<'py, PyCapsule>,
        prefix: &[u8],
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        encoded(py, stream, prefix, &self.shape, |writer, row, out| self.pack.write(writer, row, out))
    }

    /// Give the CRC32 of the bytes of each row.
    fn checksums(&self, py: Python<'_>, stream: &Bound<PyCapsule>) -> PyResult<Vec<u32>> {
        let batches = batches(stream)?;
        let summed = py.detach(|| {
            let (mut sums, mut bytes) = (Vec::new(), Vec::new());
            for batch in batches {
                let record = StructArray::from(batch);
                let writer = Writer::new(&self.shape, &record)?;
                for row in 0..record.len() {
                    bytes.clear();
                    self.pack.write(&writer, row, &mut bytes)?;
                    sums.push(crc32fast::hash(&bytes));
                }
            }
            Ok::<_, String>(sums)
        });
        summed.map_err(PyValueError::new_err)
    }
}

/// The partition that Kafka's murmur2 gives each text of an Arrow stream of one column, of `count` partitions.
#[pyfunction]
fn partitions(py: Python<'_>, stream: &Bound<PyCapsule>, count: i32) -> PyResult<Vec<i32>> {
    let batches = batches(stream)?;
    let placed = py.detach(|| {
        let mut placed = Vec::new();
        for batch in &batches {
            let keys = batch.column(0).as_string_view_opt().ok_or("keys are text")?;
            placed.extend(keys.iter().map(|key| (murmur2(key.unwrap_or("").as_bytes()) & i32::MAX) % count));
        }
        Ok::<_, &str>(placed)
    });
    placed.map_err(PyValueError::new_err)
}

/// Give the prefix, and then what `write` makes of it, for each row of an Arrow stream.
fn encoded<'py>(
    py: Python<'py>,
    stream: &Bound<'py, PyCapsule>,
    prefix: &[u8],
    shape: &Shape,
    write: impl Fn(&Writer, usize, &mut Vec<u8>) -> Result<(), String> + Sync,
) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    let batches = batches(stream)?;
    let written = py.detach(|| {
        let mut written = Written::default();
        for batch in batches {
            let record = StructArray::from(batch);
            let writer = Writer::new(shape, &record)?;
            written.rows(record.len(), prefix, |row, out| write(&writer, row, out))?;
        }
        Ok::<_, String>(written)
    });
    values(py, written.map_err(PyValueError::new_err)?)
}

/// Values behind each other, and where each ends.
#[derive(Default)]
struct Written {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Written {
    fn rows(
        &mut self,
        count: usize,
        prefix: &[u8],
        write: impl Fn(usize, &mut Vec<u8>) -> Result<(), String>,
    ) -> Result<(), String> {
        for row in 0..count {
            self.bytes.extend_from_slice(prefix);
            write(row, &mut self.bytes).map_err(|why| format!("row {}: {why}", self.ends.len()))?;
            self.ends.push(self.bytes.len());
        }
        Ok(())
    }
}

fn batches(stream: &Bound<PyCapsule>) -> PyResult<Vec<RecordBatch>> {
    let pointer = stream.pointer_checked(Some(c"arrow_array_stream"))?.cast::<FFI_ArrowArrayStream>();
    // SAFETY: by the capsule's name this is an ArrowArrayStream; from_raw moves it out and leaves a released one.
    let reader = unsafe { RecordBatchStreamReader::from_raw(pointer.as_ptr()) }.map_err(fault)?;
    reader.collect::<Result<Vec<RecordBatch>, _>>().map_err(fault)
}

fn values(py: Python<'_>, written: Written) -> PyResult<Vec<Bound<'_, PyBytes>>> {
    let mut begin = 0;
    let value = |end: usize| PyBytes::new(py, &written.bytes[std::mem::replace(&mut begin, end)..end]);
    Ok(written.ends.into_iter().map(value).collect())
}

fn fault(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

#[pymodule]
mod tally_columns {
    #[pymodule_export]
    use super::{Columns, Decoder, Encoder, Packer, partitions};

    /// Of the plans that this was made for, `schemas/columns.py:PLAN_VERSION`.
    #[pymodule_export]
    const PLAN_VERSION: u32 = 3;
}
