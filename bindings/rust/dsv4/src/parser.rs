use crate::call::{check, collect_text};
use crate::{Done, Event, Model, ParserOptions, Result};
use dsv4_sys as sys;
use std::os::raw::c_void;
use std::{fmt, mem, ptr};

/// The reader of model output that a session uses, for hosts that draw tokens themselves, and for people who debug
/// prompts: output goes in, in pieces of any size, and events come out.
///
/// ```
/// use dsv4::{Done, Event, Parser, ParserOptions, Start};
///
/// # fn main() -> dsv4::Result<()> {
/// let mut parser = Parser::new(ParserOptions::new().start(Start::Reasoning))?;
/// let mut events = parser.push_text("Hm.</think>Yes.")?;
/// events.extend(parser.finish(Done::Stop)?);
/// assert!(events.contains(&Event::Content("Yes.".into())));
/// # Ok(())
/// # }
/// ```
pub struct Parser {
    raw: ptr::NonNull<sys::dsv4_parser>,
    events: *mut Vec<Event>, // a Box, which C has the address of
}

// SAFETY: the handle has no thread of its own; the events are written inside calls that take &mut self.
unsafe impl Send for Parser {}

unsafe extern "C" fn keep(user: *mut c_void, event: *const sys::dsv4_event) -> i32 {
    (*user.cast::<Vec<Event>>()).push(Event::of(&*event));
    sys::DSV4_CONTINUE
}

impl Parser {
    /// For text only.
    pub fn new(options: ParserOptions) -> Result<Self> {
        Self::make(ptr::null_mut(), options)
    }

    /// For tokens of this model too.
    pub fn for_model(model: &Model, options: ParserOptions) -> Result<Self> {
        Self::make(model.raw(), options)
    }

    fn make(model: *mut sys::dsv4_model, options: ParserOptions) -> Result<Self> {
        let events = Box::into_raw(Box::<Vec<Event>>::default());
        let mut raw = ptr::null_mut();
        let made = options.with_c(|c| {
            check(|error| unsafe { sys::dsv4_parser_create(model, c, Some(keep), events.cast(), &mut raw, error) })
        });
        if let Err(e) = made {
            // SAFETY: made above, and nobody else has it.
            drop(unsafe { Box::from_raw(events) });
            return Err(e);
        }
        Ok(Parser { raw: ptr::NonNull::new(raw).expect("a handle, as the call succeeded"), events })
    }

    /// More output. `</think>`, the end of the turn and the mark of calls are taken as the control tokens that they
    /// spell.
    pub fn push_text(&mut self, text: &str) -> Result<Vec<Event>> {
        let raw = self.raw.as_ptr();
        self.events_of(|error| unsafe { sys::dsv4_parser_push_text(raw, text.as_ptr().cast(), text.len(), error) })
    }

    /// More output, of a parser that was made for a model.
    pub fn push_tokens(&mut self, ids: &[i32]) -> Result<Vec<Event>> {
        let raw = self.raw.as_ptr();
        self.events_of(|error| unsafe { sys::dsv4_parser_push_tokens(raw, ids.as_ptr(), ids.len(), error) })
    }

    /// The output ends: `Done::Stop` as if the model had ended its turn (the last event says what it amounts to),
    /// `Length`, `Host` or `Cancelled`.
    pub fn finish(&mut self, reason: Done) -> Result<Vec<Event>> {
        let raw = self.raw.as_ptr();
        self.events_of(|error| unsafe { sys::dsv4_parser_finish(raw, reason.c(), error) })
    }

    /// The assistant message so far, as JSON.
    pub fn message_json(&self) -> Result<String> {
        collect_text(|text, capacity, length, error| unsafe {
            sys::dsv4_parser_message_json(self.raw.as_ptr(), text, capacity, length, error)
        })
    }

    fn events_of(&mut self, call: impl FnOnce(*mut *mut sys::dsv4_error) -> sys::dsv4_status) -> Result<Vec<Event>> {
        let done = check(call);
        // SAFETY: the Box of make(); the library is not running.
        let events = mem::take(unsafe { &mut *self.events });
        done.map(|()| events)
    }
}

impl Drop for Parser {
    fn drop(&mut self) {
        // SAFETY: the handle first, which has the address of the events.
        unsafe {
            sys::dsv4_parser_release(&mut self.raw.as_ptr());
            drop(Box::from_raw(self.events));
        }
    }
}

impl fmt::Debug for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Parser").field(&self.message_json().unwrap_or_default()).finish()
    }
}
