# Windows on x86-64, from Debian: mingw-w64 with its POSIX threads, which std::thread needs, and Wine to run the tests.
# `bootstrap.sh --windows` installs both, and puts the libraries for the target into build/windows-deps.
set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR x86_64)

set(CMAKE_C_COMPILER x86_64-w64-mingw32-gcc-posix)
set(CMAKE_CXX_COMPILER x86_64-w64-mingw32-g++-posix)
set(CMAKE_RC_COMPILER x86_64-w64-mingw32-windres)

# Programs take the compiler's runtime along: nobody has libstdc++-6.dll. What dsv4.dll is linked with says
# cmake/library.cmake.
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
set(CMAKE_MODULE_LINKER_FLAGS_INIT -static)

get_filename_component(dsv4_windows_deps ${CMAKE_CURRENT_LIST_DIR}/../../build/windows-deps ABSOLUTE)
set(CMAKE_FIND_ROOT_PATH ${dsv4_windows_deps} /usr/x86_64-w64-mingw32)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_LIBDIR} ${dsv4_windows_deps}/lib/pkgconfig)  # the target's, and never the build machine's

# Debian's wine64 package keeps the program out of the path.
find_program(DSV4_WINE NAMES wine64 PATHS /usr/lib/wine)
if(DSV4_WINE)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${DSV4_WINE})
endif()
