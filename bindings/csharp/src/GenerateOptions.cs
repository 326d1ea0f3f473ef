using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;

namespace Dsv4
{
    /// <summary>Whether the model may, or has to, call tools.</summary>
    public enum ToolChoice
    {
        /// <summary>The conversation's own, else Auto.</summary>
        Default = 0,
        /// <summary>The model decides.</summary>
        Auto = 1,
        /// <summary>No tools in the prompt.</summary>
        None = 2,
        /// <summary>One call or several; with <see cref="Reasoning.None"/> only.</summary>
        Required = 3,
        /// <summary>One call of ToolName; with <see cref="Reasoning.None"/> only.</summary>
        Named = 4
    }

    /// <summary>What <see cref="GenerateOptions.Grammar"/> is.</summary>
    public enum GrammarKind
    {
        /// <summary>There is none.</summary>
        None = 0,
        /// <summary>Any JSON object.</summary>
        Json = 1,
        /// <summary>A JSON schema.</summary>
        JsonSchema = 2,
        /// <summary>EBNF as in GBNF; its rule root is the answer.</summary>
        Ebnf = 3,
        /// <summary>A regular expression for the whole answer.</summary>
        Regex = 4
    }

    /// <summary>How a turn is drawn. For the next token bias, repetition, presence and frequency penalties, the Logits
    /// callback, the grammar, TopK, Temperature, TopP and MinP act in this order, then it is drawn.</summary>
    public sealed class GenerateOptions
    {
        /// <summary>Sessions driven by messages only.</summary>
        public Reasoning Reasoning { get; set; }
        /// <summary>0: greedy.</summary>
        public double Temperature { get; set; } = 1;
        /// <summary>0: off.</summary>
        public int TopK { get; set; }
        /// <summary>0 or 1: off.</summary>
        public double TopP { get; set; }
        /// <summary>0: off.</summary>
        public double MinP { get; set; }
        /// <summary>0: a fresh one, reported in the statistics.</summary>
        public ulong Seed { get; set; }
        /// <summary>0: the profile's own limit, else as many as the context holds.</summary>
        public ulong MaxTokens { get; set; }
        /// <summary>Stop strings; they count in the answer's text, not in reasoning or calls.</summary>
        public ICollection<string> Stop { get; set; }
        /// <summary>Tokens of reasoning after which the answer has to follow; 0: no limit.</summary>
        public ulong ReasoningBudget { get; set; }
        /// <summary>0 or 1: off.</summary>
        public double RepetitionPenalty { get; set; }
        /// <summary>-2 to 2.</summary>
        public double PresencePenalty { get; set; }
        /// <summary>-2 to 2.</summary>
        public double FrequencyPenalty { get; set; }
        /// <summary>The penalties count this many of the newest tokens; 0: all.</summary>
        public ulong PenaltyWindow { get; set; }
        /// <summary>Added to a token's logit; negative infinity: never.</summary>
        public IDictionary<int, float> LogitBias { get; set; }
        /// <summary>May edit the logits of the next token, in an array that is valid during the call. false ends the
        /// turn as Stop does. Not with <see cref="Session.Stream"/>.</summary>
        public Func<float[], bool> Logits { get; set; }
        /// <summary>An event Token for each token.</summary>
        public bool TokenEvents { get; set; }
        /// <summary>With TokenEvents: how many of the most probable, 0 to 20.</summary>
        public int TopLogprobs { get; set; }
        /// <summary>Sessions driven by messages only.</summary>
        public ToolChoice ToolChoice { get; set; }
        /// <summary>Of <see cref="ToolChoice.Named"/>.</summary>
        public string ToolName { get; set; }
        /// <summary>What the answer must look like; reasoning stays free.</summary>
        public GrammarKind GrammarKind { get; set; }
        /// <summary>null with the kinds None and Json.</summary>
        public string Grammar { get; set; }
        /// <summary>Go on with the turn that was interrupted; see dsv4_session_generate in the header.</summary>
        public bool Resume { get; set; }

        /// <summary>For C, but for the callback.</summary>
        internal static dsv4_generate_options ToNative(GenerateOptions own, NativeMemory memory)
        {
            Native.dsv4_generate_options_init(out dsv4_generate_options native, Interop.SizeOf<dsv4_generate_options>());
            if (own == null) return native;
            native.reasoning = (int)own.Reasoning;
            native.top_k = own.TopK;
            native.temperature = own.Temperature;
            native.top_p = own.TopP;
            native.min_p = own.MinP;
            native.seed = own.Seed;
            native.max_tokens = own.MaxTokens;
            native.stop = memory.Texts(own.Stop, nameof(Stop), out native.stop_count);
            native.reasoning_budget = own.ReasoningBudget;
            native.repetition_penalty = own.RepetitionPenalty;
            native.presence_penalty = own.PresencePenalty;
            native.frequency_penalty = own.FrequencyPenalty;
            native.penalty_window = own.PenaltyWindow;
            own.WriteBias(ref native, memory);
            native.token_events = Interop.Flag(own.TokenEvents);
            native.top_logprobs = own.TopLogprobs;
            native.tool_choice = (int)own.ToolChoice;
            native.tool_name = memory.Text(own.ToolName, nameof(ToolName));
            native.grammar_kind = (int)own.GrammarKind;
            native.grammar = memory.Text(own.Grammar, nameof(Grammar));
            native.resume = Interop.Flag(own.Resume);
            return native;
        }

        private void WriteBias(ref dsv4_generate_options native, NativeMemory memory)
        {
            if (LogitBias == null || LogitBias.Count == 0) return;
            int size = Marshal.SizeOf<dsv4_logit_bias>();
            native.logit_bias = memory.Allocate(LogitBias.Count * size);
            native.logit_bias_count = (UIntPtr)(uint)LogitBias.Count;
            IntPtr at = native.logit_bias;
            foreach (KeyValuePair<int, float> bias in LogitBias)
            {
                Marshal.StructureToPtr(new dsv4_logit_bias { token = bias.Key, bias = bias.Value }, at, false);
                at = IntPtr.Add(at, size);
            }
        }
    }
}
