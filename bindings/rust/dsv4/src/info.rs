//! What the library tells: its results as plain structs, and the enums in them.

use crate::call::{check, string};
use crate::Result;
use dsv4_sys as sys;
use std::mem::size_of;

/// Which prompt rules a checkpoint was trained with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum Profile {
    /// Found from `config.json`.
    Auto = sys::DSV4_PROFILE_AUTO,
    /// V4-Flash, V4-Pro (April preview).
    Preview = sys::DSV4_PROFILE_PREVIEW,
    /// V4-Flash-0731, V4-Pro-0813.
    V0731 = sys::DSV4_PROFILE_0731,
}

/// How much the model thinks before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum Reasoning {
    /// What the conversation says, else the profile's default.
    Default = sys::DSV4_REASONING_DEFAULT,
    /// Not at all.
    None = sys::DSV4_REASONING_NONE,
    /// A little.
    Low = sys::DSV4_REASONING_LOW,
    /// As usual.
    High = sys::DSV4_REASONING_HIGH,
    /// As much as it can.
    Max = sys::DSV4_REASONING_MAX,
}

/// How important a line of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i32)]
#[non_exhaustive]
pub enum LogLevel {
    /// For the library's own people.
    Debug = sys::DSV4_LOG_DEBUG,
    /// What is so.
    Info = sys::DSV4_LOG_INFO,
    /// What may not be wanted.
    Warning = sys::DSV4_LOG_WARNING,
    /// What went wrong.
    Error = sys::DSV4_LOG_ERROR,
}

/// How a session is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum Driven {
    /// Nothing was put into it.
    NotYet = sys::DSV4_DRIVEN_NOT_YET,
    /// By a conversation.
    ByMessages = sys::DSV4_DRIVEN_BY_MESSAGES,
    /// By token ids.
    ByTokens = sys::DSV4_DRIVEN_BY_TOKENS,
}

impl Profile {
    fn of(value: i32) -> Self {
        match value {
            sys::DSV4_PROFILE_PREVIEW => Profile::Preview,
            sys::DSV4_PROFILE_0731 => Profile::V0731,
            _ => Profile::Auto,
        }
    }
}

impl Reasoning {
    pub(crate) fn of(value: i32) -> Self {
        match value {
            sys::DSV4_REASONING_NONE => Reasoning::None,
            sys::DSV4_REASONING_LOW => Reasoning::Low,
            sys::DSV4_REASONING_HIGH => Reasoning::High,
            sys::DSV4_REASONING_MAX => Reasoning::Max,
            _ => Reasoning::Default,
        }
    }
}

impl LogLevel {
    pub(crate) fn of(value: i32) -> Self {
        match value {
            sys::DSV4_LOG_DEBUG => LogLevel::Debug,
            sys::DSV4_LOG_INFO => LogLevel::Info,
            sys::DSV4_LOG_WARNING => LogLevel::Warning,
            _ => LogLevel::Error,
        }
    }
}

impl Driven {
    fn of(value: i32) -> Self {
        match value {
            sys::DSV4_DRIVEN_BY_MESSAGES => Driven::ByMessages,
            sys::DSV4_DRIVEN_BY_TOKENS => Driven::ByTokens,
            _ => Driven::NotYet,
        }
    }
}

/// `major * 1000000 + minor * 1000 + patch` of the library that is running.
pub fn version() -> u32 {
    // SAFETY: it takes nothing.
    unsafe { sys::dsv4_version() }
}

/// What the library that is running was built with, and what it can use here.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BuildInfo {
    /// "0.1.0".
    pub version: String,
    /// Those that can be used here, best first: "cuda cpu reference".
    pub backends: String,
    /// Version, or "" without.
    pub onednn: String,
    /// Version of the toolkit, or "" where the cuda backend cannot be used.
    pub cuda: String,
    /// Instruction sets that the cpu backend can use here, best first.
    pub isa: String,
    /// What compiled it.
    pub compiler: String,
    /// Why the cuda backend cannot be used here; "" where it can.
    pub cuda_reason: String,
}

