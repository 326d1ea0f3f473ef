use crate::call::{c_path, c_string, check, collect, Panic};
use crate::generation::{event_call, EventCall};
use crate::options::{initial, ProgressFunction};
use crate::snapshot::{read, write, Through};
use crate::{
    Answer, Conversation, EvalOptions, Event, GenerateOptions, Generation, Model, Result, SessionInfo, SnapshotOptions,
    Stats,
};
use dsv4_sys as sys;
use std::cell::Cell;
use std::convert::TryFrom;
use std::io::{Read, Write};
use std::marker::PhantomData;
use std::mem::size_of;
use std::os::raw::c_void;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;
use std::{fmt, ptr, slice};

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum Role {
    /// What holds for the whole conversation.
    System = sys::DSV4_ROLE_SYSTEM,
    /// The one who asks.
    User = sys::DSV4_ROLE_USER,
    /// The model.
    Assistant = sys::DSV4_ROLE_ASSISTANT,
    /// A tool's result.
    Tool = sys::DSV4_ROLE_TOOL,
    /// As system, inside the conversation.
    Developer = sys::DSV4_ROLE_DEVELOPER,
    /// What to keep in mind for the next answer.
    LatestReminder = sys::DSV4_ROLE_LATEST_REMINDER,
}

struct Handle(ptr::NonNull<sys::dsv4_session>);

// SAFETY: what is shared between threads is a CancelHandle's Weak, through which only dsv4_session_cancel is called; a
// session may be released on any thread.
unsafe impl Send for Handle {}
unsafe impl Sync for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        unsafe { sys::dsv4_session_release(&mut self.0.as_ptr()) };
    }
}

/// Ends the call that is running on a session, from any thread, within one layer of prefill or one token. Without such
/// a call it does nothing; it may outlive the session.
#[derive(Clone)]
pub struct CancelHandle(Weak<Handle>);

impl CancelHandle {
    /// Does it.
    pub fn cancel(&self) {
        if let Some(handle) = self.0.upgrade() {
            unsafe { sys::dsv4_session_cancel(handle.0.as_ptr()) };
        }
    }
}

impl fmt::Debug for CancelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CancelHandle")
    }
}

/// One timeline: token ids, the model's state for them, and, if used so, the conversation they came from.
///
/// Driven by messages (append, generate, append ...) or by tokens, whichever comes first; [`Session::clear`] makes it
/// empty again. It is `Send` and not `Sync`.
pub struct Session {
    handle: Arc<Handle>,
    model: Model,
    _not_sync: PhantomData<Cell<()>>,
}

impl Session {
    pub(crate) fn adopt(raw: *mut sys::dsv4_session, model: Model) -> Self {
        let raw = ptr::NonNull::new(raw).expect("a handle, as the call succeeded");
        Session { handle: Arc::new(Handle(raw)), model, _not_sync: PhantomData }
    }

    /// Whose session it is.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The C handle, for calls through [`sys`](crate::sys). It stays this session's.
    pub fn raw(&self) -> *mut sys::dsv4_session {
        self.handle.0.as_ptr()
    }

    /// Appends a message.
    pub fn append(&mut self, role: Role, text: &str) -> Result<()> {
        check(|error| unsafe {
            sys::dsv4_session_append_message(self.raw(), role as i32, text.as_ptr().cast(), text.len(), error)
        })
    }

    /// What a tool answered to the call with this id.
    pub fn append_tool_result(&mut self, call_id: &str, text: &str) -> Result<()> {
        let id = c_string("call_id", call_id)?;
        check(|error| unsafe {
            sys::dsv4_session_append_tool_result(self.raw(), id.as_ptr(), text.as_ptr().cast(), text.len(), error)
        })
    }

    /// One message (a JSON object) or several (a list).
    pub fn append_json(&mut self, json: &str) -> Result<()> {
        check(|error| unsafe { sys::dsv4_session_append_json(self.raw(), json.as_ptr().cast(), json.len(), error) })
    }

