//! How this crate calls C: statuses become Results, arrays are asked for their size first, and a panic in a callback
//! waits until the C frames are gone.

use crate::{Error, Result};
use dsv4_sys as sys;
use std::any::Any;
use std::ffi::{CStr, CString};
use std::os::raw::c_char;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::path::Path;
use std::ptr;

/// `call(&mut error)` as a Result.
pub(crate) fn check(call: impl FnOnce(*mut *mut sys::dsv4_error) -> sys::dsv4_status) -> Result<()> {
    let mut error = ptr::null_mut();
    let status = call(&mut error);
    if status == sys::DSV4_OK {
        return Ok(());
    }
    // SAFETY: the library's own error, or NULL; its message lives until it is released, and is copied before.
    let message = unsafe { string(sys::dsv4_error_message(error)) };
    unsafe { sys::dsv4_error_release(&mut error) };
    Err(Error::new(status, message))
}

/// `call(items, capacity, &mut count, &mut error)`, which fills an array.
pub(crate) fn collect<T: Clone + Default>(
    call: impl Fn(*mut T, usize, *mut usize, *mut *mut sys::dsv4_error) -> sys::dsv4_status,
) -> Result<Vec<T>> {
    let mut items = Vec::new();
    loop {
        let mut count = 0;
        let room = if items.is_empty() { ptr::null_mut() } else { items.as_mut_ptr() };
        check(|error| call(room, items.len(), &mut count, error))?;
        let all = count <= items.len();
        items.resize(count, T::default());
        if all {
            return Ok(items);
        }
    }
}

/// The same for text that the library promises to be UTF-8.
pub(crate) fn collect_text(
    call: impl Fn(*mut c_char, usize, *mut usize, *mut *mut sys::dsv4_error) -> sys::dsv4_status,
) -> Result<String> {
    let bytes = collect::<u8>(|text, capacity, length, error| call(text.cast(), capacity, length, error))?;
    String::from_utf8(bytes).map_err(|e| Error::Internal(format!("the library's text is not UTF-8: {e}")))
}

/// A copy of C's text; "" for NULL.
///
/// # Safety
/// NULL, or NUL-terminated.
pub(crate) unsafe fn string(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    CStr::from_ptr(text).to_string_lossy().into_owned()
}

/// A copy of `length` bytes of C's text.
///
/// # Safety
/// NULL, or that many bytes.
pub(crate) unsafe fn string_of(text: *const c_char, length: usize) -> String {
    if text.is_null() {
        return String::new();
    }
    String::from_utf8_lossy(std::slice::from_raw_parts(text.cast(), length)).into_owned()
}

/// Text that C reads up to its NUL.
pub(crate) fn c_string(what: &str, text: impl Into<Vec<u8>>) -> Result<CString> {
    CString::new(text).map_err(|_| Error::InvalidArgument(format!("{what}: there is a NUL inside")))
}

pub(crate) fn c_path(path: &Path) -> Result<CString> {
    match path.to_str() {
        Some(text) => c_string("path", text),
        None => Err(Error::InvalidArgument(format!("path {}: UTF-8 expected", path.display()))),
    }
}

/// NULL where there is nothing.
pub(crate) fn pointer_of(text: &Option<CString>) -> *const c_char {
    text.as_ref().map_or(ptr::null(), |t| t.as_ptr())
}

/// A panic of the host's closure on its way past C.
#[derive(Default)]
pub(crate) struct Panic(Option<Box<dyn Any + Send>>);

impl Panic {
    /// `body()`, or `otherwise` if it panics or did so before.
    pub(crate) fn catch<R>(&mut self, otherwise: R, body: impl FnOnce() -> R) -> R {
        if self.0.is_some() {
            return otherwise;
        }
        // The panic goes on in resume(): nobody sees what it may have left half done without seeing it.
        match catch_unwind(AssertUnwindSafe(body)) {
            Ok(result) => result,
            Err(payload) => {
                self.0 = Some(payload);
                otherwise
            }
        }
    }

    /// Goes on with the panic, if there was one.
    pub(crate) fn resume(&mut self) {
        if let Some(payload) = self.0.take() {
            resume_unwind(payload);
        }
    }
}
