use dsv4_sys as sys;
use std::{fmt, io};

/// What every fallible call of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed. The variant says what a host can do about it; the text names the file, tensor or field, what was
/// expected and what was found.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The call itself is wrong: correct it.
    InvalidArgument(String),
    /// Understood, and not there: the text says what is missing.
    Unsupported(String),
    /// A file or a name does not exist.
    NotFound(String),
    /// The system could not read or write.
    Io(String),
    /// A file is not what it claims to be.
    Corrupt(String),
    /// Two things do not belong together.
    Incompatible(String),
    /// Memory, or the model's memory limit, is exhausted.
    OutOfMemoryHost(String),
    /// The device's memory is exhausted.
    OutOfMemoryDevice(String),
    /// Drop the model and open it again.
    DeviceLost(String),
    /// Another call is using this session: a generation that was started and not polled to its end.
    Busy(String),
    /// The tokens do not fit the session's context.
    ContextFull(String),
    /// Cancelled, by you.
    Cancelled(String),
    /// A bug of the library's: please report the text.
    Internal(String),
    /// The reader or writer that a snapshot was to go through failed, with this.
    Stream(io::Error),
    /// A status that this version of the crate does not know.
    Unknown(i32, String),
}

impl Error {
    pub(crate) fn new(status: sys::dsv4_status, message: String) -> Self {
        match status {
            sys::DSV4_E_INVALID_ARGUMENT => Error::InvalidArgument(message),
            sys::DSV4_E_UNSUPPORTED => Error::Unsupported(message),
            sys::DSV4_E_NOT_FOUND => Error::NotFound(message),
            sys::DSV4_E_IO => Error::Io(message),
            sys::DSV4_E_CORRUPT => Error::Corrupt(message),
            sys::DSV4_E_INCOMPATIBLE => Error::Incompatible(message),
            sys::DSV4_E_OUT_OF_MEMORY_HOST => Error::OutOfMemoryHost(message),
            sys::DSV4_E_OUT_OF_MEMORY_DEVICE => Error::OutOfMemoryDevice(message),
            sys::DSV4_E_DEVICE_LOST => Error::DeviceLost(message),
            sys::DSV4_E_BUSY => Error::Busy(message),
            sys::DSV4_E_CONTEXT_FULL => Error::ContextFull(message),
            sys::DSV4_E_CANCELLED => Error::Cancelled(message),
            sys::DSV4_E_INTERNAL => Error::Internal(message),
            other => Error::Unknown(other, message),
        }
    }

    /// The text alone.
    pub fn message(&self) -> String {
        match self {
            Error::InvalidArgument(text)
            | Error::Unsupported(text)
            | Error::NotFound(text)
            | Error::Io(text)
            | Error::Corrupt(text)
            | Error::Incompatible(text)
            | Error::OutOfMemoryHost(text)
            | Error::OutOfMemoryDevice(text)
            | Error::DeviceLost(text)
            | Error::Busy(text)
            | Error::ContextFull(text)
            | Error::Cancelled(text)
            | Error::Internal(text)
            | Error::Unknown(_, text) => text.clone(),
            Error::Stream(e) => e.to_string(),
        }
    }

    /// The status of the C header.
    pub fn status(&self) -> i32 {
        match self {
            Error::InvalidArgument(_) => sys::DSV4_E_INVALID_ARGUMENT,
            Error::Unsupported(_) => sys::DSV4_E_UNSUPPORTED,
            Error::NotFound(_) => sys::DSV4_E_NOT_FOUND,
            Error::Io(_) | Error::Stream(_) => sys::DSV4_E_IO,
            Error::Corrupt(_) => sys::DSV4_E_CORRUPT,
            Error::Incompatible(_) => sys::DSV4_E_INCOMPATIBLE,
            Error::OutOfMemoryHost(_) => sys::DSV4_E_OUT_OF_MEMORY_HOST,
            Error::OutOfMemoryDevice(_) => sys::DSV4_E_OUT_OF_MEMORY_DEVICE,
            Error::DeviceLost(_) => sys::DSV4_E_DEVICE_LOST,
            Error::Busy(_) => sys::DSV4_E_BUSY,
            Error::ContextFull(_) => sys::DSV4_E_CONTEXT_FULL,
            Error::Cancelled(_) => sys::DSV4_E_CANCELLED,
            Error::Internal(_) => sys::DSV4_E_INTERNAL,
            Error::Unknown(status, _) => *status,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: a static string for any status.
        let name = unsafe { crate::call::string(sys::dsv4_status_name(self.status())) };
        write!(f, "{name}: {}", self.message())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Stream(e) => Some(e),
            _ => None,
        }
    }
}
