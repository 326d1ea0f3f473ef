# Warnings, sanitizers, and the one way in which a folder of the house becomes an object library.

add_library(dsv4_options INTERFACE)
target_include_directories(dsv4_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(dsv4_options INTERFACE -Wall -Wextra -Wpedantic)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(dsv4_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>)  # wrong about "x" + string
endif()
if(DSV4_UNITY AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # Files that are compiled as one are to gcc all headers, whose types may not hold what is local to a file.
  target_compile_options(dsv4_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-subobject-linkage>)
endif()
if(DSV4_WERROR)
  target_compile_options(dsv4_options INTERFACE -Werror)
endif()
# Floating point is the specification here: no contraction into FMA that the source did not ask for.
target_compile_options(dsv4_options INTERFACE -ffp-contract=off)

if(DSV4_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "DSV4_FUZZ needs clang (libFuzzer), found ${CMAKE_CXX_COMPILER_ID}: use the preset fuzz")
  endif()
  # Coverage in every object; only a fuzz target links libFuzzer's main (tests/CMakeLists.txt).
  set(sanitize address,undefined)
  target_compile_options(dsv4_options INTERFACE -fsanitize=fuzzer-no-link)
else()
  set(sanitize ${DSV4_SANITIZE})
endif()
if(sanitize)
  target_compile_options(dsv4_options INTERFACE -fsanitize=${sanitize} -fno-sanitize-recover=all
                                                -fno-omit-frame-pointer)
  target_link_options(dsv4_options INTERFACE -fsanitize=${sanitize})
  # C programs are linked as C++: over an instrumented C++ library they need that half of the sanitizers' runtime.
  set(CMAKE_C_LINK_EXECUTABLE ${CMAKE_CXX_LINK_EXECUTABLE})
endif()

# tests/abi/surface_test.sh reads the interface from the debug information of lib/api.
if(DSV4_TESTS AND NOT DSV4_SANITIZE AND CMAKE_BUILD_TYPE MATCHES "^Rel" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(DSV4_ABI_DEBUG_INFO ON)
endif()

# dsv4_folder(name source...): object library dsv4_<name>. Its objects go into the shared and the static library.
function(dsv4_folder name)
  add_library(dsv4_${name} OBJECT ${ARGN})
  target_link_libraries(dsv4_${name} PRIVATE dsv4_options)
  target_compile_definitions(dsv4_${name} PRIVATE DSV4_BUILD)
  set_target_properties(dsv4_${name} PROPERTIES UNITY_BUILD ${DSV4_UNITY})  # kernels with flags of their own stay apart
  set_property(GLOBAL APPEND PROPERTY DSV4_FOLDERS dsv4_${name})
endfunction()
