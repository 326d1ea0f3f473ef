#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#if defined(__MINGW32__)
// doctest has thread_local objects. With mingw they live in memory that a thread gives back when it ends, and so does
// the list of their destructors: whichever of the two was asked for first in the process. If that was the memory, the
// destructors write to what the heap has taken back. So the list is asked for before any test is.
extern "C" int __cxa_thread_atexit(void (*)(void*), void*, void*);
__attribute__((constructor(101))) static void destructors_first() {
  __cxa_thread_atexit([](void*) {}, nullptr, nullptr);
}
#endif