    /// Replaces the whole conversation, for instance after it was edited; what is unchanged of its beginning is kept.
    pub fn set_conversation(&mut self, conversation: &Conversation) -> Result<()> {
        check(|error| unsafe { sys::dsv4_session_set_conversation(self.raw(), conversation.raw(), error) })
    }

    /// A copy of the conversation, the session's answers with their exact token ids.
    pub fn conversation(&self) -> Result<Conversation> {
        let mut raw = ptr::null_mut();
        check(|error| unsafe { sys::dsv4_session_conversation(self.raw(), &mut raw, error) })?;
        Ok(Conversation::adopt(raw))
    }

    /// By tokens: they wait until generate or eval needs them.
    pub fn append_tokens(&mut self, ids: &[i32]) -> Result<()> {
        check(|error| unsafe { sys::dsv4_session_append_tokens(self.raw(), ids.as_ptr(), ids.len(), error) })
    }

    /// Makes the timeline exactly these ids: what it holds already of their beginning stays.
    pub fn sync_tokens(&mut self, ids: &[i32]) -> Result<()> {
        check(|error| unsafe { sys::dsv4_session_sync_tokens(self.raw(), ids.as_ptr(), ids.len(), error) })
    }

    /// By tokens: forgets all from `position` on.
    pub fn rewind(&mut self, position: u64) -> Result<()> {
        check(|error| unsafe { sys::dsv4_session_rewind(self.raw(), position, error) })
    }

    /// An independent session at the same place.
    pub fn fork(&self) -> Result<Session> {
        let mut raw = ptr::null_mut();
        check(|error| unsafe { sys::dsv4_session_fork(self.raw(), &mut raw, error) })?;
        Ok(Session::adopt(raw, self.model.clone()))
    }

    /// Makes it empty.
    pub fn clear(&mut self) -> Result<()> {
        check(|error| unsafe { sys::dsv4_session_clear(self.raw(), error) })
    }

    /// The token ids of the timeline so far.
    pub fn tokens(&self) -> Result<Vec<i32>> {
        collect(|ids, capacity, count, error| unsafe {
            sys::dsv4_session_tokens(self.raw(), ids, capacity, count, error)
        })
    }

    /// What it holds.
    pub fn info(&self) -> Result<SessionInfo> {
        let mut c = sys::dsv4_session_info { struct_size: size_of::<sys::dsv4_session_info>(), ..Default::default() };
        check(|error| unsafe { sys::dsv4_session_info_get(self.raw(), &mut c, error) })?;
        Ok(c.into())
    }

    /// Appends ids and evaluates everything that waits. Without ids, in a session driven by messages: the prompt of the
    /// conversation as it stands.
    pub fn eval(&mut self, ids: &[i32]) -> Result<()> {
        self.eval_with(ids, EvalOptions::new())
    }

    /// The same, with the logits of every new token.
    pub fn eval_with(&mut self, ids: &[i32], options: EvalOptions<'_>) -> Result<()> {
        let EvalOptions { logits, draft_logits, progress } = options;
        let mut c = initial(sys::dsv4_eval_options_init);
        if logits.is_some() || draft_logits.is_some() {
            let vocab = usize::try_from(self.model.info()?.vocab).unwrap_or(0);
            c.logits = room(logits, ids.len() * vocab);
            c.draft_logits = room(draft_logits, ids.len() * vocab);
        }
        let mut call = progress.map(|function| ProgressCall { function, panic: Panic::default() });
        if let Some(call) = &mut call {
            c.progress = Some(on_progress);
            c.progress_user = (call as *mut ProgressCall<'_>).cast();
        }
        let done = check(|error| unsafe { sys::dsv4_session_eval(self.raw(), ids.as_ptr(), ids.len(), &c, error) });
        if let Some(mut call) = call {
            call.panic.resume();
        }
        done
    }

    /// The logits after the newest evaluated token.
    pub fn logits(&self) -> Result<Vec<f32>> {
        collect(|logits, capacity, count, error| unsafe {
            sys::dsv4_session_logits(self.raw(), logits, capacity, count, error)
        })
    }

    /// Synthetic models only: behave as if `position` tokens had been evaluated.
    pub fn pretend(&mut self, position: u64) -> Result<()> {
        check(|error| unsafe { sys::dsv4_session_pretend(self.raw(), position, error) })
    }

    /// Generates a turn, whose events this iterator gives. The generation runs in the background, ahead of the iterator
    /// by some dozens of events; where each token is to be answered, use [`Session::generate_with`].
    ///
    /// An iterator that is dropped before its end cancels the turn, which keeps what was generated.
    pub fn generate(&mut self, options: &GenerateOptions) -> Result<Generation<'_>> {
        self.start(options)?;
        Ok(Generation::new(self))
    }

