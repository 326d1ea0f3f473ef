#include "dsv4_go_calls.h"

#include "_cgo_export.h"

static void on_log(void *user, int32_t level, const char *text) { dsv4goLog((uintptr_t)user, level, (char *)text); }

static int32_t on_progress(void *user, uint64_t done, uint64_t total) {
  return dsv4goProgress((uintptr_t)user, done, total);
}

static int32_t on_event(void *user, const dsv4_event *event) {
  return dsv4goEvent((uintptr_t)user, (dsv4_event *)event);
}

static int32_t on_logits(void *user, float *logits, size_t vocab) {
  return dsv4goLogits((uintptr_t)user, logits, vocab);
}

static int32_t on_write(void *user, const void *data, size_t size) {
  return dsv4goWrite((uintptr_t)user, (void *)data, size);
}

static int64_t on_read(void *user, void *data, size_t size) { return dsv4goRead((uintptr_t)user, data, size); }

static dsv4_model_options with_hooks(const dsv4_model_options *options, uintptr_t user) {
  dsv4_model_options own = *options;
  own.log = on_log;
  own.progress = on_progress;
  own.log_user = own.progress_user = (void *)user;
  return own;
}

dsv4_status dsv4go_open(const char *folder, const dsv4_model_options *options, uintptr_t user, dsv4_model **model,
                        dsv4_error **error) {
  const dsv4_model_options own = with_hooks(options, user);
  return dsv4_model_open(folder, &own, model, error);
}

dsv4_status dsv4go_open_synthetic(const char *shape, int32_t layers, uint64_t seed, const dsv4_model_options *options,
                                  uintptr_t user, dsv4_model **model, dsv4_error **error) {
  const dsv4_model_options own = with_hooks(options, user);
  return dsv4_model_open_synthetic(shape, layers, seed, &own, model, error);
}

dsv4_status dsv4go_eval(dsv4_session *session, const int32_t *ids, size_t count, float *logits, float *draft_logits,
                        uintptr_t user, dsv4_error **error) {
  dsv4_eval_options options = DSV4_EVAL_OPTIONS_INIT;
  options.logits = logits;
  options.draft_logits = draft_logits;
  options.progress = on_progress;
  options.progress_user = (void *)user;
  return dsv4_session_eval(session, ids, count, &options, error);
}

dsv4_status dsv4go_generate(dsv4_session *session, const dsv4_generate_options *options, int with_logits,
                            uintptr_t user, dsv4_generate_stats *stats, dsv4_error **error) {
  dsv4_generate_options own = *options;
  if (with_logits) {
    own.logits = on_logits;
    own.logits_user = (void *)user;
  }
  return dsv4_session_generate(session, &own, on_event, (void *)user, stats, error);
}

dsv4_status dsv4go_poll(dsv4_session *session, uintptr_t user, size_t max_events, uint32_t timeout_ms,
                        size_t *delivered, dsv4_error **error) {
  return dsv4_session_poll(session, on_event, (void *)user, max_events, timeout_ms, delivered, error);
}

dsv4_status dsv4go_save(dsv4_session *session, uintptr_t user, const dsv4_snapshot_options *options,
                        dsv4_error **error) {
  return dsv4_session_save(session, on_write, (void *)user, options, error);
}

dsv4_status dsv4go_restore(dsv4_session *session, uintptr_t user, dsv4_error **error) {
  return dsv4_session_restore(session, on_read, (void *)user, error);
}

dsv4_status dsv4go_peek(uintptr_t user, dsv4_snapshot_info *info, dsv4_error **error) {
  return dsv4_snapshot_peek(on_read, (void *)user, info, error);
}

dsv4_status dsv4go_parser_create(dsv4_model *model, const dsv4_parser_options *options, uintptr_t user,
                                 dsv4_parser **parser, dsv4_error **error) {
  return dsv4_parser_create(model, options, on_event, (void *)user, parser, error);
}
