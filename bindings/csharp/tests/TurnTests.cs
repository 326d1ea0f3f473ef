using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using Dsv4;
using static BindingChecks;

public static class TurnTests
{
    private const string Weather = @"{""messages"": [], ""tools"": [{""type"": ""function"", ""function"": {""name"": ""get_weather"",
 ""description"": ""Get the weather in a city"", ""parameters"": {""type"": ""object"", ""properties"":
 {""city"": {""type"": ""string""}}, ""required"": [""city""]}}}]}";

    public static void EventsAndStats(Model model)
    {
        using (Session session = NewSession(model))
        {
            session.AppendMessage(Role.User, "What is 12 plus 34?");
            var events = new List<Event>();
            GenerateStats stats = session.Generate(
                new GenerateOptions { Temperature = 0, Reasoning = Reasoning.High, TokenEvents = true, TopLogprobs = 3 }, e =>
                {
                    events.Add(e);
                    return EventAction.Continue;
                });
            foreach (var type in new[] { EventType.Prefill, EventType.Reasoning, EventType.Content, EventType.Token })
                Expect(events.Any(e => e.Type == type), "an event " + type);
            Expect(events.Where(e => e.Type == EventType.Token).All(e => e.Token.Top.Count == 3 &&
                e.Token.Top[0].Token == e.Token.Token && e.Token.Logprob == e.Token.Top[0].Logprob), "the most probable");
            Event done = events.Single(e => e.Type == EventType.Done);
            Expect(done == events.Last() && done.Reason == DoneReason.Stop && stats.Reason == DoneReason.Stop &&
                   done.Stats.GeneratedTokens == stats.GeneratedTokens && stats.ReasoningTokens > 0, "statistics");
        }
    }

    public static void Tools(Model model)
    {
        using (Session session = NewSession(model))
        {
            using (Conversation c = Conversation.FromJson(Weather)) session.SetConversation(c);
            session.AppendJson("[{\"role\": \"user\", \"content\": \"What is the weather in Paris?\"}]");
            GenerateOptions options = Greedy();
            options.ToolChoice = ToolChoice.Named;
            options.ToolName = "get_weather";
            ToolCall call = null;
            GenerateStats stats = session.Generate(options, e =>
            {
                if (e.Type == EventType.ToolCall) call = e.Call;
                return EventAction.Continue;
            });
            Expect(stats.Reason == DoneReason.ToolCalls && call.Name == "get_weather" && call.Arguments.Contains("Paris"),
                "a call");
            session.AppendToolResult(call.Id, "{\"temperature\": 21, \"condition\": \"sunny\"}");
            Equal(DoneReason.Stop, session.Generate(Greedy()).Reason, "answer");
            using (Conversation c = session.GetConversation())
                Expect(c.Count == 4 && c.GetMessageJson(1).Contains("tool_calls"), c.ToJson());
        }
    }

    public static void Options(Model model)
    {
        string text = "";
        Func<Action<GenerateOptions>, GenerateStats> run = set =>
        {
            text = "";
            GenerateOptions options = Greedy();
            set(options);
            using (Session session = NewSession(model))
            {
                session.AppendMessage(Role.User, "What can you do?");
                return session.Generate(options, e =>
                {
                    if (e.Type == EventType.Content) text += e.Text;
                    return EventAction.Continue;
                });
            }
        };
        Equal(DoneReason.StopString, run(o => o.Stop = new[] { "remember", " can" }).Reason, "stop strings");
        Equal("I", text, "text before the stop string");
        run(o =>
        {
            o.LogitBias = new Dictionary<int, float> { [300] = 1000, [301] = -1000 };
            o.MaxTokens = 4;
        });
        Equal(string.Concat(Enumerable.Repeat(model.Detokenize(new[] { 300 }), 4)), text, "biased");
        try
        {
            run(o =>
            {
                o.GrammarKind = GrammarKind.Regex;
                o.Grammar = "[0-9]{3}";
            });
            Expect(text.Length == 3 && text.All(char.IsDigit), text);
        }
        catch (Dsv4Exception e) when (e.Status == Status.Unsupported)
        {
            // a build without xgrammar
        }
        Fails(Status.InvalidArgument, () => run(o => o.Temperature = -1), "temperature");
        Fails(Status.InvalidArgument, () => run(o => o.Resume = true), "nothing to resume");
        Throws<ArgumentException>(() => run(o => o.Stop = new[] { "a\0b" }), "a NUL inside");
    }

    public static void CallbacksThatThrow(Model model)
    {
        using (Session session = NewSession(model))
        {
            session.AppendMessage(Role.User, "Hello!");
            ulong before = session.GetInfo().Tokens;
            var e1 = Throws<InvalidOperationException>(() => session.Generate(Greedy(), e =>
            {
                if (e.Type == EventType.Content) throw new InvalidOperationException("event");
                return EventAction.Continue;
            }), "an event");
            Expect(e1.Message == "event" && e1.StackTrace.Contains(nameof(CallbacksThatThrow)), e1.ToString());
            Expect(session.GetInfo().Tokens == before && !session.GetInfo().Interrupted, "the turn is taken back");
            GenerateOptions options = Greedy();
            options.Logits = logits => throw new InvalidOperationException("logits");
            Throws<InvalidOperationException>(() => session.Generate(options), "logits");
            Equal(DoneReason.Stop, session.Generate(Greedy()).Reason, "and it goes on");
        }
    }

    public static void TokenEndsGenerate(Model model)
    {
        foreach (int cancelAt in new[] { 1, 5 })
        {
            using (Session session = NewSession(model))
            using (var source = new CancellationTokenSource())
            {
                session.AppendTokens(0);
                int tokens = 0;
                DoneReason reason = DoneReason.None;
                var e = Throws<OperationCanceledException>(() => session.Generate(Endless(), own =>
                {
                    if (own.Type == EventType.Token && ++tokens == cancelAt) source.Cancel();
                    if (own.Type == EventType.Done) reason = own.Reason;
                    return EventAction.Continue;
                }, source.Token), "cancelled");
                Expect(e.CancellationToken == source.Token && e.InnerException is Dsv4Exception, e.ToString());
                Expect(tokens == cancelAt && reason == DoneReason.Cancelled && session.GetInfo().Interrupted,
                    $"{tokens} tokens, cancelled at {cancelAt}");
                Throws<OperationCanceledException>(() => session.Generate(Greedy(), null, source.Token), "before");
            }
        }
        using (Session session = NewSession(model, 8192))
        using (var source = new CancellationTokenSource(20)) // from outside, in a prefill too long for it
            Throws<OperationCanceledException>(() => session.Eval(new int[8000], cancellationToken: source.Token), "prefill");
        using (Session session = NewSession(model))
        {
            session.AppendTokens(0);
            Fails(Status.Cancelled, () => session.Generate(Endless(), e =>
            {
                session.Cancel();
                return EventAction.Continue;
            }), "Cancel without a token");
        }
    }

    /// <summary>Wherever in a call the token comes, at its very beginning too, it is not lost.</summary>
    public static void TokenFromAnotherThread(Model model)
    {
        using (Session session = NewSession(model, Wide))
        {
            for (int i = 0; i < 100; ++i)
            {
                session.Clear();
                session.AppendTokens(0);
                using (var source = new CancellationTokenSource())
                {
                    Task cancel = Task.Run(() => source.Cancel());
                    Throws<OperationCanceledException>(() => session.Generate(Endless(), null, source.Token), "call " + i);
                    cancel.Wait();
                }
            }
        }
    }

    public static void BusyAndDisposedInUse(Model model)
    {
        Session session = NewSession(model, Wide);
        session.AppendTokens(0);
        using (var begun = new ManualResetEventSlim())
        {
            Task<GenerateStats> turn = Task.Run(() => session.Generate(Endless(), e =>
            {
                begun.Set();
                return EventAction.Continue;
            }));
            begun.Wait();
            Fails(Status.Busy, () => session.Clear(), "another call");
            session.Dispose(); // cancels, and is done when generate is
            Fails(Status.Cancelled, () => turn.Wait(), "the call that was running");
        }
    }

    public static void ManyThreads(Model model)
    {
        string want;
        using (Session session = NewSession(model)) want = Answer(session, "What is 12 plus 34?");
        var answers = Enumerable.Range(0, 6).Select(i => Task.Run(() =>
        {
            using (Session session = NewSession(model, 256)) return Answer(session, "What is 12 plus 34?");
        })).ToArray();
        Expect(answers.All(a => a.Result == want), "the same answer from every thread");
    }

    public static void Enumerate(Model model)
    {
        const string question = "What can you do?";
        using (Session session = NewSession(model), other = NewSession(model))
        {
            string want = Answer(other, question), got = "";
            session.AppendMessage(Role.User, question);
            EventStream stream = session.Stream(Greedy());
            Fails(Status.Busy, () => session.Clear(), "while it streams");
            foreach (Event e in stream) got += e.Type == EventType.Content ? e.Text : "";
            Equal(want, got, "answer");
            Expect(stream.Ended && stream.Stats.Reason == DoneReason.Stop && !stream.Any(), "the end");

            session.AppendMessage(Role.User, question);
            GenerateOptions endless = Endless(); // however late this thread comes, the turn has not ended
            stream = session.Stream(endless);
            foreach (Event e in stream) break; // leaves, and gives the session free
            Expect(session.GetInfo().Interrupted, "an interrupted turn");
            endless.Resume = true;
            endless.MaxTokens = stream.Stats.GeneratedTokens + 3; // of the whole turn
            Expect(session.Generate(endless).Reason == DoneReason.Length, "resumed");
            using (Conversation c = session.GetConversation()) Equal(4, c.Count, "messages");
            GenerateOptions options = Greedy();
            options.Logits = logits => true;
            Throws<NotSupportedException>(() => session.Stream(options), "logits on another thread");
        }
    }

    public static void EnumerateToAnError(Model model)
    {
        using (Session session = NewSession(model))
        using (var source = new CancellationTokenSource())
        {
            session.AppendTokens(0);
            int count = 0;
            Throws<OperationCanceledException>(() =>
            {
                foreach (Event e in session.Stream(Endless(), source.Token))
                    if (++count == 3) source.Cancel();
            }, "a token");
            Expect(count < 200 && session.GetInfo().Interrupted, $"{count} events after a cancel at the third");
            Throws<OperationCanceledException>(() => session.Stream(Endless(), source.Token), "before");

            session.Clear(); // nothing to answer: what start cannot know yet
            Fails(Status.InvalidArgument, () => session.Stream(Greedy()).ToList(), "an error of the turn");
            session.AppendTokens(0);
            EventStream stream = session.Stream(Endless());
            session.Dispose(); // under the stream
            Throws<ObjectDisposedException>(() => stream.ToList(), "a disposed session");
            stream.Dispose();
        }
    }

    public static void Poll(Model model)
    {
        using (Session session = NewSession(model))
        {
            session.AppendMessage(Role.User, "Hello!");
            int most = 0, events = 0;
            using (EventStream stream = session.Stream(Greedy()))
            {
                int thread = Thread.CurrentThread.ManagedThreadId;
                while (!stream.Ended)
                {
                    int count = stream.Poll(3, 0, e =>
                    {
                        Equal(thread, Thread.CurrentThread.ManagedThreadId, "thread");
                        return EventAction.Continue;
                    });
                    most = Math.Max(most, count);
                    events += count;
                    Thread.Sleep(1);
                }
                Expect(most <= 3 && events > 3 && stream.Stats.Reason == DoneReason.Stop, $"{most} at once, {events} in all");
                Equal(0, stream.Poll(3, 1000, null), "events behind the last");
            }
            session.AppendMessage(Role.User, "Hello!");
            using (EventStream stream = session.Stream(Endless())) // has not ended, however late this thread comes
            {
                Throws<InvalidOperationException>(() =>
                    stream.Poll(1, 1000, e => throw new InvalidOperationException("x")), "a callback that throws");
                while (!stream.Ended) stream.Poll(64, 1000, null);
                Equal(DoneReason.Cancelled, stream.Stats.Reason, "taken back");
            }
        }
    }

    // What await foreach makes of it, which mcs cannot compile.
    private static async Task<string> Read(EventStream stream, CancellationToken token = default, Action atThird = null)
    {
        string text = "";
        int count = 0;
        EventStream.AsyncEnumerator events = stream.GetAsyncEnumerator(token);
        try
        {
            while (await events.MoveNextAsync().ConfigureAwait(false))
            {
                if (events.Current.Type == EventType.Content) text += events.Current.Text;
                if (++count == 3) atThird?.Invoke();
            }
        }
        finally
        {
            await events.DisposeAsync().ConfigureAwait(false);
        }
        return text;
    }

    public static void Async(Model model)
    {
        const string question = "What can you do?";
        using (Session session = NewSession(model), other = NewSession(model))
        using (var source = new CancellationTokenSource())
        {
            session.AppendMessage(Role.User, question);
            Equal(Answer(other, question), Read(session.Stream(Greedy())).Result, "answer");
            session.Clear();
            session.AppendTokens(0);
            Throws<OperationCanceledException>(() => Read(session.Stream(Endless()), source.Token, source.Cancel).Wait(),
                "the enumerator's token");
            Expect(session.GetInfo().Interrupted, "free, and interrupted");
            session.Clear();
            Fails(Status.InvalidArgument, () => Read(session.Stream(Greedy())).Wait(), "an error of the turn");
            session.AppendTokens(0);
            Throws<InvalidOperationException>(() => Read(session.Stream(Endless()), default,
                () => throw new InvalidOperationException("x")).Wait(), "a host that leaves");
            Expect(session.GetInfo().Interrupted, "free again");
        }
    }

