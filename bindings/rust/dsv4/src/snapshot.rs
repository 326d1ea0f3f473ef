//! Snapshots over `std::io`: the callbacks, and a look at a snapshot's header.

use crate::call::{c_path, check, Panic};
use crate::{Error, Result, SnapshotInfo};
use dsv4_sys as sys;
use std::io::{self, Read, Write};
use std::mem::size_of;
use std::os::raw::c_void;
use std::path::Path;
use std::slice;

/// The host's reader or writer, what went wrong in it, and its panic.
pub(crate) struct Through<'a, T: ?Sized> {
    stream: &'a mut T,
    failed: Option<io::Error>,
    panic: Panic,
}

impl<'a, T: ?Sized> Through<'a, T> {
    pub(crate) fn new(stream: &'a mut T) -> Self {
        Through { stream, failed: None, panic: Panic::default() }
    }

    pub(crate) fn user(&mut self) -> *mut c_void {
        (self as *mut Self).cast()
    }

    /// What the library said; or, if it only says that the callback gave up, why that did.
    pub(crate) fn finish<R>(mut self, result: Result<R>) -> Result<R> {
        self.panic.resume();
        match (result, self.failed) {
            (Err(_), Some(e)) => Err(Error::Stream(e)),
            (result, _) => result,
        }
    }
}

pub(crate) unsafe extern "C" fn write<W: Write + ?Sized>(user: *mut c_void, data: *const c_void, size: usize) -> i32 {
    let through = &mut *user.cast::<Through<'_, W>>();
    let (stream, failed) = (&mut *through.stream, &mut through.failed);
    through.panic.catch(1, || match stream.write_all(slice::from_raw_parts(data.cast(), size)) {
        Ok(()) => 0,
        Err(e) => {
            *failed = Some(e);
            1
        }
    })
}

pub(crate) unsafe extern "C" fn read<R: Read + ?Sized>(user: *mut c_void, data: *mut c_void, size: usize) -> i64 {
    let through = &mut *user.cast::<Through<'_, R>>();
    let (stream, failed) = (&mut *through.stream, &mut through.failed);
    through.panic.catch(-1, || {
        // A reader may look at what it is given: it gets zeros instead of memory that nobody has written.
        std::ptr::write_bytes(data.cast::<u8>(), 0, size);
        let room = slice::from_raw_parts_mut(data.cast(), size);
        loop {
            match stream.read(room) {
                Ok(count) => return count.min(size) as i64,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    *failed = Some(e);
                    return -1;
                }
            }
        }
    })
}

fn empty_info() -> sys::dsv4_snapshot_info {
    sys::dsv4_snapshot_info { struct_size: size_of::<sys::dsv4_snapshot_info>(), ..Default::default() }
}

/// What a snapshot's header says; nothing behind it is read or checked.
pub fn peek<R: Read + ?Sized>(reader: &mut R) -> Result<SnapshotInfo> {
    let mut c = empty_info();
    let mut through = Through::new(reader);
    let user = through.user();
    let done = check(|error| unsafe { sys::dsv4_snapshot_peek(Some(read::<R>), user, &mut c, error) });
    through.finish(done)?;
    Ok(c.into())
}

/// The same of a file.
pub fn peek_path(path: impl AsRef<Path>) -> Result<SnapshotInfo> {
    let mut c = empty_info();
    let path = c_path(path.as_ref())?;
    check(|error| unsafe { sys::dsv4_snapshot_peek_path(path.as_ptr(), &mut c, error) })?;
    Ok(c.into())
}
