//! macOS links an extension without knowing Python's own symbols.

fn main() {
    pyo3_build_config::add_extension_module_link_args();
}
