//! How any function gives its answer: written where its caller wants it, in NVML's way.

use std::ffi::{c_char, c_uint};

use nvml_wrapper_sys::bindings as nvml;

use crate::script::Code;

/// Writes an answer where the caller wants it.
///
/// # Safety
/// `out` is null or may be written to.
pub(crate) unsafe fn give<T>(out: *mut T, answer: Result<T, Code>) -> nvml::nvmlReturn_t {
    match answer {
        Err(code) => code.0,
        Ok(_) if out.is_null() => Code::INVALID_ARGUMENT.0,
        Ok(value) => {
            // SAFETY: not null, and by this function's contract.
            unsafe { out.write(value) };
            nvml::nvmlReturn_enum_NVML_SUCCESS
        }
    }
}

/// Writes a text and its end.
///
/// # Safety
/// `out` is null or `length` bytes at it may be written to.
pub(crate) unsafe fn give_text(
    out: *mut c_char,
    length: c_uint,
    answer: Result<String, Code>,
) -> nvml::nvmlReturn_t {
    let text = match answer {
        Ok(text) => text,
        Err(code) => return code.0,
    };
    if out.is_null() || text.contains('\0') {
        return Code::INVALID_ARGUMENT.0;
    }
    if text.len() >= length as usize {
        return Code::INSUFFICIENT_SIZE.0;
    }
    // SAFETY: the text and its end fit, see above.
    unsafe {
        out.copy_from_nonoverlapping(text.as_ptr().cast(), text.len());
        out.add(text.len()).write(0);
    }
    nvml::nvmlReturn_enum_NVML_SUCCESS
}
