/* The layout of every public struct and the value of every public constant, as they were first published: hosts are
 * compiled against them. A new field goes to the end of its struct and adds a line here; a line that has to change is a
 * break of the ABI. Then, at run time: the *_INIT macros and *_init functions agree, and a function never writes past
 * the size it was told. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <dsv4.h>

#define VALUE(name, value) _Static_assert((name) == (value), #name " is pinned")
#if UINTPTR_MAX == UINT64_MAX
#define SIZE(type, size) _Static_assert(sizeof(type) == (size), "size of " #type)
#define FIELD(type, field, offset, size)                                           \
  _Static_assert(offsetof(type, field) == (offset), "offset of " #type "." #field); \
  _Static_assert(sizeof(((type *)0)->field) == (size), "size of " #type "." #field)
#else /* pointers of another size: the order of the fields is the header's, and nothing was published */
#define SIZE(type, size) _Static_assert(sizeof(type) > 0, "")
#define FIELD(type, field, offset, size) _Static_assert(sizeof(((type *)0)->field) > 0, "")
#endif

SIZE(dsv4_build_info, 64);
FIELD(dsv4_build_info, struct_size, 0, 8);
FIELD(dsv4_build_info, version, 8, 8);
FIELD(dsv4_build_info, backends, 16, 8);
FIELD(dsv4_build_info, onednn, 24, 8);
FIELD(dsv4_build_info, cuda, 32, 8);
FIELD(dsv4_build_info, isa, 40, 8);
FIELD(dsv4_build_info, compiler, 48, 8);
FIELD(dsv4_build_info, cuda_reason, 56, 8);

SIZE(dsv4_model_options, 96);
FIELD(dsv4_model_options, struct_size, 0, 8);
FIELD(dsv4_model_options, backend, 8, 8);
FIELD(dsv4_model_options, isa, 16, 8);
FIELD(dsv4_model_options, threads, 24, 4);
FIELD(dsv4_model_options, profile, 28, 4);
FIELD(dsv4_model_options, flags, 32, 4);
FIELD(dsv4_model_options, max_step_rows, 36, 4);
FIELD(dsv4_model_options, host_memory_limit, 40, 8);
FIELD(dsv4_model_options, log, 48, 8);
FIELD(dsv4_model_options, log_user, 56, 8);
FIELD(dsv4_model_options, progress, 64, 8);
FIELD(dsv4_model_options, progress_user, 72, 8);
FIELD(dsv4_model_options, device_memory_limit, 80, 8);
FIELD(dsv4_model_options, device, 88, 4);
FIELD(dsv4_model_options, reserved0, 92, 4);

SIZE(dsv4_estimate, 56);
FIELD(dsv4_estimate, struct_size, 0, 8);
FIELD(dsv4_estimate, weight_bytes, 8, 8);
FIELD(dsv4_estimate, state_bytes, 16, 8);
FIELD(dsv4_estimate, workspace_bytes, 24, 8);
FIELD(dsv4_estimate, available_host_bytes, 32, 8);
FIELD(dsv4_estimate, fits, 40, 4);
FIELD(dsv4_estimate, reserved0, 44, 4);
FIELD(dsv4_estimate, available_device_bytes, 48, 8);

SIZE(dsv4_model_info, 160);
FIELD(dsv4_model_info, struct_size, 0, 8);
FIELD(dsv4_model_info, fingerprint, 8, 8);
FIELD(dsv4_model_info, weight_bytes, 16, 8);
FIELD(dsv4_model_info, token_weight_bytes, 24, 8);
FIELD(dsv4_model_info, max_context, 32, 8);
FIELD(dsv4_model_info, vocab, 40, 8);
FIELD(dsv4_model_info, hidden, 48, 8);
FIELD(dsv4_model_info, layers, 56, 8);
FIELD(dsv4_model_info, heads, 64, 8);
FIELD(dsv4_model_info, head_dim, 72, 8);
FIELD(dsv4_model_info, experts, 80, 8);
FIELD(dsv4_model_info, experts_per_token, 88, 8);
FIELD(dsv4_model_info, window, 96, 8);
FIELD(dsv4_model_info, index_topk, 104, 8);
FIELD(dsv4_model_info, draft_head, 112, 4);
FIELD(dsv4_model_info, has_tokenizer, 116, 4);
FIELD(dsv4_model_info, profile, 120, 4);
FIELD(dsv4_model_info, profile_found, 124, 4);
FIELD(dsv4_model_info, reasoning_modes, 128, 4);
FIELD(dsv4_model_info, default_reasoning, 132, 4);
FIELD(dsv4_model_info, bos_token, 136, 4);
FIELD(dsv4_model_info, eos_token, 140, 4);
FIELD(dsv4_model_info, backend, 144, 8);
FIELD(dsv4_model_info, notes, 152, 8);

