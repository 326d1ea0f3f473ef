//! A turn as an iterator, and how a closure receives events.

use crate::call::Panic;
use crate::{Answer, Error, Event, Result, Session, Stats};
use dsv4_sys as sys;
use std::os::raw::c_void;
use std::time::Duration;

/// A host's closure behind `dsv4_event_fn`.
pub(crate) struct EventCall<F> {
    on_event: F,
    panic: Panic,
}

impl<F: FnMut(Event) -> Answer> EventCall<F> {
    pub(crate) fn new(on_event: F) -> Self {
        EventCall { on_event, panic: Panic::default() }
    }

    pub(crate) fn user(&mut self) -> *mut c_void {
        (self as *mut Self).cast()
    }

    pub(crate) fn resume(&mut self) {
        self.panic.resume();
    }
}

pub(crate) unsafe extern "C" fn event_call<F: FnMut(Event) -> Answer>(
    user: *mut c_void,
    event: *const sys::dsv4_event,
) -> i32 {
    let EventCall { on_event, panic } = &mut *user.cast::<EventCall<F>>();
    panic.catch(sys::DSV4_CANCEL, || on_event(Event::of(&*event)) as i32)
}

/// A poll that brought nothing is asked again.
const WAIT: Duration = Duration::from_secs(1);

/// The events of a turn ([`Session::generate`]), until [`Event::Done`] or an error.
#[derive(Debug)]
#[must_use = "a generation that is dropped is cancelled"]
pub struct Generation<'a> {
    session: &'a mut Session,
    answer: Answer,
    stats: Option<Stats>,
    ended: bool,
}

impl<'a> Generation<'a> {
    pub(crate) fn new(session: &'a mut Session) -> Self {
        Generation { session, answer: Answer::Continue, stats: None, ended: false }
    }

    /// Answers the events so far. Reaches the generation with the next one that is fetched, and takes effect some
    /// tokens later, as the generation runs ahead.
    pub fn answer(&mut self, answer: Answer) {
        self.answer = answer;
    }

    /// Ends the turn at once, as [`CancelHandle::cancel`](crate::CancelHandle::cancel) does.
    pub fn cancel(&self) {
        self.session.cancel_handle().cancel();
    }

    /// Fetches what is still to come, and says what the turn took.
    pub fn finish(mut self) -> Result<Stats> {
        for event in self.by_ref() {
            event?;
        }
        self.stats.take().ok_or_else(|| Error::InvalidArgument("the turn ended with an error, which was given".into()))
    }
}

impl Iterator for Generation<'_> {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        let answer = self.answer;
        while !self.ended {
            let mut next = None;
            let polled = self.session.poll(1, WAIT, |event| {
                next = Some(event);
                answer
            });
            if let Err(e) = polled {
                self.ended = true;
                return Some(Err(e));
            }
            if let Some(Event::Done { stats, .. }) = &next {
                self.ended = true;
                self.stats = stats.clone();
            }
            if let Some(event) = next {
                return Some(Ok(event));
            }
        }
        None
    }
}

impl std::iter::FusedIterator for Generation<'_> {}

impl Drop for Generation<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.cancel();
            while let Some(Ok(_)) = self.next() {}
        }
    }
}
