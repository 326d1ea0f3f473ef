use crate::call::{c_string, check, collect_text};
use crate::{Result, Role};
use dsv4_sys as sys;
use std::{fmt, ptr};

/// A list of messages and what belongs to the whole request: tools, tool choice, response format, reasoning. Not tied
/// to a model.
///
/// ```
/// use dsv4::{Conversation, Role};
///
/// # fn main() -> dsv4::Result<()> {
/// let mut conversation = Conversation::from_json(r#"{"messages": [], "tools": []}"#)?;
/// conversation.add(Role::User, "Hello!")?;
/// assert_eq!(conversation.len()?, 1);
/// # Ok(())
/// # }
/// ```
pub struct Conversation(ptr::NonNull<sys::dsv4_conversation>);

// SAFETY: the handle has no thread of its own; &Conversation only reads.
unsafe impl Send for Conversation {}
unsafe impl Sync for Conversation {}

impl Conversation {
    /// Without messages.
    pub fn new() -> Result<Self> {
        let mut raw = ptr::null_mut();
        check(|error| unsafe { sys::dsv4_conversation_create(&mut raw, error) })?;
        Ok(Self::adopt(raw))
    }

    /// OpenAI-shaped JSON: a list of messages, or an object with `messages` and, optionally, `tools`, `tool_choice`,
    /// `response_format`, `thinking`, `reasoning_effort`. A wrong type is an error with the JSON path.
    pub fn from_json(json: &str) -> Result<Self> {
        let mut raw = ptr::null_mut();
        check(|error| unsafe { sys::dsv4_conversation_from_json(json.as_ptr().cast(), json.len(), &mut raw, error) })?;
        Ok(Self::adopt(raw))
    }

    pub(crate) fn adopt(raw: *mut sys::dsv4_conversation) -> Self {
        Conversation(ptr::NonNull::new(raw).expect("a handle, as the call succeeded"))
    }

    /// Appends a message.
    pub fn add(&mut self, role: Role, text: &str) -> Result<()> {
        check(|error| unsafe {
            sys::dsv4_conversation_add(self.raw(), role as i32, text.as_ptr().cast(), text.len(), error)
        })
    }

    /// What a tool answered to the call with this id.
    pub fn add_tool_result(&mut self, call_id: &str, text: &str) -> Result<()> {
        let id = c_string("call_id", call_id)?;
        check(|error| unsafe {
            sys::dsv4_conversation_add_tool_result(self.raw(), id.as_ptr(), text.as_ptr().cast(), text.len(), error)
        })
    }

    /// Appends one message (a JSON object) or several (a list).
    pub fn append_json(&mut self, json: &str) -> Result<()> {
        check(|error| unsafe {
            sys::dsv4_conversation_append_json(self.raw(), json.as_ptr().cast(), json.len(), error)
        })
    }

    /// How many messages.
    #[allow(clippy::len_without_is_empty)] // it can fail, so it is no container's len()
    pub fn len(&self) -> Result<usize> {
        let mut count = 0;
        check(|error| unsafe { sys::dsv4_conversation_count(self.raw(), &mut count, error) })?;
        Ok(count)
    }

    /// Message `index` as OpenAI-shaped JSON.
    pub fn message_json(&self, index: usize) -> Result<String> {
        collect_text(|text, capacity, length, error| unsafe {
            sys::dsv4_conversation_message_json(self.raw(), index, text, capacity, length, error)
        })
    }

    /// The whole request.
    pub fn json(&self) -> Result<String> {
        collect_text(|text, capacity, length, error| unsafe {
            sys::dsv4_conversation_json(self.raw(), text, capacity, length, error)
        })
    }

    pub(crate) fn raw(&self) -> *mut sys::dsv4_conversation {
        self.0.as_ptr()
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        unsafe { sys::dsv4_conversation_release(&mut self.raw()) };
    }
}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Conversation").field(&self.json().unwrap_or_default()).finish()
    }
}
