/* How a binding to another language sets up structs, where the *_INIT macros of C are not to be had: the init functions
 * take the length that the caller's struct has and never write past it. First of all: is this the library that the
 * binding was made for?
 *   init_functions */
#include <dsv4.h>
#include <stdio.h>
#include <string.h>

int main(void) {
  dsv4_model_options model;
  dsv4_session_options session;
  dsv4_eval_options eval;
  dsv4_generate_options generate;
  dsv4_render_options render;
  dsv4_snapshot_options snapshot;
  dsv4_parser_options parser;
  dsv4_build_info build;
  dsv4_error* error = NULL;

  if (dsv4_version() / 1000000 != DSV4_VERSION_MAJOR) {
    fprintf(stderr, "made for version %d, this is %u\n", DSV4_VERSION_MAJOR, (unsigned)dsv4_version());
    return 1;
  }
  dsv4_model_options_init(&model, sizeof model);
  dsv4_session_options_init(&session, sizeof session);
  dsv4_eval_options_init(&eval, sizeof eval);
  dsv4_generate_options_init(&generate, sizeof generate);
  dsv4_render_options_init(&render, sizeof render);
  dsv4_snapshot_options_init(&snapshot, sizeof snapshot);
  dsv4_parser_options_init(&parser, sizeof parser);
  printf("temperature %.1f, structs of %zu to %zu bytes\n", generate.temperature, render.struct_size,
         generate.struct_size);

  /* Structs that the library fills have no init function: zeros, and the length. */
  memset(&build, 0, sizeof build);
  build.struct_size = sizeof build;
  if (dsv4_build_info_get(&build, &error) != DSV4_OK) {
    fprintf(stderr, "%s\n", dsv4_error_message(error));
    dsv4_error_release(&error);
    return 1;
  }
  printf("libdsv4 %s: backends %s\n", build.version, build.backends);
  return model.struct_size == sizeof model && session.struct_size == sizeof session && eval.progress == NULL &&
                 snapshot.level == 0 && parser.stop_count == 0
             ? 0
             : 1;
}
