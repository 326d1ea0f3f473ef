/* A host that draws the tokens itself: a session driven by tokens, its logits, and going back.
 *   own_sampling samples/models/tiny */
#include <dsv4.h>
#include <stdio.h>
#include <stdlib.h>

enum { kMost = 64 };

typedef struct Host {
  dsv4_model* model;
  dsv4_session* session;
  dsv4_model_info info;
  float* logits; /* [vocab] */
} Host;

/* The most probable token: the place of a sampler of your own. */
static int32_t draw(const float* logits, int64_t vocab) {
  int32_t best = 0;
  for (int32_t i = 1; i < vocab; ++i)
    if (logits[i] > logits[best]) best = i;
  return best;
}

/* Draws until the end of the turn; writes what was said. */
static dsv4_status go_on(Host* host, dsv4_error** error) {
  char text[64];
  size_t length = 0;
  for (int i = 0; i < kMost; ++i) {
    dsv4_status status = dsv4_session_logits(host->session, host->logits, (size_t)host->info.vocab, NULL, error);
    if (status != DSV4_OK) return status;
    const int32_t token = draw(host->logits, host->info.vocab);
    if (token == host->info.eos_token) break;
    status = dsv4_detokenize(host->model, &token, 1, 0, text, sizeof text, &length, error);
    if (status != DSV4_OK) return status;
    printf("%.*s", (int)(length < sizeof text ? length : sizeof text), text);
    status = dsv4_session_eval(host->session, &token, 1, NULL, error);
    if (status != DSV4_OK) return status;
  }
  printf("\n");
  return DSV4_OK;
}

/* The prompt's special tokens are ours, so DSV4_TEXT_SPECIAL; `question` is a stranger's, so 0. */
static dsv4_status prompt(Host* host, const char* question, int32_t* ids, size_t* count, dsv4_error** error) {
  static const char kBegin[] = "<｜begin▁of▁sentence｜><｜User｜>", kEnd[] = "<｜Assistant｜></think>";
  size_t n = 0, part = 0;
  dsv4_status status =
      dsv4_tokenize(host->model, kBegin, DSV4_NUL_TERMINATED, DSV4_TEXT_SPECIAL, ids, kMost, &part, error);
  n += part;
  if (status == DSV4_OK)
    status = dsv4_tokenize(host->model, question, DSV4_NUL_TERMINATED, 0, ids + n, kMost - n, &part, error);
  n += part;
  if (status == DSV4_OK && n < kMost)
    status = dsv4_tokenize(host->model, kEnd, DSV4_NUL_TERMINATED, DSV4_TEXT_SPECIAL, ids + n, kMost - n, &part, error);
  *count = n + part;
  return status;
}

static dsv4_status run(Host* host, dsv4_error** error) {
  int32_t ids[kMost], held[2 * kMost];
  size_t count = 0, tokens = 0;
  dsv4_status status = prompt(host, "What is 2 + 3?", ids, &count, error);
  if (status == DSV4_OK) status = dsv4_session_append_tokens(host->session, ids, count, error);
  if (status == DSV4_OK) status = dsv4_session_eval(host->session, NULL, 0, NULL, error); /* what is waiting */
  if (status == DSV4_OK) status = go_on(host, error);
  if (status == DSV4_OK) status = dsv4_session_tokens(host->session, held, 2 * kMost, &tokens, error);
  if (status == DSV4_OK) printf("%zu tokens of prompt, %zu on the timeline\n", count, tokens);

  /* The same again: back to the end of the prompt. Its last token is evaluated once more, for the logits after it. */
  if (status == DSV4_OK) status = dsv4_session_rewind(host->session, count - 1, error);
  if (status == DSV4_OK) status = dsv4_session_eval(host->session, &ids[count - 1], 1, NULL, error);
  if (status == DSV4_OK) status = go_on(host, error);

  /* Another question: what both prompts begin with stays where it is. */
  if (status == DSV4_OK) status = prompt(host, "What is 2 + 9?", ids, &count, error);
  if (status == DSV4_OK) status = dsv4_session_sync_tokens(host->session, ids, count, error);
  if (status == DSV4_OK) status = dsv4_session_eval(host->session, NULL, 0, NULL, error);
  if (status == DSV4_OK) status = go_on(host, error);

  /* Empty: as if made anew, and free to be driven by messages. */
  if (status == DSV4_OK) status = dsv4_session_clear(host->session, error);
  return status;
}

int main(int argc, char** argv) {
  Host host = {0};
  dsv4_error* error = NULL;
  if (argc != 2) return 2;
  host.info.struct_size = sizeof host.info;
  dsv4_status status = dsv4_model_open(argv[1], NULL, &host.model, &error);
  if (status == DSV4_OK) status = dsv4_model_info_get(host.model, &host.info, &error);
  if (status == DSV4_OK) status = dsv4_session_create(host.model, NULL, &host.session, &error);
  if (status == DSV4_OK) {
    host.logits = malloc((size_t)host.info.vocab * sizeof *host.logits);
    if (host.logits != NULL) status = run(&host, &error);
  }
  if (status != DSV4_OK) fprintf(stderr, "%s: %s\n", dsv4_status_name(status), dsv4_error_message(error));
  dsv4_error_release(&error);
  dsv4_session_release(&host.session);
  dsv4_model_release(&host.model);
  free(host.logits);
  return status == DSV4_OK ? 0 : 1;
}
