//! `include/dsv4.h` in Rust: the same names, the same layouts, and nothing else. What each item means is said in the
//! header. `tests/layout_against_c.rs` holds every struct, constant and function to what the C compiler makes of it.
//!
//! Callbacks must not unwind into C: catch panics in them. The crate `dsv4` does, and is what most programs want.

#![allow(non_camel_case_types)]

mod sys_functions;

use std::marker::{PhantomData, PhantomPinned};
pub use std::os::raw::{c_char, c_void};
pub use sys_functions::*;

macro_rules! opaque {
    ($($name:ident)*) => {$(
        /// A handle of the library, only ever seen through a pointer.
        #[repr(C)]
        pub struct $name {
            _data: [u8; 0],
            _not_send_sync_unpin: PhantomData<(*mut u8, PhantomPinned)>,
        }
    )*};
}

opaque!(dsv4_error dsv4_model dsv4_conversation dsv4_session dsv4_parser);

// ------------------------------------------------------------------------------------------------------------ enums

pub type dsv4_status = i32;

macro_rules! constants {
    ($($kind:ty { $($name:ident = $value:expr),* $(,)? })*) => {
        $($(pub const $name: $kind = $value;)*)*
        /// Every constant of the header with its value, for the test of this crate.
        #[doc(hidden)]
        pub const ALL_CONSTANTS: &[(&str, i64)] = &[$($((stringify!($name), $name as i64)),*),*];
    };
}

constants! {
    u32 { DSV4_VERSION_MAJOR = 0, DSV4_VERSION_MINOR = 1, DSV4_VERSION_PATCH = 0 }
    dsv4_status {
        DSV4_OK = 0,
        DSV4_E_INVALID_ARGUMENT = 1,
        DSV4_E_UNSUPPORTED = 2,
        DSV4_E_NOT_FOUND = 3,
        DSV4_E_IO = 4,
        DSV4_E_CORRUPT = 5,
        DSV4_E_INCOMPATIBLE = 6,
        DSV4_E_OUT_OF_MEMORY_HOST = 7,
        DSV4_E_OUT_OF_MEMORY_DEVICE = 8,
        DSV4_E_DEVICE_LOST = 9,
        DSV4_E_BUSY = 10,
        DSV4_E_CONTEXT_FULL = 11,
        DSV4_E_CANCELLED = 12,
        DSV4_E_INTERNAL = 13,
    }
    usize { DSV4_NUL_TERMINATED = usize::MAX }
    i32 { DSV4_PROFILE_AUTO = 0, DSV4_PROFILE_PREVIEW = 1, DSV4_PROFILE_0731 = 2 }
    i32 { DSV4_LOG_DEBUG = 0, DSV4_LOG_INFO = 1, DSV4_LOG_WARNING = 2, DSV4_LOG_ERROR = 3 }
    u32 { DSV4_OPEN_TEXT_ONLY = 1, DSV4_OPEN_VERIFY = 2, DSV4_OPEN_TIME_VERBS = 4 }
    i32 {
        DSV4_REASONING_DEFAULT = 0,
        DSV4_REASONING_NONE = 1,
        DSV4_REASONING_LOW = 2,
        DSV4_REASONING_HIGH = 3,
        DSV4_REASONING_MAX = 4,
    }
    u32 { DSV4_TEXT_SPECIAL = 1 }
    i32 {
        DSV4_ROLE_SYSTEM = 1,
        DSV4_ROLE_USER = 2,
        DSV4_ROLE_ASSISTANT = 3,
        DSV4_ROLE_TOOL = 4,
        DSV4_ROLE_DEVELOPER = 5,
        DSV4_ROLE_LATEST_REMINDER = 6,
    }
    u32 { DSV4_SESSION_DRAFT = 1 }
    i32 { DSV4_DRIVEN_NOT_YET = 0, DSV4_DRIVEN_BY_MESSAGES = 1, DSV4_DRIVEN_BY_TOKENS = 2 }
    i32 {
        DSV4_EVENT_PREFILL = 1,
        DSV4_EVENT_REASONING = 2,
        DSV4_EVENT_CONTENT = 3,
        DSV4_EVENT_WARNING = 4,
        DSV4_EVENT_DONE = 5,
        DSV4_EVENT_TOOL_CALL_BEGIN = 6,
        DSV4_EVENT_TOOL_ARGUMENTS = 7,
        DSV4_EVENT_TOOL_CALL = 8,
        DSV4_EVENT_MALFORMED = 9,
        DSV4_EVENT_TOKEN = 10,
    }
    i32 {
        DSV4_DONE_NONE = 0,
        DSV4_DONE_STOP = 1,
        DSV4_DONE_STOP_STRING = 2,
        DSV4_DONE_LENGTH = 3,
        DSV4_DONE_HOST = 4,
        DSV4_DONE_CANCELLED = 5,
        DSV4_DONE_TOOL_CALLS = 6,
        DSV4_DONE_MALFORMED = 7,
        DSV4_DONE_PAUSED = 8,
    }
    i32 { DSV4_CONTINUE = 0, DSV4_STOP = 1, DSV4_CANCEL = 2, DSV4_PAUSE = 3 }
    i32 {
        DSV4_TOOL_CHOICE_DEFAULT = 0,
        DSV4_TOOL_CHOICE_AUTO = 1,
        DSV4_TOOL_CHOICE_NONE = 2,
        DSV4_TOOL_CHOICE_REQUIRED = 3,
        DSV4_TOOL_CHOICE_NAMED = 4,
    }
    i32 {
        DSV4_GRAMMAR_NONE = 0,
        DSV4_GRAMMAR_JSON = 1,
        DSV4_GRAMMAR_JSON_SCHEMA = 2,
        DSV4_GRAMMAR_EBNF = 3,
        DSV4_GRAMMAR_REGEX = 4,
    }
    i32 { DSV4_START_CONTENT = 0, DSV4_START_REASONING = 1, DSV4_START_TOOL_CALLS = 2 }
}

