package dsv4

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"
)

const tiny = "../../samples/models/tiny"

var background = context.Background()

func openTiny(t testing.TB) *Model {
	t.Helper()
	model, err := Open(background, tiny, &ModelOptions{Backend: "cpu", Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { model.Close() })
	return model
}

func newTinySession(t testing.TB, model *Model) *Session {
	t.Helper()
	session, err := model.NewSession(&SessionOptions{Context: 1024})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	return session
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func check0(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t testing.TB, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Fatalf("error is %v, expected one that is %v", err, target)
		}
	}
}

var greedy = &GenerateOptions{Reasoning: ReasoningNone, MaxTokens: 100}

// wide is the context for an endless turn that another goroutine ends: filled only long after any of them has come.
const wide = 1 << 16

// endless draws one token until something else ends the turn.
func endless() *GenerateOptions {
	return &GenerateOptions{TokenEvents: true, Logits: func(logits []float32) bool {
		for i := range logits {
			logits[i] = -100
		}
		logits[300] = 100
		return true
	}}
}

func answer(t testing.TB, session *Session, question string) string {
	t.Helper()
	var text strings.Builder
	check0(t, session.AppendMessage(RoleUser, question))
	_, err := session.Generate(background, greedy, func(e Event) Action {
		if e.Type == EventContent {
			text.WriteString(e.Text)
		}
		return Continue
	})
	check0(t, err)
	return text.String()
}

// What dsv4.h declares, this package calls.
func TestWholeHeader(t *testing.T) {
	header := must(os.ReadFile("../../include/dsv4.h"))
	declared := regexp.MustCompile(`(?m)^DSV4_API .*?(dsv4_[a-z0-9_]+)\(`).FindAllSubmatch(header, -1)
	if len(declared) < 60 {
		t.Fatalf("only %d functions found in dsv4.h", len(declared))
	}
	var source []byte
	for _, pattern := range []string{"*.go", "*.c"} {
		for _, path := range must(filepath.Glob(pattern)) {
			if !strings.HasSuffix(path, "_test.go") {
				source = append(source, must(os.ReadFile(path))...)
			}
		}
	}
	// Errors are always asked for as a status and a message together; structs of the two below are never made in C.
	elsewhere := map[string]string{
		"dsv4_error_status":      "the call's own status is the same",
		"dsv4_eval_options_init": "the macro is used, in C",
	}
	for _, name := range declared {
		called := regexp.MustCompile(`\b` + string(name[1]) + `\(`).Match(source)
		if _, known := elsewhere[string(name[1])]; called == known {
			t.Errorf("%s: called: %v, expected elsewhere: %v", name[1], called, known)
		}
	}
}

func TestBuild(t *testing.T) {
	info := must(Build())
	if Version() < 1000 || info.Version == "" || !strings.Contains(info.Backends, "cpu") || info.Compiler == "" {
		t.Fatalf("version %d, %+v", Version(), info)
	}
}

func TestErrors(t *testing.T) {
	_, err := Open(background, "no/such/folder", nil)
	wantError(t, err, ErrNotFound)
	var own *Error
	if !errors.As(err, &own) || own.Status != ErrNotFound || !strings.Contains(own.Message, "no/such/folder") {
		t.Fatalf("%#v", err)
	}
	if errors.Is(err, ErrCorrupt) || ErrNotFound.String() != "DSV4_E_NOT_FOUND" {
		t.Fatal("a status is not itself alone")
	}
	_, err = Open(background, "with\x00inside", nil)
	wantError(t, err, ErrInvalidArgument)
	_, err = Open(background, tiny, &ModelOptions{Backend: "abacus"})
	wantError(t, err, ErrUnsupported)
	_, err = OpenSynthetic(background, "no such shape", 1, 1, nil)
	wantError(t, err, ErrInvalidArgument)
	if DoneStopString.String() != "stop_string" {
		t.Fatal(DoneStopString.String())
	}
}