SIZE(dsv4_layer_info, 40);
FIELD(dsv4_layer_info, struct_size, 0, 8);
FIELD(dsv4_layer_info, ratio, 8, 4);
FIELD(dsv4_layer_info, hash_routed, 12, 4);
FIELD(dsv4_layer_info, draft, 16, 4);
FIELD(dsv4_layer_info, reserved0, 20, 4);
FIELD(dsv4_layer_info, weight_bytes, 24, 8);
FIELD(dsv4_layer_info, state_bytes, 32, 8);

SIZE(dsv4_verb_time, 48);
FIELD(dsv4_verb_time, struct_size, 0, 8);
FIELD(dsv4_verb_time, verb, 8, 8);
FIELD(dsv4_verb_time, calls, 16, 8);
FIELD(dsv4_verb_time, weight_bytes, 24, 8);
FIELD(dsv4_verb_time, multiply_adds, 32, 8);
FIELD(dsv4_verb_time, seconds, 40, 8);

SIZE(dsv4_render_options, 16);
FIELD(dsv4_render_options, struct_size, 0, 8);
FIELD(dsv4_render_options, reasoning, 8, 4);
FIELD(dsv4_render_options, profile, 12, 4);

SIZE(dsv4_session_options, 32);
FIELD(dsv4_session_options, struct_size, 0, 8);
FIELD(dsv4_session_options, context, 8, 8);
FIELD(dsv4_session_options, flags, 16, 4);
FIELD(dsv4_session_options, prefill_chunk, 20, 4);
FIELD(dsv4_session_options, checkpoints, 24, 4);
FIELD(dsv4_session_options, reserved0, 28, 4);

SIZE(dsv4_session_info, 64);
FIELD(dsv4_session_info, struct_size, 0, 8);
FIELD(dsv4_session_info, tokens, 8, 8);
FIELD(dsv4_session_info, evaluated, 16, 8);
FIELD(dsv4_session_info, context, 24, 8);
FIELD(dsv4_session_info, state_bytes, 32, 8);
FIELD(dsv4_session_info, checkpoints, 40, 8);
FIELD(dsv4_session_info, checkpoint_bytes, 48, 8);
FIELD(dsv4_session_info, interrupted, 56, 4);
FIELD(dsv4_session_info, driven, 60, 4);

SIZE(dsv4_eval_options, 40);
FIELD(dsv4_eval_options, struct_size, 0, 8);
FIELD(dsv4_eval_options, logits, 8, 8);
FIELD(dsv4_eval_options, draft_logits, 16, 8);
FIELD(dsv4_eval_options, progress, 24, 8);
FIELD(dsv4_eval_options, progress_user, 32, 8);

SIZE(dsv4_generate_stats, 96);
FIELD(dsv4_generate_stats, struct_size, 0, 8);
FIELD(dsv4_generate_stats, prompt_tokens, 8, 8);
FIELD(dsv4_generate_stats, reused_tokens, 16, 8);
FIELD(dsv4_generate_stats, generated_tokens, 24, 8);
FIELD(dsv4_generate_stats, reasoning_tokens, 32, 8);
FIELD(dsv4_generate_stats, prefill_seconds, 40, 8);
FIELD(dsv4_generate_stats, decode_seconds, 48, 8);
FIELD(dsv4_generate_stats, seed, 56, 8);
FIELD(dsv4_generate_stats, reasoning, 64, 4);
FIELD(dsv4_generate_stats, reason, 68, 4);
FIELD(dsv4_generate_stats, tool_calls, 72, 8);
FIELD(dsv4_generate_stats, max_tokens, 80, 8);
FIELD(dsv4_generate_stats, reasoning_closed, 88, 4);
FIELD(dsv4_generate_stats, reserved0, 92, 4);

