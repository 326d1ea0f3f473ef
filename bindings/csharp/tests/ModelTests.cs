using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Reflection;
using System.Threading;
using Dsv4;
using static BindingChecks;

public static class ModelTests
{
    public static void LibraryAndErrors(string folder)
    {
        BuildInfo info = Library.GetBuildInfo();
        Expect(Library.Version >= 1000 && info.Backends.Contains("cpu") && info.Compiler != "", "a library");
        var e = Throws<Dsv4Exception>(() => Model.Open("no/such/folder"), "a folder that does not exist");
        Expect(e.Status == Status.NotFound && e.Message.Contains("no/such/folder"), e.ToString());
        Equal("DSV4_E_NOT_FOUND", e.StatusName, "name");
        Equal("stop_string", DoneReason.StopString.Name(), "name");
        Fails(Status.Unsupported, () => Model.Open(folder, new ModelOptions { Backend = "abacus" }), "backend");
        Fails(Status.InvalidArgument, () => Model.OpenSynthetic("no such shape", 1, 1), "shape");
        Throws<ArgumentException>(() => Model.Open("a\0b"), "a NUL inside");
        Throws<ArgumentNullException>(() => Model.Open(null), "null");
    }

    public static void OpenCallbacks(string folder)
    {
        int lines = 0, steps = 0;
        var options = new ModelOptions
        {
            Log = (level, text) => lines += text.Length == 0 ? 0 : 1,
            Progress = (done, total) =>
            {
                ++steps;
                return true;
            }
        };
        Model.Open(folder, options).Dispose();
        Expect(lines > 0 && steps > 0, "lines of log, steps of progress");
        options.Progress = (done, total) => false;
        Fails(Status.Cancelled, () => Model.Open(folder, options), "progress that gives up");
        options.Progress = (done, total) => throw new InvalidOperationException("progress");
        Equal("progress", Throws<InvalidOperationException>(() => Model.Open(folder, options), "throws").Message, "text");
        options.Progress = null;
        options.Log = (level, text) => throw new InvalidOperationException("log");
        Throws<InvalidOperationException>(() => Model.Open(folder, options), "log that throws");
        using (var source = new CancellationTokenSource())
        {
            options.Log = null;
            options.Progress = (done, total) =>
            {
                source.Cancel();
                return true;
            };
            Throws<OperationCanceledException>(() => Model.Open(folder, options, source.Token), "cancelled on the way");
            Throws<OperationCanceledException>(() => Model.Open(folder, null, source.Token), "cancelled before");
        }
    }

    public static void Info(string folder)
    {
        using (Model model = Model.Open(folder, new ModelOptions { Backend = "cpu", Flags = OpenFlags.TimeVerbs }))
        {
            ModelInfo info = model.GetInfo();
            Expect(info.Layers == 4 && info.Vocab == 1664 && info.HasTokenizer && info.DraftHead && info.Backend != "", "info");
            Expect(info.HasReasoning(Reasoning.High) && !info.HasReasoning(Reasoning.Low), "modes of profile preview");
            LayerInfo layer = model.GetLayer(2, 512);
            Expect(layer.Ratio == 128 && layer.WeightBytes > 0 && layer.StateBytes > 0, "layer");
            Fails(Status.InvalidArgument, () => model.GetLayer(99), "layer 99");
            Estimate estimate = Model.EstimateMemory(folder, null, 1024);
            Expect(estimate.WeightBytes > 0 && estimate.StateBytes > 0 && estimate.Fits, "estimate");
            using (Session session = NewSession(model))
            {
                Answer(session, "Hello!");
                Fails(Status.Unsupported, () => session.Pretend(10), "pretend");
            }
            Expect(model.GetVerbTimes().Count > 4 && model.GetVerbTimes()[0].Calls > 0, "verbs");
            model.ClearVerbTimes();
            Equal(0, model.GetVerbTimes().Count, "verbs after clear");
            try
            {
                Expect(model.MeasureMatrixPeak() > 0, "a peak");
            }
            catch (Dsv4Exception e) when (e.Status == Status.Unsupported)
            {
                // a build without oneDNN
            }
            Fails(Status.Unsupported, () => model.MeasureCopyPeak(), "the host's memory");
        }
    }

    public static void Text(Model model)
    {
        foreach (string text in new[] { "", "Hello, wörld!", "one\0two", "<｜User｜>", "🦊" })
            Equal(text, model.Detokenize(model.Tokenize(text)), "text");
        int[] user = model.Tokenize("<｜User｜>", true);
        Expect(user.Length == 1 && model.Detokenize(user, true) == "<｜User｜>" && model.Detokenize(user) == "", "control");
        Throws<ArgumentException>(() => model.Tokenize("\ud800"), "half a surrogate pair");
        Throws<ArgumentNullException>(() => model.Tokenize(null), "null");
        Fails(Status.InvalidArgument, () => model.Detokenize(new[] { 1 << 30 }), "id");
    }

