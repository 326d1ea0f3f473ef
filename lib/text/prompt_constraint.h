// What a prompt asks of its answer's form (response_format, tool_choice, tools), as a constraint.
#pragma once

#include "lib/text/constraint.h"
#include "lib/text/prompt.h"

namespace dsv4 {

// kNone without tools where nothing is asked: a model that may call tools, but need not, is left alone.
// Error kInvalidArgument names the field.
ConstraintSpec constraint_for(const Prompt& prompt);

}  // namespace dsv4
