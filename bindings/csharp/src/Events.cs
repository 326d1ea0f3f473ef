using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;

namespace Dsv4
{
    /// <summary>What an <see cref="Event"/> tells.</summary>
    public enum EventType
    {
        /// <summary>Done of Total prompt tokens are evaluated.</summary>
        Prefill = 1,
        /// <summary>Text: the next piece of the reasoning.</summary>
        Reasoning = 2,
        /// <summary>Text: the next piece of the answer.</summary>
        Content = 3,
        /// <summary>Text: something the host may want to know.</summary>
        Warning = 4,
        /// <summary>Last of all: Reason and Stats.</summary>
        Done = 5,
        /// <summary>Call: index, id and name are known.</summary>
        ToolCallBegin = 6,
        /// <summary>Call, and Text: the next piece of its arguments' JSON.</summary>
        ToolArguments = 7,
        /// <summary>Call: complete, its arguments are valid JSON.</summary>
        ToolCall = 8,
        /// <summary>Text: output that breaks the format, as the model wrote it.</summary>
        Malformed = 9,
        /// <summary>Token: one token and its log-probability.</summary>
        Token = 10
    }

    /// <summary>Why a turn ended.</summary>
    public enum DoneReason
    {
        /// <summary>It has not.</summary>
        None = 0,
        /// <summary>The model ended its turn.</summary>
        Stop = 1,
        /// <summary>A stop string was met; it is not part of the text.</summary>
        StopString = 2,
        /// <summary>MaxTokens, or the context is full.</summary>
        Length = 3,
        /// <summary>The callback answered Stop.</summary>
        Host = 4,
        /// <summary>Session.Cancel, the token, or the callback answered Cancel.</summary>
        Cancelled = 5,
        /// <summary>The model ended its turn with calls and waits for their results.</summary>
        ToolCalls = 6,
        /// <summary>The model ended its turn, and part of it broke the format.</summary>
        Malformed = 7,
        /// <summary>The callback answered Pause.</summary>
        Paused = 8
    }

    /// <summary>Names of reasons.</summary>
    public static class DoneReasons
    {
        /// <summary>"stop", "stop_string", "length" ...</summary>
        public static string Name(this DoneReason reason) => Utf8.Decode(Native.dsv4_done_name((int)reason));
    }

    /// <summary>What a callback answers to an event.</summary>
    public enum EventAction
    {
        /// <summary>Go on.</summary>
        Continue = 0,
        /// <summary>End here and keep what was generated.</summary>
        Stop = 1,
        /// <summary>End here and take the whole turn back.</summary>
        Cancel = 2,
        /// <summary>End this call here; <see cref="GenerateOptions.Resume"/> goes on, now or after a
        /// snapshot.</summary>
        Pause = 3
    }

    /// <summary>A turn's statistics.</summary>
    public sealed class GenerateStats
    {
        internal GenerateStats(dsv4_generate_stats s)
        {
            PromptTokens = s.prompt_tokens;
            ReusedTokens = s.reused_tokens;
            GeneratedTokens = s.generated_tokens;
            ReasoningTokens = s.reasoning_tokens;
            PrefillSeconds = s.prefill_seconds;
            DecodeSeconds = s.decode_seconds;
            Seed = s.seed;
            Reasoning = (Reasoning)s.reasoning;
            Reason = (DoneReason)s.reason;
            ToolCalls = s.tool_calls;
            MaxTokens = s.max_tokens;
            ReasoningClosed = s.reasoning_closed == 1;
        }

        /// <summary>Of the whole prompt.</summary>
        public ulong PromptTokens { get; }
        /// <summary>Of them, already in the state.</summary>
        public ulong ReusedTokens { get; }
        /// <summary>The one that ended the turn included.</summary>
        public ulong GeneratedTokens { get; }
        /// <summary>Of them, inside the reasoning.</summary>
        public ulong ReasoningTokens { get; }
        /// <summary>For the prompt.</summary>
        public double PrefillSeconds { get; }
        /// <summary>For the answer.</summary>
        public double DecodeSeconds { get; }
        /// <summary>The one in use.</summary>
        public ulong Seed { get; }
        /// <summary>In use.</summary>
        public Reasoning Reasoning { get; }
        /// <summary>Why the turn ended.</summary>
        public DoneReason Reason { get; }
        /// <summary>Complete ones.</summary>
        public ulong ToolCalls { get; }
        /// <summary>The limit in force.</summary>
        public ulong MaxTokens { get; }
        /// <summary>By the library: the budget was used up.</summary>
        public bool ReasoningClosed { get; }
    }

