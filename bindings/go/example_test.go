package dsv4_test

import (
	"bytes"
	"context"
	"fmt"
	"log"

	"dsv4"
)

const tiny = "../../samples/models/tiny"

// Greedy and without reasoning: the same answer every time.
var greedy = &dsv4.GenerateOptions{Reasoning: dsv4.ReasoningNone}

func begin() (*dsv4.Model, *dsv4.Session) {
	model, err := dsv4.Open(context.Background(), tiny, nil)
	if err != nil {
		log.Fatal(err)
	}
	session, err := model.NewSession(nil)
	if err != nil {
		log.Fatal(err)
	}
	return model, session
}

func Example() {
	ctx := context.Background()
	model, err := dsv4.Open(ctx, tiny, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	session, err := model.NewSession(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()
	if err := session.AppendMessage(dsv4.RoleUser, "What can you do?"); err != nil {
		log.Fatal(err)
	}
	stats, err := session.Generate(ctx, greedy, func(e dsv4.Event) dsv4.Action {
		if e.Type == dsv4.EventContent {
			fmt.Print(e.Text)
		}
		return dsv4.Continue
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("\n%s\n", stats.Reason)
	// Output:
	// I can add two numbers, remember facts, repeat words and call tools.
	// stop
}

func ExampleSession_Stream() {
	model, session := begin()
	defer model.Close()
	defer session.Close()
	session.AppendMessage(dsv4.RoleUser, "What is 12 plus 34?")
	stream, err := session.Stream(context.Background(), greedy)
	if err != nil {
		log.Fatal(err)
	}
	defer stream.Close()
	for stream.Next() {
		if e := stream.Event(); e.Type == dsv4.EventContent {
			fmt.Print(e.Text)
		}
	}
	fmt.Println()
	if err := stream.Err(); err != nil {
		log.Fatal(err)
	}
	// Output: 12+34=46.
}

// The loop that every agent is made of: ask, call what the model wants called, hand over the results, go on.
func ExampleSession_AppendToolResult() {
	ctx := context.Background()
	model, session := begin()
	defer model.Close()
	defer session.Close()
	conversation, err := dsv4.ConversationFromJSON([]byte(`{"messages": [
		{"role": "system", "content": "You are a helpful assistant."},
		{"role": "user", "content": "What is the weather in Paris?"}],
		"tools": [{"type": "function", "function": {"name": "get_weather", "description": "Get the weather in a city",
		"parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]}`))
	if err != nil {
		log.Fatal(err)
	}
	defer conversation.Close()
	session.SetConversation(conversation)
	for {
		var calls []dsv4.ToolCall
		stats, err := session.Generate(ctx, greedy, func(e dsv4.Event) dsv4.Action {
			switch e.Type {
			case dsv4.EventToolCall:
				calls = append(calls, *e.Call)
			case dsv4.EventContent:
				fmt.Print(e.Text)
			}
			return dsv4.Continue
		})
		if err != nil {
			log.Fatal(err)
		}
		if stats.Reason != dsv4.DoneToolCalls {
			break
		}
		for _, call := range calls {
			var arguments struct{ City string }
			if err := call.Unmarshal(&arguments); err != nil {
				log.Fatal(err)
			}
			fmt.Println(call.Name, arguments.City)
			session.AppendToolResult(call.ID, `{"temperature": 21, "condition": "sunny"}`)
		}
	}
	fmt.Println()
	// Output:
	// get_weather Paris
	// It is 21 degrees and sunny in Paris.
}

// A long beginning is evaluated once, and restored for many sessions.
func ExampleSession_Save() {
	ctx := context.Background()
	model, session := begin()
	defer model.Close()
	defer session.Close()
	session.AppendMessage(dsv4.RoleUser, "I live in Oslo.")
	if _, err := session.Generate(ctx, greedy, nil); err != nil {
		log.Fatal(err)
	}
	var snapshot bytes.Buffer
	if err := session.Save(&snapshot, nil); err != nil {
		log.Fatal(err)
	}

	other, err := model.NewSession(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer other.Close()
	if err := other.Restore(&snapshot); err != nil {
		log.Fatal(err)
	}
	other.AppendMessage(dsv4.RoleUser, "Where do I live?")
	other.Generate(ctx, greedy, func(e dsv4.Event) dsv4.Action {
		if e.Type == dsv4.EventContent {
			fmt.Println(e.Text)
			return dsv4.Stop
		}
		return dsv4.Continue
	})
	// Output: You
}

// A channel, for those who prefer one: the goroutine ends with the turn, or with the context.
func ExampleStream_Next() {
	model, session := begin()
	defer model.Close()
	defer session.Close()
	session.AppendMessage(dsv4.RoleUser, "Hello!")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := session.Stream(ctx, greedy)
	if err != nil {
		log.Fatal(err)
	}
	pieces := make(chan string)
	go func() {
		defer close(pieces)
		defer stream.Close()
		for stream.Next() {
			select {
			case pieces <- stream.Event().Text:
			case <-ctx.Done():
				return
			}
		}
	}()
	for piece := range pieces {
		fmt.Print(piece)
	}
	fmt.Println()
	// Output: Hello! How can I help you today?
}
