# The libraries a host links: dsv4 (shared) and dsv4_static.

get_property(folders GLOBAL PROPERTY DSV4_FOLDERS)
set(objects "")
foreach(folder ${folders})
  list(APPEND objects $<TARGET_OBJECTS:${folder}>)
endforeach()

add_library(dsv4 SHARED ${objects})
add_library(dsv4_static STATIC ${objects})
add_library(dsv4::dsv4 ALIAS dsv4)
add_library(dsv4::dsv4_static ALIAS dsv4_static)

foreach(target dsv4 dsv4_static)
  target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                              $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:dsv4_options> Threads::Threads ${CMAKE_DL_LIBS})
  if(NOT DSV4_WITHOUT_ONEDNN)
    target_link_libraries(${target} PRIVATE DNNL::dnnl)
  endif()
endforeach()

target_link_libraries(dsv4_static PRIVATE PkgConfig::PCRE2 PkgConfig::ZSTD)
foreach(library PCRE2 ZSTD)
  if(DSV4_${library}_ARCHIVE)
    target_link_libraries(dsv4 PRIVATE ${DSV4_${library}_ARCHIVE})
    target_include_directories(dsv4 PRIVATE ${${library}_INCLUDE_DIRS})
  else()
    target_link_libraries(dsv4 PRIVATE PkgConfig::${library})
  endif()
endforeach()

set_target_properties(dsv4_static PROPERTIES OUTPUT_NAME dsv4)
if(WIN32)
  target_compile_definitions(dsv4_static INTERFACE DSV4_STATIC)
endif()
if(DSV4_ABI_DEBUG_INFO)  # the tests link the static library some sixty times
  add_custom_command(TARGET dsv4_static POST_BUILD COMMAND ${CMAKE_OBJCOPY} --strip-debug $<TARGET_FILE:dsv4_static>)
endif()
# SOVERSION and the node of dsv4.map move together. INSTALL_RPATH: oneDNN lies in a folder of ours beside the library
# (install.cmake), where it meets no other version of it.
set_target_properties(dsv4 PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION 0 INSTALL_RPATH "$ORIGIN/dsv4"
                                      LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/dsv4.map)
if(WIN32)
  # dsv4.dll and libdsv4.dll.a. Objects are the same in both libraries, so none carries an order to export: the module
  # definition does, one line for each function of the header. The compiler's runtime goes inside.
  file(STRINGS ${PROJECT_SOURCE_DIR}/include/dsv4.h declarations REGEX "^ *DSV4_API")
  list(TRANSFORM declarations REPLACE "^.*[ *](dsv4_[a-z0-9_]+)\\(.*$" "  \\1")
  list(JOIN declarations "\n" declarations)
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/dsv4.def CONTENT "LIBRARY dsv4.dll\nEXPORTS\n@declarations@\n" @ONLY)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/dsv4.h)
  target_sources(dsv4 PRIVATE ${PROJECT_BINARY_DIR}/dsv4.def)
  set_target_properties(dsv4 PROPERTIES PREFIX "")
  target_link_options(dsv4 PRIVATE $<$<BOOL:${MINGW}>:-static>)
endif()
if(UNIX AND NOT APPLE)
  # exclude-libs: what comes out of a static library stays inside, too; one process may hold several copies of it.
  target_link_options(dsv4 PRIVATE -Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/dsv4.map -Wl,--exclude-libs,ALL)
  if(NOT DSV4_SANITIZE AND NOT DSV4_FUZZ)
    target_link_options(dsv4 PRIVATE -Wl,-z,defs)  # an undefined symbol fails here, not in a host
  endif()
endif()
