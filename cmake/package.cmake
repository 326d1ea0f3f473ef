# cpack: a .deb and a .tar.gz of what `cmake --install` installs, which cmake/install.cmake says.
#   cpack --config build/release/CPackConfig.cmake -B build/packages
set(CPACK_GENERATOR DEB TGZ)
if(WIN32)
  set(CPACK_GENERATOR ZIP)
endif()
set(CPACK_PACKAGE_NAME libdsv4)
set(CPACK_PACKAGE_VENDOR libdsv4)
set(CPACK_PACKAGE_CONTACT "the developers of libdsv4 <libdsv4@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY ${PROJECT_DESCRIPTION})
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_PACKAGE_FILE_NAME libdsv4-${PROJECT_VERSION}-${CMAKE_SYSTEM_NAME}-${CMAKE_SYSTEM_PROCESSOR})
set(CPACK_STRIP_FILES ON)  # a build with tests has debug information of lib/api
set(CPACK_VERBATIM_VARIABLES ON)

# The archive is unpacked anywhere, in a folder of its own; the Debian package goes to /usr.
set(CPACK_ARCHIVE_THREADS 0)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_COMPRESSION_TYPE gzip)  # read by every dpkg
find_program(DSV4_SHLIBDEPS dpkg-shlibdeps)
mark_as_advanced(DSV4_SHLIBDEPS)
if(DSV4_SHLIBDEPS)  # asks the system which packages its libraries come from
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
  # oneDNN is in the package itself, in a folder of ours; shlibdeps wants to know where.
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${PROJECT_SOURCE_DIR}/build/deps/lib)
else()
  set(CPACK_DEBIAN_PACKAGE_DEPENDS "libc6, libstdc++6, libgcc-s1, libgomp1, libpcre2-8-0, libzstd1")
endif()

include(CPack)
