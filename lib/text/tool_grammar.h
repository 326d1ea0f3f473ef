// Blocks of tool calls (spec: prompt.md, "Tool calls") as a grammar, with arguments held to the schema of each function:
//   \n\n<｜DSML｜tool_calls>\n  call  (\n call)*  \n</｜DSML｜tool_calls>
//   call:       <｜DSML｜invoke name="N">\n  parameter (\n parameter)*  \n</｜DSML｜invoke>
//   parameter:  <｜DSML｜parameter name="K" string="true">raw text</｜DSML｜parameter>      where the schema has a string
//               <｜DSML｜parameter name="K" string="false">JSON</｜DSML｜parameter>         for everything else
// A parameter whose schema allows strings and other values may come in either form. Parameters come in the order of the
// schema; those that are not declared only where additionalProperties says so itself (its default is "none" here), after
// the others, with names of letters, digits, '_', '.' and '-'. ｜DSML｜ is the control token, written kDsmlMark.
#pragma once

#include <string>
#include <vector>

#include "lib/text/grammar.h"
#include "lib/text/json_value.h"
#include "lib/text/profile.h"

namespace dsv4 {

struct ToolGrammarOptions {
  std::string forced_tool;     // exactly one call, of this function; "": one or more of any
  bool starts_inside = false;  // the first line of the block is there already
  bool after_text = false;     // any text, and then perhaps a block
  Profile profile = Profile::kPreview;
};

// `functions`: {"name", "parameters"}; without parameters a function takes none.
// Errors: kInvalidArgument (no functions, a name that is missing, given twice or not forced), those of schema_grammar.h;
// messages begin with tools[i].function.
Grammar::Part tool_grammar(Grammar& grammar, const std::vector<Json>& functions, const ToolGrammarOptions& options);

}  // namespace dsv4
