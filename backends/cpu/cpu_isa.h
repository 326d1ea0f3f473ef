// Which of the kernel tables this machine can run.
#pragma once

#include <string>

#include "backends/cpu/kernels.h"

namespace dsv4::cpu {

// "" for the best. Error kUnsupported names what is missing.
const Kernels& choose_kernels(const std::string& isa);

}  // namespace dsv4::cpu