    /// Generates a turn on this thread; `on_event` is called with each event and answers it. If it panics, the turn is
    /// taken back and the panic goes on.
    ///
    /// ```
    /// # use dsv4::{Answer, Done, Event, GenerateOptions, Model, Role};
    /// # fn main() -> dsv4::Result<()> {
    /// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../samples/models/tiny");
    /// # let mut session = Model::open(folder)?.session()?;
    /// session.append(Role::User, "What can you do?")?;
    /// let mut text = String::new();
    /// let stats = session.generate_with(&GenerateOptions::new().temperature(0.0), |event| {
    ///     if let Event::Content(piece) = event {
    ///         text += &piece;
    ///     }
    ///     if text.len() > 20 { Answer::Stop } else { Answer::Continue }
    /// })?;
    /// assert_eq!(stats.reason, Done::Host);
    /// # Ok(())
    /// # }
    /// ```
    pub fn generate_with(&mut self, options: &GenerateOptions, on_event: impl FnMut(Event) -> Answer) -> Result<Stats> {
        options.with_c(|c| self.generate_c(c, on_event))
    }

    /// The same; before each token `edit` may change its logits. `false` ends the turn as [`Answer::Stop`] does.
    pub fn generate_with_logits<E: FnMut(&mut [f32]) -> bool>(
        &mut self,
        options: &GenerateOptions,
        on_event: impl FnMut(Event) -> Answer,
        edit: E,
    ) -> Result<Stats> {
        let mut call = LogitsCall { edit, panic: Panic::default() };
        let stats = options.with_c(|c| {
            c.logits = Some(on_logits::<E>);
            c.logits_user = (&mut call as *mut LogitsCall<E>).cast();
            self.generate_c(c, on_event)
        });
        call.panic.resume();
        stats
    }

    fn generate_c<F: FnMut(Event) -> Answer>(
        &mut self,
        options: &sys::dsv4_generate_options,
        on_event: F,
    ) -> Result<Stats> {
        let mut stats =
            sys::dsv4_generate_stats { struct_size: size_of::<sys::dsv4_generate_stats>(), ..Default::default() };
        let mut call = EventCall::new(on_event);
        let user = call.user();
        let done = check(|error| unsafe {
            sys::dsv4_session_generate(self.raw(), options, Some(event_call::<F>), user, &mut stats, error)
        });
        call.resume();
        done.map(|()| stats.into())
    }

    /// For hosts with a main loop: begins a turn and returns at once. The session is busy until [`Session::poll`] has
    /// handed over [`Event::Done`].
    pub fn start(&mut self, options: &GenerateOptions) -> Result<()> {
        options.with_c(|c| check(|error| unsafe { sys::dsv4_session_start(self.raw(), c, error) }))
    }

