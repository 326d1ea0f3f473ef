package dsv4

/*
#include <dsv4.h>
*/
import "C"

import (
	"context"
	"errors"
)

// Status says what a host can do about an error. Every value is itself an error, for errors.Is:
//
//	if errors.Is(err, dsv4.ErrContextFull) { ... }
type Status int32

// What can go wrong.
const (
	ErrInvalidArgument   Status = C.DSV4_E_INVALID_ARGUMENT     // the call itself is wrong: correct it
	ErrUnsupported       Status = C.DSV4_E_UNSUPPORTED          // understood, and not there: the message says what is missing
	ErrNotFound          Status = C.DSV4_E_NOT_FOUND            // a file or a name does not exist
	ErrIO                Status = C.DSV4_E_IO                   // the system, or your reader or writer, could not read or write
	ErrCorrupt           Status = C.DSV4_E_CORRUPT              // a file is not what it claims to be
	ErrIncompatible      Status = C.DSV4_E_INCOMPATIBLE         // two things do not belong together
	ErrOutOfMemoryHost   Status = C.DSV4_E_OUT_OF_MEMORY_HOST   // memory, or the model's memory limit, is exhausted
	ErrOutOfMemoryDevice Status = C.DSV4_E_OUT_OF_MEMORY_DEVICE // the same of the GPU
	ErrDeviceLost        Status = C.DSV4_E_DEVICE_LOST          // close the model and open it again
	ErrBusy              Status = C.DSV4_E_BUSY                 // another call is using this session
	ErrContextFull       Status = C.DSV4_E_CONTEXT_FULL         // the tokens do not fit the session's context
	ErrCancelled         Status = C.DSV4_E_CANCELLED            // cancelled, by you
	ErrInternal          Status = C.DSV4_E_INTERNAL             // a bug of libdsv4: please report the message
)

// ErrClosed is the answer of a model, session, conversation, parser or stream that was closed.
var ErrClosed = errors.New("dsv4: used after Close")

// String is the status's name in dsv4.h: "DSV4_E_CORRUPT".
func (s Status) String() string { return C.GoString(C.dsv4_status_name(C.dsv4_status(s))) }

// Error makes every status a target for errors.Is.
func (s Status) Error() string { return "dsv4: " + s.String() }

// Error is a call that failed. It is its Status and, where there is one, its cause, for errors.Is and errors.As.
type Error struct {
	Status  Status
	Message string // names the file, tensor or field, what was expected and what was found
	cause   error  // the context's, the reader's or the writer's
}

// Error is the message, and the cause where there is one.
func (e *Error) Error() string {
	text := "dsv4: " + e.Message
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

// Is reports whether target is the error's status.
func (e *Error) Is(target error) bool {
	status, ok := target.(Status)
	return ok && status == e.Status
}

// Unwrap is the error of the context, reader or writer that made the call fail, or nil.
func (e *Error) Unwrap() error { return e.cause }

// check turns the end of a C call into an error, and releases the C one.
func check(status C.dsv4_status, cerr *C.dsv4_error) error {
	if status == C.DSV4_OK {
		return nil
	}
	err := &Error{Status: Status(status), Message: C.GoString(C.dsv4_error_message(cerr))}
	C.dsv4_error_release(&cerr)
	return err
}

// because names the cause of an error with this status: what the library reports as "cancelled" was the context's
// doing, and what it reports as "the callback gave up" has the writer's own error.
func because(err error, status Status, cause error) error {
	var own *Error
	if cause != nil && errors.As(err, &own) && own.Status == status {
		own.cause = cause
	}
	return err
}

// endedBefore is the error of a call that was not begun because its context had ended.
func endedBefore(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return &Error{Status: ErrCancelled, Message: "not begun", cause: err}
	}
	return nil
}

func invalid(message string) error { return &Error{Status: ErrInvalidArgument, Message: message} }
