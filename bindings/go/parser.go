package dsv4

/*
#include "dsv4_go_calls.h"
*/
import "C"

import (
	"runtime"
	"runtime/cgo"
	"unsafe"
)

// OutputStart says where the output begins that a parser reads.
type OutputStart int32

const (
	StartContent   OutputStart = C.DSV4_START_CONTENT
	StartReasoning OutputStart = C.DSV4_START_REASONING  // the prompt ends with <think>
	StartToolCalls OutputStart = C.DSV4_START_TOOL_CALLS // the prompt ends inside a block of calls
)

// ParserOptions say what a parser reads. nil is the default.
type ParserOptions struct {
	Start OutputStart
	Stop  []string // stop strings
}

// Parser is the reader of model output that Generate uses, for hosts that draw tokens themselves: it turns output, in
// pieces of any size, into events. It is an io.Writer and an io.StringWriter, and for one goroutine at a time.
type Parser struct {
	guarded
	turn *turn
}

// NewParser makes a parser. model, which WriteTokens needs, may be nil for a parser of text. onEvent runs inside the
// parser's methods.
func NewParser(model *Model, options *ParserOptions, onEvent func(Event)) (*Parser, error) {
	var a arena
	defer a.free()
	native := (*C.dsv4_parser_options)(a.alloc(C.sizeof_dsv4_parser_options))
	C.dsv4_parser_options_init(native, C.sizeof_dsv4_parser_options)
	if options != nil {
		native.start = C.int32_t(options.Start)
		native.stop, native.stop_count = a.strs("Stop", options.Stop)
	}
	if a.err != nil {
		return nil, a.err
	}
	turn := &turn{onEvent: func(e Event) Action {
		if onEvent != nil {
			onEvent(e)
		}
		return Continue
	}}
	var cmodel *C.dsv4_model
	if model != nil {
		ptr, err := model.enter()
		if err != nil {
			return nil, err
		}
		defer model.leave()
		cmodel = (*C.dsv4_model)(ptr)
	}
	handle := cgo.NewHandle(turn) // of turn and not of the parser, which could never be collected then
	var parser *C.dsv4_parser
	var cerr *C.dsv4_error
	if err := check(C.dsv4go_parser_create(cmodel, native, C.uintptr_t(handle), &parser, &cerr), cerr); err != nil {
		handle.Delete()
		return nil, err
	}
	return newParser(parser, turn, handle, model), nil
}

func newParser(parser *C.dsv4_parser, turn *turn, handle cgo.Handle, model *Model) *Parser {
	p := &Parser{turn: turn}
	p.ptr = unsafe.Pointer(parser)
	var hooks *hooks
	if model != nil {
		hooks = model.hooks.retain()
	}
	p.release = func(ptr unsafe.Pointer) {
		parser := (*C.dsv4_parser)(ptr)
		C.dsv4_parser_release(&parser)
		handle.Delete()
		if hooks != nil {
			hooks.drop()
		}
	}
	runtime.SetFinalizer(p, (*Parser).Close)
	return p
}

// Close releases the parser. It returns nil, always.
func (p *Parser) Close() error {
	p.close()
	runtime.SetFinalizer(p, nil)
	return nil
}

func (p *Parser) use(call func(parser *C.dsv4_parser, cerr **C.dsv4_error) C.dsv4_status) error {
	ptr, err := p.enter()
	if err != nil {
		return err
	}
	defer p.leave()
	var cerr *C.dsv4_error
	err = check(call((*C.dsv4_parser)(ptr), &cerr), cerr)
	p.turn.rethrow()
	return err
}

// Write takes more output as text, in which </think>, the end of the turn and ｜DSML｜ are the control tokens that they
// spell. After the end of the turn nothing more happens.
func (p *Parser) Write(text []byte) (int, error) {
	err := p.use(func(parser *C.dsv4_parser, cerr **C.dsv4_error) C.dsv4_status {
		ctext, length := bytesOf(text)
		return C.dsv4_parser_push_text(parser, ctext, length, cerr)
	})
	if err != nil {
		return 0, err
	}
	return len(text), nil
}

// WriteString is Write of a string.
func (p *Parser) WriteString(text string) (int, error) { return p.Write([]byte(text)) }

// WriteTokens takes more output as token ids.
func (p *Parser) WriteTokens(ids []int32) error {
	return p.use(func(parser *C.dsv4_parser, cerr **C.dsv4_error) C.dsv4_status {
		cids, count := idsOf(ids)
		return C.dsv4_parser_push_tokens(parser, cids, count, cerr)
	})
}

// Finish ends the output: DoneStop as if the model had ended its turn (EventDone then says what it amounts to),
// DoneLength, DoneHost or DoneCancelled.
func (p *Parser) Finish(reason Reason) error {
	return p.use(func(parser *C.dsv4_parser, cerr **C.dsv4_error) C.dsv4_status {
		return C.dsv4_parser_finish(parser, C.int32_t(reason), cerr)
	})
}

// MessageJSON is the assistant message so far, as OpenAI-shaped JSON.
func (p *Parser) MessageJSON() ([]byte, error) {
	return fetch(func(out *byte, capacity C.size_t, length *C.size_t) error {
		return p.use(func(parser *C.dsv4_parser, cerr **C.dsv4_error) C.dsv4_status {
			return C.dsv4_parser_message_json(parser, (*C.char)(unsafe.Pointer(out)), capacity, length, cerr)
		})
	})
}
