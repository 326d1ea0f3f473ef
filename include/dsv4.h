/* libdsv4: DeepSeek-V4 inside your own program.
 *
 *   dsv4_model *model = NULL; dsv4_session *session = NULL; dsv4_error *error = NULL;
 *   dsv4_model_open("path/to/checkpoint", NULL, &model, &error);
 *   dsv4_session_create(model, NULL, &session, &error);
 *   dsv4_session_append_message(session, DSV4_ROLE_USER, "Hello", DSV4_NUL_TERMINATED, &error);
 *   dsv4_session_generate(session, NULL, on_event, my_data, NULL, &error);
 *
 * Rules that hold for every call
 *  - A fallible call returns a dsv4_status: DSV4_OK (0) or a code that says what the host can do about it. Its last
 *    parameter, which may be NULL, receives a dsv4_error with a message that names the file, tensor or field, what was
 *    expected and what was found; release it with dsv4_error_release. It is set to NULL on success.
 *  - Results come through pointers and are untouched on failure. Strings are UTF-8. Lengths are bytes; where a length
 *    may be DSV4_NUL_TERMINATED, the text ends at its first NUL.
 *  - Options structs begin with struct_size. Set them up with the DSV4_*_INIT macro (C, C++) or the dsv4_*_init
 *    function (other languages). NULL stands for the defaults. Fields are only ever added at the end, and a field that
 *    an older caller does not know is zero, which means its default.
 *  - Functions that fill a caller's array write at most `capacity` items and always report how many there are, so that
 *    (NULL, 0) asks for the size.
 *  - Handles are reference-counted; releasing NULL, or a pointer to NULL, is allowed. A session keeps its model alive.
 *  - A model may be used from any threads at once. A session belongs to one call at a time: a second one is answered
 *    DSV4_E_BUSY. dsv4_session_cancel alone may be called at any time from any thread.
 *  - The library prints nothing, installs no signal handlers, reads no environment variables and starts no thread that
 *    outlives its model. Callbacks run on the caller's own thread.
 */
#ifndef DSV4_H
#define DSV4_H

#include <stddef.h>
#include <stdint.h>

#define DSV4_VERSION_MAJOR 0
#define DSV4_VERSION_MINOR 1
#define DSV4_VERSION_PATCH 0

/* Windows: what dsv4.dll exports says its module definition. Define DSV4_STATIC to link the static library there. */
#if defined(_WIN32)
#if defined(DSV4_BUILD) || defined(DSV4_STATIC)
#define DSV4_API
#else
#define DSV4_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define DSV4_API __attribute__((visibility("default")))
#else
#define DSV4_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------------------ status, errors */

typedef int32_t dsv4_status;
enum {
  DSV4_OK = 0,
  DSV4_E_INVALID_ARGUMENT = 1,      /* the call itself is wrong: correct it */
  DSV4_E_UNSUPPORTED = 2,           /* understood, and not there: the message says what is missing */
  DSV4_E_NOT_FOUND = 3,             /* a file or a name does not exist */
  DSV4_E_IO = 4,                    /* the system could not read or write */
  DSV4_E_CORRUPT = 5,               /* a file is not what it claims to be */
  DSV4_E_INCOMPATIBLE = 6,          /* two things do not belong together */
  DSV4_E_OUT_OF_MEMORY_HOST = 7,    /* memory, or the model's memory limit, is exhausted */
  DSV4_E_OUT_OF_MEMORY_DEVICE = 8,
  DSV4_E_DEVICE_LOST = 9,           /* release the model and open it again */
  DSV4_E_BUSY = 10,                 /* another call is using this session */
  DSV4_E_CONTEXT_FULL = 11,         /* the tokens do not fit the session's context */
  DSV4_E_CANCELLED = 12,            /* cancelled, by you */
  DSV4_E_INTERNAL = 13              /* a bug of ours: please report the message */
};

typedef struct dsv4_error dsv4_error;

DSV4_API dsv4_status dsv4_error_status(const dsv4_error *error);  /* DSV4_OK for NULL */
DSV4_API const char *dsv4_error_message(const dsv4_error *error); /* "" for NULL; lives as long as the error */
DSV4_API void dsv4_error_release(dsv4_error **error);
DSV4_API const char *dsv4_status_name(dsv4_status status); /* "DSV4_E_CORRUPT"; static */

#define DSV4_NUL_TERMINATED ((size_t)-1)

/* ----------------------------------------------------------------------------------------------- version, build */

/* major * 1000000 + minor * 1000 + patch of the library that is running. */
DSV4_API uint32_t dsv4_version(void);

typedef struct dsv4_build_info {
  size_t struct_size;
  const char *version;  /* "0.1.0" */
  const char *backends; /* that can be used here, best first: "cuda cpu reference" */
  const char *onednn;   /* version, or "" without */
  const char *cuda;     /* version of the toolkit, or "" where the cuda backend cannot be used */
  const char *isa;      /* instruction sets that the cpu backend can use here, best first: "amx avx512-bf16 avx512 avx2 scalar" */
  const char *compiler;
  const char *cuda_reason; /* why the cuda backend cannot be used here: no module, driver or GPU; "" where it can */
} dsv4_build_info;

/* Fills `info`, whose struct_size the caller has set. All strings are static. The first call looks for a GPU, as opening a
 * model does: with a driver that can take a second. */
DSV4_API dsv4_status dsv4_build_info_get(dsv4_build_info *info, dsv4_error **error);

/* -------------------------------------------------------------------------------------------------------- model */

typedef struct dsv4_model dsv4_model;

/* Which prompt rules a checkpoint was trained with. */
enum {
  DSV4_PROFILE_AUTO = 0,    /* found from config.json; reported in dsv4_model_info */
  DSV4_PROFILE_PREVIEW = 1, /* V4-Flash, V4-Pro (April preview) */
  DSV4_PROFILE_0731 = 2     /* V4-Flash-0731, V4-Pro-0813 */
};