func TestOpenHooks(t *testing.T) {
	var lines, steps int
	options := &ModelOptions{
		Log:      func(LogLevel, string) { lines++ },
		Progress: func(done, total uint64) error { steps++; return nil },
	}
	model, err := Open(background, tiny, options)
	check0(t, err)
	model.Close()
	if lines == 0 || steps == 0 {
		t.Fatalf("%d lines of log, %d steps of progress", lines, steps)
	}
	enough := errors.New("enough")
	options.Progress = func(done, total uint64) error { return enough }
	_, err = Open(background, tiny, options)
	wantError(t, err, ErrCancelled, enough)
	ended, cancel := context.WithCancel(background)
	options.Progress = func(done, total uint64) error { cancel(); return nil }
	_, err = Open(ended, tiny, options)
	wantError(t, err, ErrCancelled, context.Canceled)
	_, err = Open(ended, tiny, nil)
	wantError(t, err, ErrCancelled, context.Canceled)
	options.Progress = func(done, total uint64) error { panic("progress") }
	wantPanic(t, "progress", func() { Open(background, tiny, options) })
	options.Progress, options.Log = nil, func(LogLevel, string) { panic("log") }
	wantPanic(t, "log", func() { Open(background, tiny, options) })
}

func wantPanic(t testing.TB, value string, call func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if got := recover(); got != value {
			t.Fatalf("panic %v, expected %q", got, value)
		}
	}()
	call()
}

func TestModel(t *testing.T) {
	model := must(Open(background, tiny, &ModelOptions{Backend: "cpu", TimeVerbs: true}))
	defer model.Close()
	info := must(model.Info())
	if info.Layers != 4 || info.Vocab != 1664 || !info.HasTokenizer || !info.DraftHead || info.Backend == "" {
		t.Fatalf("%+v", info)
	}
	if !info.HasReasoning(ReasoningHigh) || info.HasReasoning(ReasoningLow) {
		t.Fatal("profile preview has the modes none, high and max")
	}
	if layer := must(model.Layer(2, 512)); layer.Ratio != 128 || layer.WeightBytes == 0 || layer.StateBytes == 0 {
		t.Fatalf("%+v", layer)
	}
	_, err := model.Layer(99, 0)
	wantError(t, err, ErrInvalidArgument)
	if e := must(EstimateMemory(tiny, nil, 1024)); e.WeightBytes == 0 || e.StateBytes == 0 || !e.Fits {
		t.Fatalf("%+v", e)
	}
	answer(t, newTinySession(t, model), "Hello!")
	if times := must(model.VerbTimes()); len(times) < 5 || times[0].Calls == 0 {
		t.Fatalf("%+v", times)
	}
	check0(t, model.ClearVerbTimes())
	if times := must(model.VerbTimes()); len(times) != 0 {
		t.Fatalf("cleared, and %+v", times)
	}
	if peak, err := model.MatrixPeak(); err == nil && peak <= 0 || err != nil && !errors.Is(err, ErrUnsupported) {
		t.Fatal(peak, err)
	}
	_, err = model.CopyPeak()
	wantError(t, err, ErrUnsupported)
	wantError(t, newTinySession(t, model).Pretend(100), ErrUnsupported)
}

func TestText(t *testing.T) {
	model := openTiny(t)
	for _, text := range []string{"", "Hello, wörld!", "one\x00two", "<｜User｜>"} {
		ids := must(model.Tokenize(text))
		if back := string(must(model.Detokenize(ids))); back != text {
			t.Errorf("%q came back as %q", text, back)
		}
	}
	special := must(model.TokenizeSpecial("<｜User｜>"))
	if len(special) != 1 || string(must(model.DetokenizeSpecial(special))) != "<｜User｜>" ||
		len(must(model.Detokenize(special))) != 0 {
		t.Fatal(special)
	}
	_, err := model.Tokenize("\xff")
	wantError(t, err, ErrInvalidArgument)
	_, err = model.Detokenize([]int32{1 << 30})
	wantError(t, err, ErrInvalidArgument)
}

