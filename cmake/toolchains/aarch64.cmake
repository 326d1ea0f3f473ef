# Debian's cross compiler for 64-bit Arm. Programs of the target, ctest's among them, run under qemu-user, with the
# compiler's own copy of the C library; the other libraries are what cmake/bootstrap.sh --aarch64 unpacked.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

set(dsv4_compiler_root /usr/aarch64-linux-gnu)
set(dsv4_libraries ${CMAKE_CURRENT_LIST_DIR}/../../build/aarch64-libraries)
get_filename_component(dsv4_libraries ${dsv4_libraries} ABSOLUTE)
# -cpu max: every extension that qemu knows, so that the levels of the cpu backend that ask for one run, too.
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -cpu max -L ${dsv4_compiler_root})

set(CMAKE_FIND_ROOT_PATH ${dsv4_libraries} ${dsv4_compiler_root})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${dsv4_libraries})
set(ENV{PKG_CONFIG_LIBDIR} ${dsv4_libraries}/usr/lib/aarch64-linux-gnu/pkgconfig:${dsv4_libraries}/usr/share/pkgconfig)
