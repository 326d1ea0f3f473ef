/* A loop of 60 frames a second in which a character talks: the game never waits for the model.
 *   game_loop samples/models/tiny ["What can you do?"]
 *
 * start returns at once; each frame fetches what there is by then and goes on. The model evaluates on threads of its
 * own, callbacks run here, inside poll. At the end: how long the frames' own work took, and how late any of them was.
 */
#define _POSIX_C_SOURCE 199309L
#include <dsv4.h>
#include <stdio.h>
#include <time.h>

enum { kFrame = 16666667, kMostFrames = 3600 }; /* nanoseconds; a minute */

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void sleep_until(int64_t when) {
  const int64_t left = when - now();
  struct timespec t;
  t.tv_sec = (time_t)(left / 1000000000);
  t.tv_nsec = (long)(left % 1000000000);
  if (left > 0) nanosleep(&t, NULL);
}

typedef struct Bubble { /* what the character has said so far */
  char text[4096];
  size_t length;
  int done;
} Bubble;

static int32_t on_event(void* user, const dsv4_event* event) {
  Bubble* bubble = user;
  if (event->type == DSV4_EVENT_CONTENT && bubble->length + event->text_length < sizeof bubble->text) {
    bubble->length +=
        (size_t)snprintf(bubble->text + bubble->length, sizeof bubble->text - bubble->length, "%s", event->text);
  }
  if (event->type == DSV4_EVENT_DONE) bubble->done = 1;
  return DSV4_CONTINUE;
}

int main(int argc, char** argv) {
  dsv4_model* model = NULL;
  dsv4_session* session = NULL;
  dsv4_error* error = NULL;
  dsv4_generate_options options = DSV4_GENERATE_OPTIONS_INIT;
  static Bubble bubble;
  size_t drawn = 0;
  int frame = 0, late = 0;
  int64_t longest_work = 0, latest = 0, next;
  options.temperature = 0;

  if (argc < 2 || argc > 3) {
    fprintf(stderr, "usage: %s CHECKPOINT_FOLDER [\"question\"]\n", argv[0]);
    return 2;
  }
  dsv4_status status = dsv4_model_open(argv[1], NULL, &model, &error);
  if (status == DSV4_OK) status = dsv4_session_create(model, NULL, &session, &error);
  if (status == DSV4_OK)
    status = dsv4_session_append_message(session, DSV4_ROLE_USER, argc > 2 ? argv[2] : "What can you do?",
                                         DSV4_NUL_TERMINATED, &error);
  if (status == DSV4_OK) status = dsv4_session_start(session, &options, &error);

  next = now();
  while (status == DSV4_OK && !bubble.done && frame < kMostFrames) {
    const int64_t begin = now();
    const int64_t delay = begin - next; /* sleep's own, and other processes' */
    int64_t work;
    /* A few events a frame, and no waiting: a talkative model does not steal the frame. */
    status = dsv4_session_poll(session, on_event, &bubble, 8, 0, NULL, &error);
    work = now() - begin;
    if (bubble.length != drawn) printf("frame %3d | %s\n", frame, bubble.text); /* the renderer's part */
    drawn = bubble.length;
    if (work > longest_work) longest_work = work;
    if (delay > latest) latest = delay;
    late += work > 2000000;
    ++frame;
    next += kFrame;
    sleep_until(next);
  }
  if (status == DSV4_OK)
    printf("%d frames; longest poll %.3f ms, %d over 2 ms; latest start of a frame %.3f ms\n", frame,
           (double)longest_work / 1e6, late, (double)latest / 1e6);
  else
    fprintf(stderr, "%s: %s\n", dsv4_status_name(status), dsv4_error_message(error));
  dsv4_error_release(&error);
  dsv4_session_release(&session);
  dsv4_model_release(&model);
  return status == DSV4_OK ? 0 : 1;
}
