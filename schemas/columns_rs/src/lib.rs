//! Avro datums to Arrow columns and back. Its Python face, with what is promised, is `schemas/columns.py`.

mod column;
mod plan;
mod read;
mod write;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, to_ffi};
use arrow_array::ffi_stream::{FFI_ArrowArrayStream, RecordBatchStreamReader};
use arrow_array::{Array, ArrayRef, RecordBatch, StructArray};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyCapsule};

use crate::column::Column;
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
        let pointer = stream.pointer_checked(Some(c"arrow_array_stream"))?.cast::<FFI_ArrowArrayStream>();
        // SAFETY: by the capsule's name this is an ArrowArrayStream; from_raw moves it out and leaves a released one.
        let reader = unsafe { RecordBatchStreamReader::from_raw(pointer.as_ptr()) }.map_err(fault)?;
        let batches = reader.collect::<Result<Vec<RecordBatch>, _>>().map_err(fault)?;
        let written = py.detach(|| {
            let mut bytes = Vec::new();
            let mut ends = Vec::new();
            for batch in batches {
                let record = StructArray::from(batch);
                let writer = Writer::new(&self.0, &record)?;
                for row in 0..record.len() {
                    bytes.extend_from_slice(prefix);
                    writer.write(row, &mut bytes).map_err(|why| format!("row {}: {why}", ends.len()))?;
                    ends.push(bytes.len());
                }
            }
            Ok::<_, String>((bytes, ends))
        });
        let (bytes, ends) = written.map_err(PyValueError::new_err)?;
        let mut begin = 0;
        let value = |end: usize| PyBytes::new(py, &bytes[std::mem::replace(&mut begin, end)..end]);
        Ok(ends.into_iter().map(value).collect())
    }
}

fn fault(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

#[pymodule]
mod tally_columns {
    #[pymodule_export]
    use super::{Columns, Decoder, Encoder};

    /// Of the plans that this was made for, `schemas/columns.py:PLAN_VERSION`.
    #[pymodule_export]
    const PLAN_VERSION: u32 = 1;
}
