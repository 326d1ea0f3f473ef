//! Options, each set by a method of its name; what is not set is the library's default.

use crate::call::{c_string, pointer_of};
use crate::{LogLevel, Profile, Reasoning, Result};
use dsv4_sys as sys;
use std::ffi::CString;
use std::fmt;
use std::mem::{size_of, MaybeUninit};
use std::os::raw::c_char;

/// A struct as the library's own init function sets it up.
pub(crate) fn initial<T>(init: unsafe extern "C" fn(*mut T, usize)) -> T {
    let mut options = MaybeUninit::<T>::zeroed();
    // SAFETY: it sets the first size_of::<T>() bytes, which are zero to begin with.
    unsafe {
        init(options.as_mut_ptr(), size_of::<T>());
        options.assume_init()
    }
}

pub(crate) type LogFunction = dyn Fn(LogLevel, &str) + Send + Sync;
pub(crate) type ProgressFunction<'a> = dyn FnMut(u64, u64) -> bool + 'a;

/// How [`Model::open_with`](crate::Model::open_with) opens a checkpoint.
#[derive(Default)]
pub struct ModelOptions {
    backend: Option<String>,
    isa: Option<String>,
    threads: i32,
    profile: Option<Profile>,
    flags: u32,
    max_step_rows: i32,
    host_memory_limit: u64,
    device_memory_limit: u64,
    device: i32,
    pub(crate) log: Option<Box<LogFunction>>,
    pub(crate) progress: Option<Box<dyn FnMut(u64, u64) -> bool + Send>>,
}

impl ModelOptions {
    /// The library's defaults.
    pub fn new() -> Self {
        Self::default()
    }
    /// "auto", "cuda", "cpu" or "reference".
    pub fn backend(mut self, name: impl Into<String>) -> Self {
        self.backend = Some(name.into());
        self
    }
    /// cpu backend: one of [`BuildInfo::isa`](crate::BuildInfo::isa) instead of the best.
    pub fn isa(mut self, name: impl Into<String>) -> Self {
        self.isa = Some(name.into());
        self
    }
    /// cpu backend: how many; 0 for all usable cores.
    pub fn threads(mut self, count: i32) -> Self {
        self.threads = count;
        self
    }
    /// Which prompt rules, instead of those found from `config.json`.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = Some(profile);
        self
    }
    /// Open the language part of a vision checkpoint.
    pub fn text_only(self, on: bool) -> Self {
        self.flag(sys::DSV4_OPEN_TEXT_ONLY, on)
    }
    /// Check every scale byte and table entry now, which reads part of every shard.
    pub fn verify(self, on: bool) -> Self {
        self.flag(sys::DSV4_OPEN_VERIFY, on)
    }
    /// Measure what every verb of the backend costs: [`Model::verb_times`](crate::Model::verb_times).
    pub fn time_verbs(self, on: bool) -> Self {
        self.flag(sys::DSV4_OPEN_TIME_VERBS, on)
    }
    /// Tokens evaluated at once in prefill, at most.
    pub fn max_step_rows(mut self, rows: i32) -> Self {
        self.max_step_rows = rows;
        self
    }
    /// Bytes for this model's sessions together; 0: no limit.
    pub fn host_memory_limit(mut self, bytes: u64) -> Self {
        self.host_memory_limit = bytes;
        self
    }
    /// cuda backend: bytes of GPU memory for everything together; 0: no limit.
    pub fn device_memory_limit(mut self, bytes: u64) -> Self {
        self.device_memory_limit = bytes;
        self
    }
    /// cuda backend: which GPU, as the CUDA runtime counts.
    pub fn device(mut self, index: i32) -> Self {
        self.device = index;
        self
    }
    /// Is told what happens; lives as long as the model.
    pub fn log(mut self, log: impl Fn(LogLevel, &str) + Send + Sync + 'static) -> Self {
        self.log = Some(Box::new(log));
        self
    }
    /// Is told `done` of `total` while the model opens; `false` gives up with [`Error::Cancelled`](crate::Error).
    pub fn progress(mut self, progress: impl FnMut(u64, u64) -> bool + Send + 'static) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    fn flag(mut self, bit: u32, on: bool) -> Self {
        self.flags = if on { self.flags | bit } else { self.flags & !bit };
        self
    }

    /// `call` with the C struct, without the callbacks, and all that it points to.
    pub(crate) fn with_c<R>(&self, call: impl FnOnce(&mut sys::dsv4_model_options) -> Result<R>) -> Result<R> {
        let backend = self.backend.as_deref().map(|s| c_string("backend", s)).transpose()?;
        let isa = self.isa.as_deref().map(|s| c_string("isa", s)).transpose()?;
        let mut c = initial(sys::dsv4_model_options_init);
        c.backend = pointer_of(&backend);
        c.isa = pointer_of(&isa);
        c.threads = self.threads;
        c.profile = self.profile.unwrap_or(Profile::Auto) as i32;
        c.flags = self.flags;
        c.max_step_rows = self.max_step_rows;
        c.host_memory_limit = self.host_memory_limit;
        c.device_memory_limit = self.device_memory_limit;
        c.device = self.device;
        call(&mut c)
    }
}

