// A conversation as JSON: from a file, and edited where the C interface has no call of its own for it. The library
// reads a text first, always: it bounds depth and size, and its messages name the JSON path.
#pragma once

#include <dsv4.h>

#include <nlohmann/json.hpp>
#include <string>

#include "client.h"

namespace cli {

using Json = nlohmann::ordered_json;

Conversation parse_conversation(const std::string& json);
Conversation load_conversation(const std::string& path);
Json load_tools(const std::string& path);  // a list of tools in OpenAI's shape, checked

// The whole request: {"messages": [...], "tools": [...] ...}. A session that is given its own conversation back, by way
// of this, still knows the tokens of its answers.
Json to_json(const dsv4_conversation* conversation);
Conversation from_json(const Json& request);
// One line; indent >= 0: several. What is not UTF-8 is replaced.
std::string dump(const Json& json, int indent = -1);

// "auto", "none", "required" or a function's name, as the request's tool_choice.
Json tool_choice_json(const std::string& choice);

}  // namespace cli
