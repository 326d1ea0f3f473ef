package dsv4

/*
#include "dsv4_go_calls.h"
*/
import "C"

import (
	"io"
	"runtime/cgo"
)

// SnapshotOptions say how a snapshot is compressed. nil is the default.
type SnapshotOptions struct {
	Level        int32 // zstd's level, -7 (fastest) to 19 (smallest); 0: 1
	Uncompressed bool  // store everything as it is
}

func (o *SnapshotOptions) native() C.dsv4_snapshot_options {
	var out C.dsv4_snapshot_options
	C.dsv4_snapshot_options_init(&out, C.sizeof_dsv4_snapshot_options)
	if o != nil {
		out.level, out.uncompressed = C.int32_t(o.Level), flag(o.Uncompressed)
	}
	return out
}

// Save writes the session to w: tokens, state, conversation, an interrupted turn with its options and random numbers.
// An error of w is the cause of Save's, which is ErrIO.
func (s *Session) Save(w io.Writer, options *SnapshotOptions) error {
	native := options.native()
	writing := &writing{w: w}
	handle := cgo.NewHandle(writing)
	defer handle.Delete()
	err := s.use(func(session *C.dsv4_session, cerr **C.dsv4_error) C.dsv4_status {
		return C.dsv4go_save(session, C.uintptr_t(handle), &native, cerr)
	})
	writing.rethrow()
	return because(err, ErrIO, writing.err)
}

// SaveFile writes the session to a file, beside it and then renamed: path holds what it held before or a whole
// snapshot.
func (s *Session) SaveFile(path string, options *SnapshotOptions) error {
	var a arena
	defer a.free()
	native, cpath := options.native(), a.str("path", path)
	if a.err != nil {
		return a.err
	}
	return s.use(func(session *C.dsv4_session, cerr **C.dsv4_error) C.dsv4_status {
		return C.dsv4_session_save_path(session, cpath, &native, cerr)
	})
}

// Restore makes the session what the snapshot says: all of it or, on an error, nothing. It takes as many bytes from r
// as the snapshot has and no more. An error of r is the cause of Restore's, which is ErrIO.
func (s *Session) Restore(r io.Reader) error {
	reading := &reading{r: r}
	handle := cgo.NewHandle(reading)
	defer handle.Delete()
	err := s.use(func(session *C.dsv4_session, cerr **C.dsv4_error) C.dsv4_status {
		return C.dsv4go_restore(session, C.uintptr_t(handle), cerr)
	})
	reading.rethrow()
	return because(err, ErrIO, reading.err)
}

// RestoreFile is Restore from a file.
func (s *Session) RestoreFile(path string) error {
	var a arena
	defer a.free()
	cpath := a.str("path", path)
	if a.err != nil {
		return a.err
	}
	return s.use(func(session *C.dsv4_session, cerr **C.dsv4_error) C.dsv4_status {
		return C.dsv4_session_restore_path(session, cpath, cerr)
	})
}

// SnapshotInfo is what a snapshot's header says.
type SnapshotInfo struct {
	Fingerprint   uint64 // of the model, see ModelInfo
	Tokens        uint64
	Evaluated     uint64 // of them, reflected in the state
	Context       uint64 // of the session that was saved
	StateBytes    uint64 // of the state, before compression
	Vocab         int64
	Layers        int64 // of the state, the draft head's included
	FormatVersion int32
	Profile       Profile // that was in force
	Driven        Driven
	Draft         bool // of a session with SessionOptions.Draft
	Interrupted   bool // its last turn was interrupted, and can be resumed
}

func goSnapshotInfo(i *C.dsv4_snapshot_info) SnapshotInfo {
	return SnapshotInfo{
		Fingerprint:   uint64(i.fingerprint),
		Tokens:        uint64(i.tokens),
		Evaluated:     uint64(i.evaluated),
		Context:       uint64(i.context),
		StateBytes:    uint64(i.state_bytes),
		Vocab:         int64(i.vocab),
		Layers:        int64(i.layers),
		FormatVersion: int32(i.format_version),
		Profile:       Profile(i.profile),
		Driven:        Driven(i.driven),
		Draft:         i.draft == 1,
		Interrupted:   i.interrupted == 1,
	}
}

// PeekSnapshot reads a snapshot's header; nothing behind it is read or checked.
func PeekSnapshot(r io.Reader) (SnapshotInfo, error) {
	reading := &reading{r: r}
	handle := cgo.NewHandle(reading)
	defer handle.Delete()
	info := C.dsv4_snapshot_info{struct_size: C.sizeof_dsv4_snapshot_info}
	var cerr *C.dsv4_error
	err := check(C.dsv4go_peek(C.uintptr_t(handle), &info, &cerr), cerr)
	reading.rethrow()
	return goSnapshotInfo(&info), because(err, ErrIO, reading.err)
}

// PeekSnapshotFile is PeekSnapshot of a file.
func PeekSnapshotFile(path string) (SnapshotInfo, error) {
	var a arena
	defer a.free()
	cpath := a.str("path", path)
	if a.err != nil {
		return SnapshotInfo{}, a.err
	}
	info := C.dsv4_snapshot_info{struct_size: C.sizeof_dsv4_snapshot_info}
	var cerr *C.dsv4_error
	err := check(C.dsv4_snapshot_peek_path(cpath, &info, &cerr), cerr)
	return goSnapshotInfo(&info), err
}