// -------------------------------------------------------------------------------------------------------- callbacks

macro_rules! callbacks {
    ($($name:ident = fn($($argument:ident: $kind:ty),*) -> $result:ty;)*) => {
        $(pub type $name = unsafe extern "C" fn($($argument: $kind),*) -> $result;)*
        #[doc(hidden)]
        pub const ALL_CALLBACKS: &[Signature] =
            &[$(Signature {
                name: stringify!($name),
                arguments: &[$(stringify!($kind)),*],
                result: stringify!($result),
            }),*];
    };
}

callbacks! {
    dsv4_log_fn = fn(user: *mut c_void, level: i32, text: *const c_char) -> ();
    dsv4_progress_fn = fn(user: *mut c_void, done: u64, total: u64) -> i32;
    dsv4_event_fn = fn(user: *mut c_void, event: *const dsv4_event) -> i32;
    dsv4_logits_fn = fn(user: *mut c_void, logits: *mut f32, vocab: usize) -> i32;
    dsv4_write_fn = fn(user: *mut c_void, data: *const c_void, size: usize) -> i32;
    dsv4_read_fn = fn(user: *mut c_void, data: *mut c_void, size: usize) -> i64;
}

// ---------------------------------------------------------------------------------------------------------- structs

macro_rules! structs {
    ($($name:ident { $($field:ident: $kind:ty),* $(,)? })*) => {
        $(
            #[repr(C)]
            #[derive(Clone, Copy)]
            pub struct $name {
                $(pub $field: $kind,)*
            }

            impl Default for $name {
                /// All zero. Set `struct_size` of a result that is to be filled; begin options with their `*_init`
                /// function instead.
                fn default() -> Self {
                    // SAFETY: integers, floats, raw pointers and Options of function pointers may all be zero.
                    unsafe { std::mem::zeroed() }
                }
            }
        )*
        /// Every struct of the header as this crate lays it out.
        #[doc(hidden)]
        pub fn all_structs() -> Vec<Layout> {
            vec![$({
                let zero = $name::default();
                let start = &zero as *const $name as usize;
                Layout {
                    name: stringify!($name),
                    size: std::mem::size_of::<$name>(),
                    align: std::mem::align_of::<$name>(),
                    fields: vec![$(Field {
                        name: stringify!($field),
                        kind: stringify!($kind),
                        offset: std::ptr::addr_of!(zero.$field) as usize - start,
                        size: std::mem::size_of::<$kind>(),
                    }),*],
                }
            }),*]
        }
    };
}

