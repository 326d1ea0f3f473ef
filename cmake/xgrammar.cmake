# xgrammar, the grammar engine behind constrained output: its C++ core as an object library of ours (its own CMake
# insists on -flto and -Werror, and brings converters that lib/text does not use). cmake/bootstrap.sh puts the patched
# source into build/xgrammar.
set(DSV4_XGRAMMAR_DIR ${PROJECT_SOURCE_DIR}/build/xgrammar CACHE PATH "Source of xgrammar, patched by bootstrap.sh")
if(NOT EXISTS ${DSV4_XGRAMMAR_DIR}/.xgrammar)
  message(FATAL_ERROR "xgrammar was not found in ${DSV4_XGRAMMAR_DIR}. Run `sh cmake/bootstrap.sh`, which fetches it, "
                      "or configure with -DDSV4_WITHOUT_XGRAMMAR=ON for a build without constrained output.")
endif()
# An unpatched or outdated copy would bring prints, global constructors and known bugs into the library.
file(SHA256 ${PROJECT_SOURCE_DIR}/cmake/xgrammar/xgrammar-0.2.8.patch patch_sha256)
file(STRINGS ${DSV4_XGRAMMAR_DIR}/.xgrammar stamp LIMIT_COUNT 1)
if(NOT stamp STREQUAL "0.2.8 ${patch_sha256}")
  message(FATAL_ERROR "${DSV4_XGRAMMAR_DIR} is not xgrammar 0.2.8 with this tree's patch. Run `sh cmake/bootstrap.sh`.")
endif()

set(sources compiled_grammar.cc earley_parser.cc fsm.cc fsm_builder.cc grammar.cc grammar_builder.cc
            grammar_compiler.cc grammar_functor.cc grammar_matcher.cc grammar_parser.cc grammar_printer.cc
            suffix_automata.cc tokenizer_info.cc support/recursion_guard.cc)
list(TRANSFORM sources PREPEND ${DSV4_XGRAMMAR_DIR}/cpp/)
dsv4_folder(xgrammar ${sources} ${PROJECT_SOURCE_DIR}/cmake/xgrammar/left_out.cc)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${DSV4_XGRAMMAR_DIR}/.xgrammar)

# How to compile what includes its headers. Names of our own: a host of the static library may link its own xgrammar.
set(DSV4_XGRAMMAR_FLAGS -isystem${DSV4_XGRAMMAR_DIR}/include -isystem${DSV4_XGRAMMAR_DIR}/3rdparty/picojson
                        -isystem${DSV4_XGRAMMAR_DIR}/3rdparty/dlpack/include -Dxgrammar=dsv4_xgrammar
                        -Dpicojson=dsv4_picojson -DXGRAMMAR_ENABLE_CPPTRACE=0 -DXGRAMMAR_ENABLE_INTERNAL_CHECK=0)
# Parser steps for one mask or one token: the largest masks over 129,280 tokens take half a million. Under fuzzing the
# vocabulary is small, and a step slow.
set(work_limit 20000000)
if(DSV4_FUZZ)
  set(work_limit 300000)
endif()
list(APPEND DSV4_XGRAMMAR_FLAGS -DXGRAMMAR_WORK_LIMIT=${work_limit})
set_target_properties(dsv4_xgrammar PROPERTIES CXX_STANDARD 17)  # what it is written in; not C++20 under clang
target_include_directories(dsv4_xgrammar PRIVATE ${DSV4_XGRAMMAR_DIR}/cpp)
target_compile_options(dsv4_xgrammar PRIVATE ${DSV4_XGRAMMAR_FLAGS} -w -O2)  # its warnings are not ours
