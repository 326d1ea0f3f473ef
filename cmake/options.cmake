# Warnings, sanitizers, and the one way in which a folder of the house becomes an object library.

add_library(dsv4_options INTERFACE)
target_compile_options(dsv4_options INTERFACE -Wall -Wextra -Wpedantic)
if(DSV4_WERROR)
  target_compile_options(dsv4_options INTERFACE -Werror)
endif()
if(DSV4_SANITIZE)
  target_compile_options(dsv4_options INTERFACE -fsanitize=${DSV4_SANITIZE} -fno-sanitize-recover=all
                                                -fno-omit-frame-pointer)
  target_link_options(dsv4_options INTERFACE -fsanitize=${DSV4_SANITIZE})
endif()
# Floating point is the specification here: no contraction into FMA that the source did not ask for.
target_compile_options(dsv4_options INTERFACE -ffp-contract=off)
target_include_directories(dsv4_options INTERFACE ${PROJECT_SOURCE_DIR})

# dsv4_folder(name source...): object library dsv4_<name>. Its objects go into the shared and the static library.
function(dsv4_folder name)
  add_library(dsv4_${name} OBJECT ${ARGN})
  target_link_libraries(dsv4_${name} PRIVATE dsv4_options)
  set_property(GLOBAL APPEND PROPERTY DSV4_FOLDERS dsv4_${name})
endfunction()