    /// <summary>A function that the model wants to have called. Its result goes to
    /// <see cref="Session.AppendToolResult"/> with its id.</summary>
    public sealed class ToolCall
    {
        internal ToolCall(dsv4_tool_call c)
        {
            Index = c.index;
            Id = Utf8.Decode(c.id);
            Name = Utf8.Decode(c.name);
            Arguments = Utf8.Decode(c.arguments, c.arguments_length);
        }

        /// <summary>In the turn, from 0.</summary>
        public ulong Index { get; }
        /// <summary>Made by the library.</summary>
        public string Id { get; }
        /// <summary>Of the function.</summary>
        public string Name { get; }
        /// <summary>With <see cref="EventType.ToolCall"/>: a JSON object, valid, but not always what the schema
        /// promises; "" before.</summary>
        public string Arguments { get; }
    }

    /// <summary>A token and the natural logarithm of the model's own probability, before any option of
    /// sampling.</summary>
    public struct TokenLogprob
    {
        internal TokenLogprob(int token, double logprob)
        {
            Token = token;
            Logprob = logprob;
        }

        /// <summary>Its id.</summary>
        public int Token { get; }
        /// <summary>Its log-probability.</summary>
        public double Logprob { get; }
    }

    /// <summary>A token of the answer.</summary>
    public sealed class TokenInfo
    {
        internal TokenInfo(dsv4_token_info t)
        {
            Token = t.token;
            Logprob = t.logprob;
            Forced = t.forced == 1;
            var top = new TokenLogprob[checked((int)t.top_count.ToUInt64())];
            for (int i = 0; i < top.Length; ++i)
            {
                var native = Marshal.PtrToStructure<dsv4_token_logprob>(
                    IntPtr.Add(t.top, i * Marshal.SizeOf<dsv4_token_logprob>()));
                top[i] = new TokenLogprob(native.token, native.logprob);
            }
            Top = top;
        }

        /// <summary>Its id.</summary>
        public int Token { get; }
        /// <summary>Its log-probability.</summary>
        public double Logprob { get; }
        /// <summary>Put there by the library, not drawn.</summary>
        public bool Forced { get; }
        /// <summary>The most probable, best first.</summary>
        public IReadOnlyList<TokenLogprob> Top { get; }
    }

    /// <summary>Something that happened in a turn. It is the host's own: nothing of it is native memory.</summary>
    public sealed class Event
    {
        private Event(dsv4_event e)
        {
            Type = (EventType)e.type;
            Reason = (DoneReason)e.reason;
            Text = Utf8.Decode(e.text, e.text_length);
            Done = e.done;
            Total = e.total;
            if (e.stats != IntPtr.Zero) Stats = new GenerateStats(Marshal.PtrToStructure<dsv4_generate_stats>(e.stats));
            if (e.call != IntPtr.Zero) Call = new ToolCall(Marshal.PtrToStructure<dsv4_tool_call>(e.call));
            if (e.token != IntPtr.Zero) Token = new TokenInfo(Marshal.PtrToStructure<dsv4_token_info>(e.token));
        }

        internal static Event Read(IntPtr native) => new Event(Marshal.PtrToStructure<dsv4_event>(native));

        /// <summary>What it tells.</summary>
        public EventType Type { get; }
        /// <summary>Of <see cref="EventType.Done"/>.</summary>
        public DoneReason Reason { get; }
        /// <summary>Whole characters; "" where there is none.</summary>
        public string Text { get; }
        /// <summary>Of <see cref="EventType.Prefill"/>.</summary>
        public ulong Done { get; }
        /// <summary>Of <see cref="EventType.Prefill"/>.</summary>
        public ulong Total { get; }
        /// <summary>Of <see cref="EventType.Done"/>; null otherwise, and from a <see cref="Parser"/>.</summary>
        public GenerateStats Stats { get; }
        /// <summary>Of ToolCallBegin, ToolArguments and ToolCall; null otherwise.</summary>
        public ToolCall Call { get; }
        /// <summary>Of <see cref="EventType.Token"/>; null otherwise.</summary>
        public TokenInfo Token { get; }
    }
}