    public static void Conversations(Model model)
    {
        using (var c = new Conversation())
        {
            c.Add(Role.System, "Answer briefly.");
            c.AppendJson("{\"role\": \"user\", \"content\": \"Hällo!\"}");
            string prompt = model.Render(c);
            Equal(prompt, model.Detokenize(model.RenderTokens(c), true), "prompt");
            Expect(prompt.Contains("Hällo!") && model.Render(c, Reasoning.High) != prompt, prompt);
            Fails(Status.Unsupported, () => model.Render(c, Reasoning.Low), "a mode that is not there");
            using (Conversation copy = Conversation.FromJson(c.ToJson())) Equal(prompt, model.Render(copy), "JSON");
            Expect(c.Count == 2 && c.GetMessageJson(1).Contains("Hällo!"), c.ToJson());
            c.AddToolResult("call_1", "{}");
            Equal(3, c.Count, "messages");
            Throws<ArgumentException>(() => c.AddToolResult("a\0b", ""), "a NUL inside");
        }
        Fails(Status.InvalidArgument, () => Conversation.FromJson("[{\"role\": 1}]"), "a wrong type");
    }

    public static void Disposing(string folder)
    {
        Model model = Model.Open(folder), other = model.Retain();
        Session session = NewSession(model);
        model.Dispose();
        model.Dispose();
        Throws<ObjectDisposedException>(() => model.GetInfo(), "a model after Dispose");
        Equal(1664L, other.GetInfo().Vocab, "another handle");
        other.Dispose();
        Expect(Answer(session, "Hello!") != "", "a session keeps its model");
        session.Dispose();
        session.Dispose();
        session.Cancel();
        Throws<ObjectDisposedException>(() => session.Clear(), "a session after Dispose");
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Forget(Model model)
    {
        for (int i = 0; i < 8; ++i)
        {
            NewSession(model, 256).Fork();
            new Parser(null, model).ToString();
        }
    }

    /// <summary>What nobody disposes of is found by the finalizer: most of it, as mono's collector is
    /// conservative.</summary>
    public static void Finalizers(string folder)
    {
        using (Model model = Model.Open(folder))
        {
            object handle = model.GetType().GetProperty("Handle", BindingFlags.Instance | BindingFlags.NonPublic).GetValue(model);
            object hooks = handle.GetType().GetField("Hooks", BindingFlags.Instance | BindingFlags.NonPublic).GetValue(handle);
            Func<int> uses = () => (int)hooks.GetType().GetProperty("Uses", BindingFlags.Instance | BindingFlags.NonPublic)
                .GetValue(hooks);
            var forget = new Thread(() => Forget(model));
            forget.Start();
            forget.Join();
            int before = uses();
            Equal(25, before, "handles");
            for (int i = 0; i < 100 && uses() > before / 2; ++i)
            {
                GC.Collect();
                GC.WaitForPendingFinalizers();
                Thread.Sleep(1);
            }
            Expect(uses() <= before / 2, $"finalizers: {uses()} of {before} are left");
        }
    }

    public static void TokensAndLogits(Model model)
    {
        using (Session session = model.CreateSession(new SessionOptions { Context = 256, Draft = true }))
        {
            int vocab = (int)model.GetInfo().Vocab;
            int[] prompt = model.Tokenize("Hello there, who are you?");
            var logits = new float[prompt.Length * vocab];
            var draft = new float[prompt.Length * vocab];
            session.Eval(prompt, logits, draft);
            Expect(session.GetLogits().SequenceEqual(logits.Skip((prompt.Length - 1) * vocab)) && draft[vocab] != 0, "rows");
            session.Rewind(3);
            Expect(session.GetTokens().SequenceEqual(prompt.Take(3)), "rewind");
            session.SyncTokens(prompt);
            session.Eval();
            SessionInfo info = session.GetInfo();
            Expect(info.Tokens == info.Evaluated && info.Tokens == (ulong)prompt.Length && info.Context == 256 &&
                   info.Driven == Driven.ByTokens, "info");
            Throws<ArgumentException>(() => session.Eval(prompt, new float[5]), "too little room");
            Fails(Status.InvalidArgument, () => session.AppendTokens(-1), "an id");
            Fails(Status.ContextFull, () => session.AppendTokens(new int[300]), "too many");
            session.Clear();
            Equal(0, session.GetTokens().Length, "tokens after clear");
            Throws<InvalidOperationException>(() =>
                session.Eval(prompt, progress: (done, total) => throw new InvalidOperationException("x")), "progress");
        }
    }

    public static void ParserOfText(Model model)
    {
        var events = new List<Event>();
        using (var parser = new Parser(events.Add, null, OutputStart.Reasoning, new[] { "END" }))
        {
            foreach (string piece in new[] { "I th", "ink</thi", "nk>Yes", ". END more" }) parser.Push(piece);
            parser.Finish();
            Func<EventType, string> join = type => string.Concat(events.Where(e => e.Type == type).Select(e => e.Text));
            Equal("I think", join(EventType.Reasoning), "reasoning");
            Equal("Yes. ", join(EventType.Content), "content");
            Expect(events.Last().Reason == DoneReason.StopString && events.Last().Stats == null, "the last event");
            Expect(parser.GetMessageJson().Contains("I think"), parser.GetMessageJson());
            Fails(Status.InvalidArgument, () => parser.Push(1), "tokens after text");
        }
        using (var parser = new Parser(e => throw new InvalidOperationException("x"), model))
            Throws<InvalidOperationException>(() => parser.Push(model.Tokenize("Hello!")), "a callback that throws");
    }
}
