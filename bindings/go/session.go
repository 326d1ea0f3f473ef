package dsv4

/*
#include "dsv4_go_calls.h"
*/
import "C"

import (
	"context"
	"fmt"
	"runtime"
	"runtime/cgo"
	"unsafe"
)

// SessionOptions say how large a session is. The zero value, and nil, are the defaults.
type SessionOptions struct {
	Context      uint64 // tokens it can hold; 0: the smaller of the model's limit and 8192
	Draft        bool   // keep the MTP head in step, for EvalOptions.DraftLogits
	PrefillChunk int32  // tokens evaluated at once; 0: MaxStepRows of the model
	Checkpoints  int32  // places to which it can go back without evaluating everything again; 0: 8, -1: none
}

// Session is one timeline: token ids, the model's state for them, and, if used so, the conversation they came from.
//
// It is driven by messages or by tokens, whichever comes first; Clear makes it empty again. It belongs to one call at a
// time: a second one is answered ErrBusy.
type Session struct {
	guarded
	hooks *hooks
	vocab int64
}

// NewSession makes an empty session. It keeps what it needs of the model, which may be closed before it.
func (m *Model) NewSession(options *SessionOptions) (*Session, error) {
	info, err := m.Info()
	if err != nil {
		return nil, err
	}
	var native C.dsv4_session_options
	C.dsv4_session_options_init(&native, C.sizeof_dsv4_session_options)
	if options != nil {
		native.context = C.uint64_t(options.Context)
		if options.Draft {
			native.flags |= C.DSV4_SESSION_DRAFT
		}
		native.prefill_chunk = C.int32_t(options.PrefillChunk)
		native.checkpoints = C.int32_t(options.Checkpoints)
	}
	var session *C.dsv4_session
	err = m.use(func(model *C.dsv4_model, cerr **C.dsv4_error) C.dsv4_status {
		return C.dsv4_session_create(model, &native, &session, cerr)
	})
	if err != nil {
		return nil, err
	}
	return newSession(session, m.hooks.retain(), info.Vocab), nil
}

func newSession(session *C.dsv4_session, hooks *hooks, vocab int64) *Session {
	s := &Session{hooks: hooks, vocab: vocab}
	s.ptr = unsafe.Pointer(session)
	s.release = func(ptr unsafe.Pointer) {
		session := (*C.dsv4_session)(ptr)
		C.dsv4_session_release(&session)
		hooks.drop()
	}
	runtime.SetFinalizer(s, (*Session).Close)
	return s
}

// Close cancels what is running and releases the session, as soon as no call uses it any more. It returns nil, always.
func (s *Session) Close() error {
	s.Cancel()
	s.close()
	runtime.SetFinalizer(s, nil)
	return nil
}

// Cancel ends the call that is running on this session within one layer of prefill or one token, with ErrCancelled, at
// its last committed token. It may be called at any time from any goroutine; without such a call it does nothing.
func (s *Session) Cancel() {
	if ptr, err := s.enter(); err == nil {
		defer s.leave()
		C.dsv4_session_cancel((*C.dsv4_session)(ptr))
	}
}

func (s *Session) use(call func(session *C.dsv4_session, cerr **C.dsv4_error) C.dsv4_status) error {
	ptr, err := s.enter()
	if err != nil {
		return err
	}
	defer s.leave()
	var cerr *C.dsv4_error
	return check(call((*C.dsv4_session)(ptr), &cerr), cerr)
}

// useWithin is use for calls that ctx may end.
func (s *Session) useWithin(ctx context.Context,
	call func(session *C.dsv4_session, cerr **C.dsv4_error) C.dsv4_status) (err error) {
	if err := endedBefore(ctx); err != nil {
		return err
	}
	watch(ctx, s.Cancel, func() { err = s.use(call) })
	return because(err, ErrCancelled, ctx.Err())
}

// AppendMessage adds a message to the conversation, for the next Generate.
func (s *Session) AppendMessage(role Role, text string) error {
	return s.use(func(session *C.dsv4_session, cerr **C.dsv4_error) C.dsv4_status {
		ctext, length := textOf(text)
		return C.dsv4_session_append_message(session, C.int32_t(role), ctext, length, cerr)
	})
}

