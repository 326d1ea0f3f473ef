/* Two copies of libdsv4 in one process, as two plug-ins bring them along, beside a host that uses OpenMP and a zstd of
 * its own; then both are unloaded, and nothing of them is left.
 *   two_copies COPY_1 COPY_2 samples/models/tiny [CYCLES]
 *
 * The copies are two files, so that the loader makes two instances. Each answers, the one restores what the other has
 * saved (which uses zstd), one keeps to a schema (which uses xgrammar), and the host's parallel regions run before,
 * between, inside callbacks and after. Then there are as many threads as before and no mapping of the files. The
 * program is linked with LeakSanitizer: what a library has allocated and not given back is lost with it. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dsv4.h>

unsigned ZSTD_versionNumber(void); /* foreign_zstd.c's */

#define FUNCTIONS(F)                                                                                   \
  F(dsv4_model_open)                                                                                   \
  F(dsv4_model_release)                                                                                \
  F(dsv4_session_create)                                                                               \
  F(dsv4_session_release)                                                                              \
  F(dsv4_session_generate) F(dsv4_session_append_message) F(dsv4_session_save) F(dsv4_session_restore) \
      F(dsv4_error_message) F(dsv4_error_release) F(dsv4_build_info_get)

typedef struct Copy {
  void* handle;
#define MEMBER(name) __typeof__(&name) name;
  FUNCTIONS(MEMBER)
} Copy;

static int failures = 0;
static void check(int good, const char* what) {
  if (good) return;
  printf("FAILED: %s\n", what);
  ++failures;
}
#define CHECK(condition) check(condition, #condition)

/* The host's own OpenMP: 3 threads, whatever anybody else has set. */
static int parallel_sum(void) {
  int sum = 0;
#pragma omp parallel for num_threads(3) reduction(+ : sum)
  for (int i = 0; i < 3000; ++i) sum += i % 3 + (omp_get_num_threads() == 3);
  return sum;
}

static int entries_of(const char* folder) {
  int n = 0;
  DIR* dir = opendir(folder);
  while (dir != NULL && readdir(dir) != NULL) ++n;
  if (dir != NULL) closedir(dir);
  return n - 2;
}
static int threads(void) { return entries_of("/proc/self/task"); }

static int is_mapped(const char* file) {
  static char line[4096];
  int found = 0;
  FILE* maps = fopen("/proc/self/maps", "r");
  while (maps != NULL && fgets(line, sizeof line, maps) != NULL) found |= strstr(line, file) != NULL;
  if (maps != NULL) fclose(maps);
  return found;
}

static void load(Copy* copy, const char* path) {
  copy->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (copy->handle == NULL) {
    printf("FAILED: %s\n", dlerror());
    exit(1);
  }
#define FIND(name) *(void**)&copy->name = dlsym(copy->handle, #name);
  FUNCTIONS(FIND)
#define FOUND(name) CHECK(copy->name != NULL);
  FUNCTIONS(FOUND)
}

static void must(const Copy* copy, dsv4_status status, dsv4_error* error, const char* what) {
  if (status == DSV4_OK) return;
  printf("FAILED: %s: status %d: %s\n", what, (int)status, copy->dsv4_error_message(error));
  exit(1);
}
#define MUST(call) must(copy, copy->call, error, #call)

static int32_t on_event(void* user, const dsv4_event* event) {
  char* text = user;
  if (event->type != DSV4_EVENT_CONTENT) return DSV4_CONTINUE;
  strncat(text, event->text, 255 - strlen(text));
  CHECK(parallel_sum() == 6000);
  return DSV4_CONTINUE;
}

static void ask(const Copy* copy, dsv4_session* session, const char* question, const char* schema, const char* answer) {
  dsv4_generate_options options = DSV4_GENERATE_OPTIONS_INIT;
  dsv4_error* error = NULL;
  char text[256] = "";
  options.temperature = 0;
  options.reasoning = DSV4_REASONING_NONE;
  options.grammar_kind = schema != NULL ? DSV4_GRAMMAR_JSON_SCHEMA : DSV4_GRAMMAR_NONE;
  options.grammar = schema;
  MUST(dsv4_session_append_message(session, DSV4_ROLE_USER, question, DSV4_NUL_TERMINATED, &error));
  MUST(dsv4_session_generate(session, &options, on_event, text, NULL, &error));
  if (strcmp(text, answer) != 0) printf("asked: %s expected: %s found: %s\n", question, answer, text);
  CHECK(strcmp(text, answer) == 0);
}

