// What the machine has left.
#pragma once

#include <cstdint>

namespace dsv4 {

// Bytes of memory that could be used now without swapping; 0 where the system does not say.
uint64_t available_memory();

}  // namespace dsv4