/// The first call looks for a GPU, which can take a second.
pub fn build_info() -> Result<BuildInfo> {
    let mut c = sys::dsv4_build_info { struct_size: size_of::<sys::dsv4_build_info>(), ..Default::default() };
    check(|error| unsafe { sys::dsv4_build_info_get(&mut c, error) })?;
    // SAFETY: static strings.
    unsafe {
        Ok(BuildInfo {
            version: string(c.version),
            backends: string(c.backends),
            onednn: string(c.onednn),
            cuda: string(c.cuda),
            isa: string(c.isa),
            compiler: string(c.compiler),
            cuda_reason: string(c.cuda_reason),
        })
    }
}

/// What opening a checkpoint and one session would take.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Estimate {
    /// Of the tensors that `config.json` calls for.
    pub weight_bytes: u64,
    /// Of one session of the given context.
    pub state_bytes: u64,
    /// Of the model's own working memory.
    pub workspace_bytes: u64,
    /// Free on this machine now, 0 where the system does not say.
    pub available_host_bytes: u64,
    /// Free on the GPU, 0 for other backends.
    pub available_device_bytes: u64,
    /// Whether there is room for it.
    pub fits: bool,
}

impl From<sys::dsv4_estimate> for Estimate {
    fn from(c: sys::dsv4_estimate) -> Self {
        Estimate {
            weight_bytes: c.weight_bytes,
            state_bytes: c.state_bytes,
            workspace_bytes: c.workspace_bytes,
            available_host_bytes: c.available_host_bytes,
            available_device_bytes: c.available_device_bytes,
            fits: c.fits != 0,
        }
    }
}

/// What a model is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ModelInfo {
    /// Of config and tensor headers.
    pub fingerprint: u64,
    /// Mapped tensors in use.
    pub weight_bytes: u64,
    /// Read to decode one token.
    pub token_weight_bytes: u64,
    /// `max_position_embeddings`.
    pub max_context: u64,
    /// Token ids.
    pub vocab: i64,
    /// Width of the residual stream.
    pub hidden: i64,
    /// Without the draft head's.
    pub layers: i64,
    /// Of attention.
    pub heads: i64,
    /// Of one head.
    pub head_dim: i64,
    /// Routed ones.
    pub experts: i64,
    /// Of them, picked for a token.
    pub experts_per_token: i64,
    /// Of attention, in tokens.
    pub window: i64,
    /// Compressed entries that the indexer picks.
    pub index_topk: i64,
    /// An MTP head is loaded.
    pub draft_head: bool,
    /// Text can be tokenized, and sessions driven by messages.
    pub has_tokenizer: bool,
    /// In force.
    pub profile: Profile,
    /// It was recognised from `config.json`, not assumed or set.
    pub profile_found: bool,
    /// The modes that the profile has.
    pub reasoning_modes: Vec<Reasoning>,
    /// The one that [`Reasoning::Default`] stands for.
    pub default_reasoning: Reasoning,
    /// Begins a sequence.
    pub bos_token: i32,
    /// Ends a turn.
    pub eos_token: i32,
    /// "cpu: avx512-bf16, 2 threads, oneDNN 3.2".
    pub backend: String,
    /// What was noticed on opening, one line each.
    pub notes: String,
}

impl ModelInfo {
    /// # Safety
    /// Strings of a live model.
    pub(crate) unsafe fn of(c: &sys::dsv4_model_info) -> Self {
        let modes = [Reasoning::None, Reasoning::Low, Reasoning::High, Reasoning::Max];
        ModelInfo {
            fingerprint: c.fingerprint,
            weight_bytes: c.weight_bytes,
            token_weight_bytes: c.token_weight_bytes,
            max_context: c.max_context,
            vocab: c.vocab,
            hidden: c.hidden,
            layers: c.layers,
            heads: c.heads,
            head_dim: c.head_dim,
            experts: c.experts,
            experts_per_token: c.experts_per_token,
            window: c.window,
            index_topk: c.index_topk,
            draft_head: c.draft_head != 0,
            has_tokenizer: c.has_tokenizer != 0,
            profile: Profile::of(c.profile),
            profile_found: c.profile_found != 0,
            reasoning_modes: modes.iter().copied().filter(|m| c.reasoning_modes >> *m as i32 & 1 != 0).collect(),
            default_reasoning: Reasoning::of(c.default_reasoning),
            bos_token: c.bos_token,
            eos_token: c.eos_token,
            backend: string(c.backend),
            notes: string(c.notes),
        }
    }
}

