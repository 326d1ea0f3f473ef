// The conversation script of tests/bindings/CONVERSATION.md, in C#. What it prints has to be conversation.expected.
//   mono ConversationProgram.exe samples/models/tiny
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using Dsv4;

internal static class ConversationProgram
{
    private const string Tools =
        @"{""messages"": [{""role"": ""system"", ""content"": ""You are a helpful assistant.""}],
 ""tools"": [
{""type"": ""function"", ""function"": {""name"": ""get_weather"", ""description"": ""Get the weather in a city"",
 ""parameters"": {""type"": ""object"", ""properties"": {""city"": {""type"": ""string""}}, ""required"": [""city""]}}},
{""type"": ""function"", ""function"": {""name"": ""get_time"", ""description"": ""Get the time in a city"",
 ""parameters"": {""type"": ""object"", ""properties"": {""city"": {""type"": ""string""}}, ""required"": [""city""]}}}]}";

    private static void Expect(string what, bool holds)
    {
        if (!holds) throw new Exception("expected " + what);
    }

    private static void Print(string name, IEnumerable<int> ids) =>
        Console.Write(name + ":" + string.Concat(ids.Select(id => " " + id)) + "\n");

    private static Session NewSession(Model model) => model.CreateSession(new SessionOptions { Context = 1024 });

    private static void Say(Session session, string text) => session.AppendMessage(Role.User, text);

    /// <summary>What all turns have in common: greedy, no reasoning, an event for each token.</summary>
    private static GenerateOptions Greedy(bool resume = false) => new GenerateOptions
    {
        Temperature = 0, Reasoning = Reasoning.None, MaxTokens = 100, TokenEvents = true, Resume = resume
    };

    /// <summary>A turn, and what is kept of its events.</summary>
    private sealed class Turn
    {
        internal readonly List<int> Ids = new List<int>();
        internal DoneReason Reason;
        internal ToolCall Call;
        internal bool Cancelled;

        /// <param name="atThird">answers the third event of a token.</param>
        internal static Turn Run(Session session, GenerateOptions options, Func<EventAction> atThird = null)
        {
            var turn = new Turn();
            try
            {
                session.Generate(options, e => turn.OnEvent(e, atThird));
            }
            catch (Dsv4Exception e) when (e.Status == Status.Cancelled)
            {
                turn.Cancelled = true;
            }
            return turn;
        }

        private EventAction OnEvent(Event e, Func<EventAction> atThird)
        {
            if (e.Type == EventType.Done) Reason = e.Reason;
            if (e.Type == EventType.ToolCall) Call = e.Call;
            if (e.Type == EventType.Token) Ids.Add(e.Token.Token);
            bool third = e.Type == EventType.Token && Ids.Count == 3;
            return third && atThird != null ? atThird() : EventAction.Continue;
        }
    }

    /// <summary>A whole turn: question, answer, and the timeline after it.</summary>
    private static void Ask(string name, Session session, string text)
    {
        Say(session, text);
        Expect("a turn that the model ends", Turn.Run(session, Greedy()).Reason == DoneReason.Stop);
        Print(name, session.GetTokens());
    }

    private static void StepText(Model model)
    {
        Print("tokenize", model.Tokenize("Hello, wörld!"));
        using (var conversation = new Conversation())
        {
            conversation.Add(Role.System, "Answer briefly.");
            conversation.Add(Role.User, "Hello!");
            Print("render", model.RenderTokens(conversation, Reasoning.High));
        }
    }

    private static void StepChat(Model model)
    {
        using (Session session = NewSession(model))
        {
            Ask("chat-1", session, "My name is Emma.");
            Ask("chat-2", session, "What is my name?");
        }
    }

    private static void StepThink(Model model)
    {
        using (Session session = NewSession(model))
        {
            GenerateOptions options = Greedy();
            options.Reasoning = Reasoning.High;
            Say(session, "What is 12 plus 34?");
            Print("think", Turn.Run(session, options).Ids);
        }
    }

    private static void StepTools(Model model)
    {
        using (Session session = NewSession(model))
        {
            using (Conversation conversation = Conversation.FromJson(Tools)) session.SetConversation(conversation);
            Say(session, "What is the weather in Paris?");
            Turn turn = Turn.Run(session, Greedy());
            Expect("a turn that ends with calls", turn.Reason == DoneReason.ToolCalls);
            Expect("a call of get_weather", turn.Call.Name == "get_weather");
            Expect("an argument Paris", turn.Call.Arguments.Contains("\"Paris\""));
            Print("tool-call", turn.Ids);
            session.AppendToolResult(turn.Call.Id, "{\"temperature\": 21, \"condition\": \"sunny\"}");
            Print("tool-answer", Turn.Run(session, Greedy()).Ids);
            Print("tool-timeline", session.GetTokens());
        }
    }

    private static void StepSnapshot(Model model)
    {
        using (Session saved = NewSession(model), restored = NewSession(model))
        using (var snapshot = new MemoryStream())
        {
            Ask("saved", saved, "I live in Oslo.");
            saved.Save(snapshot);
            snapshot.Position = 0;
            restored.Restore(snapshot);
            Print("restored", restored.GetTokens());
            Ask("saved-next", saved, "Where do I live?");
            Ask("restored-next", restored, "Where do I live?");
        }
    }

    private static void StepFork(Model model)
    {
        Session trunk = NewSession(model);
        Ask("trunk", trunk, "I have a cat called Luna.");
        using (Session branch = trunk.Fork())
        {
            Ask("fork-a", trunk, "What is my cat called?");
            trunk.Dispose(); // the branch stands by itself
            Ask("fork-b", branch, "Repeat: river moon table");
        }
    }

    /// <summary>Four ways to end a turn at its third token, and what the session does after each.</summary>
    private static void StepCancel(Model model)
    {
        using (Session session = NewSession(model))
        {
            Say(session, "What can you do?");
            Expect("the reason host", Turn.Run(session, Greedy(), () => EventAction.Stop).Reason == DoneReason.Host);
            Print("stop", session.GetTokens());
            Turn.Run(session, Greedy(true));
            Print("stop-resumed", session.GetTokens());

            Say(session, "Who are you?");
            Expect("the reason paused", Turn.Run(session, Greedy(), () => EventAction.Pause).Reason == DoneReason.Paused);
            Print("pause", session.GetTokens());
            Turn.Run(session, Greedy(true));
            Print("pause-resumed", session.GetTokens());

            Say(session, "What is 20 plus 31?");
            Turn turn = Turn.Run(session, Greedy(), () => EventAction.Cancel);
            Expect("a cancelled turn", turn.Cancelled && turn.Reason == DoneReason.Cancelled);
            Print("taken-back", session.GetTokens());
            turn = Turn.Run(session, Greedy(), () =>
            {
                session.Cancel();
                return EventAction.Continue;
            });
            Expect("a cancelled turn", turn.Cancelled && turn.Reason == DoneReason.Cancelled);
            Print("cancelled", session.GetTokens());
            Ask("cancelled-next", session, "Thank you.");
        }
    }

    private static void StepPoll(Model model)
    {
        using (Session session = NewSession(model))
        {
            Say(session, "Hello!");
            using (EventStream stream = session.Stream(Greedy()))
            {
                Status status = Status.Ok;
                try
                {
                    session.Clear();
                }
                catch (Dsv4Exception e)
                {
                    status = e.Status;
                }
                Expect("a busy session", status == Status.Busy);
                while (!stream.Ended) stream.Poll(4, 1000, null);
                Expect("a turn that the model ends", stream.Stats.Reason == DoneReason.Stop);
            }
            Print("poll", session.GetTokens());
        }
    }

    private static void StepSample(Model model)
    {
        using (Session session = NewSession(model))
        {
            int[] prompt = model.Tokenize("Hello");
            session.AppendTokens(prompt);
            foreach (string name in new[] { "seed-42", "seed-42-again", "seed-43" })
            {
                session.Rewind((ulong)prompt.Length);
                Turn turn = Turn.Run(session, new GenerateOptions
                {
                    Temperature = 0.7, TopP = 0.95, Seed = name == "seed-43" ? 43ul : 42ul, MaxTokens = 12, TokenEvents = true,
                    Logits = logits =>
                    {
                        for (int i = 0; i < logits.Length; ++i) logits[i] = i >= 300 && i < 364 ? 1 : -100;
                        return true;
                    }
                });
                Expect("a turn that its limit ends", turn.Reason == DoneReason.Length);
                Print(name, turn.Ids);
            }
        }
    }

    private static int Main(string[] args)
    {
        if (args.Length != 1)
        {
            Console.Error.WriteLine("usage: ConversationProgram CHECKPOINT_FOLDER");
            return 2;
        }
        try
        {
            using (Model model = Model.Open(args[0], new ModelOptions { Backend = "cpu" }))
            {
                foreach (Action<Model> step in new Action<Model>[]
                {
                    StepText, StepChat, StepThink, StepTools, StepSnapshot, StepFork, StepCancel, StepPoll, StepSample
                })
                    step(model);
            }
            return 0;
        }
        catch (Exception e)
        {
            Console.Error.WriteLine("conversation: " + e.Message);
            return 1;
        }
    }
}