enum { DSV4_LOG_DEBUG = 0, DSV4_LOG_INFO = 1, DSV4_LOG_WARNING = 2, DSV4_LOG_ERROR = 3 };
typedef void (*dsv4_log_fn)(void *user, int32_t level, const char *text);
/* `done` of `total`: tensors looked at; then, with a GPU, bytes moved there. Non-zero gives up with DSV4_E_CANCELLED. */
typedef int32_t (*dsv4_progress_fn)(void *user, uint64_t done, uint64_t total);

enum {
  DSV4_OPEN_TEXT_ONLY = 1, /* open the language part of a vision checkpoint */
  DSV4_OPEN_VERIFY = 2,    /* check every scale byte and table entry now, which reads part of every shard */
  DSV4_OPEN_TIME_VERBS = 4 /* measure what every verb of the backend costs: dsv4_model_verb_time */
};

typedef struct dsv4_model_options {
  size_t struct_size;
  const char *backend;        /* NULL or "auto": cuda where there is a GPU that holds the model, else cpu; "cuda", "cpu",
                                 "reference" */
  const char *isa;            /* cpu backend: NULL for the best, or one of dsv4_build_info.isa */
  int32_t threads;            /* cpu backend: 0 for all usable cores */
  int32_t profile;            /* DSV4_PROFILE_* */
  uint32_t flags;             /* DSV4_OPEN_* */
  int32_t max_step_rows;      /* tokens evaluated at once in prefill, at most; 0: 512 */
  uint64_t host_memory_limit; /* bytes for this model's sessions together: states, logits, token ids, checkpoints; 0: no
                                 limit of ours */
  dsv4_log_fn log;
  void *log_user;
  dsv4_progress_fn progress;
  void *progress_user;
  uint64_t device_memory_limit; /* cuda backend: bytes of GPU memory for weights, sessions and working memory together;
                                   0: no limit of ours */
  int32_t device;               /* cuda backend: which GPU, as the CUDA runtime counts */
  int32_t reserved0;
} dsv4_model_options;
#define DSV4_MODEL_OPTIONS_INIT {sizeof(dsv4_model_options), NULL, NULL, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, 0, 0, 0}
/* Sets the first `struct_size` bytes of the caller's struct to the defaults, never more. So do all *_init below. */
DSV4_API void dsv4_model_options_init(dsv4_model_options *options, size_t struct_size);

/* Opens a checkpoint folder in the published layout. The weights are mapped, not read: this takes time in the number
 * of tensors, not in bytes, and pages come in as they are first used. The files must not change while it is open. With the
 * cuda backend the weights are copied to the GPU, and what does not fit there is OUT_OF_MEMORY_DEVICE with the bytes that
 * are missing ("auto" then takes the cpu and says so in the log).
 * Errors: NOT_FOUND, IO, CORRUPT, UNSUPPORTED (architecture, backend), CANCELLED, OUT_OF_MEMORY_HOST and _DEVICE. */
DSV4_API dsv4_status dsv4_model_open(const char *folder, const dsv4_model_options *options, dsv4_model **model,
                                     dsv4_error **error);

/* A model of a published shape ("flash", "pro") with `layers` layers (0: all) and random weights, without a
 * tokenizer: for benchmarks and capacity planning. Its weights take real memory: about 3.4 GB a layer for flash. */
DSV4_API dsv4_status dsv4_model_open_synthetic(const char *shape, int32_t layers, uint64_t seed,
                                               const dsv4_model_options *options, dsv4_model **model,
                                               dsv4_error **error);

DSV4_API dsv4_model *dsv4_model_retain(dsv4_model *model); /* returns its argument */
DSV4_API void dsv4_model_release(dsv4_model **model);

typedef struct dsv4_estimate {
  size_t struct_size;
  uint64_t weight_bytes;          /* of the tensors that config.json calls for */
  uint64_t state_bytes;           /* of one session of the given context */
  uint64_t workspace_bytes;       /* of the model's own working memory */
  uint64_t available_host_bytes;  /* free on this machine now, 0 where the system does not say */
  int32_t fits;                   /* 1: state and workspace fit in available memory beside the mapped weights; with the
                                     cuda backend, all three in the GPU's */
  int32_t reserved0;
  uint64_t available_device_bytes; /* free on the GPU that the options name, 0 for other backends */
} dsv4_estimate;

/* What opening this checkpoint and one session would take, from config.json alone. `context` 0: the model's limit. */
DSV4_API dsv4_status dsv4_model_estimate(const char *folder, const dsv4_model_options *options, uint64_t context,
                                         dsv4_estimate *estimate, dsv4_error **error);

enum { /* bits of dsv4_model_info.reasoning_modes: 1 << mode */
  DSV4_REASONING_DEFAULT = 0, /* the profile's default: none for preview, high for 0731 */
  DSV4_REASONING_NONE = 1,
  DSV4_REASONING_LOW = 2,
  DSV4_REASONING_HIGH = 3,
  DSV4_REASONING_MAX = 4
};

typedef struct dsv4_model_info {
  size_t struct_size;
  uint64_t fingerprint;         /* of config and tensor headers */
  uint64_t weight_bytes;        /* mapped tensors in use */
  uint64_t token_weight_bytes;  /* read to decode one token: dense weights and the picked experts */
  uint64_t max_context;         /* max_position_embeddings */
  int64_t vocab;
  int64_t hidden;
  int64_t layers;
  int64_t heads;
  int64_t head_dim;
  int64_t experts;
  int64_t experts_per_token;
  int64_t window;
  int64_t index_topk;
  int32_t draft_head;           /* 1: an MTP head is loaded */
  int32_t has_tokenizer;
  int32_t profile;              /* in force */
  int32_t profile_found;        /* 1: recognised from config.json; 0: assumed, or set by the host */
  uint32_t reasoning_modes;     /* bits 1 << DSV4_REASONING_* that the profile has */
  int32_t default_reasoning;
  int32_t bos_token;
  int32_t eos_token;
  const char *backend;          /* "cpu: avx512-bf16, 2 threads, oneDNN 3.2"; lives as long as the model */
  const char *notes;            /* what was noticed on opening, one line each; lives as long as the model */
} dsv4_model_info;

