use crate::call::{c_path, c_string, check, collect, collect_text, string, Panic};
use crate::options::LogFunction;
use crate::{
    Conversation, Error, Estimate, LayerInfo, LogLevel, ModelInfo, ModelOptions, RenderOptions, Result, Session,
    SessionOptions, VerbTime,
};
use dsv4_sys as sys;
use std::mem::size_of;
use std::os::raw::{c_char, c_void};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::{fmt, ptr};

/// An open checkpoint, its tokenizer and its prompt rules. Clones are the same model; any thread may use it.
///
/// ```
/// use dsv4::{Model, ModelOptions};
///
/// # fn main() -> dsv4::Result<()> {
/// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../samples/models/tiny");
/// let options = ModelOptions::new().backend("cpu").log(|level, text| eprintln!("{level:?}: {text}"));
/// let model = Model::open_with(folder, options)?;
/// let ids = model.tokenize("Hello!")?;
/// assert_eq!(model.detokenize(&ids)?, b"Hello!");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Model(Arc<Handle>);

struct Handle {
    raw: ptr::NonNull<sys::dsv4_model>,
    _log: Option<Box<Log>>, // which the library has the address of
}

// SAFETY: the library lets any threads use a model at once; the log is Send and Sync.
unsafe impl Send for Handle {}
unsafe impl Sync for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        unsafe { sys::dsv4_model_release(&mut self.raw.as_ptr()) };
    }
}

struct Log {
    function: Box<LogFunction>,
    panic: Mutex<Panic>,
}

impl Log {
    fn resume(&self) {
        let panicked = self.panic.lock().map(|mut panic| std::mem::take(&mut *panic));
        if let Ok(mut panic) = panicked {
            panic.resume();
        }
    }
}

struct Progress {
    function: Box<dyn FnMut(u64, u64) -> bool + Send>,
    panic: Panic,
}

unsafe extern "C" fn on_log(user: *mut c_void, level: i32, text: *const c_char) {
    let log = &*user.cast::<Log>();
    if let Ok(mut panic) = log.panic.lock() {
        panic.catch((), || (log.function)(LogLevel::of(level), &string(text)));
    }
}

unsafe extern "C" fn on_progress(user: *mut c_void, done: u64, total: u64) -> i32 {
    let Progress { function, panic } = &mut *user.cast::<Progress>();
    panic.catch(1, || !function(done, total) as i32)
}

const SPECIAL: u32 = sys::DSV4_TEXT_SPECIAL;