    /// Hands over up to `max_events` events and returns how many, after waiting for the first no longer than `timeout`.
    /// What is answered takes effect at the next event that is generated.
    pub fn poll<F: FnMut(Event) -> Answer>(
        &mut self,
        max_events: usize,
        timeout: Duration,
        on_event: F,
    ) -> Result<usize> {
        let milliseconds = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        let mut delivered = 0;
        let mut call = EventCall::new(on_event);
        let (raw, user) = (self.raw(), call.user());
        let done = check(|error| unsafe {
            let delivered = &mut delivered;
            sys::dsv4_session_poll(raw, Some(event_call::<F>), user, max_events, milliseconds, delivered, error)
        });
        call.resume();
        done.map(|()| delivered)
    }

    /// What ends this session's calls from elsewhere.
    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle(Arc::downgrade(&self.handle))
    }

    /// Writes the session to a file: `path` holds either what it held before or a whole snapshot.
    pub fn save_path(&self, path: impl AsRef<Path>, options: &SnapshotOptions) -> Result<()> {
        let (path, c) = (c_path(path.as_ref())?, options.c());
        check(|error| unsafe { sys::dsv4_session_save_path(self.raw(), path.as_ptr(), &c, error) })
    }

    /// Writes the session. An error of the writer comes back as [`Error::Stream`](crate::Error::Stream).
    ///
    /// ```
    /// # use dsv4::{Model, Role, SnapshotOptions};
    /// # fn main() -> dsv4::Result<()> {
    /// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../samples/models/tiny");
    /// # let model = Model::open(folder)?;
    /// let mut session = model.session()?;
    /// session.append(Role::System, "Answer briefly.")?;
    /// session.eval(&[])?;
    /// let mut bytes = Vec::new();
    /// session.save(&mut bytes, &SnapshotOptions::new())?;
    ///
    /// let mut other = model.session()?;
    /// other.restore(&mut bytes.as_slice())?;
    /// assert_eq!(other.tokens()?, session.tokens()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn save<W: Write + ?Sized>(&self, writer: &mut W, options: &SnapshotOptions) -> Result<()> {
        let c = options.c();
        let mut through = Through::new(writer);
        let user = through.user();
        let done = check(|error| unsafe { sys::dsv4_session_save(self.raw(), Some(write::<W>), user, &c, error) });
        through.finish(done)
    }

    /// The session becomes what the file says: all of it or, on an error, nothing.
    pub fn restore_path(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = c_path(path.as_ref())?;
        check(|error| unsafe { sys::dsv4_session_restore_path(self.raw(), path.as_ptr(), error) })
    }

    /// The same from a reader, which is asked for as many bytes as the snapshot has and no more.
    pub fn restore<R: Read + ?Sized>(&mut self, reader: &mut R) -> Result<()> {
        let mut through = Through::new(reader);
        let user = through.user();
        let done = check(|error| unsafe { sys::dsv4_session_restore(self.raw(), Some(read::<R>), user, error) });
        through.finish(done)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("info", &self.info().ok()).finish_non_exhaustive()
    }
}

fn room(out: Option<&mut Vec<f32>>, size: usize) -> *mut f32 {
    out.map_or(ptr::null_mut(), |out| {
        out.clear();
        out.resize(size, 0.0);
        out.as_mut_ptr()
    })
}

struct ProgressCall<'a> {
    function: Box<ProgressFunction<'a>>,
    panic: Panic,
}

unsafe extern "C" fn on_progress(user: *mut c_void, done: u64, total: u64) -> i32 {
    let ProgressCall { function, panic } = &mut *user.cast::<ProgressCall<'_>>();
    panic.catch(1, || !function(done, total) as i32)
}

struct LogitsCall<E> {
    edit: E,
    panic: Panic,
}

unsafe extern "C" fn on_logits<E: FnMut(&mut [f32]) -> bool>(user: *mut c_void, logits: *mut f32, vocab: usize) -> i32 {
    let LogitsCall { edit, panic } = &mut *user.cast::<LogitsCall<E>>();
    panic.catch(1, || !edit(slice::from_raw_parts_mut(logits, vocab)) as i32)
}
