package dsv4

/*
#include <dsv4.h>
#include <stdlib.h>
*/
import "C"

import (
	"context"
	"strings"
	"sync"
	"time"
	"unsafe"
)

// guarded is a C handle that may be closed while calls on it run: the last of them releases it.
type guarded struct {
	mu      sync.Mutex
	ptr     unsafe.Pointer
	uses    int
	closed  bool
	release func(unsafe.Pointer)
}

// enter lends the handle until leave. The caller's object stays reachable meanwhile: leave needs it.
func (g *guarded) enter() (unsafe.Pointer, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.ptr == nil {
		return nil, ErrClosed
	}
	g.uses++
	return g.ptr, nil
}

func (g *guarded) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.uses--
	g.releaseIfUnused()
}

func (g *guarded) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.releaseIfUnused()
}

func (g *guarded) releaseIfUnused() {
	if g.closed && g.uses == 0 && g.ptr != nil {
		g.release(g.ptr)
		g.ptr = nil
	}
}

// watch runs call, and cancel when ctx ends meanwhile. Again and again until call returns, because a cancel that comes
// before the call has really begun does nothing. When watch returns, cancel is not running and will not run.
func watch(ctx context.Context, cancel, call func()) {
	if ctx.Done() == nil {
		call()
		return
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-stop:
			return
		case <-ctx.Done():
		}
		again := time.NewTicker(time.Millisecond)
		defer again.Stop()
		for {
			cancel()
			select {
			case <-stop:
				return
			case <-again.C:
			}
		}
	}()
	defer func() { // also when a panic passes through
		close(stop)
		<-stopped
	}()
	call()
}

// arena holds the C memory of one call's options.
type arena struct {
	blocks []unsafe.Pointer
	err    error // the first string that C could not take
}

func (a *arena) free() {
	for _, block := range a.blocks {
		C.free(block)
	}
}

func (a *arena) alloc(size uintptr) unsafe.Pointer {
	block := C.calloc(1, C.size_t(size)) // cgo's malloc and calloc do not return nil
	a.blocks = append(a.blocks, block)
	return block
}

// str is text for C, which ends at its first NUL: one that has a NUL inside is refused, not cut.
func (a *arena) str(name, text string) *C.char {
	if strings.IndexByte(text, 0) >= 0 {
		if a.err == nil {
			a.err = invalid(name + ": has a NUL character inside")
		}
		return nil
	}
	out := C.CString(text)
	a.blocks = append(a.blocks, unsafe.Pointer(out))
	return out
}

// optional is str, where "" stands for NULL.
func (a *arena) optional(name, text string) *C.char {
	if text == "" {
		return nil
	}
	return a.str(name, text)
}

func (a *arena) strs(name string, texts []string) (**C.char, C.size_t) {
	if len(texts) == 0 {
		return nil, 0
	}
	out := (**C.char)(a.alloc(uintptr(len(texts)) * unsafe.Sizeof((*C.char)(nil))))
	for i, text := range texts {
		unsafe.Slice(out, len(texts))[i] = a.str(name, text)
	}
	return out, C.size_t(len(texts))
}

// textOf is text of a given length for the time of one call; it may have NULs inside.
func textOf(text string) (*C.char, C.size_t) { return bytesOf([]byte(text)) }

func bytesOf(bytes []byte) (*C.char, C.size_t) {
	if len(bytes) == 0 {
		return nil, 0
	}
	return (*C.char)(unsafe.Pointer(&bytes[0])), C.size_t(len(bytes))
}

func idsOf(ids []int32) (*C.int32_t, C.size_t) {
	if len(ids) == 0 {
		return nil, 0
	}
	return (*C.int32_t)(unsafe.Pointer(&ids[0])), C.size_t(len(ids))
}

// fetch asks a function of the header for the size of its answer, and then for the answer.
func fetch[T any](call func(out *T, capacity C.size_t, count *C.size_t) error) ([]T, error) {
	var count C.size_t
	if err := call(nil, 0, &count); err != nil || count == 0 {
		return nil, err
	}
	out := make([]T, count)
	if err := call(&out[0], count, &count); err != nil {
		return nil, err
	}
	return out[:min(len(out), int(count))], nil
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}

func flag(set bool) C.int32_t {
	if set {
		return 1
	}
	return 0
}
