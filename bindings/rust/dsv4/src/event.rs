use crate::call::{string, string_of};
use crate::Reasoning;
use dsv4_sys as sys;

/// What the model does, piece by piece.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// `done` of `total` prompt tokens are evaluated.
    Prefill {
        /// So many.
        done: u64,
        /// Of so many.
        total: u64,
    },
    /// The next piece of the reasoning.
    Reasoning(String),
    /// The next piece of the answer.
    Content(String),
    /// Something the host may want to know.
    Warning(String),
    /// A call begins: index, id and name are known.
    ToolCallBegin(ToolCall),
    /// The next piece of a call's arguments.
    ToolArguments {
        /// Whose.
        call: ToolCall,
        /// A piece of JSON.
        text: String,
    },
    /// A call is complete: its arguments are valid JSON. Answer it with
    /// [`Session::append_tool_result`](crate::Session::append_tool_result).
    ToolCall(ToolCall),
    /// Output that breaks the format, as the model wrote it.
    Malformed(String),
    /// One token ([`GenerateOptions::token_events`](crate::GenerateOptions::token_events)).
    Token(TokenInfo),
    /// Last of all.
    Done {
        /// Why.
        reason: Done,
        /// What it took; `None` from a [`Parser`](crate::Parser).
        stats: Option<Stats>,
    },
    /// An event that this version of the crate does not know.
    Other(i32),
}

/// Why a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Done {
    /// The model ended its turn.
    Stop,
    /// A stop string was met; it is not part of the text.
    StopString,
    /// `max_tokens`, or the context is full.
    Length,
    /// The callback answered [`Answer::Stop`].
    Host,
    /// A [`CancelHandle`](crate::CancelHandle), or [`Answer::TakeBack`].
    Cancelled,
    /// The model ended its turn with calls and waits for their results.
    ToolCalls,
    /// The model ended its turn, and part of it broke the format.
    Malformed,
    /// The callback answered [`Answer::Pause`].
    Paused,
    /// A reason that this version of the crate does not know.
    Other(i32),
}

impl Done {
    pub(crate) fn of(value: i32) -> Self {
        match value {
            sys::DSV4_DONE_STOP => Done::Stop,
            sys::DSV4_DONE_STOP_STRING => Done::StopString,
            sys::DSV4_DONE_LENGTH => Done::Length,
            sys::DSV4_DONE_HOST => Done::Host,
            sys::DSV4_DONE_CANCELLED => Done::Cancelled,
            sys::DSV4_DONE_TOOL_CALLS => Done::ToolCalls,
            sys::DSV4_DONE_MALFORMED => Done::Malformed,
            sys::DSV4_DONE_PAUSED => Done::Paused,
            other => Done::Other(other),
        }
    }

    pub(crate) fn c(self) -> i32 {
        match self {
            Done::Stop => sys::DSV4_DONE_STOP,
            Done::StopString => sys::DSV4_DONE_STOP_STRING,
            Done::Length => sys::DSV4_DONE_LENGTH,
            Done::Host => sys::DSV4_DONE_HOST,
            Done::Cancelled => sys::DSV4_DONE_CANCELLED,
            Done::ToolCalls => sys::DSV4_DONE_TOOL_CALLS,
            Done::Malformed => sys::DSV4_DONE_MALFORMED,
            Done::Paused => sys::DSV4_DONE_PAUSED,
            Done::Other(value) => value,
        }
    }

    /// "stop", "stop_string", "length" ...
    pub fn name(self) -> String {
        // SAFETY: a static string for any value.
        unsafe { string(sys::dsv4_done_name(self.c())) }
    }
}

/// What a callback answers to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Answer {
    /// Go on.
    Continue = sys::DSV4_CONTINUE,
    /// End here and keep what was generated.
    Stop = sys::DSV4_STOP,
    /// End here and take the whole turn back: the timeline is as it was before the call.
    TakeBack = sys::DSV4_CANCEL,
    /// End this call here; [`GenerateOptions::resume`](crate::GenerateOptions::resume) goes on.
    Pause = sys::DSV4_PAUSE,
}

/// A call that the model makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ToolCall {
    /// In the turn, from 0.
    pub index: u64,
    /// What the tool's result refers to.
    pub id: String,
    /// Of the tool.
    pub name: String,
    /// [`Event::ToolCall`]: a JSON object; "" before.
    pub arguments: String,
}