impl fmt::Debug for ModelOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("ModelOptions");
        f.field("backend", &self.backend).field("isa", &self.isa).field("threads", &self.threads);
        f.finish_non_exhaustive()
    }
}

/// How [`Model::session_with`](crate::Model::session_with) makes a session.
#[derive(Clone, Debug, Default)]
pub struct SessionOptions {
    context: u64,
    draft: bool,
    prefill_chunk: i32,
    checkpoints: i32,
}

impl SessionOptions {
    /// The library's defaults.
    pub fn new() -> Self {
        Self::default()
    }
    /// Tokens it can hold; 0: the smaller of the model's limit and 8192.
    pub fn context(mut self, tokens: u64) -> Self {
        self.context = tokens;
        self
    }
    /// Keep the MTP head in step, for [`EvalOptions::draft_logits`].
    pub fn draft(mut self, on: bool) -> Self {
        self.draft = on;
        self
    }
    /// Tokens evaluated at once.
    pub fn prefill_chunk(mut self, tokens: i32) -> Self {
        self.prefill_chunk = tokens;
        self
    }
    /// Places inside the session to which it can go back quickly; 0: 8, -1: none.
    pub fn checkpoints(mut self, count: i32) -> Self {
        self.checkpoints = count;
        self
    }

    pub(crate) fn c(&self) -> sys::dsv4_session_options {
        let mut c = initial(sys::dsv4_session_options_init);
        c.context = self.context;
        c.flags = if self.draft { sys::DSV4_SESSION_DRAFT } else { 0 };
        c.prefill_chunk = self.prefill_chunk;
        c.checkpoints = self.checkpoints;
        c
    }
}

/// How a conversation becomes a prompt.
#[derive(Clone, Debug, Default)]
pub struct RenderOptions {
    reasoning: Option<Reasoning>,
    profile: Option<Profile>,
}

impl RenderOptions {
    /// The library's defaults.
    pub fn new() -> Self {
        Self::default()
    }
    /// The mode that the prompt asks for.
    pub fn reasoning(mut self, mode: Reasoning) -> Self {
        self.reasoning = Some(mode);
        self
    }
    /// Other rules than the model's.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = Some(profile);
        self
    }

    pub(crate) fn c(&self) -> sys::dsv4_render_options {
        let mut c = initial(sys::dsv4_render_options_init);
        c.reasoning = self.reasoning.map_or(c.reasoning, |m| m as i32);
        c.profile = self.profile.map_or(c.profile, |p| p as i32);
        c
    }
}

/// How a snapshot is written.
#[derive(Clone, Debug, Default)]
pub struct SnapshotOptions {
    level: i32,
    uncompressed: bool,
}

impl SnapshotOptions {
    /// The library's defaults.
    pub fn new() -> Self {
        Self::default()
    }
    /// zstd's level, -7 (fastest) to 19 (smallest).
    pub fn level(mut self, level: i32) -> Self {
        self.level = level;
        self
    }
    /// Store everything as it is.
    pub fn uncompressed(mut self, on: bool) -> Self {
        self.uncompressed = on;
        self
    }

    pub(crate) fn c(&self) -> sys::dsv4_snapshot_options {
        let mut c = initial(sys::dsv4_snapshot_options_init);
        c.level = self.level;
        c.uncompressed = self.uncompressed as i32;
        c
    }
}

/// What [`Session::eval_with`](crate::Session::eval_with) puts out beside evaluating.
#[derive(Default)]
pub struct EvalOptions<'a> {
    pub(crate) logits: Option<&'a mut Vec<f32>>,
    pub(crate) draft_logits: Option<&'a mut Vec<f32>>,
    pub(crate) progress: Option<Box<ProgressFunction<'a>>>,
}

impl<'a> EvalOptions<'a> {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }
    /// `out` becomes `[ids, vocab]`: row i predicts what follows `ids[i]`.
    pub fn logits(mut self, out: &'a mut Vec<f32>) -> Self {
        self.logits = Some(out);
        self
    }
    /// The same of the MTP head; the row of position 0 stays zero.
    pub fn draft_logits(mut self, out: &'a mut Vec<f32>) -> Self {
        self.draft_logits = Some(out);
        self
    }
    /// Is told how many tokens are `done` of `total`; `false` cancels.
    pub fn progress(mut self, progress: impl FnMut(u64, u64) -> bool + 'a) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }
}

