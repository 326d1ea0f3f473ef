/* A game engine as small as one can be: it loads the plug-in, runs frames at 60 a second, draws each character's text
 * box in the frames in which it changed, and shows at the end how long the frames took.
 *   engine_host PLUGIN samples/models/tiny
 *
 * It knows the plug-in's header only. A player's lines come from a little script. */
#define _POSIX_C_SOURCE 200809L
#include "npc_plugin.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { kFrame = 16666667, kMostFrames = 1800, kNpcs = 2, kBox = 256 }; /* nanoseconds; half a minute */

static const char* const kNames[kNpcs] = {"Mira", "Bolt"};

typedef struct Line {
  int frame, npc; /* the earliest */
  int waits;      /* for the answer to what was said before; else it interrupts */
  const char* text;
} Line;

/* Mira has to remember; Bolt is interrupted; at frame 60 both talk at once. */
static const Line kScript[] = {
    {5, 0, 1, "My name is Emma."},  {30, 0, 1, "I have a cat called Luna."}, {60, 0, 1, "What is my name?"},
    {60, 1, 1, "What can you do?"}, {61, 1, 0, "What is 20 plus 31?"},       {100, 0, 1, "What is my cat called?"},
};
enum { kLines = sizeof kScript / sizeof kScript[0] };

typedef struct Box {
  char text[kBox];
  size_t length;
  const char* ended; /* why, when the character has fallen silent: what comes then is something new */
  int changed, questions, answers;
} Box;

typedef struct Game {
  Box boxes[kNpcs];
  int frame, errors;
} Game;

static void on_log(void* user, const char* text) {
  ((Game*)user)->errors++;
  fprintf(stderr, "plug-in: %s\n", text);
}

static void on_text(void* user, int32_t npc, const char* piece, size_t length) {
  Box* box = &((Game*)user)->boxes[npc];
  if (box->ended != NULL) box->length = 0;
  box->ended = NULL;
  if (box->length + length >= kBox) return; /* a real box would scroll */
  memcpy(box->text + box->length, piece, length);
  box->text[box->length += length] = '\0';
  box->changed = 1;
}

static void on_silent(void* user, int32_t npc, const char* why) {
  Box* box = &((Game*)user)->boxes[npc];
  box->ended = why;
  box->changed = 1;
  box->answers++;
}

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void sleep_until(int64_t when) {
  const int64_t left = when - now();
  struct timespec t;
  if (left <= 0) return;
  t.tv_sec = (time_t)(left / 1000000000);
  t.tv_nsec = (long)(left % 1000000000);
  nanosleep(&t, NULL);
}

/* The frames' own work by powers of two, from 1/16 ms on. */
enum { kBins = 10 };
static void count(int* bins, int64_t nanoseconds) {
  int bin = 0;
  for (int64_t limit = 62500; bin < kBins - 1 && nanoseconds >= limit; limit *= 2) ++bin;
  bins[bin]++;
}

static void print_histogram(const int* bins, int frames, int64_t longest) {
  double limit = 0.0625;
  printf("work in %d frames of 16.7 ms; the longest took %.3f ms\n", frames, (double)longest / 1e6);
  for (int i = 0; i < kBins; ++i, limit *= 2) {
    static const char kBar[] = "########################################";
    if (bins[i] == 0) continue;
    printf(i < kBins - 1 ? "  under %7.4f ms" : "  %7.4f ms, over", i < kBins - 1 ? limit : limit / 2);
    printf(" %5d %.*s\n", bins[i], 1 + 39 * bins[i] / frames, kBar);
  }
}

static void draw(Game* game) {
  for (int i = 0; i < kNpcs; ++i) {
    Box* box = &game->boxes[i];
    if (box->changed && box->ended == NULL) printf("frame %3d | %s: %s\n", game->frame, kNames[i], box->text);
    if (box->changed && box->ended != NULL)
      printf("frame %3d | %s: %s [%s]\n", game->frame, kNames[i], box->text, box->ended);
    box->changed = 0;
  }
}

static int comes_now(const Game* game, const Line* line) {
  const Box* box = &game->boxes[line->npc];
  return line->frame <= game->frame && (!line->waits || box->answers == box->questions);
}

static int run(const NpcPlugin* plugin, Game* game) {
  int bins[kBins] = {0};
  int said = 0;
  int64_t longest = 0, next = now();
  while (game->frame < kMostFrames && (game->boxes[0].answers + game->boxes[1].answers < kLines)) {
    const int64_t begin = now();
    int64_t work;
    for (; said < kLines && comes_now(game, &kScript[said]); ++said) {
      printf("frame %3d | to %s: %s\n", game->frame, kNames[kScript[said].npc], kScript[said].text);
      if (plugin->say(kScript[said].npc, kScript[said].text) != 0) return 1;
      game->boxes[kScript[said].npc].questions++;
    }
    plugin->tick(8);
    work = now() - begin; /* without the drawing: this one's is a terminal */
    draw(game);
    count(bins, work);
    if (work > longest) longest = work;
    ++game->frame;
    next += kFrame;
    sleep_until(next);
  }
  print_histogram(bins, game->frame, longest);
  return game->frame == kMostFrames || game->errors != 0;
}

int main(int argc, char** argv) {
  static Game game;
  const NpcEngine engine = {on_log, on_text, on_silent, &game};
  NpcPluginEntry entry = NULL;
  int failed = 1;
  if (argc != 3) {
    fprintf(stderr, "usage: %s PLUGIN CHECKPOINT_FOLDER\n", argv[0]);
    return 2;
  }
  void* module = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (module != NULL) *(void**)&entry = dlsym(module, "npc_plugin");
  if (entry == NULL || entry()->version != NPC_API_VERSION) {
    fprintf(stderr, "%s: %s\n", argv[1], module == NULL ? dlerror() : "not a plug-in of this version");
    return 1;
  }
  if (entry()->init(&engine, argv[2], kNpcs, 2) == 0) failed = run(entry(), &game);
  entry()->shutdown();
  dlclose(module);
  return failed;
}
