/* What the engine knows of the plug-in: one function, found by name, that gives a table of functions. All of them are
 * called on the game's thread, and so are the engine's own functions that the plug-in is handed. */
#ifndef NPC_PLUGIN_H
#define NPC_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { NPC_API_VERSION = 1, NPC_MOST = 4 };

/* The engine's side. `user` comes back as it was given. */
typedef struct NpcEngine {
  void (*log)(void* user, const char* text);
  void (*text)(void* user, int32_t npc, const char* piece, size_t length); /* the next piece of what it says */
  void (*silent)(void* user, int32_t npc, const char* why);                /* it has ended: "stop", "cancelled" ... */
  void* user;
} NpcEngine;

typedef struct NpcPlugin {
  int32_t version;
  /* Opens the model and makes `npcs` characters, while a loading screen is up. `threads`: leave a core to the game.
   * 0, or what went wrong is in the log. */
  int32_t (*init)(const NpcEngine* engine, const char* model_folder, int32_t npcs, int32_t threads);
  /* The player says something to a character, which answers in the ticks that follow. What it was saying it breaks off.
   * The text is the player's own: it never becomes anything but text. */
  int32_t (*say)(int32_t npc, const char* line);
  /* Once a frame: hands over what the characters have said by now, at most `most` pieces each, and never waits. */
  void (*tick)(int32_t most);
  /* Ends everything. Nothing of the plug-in's is running afterwards: the engine may unload it. */
  void (*shutdown)(void);
} NpcPlugin;

typedef const NpcPlugin* (*NpcPluginEntry)(void); /* the symbol "npc_plugin" */

#ifdef __cplusplus
}
#endif

#endif
