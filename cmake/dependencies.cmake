# Third-party libraries. Each has its sentence in CONTRIBUTING.md.

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(fmt REQUIRED)            # used header-only: nothing to link, nothing to clash with in a host
find_package(nlohmann_json REQUIRED)  # headers
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
if(WIN32)  # an archive there, which its header has to be told
  target_compile_definitions(PkgConfig::PCRE2 INTERFACE PCRE2_STATIC)
endif()
# For the shared library: as archives they stay inside it, hidden. A host that has another version among its global
# symbols would otherwise have that one called in place of ours (tests/abi/two_copies.c).
find_library(DSV4_ZSTD_ARCHIVE libzstd.a HINTS ${ZSTD_LIBRARY_DIRS})
find_library(DSV4_PCRE2_ARCHIVE libpcre2-8.a HINTS ${PCRE2_LIBRARY_DIRS})

if(NOT DSV4_WITHOUT_ONEDNN)
  # cmake/bootstrap.sh puts it there where the system has none, or one older than 3.
  find_package(dnnl 3 CONFIG QUIET HINTS ${PROJECT_SOURCE_DIR}/build/deps)
  if(NOT dnnl_FOUND)
    message(FATAL_ERROR "oneDNN 3 was not found. Run `sh cmake/bootstrap.sh`, which fetches it into build/deps, "
                        "or configure with -DDSV4_WITHOUT_ONEDNN=ON for a build without it.")
  endif()
  message(STATUS "oneDNN ${dnnl_VERSION}: ${dnnl_DIR}")
endif()

if(NOT DSV4_WITHOUT_XGRAMMAR)
  include(${CMAKE_CURRENT_LIST_DIR}/xgrammar.cmake)
endif()
