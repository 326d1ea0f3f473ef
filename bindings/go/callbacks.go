package dsv4

/*
#include <dsv4.h>
*/
import "C"

import (
	"context"
	"errors"
	"io"
	"runtime/cgo"
	"sync/atomic"
	"unsafe"
)

// Go functions that C calls. Each finds its Go value by the number of a cgo.Handle, so that C keeps no pointers of Go.

// caught keeps what a callback panicked with: a panic may not cross the frames of C. rethrow goes on with it
// afterwards.
type caught struct {
	value    any
	panicked bool
}

// keep is deferred by whatever runs a callback.
func (c *caught) keep() {
	if value := recover(); value != nil {
		c.value, c.panicked = value, true
	}
}

func (c *caught) rethrow() {
	if c.panicked {
		c.panicked = false
		panic(c.value)
	}
}

// reporter is a Go value with a progress callback.
type reporter interface{ report(done, total uint64) bool }

// progress is one evaluation's callback.
type progress struct {
	caught
	ctx context.Context
	fn  func(done, total uint64) error
	err error // that fn gave up with
}

func (p *progress) report(done, total uint64) (goOn bool) {
	defer p.keep() // goOn stays false then
	if p.ctx.Err() != nil || p.panicked || p.err != nil {
		return false
	}
	if p.fn != nil {
		p.err = p.fn(done, total)
	}
	return p.err == nil && p.ctx.Err() == nil
}

func (p *progress) cause() error {
	if p.err != nil {
		return p.err
	}
	return p.ctx.Err()
}

// hooks are a model's callbacks. C may use them as long as anything keeps the model alive, so sessions count.
type hooks struct {
	progress
	log    func(LogLevel, string)
	handle cgo.Handle
	uses   int32
}

func newHooks(ctx context.Context, options *ModelOptions) *hooks {
	h := &hooks{progress: progress{ctx: ctx}, uses: 1}
	if options != nil {
		h.fn, h.log = options.Progress, options.Log
	}
	h.handle = cgo.NewHandle(h)
	return h
}

func (h *hooks) retain() *hooks {
	atomic.AddInt32(&h.uses, 1)
	return h
}

func (h *hooks) drop() {
	if atomic.AddInt32(&h.uses, -1) == 0 {
		h.handle.Delete()
	}
}

func (h *hooks) inUse() int { return int(atomic.LoadInt32(&h.uses)) }

// turn receives the events of one generate, poll or push.
type turn struct {
	caught
	onEvent func(Event) Action
	logits  func([]float32) bool
}

func (t *turn) deliver(event *C.dsv4_event) (answer Action) {
	if t.onEvent == nil || t.panicked {
		return t.afterPanic()
	}
	answer = Cancel // a turn whose callback panics is taken back
	defer t.keep()
	return t.onEvent(goEvent(event))
}

func (t *turn) afterPanic() Action {
	if t.panicked {
		return Cancel
	}
	return Continue
}

func (t *turn) edit(logits []float32) (goOn bool) {
	defer t.keep()
	return !t.panicked && t.logits(logits)
}

// writing and reading are snapshots under way.
type writing struct {
	caught
	w   io.Writer
	err error
}

func (s *writing) write(data []byte) (ok bool) {
	defer s.keep()
	if s.panicked {
		return false
	}
	n, err := s.w.Write(data)
	if err == nil && n != len(data) {
		err = io.ErrShortWrite
	}
	s.err = err
	return err == nil
}

type reading struct {
	caught
	r   io.Reader
	err error
}

const mostEmptyReads = 100

func (s *reading) read(data []byte) (count int) {
	count = -1
	defer s.keep()
	if s.panicked {
		return count
	}
	for i := 0; i < mostEmptyReads; i++ {
		n, err := s.r.Read(data)
		if n > 0 { // an error that came with bytes comes again
			return n
		}
		if errors.Is(err, io.EOF) {
			return 0
		}
		if err != nil {
			s.err = err
			return count
		}
	}
	s.err = io.ErrNoProgress
	return count
}

//export dsv4goLog
func dsv4goLog(user C.uintptr_t, level C.int32_t, text *C.char) {
	h := cgo.Handle(user).Value().(*hooks)
	defer h.keep()
	if h.log != nil && !h.panicked {
		h.log(LogLevel(level), C.GoString(text))
	}
}

//export dsv4goProgress
func dsv4goProgress(user C.uintptr_t, done, total C.uint64_t) C.int32_t {
	return flag(!cgo.Handle(user).Value().(reporter).report(uint64(done), uint64(total)))
}

//export dsv4goEvent
func dsv4goEvent(user C.uintptr_t, event *C.dsv4_event) C.int32_t {
	return C.int32_t(cgo.Handle(user).Value().(*turn).deliver(event))
}

//export dsv4goLogits
func dsv4goLogits(user C.uintptr_t, logits *C.float, vocab C.size_t) C.int32_t {
	return flag(!cgo.Handle(user).Value().(*turn).edit(unsafe.Slice((*float32)(logits), int(vocab))))
}

//export dsv4goWrite
func dsv4goWrite(user C.uintptr_t, data unsafe.Pointer, size C.size_t) C.int32_t {
	return flag(!cgo.Handle(user).Value().(*writing).write(unsafe.Slice((*byte)(data), int(size))))
}

//export dsv4goRead
func dsv4goRead(user C.uintptr_t, data unsafe.Pointer, size C.size_t) C.int64_t {
	return C.int64_t(cgo.Handle(user).Value().(*reading).read(unsafe.Slice((*byte)(data), int(size))))
}
