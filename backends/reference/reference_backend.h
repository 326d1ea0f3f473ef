// The reference backend: every verb of lib/backend/backend.h as plain loops, no SIMD, no threads. It is the executable
// specification (model.md §2 and §3): the backend to read first, and the one that the others are held to.
#pragma once

#include <memory>

#include "lib/backend/backend.h"

namespace dsv4 {

std::unique_ptr<Backend> make_reference_backend();

}  // namespace dsv4
