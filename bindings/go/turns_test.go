package dsv4

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"reflect"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"
)

const weather = `{"messages": [], "tools": [{"type": "function", "function": {"name": "get_weather",
 "description": "Get the weather in a city", "parameters": {"type": "object", "properties": {"city": {"type": "string"}},
 "required": ["city"]}}}]}`

func TestEventsAndStats(t *testing.T) {
	session := newTinySession(t, openTiny(t))
	check0(t, session.AppendMessage(RoleUser, "What is 12 plus 34?"))
	options := &GenerateOptions{Reasoning: ReasoningHigh, TokenEvents: true, TopLogprobs: 3}
	count := map[EventType]int{}
	var last Event
	stats, err := session.Generate(background, options, func(e Event) Action {
		if count[EventDone] != 0 {
			t.Error("an event after the last")
		}
		if e.Type == EventToken && (len(e.Token.Top) != 3 || e.Token.Top[0].Token != e.Token.Token || e.Token.Logprob > 0) {
			t.Errorf("%+v", e.Token)
		}
		count[e.Type]++
		last = e
		return Continue
	})
	check0(t, err)
	for _, kind := range []EventType{EventPrefill, EventReasoning, EventContent, EventToken, EventDone} {
		if count[kind] == 0 {
			t.Errorf("no event %d in %v", kind, count)
		}
	}
	if last.Reason != DoneStop || *last.Stats != stats || stats.GeneratedTokens == 0 || stats.ReasoningTokens == 0 ||
		stats.Reasoning != ReasoningHigh || stats.DecodeSeconds <= 0 {
		t.Fatalf("%+v", stats)
	}
}

func TestTools(t *testing.T) {
	session := newTinySession(t, openTiny(t))
	c := must(ConversationFromJSON([]byte(weather)))
	check0(t, session.SetConversation(c))
	c.Close()
	check0(t, session.AppendJSON([]byte(`[{"role": "user", "content": "What is the weather in Paris?"}]`)))
	named := *greedy
	named.ToolChoice, named.ToolName = ToolChoiceNamed, "get_weather"
	var call ToolCall
	stats := must(session.Generate(background, &named, func(e Event) Action {
		if e.Type == EventToolCall {
			call = *e.Call
		}
		return Continue
	}))
	var arguments struct{ City string }
	check0(t, call.Unmarshal(&arguments))
	if stats.Reason != DoneToolCalls || stats.ToolCalls != 1 || call.Name != "get_weather" || arguments.City != "Paris" {
		t.Fatalf("%+v, %+v", stats, call)
	}
	check0(t, session.AppendToolResult(call.ID, `{"temperature": 21, "condition": "sunny"}`))
	if stats := must(session.Generate(background, greedy, nil)); stats.Reason != DoneStop || stats.ReusedTokens == 0 {
		t.Fatalf("%+v", stats)
	}
	got := must(session.Conversation())
	defer got.Close()
	if got.Len() != 4 || !bytes.Contains(must(got.MessageJSON(1)), []byte("tool_calls")) {
		t.Fatalf("%s", must(got.MarshalJSON()))
	}
}

