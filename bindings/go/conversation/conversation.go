// The conversation script of tests/bindings/CONVERSATION.md, in Go. What it prints has to be conversation.expected.
//
//	go run ./conversation samples/models/tiny
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"dsv4"
)

const tools = `{"messages": [{"role": "system", "content": "You are a helpful assistant."}],
 "tools": [
{"type": "function", "function": {"name": "get_weather", "description": "Get the weather in a city",
 "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}},
{"type": "function", "function": {"name": "get_time", "description": "Get the time in a city",
 "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]}`

var ctx = context.Background()

func die(what any) {
	fmt.Fprintln(os.Stderr, "conversation:", what)
	os.Exit(1)
}

// The script ends at the first call that goes wrong.
func check(err error) {
	if err != nil {
		die(err)
	}
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func expect(what string, holds bool) {
	if !holds {
		die("expected " + what)
	}
}

func printIDs(name string, ids []int32) {
	fmt.Print(name, ":")
	for _, id := range ids {
		fmt.Print(" ", id)
	}
	fmt.Println()
}

func printTimeline(name string, session *dsv4.Session) { printIDs(name, must(session.Tokens())) }

func newSession(model *dsv4.Model) *dsv4.Session {
	return must(model.NewSession(&dsv4.SessionOptions{Context: 1024}))
}

func say(session *dsv4.Session, text string) { check(session.AppendMessage(dsv4.RoleUser, text)) }

// What all turns have in common: greedy, no reasoning, an event for each token.
func greedy() dsv4.GenerateOptions {
	return dsv4.GenerateOptions{Reasoning: dsv4.ReasoningNone, MaxTokens: 100, TokenEvents: true}
}

// turn is what is kept of a turn's events.
type turn struct {
	ids    []int32
	reason dsv4.Reason
	call   dsv4.ToolCall
}

// run generates; atThird answers the third event of a token.
func (t *turn) run(session *dsv4.Session, options dsv4.GenerateOptions, atThird func() dsv4.Action) error {
	stats, err := session.Generate(ctx, &options, func(e dsv4.Event) dsv4.Action {
		switch e.Type {
		case dsv4.EventToolCall:
			t.call = *e.Call
		case dsv4.EventToken:
			t.ids = append(t.ids, e.Token.Token)
			if len(t.ids) == 3 && atThird != nil {
				return atThird()
			}
		}
		return dsv4.Continue
	})
	t.reason = stats.Reason
	return err
}

func answering(action dsv4.Action) func() dsv4.Action {
	return func() dsv4.Action { return action }
}

// ask is a whole turn: question, answer, and the timeline after it.
func ask(name string, session *dsv4.Session, text string) {
	var t turn
	say(session, text)
	check(t.run(session, greedy(), nil))
	expect("a turn that the model ends", t.reason == dsv4.DoneStop)
	printTimeline(name, session)
}

func stepText(model *dsv4.Model) {
	printIDs("tokenize", must(model.Tokenize("Hello, wörld!")))
	c := must(dsv4.NewConversation())
	defer c.Close()
	check(c.Add(dsv4.RoleSystem, "Answer briefly."))
	check(c.Add(dsv4.RoleUser, "Hello!"))
	printIDs("render", must(model.RenderTokens(c, &dsv4.RenderOptions{Reasoning: dsv4.ReasoningHigh})))
}

func stepChat(model *dsv4.Model) {
	session := newSession(model)
	defer session.Close()
	ask("chat-1", session, "My name is Emma.")
	ask("chat-2", session, "What is my name?")
}

func stepThink(model *dsv4.Model) {
	session := newSession(model)
	defer session.Close()
	options := greedy()
	options.Reasoning = dsv4.ReasoningHigh
	var t turn
	say(session, "What is 12 plus 34?")
	check(t.run(session, options, nil))
	printIDs("think", t.ids)
}

func stepTools(model *dsv4.Model) {
	session := newSession(model)
	defer session.Close()
	c := must(dsv4.ConversationFromJSON([]byte(tools)))
	defer c.Close()
	check(session.SetConversation(c))
	var call, answer turn
	say(session, "What is the weather in Paris?")
	check(call.run(session, greedy(), nil))
	expect("a turn that ends with calls", call.reason == dsv4.DoneToolCalls)
	expect("a call of get_weather", call.call.Name == "get_weather")
	expect("an argument Paris", strings.Contains(call.call.Arguments, `"Paris"`))
	printIDs("tool-call", call.ids)
	check(session.AppendToolResult(call.call.ID, `{"temperature": 21, "condition": "sunny"}`))
	check(answer.run(session, greedy(), nil))
	printIDs("tool-answer", answer.ids)
	printTimeline("tool-timeline", session)
}

func stepSnapshot(model *dsv4.Model) {
	saved, restored := newSession(model), newSession(model)
	defer saved.Close()
	defer restored.Close()
	ask("saved", saved, "I live in Oslo.")
	var snapshot bytes.Buffer
	check(saved.Save(&snapshot, nil))
	check(restored.Restore(&snapshot))
	printTimeline("restored", restored)
	ask("saved-next", saved, "Where do I live?")
	ask("restored-next", restored, "Where do I live?")
}

func stepFork(model *dsv4.Model) {
	trunk := newSession(model)
	ask("trunk", trunk, "I have a cat called Luna.")
	branch := must(trunk.Fork())
	defer branch.Close()
	ask("fork-a", trunk, "What is my cat called?")
	check(trunk.Close()) // the branch stands by itself
	ask("fork-b", branch, "Repeat: river moon table")
}

// Four ways to end a turn at its third token, and what the session does after each.
func stepCancel(model *dsv4.Model) {
	session := newSession(model)
	defer session.Close()
	resume := greedy()
	resume.Resume = true

	var t turn
	say(session, "What can you do?")
	check(t.run(session, greedy(), answering(dsv4.Stop)))
	expect("the reason host", t.reason == dsv4.DoneHost)
	printTimeline("stop", session)
	t = turn{}
	check(t.run(session, resume, nil))
	printTimeline("stop-resumed", session)

	t = turn{}
	say(session, "Who are you?")
	check(t.run(session, greedy(), answering(dsv4.Pause)))
	expect("the reason paused", t.reason == dsv4.DonePaused)
	printTimeline("pause", session)
	t = turn{}
	check(t.run(session, resume, nil))
	printTimeline("pause-resumed", session)

	t = turn{}
	say(session, "What is 20 plus 31?")
	err := t.run(session, greedy(), answering(dsv4.Cancel))
	expect("ErrCancelled", errors.Is(err, dsv4.ErrCancelled) && t.reason == dsv4.DoneCancelled)
	printTimeline("taken-back", session)
	t = turn{}
	err = t.run(session, greedy(), func() dsv4.Action {
		session.Cancel()
		return dsv4.Continue
	})
	expect("ErrCancelled", errors.Is(err, dsv4.ErrCancelled) && t.reason == dsv4.DoneCancelled)
	printTimeline("cancelled", session)
	ask("cancelled-next", session, "Thank you.")
}

func stepPoll(model *dsv4.Model) {
	session := newSession(model)
	defer session.Close()
	say(session, "Hello!")
	options := greedy()
	stream := must(session.Stream(ctx, &options))
	defer stream.Close()
	expect("ErrBusy", errors.Is(session.Clear(), dsv4.ErrBusy))
	for !stream.Ended() {
		must(stream.Poll(4, time.Second))
	}
	expect("a turn that the model ends", stream.Stats().Reason == dsv4.DoneStop)
	printTimeline("poll", session)
}

func stepSample(model *dsv4.Model) {
	session := newSession(model)
	defer session.Close()
	prompt := must(model.Tokenize("Hello"))
	check(session.AppendTokens(prompt))
	draw := func(name string, seed uint64) {
		var t turn
		check(session.Rewind(uint64(len(prompt))))
		check(t.run(session, dsv4.GenerateOptions{
			Temperature: 0.7,
			TopP:        0.95,
			Seed:        seed,
			MaxTokens:   12,
			TokenEvents: true,
			Logits: func(logits []float32) bool {
				for i := range logits {
					logits[i] = -100
					if i >= 300 && i < 364 {
						logits[i] = 1
					}
				}
				return true
			},
		}, nil))
		expect("a turn that its limit ends", t.reason == dsv4.DoneLength)
		printIDs(name, t.ids)
	}
	draw("seed-42", 42)
	draw("seed-42-again", 42)
	draw("seed-43", 43)
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintf(os.Stderr, "usage: %s CHECKPOINT_FOLDER\n", os.Args[0])
		os.Exit(2)
	}
	model := must(dsv4.Open(ctx, os.Args[1], &dsv4.ModelOptions{Backend: "cpu"}))
	defer model.Close()
	for _, step := range []func(*dsv4.Model){
		stepText, stepChat, stepThink, stepTools, stepSnapshot, stepFork, stepCancel, stepPoll, stepSample,
	} {
		step(model)
	}
}