func TestConversation(t *testing.T) {
	model := openTiny(t)
	c := must(NewConversation())
	defer c.Close()
	check0(t, c.Add(RoleSystem, "Answer briefly."))
	check0(t, c.AppendJSON([]byte(`{"role": "user", "content": "Hello!"}`)))
	text, ids := must(model.Render(c, nil)), must(model.RenderTokens(c, nil))
	if string(must(model.DetokenizeSpecial(ids))) != text || !strings.Contains(text, "Answer briefly.") {
		t.Fatal(text)
	}
	if high := must(model.Render(c, &RenderOptions{Reasoning: ReasoningHigh})); high == text {
		t.Fatal("thinking has the same prompt")
	}
	_, err := model.Render(c, &RenderOptions{Reasoning: ReasoningLow})
	wantError(t, err, ErrUnsupported)

	var back struct{ Conversation *Conversation } // as part of a host's own JSON
	check0(t, json.Unmarshal([]byte(`{"Conversation": `+string(must(json.Marshal(c)))+`}`), &back))
	defer back.Conversation.Close()
	if back.Conversation.Len() != 2 || must(model.Render(back.Conversation, nil)) != text {
		t.Fatal("JSON does not come back")
	}
	var message struct{ Role, Content string }
	check0(t, json.Unmarshal(must(c.MessageJSON(1)), &message))
	if message.Role != "user" || message.Content != "Hello!" {
		t.Fatal(message)
	}
	_, err = c.MessageJSON(2)
	wantError(t, err, ErrInvalidArgument)
	_, err = ConversationFromJSON([]byte(`[{"role": 1}]`))
	wantError(t, err, ErrInvalidArgument)
	wantError(t, c.AddToolResult("id\x00", "x"), ErrInvalidArgument)
	wantError(t, json.Unmarshal([]byte(`{"messages": 7}`), c), ErrInvalidArgument)
	if c.Len() != 2 {
		t.Fatal("JSON that was refused changed the conversation")
	}
}

func TestClose(t *testing.T) {
	model := must(Open(background, tiny, nil))
	other := must(model.Retain())
	session := newTinySession(t, model)
	for i := 0; i < 2; i++ {
		check0(t, model.Close())
	}
	_, err := model.Info()
	wantError(t, err, ErrClosed)
	if _, err := other.Info(); err != nil {
		t.Fatal("closed with another handle: ", err)
	}
	other.Close()
	if answer(t, session, "Hello!") == "" { // a session keeps its model
		t.Fatal("no answer")
	}
	check0(t, session.Close())
	check0(t, session.Close())
	session.Cancel()
	wantError(t, session.Clear(), ErrClosed)
	var zero Conversation
	wantError(t, zero.Add(RoleUser, "x"), ErrClosed)
}

// A handle is released once, and by the last that uses it.
func TestGuarded(t *testing.T) {
	released := 0
	g := guarded{ptr: unsafe.Pointer(new(int)), release: func(unsafe.Pointer) { released++ }}
	must(g.enter())
	must(g.enter())
	g.close()
	g.leave()
	_, err := g.enter()
	wantError(t, err, ErrClosed)
	if released != 0 {
		t.Fatal("released in use")
	}
	g.leave()
	g.close()
	if released != 1 {
		t.Fatalf("released %d times", released)
	}
}

// What nobody closed is found by the collector.
func TestFinalizers(t *testing.T) {
	model := openTiny(t)
	func() {
		for i := 0; i < 4; i++ {
			must(must(model.NewSession(&SessionOptions{Context: 256})).Fork())
			must(NewParser(model, nil, func(Event) {}))
		}
	}()
	for i := 0; i < 200; i++ {
		runtime.GC()
		if model.hooks.inUse() == 1 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("%d handles are still there", model.hooks.inUse()-1)
}

func TestBusyAndCloseInUse(t *testing.T) {
	session := must(openTiny(t).NewSession(&SessionOptions{Context: wide}))
	check0(t, session.AppendTokens([]int32{0, 300}))
	begun := make(chan struct{})
	var once sync.Once
	ended := make(chan error)
	go func() {
		_, err := session.Generate(background, endless(), func(Event) Action {
			once.Do(func() { close(begun) })
			return Continue
		})
		ended <- err
	}()
	<-begun
	wantError(t, session.Clear(), ErrBusy)
	check0(t, session.Close()) // from another goroutine: cancels, and is done when generate is
	wantError(t, <-ended, ErrCancelled)
	wantError(t, session.Clear(), ErrClosed)
}

func TestManyGoroutines(t *testing.T) {
	model := openTiny(t)
	want := answer(t, newTinySession(t, model), "What is 12 plus 34?")
	var all sync.WaitGroup
	for i := 0; i < 8; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			session := must(model.NewSession(&SessionOptions{Context: 256}))
			defer session.Close()
			if got := answer(t, session, "What is 12 plus 34?"); got != want {
				t.Errorf("%q, expected %q", got, want)
			}
		}()
	}
	all.Wait()
}