/// One layer of a model.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LayerInfo {
    /// 0: window only, 4: CSA, 128: HCA.
    pub ratio: i32,
    /// Experts by token id, not learned.
    pub hash_routed: bool,
    /// The MTP head's block.
    pub draft: bool,
    /// Of its tensors.
    pub weight_bytes: u64,
    /// For the context asked for.
    pub state_bytes: u64,
}

impl From<sys::dsv4_layer_info> for LayerInfo {
    fn from(c: sys::dsv4_layer_info) -> Self {
        LayerInfo {
            ratio: c.ratio,
            hash_routed: c.hash_routed != 0,
            draft: c.draft != 0,
            weight_bytes: c.weight_bytes,
            state_bytes: c.state_bytes,
        }
    }
}

/// What one verb of the backend, a step of the forward pass, has cost.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VerbTime {
    /// "linear", "experts", "attend" ...
    pub verb: String,
    /// How often it was called.
    pub calls: u64,
    /// Of weights and scales that the calls had to read.
    pub weight_bytes: u64,
    /// Of products with these weights.
    pub multiply_adds: f64,
    /// Time in it.
    pub seconds: f64,
}

impl VerbTime {
    /// # Safety
    /// A static name, as the library gives.
    pub(crate) unsafe fn of(c: &sys::dsv4_verb_time) -> Self {
        VerbTime {
            verb: string(c.verb),
            calls: c.calls,
            weight_bytes: c.weight_bytes,
            multiply_adds: c.multiply_adds,
            seconds: c.seconds,
        }
    }
}

/// What a session holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionInfo {
    /// On the timeline.
    pub tokens: u64,
    /// Of them, reflected in the state.
    pub evaluated: u64,
    /// Tokens it has room for.
    pub context: u64,
    /// Memory of its state.
    pub state_bytes: u64,
    /// How many it has now.
    pub checkpoints: u64,
    /// Memory of them.
    pub checkpoint_bytes: u64,
    /// Its last turn was interrupted: `GenerateOptions::resume` can go on with it.
    pub interrupted: bool,
    /// By messages or tokens.
    pub driven: Driven,
}

impl From<sys::dsv4_session_info> for SessionInfo {
    fn from(c: sys::dsv4_session_info) -> Self {
        SessionInfo {
            tokens: c.tokens,
            evaluated: c.evaluated,
            context: c.context,
            state_bytes: c.state_bytes,
            checkpoints: c.checkpoints,
            checkpoint_bytes: c.checkpoint_bytes,
            interrupted: c.interrupted != 0,
            driven: Driven::of(c.driven),
        }
    }
}

/// What a snapshot's header says.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SnapshotInfo {
    /// Of the model, see [`ModelInfo::fingerprint`].
    pub fingerprint: u64,
    /// On the timeline.
    pub tokens: u64,
    /// Of them, reflected in the state.
    pub evaluated: u64,
    /// Of the session that was saved.
    pub context: u64,
    /// Of the state, before compression.
    pub state_bytes: u64,
    /// Token ids of the model.
    pub vocab: i64,
    /// Of the state, the draft head's included.
    pub layers: i64,
    /// Of the file.
    pub format_version: i32,
    /// That was in force.
    pub profile: Profile,
    /// By messages or tokens.
    pub driven: Driven,
    /// Of a session with a draft head.
    pub draft: bool,
    /// Its last turn was interrupted, and can be resumed.
    pub interrupted: bool,
}

impl From<sys::dsv4_snapshot_info> for SnapshotInfo {
    fn from(c: sys::dsv4_snapshot_info) -> Self {
        SnapshotInfo {
            fingerprint: c.fingerprint,
            tokens: c.tokens,
            evaluated: c.evaluated,
            context: c.context,
            state_bytes: c.state_bytes,
            vocab: c.vocab,
            layers: c.layers,
            format_version: c.format_version,
            profile: Profile::of(c.profile),
            driven: Driven::of(c.driven),
            draft: c.draft != 0,
            interrupted: c.interrupted != 0,
        }
    }
}
