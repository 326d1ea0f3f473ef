/* The calls of dsv4.h that take a callback, for Go: `user` is the number of a cgo.Handle, which becomes the void * of
 * the C API here, in C, because Go's memory must not hold a number where it believes a pointer to be. */
#ifndef DSV4_GO_CALLS_H
#define DSV4_GO_CALLS_H

#include <dsv4.h>

dsv4_status dsv4go_open(const char *folder, const dsv4_model_options *options, uintptr_t user, dsv4_model **model,
                        dsv4_error **error);
dsv4_status dsv4go_open_synthetic(const char *shape, int32_t layers, uint64_t seed, const dsv4_model_options *options,
                                  uintptr_t user, dsv4_model **model, dsv4_error **error);
/* Buffers are parameters and not fields of options, as Go may hand its memory to C only so. */
dsv4_status dsv4go_eval(dsv4_session *session, const int32_t *ids, size_t count, float *logits, float *draft_logits,
                        uintptr_t user, dsv4_error **error);
dsv4_status dsv4go_generate(dsv4_session *session, const dsv4_generate_options *options, int with_logits,
                            uintptr_t user, dsv4_generate_stats *stats, dsv4_error **error);
dsv4_status dsv4go_poll(dsv4_session *session, uintptr_t user, size_t max_events, uint32_t timeout_ms,
                        size_t *delivered, dsv4_error **error);
dsv4_status dsv4go_save(dsv4_session *session, uintptr_t user, const dsv4_snapshot_options *options,
                        dsv4_error **error);
dsv4_status dsv4go_restore(dsv4_session *session, uintptr_t user, dsv4_error **error);
dsv4_status dsv4go_peek(uintptr_t user, dsv4_snapshot_info *info, dsv4_error **error);
dsv4_status dsv4go_parser_create(dsv4_model *model, const dsv4_parser_options *options, uintptr_t user,
                                 dsv4_parser **parser, dsv4_error **error);

#endif
