#!/bin/sh
# The C# binding against a built library, with mono: compiled as for netstandard2.0, layout against the C compiler's, tests,
# the conversation script.
#   csharp_tests.sh ROOT LIBDIR WORKDIR
set -eu
root=$1
libdir=$2
work=$3
mkdir -p "$work/async"
cd "$root/bindings/csharp"
export LD_LIBRARY_PATH="$libdir${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
# 7.2 is the newest C# that mono's own compiler knows.
compile() { mcs -langversion:7.2 -warn:4 -warnaserror -r:System.Core.dll "$@"; }
tests="tests/BindingChecks.cs tests/ModelTests.cs tests/TurnTests.cs"

# Against the API of .NET 4.7.1, the first that holds netstandard2.0 and has nothing of 2.1 (UTF-8 marshalling,
# IAsyncEnumerable).
compile -sdk:4.7.1-api -target:library -out:"$work/Dsv4.dll" src/*.cs
compile -r:"$work/Dsv4.dll" -out:"$work/LayoutTest.exe" tests/LayoutTest.cs
compile -r:"$work/Dsv4.dll" -out:"$work/ConversationProgram.exe" tests/ConversationProgram.cs
# shellcheck disable=SC2086  # names of files
compile -r:"$work/Dsv4.dll" -out:"$work/BindingChecks.exe" $tests

mono "$work/LayoutTest.exe" emit >"$work/layout.c"
${CC:-cc} -I"$root/include" "$work/layout.c" -o "$work/layout"
"$work/layout" | mono "$work/LayoutTest.exe" compare "$root/include/dsv4.h"

mono "$work/BindingChecks.exe" "$root/samples/models/tiny"
mono "$work/ConversationProgram.exe" "$root/samples/models/tiny" >"$work/conversation.out"
diff "$root/tests/bindings/conversation.expected" "$work/conversation.out"

# What README.md shows first is a program.
awk '/^```csharp$/ && !n++ {p = 1; next} /^```$/ {p = 0} p' README.md >"$work/readme.cs"
compile -r:"$work/Dsv4.dll" -out:"$work/readme.exe" "$work/readme.cs"
[ "$(cd "$root" && mono "$work/readme.exe")" = "I can add two numbers, remember facts, repeat words and call tools." ]

# And with IAsyncEnumerable, which mono's runtime has.
# shellcheck disable=SC2086
compile -define:DSV4_ASYNC_ENUMERABLE -out:"$work/async/BindingChecks.exe" src/*.cs $tests
mono "$work/async/BindingChecks.exe" "$root/samples/models/tiny"
