/* A host may open dsv4.dll, use it, and close it again, as often as it likes: the DLL goes, and takes its threads, its
 * mappings and its handles along.
 *
 *   dll_unload_test samples/models/tiny       beside dsv4.dll */
#include <stdio.h>
#include <windows.h>

#include <tlhelp32.h>

#include "dsv4.h"

enum { kWarm = 3, kRounds = 12 };

static int failed(const char *what) {
  fprintf(stderr, "FAILED: %s\n", what);
  return 1;
}

static int threads(void) {
  THREADENTRY32 entry;
  HANDLE all = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
  int count = 0;
  entry.dwSize = sizeof entry;
  for (BOOL more = Thread32First(all, &entry); more; more = Thread32Next(all, &entry))
    count += entry.th32OwnerProcessID == GetCurrentProcessId();
  CloseHandle(all);
  return count;
}

/* NAME##_t: a pointer to what the header declares; the DLL is not linked. */
#define FUNCTION(name) typedef __typeof__(name) *name##_t
FUNCTION(dsv4_model_open);
FUNCTION(dsv4_model_release);
FUNCTION(dsv4_session_create);
FUNCTION(dsv4_session_release);
FUNCTION(dsv4_session_append_message);
FUNCTION(dsv4_session_generate);
FUNCTION(dsv4_error_release);
#define CALL(name) const name##_t name = (name##_t)(void (*)(void))GetProcAddress(library, #name)

static int use(const char *folder) {
  HMODULE library = LoadLibraryW(L"dsv4.dll");
  if (library == NULL) return failed("dsv4.dll cannot be opened");
  CALL(dsv4_model_open);
  CALL(dsv4_model_release);
  CALL(dsv4_session_create);
  CALL(dsv4_session_release);
  CALL(dsv4_session_append_message);
  CALL(dsv4_session_generate);
  CALL(dsv4_error_release);
  dsv4_model *model = NULL;
  dsv4_session *session = NULL;
  dsv4_error *error = NULL;
  if (dsv4_model_open("no such folder", NULL, &model, &error) != DSV4_E_NOT_FOUND) return failed("an error is none");
  dsv4_error_release(&error); /* and a C++ exception has been through the DLL */
  if (dsv4_model_open(folder, NULL, &model, NULL) != DSV4_OK) return failed("the model does not open");
  if (dsv4_session_create(model, NULL, &session, NULL) != DSV4_OK) return failed("no session");
  if (dsv4_session_append_message(session, DSV4_ROLE_USER, "Hello!", DSV4_NUL_TERMINATED, NULL) != DSV4_OK)
    return failed("no message");
  if (dsv4_session_generate(session, NULL, NULL, NULL, NULL, NULL) != DSV4_OK) return failed("no answer");
  dsv4_session_release(&session);
  dsv4_model_release(&model);
  if (!FreeLibrary(library)) return failed("the DLL cannot be closed");
  return GetModuleHandleW(L"dsv4.dll") == NULL ? 0 : failed("the DLL is still there");
}

int main(int argc, char **argv) {
  DWORD handles = 0, handles_then = 0;
  int threads_then = 0;
  if (argc != 2) return failed("usage: dll_unload_test CHECKPOINT_FOLDER");
  for (int round = 0; round < kRounds; ++round) {
    if (use(argv[1]) != 0) return 1;
    if (round == kWarm) {
      threads_then = threads();
      GetProcessHandleCount(GetCurrentProcess(), &handles_then);
    }
  }
  GetProcessHandleCount(GetCurrentProcess(), &handles);
  printf("threads: %d, then %d; handles: %lu, then %lu\n", threads_then, threads(), handles_then, handles);
  if (threads() > threads_then) return failed("threads stay behind");
  return handles > handles_then ? failed("handles stay behind") : 0;
}
