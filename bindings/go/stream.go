package dsv4

/*
#include "dsv4_go_calls.h"
*/
import "C"

import (
	"context"
	"errors"
	"runtime/cgo"
	"time"
)

// Stream is a turn whose events are fetched, one after the other:
//
//	stream, err := session.Stream(ctx, nil)
//	if err != nil { ... }
//	defer stream.Close()
//	for stream.Next() {
//		fmt.Print(stream.Event().Text)
//	}
//	err = stream.Err()
//
// The session is busy until the stream has ended or was closed. A stream is for one goroutine, or behind a lock. Events
// that nobody fetches stop the generation after some dozens of them; the context is looked at while events are fetched.
type Stream struct {
	session *Session
	ctx     context.Context
	event   Event
	stats   Stats
	action  Action
	ended   bool
	err     error
}

// Stream begins a turn, see Generate, and returns at once. Options with Logits are ErrUnsupported.
func (s *Session) Stream(ctx context.Context, options *GenerateOptions) (*Stream, error) {
	if err := endedBefore(ctx); err != nil {
		return nil, err
	}
	if options != nil && options.Logits != nil {
		return nil, &Error{Status: ErrUnsupported, Message: "GenerateOptions.Logits would run on another thread: use Generate"}
	}
	var a arena
	defer a.free()
	native := options.native(&a)
	if a.err != nil {
		return nil, a.err
	}
	err := s.use(func(session *C.dsv4_session, cerr **C.dsv4_error) C.dsv4_status {
		return C.dsv4_session_start(session, native, cerr)
	})
	if err != nil {
		return nil, err
	}
	return &Stream{session: s, ctx: ctx}, nil
}

// Next fetches the next event, and waits for it. It is false after the last one, EventDone, and after an error, see
// Err.
func (s *Stream) Next() bool {
	for !s.ended {
		events, err := s.Poll(1, 0)
		if err == nil && len(events) == 0 && !s.ended {
			watch(s.ctx, s.session.Cancel, func() { events, err = s.Poll(1, time.Second) })
		}
		if len(events) != 0 {
			s.event = events[0]
			return true
		}
	}
	return false
}

// Event is the one that Next has fetched.
func (s *Stream) Event() Event { return s.event }

// Poll fetches up to most events, and waits for the first of them no longer than timeout, which may be 0: for main
// loops. Ended tells when there are no more.
func (s *Stream) Poll(most int, timeout time.Duration) ([]Event, error) {
	if s.ended || most <= 0 {
		return nil, s.err
	}
	if s.ctx.Err() != nil {
		s.session.Cancel()
	}
	var events []Event
	turn := &turn{onEvent: func(e Event) Action {
		events = append(events, e)
		return s.action
	}}
	handle := cgo.NewHandle(turn)
	defer handle.Delete()
	err := s.session.use(func(session *C.dsv4_session, cerr **C.dsv4_error) C.dsv4_status {
		return C.dsv4go_poll(session, C.uintptr_t(handle), C.size_t(most), milliseconds(timeout), nil, cerr)
	})
	if err != nil {
		s.end(err)
	} else if n := len(events); n != 0 && events[n-1].Type == EventDone {
		s.stats = *events[n-1].Stats
		if s.stats.Reason == DoneCancelled { // poll itself says so in the event only
			err = &Error{Status: ErrCancelled, Message: "the turn was cancelled"}
		}
		s.end(err)
	}
	return events, s.err
}

func milliseconds(d time.Duration) C.uint32_t {
	switch {
	case d <= 0:
		return 0
	case d > time.Hour:
		return C.uint32_t(time.Hour / time.Millisecond)
	}
	return C.uint32_t((d + time.Millisecond - 1) / time.Millisecond) // a wait, however short, is not none
}

func (s *Stream) end(err error) {
	s.ended = true
	s.err = because(err, ErrCancelled, s.ctx.Err())
}

// Answer is what the stream answers to events from now on, as Generate's callback does. It takes effect at the next
// event that is generated, some dozens after the last that was fetched at most.
func (s *Stream) Answer(action Action) { s.action = action }

// Ended reports whether the last event was fetched.
func (s *Stream) Ended() bool { return s.ended }

// Err is the error that ended the stream: nil, ErrCancelled as Generate's, or what went wrong.
func (s *Stream) Err() error { return s.err }

// Stats are the turn's statistics, once its last event was fetched.
func (s *Stream) Stats() Stats { return s.stats }

// Close ends a turn that has not ended, as Session.Cancel does, and gives the session free. It may be repeated.
func (s *Stream) Close() error {
	for !s.ended {
		s.session.Cancel()
		if _, err := s.Poll(64, time.Second); errors.Is(err, ErrClosed) {
			break
		}
	}
	return nil
}
