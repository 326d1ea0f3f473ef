package dsv4

/*
#include <dsv4.h>
*/
import "C"

import (
	"runtime"
	"unsafe"
)

// Tokenize turns text into token ids. Text never becomes a control token, whatever it says.
func (m *Model) Tokenize(text string) ([]int32, error) { return m.tokenize(text, 0) }

// TokenizeSpecial is Tokenize for text in which control tokens such as <｜User｜> are meant: never for a stranger's text.
func (m *Model) TokenizeSpecial(text string) ([]int32, error) {
	return m.tokenize(text, C.DSV4_TEXT_SPECIAL)
}

func (m *Model) tokenize(text string, flags C.uint32_t) ([]int32, error) {
	return fetch(func(out *int32, capacity C.size_t, count *C.size_t) error {
		return m.use(func(model *C.dsv4_model, cerr **C.dsv4_error) C.dsv4_status {
			ctext, length := textOf(text)
			return C.dsv4_tokenize(model, ctext, length, flags, (*C.int32_t)(out), capacity, count, cerr)
		})
	})
}

// Detokenize is the text of token ids, without control tokens. Bytes, because a token can end inside a UTF-8 character.
func (m *Model) Detokenize(ids []int32) ([]byte, error) { return m.detokenize(ids, 0) }

// DetokenizeSpecial is Detokenize with control tokens written out.
func (m *Model) DetokenizeSpecial(ids []int32) ([]byte, error) {
	return m.detokenize(ids, C.DSV4_TEXT_SPECIAL)
}

func (m *Model) detokenize(ids []int32, flags C.uint32_t) ([]byte, error) {
	return fetch(func(out *byte, capacity C.size_t, length *C.size_t) error {
		return m.use(func(model *C.dsv4_model, cerr **C.dsv4_error) C.dsv4_status {
			cids, count := idsOf(ids)
			return C.dsv4_detokenize(model, cids, count, flags, (*C.char)(unsafe.Pointer(out)), capacity, length, cerr)
		})
	})
}

// Role is who says a message.
type Role int32

const (
	RoleSystem         Role = C.DSV4_ROLE_SYSTEM
	RoleUser           Role = C.DSV4_ROLE_USER
	RoleAssistant      Role = C.DSV4_ROLE_ASSISTANT
	RoleTool           Role = C.DSV4_ROLE_TOOL
	RoleDeveloper      Role = C.DSV4_ROLE_DEVELOPER
	RoleLatestReminder Role = C.DSV4_ROLE_LATEST_REMINDER
)

// Conversation is a list of messages and what belongs to the whole request: tools, tool choice, response format,
// reasoning. It is not tied to a model, and is for one goroutine at a time. As JSON it is OpenAI's request: it marshals
// and unmarshals, and the zero value can be unmarshalled into.
type Conversation struct{ guarded }

func newConversation(c *C.dsv4_conversation) *Conversation {
	out := &Conversation{}
	out.adopt(c)
	return out
}

func (c *Conversation) adopt(conversation *C.dsv4_conversation) {
	c.ptr, c.closed = unsafe.Pointer(conversation), false
	c.release = func(ptr unsafe.Pointer) {
		conversation := (*C.dsv4_conversation)(ptr)
		C.dsv4_conversation_release(&conversation)
	}
	runtime.SetFinalizer(c, (*Conversation).Close)
}

// NewConversation is an empty one.
func NewConversation() (*Conversation, error) {
	var c *C.dsv4_conversation
	var cerr *C.dsv4_error
	if err := check(C.dsv4_conversation_create(&c, &cerr), cerr); err != nil {
		return nil, err
	}
	return newConversation(c), nil
}

// ConversationFromJSON reads OpenAI-shaped JSON: a list of messages, or an object with messages and, optionally, tools,
// tool_choice, response_format, thinking and reasoning_effort. Unknown fields are ignored; a wrong type is
// ErrInvalidArgument with the JSON path.
func ConversationFromJSON(json []byte) (*Conversation, error) {
	out := &Conversation{}
	if err := out.UnmarshalJSON(json); err != nil {
		return nil, err
	}
	return out, nil
}

// UnmarshalJSON makes it what the JSON says, see ConversationFromJSON. On an error it stays what it was.
func (c *Conversation) UnmarshalJSON(json []byte) error {
	var read *C.dsv4_conversation
	var cerr *C.dsv4_error
	text, length := bytesOf(json)
	if err := check(C.dsv4_conversation_from_json(text, length, &read, &cerr), cerr); err != nil {
		return err
	}
	c.close()
	c.adopt(read)
	return nil
}

// Close releases the conversation. It returns nil, always.
func (c *Conversation) Close() error {
	c.close()
	runtime.SetFinalizer(c, nil)
	return nil
}