SIZE(dsv4_tool_call, 48);
FIELD(dsv4_tool_call, struct_size, 0, 8);
FIELD(dsv4_tool_call, index, 8, 8);
FIELD(dsv4_tool_call, id, 16, 8);
FIELD(dsv4_tool_call, name, 24, 8);
FIELD(dsv4_tool_call, arguments, 32, 8);
FIELD(dsv4_tool_call, arguments_length, 40, 8);

SIZE(dsv4_token_logprob, 16);
FIELD(dsv4_token_logprob, token, 0, 4);
FIELD(dsv4_token_logprob, reserved0, 4, 4);
FIELD(dsv4_token_logprob, logprob, 8, 8);

SIZE(dsv4_token_info, 40);
FIELD(dsv4_token_info, struct_size, 0, 8);
FIELD(dsv4_token_info, token, 8, 4);
FIELD(dsv4_token_info, forced, 12, 4);
FIELD(dsv4_token_info, logprob, 16, 8);
FIELD(dsv4_token_info, top, 24, 8);
FIELD(dsv4_token_info, top_count, 32, 8);

SIZE(dsv4_event, 72);
FIELD(dsv4_event, struct_size, 0, 8);
FIELD(dsv4_event, type, 8, 4);
FIELD(dsv4_event, reason, 12, 4);
FIELD(dsv4_event, text, 16, 8);
FIELD(dsv4_event, text_length, 24, 8);
FIELD(dsv4_event, done, 32, 8);
FIELD(dsv4_event, total, 40, 8);
FIELD(dsv4_event, stats, 48, 8);
FIELD(dsv4_event, call, 56, 8);
FIELD(dsv4_event, token, 64, 8);

SIZE(dsv4_logit_bias, 8);
FIELD(dsv4_logit_bias, token, 0, 4);
FIELD(dsv4_logit_bias, bias, 4, 4);

SIZE(dsv4_generate_options, 184);
FIELD(dsv4_generate_options, struct_size, 0, 8);
FIELD(dsv4_generate_options, reasoning, 8, 4);
FIELD(dsv4_generate_options, top_k, 12, 4);
FIELD(dsv4_generate_options, temperature, 16, 8);
FIELD(dsv4_generate_options, top_p, 24, 8);
FIELD(dsv4_generate_options, min_p, 32, 8);
FIELD(dsv4_generate_options, seed, 40, 8);
FIELD(dsv4_generate_options, max_tokens, 48, 8);
FIELD(dsv4_generate_options, stop, 56, 8);
FIELD(dsv4_generate_options, stop_count, 64, 8);
FIELD(dsv4_generate_options, reasoning_budget, 72, 8);
FIELD(dsv4_generate_options, repetition_penalty, 80, 8);
FIELD(dsv4_generate_options, presence_penalty, 88, 8);
FIELD(dsv4_generate_options, frequency_penalty, 96, 8);
FIELD(dsv4_generate_options, penalty_window, 104, 8);
FIELD(dsv4_generate_options, logit_bias, 112, 8);
FIELD(dsv4_generate_options, logit_bias_count, 120, 8);
FIELD(dsv4_generate_options, logits, 128, 8);
FIELD(dsv4_generate_options, logits_user, 136, 8);
FIELD(dsv4_generate_options, token_events, 144, 4);
FIELD(dsv4_generate_options, top_logprobs, 148, 4);
FIELD(dsv4_generate_options, tool_choice, 152, 4);
FIELD(dsv4_generate_options, grammar_kind, 156, 4);
FIELD(dsv4_generate_options, tool_name, 160, 8);
FIELD(dsv4_generate_options, grammar, 168, 8);
FIELD(dsv4_generate_options, resume, 176, 4);
FIELD(dsv4_generate_options, reserved0, 180, 4);

SIZE(dsv4_snapshot_options, 16);
FIELD(dsv4_snapshot_options, struct_size, 0, 8);
FIELD(dsv4_snapshot_options, level, 8, 4);
FIELD(dsv4_snapshot_options, uncompressed, 12, 4);