// AppendToolResult adds what a tool answered to the call with this id, see ToolCall.
func (s *Session) AppendToolResult(callID, text string) error {
	var a arena
	defer a.free()
	id := a.str("callID", callID)
	if a.err != nil {
		return a.err
	}
	return s.use(func(session *C.dsv4_session, cerr **C.dsv4_error) C.dsv4_status {
		ctext, length := textOf(text)
		return C.dsv4_session_append_tool_result(session, id, ctext, length, cerr)
	})
}

// AppendJSON adds one message (a JSON object) or several (a list).
func (s *Session) AppendJSON(json []byte) error {
	return s.use(func(session *C.dsv4_session, cerr **C.dsv4_error) C.dsv4_status {
		text, length := bytesOf(json)
		return C.dsv4_session_append_json(session, text, length, cerr)
	})
}

// SetConversation replaces the whole conversation; Generate then keeps whatever beginning is unchanged.
func (s *Session) SetConversation(c *Conversation) error {
	ptr, err := c.enter()
	if err != nil {
		return err
	}
	defer c.leave()
	return s.use(func(session *C.dsv4_session, cerr **C.dsv4_error) C.dsv4_status {
		return C.dsv4_session_set_conversation(session, (*C.dsv4_conversation)(ptr), cerr)
	})
}

// Conversation is a copy of the conversation, the session's answers with their exact token ids.
func (s *Session) Conversation() (*Conversation, error) {
	var c *C.dsv4_conversation
	err := s.use(func(session *C.dsv4_session, cerr **C.dsv4_error) C.dsv4_status {
		return C.dsv4_session_conversation(session, &c, cerr)
	})
	if err != nil {
		return nil, err
	}
	return newConversation(c), nil
}

// AppendTokens adds token ids, which wait until Generate or Eval needs them.
func (s *Session) AppendTokens(ids []int32) error {
	return s.use(func(session *C.dsv4_session, cerr **C.dsv4_error) C.dsv4_status {
		cids, count := idsOf(ids)
		return C.dsv4_session_append_tokens(session, cids, count, cerr)
	})
}

// SyncTokens makes the timeline exactly these ids: what it holds already of their beginning stays, the rest waits.
func (s *Session) SyncTokens(ids []int32) error {
	return s.use(func(session *C.dsv4_session, cerr **C.dsv4_error) C.dsv4_status {
		cids, count := idsOf(ids)
		return C.dsv4_session_sync_tokens(session, cids, count, cerr)
	})
}

// Rewind forgets all tokens from position on, exactly, however far back. For sessions driven by tokens.
func (s *Session) Rewind(position uint64) error {
	return s.use(func(session *C.dsv4_session, cerr **C.dsv4_error) C.dsv4_status {
		return C.dsv4_session_rewind(session, C.uint64_t(position), cerr)
	})
}

// Fork is an independent session at the same place, with a copy of the state.
func (s *Session) Fork() (*Session, error) {
	var fork *C.dsv4_session
	err := s.use(func(session *C.dsv4_session, cerr **C.dsv4_error) C.dsv4_status {
		return C.dsv4_session_fork(session, &fork, cerr)
	})
	if err != nil {
		return nil, err
	}
	return newSession(fork, s.hooks.retain(), s.vocab), nil
}

// Clear makes the session empty.
func (s *Session) Clear() error {
	return s.use(func(session *C.dsv4_session, cerr **C.dsv4_error) C.dsv4_status {
		return C.dsv4_session_clear(session, cerr)
	})
}

// Tokens are the token ids of the timeline so far.
func (s *Session) Tokens() ([]int32, error) {
	return fetch(func(out *int32, capacity C.size_t, count *C.size_t) error {
		return s.use(func(session *C.dsv4_session, cerr **C.dsv4_error) C.dsv4_status {
			return C.dsv4_session_tokens(session, (*C.int32_t)(out), capacity, count, cerr)
		})
	})
}

// Driven says how a session is driven.
type Driven int32

const (
	DrivenNotYet     Driven = C.DSV4_DRIVEN_NOT_YET
	DrivenByMessages Driven = C.DSV4_DRIVEN_BY_MESSAGES
	DrivenByTokens   Driven = C.DSV4_DRIVEN_BY_TOKENS
)