impl fmt::Debug for EvalOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EvalOptions").finish_non_exhaustive()
    }
}

/// Where a [`Parser`](crate::Parser)'s output begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Start {
    /// In the answer.
    Content = sys::DSV4_START_CONTENT,
    /// In the reasoning: the prompt ends with `<think>`.
    Reasoning = sys::DSV4_START_REASONING,
    /// In a block of calls, as a required call's does.
    ToolCalls = sys::DSV4_START_TOOL_CALLS,
}

/// How a [`Parser`](crate::Parser) reads.
#[derive(Clone, Debug, Default)]
pub struct ParserOptions {
    start: Option<Start>,
    stop: Vec<String>,
}

impl ParserOptions {
    /// From the beginning of an answer, without stop strings.
    pub fn new() -> Self {
        Self::default()
    }
    /// Where the output begins.
    pub fn start(mut self, start: Start) -> Self {
        self.start = Some(start);
        self
    }
    /// One more stop string.
    pub fn stop(mut self, text: impl Into<String>) -> Self {
        self.stop.push(text.into());
        self
    }

    pub(crate) fn with_c<R>(&self, call: impl FnOnce(&sys::dsv4_parser_options) -> Result<R>) -> Result<R> {
        let stop = CStrings::of("stop", &self.stop)?;
        let mut c = initial(sys::dsv4_parser_options_init);
        c.start = self.start.map_or(c.start, |s| s as i32);
        c.stop = stop.pointers.as_ptr();
        c.stop_count = stop.pointers.len();
        call(&c)
    }
}

/// A list of strings as C takes it.
struct CStrings {
    pointers: Vec<*const c_char>,
    _strings: Vec<CString>,
}

impl CStrings {
    fn of(what: &str, strings: &[String]) -> Result<Self> {
        let strings = strings.iter().map(|s| c_string(what, s.as_str())).collect::<Result<Vec<_>>>()?;
        Ok(CStrings { pointers: strings.iter().map(|s| s.as_ptr()).collect(), _strings: strings })
    }
}

#[derive(Clone, Debug)]
enum ToolChoice {
    Fixed(i32),
    Named(String),
}

/// How a turn is generated.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    c: Settings,
    stop: Vec<String>,
    bias: Vec<(i32, f32)>,
    tool_choice: ToolChoice,
    grammar: (i32, Option<String>),
}

/// The fields that are numbers, as the C struct has them.
#[derive(Clone, Copy)]
struct Settings(sys::dsv4_generate_options);

// SAFETY: none of its pointers is ever set here.
unsafe impl Send for Settings {}
unsafe impl Sync for Settings {}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Settings");
        f.field("temperature", &self.0.temperature).field("seed", &self.0.seed);
        f.field("max_tokens", &self.0.max_tokens).finish_non_exhaustive()
    }
}

impl Default for GenerateOptions {
    fn default() -> Self {
        GenerateOptions {
            c: Settings(initial(sys::dsv4_generate_options_init)),
            stop: Vec::new(),
            bias: Vec::new(),
            tool_choice: ToolChoice::Fixed(sys::DSV4_TOOL_CHOICE_DEFAULT),
            grammar: (sys::DSV4_GRAMMAR_NONE, None),
        }
    }
}