DSV4_API dsv4_status dsv4_model_info_get(const dsv4_model *model, dsv4_model_info *info, dsv4_error **error);

typedef struct dsv4_layer_info {
  size_t struct_size;
  int32_t ratio;          /* 0: window only, 4: CSA, 128: HCA */
  int32_t hash_routed;    /* 1: experts by token id; 0: learned */
  int32_t draft;          /* 1: the MTP head's block */
  int32_t reserved0;
  uint64_t weight_bytes;
  uint64_t state_bytes;   /* for the context asked for */
} dsv4_layer_info;

/* Layer `index`, 0 <= index < layers (+ 1 with a draft head). `context` 0: the model's limit. */
DSV4_API dsv4_status dsv4_model_layer_info(const dsv4_model *model, int64_t index, uint64_t context,
                                           dsv4_layer_info *info, dsv4_error **error);

/* What one verb of the backend, a step of the forward pass, has cost since the model was opened or cleared. */
typedef struct dsv4_verb_time {
  size_t struct_size;
  const char *verb;       /* "linear", "experts", "attend" ...; static */
  uint64_t calls;
  uint64_t weight_bytes;  /* of weights and their scales that the calls had to read; rows of state are not in it */
  double multiply_adds;   /* of products with these weights */
  double seconds;
} dsv4_verb_time;

/* Verb `index`, 0 <= index, in the order in which they were first called; NOT_FOUND behind the last one. For a model
 * that was opened with DSV4_OPEN_TIME_VERBS (INVALID_ARGUMENT otherwise). From any thread. */
DSV4_API dsv4_status dsv4_model_verb_time(const dsv4_model *model, size_t index, dsv4_verb_time *time,
                                          dsv4_error **error);
/* Begins again at nothing. A call under way counts to what comes. */
DSV4_API dsv4_status dsv4_model_verb_times_clear(dsv4_model *model, dsv4_error **error);

/* Multiply-adds a second that a matrix product in caches reaches on this machine now, in the number format of prefill
 * (cpu: with the backend's threads and oneDNN; cuda: its tensor cores from registers): the ceiling that the speed of
 * prefill is measured against. Takes a fraction of a second, in which no session of the model makes a step. UNSUPPORTED
 * where the backend has no such product (reference; a cpu build without oneDNN). From any thread. */
DSV4_API dsv4_status dsv4_model_matrix_peak(dsv4_model *model, double *multiply_adds_per_s, dsv4_error **error);
/* Bytes a second, read and written together, at which the backend's device copies its own memory now: the ceiling that the
 * speed of decoding is measured against. UNSUPPORTED where that memory is the host's. Otherwise as above. */
DSV4_API dsv4_status dsv4_model_copy_peak(dsv4_model *model, double *bytes_per_s, dsv4_error **error);

/* --------------------------------------------------------------------------------------------------------- text */

enum {
  DSV4_TEXT_SPECIAL = 1 /* tokenize: text may become control tokens, such as <｜User｜>. Never for a stranger's text.
                           detokenize: control tokens are written out instead of left out. */
};

/* Errors: NOT_FOUND (the checkpoint has no tokenizer), INVALID_ARGUMENT (not UTF-8). */
DSV4_API dsv4_status dsv4_tokenize(const dsv4_model *model, const char *text, size_t length, uint32_t flags,
                                   int32_t *ids, size_t capacity, size_t *count, dsv4_error **error);
/* `text` receives bytes, without a NUL: a token can end inside a UTF-8 character. */
DSV4_API dsv4_status dsv4_detokenize(const dsv4_model *model, const int32_t *ids, size_t count, uint32_t flags,
                                     char *text, size_t capacity, size_t *length, dsv4_error **error);

enum {
  DSV4_ROLE_SYSTEM = 1,
  DSV4_ROLE_USER = 2,
  DSV4_ROLE_ASSISTANT = 3,
  DSV4_ROLE_TOOL = 4,
  DSV4_ROLE_DEVELOPER = 5,
  DSV4_ROLE_LATEST_REMINDER = 6
};

/* A list of messages and what belongs to the whole request: tools, tool_choice, response_format, reasoning. Not tied to
 * a model. */
typedef struct dsv4_conversation dsv4_conversation;

DSV4_API dsv4_status dsv4_conversation_create(dsv4_conversation **conversation, dsv4_error **error);
/* OpenAI-shaped JSON: a list of messages, or an object with `messages` and, optionally, `tools`, `tool_choice`,
 * `response_format`, `thinking`, `reasoning_effort`. Unknown fields are ignored; a wrong type is INVALID_ARGUMENT with
 * the JSON path. */
DSV4_API dsv4_status dsv4_conversation_from_json(const char *json, size_t length, dsv4_conversation **conversation,
                                                 dsv4_error **error);
DSV4_API dsv4_status dsv4_conversation_add(dsv4_conversation *conversation, int32_t role, const char *text,
                                           size_t length, dsv4_error **error);
/* What a tool answered to the call with this id. */
DSV4_API dsv4_status dsv4_conversation_add_tool_result(dsv4_conversation *conversation, const char *call_id,
                                                       const char *text, size_t length, dsv4_error **error);