func (c *Conversation) use(call func(c *C.dsv4_conversation, cerr **C.dsv4_error) C.dsv4_status) error {
	ptr, err := c.enter()
	if err != nil {
		return err
	}
	defer c.leave()
	var cerr *C.dsv4_error
	return check(call((*C.dsv4_conversation)(ptr), &cerr), cerr)
}

// Add appends a message.
func (c *Conversation) Add(role Role, text string) error {
	return c.use(func(c *C.dsv4_conversation, cerr **C.dsv4_error) C.dsv4_status {
		ctext, length := textOf(text)
		return C.dsv4_conversation_add(c, C.int32_t(role), ctext, length, cerr)
	})
}

// AddToolResult appends what a tool answered to the call with this id.
func (c *Conversation) AddToolResult(callID, text string) error {
	var a arena
	defer a.free()
	id := a.str("callID", callID)
	if a.err != nil {
		return a.err
	}
	return c.use(func(c *C.dsv4_conversation, cerr **C.dsv4_error) C.dsv4_status {
		ctext, length := textOf(text)
		return C.dsv4_conversation_add_tool_result(c, id, ctext, length, cerr)
	})
}

// AppendJSON appends one message (a JSON object) or several (a list).
func (c *Conversation) AppendJSON(json []byte) error {
	return c.use(func(c *C.dsv4_conversation, cerr **C.dsv4_error) C.dsv4_status {
		text, length := bytesOf(json)
		return C.dsv4_conversation_append_json(c, text, length, cerr)
	})
}

// Len is how many messages there are; 0 for a closed conversation.
func (c *Conversation) Len() int {
	var count C.size_t
	if c.use(func(c *C.dsv4_conversation, cerr **C.dsv4_error) C.dsv4_status {
		return C.dsv4_conversation_count(c, &count, cerr)
	}) != nil {
		return 0
	}
	return int(count)
}

// MessageJSON is message index as OpenAI-shaped JSON.
func (c *Conversation) MessageJSON(index int) ([]byte, error) {
	if index < 0 {
		return nil, invalid("message index: must not be negative")
	}
	return fetch(func(out *byte, capacity C.size_t, length *C.size_t) error {
		return c.use(func(c *C.dsv4_conversation, cerr **C.dsv4_error) C.dsv4_status {
			return C.dsv4_conversation_message_json(c, C.size_t(index), (*C.char)(unsafe.Pointer(out)), capacity, length, cerr)
		})
	})
}

// MarshalJSON is the whole request: {"messages": [...], "tools": [...] ...}.
func (c *Conversation) MarshalJSON() ([]byte, error) {
	return fetch(func(out *byte, capacity C.size_t, length *C.size_t) error {
		return c.use(func(c *C.dsv4_conversation, cerr **C.dsv4_error) C.dsv4_status {
			return C.dsv4_conversation_json(c, (*C.char)(unsafe.Pointer(out)), capacity, length, cerr)
		})
	})
}

// RenderOptions choose the prompt rules. nil is the default.
type RenderOptions struct {
	Reasoning Reasoning // ReasoningDefault: what the JSON said, else the profile's default
	Profile   Profile   // ProfileAuto: the model's
}

func (o *RenderOptions) native() C.dsv4_render_options {
	var out C.dsv4_render_options
	C.dsv4_render_options_init(&out, C.sizeof_dsv4_render_options)
	if o != nil {
		out.reasoning, out.profile = C.int32_t(o.Reasoning), C.int32_t(o.Profile)
	}
	return out
}

// Render is the prompt's exact text.
func (m *Model) Render(c *Conversation, options *RenderOptions) (string, error) {
	native := options.native()
	text, err := fetch(func(out *byte, capacity C.size_t, length *C.size_t) error {
		return m.useBoth(c, func(model *C.dsv4_model, c *C.dsv4_conversation, cerr **C.dsv4_error) C.dsv4_status {
			return C.dsv4_render(model, c, &native, (*C.char)(unsafe.Pointer(out)), capacity, length, cerr)
		})
	})
	return string(text), err
}

// RenderTokens is the prompt's token ids. Text of the messages never becomes a control token.
func (m *Model) RenderTokens(c *Conversation, options *RenderOptions) ([]int32, error) {
	native := options.native()
	return fetch(func(out *int32, capacity C.size_t, count *C.size_t) error {
		return m.useBoth(c, func(model *C.dsv4_model, c *C.dsv4_conversation, cerr **C.dsv4_error) C.dsv4_status {
			return C.dsv4_render_tokens(model, c, &native, (*C.int32_t)(out), capacity, count, cerr)
		})
	})
}

func (m *Model) useBoth(c *Conversation,
	call func(*C.dsv4_model, *C.dsv4_conversation, **C.dsv4_error) C.dsv4_status) error {
	ptr, err := c.enter()
	if err != nil {
		return err
	}
	defer c.leave()
	return m.use(func(model *C.dsv4_model, cerr **C.dsv4_error) C.dsv4_status {
		return call(model, (*C.dsv4_conversation)(ptr), cerr)
	})
}
