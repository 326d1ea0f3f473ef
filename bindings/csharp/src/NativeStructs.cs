// The structs of dsv4.h, with its own names, so that the two can be read side by side and compared by a program
// (tests/LayoutTest.cs). All are blittable: integers, floating point numbers and pointers, nothing to be marshalled.
using System;
using System.Runtime.InteropServices;

#pragma warning disable 0169, 0649 // fields that only C reads or writes

namespace Dsv4
{
    [StructLayout(LayoutKind.Sequential)]
    internal struct dsv4_build_info
    {
        public UIntPtr struct_size;
        public IntPtr version, backends, onednn, cuda, isa, compiler, cuda_reason;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct dsv4_model_options
    {
        public UIntPtr struct_size;
        public IntPtr backend, isa;
        public int threads, profile;
        public uint flags;
        public int max_step_rows;
        public ulong host_memory_limit;
        public IntPtr log, log_user, progress, progress_user;
        public ulong device_memory_limit;
        public int device, reserved0;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct dsv4_estimate
    {
        public UIntPtr struct_size;
        public ulong weight_bytes, state_bytes, workspace_bytes, available_host_bytes;
        public int fits, reserved0;
        public ulong available_device_bytes;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct dsv4_model_info
    {
        public UIntPtr struct_size;
        public ulong fingerprint, weight_bytes, token_weight_bytes, max_context;
        public long vocab, hidden, layers, heads, head_dim, experts, experts_per_token, window, index_topk;
        public int draft_head, has_tokenizer, profile, profile_found;
        public uint reasoning_modes;
        public int default_reasoning, bos_token, eos_token;
        public IntPtr backend, notes;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct dsv4_layer_info
    {
        public UIntPtr struct_size;
        public int ratio, hash_routed, draft, reserved0;
        public ulong weight_bytes, state_bytes;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct dsv4_verb_time
    {
        public UIntPtr struct_size;
        public IntPtr verb;
        public ulong calls, weight_bytes;
        public double multiply_adds, seconds;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct dsv4_render_options
    {
        public UIntPtr struct_size;
        public int reasoning, profile;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct dsv4_session_options
    {
        public UIntPtr struct_size;
        public ulong context;
        public uint flags;
        public int prefill_chunk, checkpoints, reserved0;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct dsv4_session_info
    {
        public UIntPtr struct_size;
        public ulong tokens, evaluated, context, state_bytes, checkpoints, checkpoint_bytes;
        public int interrupted, driven;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct dsv4_eval_options
    {
        public UIntPtr struct_size;
        public IntPtr logits, draft_logits, progress, progress_user;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct dsv4_generate_stats
    {
        public UIntPtr struct_size;
        public ulong prompt_tokens, reused_tokens, generated_tokens, reasoning_tokens;
        public double prefill_seconds, decode_seconds;
        public ulong seed;
        public int reasoning, reason;
        public ulong tool_calls, max_tokens;
        public int reasoning_closed, reserved0;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct dsv4_tool_call
    {
        public UIntPtr struct_size;
        public ulong index;
        public IntPtr id, name, arguments;
        public UIntPtr arguments_length;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct dsv4_token_logprob
    {
        public int token, reserved0;
        public double logprob;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct dsv4_token_info
    {
        public UIntPtr struct_size;
        public int token, forced;
        public double logprob;
        public IntPtr top;
        public UIntPtr top_count;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct dsv4_event
    {
        public UIntPtr struct_size;
        public int type, reason;
        public IntPtr text;
        public UIntPtr text_length;
        public ulong done, total;
        public IntPtr stats, call, token;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct dsv4_logit_bias
    {
        public int token;
        public float bias;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct dsv4_generate_options
    {
        public UIntPtr struct_size;
        public int reasoning, top_k;
        public double temperature, top_p, min_p;
        public ulong seed, max_tokens;
        public IntPtr stop;
        public UIntPtr stop_count;
        public ulong reasoning_budget;
        public double repetition_penalty, presence_penalty, frequency_penalty;
        public ulong penalty_window;
        public IntPtr logit_bias;
        public UIntPtr logit_bias_count;
        public IntPtr logits, logits_user;
        public int token_events, top_logprobs, tool_choice, grammar_kind;
        public IntPtr tool_name, grammar;
        public int resume, reserved0;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct dsv4_snapshot_options
    {
        public UIntPtr struct_size;
        public int level, uncompressed;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct dsv4_snapshot_info
    {
        public UIntPtr struct_size;
        public ulong fingerprint, tokens, evaluated, context, state_bytes;
        public long vocab, layers;
        public int format_version, profile, driven, draft, interrupted, reserved0;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct dsv4_parser_options
    {
        public UIntPtr struct_size;
        public int start, reserved0;
        public IntPtr stop;
        public UIntPtr stop_count;
    }
}
