// Structs and constants of the binding against the C compiler's. In two steps, with a C program between them:
//   LayoutTest emit > layout.c             a program that prints size and offsets of what src/NativeStructs.cs declares
//   LayoutTest compare HEADER < output     its output, the constants of the header, and its functions, against ours
// A field that C does not have fails to compile; one that we lack shifts an offset or a size.
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;

internal static class LayoutTest
{
    private static readonly Assembly Binding = typeof(Dsv4.Model).Assembly;
    private static int failures;

    private static void Expect(bool holds, string what)
    {
        if (holds) return;
        ++failures;
        Console.Error.WriteLine("FAILED: " + what);
    }

    private static IEnumerable<Type> Structs() => Binding.GetTypes()
        .Where(t => t.IsValueType && t.Name.StartsWith("dsv4_", StringComparison.Ordinal)).OrderBy(t => t.Name);

    private static FieldInfo[] Fields(Type type) =>
        type.GetFields(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic);

    private static void Emit()
    {
        Console.WriteLine("#include <dsv4.h>\n#include <stdio.h>\nint main(void) {");
        foreach (Type type in Structs())
        {
            Console.WriteLine($"  printf(\"{type.Name} %d\\n\", (int)sizeof({type.Name}));");
            foreach (FieldInfo field in Fields(type))
                Console.WriteLine($"  printf(\"{type.Name}.{field.Name} %d %d\\n\", " +
                    $"(int)offsetof({type.Name}, {field.Name}), (int)sizeof((({type.Name} *)0)->{field.Name}));");
        }
        Console.WriteLine("  return 0;\n}");
    }

    private static int SizeOf(Type type) => type == typeof(IntPtr) || type == typeof(UIntPtr) ? IntPtr.Size
        : Marshal.SizeOf(type);

    private static List<string> Ours()
    {
        var lines = new List<string>();
        foreach (Type type in Structs())
        {
            lines.Add($"{type.Name} {Marshal.SizeOf(type)}");
            foreach (FieldInfo field in Fields(type))
                lines.Add($"{type.Name}.{field.Name} {Marshal.OffsetOf(type, field.Name)} {SizeOf(field.FieldType)}");
        }
        return lines;
    }

    private static void CompareStructs(string header, string printed)
    {
        string[] theirs = printed.Split(new[] { '\n', '\r' }, StringSplitOptions.RemoveEmptyEntries);
        List<string> ours = Ours();
        Expect(ours.Count > 100, $"only {ours.Count} lines of layout");
        Expect(ours.Count == theirs.Length, $"{ours.Count} lines of layout, {theirs.Length} of C's");
        for (int i = 0; i < Math.Min(ours.Count, theirs.Length); ++i)
            Expect(ours[i] == theirs[i], $"ours: {ours[i]}, C's: {theirs[i]}");

        var declared = new HashSet<string>(Regex.Matches(header, @"^typedef struct (dsv4_\w+) \{", RegexOptions.Multiline)
            .Cast<Match>().Select(m => m.Groups[1].Value));
        declared.SymmetricExceptWith(Structs().Select(t => t.Name));
        Expect(declared.Count == 0, "structs of one side only: " + string.Join(" ", declared));
        foreach (Type type in Structs())
        foreach (FieldInfo field in Fields(type))
            Expect(field.FieldType.IsPrimitive && field.FieldType != typeof(bool) && field.FieldType != typeof(char),
                $"{type.Name}.{field.Name} is not blittable");
    }

    // What an enumeration's values are called in C. Flags that the binding has as a bool of its own are listed as
    // values.
    private static readonly Dictionary<string, Type> Enums = new Dictionary<string, Type>
    {
        ["DSV4_E_"] = typeof(Dsv4.Status),
        ["DSV4_PROFILE_"] = typeof(Dsv4.Profile),
        ["DSV4_LOG_"] = typeof(Dsv4.LogLevel),
        ["DSV4_OPEN_"] = typeof(Dsv4.OpenFlags),
        ["DSV4_REASONING_"] = typeof(Dsv4.Reasoning),
        ["DSV4_ROLE_"] = typeof(Dsv4.Role),
        ["DSV4_DRIVEN_"] = typeof(Dsv4.Driven),
        ["DSV4_EVENT_"] = typeof(Dsv4.EventType),
        ["DSV4_DONE_"] = typeof(Dsv4.DoneReason),
        ["DSV4_TOOL_CHOICE_"] = typeof(Dsv4.ToolChoice),
        ["DSV4_GRAMMAR_"] = typeof(Dsv4.GrammarKind),
        ["DSV4_START_"] = typeof(Dsv4.OutputStart),
        ["DSV4_"] = typeof(Dsv4.EventAction)
    };

    private static readonly Dictionary<string, int> Elsewhere = new Dictionary<string, int>
    {
        ["DSV4_OK"] = (int)Dsv4.Status.Ok,
        ["DSV4_PROFILE_0731"] = (int)Dsv4.Profile.V0731,
        ["DSV4_TEXT_SPECIAL"] = 1,  // Model.Special
        ["DSV4_SESSION_DRAFT"] = 1  // SessionOptions.Draft
    };

    private static void CompareConstants(string header)
    {
        int count = 0;
        foreach (Match m in Regex.Matches(header, @"^\s+(DSV4_\w+) = (-?\d+)|^enum \{ ?(DSV4_\w+) = (-?\d+)|, (DSV4_\w+) = (-?\d+)",
            RegexOptions.Multiline))
        {
            string[] parts = m.Groups.Cast<Group>().Skip(1).Where(g => g.Success).Select(g => g.Value).ToArray();
            ++count;
            int value = int.Parse(parts[1]);
            if (Elsewhere.TryGetValue(parts[0], out int known))
            {
                Expect(known == value, $"{parts[0]} is {value}, ours {known}");
                continue;
            }
            string prefix = Enums.Keys.Where(k => parts[0].StartsWith(k, StringComparison.Ordinal)).OrderBy(k => k.Length).Last();
            string name = string.Concat(parts[0].Substring(prefix.Length).Split('_')
                .Select(word => word.Substring(0, 1) + word.Substring(1).ToLowerInvariant()));
            Type own = Enums[prefix];
            Expect(Enum.IsDefined(own, name) && (int)Enum.Parse(own, name) == value, $"{parts[0]} = {value}: {own}.{name}");
        }
        Expect(count > 70, $"only {count} constants found in the header");
    }

    private static void CompareFunctions(string header)
    {
        var declared = new HashSet<string>(Regex.Matches(header, @"^DSV4_API .*?(dsv4_\w+)\(", RegexOptions.Multiline)
            .Cast<Match>().Select(m => m.Groups[1].Value));
        Expect(declared.Count > 60, $"only {declared.Count} functions found in the header");
        declared.Remove("dsv4_error_status"); // what the call itself returns
        declared.SymmetricExceptWith(Binding.GetType("Dsv4.Native")
            .GetMethods(BindingFlags.Static | BindingFlags.NonPublic).Select(m => m.Name));
        Expect(declared.Count == 0, "functions of one side only: " + string.Join(" ", declared));
    }

    private static int Main(string[] args)
    {
        if (args.Length == 1 && args[0] == "emit")
        {
            Emit();
            return 0;
        }
        if (args.Length != 2 || args[0] != "compare") return 2;
        string header = File.ReadAllText(args[1]);
        CompareStructs(header, Console.In.ReadToEnd());
        CompareConstants(header);
        CompareFunctions(header);
        Console.WriteLine(failures == 0 ? "layout, constants and functions as in the header" : $"{failures} failures");
        return failures == 0 ? 0 : 1;
    }
}