/* Appends one message (a JSON object) or several (a list). */
DSV4_API dsv4_status dsv4_conversation_append_json(dsv4_conversation *conversation, const char *json, size_t length,
                                                   dsv4_error **error);
DSV4_API void dsv4_conversation_release(dsv4_conversation **conversation);

DSV4_API dsv4_status dsv4_conversation_count(const dsv4_conversation *conversation, size_t *count, dsv4_error **error);
/* Message `index` as OpenAI-shaped JSON: role, content, and of an assistant reasoning_content and tool_calls. A turn that
 * was not well-formed carries the rest of it as `malformed`. from_json and append_json read all of it back. */
DSV4_API dsv4_status dsv4_conversation_message_json(const dsv4_conversation *conversation, size_t index, char *text,
                                                    size_t capacity, size_t *length, dsv4_error **error);
/* The whole request: {"messages": [...], "tools": [...] ...}. The exact token ids of a session's answers are not part of
 * it: a session that is given its own conversation back recognises them. */
DSV4_API dsv4_status dsv4_conversation_json(const dsv4_conversation *conversation, char *text, size_t capacity,
                                            size_t *length, dsv4_error **error);

typedef struct dsv4_render_options {
  size_t struct_size;
  int32_t reasoning; /* DSV4_REASONING_*; DEFAULT: what the JSON said, else the profile's default */
  int32_t profile;   /* DSV4_PROFILE_*; AUTO: the model's */
} dsv4_render_options;
#define DSV4_RENDER_OPTIONS_INIT {sizeof(dsv4_render_options), 0, 0}
DSV4_API void dsv4_render_options_init(dsv4_render_options *options, size_t struct_size);

/* The prompt's exact text, without a NUL. A mode that the profile lacks is UNSUPPORTED. */
DSV4_API dsv4_status dsv4_render(const dsv4_model *model, const dsv4_conversation *conversation,
                                 const dsv4_render_options *options, char *text, size_t capacity, size_t *length,
                                 dsv4_error **error);
/* The prompt's token ids. Text of the messages never becomes a control token. */
DSV4_API dsv4_status dsv4_render_tokens(const dsv4_model *model, const dsv4_conversation *conversation,
                                        const dsv4_render_options *options, int32_t *ids, size_t capacity,
                                        size_t *count, dsv4_error **error);

/* ------------------------------------------------------------------------------------------------------ session */

/* One timeline: token ids, the model's state for them, and, if used so, the conversation they came from. */
typedef struct dsv4_session dsv4_session;

enum { DSV4_SESSION_DRAFT = 1 /* keep the MTP head in step, for dsv4_eval_options.draft_logits */ };

typedef struct dsv4_session_options {
  size_t struct_size;
  uint64_t context;      /* tokens it can hold; 0: the smaller of the model's limit and 8192 */
  uint32_t flags;        /* DSV4_SESSION_* */
  int32_t prefill_chunk; /* tokens evaluated at once; 0: max_step_rows of the model */
  /* Places inside the session to which it can go back without evaluating everything again; 0: 8, -1: none. Each takes
   * the bytes of the window and of unfinished groups, for Flash 4.5 to 15 MB, as long as host_memory_limit has room. */
  int32_t checkpoints;
  int32_t reserved0;
} dsv4_session_options;
#define DSV4_SESSION_OPTIONS_INIT {sizeof(dsv4_session_options), 0, 0, 0, 0, 0}
DSV4_API void dsv4_session_options_init(dsv4_session_options *options, size_t struct_size);

/* Errors: INVALID_ARGUMENT (context over the model's limit), OUT_OF_MEMORY_HOST (memory, or host_memory_limit). */
DSV4_API dsv4_status dsv4_session_create(dsv4_model *model, const dsv4_session_options *options,
                                         dsv4_session **session, dsv4_error **error);
DSV4_API void dsv4_session_release(dsv4_session **session);

/* A session is driven by messages or by tokens, whichever comes first; dsv4_session_clear makes it empty again.
 *
 * By messages: append the system and user messages of a turn, then generate; the answer joins the conversation by
 * itself, with the exact token ids that the model produced. set_conversation replaces the whole list, for instance
 * after the user edited something; generate then keeps whatever beginning is unchanged. */
DSV4_API dsv4_status dsv4_session_append_message(dsv4_session *session, int32_t role, const char *text, size_t length,
                                                 dsv4_error **error);
DSV4_API dsv4_status dsv4_session_set_conversation(dsv4_session *session, const dsv4_conversation *conversation,
                                                   dsv4_error **error);
DSV4_API dsv4_status dsv4_session_append_tool_result(dsv4_session *session, const char *call_id, const char *text,
                                                     size_t length, dsv4_error **error);
/* One message (a JSON object) or several (a list). */
DSV4_API dsv4_status dsv4_session_append_json(dsv4_session *session, const char *json, size_t length,
                                              dsv4_error **error);
/* A copy of the conversation, the session's answers with their exact token ids. */
DSV4_API dsv4_status dsv4_session_conversation(dsv4_session *session, dsv4_conversation **conversation,
                                               dsv4_error **error);
/* By tokens: they wait until generate or eval needs them. Errors: CONTEXT_FULL, INVALID_ARGUMENT (an id outside the
 * vocabulary). */
DSV4_API dsv4_status dsv4_session_append_tokens(dsv4_session *session, const int32_t *ids, size_t count,
                                                dsv4_error **error);
/* Makes the timeline exactly these ids: what it holds already of their beginning stays, the rest waits. Errors as
 * append_tokens; then nothing has changed. */
DSV4_API dsv4_status dsv4_session_sync_tokens(dsv4_session *session, const int32_t *ids, size_t count,
                                              dsv4_error **error);
/* By tokens: forgets all from `position` on. Exact, however far back: up to 16 tokens for nothing, further by evaluating
 * again from the nearest checkpoint, when the next evaluation comes. */