func TestTokensAndLogits(t *testing.T) {
	model := openTiny(t)
	info := must(model.Info())
	session := must(model.NewSession(&SessionOptions{Context: 256, Draft: true}))
	defer session.Close()
	prompt := must(model.Tokenize("Hello there, who are you?"))
	n := len(prompt)
	options := &EvalOptions{
		Logits:      make([]float32, n*int(info.Vocab)),
		DraftLogits: make([]float32, n*int(info.Vocab)),
	}
	check0(t, session.Eval(background, prompt, options))
	newest := must(session.Logits())
	if !reflect.DeepEqual(newest, options.Logits[(n-1)*int(info.Vocab):]) || options.DraftLogits[len(newest)] == 0 {
		t.Fatal("the last row is not the newest logits")
	}
	check0(t, session.Rewind(3))
	if ids := must(session.Tokens()); !reflect.DeepEqual(ids, prompt[:3]) {
		t.Fatal(ids)
	}
	check0(t, session.SyncTokens(prompt))
	check0(t, session.Eval(background, nil, nil))
	if again := must(session.Logits()); argmax(again) != argmax(newest) {
		t.Fatal("other logits after rewind and sync")
	}
	state := must(session.Info())
	if state.Tokens != uint64(n) || state.Evaluated != uint64(n) || state.Context != 256 || state.Driven != DrivenByTokens {
		t.Fatalf("%+v", state)
	}
	wantError(t, session.Eval(background, prompt, &EvalOptions{Logits: make([]float32, 5)}), ErrInvalidArgument)
	wantError(t, session.AppendTokens([]int32{-1}), ErrInvalidArgument)
	wantError(t, session.AppendTokens(make([]int32, 300)), ErrContextFull)
	check0(t, session.Clear())
	if len(must(session.Tokens())) != 0 {
		t.Fatal("not clear")
	}
	enough := errors.New("enough")
	wantError(t, session.Eval(background, prompt, &EvalOptions{Progress: func(done, total uint64) error { return enough }}),
		ErrCancelled, enough)
}

func argmax(logits []float32) (best int) {
	for i, l := range logits {
		if l > logits[best] {
			best = i
		}
	}
	return best
}

func TestParser(t *testing.T) {
	var events []Event
	p := must(NewParser(nil, &ParserOptions{Start: StartReasoning, Stop: []string{"END"}},
		func(e Event) { events = append(events, e) }))
	defer p.Close()
	for _, piece := range []string{"I th", "ink</thi", "nk>Yes", ". END more"} {
		must(p.WriteString(piece))
	}
	check0(t, p.Finish(DoneStop))
	var reasoning, content string
	for _, e := range events {
		switch e.Type {
		case EventReasoning:
			reasoning += e.Text
		case EventContent:
			content += e.Text
		}
	}
	if last := events[len(events)-1]; reasoning != "I think" || content != "Yes. " || last.Type != EventDone ||
		last.Reason != DoneStopString || last.Stats != nil {
		t.Fatalf("%+v", events)
	}
	if message := must(p.MessageJSON()); !bytes.Contains(message, []byte(`"I think"`)) {
		t.Fatalf("%s", message)
	}
	wantError(t, p.WriteTokens([]int32{1}), ErrInvalidArgument)

	model := openTiny(t)
	tokens := must(NewParser(model, nil, func(Event) { panic("parser") }))
	defer tokens.Close()
	wantPanic(t, "parser", func() { tokens.WriteTokens(must(model.Tokenize("Hello!"))) })
	check0(t, tokens.Close())
	_, err := tokens.Write(nil)
	wantError(t, err, ErrClosed)
}
