/* Characters that talk, as a plug-in of a game engine: one model, a session for each of them.
 *
 * The library evaluates on its own threads and calls back inside poll only, so everything here happens on the game's
 * thread, within tick, and there is nothing to lock. Sessions of one model that have something to do at the same time
 * share its steps: two characters who talk at once cost less than two models. */
#include "npc_plugin.h"

#include <dsv4.h>
#include <stdio.h>
#include <string.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

typedef struct Npc {
  dsv4_session* session;
  int talking;
  char next[512]; /* what the player said while it was still talking */
} Npc;

static struct {
  NpcEngine engine;
  dsv4_model* model;
  Npc npcs[NPC_MOST];
  int32_t count;
} game;

static int32_t report(dsv4_status status, dsv4_error** error, const char* what) {
  char text[512];
  if (status == DSV4_OK) return 0;
  snprintf(text, sizeof text, "%s: %s: %s", what, dsv4_status_name(status), dsv4_error_message(*error));
  game.engine.log(game.engine.user, text);
  dsv4_error_release(error);
  return 1;
}

static int32_t on_event(void* user, const dsv4_event* event) {
  Npc* npc = user;
  const int32_t number = (int32_t)(npc - game.npcs);
  if (event->type == DSV4_EVENT_CONTENT) game.engine.text(game.engine.user, number, event->text, event->text_length);
  if (event->type == DSV4_EVENT_DONE) {
    npc->talking = 0;
    game.engine.silent(game.engine.user, number, dsv4_done_name(event->reason));
  }
  return DSV4_CONTINUE;
}

static int32_t begin(Npc* npc, const char* line) {
  dsv4_generate_options options = DSV4_GENERATE_OPTIONS_INIT;
  dsv4_error* error = NULL;
  dsv4_status status;
  options.temperature = 0;
  options.reasoning = DSV4_REASONING_NONE; /* nobody waits for a character to think */
  options.max_tokens = 120;
  status = dsv4_session_append_message(npc->session, DSV4_ROLE_USER, line, DSV4_NUL_TERMINATED, &error);
  if (status == DSV4_OK) status = dsv4_session_start(npc->session, &options, &error);
  npc->talking = status == DSV4_OK;
  return report(status, &error, "say");
}

static int32_t init(const NpcEngine* engine, const char* model_folder, int32_t npcs, int32_t threads) {
  dsv4_model_options model_options = DSV4_MODEL_OPTIONS_INIT;
  dsv4_session_options session_options = DSV4_SESSION_OPTIONS_INIT;
  dsv4_error* error = NULL;
  dsv4_status status;
  memset(&game, 0, sizeof game);
  game.engine = *engine;
  if (npcs < 1 || npcs > NPC_MOST) {
    engine->log(engine->user, "init: too many characters");
    return 1;
  }
  model_options.threads = threads;
  session_options.context = 1024; /* memory is a budget: state grows with it */
  status = dsv4_model_open(model_folder, &model_options, &game.model, &error);
  for (; status == DSV4_OK && game.count < npcs; ++game.count)
    status = dsv4_session_create(game.model, &session_options, &game.npcs[game.count].session, &error);
  return report(status, &error, model_folder);
}

static int32_t say(int32_t number, const char* line) {
  Npc* npc = game.npcs;
  if (number < 0 || number >= game.count || strlen(line) >= sizeof npc->next) return 1;
  npc += number;
  if (!npc->talking) return begin(npc, line);
  /* A session does one thing at a time. The answer that is cut short stays in the conversation as far as it came. */
  strcpy(npc->next, line);
  dsv4_session_cancel(npc->session);
  return 0;
}

static void tick(int32_t most) {
  for (int32_t i = 0; i < game.count; ++i) {
    Npc* npc = &game.npcs[i];
    if (npc->talking) {
      dsv4_error* error = NULL;
      const dsv4_status status = dsv4_session_poll(npc->session, on_event, npc, (size_t)most, 0, NULL, &error);
      if (status == DSV4_E_CANCELLED)
        dsv4_error_release(&error); /* as asked for; DONE has said so */
      else if (report(status, &error, "tick"))
        npc->talking = 0;
    }
    if (!npc->talking && npc->next[0] != '\0') {
      begin(npc, npc->next);
      npc->next[0] = '\0';
    }
  }
}

static void shutdown_npcs(void) {
  for (int32_t i = 0; i < NPC_MOST; ++i) dsv4_session_release(&game.npcs[i].session); /* ends what is being said */
  dsv4_model_release(&game.model);                                                    /* joins its threads */
  memset(&game, 0, sizeof game);
}

EXPORT const NpcPlugin* npc_plugin(void);
const NpcPlugin* npc_plugin(void) {
  static const NpcPlugin plugin = {NPC_API_VERSION, init, say, tick, shutdown_npcs};
  return &plugin;
}