impl Model {
    /// Opens a checkpoint folder in the published layout, with the defaults. The weights are mapped, not read.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(folder, ModelOptions::new())
    }

    /// The same with options.
    pub fn open_with(folder: impl AsRef<Path>, options: ModelOptions) -> Result<Self> {
        let folder = c_path(folder.as_ref())?;
        Self::make(options, |c, raw, error| unsafe { sys::dsv4_model_open(folder.as_ptr(), c, raw, error) })
    }

    /// A model of a published shape ("flash", "pro") with random weights and without a tokenizer, for benchmarks.
    /// `layers` 0: all. Its weights take real memory.
    pub fn open_synthetic(shape: &str, layers: i32, seed: u64, options: ModelOptions) -> Result<Self> {
        let shape = c_string("shape", shape)?;
        Self::make(options, |c, raw, error| unsafe {
            sys::dsv4_model_open_synthetic(shape.as_ptr(), layers, seed, c, raw, error)
        })
    }

    fn make(
        mut options: ModelOptions,
        open: impl FnOnce(
            *const sys::dsv4_model_options,
            *mut *mut sys::dsv4_model,
            *mut *mut sys::dsv4_error,
        ) -> sys::dsv4_status,
    ) -> Result<Self> {
        let log = options.log.take().map(|function| Box::new(Log { function, panic: Mutex::default() }));
        let mut progress = options.progress.take().map(|function| Progress { function, panic: Panic::default() });
        let mut raw = ptr::null_mut();
        let opened = options.with_c(|c| {
            if let Some(log) = &log {
                c.log = Some(on_log);
                c.log_user = (&**log as *const Log as *mut Log).cast();
            }
            if let Some(progress) = &mut progress {
                c.progress = Some(on_progress);
                c.progress_user = (progress as *mut Progress).cast();
            }
            check(|error| open(c, &mut raw, error))
        });
        // First of all the handle, so that a panic that goes on releases it.
        let handle = ptr::NonNull::new(raw).map(|raw| Handle { raw, _log: None });
        if let Some(mut progress) = progress {
            progress.panic.resume();
        }
        if let Some(log) = &log {
            log.resume();
        }
        opened?;
        let mut handle = handle.expect("a handle, as the call succeeded");
        handle._log = log;
        Ok(Model(Arc::new(handle)))
    }

    /// What opening this checkpoint and one session of `context` tokens (0: the model's limit) would take, from
    /// `config.json` alone. The callbacks of the options count for nothing here.
    pub fn estimate(folder: impl AsRef<Path>, context: u64, options: &ModelOptions) -> Result<Estimate> {
        let folder = c_path(folder.as_ref())?;
        let mut c = sys::dsv4_estimate { struct_size: size_of::<sys::dsv4_estimate>(), ..Default::default() };
        options.with_c(|options| {
            check(|error| unsafe { sys::dsv4_model_estimate(folder.as_ptr(), options, context, &mut c, error) })
        })?;
        Ok(c.into())
    }

    /// What this model is.
    pub fn info(&self) -> Result<ModelInfo> {
        let mut c = sys::dsv4_model_info { struct_size: size_of::<sys::dsv4_model_info>(), ..Default::default() };
        check(|error| unsafe { sys::dsv4_model_info_get(self.raw(), &mut c, error) })?;
        // SAFETY: its strings live as long as the model.
        Ok(unsafe { ModelInfo::of(&c) })
    }

    /// Layer `index`, with the state of `context` tokens (0: the model's limit). Behind the last: the draft head's.
    pub fn layer_info(&self, index: i64, context: u64) -> Result<LayerInfo> {
        let mut c = sys::dsv4_layer_info { struct_size: size_of::<sys::dsv4_layer_info>(), ..Default::default() };
        check(|error| unsafe { sys::dsv4_model_layer_info(self.raw(), index, context, &mut c, error) })?;
        Ok(c.into())
    }

    /// With [`ModelOptions::time_verbs`]: every verb so far, in the order of its first call.
    pub fn verb_times(&self) -> Result<Vec<VerbTime>> {
        let mut times = Vec::new();
        loop {
            let mut c = sys::dsv4_verb_time { struct_size: size_of::<sys::dsv4_verb_time>(), ..Default::default() };
            match check(|error| unsafe { sys::dsv4_model_verb_time(self.raw(), times.len(), &mut c, error) }) {
                // SAFETY: its name is static.
                Ok(()) => times.push(unsafe { VerbTime::of(&c) }),
                Err(Error::NotFound(_)) => return Ok(times),
                Err(e) => return Err(e),
            }
        }
    }

    /// Begins again at nothing.
    pub fn clear_verb_times(&self) -> Result<()> {
        check(|error| unsafe { sys::dsv4_model_verb_times_clear(self.raw(), error) })
    }

    /// Multiply-adds a second that a matrix product in caches reaches on this machine now.
    pub fn matrix_peak(&self) -> Result<f64> {
        let mut peak = 0.0;
        check(|error| unsafe { sys::dsv4_model_matrix_peak(self.raw(), &mut peak, error) })?;
        Ok(peak)
    }

    /// Bytes a second at which the backend's device copies its own memory now; unsupported where that is the host's.
    pub fn copy_peak(&self) -> Result<f64> {
        let mut peak = 0.0;
        check(|error| unsafe { sys::dsv4_model_copy_peak(self.raw(), &mut peak, error) })?;
        Ok(peak)
    }

    /// The ids of a text, which never become control tokens.
    pub fn tokenize(&self, text: &str) -> Result<Vec<i32>> {
        self.tokenize_flags(text, 0)
    }

    /// The same, and text such as `<｜User｜>` may become a control token. Never for a stranger's text.
    pub fn tokenize_special(&self, text: &str) -> Result<Vec<i32>> {
        self.tokenize_flags(text, SPECIAL)
    }

    /// The bytes of tokens: one can end inside a UTF-8 character. Control tokens are left out.
    pub fn detokenize(&self, ids: &[i32]) -> Result<Vec<u8>> {
        self.detokenize_flags(ids, 0)
    }

    /// The same, and control tokens are written out.
    pub fn detokenize_special(&self, ids: &[i32]) -> Result<Vec<u8>> {
        self.detokenize_flags(ids, SPECIAL)
    }

    fn tokenize_flags(&self, text: &str, flags: u32) -> Result<Vec<i32>> {
        collect(|ids, capacity, count, error| unsafe {
            sys::dsv4_tokenize(self.raw(), text.as_ptr().cast(), text.len(), flags, ids, capacity, count, error)
        })
    }

    fn detokenize_flags(&self, ids: &[i32], flags: u32) -> Result<Vec<u8>> {
        collect(|text: *mut u8, capacity, length, error| unsafe {
            sys::dsv4_detokenize(self.raw(), ids.as_ptr(), ids.len(), flags, text.cast(), capacity, length, error)
        })
    }

    /// A conversation's prompt, as text.
    pub fn render(&self, conversation: &Conversation, options: &RenderOptions) -> Result<String> {
        let c = options.c();
        collect_text(|text, capacity, length, error| unsafe {
            sys::dsv4_render(self.raw(), conversation.raw(), &c, text, capacity, length, error)
        })
    }

    /// A conversation's prompt, as token ids. Text of the messages never becomes a control token.
    pub fn render_tokens(&self, conversation: &Conversation, options: &RenderOptions) -> Result<Vec<i32>> {
        let c = options.c();
        collect(|ids, capacity, count, error| unsafe {
            sys::dsv4_render_tokens(self.raw(), conversation.raw(), &c, ids, capacity, count, error)
        })
    }

    /// A new session, with the defaults. It keeps its model.
    pub fn session(&self) -> Result<Session> {
        self.session_with(&SessionOptions::new())
    }

    /// The same with options.
    pub fn session_with(&self, options: &SessionOptions) -> Result<Session> {
        let c = options.c();
        let mut raw = ptr::null_mut();
        check(|error| unsafe { sys::dsv4_session_create(self.raw(), &c, &mut raw, error) })?;
        Ok(Session::adopt(raw, self.clone()))
    }

    /// The C handle, for calls through [`sys`](crate::sys). It stays this model's: `dsv4_model_retain` makes one's own.
    pub fn raw(&self) -> *mut sys::dsv4_model {
        self.0.raw.as_ptr()
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Model").field(&self.info().map(|i| i.backend).unwrap_or_default()).finish()
    }
}
