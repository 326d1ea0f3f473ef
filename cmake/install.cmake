# What `cmake --install` puts into a prefix: the header, both libraries, find_package(dsv4), dsv4.pc, licences and notices,
# and, where oneDNN was not the system's own, its library in <libdir>/dsv4. The prefix can be moved afterwards.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/dsv4)
set(private_dir ${CMAKE_INSTALL_LIBDIR}/dsv4)

install(FILES ${PROJECT_SOURCE_DIR}/include/dsv4.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/THIRD_PARTY.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
if(NOT DSV4_WITHOUT_XGRAMMAR)  # inside the libraries; of it only what its licence asks for is installed
  install(FILES ${DSV4_XGRAMMAR_DIR}/LICENSE ${DSV4_XGRAMMAR_DIR}/NOTICE DESTINATION ${CMAKE_INSTALL_DOCDIR}/xgrammar)
endif()
# Two export sets: hosts of the shared library need none of the dependencies that the static one calls for.
install(TARGETS dsv4 EXPORT dsv4-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
                                         RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR}   # Windows: the DLL
                                         ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})  # and its import library
if(WIN32)  # for MSVC: lib /def:dsv4.def /machine:x64 /out:dsv4.lib
  install(FILES ${PROJECT_BINARY_DIR}/dsv4.def DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
install(TARGETS dsv4_static EXPORT dsv4-static-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET dsv4_cuda)  # found beside the library at run time; without a driver it stays closed
  install(TARGETS dsv4_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
install(EXPORT dsv4-targets NAMESPACE dsv4:: DESTINATION ${package_dir})
install(EXPORT dsv4-static-targets NAMESPACE dsv4:: DESTINATION ${package_dir})

set(onednn_private "")
if(NOT DSV4_WITHOUT_ONEDNN)
  set(onednn_private "-ldnnl")
  string(FIND "${dnnl_DIR}" "${PROJECT_SOURCE_DIR}/build/deps" at)
  if(at EQUAL 0)
    set(onednn_private "-L\${libdir}/dsv4 -l:libdnnl.so.3 -Wl,-rpath,\${libdir}/dsv4")
    install(FILES $<TARGET_FILE:DNNL::dnnl> DESTINATION ${private_dir} RENAME libdnnl.so.3)
    install(DIRECTORY ${PROJECT_SOURCE_DIR}/build/deps/share/doc/onednn DESTINATION ${CMAKE_INSTALL_DOCDIR})
  endif()
endif()

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/dsv4-config.cmake.in ${PROJECT_BINARY_DIR}/dsv4-config.cmake
                              INSTALL_DESTINATION ${package_dir} PATH_VARS private_dir)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/dsv4-config-version.cmake COMPATIBILITY SameMajorVersion)
install(FILES ${PROJECT_BINARY_DIR}/dsv4-config.cmake ${PROJECT_BINARY_DIR}/dsv4-config-version.cmake
        DESTINATION ${package_dir})

set(static_cflags "")
if(WIN32)
  set(static_cflags "-DDSV4_STATIC")
endif()
# ${pcfiledir} makes the .pc file independent of where the prefix ends up.
file(RELATIVE_PATH prefix_from_pc /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(${CMAKE_CURRENT_LIST_DIR}/dsv4.pc.in ${PROJECT_BINARY_DIR}/dsv4.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/dsv4.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
