package dsv4

/*
#include "dsv4_go_calls.h"
*/
import "C"

import (
	"context"
	"runtime/cgo"
	"unsafe"
)

// ToolChoice says whether the model may, or has to, call tools.
type ToolChoice int32

const (
	ToolChoiceDefault  ToolChoice = C.DSV4_TOOL_CHOICE_DEFAULT  // the conversation's own, else auto
	ToolChoiceAuto     ToolChoice = C.DSV4_TOOL_CHOICE_AUTO     // the model decides
	ToolChoiceNone     ToolChoice = C.DSV4_TOOL_CHOICE_NONE     // no tools in the prompt
	ToolChoiceRequired ToolChoice = C.DSV4_TOOL_CHOICE_REQUIRED // one call or several; with ReasoningNone only
	ToolChoiceNamed    ToolChoice = C.DSV4_TOOL_CHOICE_NAMED    // one call of ToolName; with ReasoningNone only
)

// GrammarKind says what GenerateOptions.Grammar is.
type GrammarKind int32

const (
	GrammarNone       GrammarKind = C.DSV4_GRAMMAR_NONE
	GrammarJSON       GrammarKind = C.DSV4_GRAMMAR_JSON        // any JSON object
	GrammarJSONSchema GrammarKind = C.DSV4_GRAMMAR_JSON_SCHEMA // a JSON schema
	GrammarEBNF       GrammarKind = C.DSV4_GRAMMAR_EBNF        // EBNF as in GBNF; its rule root is the answer
	GrammarRegex      GrammarKind = C.DSV4_GRAMMAR_REGEX       // a regular expression for the whole answer
)

// LogitBias is added to a token's logit; negative infinity: never.
type LogitBias struct {
	Token int32
	Bias  float32
}

// GenerateOptions say how a turn is drawn. nil stands for DefaultGenerateOptions; the zero value is greedy.
//
// For the next token bias, repetition, presence and frequency penalties, Logits, the grammar, TopK, Temperature, TopP
// and MinP act in this order, then it is drawn.
type GenerateOptions struct {
	Reasoning         Reasoning // sessions driven by messages only
	Temperature       float64   // 0: greedy; DefaultGenerateOptions has 1
	TopK              int32     // 0: off
	TopP              float64   // 0 or 1: off
	MinP              float64   // 0: off
	Seed              uint64    // 0: a fresh one, reported in Stats
	MaxTokens         uint64    // 0: the profile's own limit, else as many as the context holds
	Stop              []string  // they count in the answer's text, not in reasoning or calls
	ReasoningBudget   uint64    // tokens of reasoning after which the answer has to follow; 0: no limit
	RepetitionPenalty float64   // 0 or 1: off
	PresencePenalty   float64   // -2 to 2
	FrequencyPenalty  float64   // -2 to 2
	PenaltyWindow     uint64    // the penalties count this many of the newest tokens; 0: all
	LogitBias         []LogitBias
	TokenEvents       bool  // an EventToken for each token
	TopLogprobs       int32 // with TokenEvents: how many of the most probable, 0 to 20
	ToolChoice        ToolChoice
	ToolName          string // ToolChoiceNamed
	GrammarKind       GrammarKind
	Grammar           string
	Resume            bool // go on with the turn that was interrupted; see the header's dsv4_session_generate

	// Logits may edit the logits [vocab] of the next token, which are valid during the call only. false ends the turn
	// as Stop does. Not with Session.Stream.
	Logits func(logits []float32) bool
}

// DefaultGenerateOptions is what nil stands for.
func DefaultGenerateOptions() GenerateOptions { return GenerateOptions{Temperature: 1} }

// native writes the options for C, but for the callback.
func (o *GenerateOptions) native(a *arena) *C.dsv4_generate_options {
	out := (*C.dsv4_generate_options)(a.alloc(C.sizeof_dsv4_generate_options))
	C.dsv4_generate_options_init(out, C.sizeof_dsv4_generate_options)
	if o == nil {
		return out
	}
	out.reasoning = C.int32_t(o.Reasoning)
	out.top_k = C.int32_t(o.TopK)
	out.temperature = C.double(o.Temperature)
	out.top_p = C.double(o.TopP)
	out.min_p = C.double(o.MinP)
	out.seed = C.uint64_t(o.Seed)
	out.max_tokens = C.uint64_t(o.MaxTokens)
	out.stop, out.stop_count = a.strs("Stop", o.Stop)
	out.reasoning_budget = C.uint64_t(o.ReasoningBudget)
	out.repetition_penalty = C.double(o.RepetitionPenalty)
	out.presence_penalty = C.double(o.PresencePenalty)
	out.frequency_penalty = C.double(o.FrequencyPenalty)
	out.penalty_window = C.uint64_t(o.PenaltyWindow)
	if n := len(o.LogitBias); n != 0 {
		biases := (*C.dsv4_logit_bias)(a.alloc(uintptr(n) * C.sizeof_dsv4_logit_bias))
		for i, b := range o.LogitBias {
			unsafe.Slice(biases, n)[i] = C.dsv4_logit_bias{token: C.int32_t(b.Token), bias: C.float(b.Bias)}
		}
		out.logit_bias, out.logit_bias_count = biases, C.size_t(n)
	}
	out.token_events = flag(o.TokenEvents)
	out.top_logprobs = C.int32_t(o.TopLogprobs)
	out.tool_choice = C.int32_t(o.ToolChoice)
	out.tool_name = a.optional("ToolName", o.ToolName)
	out.grammar_kind = C.int32_t(o.GrammarKind)
	out.grammar = a.optional("Grammar", o.Grammar)
	out.resume = flag(o.Resume)
	return out
}

// Generate evaluates what is waiting and generates until the turn ends. onEvent, which may be nil, is called on this
// goroutine, last of all with EventDone; a panic in it takes the turn back and goes on from here.
//
// The end of ctx, and Session.Cancel, end the turn within one token, keep what was generated, and are ErrCancelled; the
// answer Cancel is ErrCancelled, too, and takes the turn back. Statistics come with both. After any other error the
// timeline is as it was before the call.
//
// What the model said joins the conversation with its exact tokens. After DoneToolCalls append the results
// (AppendToolResult) and generate again.
func (s *Session) Generate(ctx context.Context, options *GenerateOptions, onEvent func(Event) Action) (Stats, error) {
	var a arena
	defer a.free()
	native := options.native(&a)
	if a.err != nil {
		return Stats{}, a.err
	}
	var stats Stats
	turn := &turn{onEvent: func(e Event) Action {
		if e.Stats != nil {
			stats = *e.Stats // C fills its own parameter on success only
		}
		if onEvent == nil {
			return Continue
		}
		action := onEvent(e)
		if ctx.Err() != nil { // ended in the callback, perhaps: no token more, whenever the watching goroutine sees it
			s.Cancel()
		}
		return action
	}}
	withLogits := 0
	if options != nil && options.Logits != nil {
		turn.logits, withLogits = options.Logits, 1
	}
	handle := cgo.NewHandle(turn)
	defer handle.Delete()
	err := s.useWithin(ctx, func(session *C.dsv4_session, cerr **C.dsv4_error) C.dsv4_status {
		return C.dsv4go_generate(session, native, C.int(withLogits), C.uintptr_t(handle), nil, cerr)
	})
	turn.rethrow()
	return stats, err
}