/// A token and how probable it was.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct TokenLogprob {
    /// Its id.
    pub token: i32,
    /// Natural logarithm of the model's own probability, before any option of sampling.
    pub logprob: f64,
}

/// A token of the turn.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TokenInfo {
    /// Its id.
    pub token: i32,
    /// Put there by the library, not drawn.
    pub forced: bool,
    /// See [`TokenLogprob::logprob`].
    pub logprob: f64,
    /// The most probable, best first.
    pub top: Vec<TokenLogprob>,
}

/// What a turn took.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Of the whole prompt.
    pub prompt_tokens: u64,
    /// Of them, already in the state.
    pub reused_tokens: u64,
    /// The one that ended the turn included.
    pub generated_tokens: u64,
    /// Of them, inside the reasoning.
    pub reasoning_tokens: u64,
    /// For the prompt.
    pub prefill_seconds: f64,
    /// For the answer.
    pub decode_seconds: f64,
    /// The one in use.
    pub seed: u64,
    /// The mode in use.
    pub reasoning: Reasoning,
    /// Why it ended.
    pub reason: Done,
    /// Complete ones.
    pub tool_calls: u64,
    /// The limit in force.
    pub max_tokens: u64,
    /// The reasoning was ended by the library: the budget was used up.
    pub reasoning_closed: bool,
}

impl From<sys::dsv4_generate_stats> for Stats {
    fn from(c: sys::dsv4_generate_stats) -> Self {
        Stats {
            prompt_tokens: c.prompt_tokens,
            reused_tokens: c.reused_tokens,
            generated_tokens: c.generated_tokens,
            reasoning_tokens: c.reasoning_tokens,
            prefill_seconds: c.prefill_seconds,
            decode_seconds: c.decode_seconds,
            seed: c.seed,
            reasoning: Reasoning::of(c.reasoning),
            reason: Done::of(c.reason),
            tool_calls: c.tool_calls,
            max_tokens: c.max_tokens,
            reasoning_closed: c.reasoning_closed != 0,
        }
    }
}

impl Event {
    /// A copy of the library's event.
    ///
    /// # Safety
    /// An event that the library is handing over.
    pub(crate) unsafe fn of(event: &sys::dsv4_event) -> Self {
        let text = || string_of(event.text, event.text_length);
        match event.r#type {
            sys::DSV4_EVENT_PREFILL => Event::Prefill { done: event.done, total: event.total },
            sys::DSV4_EVENT_REASONING => Event::Reasoning(text()),
            sys::DSV4_EVENT_CONTENT => Event::Content(text()),
            sys::DSV4_EVENT_WARNING => Event::Warning(text()),
            sys::DSV4_EVENT_MALFORMED => Event::Malformed(text()),
            sys::DSV4_EVENT_DONE => {
                Event::Done { reason: Done::of(event.reason), stats: event.stats.as_ref().map(|s| Stats::from(*s)) }
            }
            sys::DSV4_EVENT_TOOL_CALL_BEGIN => Event::ToolCallBegin(call_of(event.call)),
            sys::DSV4_EVENT_TOOL_ARGUMENTS => Event::ToolArguments { call: call_of(event.call), text: text() },
            sys::DSV4_EVENT_TOOL_CALL => Event::ToolCall(call_of(event.call)),
            sys::DSV4_EVENT_TOKEN if !event.token.is_null() => Event::Token(token_of(&*event.token)),
            other => Event::Other(other),
        }
    }
}

unsafe fn call_of(call: *const sys::dsv4_tool_call) -> ToolCall {
    call.as_ref().map_or_else(ToolCall::default, |c| ToolCall {
        index: c.index,
        id: string(c.id),
        name: string(c.name),
        arguments: string_of(c.arguments, c.arguments_length),
    })
}

unsafe fn token_of(token: &sys::dsv4_token_info) -> TokenInfo {
    let top = match token.top_count {
        0 => &[],
        count => std::slice::from_raw_parts(token.top, count),
    };
    TokenInfo {
        token: token.token,
        forced: token.forced != 0,
        logprob: token.logprob,
        top: top.iter().map(|t| TokenLogprob { token: t.token, logprob: t.logprob }).collect(),
    }
}