impl GenerateOptions {
    /// The library's defaults: temperature 1, the profile's reasoning, until the turn ends.
    pub fn new() -> Self {
        Self::default()
    }
    /// How much to think. Sessions driven by messages only.
    pub fn reasoning(mut self, mode: Reasoning) -> Self {
        self.c.0.reasoning = mode as i32;
        self
    }
    /// Tokens of reasoning after which the library ends it and the answer follows; 0: no limit.
    pub fn reasoning_budget(mut self, tokens: u64) -> Self {
        self.c.0.reasoning_budget = tokens;
        self
    }
    /// 0: greedy.
    pub fn temperature(mut self, value: f64) -> Self {
        self.c.0.temperature = value;
        self
    }
    /// 0: off.
    pub fn top_k(mut self, count: i32) -> Self {
        self.c.0.top_k = count;
        self
    }
    /// 0 or 1: off.
    pub fn top_p(mut self, value: f64) -> Self {
        self.c.0.top_p = value;
        self
    }
    /// 0: off.
    pub fn min_p(mut self, value: f64) -> Self {
        self.c.0.min_p = value;
        self
    }
    /// 0: a fresh one, reported in [`Stats::seed`](crate::Stats::seed).
    pub fn seed(mut self, value: u64) -> Self {
        self.c.0.seed = value;
        self
    }
    /// Of the whole turn; 0: the profile's own limit, else as many as the context holds.
    pub fn max_tokens(mut self, count: u64) -> Self {
        self.c.0.max_tokens = count;
        self
    }
    /// 0 or 1: off.
    pub fn repetition_penalty(mut self, value: f64) -> Self {
        self.c.0.repetition_penalty = value;
        self
    }
    /// -2 to 2.
    pub fn presence_penalty(mut self, value: f64) -> Self {
        self.c.0.presence_penalty = value;
        self
    }
    /// -2 to 2.
    pub fn frequency_penalty(mut self, value: f64) -> Self {
        self.c.0.frequency_penalty = value;
        self
    }
    /// The penalties count this many of the newest tokens; 0: all.
    pub fn penalty_window(mut self, tokens: u64) -> Self {
        self.c.0.penalty_window = tokens;
        self
    }
    /// One more token whose logit is changed; `-INFINITY`: never.
    pub fn logit_bias(mut self, token: i32, bias: f32) -> Self {
        self.bias.push((token, bias));
        self
    }
    /// One more stop string. They count in the answer's text, not in reasoning or calls.
    pub fn stop(mut self, text: impl Into<String>) -> Self {
        self.stop.push(text.into());
        self
    }
    /// An event [`Token`](crate::Event::Token) for each token.
    pub fn token_events(mut self, on: bool) -> Self {
        self.c.0.token_events = on as i32;
        self
    }
    /// Switches `token_events` on, each with this many of the most probable tokens: 0 to 20.
    pub fn top_logprobs(mut self, count: i32) -> Self {
        self.c.0.top_logprobs = count;
        self.token_events(true)
    }
    /// The model decides whether to call.
    pub fn tools_auto(self) -> Self {
        self.choose(ToolChoice::Fixed(sys::DSV4_TOOL_CHOICE_AUTO))
    }
    /// No tools in the prompt.
    pub fn tools_none(self) -> Self {
        self.choose(ToolChoice::Fixed(sys::DSV4_TOOL_CHOICE_NONE))
    }
    /// One call or several; with reasoning `None` only.
    pub fn tools_required(self) -> Self {
        self.choose(ToolChoice::Fixed(sys::DSV4_TOOL_CHOICE_REQUIRED))
    }
    /// One call of this tool; with reasoning `None` only.
    pub fn tool_named(self, name: impl Into<String>) -> Self {
        self.choose(ToolChoice::Named(name.into()))
    }
    /// The answer is any JSON object.
    pub fn json(mut self) -> Self {
        self.grammar = (sys::DSV4_GRAMMAR_JSON, None);
        self
    }
    /// The answer keeps to a JSON schema.
    pub fn json_schema(self, schema: impl Into<String>) -> Self {
        self.constrain(sys::DSV4_GRAMMAR_JSON_SCHEMA, schema.into())
    }
    /// The answer keeps to EBNF as in GBNF; its rule `root` is the answer.
    pub fn ebnf(self, grammar: impl Into<String>) -> Self {
        self.constrain(sys::DSV4_GRAMMAR_EBNF, grammar.into())
    }
    /// The whole answer matches a regular expression.
    pub fn regex(self, expression: impl Into<String>) -> Self {
        self.constrain(sys::DSV4_GRAMMAR_REGEX, expression.into())
    }
    /// Go on with the turn that was interrupted.
    pub fn resume(mut self, on: bool) -> Self {
        self.c.0.resume = on as i32;
        self
    }

    fn choose(mut self, choice: ToolChoice) -> Self {
        self.tool_choice = choice;
        self
    }
    fn constrain(mut self, kind: i32, grammar: String) -> Self {
        self.grammar = (kind, Some(grammar));
        self
    }

    pub(crate) fn with_c<R>(&self, call: impl FnOnce(&mut sys::dsv4_generate_options) -> Result<R>) -> Result<R> {
        let stop = CStrings::of("stop", &self.stop)?;
        let bias: Vec<_> = self.bias.iter().map(|&(token, bias)| sys::dsv4_logit_bias { token, bias }).collect();
        let (choice, name) = match &self.tool_choice {
            ToolChoice::Fixed(choice) => (*choice, None),
            ToolChoice::Named(name) => (sys::DSV4_TOOL_CHOICE_NAMED, Some(c_string("tool_name", name.as_str())?)),
        };
        let grammar = self.grammar.1.as_deref().map(|g| c_string("grammar", g)).transpose()?;
        let mut c = self.c.0;
        c.stop = stop.pointers.as_ptr();
        c.stop_count = stop.pointers.len();
        c.logit_bias = bias.as_ptr();
        c.logit_bias_count = bias.len();
        c.tool_choice = choice;
        c.tool_name = pointer_of(&name);
        c.grammar_kind = self.grammar.0;
        c.grammar = pointer_of(&grammar);
        call(&mut c)
    }
}
