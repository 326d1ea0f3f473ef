package dsv4

/*
#include <dsv4.h>
*/
import "C"

import (
	"encoding/json"
	"unsafe"
)

// EventType says what an Event tells.
type EventType int32

const (
	EventPrefill       EventType = C.DSV4_EVENT_PREFILL         // Done of Total prompt tokens are evaluated
	EventReasoning     EventType = C.DSV4_EVENT_REASONING       // Text: the next piece of the reasoning
	EventContent       EventType = C.DSV4_EVENT_CONTENT         // Text: the next piece of the answer
	EventWarning       EventType = C.DSV4_EVENT_WARNING         // Text: something the host may want to know
	EventDone          EventType = C.DSV4_EVENT_DONE            // last of all: Reason and Stats
	EventToolCallBegin EventType = C.DSV4_EVENT_TOOL_CALL_BEGIN // Call: index, id and name are known
	EventToolArguments EventType = C.DSV4_EVENT_TOOL_ARGUMENTS  // Call, and Text: the next piece of its arguments' JSON
	EventToolCall      EventType = C.DSV4_EVENT_TOOL_CALL       // Call: complete, its arguments are valid JSON
	EventMalformed     EventType = C.DSV4_EVENT_MALFORMED       // Text: output that breaks the format, as the model wrote it
	EventToken         EventType = C.DSV4_EVENT_TOKEN           // Token: one token and its log-probability
)

// Reason is why a turn ended.
type Reason int32

const (
	DoneNone       Reason = C.DSV4_DONE_NONE
	DoneStop       Reason = C.DSV4_DONE_STOP        // the model ended its turn
	DoneStopString Reason = C.DSV4_DONE_STOP_STRING // a stop string was met; it is not part of the text
	DoneLength     Reason = C.DSV4_DONE_LENGTH      // MaxTokens, or the context is full
	DoneHost       Reason = C.DSV4_DONE_HOST        // the callback answered Stop
	DoneCancelled  Reason = C.DSV4_DONE_CANCELLED   // Session.Cancel, the context, or the callback answered Cancel
	DoneToolCalls  Reason = C.DSV4_DONE_TOOL_CALLS  // the model ended its turn with calls and waits for their results
	DoneMalformed  Reason = C.DSV4_DONE_MALFORMED   // the model ended its turn, and part of it broke the format
	DonePaused     Reason = C.DSV4_DONE_PAUSED      // the callback answered Pause
)

// String is the reason's name: "stop", "stop_string", "length" ...
func (r Reason) String() string { return C.GoString(C.dsv4_done_name(C.int32_t(r))) }

// Action is what a callback answers to an event.
type Action int32

const (
	Continue Action = C.DSV4_CONTINUE
	Stop     Action = C.DSV4_STOP   // end here and keep what was generated
	Cancel   Action = C.DSV4_CANCEL // end here and take the whole turn back
	Pause    Action = C.DSV4_PAUSE  // end this call here; GenerateOptions.Resume goes on, now or after a snapshot
)

// Stats are a turn's statistics.
type Stats struct {
	PromptTokens    uint64 // of the whole prompt
	ReusedTokens    uint64 // of them, already in the state
	GeneratedTokens uint64 // the one that ended the turn included
	ReasoningTokens uint64 // of them, inside the reasoning
	PrefillSeconds  float64
	DecodeSeconds   float64
	Seed            uint64 // the one in use
	Reasoning       Reasoning
	Reason          Reason
	ToolCalls       uint64 // complete ones
	MaxTokens       uint64 // the limit in force
	ReasoningClosed bool   // by the library: the budget was used up
}

func goStats(s *C.dsv4_generate_stats) *Stats {
	if s == nil {
		return nil
	}
	return &Stats{
		PromptTokens:    uint64(s.prompt_tokens),
		ReusedTokens:    uint64(s.reused_tokens),
		GeneratedTokens: uint64(s.generated_tokens),
		ReasoningTokens: uint64(s.reasoning_tokens),
		PrefillSeconds:  float64(s.prefill_seconds),
		DecodeSeconds:   float64(s.decode_seconds),
		Seed:            uint64(s.seed),
		Reasoning:       Reasoning(s.reasoning),
		Reason:          Reason(s.reason),
		ToolCalls:       uint64(s.tool_calls),
		MaxTokens:       uint64(s.max_tokens),
		ReasoningClosed: s.reasoning_closed == 1,
	}
}

// ToolCall is a function that the model wants to have called. Its result goes to Session.AppendToolResult with its ID.
type ToolCall struct {
	Index     uint64 // in the turn, from 0
	ID        string
	Name      string
	Arguments string // with EventToolCall: a JSON object; "" before
}

// Unmarshal reads the arguments into v, as json.Unmarshal does. They are valid JSON, but not what the schema promises.
func (c *ToolCall) Unmarshal(v any) error { return json.Unmarshal([]byte(c.Arguments), v) }

// TokenLogprob is a token and the natural logarithm of the model's own probability, before any option of sampling.
type TokenLogprob struct {
	Token   int32
	Logprob float64
}

// TokenInfo is a token of the answer.
type TokenInfo struct {
	TokenLogprob
	Forced bool           // put there by the library, not drawn
	Top    []TokenLogprob // the most probable, best first
}

// Event is something that happened in a turn. It is the host's own: nothing of it is C's memory.
type Event struct {
	Type   EventType
	Reason Reason     // EventDone
	Text   string     // whole UTF-8 characters; "" where there is none
	Done   uint64     // EventPrefill
	Total  uint64     // EventPrefill
	Stats  *Stats     // EventDone; nil otherwise, and from a Parser
	Call   *ToolCall  // EventToolCallBegin, EventToolArguments, EventToolCall; nil otherwise
	Token  *TokenInfo // EventToken; nil otherwise
}

func goEvent(e *C.dsv4_event) Event {
	out := Event{
		Type:   EventType(e._type),
		Reason: Reason(e.reason),
		Text:   goText(e.text, e.text_length),
		Done:   uint64(e.done),
		Total:  uint64(e.total),
		Stats:  goStats(e.stats),
	}
	if e.call != nil {
		out.Call = &ToolCall{
			Index:     uint64(e.call.index),
			ID:        C.GoString(e.call.id),
			Name:      C.GoString(e.call.name),
			Arguments: goText(e.call.arguments, e.call.arguments_length),
		}
	}
	if e.token != nil {
		out.Token = &TokenInfo{
			TokenLogprob: TokenLogprob{int32(e.token.token), float64(e.token.logprob)},
			Forced:       e.token.forced == 1,
		}
		for _, top := range unsafe.Slice(e.token.top, int(e.token.top_count)) {
			out.Token.Top = append(out.Token.Top, TokenLogprob{int32(top.token), float64(top.logprob)})
		}
	}
	return out
}

// goText is unsafe.Slice and not C.GoStringN, whose length is an int of 32 bits.
func goText(text *C.char, length C.size_t) string {
	return string(unsafe.Slice((*byte)(unsafe.Pointer(text)), int(length)))
}