SIZE(dsv4_snapshot_info, 88);
FIELD(dsv4_snapshot_info, struct_size, 0, 8);
FIELD(dsv4_snapshot_info, fingerprint, 8, 8);
FIELD(dsv4_snapshot_info, tokens, 16, 8);
FIELD(dsv4_snapshot_info, evaluated, 24, 8);
FIELD(dsv4_snapshot_info, context, 32, 8);
FIELD(dsv4_snapshot_info, state_bytes, 40, 8);
FIELD(dsv4_snapshot_info, vocab, 48, 8);
FIELD(dsv4_snapshot_info, layers, 56, 8);
FIELD(dsv4_snapshot_info, format_version, 64, 4);
FIELD(dsv4_snapshot_info, profile, 68, 4);
FIELD(dsv4_snapshot_info, driven, 72, 4);
FIELD(dsv4_snapshot_info, draft, 76, 4);
FIELD(dsv4_snapshot_info, interrupted, 80, 4);
FIELD(dsv4_snapshot_info, reserved0, 84, 4);

SIZE(dsv4_parser_options, 32);
FIELD(dsv4_parser_options, struct_size, 0, 8);
FIELD(dsv4_parser_options, start, 8, 4);
FIELD(dsv4_parser_options, reserved0, 12, 4);
FIELD(dsv4_parser_options, stop, 16, 8);
FIELD(dsv4_parser_options, stop_count, 24, 8);

VALUE(DSV4_OK, 0);
VALUE(DSV4_E_INVALID_ARGUMENT, 1);
VALUE(DSV4_E_UNSUPPORTED, 2);
VALUE(DSV4_E_NOT_FOUND, 3);
VALUE(DSV4_E_IO, 4);
VALUE(DSV4_E_CORRUPT, 5);
VALUE(DSV4_E_INCOMPATIBLE, 6);
VALUE(DSV4_E_OUT_OF_MEMORY_HOST, 7);
VALUE(DSV4_E_OUT_OF_MEMORY_DEVICE, 8);
VALUE(DSV4_E_DEVICE_LOST, 9);
VALUE(DSV4_E_BUSY, 10);
VALUE(DSV4_E_CONTEXT_FULL, 11);
VALUE(DSV4_E_CANCELLED, 12);
VALUE(DSV4_E_INTERNAL, 13);

VALUE(DSV4_PROFILE_AUTO, 0);
VALUE(DSV4_PROFILE_PREVIEW, 1);
VALUE(DSV4_PROFILE_0731, 2);

VALUE(DSV4_LOG_DEBUG, 0);
VALUE(DSV4_LOG_INFO, 1);
VALUE(DSV4_LOG_WARNING, 2);
VALUE(DSV4_LOG_ERROR, 3);

VALUE(DSV4_OPEN_TEXT_ONLY, 1);
VALUE(DSV4_OPEN_VERIFY, 2);
VALUE(DSV4_OPEN_TIME_VERBS, 4);

VALUE(DSV4_REASONING_DEFAULT, 0);
VALUE(DSV4_REASONING_NONE, 1);
VALUE(DSV4_REASONING_LOW, 2);
VALUE(DSV4_REASONING_HIGH, 3);
VALUE(DSV4_REASONING_MAX, 4);

VALUE(DSV4_TEXT_SPECIAL, 1);

VALUE(DSV4_ROLE_SYSTEM, 1);
VALUE(DSV4_ROLE_USER, 2);
VALUE(DSV4_ROLE_ASSISTANT, 3);
VALUE(DSV4_ROLE_TOOL, 4);
VALUE(DSV4_ROLE_DEVELOPER, 5);
VALUE(DSV4_ROLE_LATEST_REMINDER, 6);

VALUE(DSV4_SESSION_DRAFT, 1);

VALUE(DSV4_EVENT_PREFILL, 1);
VALUE(DSV4_EVENT_REASONING, 2);
VALUE(DSV4_EVENT_CONTENT, 3);
VALUE(DSV4_EVENT_WARNING, 4);
VALUE(DSV4_EVENT_DONE, 5);
VALUE(DSV4_EVENT_TOOL_CALL_BEGIN, 6);
VALUE(DSV4_EVENT_TOOL_ARGUMENTS, 7);
VALUE(DSV4_EVENT_TOOL_CALL, 8);
VALUE(DSV4_EVENT_MALFORMED, 9);
VALUE(DSV4_EVENT_TOKEN, 10);