#if DSV4_ASYNC_ENUMERABLE
    public static void AsyncInterface(Model model)
    {
        using (Session session = NewSession(model))
        {
            session.AppendMessage(Role.User, "Hello!");
            IAsyncEnumerable<Event> stream = session.Stream(Greedy());
            IAsyncEnumerator<Event> events = stream.GetAsyncEnumerator();
            int count = 0;
            while (events.MoveNextAsync().AsTask().Result) ++count;
            events.DisposeAsync().AsTask().Wait();
            Expect(count > 3, "events through the interface");
        }
    }
#endif

    public static void Snapshots(Model model)
    {
        string path = Path.Combine(Path.GetTempPath(), Guid.NewGuid() + ".dsv4");
        using (Session session = NewSession(model), restored = NewSession(model))
        using (var two = new MemoryStream()) // one behind the other
        {
            Answer(session, "I live in Oslo.");
            session.Save(two);
            long size = two.Length;
            session.Save(two, new SnapshotOptions { Uncompressed = true });
            two.Position = 0;
            SnapshotInfo info = Snapshot.Peek(new MemoryStream(two.ToArray()));
            Expect(info.Fingerprint == model.GetInfo().Fingerprint && info.Tokens == session.GetInfo().Tokens &&
                   info.Driven == Driven.ByMessages && info.Vocab == 1664, "peek");
            for (int i = 0; i < 2; ++i)
            {
                restored.Restore(two);
                Expect(restored.GetTokens().SequenceEqual(session.GetTokens()), "tokens");
            }
            Equal(two.Length, two.Position, "what restore has read");
            Equal(Answer(session, "Where do I live?"), Answer(restored, "Where do I live?"), "restored");
            Fails(Status.Corrupt, () => restored.Restore(new MemoryStream(two.ToArray(), 0, (int)size - 1)), "cut short");
            try
            {
                session.Save(path, new SnapshotOptions { Level = 3 });
                restored.Restore(path);
                Equal(Snapshot.Peek(path).Tokens, restored.GetInfo().Tokens, "file");
            }
            finally
            {
                File.Delete(path);
            }
            Fails(Status.NotFound, () => restored.Restore(path), "no file");
            Throws<NotSupportedException>(() => session.Save(new MemoryStream(new byte[8], false)), "a stream that throws");
            Throws<ObjectDisposedException>(() =>
            {
                var closed = new MemoryStream();
                closed.Dispose();
                session.Restore(closed);
            }, "a closed stream");
            using (Session fork = session.Fork())
                Expect(fork.GetTokens().SequenceEqual(session.GetTokens()), "fork");
        }
    }
}
