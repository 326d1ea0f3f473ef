//! DeepSeek-V4 inside your own program: libdsv4 for Rust.
//!
//! ```
//! use dsv4::{Event, GenerateOptions, Model, Role};
//!
//! # fn main() -> dsv4::Result<()> {
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../samples/models/tiny");
//! let model = Model::open(folder)?;
//! let mut session = model.session()?;
//! session.append(Role::User, "Hello!")?;
//! for event in session.generate(&GenerateOptions::new().temperature(0.0))? {
//!     if let Event::Content(text) = event? {
//!         print!("{text}");
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A [`Model`] is an open checkpoint: cheap to clone, usable from any thread. A [`Session`] is one timeline of tokens
//! with the model's state for them; it moves between threads and belongs to one at a time. A turn is generated in one
//! of three ways: as an iterator ([`Session::generate`]), with a callback that can answer each event to the token
//! ([`Session::generate_with`]), or in slices for a main loop ([`Session::start`], [`Session::poll`]). [`CancelHandle`]
//! ends it from anywhere.
//!
//! What each call does, keeps and refuses is said at length in `dsv4.h`, whose names these are. A panic in a closure
//! that the library calls ends that call and goes on in the caller.

#![warn(missing_docs, missing_debug_implementations)]

mod call;
mod conversation;
mod error;
mod event;
mod generation;
mod info;
mod model;
mod options;
mod parser;
mod session;
mod snapshot;

pub use conversation::Conversation;
pub use error::{Error, Result};
pub use event::{Answer, Done, Event, Stats, TokenInfo, TokenLogprob, ToolCall};
pub use generation::Generation;
pub use info::{
    build_info, version, BuildInfo, Driven, Estimate, LayerInfo, LogLevel, ModelInfo, Profile, Reasoning, SessionInfo,
    SnapshotInfo, VerbTime,
};
pub use model::Model;
pub use options::{
    EvalOptions, GenerateOptions, ModelOptions, ParserOptions, RenderOptions, SessionOptions, SnapshotOptions, Start,
};
pub use parser::Parser;
pub use session::{CancelHandle, Role, Session};
pub use snapshot::{peek, peek_path};

/// The C declarations, for what this crate has no words for.
pub use dsv4_sys as sys;
