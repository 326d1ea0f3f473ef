// The few lines of a test framework that these tests need: mono's packages have none.
using System;
using System.Collections.Generic;
using System.Linq;
using System.Reflection;
using Dsv4;

/// <summary>Each public static method of a class named ...Tests is a test; it may take the model.</summary>
internal static class BindingChecks
{
    internal static void Expect(bool holds, string what)
    {
        if (!holds) throw new Exception("expected: " + what);
    }

    internal static void Equal<T>(T expected, T found, string what)
    {
        if (!EqualityComparer<T>.Default.Equals(expected, found))
            throw new Exception($"{what}: expected {expected}, found {found}");
    }

    internal static T Throws<T>(Action action, string what) where T : Exception
    {
        try
        {
            action();
        }
        catch (Exception e) when (Unwrapped(e) is T own)
        {
            return own;
        }
        catch (Exception e)
        {
            throw new Exception($"{what}: expected {typeof(T).Name}, found {Unwrapped(e)}");
        }
        throw new Exception($"{what}: expected {typeof(T).Name}, found no exception");
    }

    internal static void Fails(Status status, Action action, string what) =>
        Equal(status, Throws<Dsv4Exception>(action, what).Status, what);

    private static Exception Unwrapped(Exception e) => e is AggregateException all ? all.InnerException : e;

    internal static Session NewSession(Model model, ulong context = 1024) =>
        model.CreateSession(new SessionOptions { Context = context });

    /// <summary>Context for an endless turn that another thread ends: filled only long after any of them has come.</summary>
    internal const ulong Wide = 1 << 16;

    internal static GenerateOptions Greedy() => new GenerateOptions
    {
        Temperature = 0, Reasoning = Reasoning.None, MaxTokens = 100
    };

    /// <summary>Draws one token until something else ends the turn.</summary>
    internal static GenerateOptions Endless() => new GenerateOptions
    {
        Temperature = 0, TokenEvents = true, LogitBias = new Dictionary<int, float> { [300] = 1000 }
    };

    internal static string Answer(Session session, string question)
    {
        string text = "";
        session.AppendMessage(Role.User, question);
        session.Generate(Greedy(), e =>
        {
            if (e.Type == EventType.Content) text += e.Text;
            return EventAction.Continue;
        });
        return text;
    }

    private static int Main(string[] args)
    {
        if (args.Length != 1)
        {
            Console.Error.WriteLine("usage: BindingChecks CHECKPOINT_FOLDER");
            return 2;
        }
        int count = 0, failed = 0;
        using (Model model = Model.Open(args[0], new ModelOptions { Backend = "cpu" }))
        {
            foreach (MethodInfo test in Assembly.GetExecutingAssembly().GetTypes()
                .Where(t => t.Name.EndsWith("Tests", StringComparison.Ordinal))
                .SelectMany(t => t.GetMethods(BindingFlags.Static | BindingFlags.Public)))
            {
                ++count;
                Type kind = test.GetParameters().FirstOrDefault()?.ParameterType;
                try
                {
                    test.Invoke(null, kind == null ? null : new[] { kind == typeof(Model) ? (object)model : args[0] });
                }
                catch (TargetInvocationException e)
                {
                    ++failed;
                    Console.Error.WriteLine($"FAILED: {test.DeclaringType.Name}.{test.Name}: {e.InnerException}");
                }
            }
        }
        Console.WriteLine($"{count} tests, {failed} failed");
        return failed == 0 && count > 15 ? 0 : 1;
    }
}