static void open(const Copy* copy, const char* folder, dsv4_model** model, dsv4_session** session) {
  dsv4_model_options options = DSV4_MODEL_OPTIONS_INIT;
  dsv4_build_info info = {0};
  dsv4_error* error = NULL;
  info.struct_size = sizeof info;
  options.backend = "cpu";
  options.threads = 2;
  MUST(dsv4_build_info_get(&info, &error));
  MUST(dsv4_model_open(folder, &options, model, &error));
  MUST(dsv4_session_create(*model, NULL, session, &error));
}

typedef struct Memory {
  char* bytes;
  size_t size, at;
} Memory;

static int32_t write_memory(void* user, const void* data, size_t size) {
  Memory* memory = user;
  char* larger = realloc(memory->bytes, memory->size + size);
  if (larger == NULL) return 1;
  memory->bytes = larger;
  memcpy(memory->bytes + memory->size, data, size);
  memory->size += size;
  return 0;
}

static int64_t read_memory(void* user, void* data, size_t size) {
  Memory* memory = user;
  const size_t left = memory->size - memory->at;
  if (size > left) size = left;
  memcpy(data, memory->bytes + memory->at, size);
  memory->at += size;
  return (int64_t)size;
}

/* Both at once, alive at the same time, and one's snapshot read by the other. */
static void use(const Copy* first, const Copy* second, const char* folder) {
  dsv4_model *model_1 = NULL, *model_2 = NULL;
  dsv4_session *session_1 = NULL, *session_2 = NULL;
  dsv4_error* error = NULL;
  Memory memory = {0};
  const Copy* copy = first;
  open(first, folder, &model_1, &session_1);
  open(second, folder, &model_2, &session_2);
  ask(first, session_1, "My name is Emma.", NULL, "OK.");
  CHECK(parallel_sum() == 6000);
  ask(second, session_2, "I live in Oslo.", NULL, "OK.");
  MUST(dsv4_session_save(session_1, write_memory, &memory, NULL, &error));
  copy = second;
  MUST(dsv4_session_restore(session_2, read_memory, &memory, &error));
  free(memory.bytes);
  ask(second, session_2, "What is my name?", NULL, "Your name is Emma.");
  ask(first, session_1, "What is my name?", NULL, "Your name is Emma.");
  ask(first, session_1, "Hello!",
      "{\"type\": \"object\", \"properties\": {\"n\": {\"enum\": [7]}}, \"required\": [\"n\"],"
      " \"additionalProperties\": false}",
      "{\"n\": 7}");
  first->dsv4_session_release(&session_1);
  first->dsv4_model_release(&model_1);
  second->dsv4_session_release(&session_2);
  second->dsv4_model_release(&model_2);
}

int main(int argc, char** argv) {
  const int cycles = argc > 4 ? atoi(argv[4]) : 1;
  int before;
  if (argc < 4) return 2;
  CHECK(ZSTD_versionNumber() == 100);
  CHECK(parallel_sum() == 6000);
  before = threads();
  for (int cycle = 1; cycle <= cycles; ++cycle) {
    Copy first, second;
    load(&first, argv[1]);
    load(&second, argv[2]);
    CHECK(first.dsv4_model_open != second.dsv4_model_open);
    use(&first, &second, argv[3]);
    CHECK(parallel_sum() == 6000);
    CHECK(dlclose(first.handle) == 0);
    CHECK(dlclose(second.handle) == 0);
    CHECK(!is_mapped(argv[1]));
    CHECK(!is_mapped(argv[2]));
    if (threads() != before) printf("%d threads before, %d now\n", before, threads());
    CHECK(threads() == before);
  }
  CHECK(ZSTD_versionNumber() == 100 && parallel_sum() == 6000);
  printf("two copies, %d times loaded and unloaded: %d threads, %d failures\n", cycles, threads(), failures);
  return failures != 0;
}
