# The libraries a host links: dsv4 (shared) and dsv4_static.

get_property(folders GLOBAL PROPERTY DSV4_FOLDERS)
set(objects "")
foreach(folder ${folders})
  list(APPEND objects $<TARGET_OBJECTS:${folder}>)
endforeach()

add_library(dsv4 SHARED ${objects})
add_library(dsv4_static STATIC ${objects})
add_library(dsv4::dsv4 ALIAS dsv4)
foreach(target dsv4 dsv4_static)
  target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                              $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:dsv4_options> PkgConfig::PCRE2 Threads::Threads)
  if(NOT DSV4_WITHOUT_ONEDNN)
    target_link_libraries(${target} PRIVATE DNNL::dnnl)
  endif()
endforeach()
