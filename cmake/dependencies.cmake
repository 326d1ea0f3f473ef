# Third-party libraries. Each has its sentence in CONTRIBUTING.md.

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)

if(NOT DSV4_WITHOUT_ONEDNN)
  find_package(dnnl 3 CONFIG REQUIRED HINTS ${PROJECT_SOURCE_DIR}/build/deps)
endif()