DSV4_API dsv4_status dsv4_session_rewind(dsv4_session *session, uint64_t position, dsv4_error **error);
/* An independent session at the same place, with a copy of the state. Errors: OUT_OF_MEMORY_HOST. */
DSV4_API dsv4_status dsv4_session_fork(dsv4_session *session, dsv4_session **fork, dsv4_error **error);
DSV4_API dsv4_status dsv4_session_clear(dsv4_session *session, dsv4_error **error);

/* The token ids of the timeline so far. */
DSV4_API dsv4_status dsv4_session_tokens(dsv4_session *session, int32_t *ids, size_t capacity, size_t *count,
                                         dsv4_error **error);

enum { /* how a session is driven */
  DSV4_DRIVEN_NOT_YET = 0,
  DSV4_DRIVEN_BY_MESSAGES = 1,
  DSV4_DRIVEN_BY_TOKENS = 2
};

typedef struct dsv4_session_info {
  size_t struct_size;
  uint64_t tokens;      /* on the timeline */
  uint64_t evaluated;   /* of them, reflected in the state */
  uint64_t context;
  uint64_t state_bytes; /* memory of its state */
  uint64_t checkpoints; /* how many it has now */
  uint64_t checkpoint_bytes;
  int32_t interrupted;  /* 1: its last turn was interrupted, and dsv4_generate_options.resume can go on with it */
  int32_t driven;       /* DSV4_DRIVEN_* */
} dsv4_session_info;
DSV4_API dsv4_status dsv4_session_info_get(dsv4_session *session, dsv4_session_info *info, dsv4_error **error);

/* For hosts that sample themselves. Appends `count` ids (may be 0) and evaluates everything that is waiting. In a session
 * driven by messages, with count 0, that is the prompt of the conversation as it stands, a system message alone for
 * instance: what a later generate finds done, and what a snapshot can hold for many sessions. */
typedef struct dsv4_eval_options {
  size_t struct_size;
  /* NULL, or room for the logits of every one of the `count` new tokens: F32 [count, vocab]; row i predicts what follows
   * ids[i]. Nothing may be waiting then. */
  float *logits;
  /* NULL, or F32 [count, vocab] of the MTP head (needs DSV4_SESSION_DRAFT): row i also predicts what follows ids[i],
   * from the state one token earlier and ids[i] itself. The row of position 0 does not exist and is left as it is. */
  float *draft_logits;
  dsv4_progress_fn progress; /* tokens; non-zero cancels */
  void *progress_user;
} dsv4_eval_options;
#define DSV4_EVAL_OPTIONS_INIT {sizeof(dsv4_eval_options), NULL, NULL, NULL, NULL}
DSV4_API void dsv4_eval_options_init(dsv4_eval_options *options, size_t struct_size);

/* Errors: CONTEXT_FULL, INVALID_ARGUMENT, CANCELLED. On an error the session stays at its last committed token. */
DSV4_API dsv4_status dsv4_session_eval(dsv4_session *session, const int32_t *ids, size_t count,
                                       const dsv4_eval_options *options, dsv4_error **error);
/* The logits after the newest evaluated token: F32 [vocab]; `capacity` is in floats. */
DSV4_API dsv4_status dsv4_session_logits(dsv4_session *session, float *logits, size_t capacity, size_t *count,
                                         dsv4_error **error);

/* From any thread, at any time: the call that is running on this session ends within one layer of prefill or one token
 * with DSV4_E_CANCELLED (generate: an event DONE with DSV4_DONE_CANCELLED), at its last committed token. Without such a
 * call it does nothing. */
DSV4_API void dsv4_session_cancel(dsv4_session *session);

/* Synthetic models only (UNSUPPORTED otherwise): behave as if `position` tokens had been evaluated, to measure speed at
 * a depth without getting there. The state is random numbers; its rows are as large and as many as they would be. */
DSV4_API dsv4_status dsv4_session_pretend(dsv4_session *session, uint64_t position, dsv4_error **error);

/* ------------------------------------------------------------------------------------------------------- events */

enum {
  DSV4_EVENT_PREFILL = 1,         /* done of total prompt tokens are evaluated */
  DSV4_EVENT_REASONING = 2,       /* text: the next piece of the reasoning */
  DSV4_EVENT_CONTENT = 3,         /* text: the next piece of the answer */
  DSV4_EVENT_WARNING = 4,         /* text: something the host may want to know */
  DSV4_EVENT_DONE = 5,            /* last of all: reason and statistics */
  DSV4_EVENT_TOOL_CALL_BEGIN = 6, /* call: index, id and name are known */
  DSV4_EVENT_TOOL_ARGUMENTS = 7,  /* call, and text: the next piece of its arguments' JSON */
  DSV4_EVENT_TOOL_CALL = 8,       /* call: complete, its arguments are valid JSON */
  DSV4_EVENT_MALFORMED = 9,       /* text: output that breaks the format, as the model wrote it. A call that was begun
                                     and is not complete will not be: all of it is in here,
                                     also where max_tokens or a cancel cut it off */
  DSV4_EVENT_TOKEN = 10           /* token: one token and its log-probability (dsv4_generate_options.token_events) */
};

enum {
  DSV4_DONE_NONE = 0,
  DSV4_DONE_STOP = 1,        /* the model ended its turn */
  DSV4_DONE_STOP_STRING = 2, /* a stop string was met; it is not part of the text */
  DSV4_DONE_LENGTH = 3,      /* max_tokens, or the context is full */
  DSV4_DONE_HOST = 4,        /* the callback answered DSV4_STOP */
  DSV4_DONE_CANCELLED = 5,   /* dsv4_session_cancel, or the callback answered DSV4_CANCEL */
  DSV4_DONE_TOOL_CALLS = 6,  /* the model ended its turn with calls and waits for their results */
  DSV4_DONE_MALFORMED = 7,   /* the model ended its turn, and part of it broke the format */
  DSV4_DONE_PAUSED = 8       /* the callback answered DSV4_PAUSE */
};
DSV4_API const char *dsv4_done_name(int32_t reason); /* "stop", "stop_string", "length" ...; static, "unknown" else */