structs! {
    dsv4_build_info {
        struct_size: usize,
        version: *const c_char,
        backends: *const c_char,
        onednn: *const c_char,
        cuda: *const c_char,
        isa: *const c_char,
        compiler: *const c_char,
        cuda_reason: *const c_char,
    }
    dsv4_model_options {
        struct_size: usize,
        backend: *const c_char,
        isa: *const c_char,
        threads: i32,
        profile: i32,
        flags: u32,
        max_step_rows: i32,
        host_memory_limit: u64,
        log: Option<dsv4_log_fn>,
        log_user: *mut c_void,
        progress: Option<dsv4_progress_fn>,
        progress_user: *mut c_void,
        device_memory_limit: u64,
        device: i32,
        reserved0: i32,
    }
    dsv4_estimate {
        struct_size: usize,
        weight_bytes: u64,
        state_bytes: u64,
        workspace_bytes: u64,
        available_host_bytes: u64,
        fits: i32,
        reserved0: i32,
        available_device_bytes: u64,
    }
    dsv4_model_info {
        struct_size: usize,
        fingerprint: u64,
        weight_bytes: u64,
        token_weight_bytes: u64,
        max_context: u64,
        vocab: i64,
        hidden: i64,
        layers: i64,
        heads: i64,
        head_dim: i64,
        experts: i64,
        experts_per_token: i64,
        window: i64,
        index_topk: i64,
        draft_head: i32,
        has_tokenizer: i32,
        profile: i32,
        profile_found: i32,
        reasoning_modes: u32,
        default_reasoning: i32,
        bos_token: i32,
        eos_token: i32,
        backend: *const c_char,
        notes: *const c_char,
    }
    dsv4_layer_info {
        struct_size: usize,
        ratio: i32,
        hash_routed: i32,
        draft: i32,
        reserved0: i32,
        weight_bytes: u64,
        state_bytes: u64,
    }
    dsv4_verb_time {
        struct_size: usize,
        verb: *const c_char,
        calls: u64,
        weight_bytes: u64,
        multiply_adds: f64,
        seconds: f64,
    }
    dsv4_render_options {
        struct_size: usize,
        reasoning: i32,
        profile: i32,
    }
    dsv4_session_options {
        struct_size: usize,
        context: u64,
        flags: u32,
        prefill_chunk: i32,
        checkpoints: i32,
        reserved0: i32,
    }
    dsv4_session_info {
        struct_size: usize,
        tokens: u64,
        evaluated: u64,
        context: u64,
        state_bytes: u64,
        checkpoints: u64,
        checkpoint_bytes: u64,
        interrupted: i32,
        driven: i32,
    }
    dsv4_eval_options {
        struct_size: usize,
        logits: *mut f32,
        draft_logits: *mut f32,
        progress: Option<dsv4_progress_fn>,
        progress_user: *mut c_void,
    }
    dsv4_generate_stats {
        struct_size: usize,
        prompt_tokens: u64,
        reused_tokens: u64,
        generated_tokens: u64,
        reasoning_tokens: u64,
        prefill_seconds: f64,
        decode_seconds: f64,
        seed: u64,
        reasoning: i32,
        reason: i32,
        tool_calls: u64,
        max_tokens: u64,
        reasoning_closed: i32,
        reserved0: i32,
    }
    dsv4_tool_call {
        struct_size: usize,
        index: u64,
        id: *const c_char,
        name: *const c_char,
        arguments: *const c_char,
        arguments_length: usize,
    }
    dsv4_token_logprob {
        token: i32,
        reserved0: i32,
        logprob: f64,
    }
    dsv4_token_info {
        struct_size: usize,
        token: i32,
        forced: i32,
        logprob: f64,
        top: *const dsv4_token_logprob,
        top_count: usize,
    }
    dsv4_event {
        struct_size: usize,
        r#type: i32,
        reason: i32,
        text: *const c_char,
        text_length: usize,
        done: u64,
        total: u64,
        stats: *const dsv4_generate_stats,
        call: *const dsv4_tool_call,
        token: *const dsv4_token_info,
    }
    dsv4_logit_bias {
        token: i32,
        bias: f32,
    }
    dsv4_generate_options {
        struct_size: usize,
        reasoning: i32,
        top_k: i32,
        temperature: f64,
        top_p: f64,
        min_p: f64,
        seed: u64,
        max_tokens: u64,
        stop: *const *const c_char,
        stop_count: usize,
        reasoning_budget: u64,
        repetition_penalty: f64,
        presence_penalty: f64,
        frequency_penalty: f64,
        penalty_window: u64,
        logit_bias: *const dsv4_logit_bias,
        logit_bias_count: usize,
        logits: Option<dsv4_logits_fn>,
        logits_user: *mut c_void,
        token_events: i32,
        top_logprobs: i32,
        tool_choice: i32,
        grammar_kind: i32,
        tool_name: *const c_char,
        grammar: *const c_char,
        resume: i32,
        reserved0: i32,
    }
    dsv4_snapshot_options {
        struct_size: usize,
        level: i32,
        uncompressed: i32,
    }
    dsv4_snapshot_info {
        struct_size: usize,
        fingerprint: u64,
        tokens: u64,
        evaluated: u64,
        context: u64,
        state_bytes: u64,
        vocab: i64,
        layers: i64,
        format_version: i32,
        profile: i32,
        driven: i32,
        draft: i32,
        interrupted: i32,
        reserved0: i32,
    }
    dsv4_parser_options {
        struct_size: usize,
        start: i32,
        reserved0: i32,
        stop: *const *const c_char,
        stop_count: usize,
    }
}

// --------------------------------------------------------------------------------- what the test of this crate reads

/// Argument and result types of a function, as they are written here.
#[doc(hidden)]
pub struct Signature {
    pub name: &'static str,
    pub arguments: &'static [&'static str],
    pub result: &'static str,
}

#[doc(hidden)]
pub struct Layout {
    pub name: &'static str,
    pub size: usize,
    pub align: usize,
    pub fields: Vec<Field>,
}

#[doc(hidden)]
pub struct Field {
    pub name: &'static str,
    pub kind: &'static str,
    pub offset: usize,
    pub size: usize,
}
