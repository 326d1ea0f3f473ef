// What this program was instrumented with.
#pragma once

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define DSV4_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define DSV4_SANITIZED 1
#endif
#endif

namespace dsv4::test {

// Programs run ten times as long then: what is swept elsewhere is swept in part.
#ifdef DSV4_SANITIZED
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

}  // namespace dsv4::test