func TestOptions(t *testing.T) {
	model := openTiny(t)
	schema := *greedy
	schema.GrammarKind, schema.Grammar = GrammarJSONSchema, `{"type": "object", "properties": {"sum": {"type": "integer"}},
		"required": ["sum"], "additionalProperties": false}`
	var text string
	collect := func(e Event) Action {
		if e.Type == EventContent {
			text += e.Text
		}
		return Continue
	}
	run := func(options GenerateOptions) (Stats, error) {
		text = ""
		session := newTinySession(t, model)
		check0(t, session.AppendMessage(RoleUser, "What can you do?"))
		return session.Generate(background, &options, collect)
	}
	if _, err := run(schema); !errors.Is(err, ErrUnsupported) { // a build without xgrammar
		var object map[string]int
		if json.Unmarshal([]byte(text), &object) != nil || len(object) != 1 {
			t.Fatal(text, err)
		}
	}
	stop := *greedy
	stop.Stop = []string{"remember", " can"}
	if stats := must(run(stop)); stats.Reason != DoneStopString || text != "I" {
		t.Fatalf("%q %+v", text, stats)
	}
	bias := *greedy
	bias.MaxTokens, bias.LogitBias = 4, []LogitBias{{300, 1000}, {301, -1000}}
	if must(run(bias)); text != string(bytes.Repeat(must(model.Detokenize([]int32{300})), 4)) {
		t.Fatal(text)
	}
	for _, bad := range []GenerateOptions{
		{Temperature: -1}, {TopP: 7}, {Stop: []string{"a\x00b"}}, {Grammar: "x"}, {Resume: true}, {ToolChoice: 99},
	} {
		if _, err := run(bad); !errors.Is(err, ErrInvalidArgument) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// What a panic takes back, and what a context keeps.
func TestPanicsInGenerate(t *testing.T) {
	session := newTinySession(t, openTiny(t))
	check0(t, session.AppendMessage(RoleUser, "Hello!"))
	before := must(session.Info()).Tokens
	wantPanic(t, "event", func() {
		session.Generate(background, greedy, func(e Event) Action {
			if e.Type == EventContent {
				panic("event")
			}
			return Continue
		})
	})
	if after := must(session.Info()); after.Tokens != before || after.Interrupted {
		t.Fatalf("%+v", after)
	}
	wantPanic(t, "logits", func() {
		session.Generate(background, &GenerateOptions{Logits: func([]float32) bool { panic("logits") }}, nil)
	})
	if must(session.Generate(background, greedy, nil)).Reason != DoneStop {
		t.Fatal("the session does not go on")
	}
}

func TestContextEndsGenerate(t *testing.T) {
	model := openTiny(t)
	goroutines := runtime.NumGoroutine()
	for _, cancelAt := range []int{1, 5} {
		session := newTinySession(t, model)
		check0(t, session.AppendTokens([]int32{0}))
		ctx, cancel := context.WithCancel(background)
		tokens := 0
		stats, err := session.Generate(ctx, endless(), func(e Event) Action {
			if e.Type == EventToken {
				if tokens++; tokens == cancelAt {
					cancel()
				}
			}
			return Continue
		})
		wantError(t, err, ErrCancelled, context.Canceled)
		if tokens != cancelAt || stats.Reason != DoneCancelled || stats.GeneratedTokens != uint64(cancelAt) {
			t.Fatalf("cancelled at token %d: %d events, %+v", cancelAt, tokens, stats)
		}
		if !must(session.Info()).Interrupted {
			t.Fatal("what was generated is not kept")
		}
		_, err = session.Generate(ctx, greedy, nil)
		wantError(t, err, context.Canceled)
		session.Close()
	}
	// Without any event: the end comes from outside, in a prefill too long for its deadline.
	session := must(model.NewSession(&SessionOptions{Context: 8192}))
	defer session.Close()
	ctx, cancel := context.WithTimeout(background, 20*time.Millisecond)
	defer cancel()
	err := session.Eval(ctx, make([]int32, 8000), nil)
	wantError(t, err, ErrCancelled, context.DeadlineExceeded)
	for i := 0; runtime.NumGoroutine() > goroutines; i++ {
		if i == 100 {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), goroutines)
		}
		time.Sleep(time.Millisecond)
	}
}

// unwatched is a context that has ended, and tells only those who ask.
type unwatched struct {
	context.Context
	ended bool
}

func (u *unwatched) Err() error {
	if u.ended {
		return context.Canceled
	}
	return nil
}

// The callback's own goroutine sees the end at once, also where the watching one does not come to run.
func TestContextEndsInCallback(t *testing.T) {
	session := newTinySession(t, openTiny(t))
	check0(t, session.AppendTokens([]int32{0}))
	ctx := &unwatched{Context: background}
	stats, err := session.Generate(ctx, endless(), func(e Event) Action {
		ctx.ended = e.Type == EventToken || ctx.ended
		return Continue
	})
	wantError(t, err, ErrCancelled, context.Canceled)
	if stats.GeneratedTokens != 1 {
		t.Fatalf("%+v", stats)
	}
}

// Cancel is repeated while the call runs, and never after it.
func TestWatch(t *testing.T) {
	ctx, cancel := context.WithCancel(background)
	var cancels int32
	watch(ctx, func() { atomic.AddInt32(&cancels, 1) }, func() {
		cancel()
		for i := 0; i < 5000 && atomic.LoadInt32(&cancels) < 3; i++ {
			time.Sleep(time.Millisecond)
		}
	})
	after := atomic.LoadInt32(&cancels)
	if after < 3 {
		t.Fatalf("%d cancels", after)
	}
	time.Sleep(5 * time.Millisecond)
	if atomic.LoadInt32(&cancels) != after {
		t.Fatal("a cancel after the call")
	}
}