VALUE(DSV4_DONE_NONE, 0);
VALUE(DSV4_DONE_STOP, 1);
VALUE(DSV4_DONE_STOP_STRING, 2);
VALUE(DSV4_DONE_LENGTH, 3);
VALUE(DSV4_DONE_HOST, 4);
VALUE(DSV4_DONE_CANCELLED, 5);
VALUE(DSV4_DONE_TOOL_CALLS, 6);
VALUE(DSV4_DONE_MALFORMED, 7);
VALUE(DSV4_DONE_PAUSED, 8);

VALUE(DSV4_CONTINUE, 0);
VALUE(DSV4_STOP, 1);
VALUE(DSV4_CANCEL, 2);
VALUE(DSV4_PAUSE, 3);

VALUE(DSV4_TOOL_CHOICE_DEFAULT, 0);
VALUE(DSV4_TOOL_CHOICE_AUTO, 1);
VALUE(DSV4_TOOL_CHOICE_NONE, 2);
VALUE(DSV4_TOOL_CHOICE_REQUIRED, 3);
VALUE(DSV4_TOOL_CHOICE_NAMED, 4);

VALUE(DSV4_GRAMMAR_NONE, 0);
VALUE(DSV4_GRAMMAR_JSON, 1);
VALUE(DSV4_GRAMMAR_JSON_SCHEMA, 2);
VALUE(DSV4_GRAMMAR_EBNF, 3);
VALUE(DSV4_GRAMMAR_REGEX, 4);

VALUE(DSV4_DRIVEN_NOT_YET, 0);
VALUE(DSV4_DRIVEN_BY_MESSAGES, 1);
VALUE(DSV4_DRIVEN_BY_TOKENS, 2);

VALUE(DSV4_START_CONTENT, 0);
VALUE(DSV4_START_REASONING, 1);
VALUE(DSV4_START_TOOL_CALLS, 2);

static int failures = 0;
#define CHECK(condition)                                                \
  do {                                                                  \
    if (!(condition)) {                                                 \
      printf("%s:%d: %s\n", __FILE__, __LINE__, #condition);            \
      ++failures;                                                       \
    }                                                                   \
  } while (0)

enum { kRoom = 512, kUntouched = 0xa5 };

/* What an *_init function leaves in a host's memory when told `size`: `defaults` (of `known` bytes) with struct_size set,
 * zeros after what the library knows, and nothing after `size`. */
static void check_init(const unsigned char *memory, size_t size, const void *defaults, size_t known) {
  unsigned char expected[kRoom];
  memset(expected, kUntouched, sizeof expected);
  if (size >= sizeof(size_t)) {
    memset(expected, 0, size);
    memcpy(expected, defaults, size < known ? size : known);
    memcpy(expected, &size, sizeof size);
  }
  CHECK(memcmp(memory, expected, kRoom) == 0);
}

/* Every size a host may have been compiled with: shorter than any struct, older, ours, newer. */
#define CHECK_INIT(type, macro)                                  \
  do {                                                           \
    const type defaults = macro;                                 \
    union {                                                      \
      type options;                                              \
      unsigned char bytes[kRoom];                                \
    } memory;                                                    \
    size_t size;                                                 \
    for (size = 0; size <= sizeof(type) + 64; ++size) {          \
      memset(&memory, kUntouched, sizeof memory);                \
      type##_init(&memory.options, size);                        \
      check_init(memory.bytes, size, &defaults, sizeof(type));   \
    }                                                            \
    type##_init(NULL, sizeof(type));                             \
  } while (0)

int main(void) {
  CHECK_INIT(dsv4_model_options, DSV4_MODEL_OPTIONS_INIT);
  CHECK_INIT(dsv4_render_options, DSV4_RENDER_OPTIONS_INIT);
  CHECK_INIT(dsv4_session_options, DSV4_SESSION_OPTIONS_INIT);
  CHECK_INIT(dsv4_eval_options, DSV4_EVAL_OPTIONS_INIT);
  CHECK_INIT(dsv4_generate_options, DSV4_GENERATE_OPTIONS_INIT);
  CHECK_INIT(dsv4_snapshot_options, DSV4_SNAPSHOT_OPTIONS_INIT);
  CHECK_INIT(dsv4_parser_options, DSV4_PARSER_OPTIONS_INIT);
  printf("layout of %d-bit: %d failures\n", (int)(8 * sizeof(void *)), failures);
  return failures != 0;
}
