#!/bin/sh
# The C# binding against a built library, with mono: compiled as for netstandard2.0, layout against the C compiler's, tests,
# the conversation script. The same assemblies then run on .NET, where there is one.
#   csharp_tests.sh ROOT LIBDIR WORKDIR [DOTNET]
set -eu
root=$1
libdir=$2
work=$3
dotnet=${4:-}
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

if [ -z "$dotnet" ]; then echo "no .NET here: mono only"; exit 0; fi
# ---- .NET: the assemblies that mono's compiler made, from 3.1 on, without the system's ICU.
on_dotnet() { (cd "$1" && shift && "$dotnet" exec --runtimeconfig "$work/runtime.json" "$@"); }
cat >"$work/runtime.json" <<'JSON'
{"runtimeOptions": {"framework": {"name": "Microsoft.NETCore.App", "version": "3.1.0"}, "rollForward": "Major",
                    "configProperties": {"System.Globalization.Invariant": true}}}
JSON
"$work/layout" | on_dotnet "$work" LayoutTest.exe compare "$root/include/dsv4.h"
on_dotnet "$work" BindingChecks.exe "$root/samples/models/tiny"
on_dotnet "$work" ConversationProgram.exe "$root/samples/models/tiny" >"$work/conversation.dotnet"
diff "$root/tests/bindings/conversation.expected" "$work/conversation.dotnet"

# And against .NET's own API, which has IAsyncEnumerable.
api=$("$dotnet" --list-runtimes | sed -n 's/^Microsoft.NETCore.App \([^ ]*\) \[\(.*\)\]$/\2\/\1/p' | tail -n 1)
mkdir -p "$work/core"
references=""
for name in System.Private.CoreLib System.Runtime System.Runtime.Extensions System.Runtime.InteropServices \
            System.Collections System.Collections.Concurrent System.Linq System.Console System.IO.FileSystem \
            System.Diagnostics.Process System.ComponentModel.Primitives System.Threading System.Threading.Tasks \
            System.Threading.Thread System.Text.Encoding.Extensions; do
  references="$references -r:$api/$name.dll"
done
# shellcheck disable=SC2086  # names without spaces
mcs -langversion:7.2 -noconfig -nostdlib $references -define:DSV4_ASYNC_ENUMERABLE -out:"$work/core/BindingChecks.exe" \
  src/*.cs $tests
on_dotnet "$work/core" BindingChecks.exe "$root/samples/models/tiny"