// Wherever in a call the end comes, at its very beginning too, it is not lost: here only the watching goroutine sees it.
func TestContextFromAnotherGoroutine(t *testing.T) {
	session := must(openTiny(t).NewSession(&SessionOptions{Context: wide}))
	defer session.Close()
	for i := 0; i < 100; i++ {
		check0(t, session.Clear())
		check0(t, session.AppendTokens([]int32{0}))
		ctx, cancel := context.WithCancel(background)
		go cancel()
		_, err := session.Generate(ctx, endless(), nil)
		wantError(t, err, context.Canceled)
	}
}

func TestSessionCancel(t *testing.T) {
	session := newTinySession(t, openTiny(t))
	check0(t, session.AppendTokens([]int32{0}))
	_, err := session.Generate(background, endless(), func(e Event) Action {
		session.Cancel()
		return Continue
	})
	wantError(t, err, ErrCancelled)
	if errors.Is(err, context.Canceled) {
		t.Fatal("no context was cancelled")
	}
}

func TestStream(t *testing.T) {
	model := openTiny(t)
	session, other := newTinySession(t, model), newTinySession(t, model)
	const question = "What can you do?"
	want := answer(t, other, question)
	check0(t, session.AppendMessage(RoleUser, question))
	stream := must(session.Stream(background, greedy))
	wantError(t, session.Clear(), ErrBusy)
	var got string
	for stream.Next() {
		if e := stream.Event(); e.Type == EventContent {
			got += e.Text
		}
	}
	check0(t, stream.Err())
	check0(t, stream.Close())
	if got != want || !stream.Ended() || stream.Stats().Reason != DoneStop || stream.Next() {
		t.Fatalf("%q, expected %q; %+v", got, want, stream.Stats())
	}

	// Closed on the way: the session is free, and the turn can be resumed.
	check0(t, session.AppendMessage(RoleUser, question))
	late := &GenerateOptions{LogitBias: []LogitBias{{Token: 300, Bias: 1000}}} // has not ended, however late this comes
	stream = must(session.Stream(background, late))
	stream.Next()
	check0(t, stream.Close())
	check0(t, stream.Close())
	if !must(session.Info()).Interrupted {
		t.Fatal("an interrupted turn expected")
	}
	late.Resume, late.MaxTokens = true, stream.Stats().GeneratedTokens+3 // of the whole turn
	if stats := must(session.Generate(background, late, nil)); stats.Reason != DoneLength {
		t.Fatalf("resumed: %+v", stats)
	}
	if !reflect.DeepEqual(must(session.Conversation()).Len(), 4) {
		t.Fatal("question and answer, twice")
	}
	_, err := session.Stream(background, endless())
	wantError(t, err, ErrUnsupported)
}

// longTurn is a session whose greedy turn would be many tokens.
func longTurn(t *testing.T) (*Session, *GenerateOptions) {
	session := newTinySession(t, openTiny(t))
	check0(t, session.AppendTokens([]int32{0}))
	return session, &GenerateOptions{TokenEvents: true, LogitBias: []LogitBias{{300, 1000}}}
}

func TestStreamEnds(t *testing.T) {
	session, options := longTurn(t)
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	stream := must(session.Stream(ctx, options))
	tokens := 0
	for stream.Next() {
		if tokens++; tokens == 3 {
			cancel()
		}
	}
	wantError(t, stream.Err(), ErrCancelled, context.Canceled)
	if tokens > 200 || stream.Stats().Reason != DoneCancelled { // the events that were waiting come first
		t.Fatalf("%d events after a cancel at the third", tokens)
	}
	_, err := session.Stream(ctx, options)
	wantError(t, err, context.Canceled)

	check0(t, session.Clear())
	check0(t, session.AppendTokens([]int32{0}))
	stream = must(session.Stream(background, options))
	stream.Answer(Stop)
	for stream.Next() {
	}
	check0(t, stream.Err())
	if stream.Stats().Reason != DoneHost {
		t.Fatalf("%+v", stream.Stats())
	}

	// An error of the turn itself, which start cannot know yet.
	check0(t, session.Clear())
	stream = must(session.Stream(background, options))
	for stream.Next() {
	}
	wantError(t, stream.Err(), ErrInvalidArgument)

	check0(t, session.AppendTokens([]int32{0}))
	stream = must(session.Stream(background, options))
	check0(t, session.Close()) // under the stream
	if stream.Next() {
		t.Fatal("an event of a closed session")
	}
	wantError(t, stream.Err(), ErrClosed)
	check0(t, stream.Close())
}