typedef struct dsv4_generate_stats {
  size_t struct_size;
  uint64_t prompt_tokens;    /* of the whole prompt */
  uint64_t reused_tokens;    /* of them, already in the state */
  uint64_t generated_tokens; /* the one that ended the turn included */
  uint64_t reasoning_tokens; /* of them, inside the reasoning, its </think> included */
  double prefill_seconds;
  double decode_seconds;
  uint64_t seed;             /* the one in use */
  int32_t reasoning;         /* DSV4_REASONING_* in use */
  int32_t reason;            /* DSV4_DONE_* */
  uint64_t tool_calls;       /* complete ones */
  uint64_t max_tokens;       /* the limit in force */
  int32_t reasoning_closed;  /* 1: by the library, the budget was used up */
  int32_t reserved0;
} dsv4_generate_stats;

typedef struct dsv4_tool_call {
  size_t struct_size;
  uint64_t index;          /* in the turn, from 0 */
  const char *id;          /* made by the library, as no token stands for it; the tool's result refers to it */
  const char *name;
  const char *arguments;   /* TOOL_CALL: a JSON object; "" before */
  size_t arguments_length;
} dsv4_tool_call;

typedef struct dsv4_token_logprob {
  int32_t token;
  int32_t reserved0;
  double logprob; /* natural logarithm of the model's own probability, before any option of sampling */
} dsv4_token_logprob;

typedef struct dsv4_token_info {
  size_t struct_size;
  int32_t token;
  int32_t forced;                /* 1: put there by the library, not drawn */
  double logprob;
  const dsv4_token_logprob *top; /* the most probable, best first */
  size_t top_count;
} dsv4_token_info;

typedef struct dsv4_event {
  size_t struct_size;
  int32_t type;      /* DSV4_EVENT_* */
  int32_t reason;    /* DONE: DSV4_DONE_* */
  const char *text;  /* whole UTF-8 characters, NUL-terminated, valid during the call; "" where there is none */
  size_t text_length; /* bytes before that NUL; an earlier one is a character that the model wrote */
  uint64_t done;     /* PREFILL */
  uint64_t total;    /* PREFILL */
  const dsv4_generate_stats *stats; /* DONE; NULL otherwise, and from a dsv4_parser */
  const dsv4_tool_call *call;       /* TOOL_*; NULL otherwise */
  const dsv4_token_info *token;     /* TOKEN; NULL otherwise */
} dsv4_event;

enum {
  DSV4_CONTINUE = 0,
  DSV4_STOP = 1,  /* end here and keep what was generated */
  DSV4_CANCEL = 2, /* end here and take the whole turn back: the timeline is as it was before the call */
  DSV4_PAUSE = 3   /* end this call here; dsv4_generate_options.resume goes on, now or after a snapshot. The events of this
                      token still come; what only an end makes certain (half a character, half a tag) does not */
};
/* Runs on the thread that called generate. It may not call into the same session, but for dsv4_session_cancel. */
typedef int32_t (*dsv4_event_fn)(void *user, const dsv4_event *event);

/* ----------------------------------------------------------------------------------------------------- generate */

enum {
  DSV4_TOOL_CHOICE_DEFAULT = 0,  /* the conversation's own, else AUTO */
  DSV4_TOOL_CHOICE_AUTO = 1,     /* the model decides */
  DSV4_TOOL_CHOICE_NONE = 2,     /* no tools in the prompt */
  DSV4_TOOL_CHOICE_REQUIRED = 3, /* one call or several; with reasoning NONE only */
  DSV4_TOOL_CHOICE_NAMED = 4     /* one call of tool_name; with reasoning NONE only */
};

enum {
  DSV4_GRAMMAR_NONE = 0,
  DSV4_GRAMMAR_JSON = 1,        /* any JSON object */
  DSV4_GRAMMAR_JSON_SCHEMA = 2, /* `grammar` is a JSON schema */
  DSV4_GRAMMAR_EBNF = 3,        /* `grammar` is EBNF as in GBNF; its rule `root` is the answer */
  DSV4_GRAMMAR_REGEX = 4        /* `grammar` is a regular expression for the whole answer */
};

typedef struct dsv4_logit_bias {
  int32_t token;
  float bias; /* added to its logit; -INFINITY: never */
} dsv4_logit_bias;

/* May edit the logits F32 [vocab] of the next token. Non-zero ends the turn as DSV4_STOP does. */
typedef int32_t (*dsv4_logits_fn)(void *user, float *logits, size_t vocab);

/* The next token: bias, repetition, presence and frequency penalties, the host's callback, the grammar, top_k,
 * temperature, top_p, min_p act in this order, then it is drawn. */