// SessionInfo describes a session.
type SessionInfo struct {
	Tokens          uint64 // on the timeline
	Evaluated       uint64 // of them, reflected in the state
	Context         uint64
	StateBytes      uint64 // memory of its state
	Checkpoints     uint64 // how many it has now
	CheckpointBytes uint64
	Interrupted     bool // its last turn was interrupted, and GenerateOptions.Resume can go on with it
	Driven          Driven
}

// Info describes the session.
func (s *Session) Info() (SessionInfo, error) {
	i := C.dsv4_session_info{struct_size: C.sizeof_dsv4_session_info}
	err := s.use(func(session *C.dsv4_session, cerr **C.dsv4_error) C.dsv4_status {
		return C.dsv4_session_info_get(session, &i, cerr)
	})
	return SessionInfo{
		Tokens:          uint64(i.tokens),
		Evaluated:       uint64(i.evaluated),
		Context:         uint64(i.context),
		StateBytes:      uint64(i.state_bytes),
		Checkpoints:     uint64(i.checkpoints),
		CheckpointBytes: uint64(i.checkpoint_bytes),
		Interrupted:     i.interrupted == 1,
		Driven:          Driven(i.driven),
	}, err
}

// EvalOptions say what Eval reports. nil is nothing.
type EvalOptions struct {
	// Logits is nil, or room for the logits of every one of the new tokens, [len(ids) * vocab]; row i predicts what
	// follows ids[i]. Nothing may be waiting then.
	Logits []float32
	// DraftLogits is the same of the MTP head, for sessions with SessionOptions.Draft.
	DraftLogits []float32
	// Progress hears of tokens; its error gives up, and is the cause of Eval's.
	Progress func(done, total uint64) error
}

// Eval appends ids, which may be none, and evaluates everything that is waiting: for hosts that sample themselves. In a
// session driven by messages, without ids, that is the prompt of the conversation as it stands.
func (s *Session) Eval(ctx context.Context, ids []int32, options *EvalOptions) error {
	if options == nil {
		options = &EvalOptions{}
	}
	logits, err := s.rows("Logits", options.Logits, len(ids))
	if err != nil {
		return err
	}
	draft, err := s.rows("DraftLogits", options.DraftLogits, len(ids))
	if err != nil {
		return err
	}
	progress := &progress{ctx: ctx, fn: options.Progress}
	handle := cgo.NewHandle(progress)
	defer handle.Delete()
	err = s.useWithin(ctx, func(session *C.dsv4_session, cerr **C.dsv4_error) C.dsv4_status {
		cids, count := idsOf(ids)
		return C.dsv4go_eval(session, cids, count, logits, draft, C.uintptr_t(handle), cerr)
	})
	progress.rethrow()
	return because(err, ErrCancelled, progress.cause())
}

// rows checks that C will not write behind the end of what it is given.
func (s *Session) rows(name string, logits []float32, rows int) (*C.float, error) {
	if logits == nil {
		return nil, nil
	}
	if int64(len(logits)) != int64(rows)*s.vocab {
		return nil, invalid(fmt.Sprintf("%s: %d floats, expected %d tokens of %d", name, len(logits), rows, s.vocab))
	}
	if len(logits) == 0 {
		return nil, nil
	}
	return (*C.float)(unsafe.Pointer(&logits[0])), nil
}

// Logits are those after the newest evaluated token, [vocab].
func (s *Session) Logits() ([]float32, error) {
	return fetch(func(out *float32, capacity C.size_t, count *C.size_t) error {
		return s.use(func(session *C.dsv4_session, cerr **C.dsv4_error) C.dsv4_status {
			return C.dsv4_session_logits(session, (*C.float)(unsafe.Pointer(out)), capacity, count, cerr)
		})
	})
}

// Pretend makes the session of a synthetic model behave as if so many tokens had been evaluated, to measure speed
// there.
func (s *Session) Pretend(position uint64) error {
	return s.use(func(session *C.dsv4_session, cerr **C.dsv4_error) C.dsv4_status {
		return C.dsv4_session_pretend(session, C.uint64_t(position), cerr)
	})
}