func TestPoll(t *testing.T) {
	session := newTinySession(t, openTiny(t))
	check0(t, session.AppendMessage(RoleUser, "Hello!"))
	stream := must(session.Stream(background, greedy))
	defer stream.Close()
	most, events := 0, 0
	for !stream.Ended() {
		batch, err := stream.Poll(3, 0) // never waits: a frame of a game
		check0(t, err)
		if len(batch) > most {
			most = len(batch)
		}
		events += len(batch)
		time.Sleep(time.Millisecond)
	}
	if most > 3 || events < 3 || stream.Stats().Reason != DoneStop {
		t.Fatalf("%d at once, %d in all, %+v", most, events, stream.Stats())
	}
	if batch, err := stream.Poll(3, time.Second); len(batch) != 0 || err != nil {
		t.Fatal(batch, err)
	}

	session, options := longTurn(t)
	ctx, cancel := context.WithCancel(background)
	stream = must(session.Stream(ctx, options))
	cancel()
	for !stream.Ended() {
		stream.Poll(64, 0)
	}
	wantError(t, stream.Err(), context.Canceled)
}

func TestSnapshots(t *testing.T) {
	model := openTiny(t)
	session, restored := newTinySession(t, model), newTinySession(t, model)
	answer(t, session, "I live in Oslo.")
	var stream bytes.Buffer // two, one behind the other
	check0(t, session.Save(&stream, nil))
	size := stream.Len()
	check0(t, session.Save(&stream, &SnapshotOptions{Uncompressed: true}))
	both := append([]byte(nil), stream.Bytes()...)

	info := must(PeekSnapshot(bytes.NewReader(both)))
	if info.Fingerprint != must(model.Info()).Fingerprint || info.Driven != DrivenByMessages ||
		info.Tokens != must(session.Info()).Tokens || info.Vocab != 1664 {
		t.Fatalf("%+v", info)
	}
	for i := 0; i < 2; i++ {
		check0(t, restored.Restore(iotest.HalfReader(&stream)))
		if !reflect.DeepEqual(must(restored.Tokens()), must(session.Tokens())) {
			t.Fatal("other tokens")
		}
	}
	if stream.Len() != 0 {
		t.Fatal("restore did not take what the snapshot has")
	}
	if a, b := answer(t, session, "Where do I live?"), answer(t, restored, "Where do I live?"); a != b {
		t.Fatalf("%q, restored %q", a, b)
	}
	wantError(t, restored.Restore(bytes.NewReader(both[:size-1])), ErrCorrupt)
	wantError(t, restored.Restore(bytes.NewReader(nil)), ErrCorrupt)

	path := filepath.Join(t.TempDir(), "snapshot.dsv4")
	check0(t, session.SaveFile(path, &SnapshotOptions{Level: 3}))
	check0(t, restored.RestoreFile(path))
	if must(PeekSnapshotFile(path)).Tokens != must(restored.Info()).Tokens {
		t.Fatal("peek")
	}
	wantError(t, restored.RestoreFile(path+"x"), ErrNotFound)
	fork := must(restored.Fork())
	defer fork.Close()
	if !reflect.DeepEqual(must(fork.Tokens()), must(restored.Tokens())) {
		t.Fatal("a fork elsewhere")
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestSnapshotCallbacksFail(t *testing.T) {
	session := newTinySession(t, openTiny(t))
	answer(t, session, "Hello!")
	full := errors.New("disk full")
	wantError(t, session.Save(writerFunc(func([]byte) (int, error) { return 0, full }), nil), ErrIO, full)
	wantError(t, session.Save(writerFunc(func([]byte) (int, error) { return 0, nil }), nil), ErrIO, io.ErrShortWrite)
	wantError(t, session.Restore(iotest.ErrReader(full)), ErrIO, full)
	_, err := PeekSnapshot(iotest.ErrReader(full))
	wantError(t, err, ErrIO, full)
	wantPanic(t, "writer", func() { session.Save(writerFunc(func([]byte) (int, error) { panic("writer") }), nil) })
	wantPanic(t, "reader", func() { session.Restore(panicReader{}) })
	answer(t, session, "Thank you.") // and it goes on
}

type panicReader struct{}

func (panicReader) Read([]byte) (int, error) { panic("reader") }