typedef struct dsv4_generate_options {
  size_t struct_size;
  int32_t reasoning;         /* DSV4_REASONING_*, sessions driven by messages only */
  int32_t top_k;             /* 0: off */
  double temperature;        /* 0: greedy. The macro and the function set 1 */
  double top_p;              /* 0 or 1: off */
  double min_p;              /* 0: off */
  uint64_t seed;             /* 0: a fresh one, reported in the statistics */
  uint64_t max_tokens;       /* 0: the profile's own limit (0731: 8192, thinking 65536, effort max 131072), else as many
                                as the context holds */
  const char *const *stop;   /* stop strings; they count in the answer's text, not in reasoning or calls */
  size_t stop_count;
  uint64_t reasoning_budget; /* tokens of reasoning after which the library ends it with </think> and the answer
                                follows (a character that is not whole is finished first); 0: none */
  double repetition_penalty; /* 0 or 1: off; logits of tokens of prompt and answer are divided (negative: multiplied) */
  double presence_penalty;   /* -2 to 2, subtracted once from tokens of the answer so far */
  double frequency_penalty;  /* -2 to 2, subtracted for each time a token stands in the answer so far */
  uint64_t penalty_window;   /* the penalties count this many of the newest tokens; 0: all */
  const dsv4_logit_bias *logit_bias;
  size_t logit_bias_count;
  dsv4_logits_fn logits;
  void *logits_user;
  int32_t token_events;      /* 1: an event TOKEN for each token */
  int32_t top_logprobs;      /* with token_events: how many of the most probable, 0 to 20 */
  int32_t tool_choice;       /* DSV4_TOOL_CHOICE_*, sessions driven by messages only */
  int32_t grammar_kind;      /* DSV4_GRAMMAR_*: what the answer must look like; reasoning stays free. Replaces the
                                constraint (not the words in the prompt) of the conversation's response_format */
  const char *tool_name;     /* DSV4_TOOL_CHOICE_NAMED */
  const char *grammar;       /* NUL-terminated; NULL with kinds NONE and JSON */
  int32_t resume;            /* 1: go on with the turn that was interrupted, see dsv4_session_generate */
  int32_t reserved0;
} dsv4_generate_options;
#define DSV4_GENERATE_OPTIONS_INIT \
  {sizeof(dsv4_generate_options), 0, 0, 1.0, 0.0, 0.0, 0, 0, NULL, 0, 0, 0.0, 0.0, 0.0, 0, NULL, 0, NULL, NULL, 0, 0, \
   0, 0, NULL, NULL, 0, 0}
DSV4_API void dsv4_generate_options_init(dsv4_generate_options *options, size_t struct_size);

/* Evaluates what is waiting and generates until the turn ends. Blocks; events go to `on_event` (may be NULL), the last
 * of them DONE; `stats` (may be NULL, else with struct_size set) receives the same statistics.
 *
 * What the model said joins the conversation with its exact tokens. After DSV4_DONE_TOOL_CALLS append the results
 * (dsv4_session_append_tool_result) and generate again.
 *
 * The conversation's response_format (json_object, json_schema) and a required tool call are enforced: only tokens that
 * keep to them are drawn. What a schema asks for and the library cannot enforce is UNSUPPORTED, never ignored.
 *
 * A turn that ended with DSV4_DONE_PAUSED, LENGTH, HOST or CANCELLED was interrupted, not ended. As long as nothing else
 * happens to the session's messages or tokens, options.resume = 1 goes on with it: the tokens are those that would have
 * come without the interruption, also in a fork, and in a session that was restored from a snapshot. It goes on with the
 * options it was begun with: leave them at their defaults, or repeat them. Yours each time are the callbacks, token_events,
 * top_logprobs, and max_tokens (of the whole turn; 0: as before), which has to be larger after LENGTH. Statistics are
 * those of the whole turn; events are those of the rest. Until it is resumed the conversation holds what there is of the
 * answer; what an end other than PAUSED had put out of a character or tag that was not whole comes again.
 *
 * Errors: CONTEXT_FULL (the prompt does not fit), UNSUPPORTED (a reasoning mode that the profile lacks, a feature of a
 * schema), INVALID_ARGUMENT (nothing to answer or to resume; an option out of range, or another than the interrupted turn's; a
 * grammar that cannot be read), NOT_FOUND
 * (messages without a tokenizer), CANCELLED. On an error the timeline is as it was before the call; a cancelled one keeps
 * what it had generated. */
DSV4_API dsv4_status dsv4_session_generate(dsv4_session *session, const dsv4_generate_options *options,
                                           dsv4_event_fn on_event, void *user, dsv4_generate_stats *stats,
                                           dsv4_error **error);

/* The same for hosts with a main loop: start returns at once, and the session is busy until poll has handed over DONE.
 * poll calls `on_event` (may be NULL), on the caller's own thread, for up to `max_events` events, and waits for the
 * first of them no longer than `timeout_ms`. What the callback answers takes effect at the next event that is generated.
 * Events that nobody fetches stop the generation after some dozens of them. dsv4_session_cancel works as ever; releasing
 * the session ends the generation.
 * Errors of start: BUSY, UNSUPPORTED (options.logits, which would run on another thread), INVALID_ARGUMENT (options).
 * Errors of poll: those of generate, when there are no more events; INVALID_ARGUMENT (nothing was started). */
DSV4_API dsv4_status dsv4_session_start(dsv4_session *session, const dsv4_generate_options *options,
                                        dsv4_error **error);
DSV4_API dsv4_status dsv4_session_poll(dsv4_session *session, dsv4_event_fn on_event, void *user, size_t max_events,
                                       uint32_t timeout_ms, size_t *delivered, dsv4_error **error);

/* ----------------------------------------------------------------------------------------------------- snapshot */

/* A session as a stream of bytes, and back: tokens, the model's state for them, the last logits, the conversation with
 * the exact tokens of its answers, an interrupted turn with its options and random numbers. It holds the model's own number formats, so that every backend reads what another
 * wrote; on the same backend a restored session goes on bit for bit as the saved one would have. For Flash it takes
 * about 3.5 KB a token. The format is documented in lib/session/SNAPSHOT.md; every part of it has a checksum. */

typedef struct dsv4_snapshot_options {
  size_t struct_size;
  int32_t level;        /* zstd's level, -7 (fastest) to 19 (smallest); 0: 1 */
  int32_t uncompressed; /* 1: store everything as it is */
} dsv4_snapshot_options;
#define DSV4_SNAPSHOT_OPTIONS_INIT {sizeof(dsv4_snapshot_options), 0, 0}
DSV4_API void dsv4_snapshot_options_init(dsv4_snapshot_options *options, size_t struct_size);

