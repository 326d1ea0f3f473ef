// What this program was instrumented with.
#pragma once

#if defined(__SANITIZE_THREAD__)
#define DSV4_THREAD_SANITIZER 1
#define DSV4_SANITIZED 1
#elif defined(__SANITIZE_ADDRESS__)
#define DSV4_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define DSV4_THREAD_SANITIZER 1
#endif
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define DSV4_SANITIZED 1
#endif
#endif