/* Takes all `size` bytes and returns 0, or gives up with another value. */
typedef int32_t (*dsv4_write_fn)(void *user, const void *data, size_t size);
/* Puts up to `size` bytes into `data` and returns how many; 0: there are no more; negative: gives up. */
typedef int64_t (*dsv4_read_fn)(void *user, void *data, size_t size);

/* Written beside (PATH.*.part), flushed to the disk, then renamed: `path` holds either what it held before or a whole
 * snapshot. Memory stays within some megabytes, whatever the session's length. Errors: NOT_FOUND (the folder), IO,
 * UNSUPPORTED (a conversation nested deeper than JSON is read). */
DSV4_API dsv4_status dsv4_session_save_path(dsv4_session *session, const char *path,
                                            const dsv4_snapshot_options *options, dsv4_error **error);
/* The same into a callback. Errors: IO (the callback gave up). */
DSV4_API dsv4_status dsv4_session_save(dsv4_session *session, dsv4_write_fn write, void *user,
                                       const dsv4_snapshot_options *options, dsv4_error **error);

/* The session becomes what the snapshot says: all of it or, on an error, nothing. What it held before is gone; its own
 * options (context, prefill_chunk, checkpoints) stay. Until the end both states exist, and host_memory_limit counts
 * both. Errors: CORRUPT (no snapshot, cut short, damaged), UNSUPPORTED (another format version), INCOMPATIBLE (another
 * model; with and without DSV4_SESSION_DRAFT), CONTEXT_FULL, OUT_OF_MEMORY_HOST, NOT_FOUND, IO. */
DSV4_API dsv4_status dsv4_session_restore_path(dsv4_session *session, const char *path, dsv4_error **error);
/* From a callback, which is asked for as many bytes as the snapshot has and no more. */
DSV4_API dsv4_status dsv4_session_restore(dsv4_session *session, dsv4_read_fn read, void *user, dsv4_error **error);

typedef struct dsv4_snapshot_info {
  size_t struct_size;
  uint64_t fingerprint; /* of the model, see dsv4_model_info */
  uint64_t tokens;
  uint64_t evaluated;   /* of them, reflected in the state */
  uint64_t context;     /* of the session that was saved */
  uint64_t state_bytes; /* of the state, before compression */
  int64_t vocab;
  int64_t layers;       /* of the state, the draft head's included */
  int32_t format_version;
  int32_t profile;      /* DSV4_PROFILE_* that was in force */
  int32_t driven;       /* DSV4_DRIVEN_* */
  int32_t draft;        /* 1: of a session with DSV4_SESSION_DRAFT */
  int32_t interrupted;  /* 1: its last turn was interrupted, and can be resumed */
  int32_t reserved0;
} dsv4_snapshot_info;

/* What the header says; nothing behind it is read or checked. Errors: CORRUPT, UNSUPPORTED, NOT_FOUND, IO. */
DSV4_API dsv4_status dsv4_snapshot_peek_path(const char *path, dsv4_snapshot_info *info, dsv4_error **error);
DSV4_API dsv4_status dsv4_snapshot_peek(dsv4_read_fn read, void *user, dsv4_snapshot_info *info, dsv4_error **error);

/* ------------------------------------------------------------------------------------------------------- parser */

/* The reader of model output that generate uses, for hosts that draw tokens themselves, and for people who debug
 * prompts: it turns output, in pieces of any size, into events. One call at a time. */
typedef struct dsv4_parser dsv4_parser;

enum { /* where the output begins */
  DSV4_START_CONTENT = 0,
  DSV4_START_REASONING = 1,  /* the prompt ends with <think> */
  DSV4_START_TOOL_CALLS = 2  /* the prompt ends inside a block of calls, as a required call's does */
};

typedef struct dsv4_parser_options {
  size_t struct_size;
  int32_t start; /* DSV4_START_* */
  int32_t reserved0;
  const char *const *stop; /* stop strings */
  size_t stop_count;
} dsv4_parser_options;
#define DSV4_PARSER_OPTIONS_INIT {sizeof(dsv4_parser_options), 0, 0, NULL, 0}
DSV4_API void dsv4_parser_options_init(dsv4_parser_options *options, size_t struct_size);

/* `model`, whose tokenizer push_tokens needs, may be NULL for a parser of text. `on_event` runs inside push and finish;
 * its answer counts for nothing. */
DSV4_API dsv4_status dsv4_parser_create(dsv4_model *model, const dsv4_parser_options *options, dsv4_event_fn on_event,
                                        void *user, dsv4_parser **parser, dsv4_error **error);
DSV4_API void dsv4_parser_release(dsv4_parser **parser);
/* More output. In text, </think>, the end of the turn and ｜DSML｜ are taken as the control tokens that they spell. After
 * the end of the turn nothing more happens. */
DSV4_API dsv4_status dsv4_parser_push_text(dsv4_parser *parser, const char *text, size_t length, dsv4_error **error);
DSV4_API dsv4_status dsv4_parser_push_tokens(dsv4_parser *parser, const int32_t *ids, size_t count, dsv4_error **error);
/* The output ends: DSV4_DONE_STOP as if the model had ended its turn (the event DONE then says what it amounts to: stop,
 * tool calls, malformed), LENGTH, HOST or CANCELLED. */
DSV4_API dsv4_status dsv4_parser_finish(dsv4_parser *parser, int32_t reason, dsv4_error **error);
/* The assistant message so far, as JSON (see dsv4_conversation_message_json). */
DSV4_API dsv4_status dsv4_parser_message_json(const dsv4_parser *parser, char *text, size_t capacity, size_t *length,
                                              dsv4_error **error);

#ifdef __cplusplus
}
#endif

#endif /* DSV4_H */
